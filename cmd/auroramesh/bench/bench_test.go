package bench_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/bench"
	"github.com/auroramesh/auroramesh/shared/store/localpostgres"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
)

// One workload of each kind of value; .ci/run runs them all.
func TestEachSideIsMeasuredInEveryRoundAndNothingIsLeft(t *testing.T) {
	t.Parallel()
	o := bench.Options{
		Names: []string{"intake-1", "ingest"}, Rounds: 2, Scale: 0.001, Profiles: filepath.Join(t.TempDir(), "profiles"), Version: "0.0.1",
		Log: slog.New(slog.DiscardHandler), Progress: func(line string) { t.Log(line) },
	}
	r, err := bench.Run(t.Context(), o)
	if errors.Is(err, localpostgres.ErrNone) && !strings.Contains(os.Getenv(postgrestest.EnvRequire), "postgres") {
		t.Skipf("SKIPPED, NOT TESTED ON POSTGRESQL: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Results) != 2 || r.Results[0].Name != "ingest" || r.Results[1].Name != "intake-1" {
		t.Fatalf("got %+v", r.Results)
	}
	for _, w := range bench.Workloads() { // a run leaves the goals themselves as they are
		for _, g := range w.Goals {
			if g.Measured != nil || g.Reached != nil {
				t.Errorf("%s: the goal %+v was measured before", w.Name, g)
			}
		}
	}
	for _, x := range r.Results {
		if len(x.Goals) != 1 || x.Goals[0].Measured == nil || *x.Goals[0].Measured != x.Ratio.Median {
			t.Errorf("%s: the goals are %+v of the ratio %+v", x.Name, x.Goals, x.Ratio)
		}
		for _, s := range []bench.Series{x.Own, x.Beside} {
			if len(s.Samples) != 2 || s.Min <= 0 || s.Median < s.Min || s.Max < s.Median {
				t.Errorf("%s: got %+v", x.Name, s)
			}
		}
		if x.Ratio.Min <= 0 || x.Ratio.Max < x.Ratio.Min {
			t.Errorf("%s: the ratio is %+v", x.Name, x.Ratio)
		}
		for _, kind := range []string{".cpu", ".alloc"} {
			if f, err := os.Stat(filepath.Join(o.Profiles, x.Name+kind)); err != nil || f.Size() == 0 {
				t.Errorf("the profile of %s: %v", x.Name, err)
			}
		}
	}
	if x := r.Results[1]; x.Own.P99 <= 0 || x.Beside.P99 <= 0 || x.P99Ratio.Min <= 0 || x.P99Ratio.Max < x.P99Ratio.Median {
		t.Errorf("%s has the 99th percentiles %g and %g, and their ratio %+v", x.Name, x.Own.P99, x.Beside.P99, x.P99Ratio)
	}
}

func TestABenchmarkThatIsInterruptedHasWhatWasComplete(t *testing.T) {
	t.Parallel()
	during := func(line string) (context.Context, bench.Options) {
		ctx, cancel := context.WithCancel(t.Context())
		return ctx, bench.Options{
			Names: []string{"ingest", "intake-1"}, Rounds: 2, Scale: 0.01, Version: "0.0.1", Log: slog.New(slog.DiscardHandler),
			Progress: func(is string) {
				t.Log(is)
				if strings.HasPrefix(is, line) {
					cancel()
				}
			},
		}
	}
	ctx, o := during("intake-1: round 1 of 2")
	r, err := bench.Run(ctx, o)
	if errors.Is(err, localpostgres.ErrNone) && !strings.Contains(os.Getenv(postgrestest.EnvRequire), "postgres") {
		t.Skipf("SKIPPED, NOT TESTED ON POSTGRESQL: %v", err)
	}
	if !errors.Is(err, context.Canceled) || r.Interrupted != "in intake-1 after 1 of 2 rounds" {
		t.Errorf("it is interrupted %q: %v", r.Interrupted, err)
	}
	if len(r.Results) != 2 || len(r.Results[0].Own.Samples) != 2 || len(r.Results[1].Own.Samples) != 1 || len(r.Results[1].Beside.Samples) != 1 || r.Results[1].Ratio.Median <= 0 {
		t.Errorf("got %+v", r.Results)
	}

	ctx, o = during("intake-1: preparing")
	o.Rounds = 1
	g, err := bench.RunGrowth(ctx, o)
	if !errors.Is(err, context.Canceled) || g.Interrupted != "in intake-1 at scale 0.001" {
		t.Errorf("the growth is interrupted %q: %v", g.Interrupted, err)
	}
	if len(g.Grown) != 1 || len(g.Grown[0].Points) != 1 || g.Grown[0].Cost != nil {
		t.Errorf("got %+v", g.Grown)
	}
}

func TestABenchmarkThatCannotBeIsRefusedBeforeItStarts(t *testing.T) {
	t.Parallel()
	_, err := bench.Run(t.Context(), bench.Options{Names: []string{"fire"}, Rounds: 0, Scale: 0.0001})
	for _, want := range []string{`name: "fire" is not allowed: there are ingest, ingest-processor, ingest-relayed, intake-1, `, `rounds: "0" is not allowed: a whole number from 1 to 100`, `scale: "0.0001" is not allowed: a number from 0.001 to 100`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, without %s", err, want)
		}
	}
}

func TestASpreadIsTheMedianWithItsFarthest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   bench.Spread
	}{
		{[]float64{3}, bench.Spread{Median: 3, Min: 3, Max: 3}},
		{[]float64{9, 1, 2}, bench.Spread{Median: 2, Min: 1, Max: 9}},
		{[]float64{4, 1, 2, 9}, bench.Spread{Median: 3, Min: 1, Max: 9}},
	} {
		if got := bench.SpreadOf(c.values); got != c.want {
			t.Errorf("of %v: got %+v", c.values, got)
		}
	}
}

func TestAMedianStandsInItsUnitWithWhatLiesFarthest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		spread bench.Spread
		unit   string
		want   string
	}{
		{bench.Spread{Median: 18_900, Min: 9_800, Max: 19_400}, "alerts/s", "18.9 k/s (9.8–19.4)"},
		{bench.Spread{Median: 715.1, Min: 715, Max: 715.2}, "requests/s", "715 /s"},
		{bench.Spread{Median: 0.279, Min: 0.26, Max: 0.29}, bench.NoUnit, "0.28 (0.26–0.29)"},
		{bench.Spread{Median: 10.84, Min: 10, Max: 11}, "percent of a core", "10.8 % (10.0–11.0)"},
		{bench.Spread{}, "false alarms", "0"},
	} {
		if got := bench.FormatSpread(c.spread, c.unit); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
