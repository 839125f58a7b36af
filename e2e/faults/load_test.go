//go:build linux

package faults_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// load raises alerts and keeps which of them the sites have answered for.
type load struct {
	name string // stands in every title

	mu       sync.Mutex
	random   *rand.Rand
	count    int
	answered map[string][]string // ids by site
	refused  int
}

func newLoad(seed uint64) *load {
	return &load{name: fmt.Sprintf("run %d", seed), random: rand.New(rand.NewPCG(seed, 1)), answered: map[string][]string{}}
}

// next is the next alert: of any severity and any label, half of them such as may leave.
func (l *load) next(site string) federation.NewAlert {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	n := federation.NewAlert{
		Title: fmt.Sprintf("%s: alert %d of %s", l.name, l.count, site), Source: "faults",
		IOCs: federation.IOCInput{Items: []federation.IOC{{Type: federation.IP, Value: "192.0.2.7"}}},
	}
	severities, tlps := federation.Severities(), append(federation.TLPs(), "") // no label is a label too
	n.Severity, n.TLP = severities[l.random.IntN(len(severities))], tlps[l.random.IntN(len(tlps))]
	if l.random.IntN(3) == 0 {
		n.Severity, n.TLP = severities[l.random.IntN(2)], tlps[l.random.IntN(3)]
	}
	return n
}

// raise raises one alert; now and then twice at a time, as a sensor does that did not hear the answer.
func (l *load) raise(ctx context.Context, n *node, a federation.NewAlert, times int) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for range times {
		wg.Go(func() {
			stored, _, _, err := n.api.Raise(ctx, a)
			l.mu.Lock()
			defer l.mu.Unlock()
			if err != nil {
				l.refused++
				return
			}
			l.answered[n.id] = append(l.answered[n.id], stored.ID)
		})
	}
}

// steadily raises so many alerts a second at a site until ctx ends, and returns
// when the last has been answered or refused.
func (l *load) steadily(ctx context.Context, n *node, rate int) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	slots := make(chan struct{}, 32) // while a site is away, no more than these wait for it
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case slots <- struct{}{}:
		default:
			continue
		}
		a, times := l.next(n.id), 1
		if i%10 == 0 {
			times = 2
		}
		wg.Go(func() {
			defer func() { <-slots }()
			l.raise(context.WithoutCancel(ctx), n, a, times)
		})
	}
}

// burst raises many alerts at a site at once, each made by next.
func (l *load) burst(ctx context.Context, n *node, count int, next func(string) federation.NewAlert) {
	jobs := make(chan federation.NewAlert)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for a := range jobs {
				l.raise(ctx, n, a, 1)
			}
		})
	}
	for range count {
		jobs <- next(n.id)
	}
	close(jobs)
	wg.Wait()
}

// sum is how many alerts were answered for and how many raisings were refused.
func (l *load) sum() (answered, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ids := range l.answered {
		answered += len(ids)
	}
	return answered, l.refused
}

// answers are the answers in the form that the check reads.
func (l *load) answers() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b bytes.Buffer
	for site, ids := range l.answered {
		for _, id := range ids {
			fmt.Fprintln(&b, site, id)
		}
	}
	return b.Bytes()
}
