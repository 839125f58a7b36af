package bench

import (
	"math"
	"strings"
	"testing"
)

func TestGrowthIsTheExponentOfWhatOneCosts(t *testing.T) {
	t.Parallel()
	at := func(scale float64, p Point) Point { p.Scale = scale; return p }
	g := Grown{Unit: alerts, Points: []Point{ // ten times as many: each takes twice the time and the same of the processor
		at(0.1, Point{Value: 4000, CPU: 50, Memory: 10}), at(1, Point{Value: 2000, CPU: 50, Memory: 100}), at(10, Point{Value: 1000, CPU: 50, Memory: 1000}),
	}}
	g.exponents()
	for name, c := range map[string]struct {
		got  *float64
		want float64
	}{"cost": {g.Cost, math.Log10(2)}, "processor": {g.CPU, 0}, "memory": {g.Memory, 1}} {
		if c.got == nil || math.Abs(*c.got-c.want) > 1e-9 {
			t.Errorf("%s: got %v, want %g", name, c.got, c.want)
		}
	}
	g = Grown{Unit: core, Points: []Point{at(0.1, Point{Value: 1}), at(1, Point{Value: 100}), at(10, Point{Value: 10_000})}} // sites that all pull from each other
	g.exponents()
	if g.Cost == nil || math.Abs(*g.Cost-2) > 1e-9 || g.CPU != nil || g.Memory != nil {
		t.Errorf("got %v, %v and %v, want 2 and twice nothing", g.Cost, g.CPU, g.Memory)
	}
}

func TestGrowthThatCannotBeMeasuredIsRefused(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Options{
		`scale: "0.005" is not allowed: a number from 0.01 to 10`:                               {Scale: 0.005, Rounds: 1},
		`scale: "20" is not allowed: a number from 0.01 to 10`:                                  {Scale: 20, Rounds: 1},
		`name: "idle" is not allowed: only these have a size that can grow: ingest, `:           {Names: []string{"idle"}, Scale: 1, Rounds: 1},
		`name: "detect, start" is not allowed: only these have a size that can grow: ingest, `:  {Names: []string{"detect", "intake", "start"}, Scale: 1, Rounds: 1},
		`relay-200, gossip, or for several at once: intake, query, queue, pull, regions, relay`: {Names: []string{"detect"}, Scale: 1, Rounds: 1},
	} {
		if _, err := RunGrowth(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, without %s", err, want)
		}
	}
}
