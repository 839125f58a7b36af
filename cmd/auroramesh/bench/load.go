package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load makes n calls with so many workers at a time, and says how many a second were
// done and how long each took. The first failure ends it.
func load(ctx context.Context, workers, n int, call func(context.Context, int) error) (Sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	took := make([]time.Duration, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	begun := time.Now()
	for range min(workers, n) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				begun := time.Now()
				if err := call(ctx, i); err != nil {
					cancel(err)
					return
				}
				took[i] = time.Since(begun)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return Sample{}, err
	}
	return Sample{Value: float64(n) / time.Since(begun).Seconds(), P99: ms(percentile(took, 0.99)), items: n}, nil
}

// percentile is the smallest value that at least the share p of all do not exceed.
func percentile(all []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// latencies is the sample of a workload that is measured by what one thing takes.
func latencies(took []time.Duration) Sample {
	return Sample{Value: ms(percentile(took, 0.5)), P99: ms(percentile(took, 0.99)), items: len(took)}
}

// profiled runs a round, under the profiler where the options ask for it. The files
// hold the last round.
func (b *bed) profiled(name string, round func() (Sample, error)) (s Sample, err error) {
	if b.Profiles == "" {
		return round()
	}
	if err := os.MkdirAll(b.Profiles, 0o750); err != nil {
		return s, fmt.Errorf("making the directory of the profiles: %w", err)
	}
	end, err := beginProfile(filepath.Join(b.Profiles, name))
	if err != nil {
		return s, err
	}
	s, err = round()
	return s, errors.Join(err, end())
}

// beginProfile begins a CPU profile of this process at path.cpu. The end of it writes
// path.alloc beside it: what was allocated so far, and of that what is still held.
func beginProfile(path string) (end func() error, err error) {
	cpu, err := os.Create(path + ".cpu")
	if err != nil {
		return nil, fmt.Errorf("writing a profile: %w", err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(fmt.Errorf("profiling: %w", err), cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		if err := cpu.Close(); err != nil {
			return fmt.Errorf("writing a profile: %w", err)
		}
		allocated, err := os.Create(path + ".alloc")
		if err != nil {
			return fmt.Errorf("writing a profile: %w", err)
		}
		runtime.GC() // it knows what was allocated up to the last collection
		return errors.Join(pprof.Lookup("allocs").WriteTo(allocated, 0), allocated.Close())
	}, nil
}
