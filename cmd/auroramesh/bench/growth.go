package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// steps are the sizes at which a workload is measured for its growth, as parts of the scale.
var steps = []float64{0.1, 1, 10}

// Growth is how what workloads cost grows with their size.
type Growth struct {
	Conditions
	Rounds int `json:"rounds"`
	// Interrupted is that of [Report].
	Interrupted string  `json:"interrupted,omitempty"`
	Grown       []Grown `json:"grown"`
}

// Grown is one workload at several sizes. An exponent of 0 says that the size does not
// matter, 1 that ten times the size costs ten times as much. It is nil where nothing is known.
type Grown struct {
	Name   string  `json:"name"`
	Does   string  `json:"does"`
	Unit   string  `json:"unit"`
	Points []Point `json:"points"`
	// Cost is the exponent of what one alert or request takes where the value is a rate, else of the value.
	Cost   *float64 `json:"cost_exponent"`
	CPU    *float64 `json:"cpu_exponent"`    // of the processor time of one
	Memory *float64 `json:"memory_exponent"` // of the most memory
}

// Point is the medians at one size.
type Point struct {
	Scale  float64            `json:"scale"`
	Value  float64            `json:"value"`
	P99    float64            `json:"p99_ms,omitempty"`
	CPU    float64            `json:"cpu_us,omitempty"`
	Memory float64            `json:"memory_mb,omitempty"`
	More   map[string]float64 `json:"more,omitempty"` // of the last round
}

// validateGrowth is Validate for RunGrowth.
func (o Options) validateGrowth() error {
	if err := o.Validate(); err != nil {
		return err
	}
	var wrong fault.Fields
	if low, high := MinScale/steps[0], MaxScale/steps[len(steps)-1]; o.Scale < low || o.Scale > high {
		wrong.Add("scale", strconv.FormatFloat(o.Scale, 'g', -1, 64), fmt.Sprintf("a number from %g to %g where growth is measured", low, high))
	}
	growing := slices.DeleteFunc(Workloads(), func(w Workload) bool { return w.fixed })
	fixed := slices.DeleteFunc(slices.Clone(o.Names), func(n string) bool {
		return slices.ContainsFunc(growing, func(w Workload) bool { return named(n, w.Name) })
	})
	if len(fixed) > 0 {
		wrong.Add("name", strings.Join(fixed, ", "), "only these have a size that can grow: "+choice(growing))
	}
	return wrong.Err("growth cannot be measured")
}

// RunGrowth measures the chosen workloads at a tenth of the scale, at it, and at ten times
// of it, and leaves out those that have no size. Where ctx ends first the growth has the sizes that
// were complete, and says that it was interrupted.
func RunGrowth(ctx context.Context, o Options) (g Growth, err error) {
	if err := o.validateGrowth(); err != nil {
		return Growth{}, err
	}
	g = Growth{Conditions: conditions(o.Version), Rounds: o.Rounds, Grown: []Grown{}}
	b := &bed{Options: o}
	defer func() { err = errors.Join(err, b.close(context.WithoutCancel(ctx))) }()
	growing := slices.DeleteFunc(o.chosen(), func(w Workload) bool { return w.fixed })
	for _, w := range growing {
		g.Grown = append(g.Grown, Grown{Name: w.Name, Does: w.Does, Unit: w.Unit})
	}
	for _, step := range steps { // what one has stored at a size the next may find
		b.Scale = math.Round(o.Scale*step*1e6) / 1e6 // no 0.010000000000000002
		b.Progress(fmt.Sprintf("at scale %g", b.Scale))
		for i, w := range growing {
			r, err := b.measure(ctx, w)
			if err != nil {
				if ctx.Err() != nil {
					g.Interrupted = fmt.Sprintf("in %s at scale %g", w.Name, b.Scale)
					g.conclude()
					return g, ctx.Err()
				}
				return g, fmt.Errorf("measuring %s at scale %g: %w", w.Name, b.Scale, err)
			}
			s := r.Own
			g.Grown[i].Points = append(g.Grown[i].Points, Point{b.Scale, s.Median, s.P99, s.CPU, s.Memory, s.Samples[len(s.Samples)-1].More})
		}
	}
	g.conclude()
	return g, nil
}

// conclude leaves out what was measured at no size, and finds the exponents of what was at several.
func (g *Growth) conclude() {
	g.Grown = slices.DeleteFunc(g.Grown, func(w Grown) bool { return len(w.Points) == 0 })
	for i := range g.Grown {
		if len(g.Grown[i].Points) > 1 {
			g.Grown[i].exponents()
		}
	}
}

// exponents fills in what follows from the points.
func (g *Grown) exponents() {
	g.Cost = exponent(g.Points, func(p Point) float64 {
		if g.Unit == alerts || g.Unit == requests {
			return 1 / p.Value
		}
		return p.Value
	})
	g.CPU = exponent(g.Points, func(p Point) float64 { return p.CPU })
	g.Memory = exponent(g.Points, func(p Point) float64 { return p.Memory })
}

// exponent is the e of the power of the scale that fits the points best, by least squares
// of the logarithms. It is nil where a value is not above 0.
func exponent(points []Point, value func(Point) float64) *float64 {
	var x, y, xx, xy float64
	for _, p := range points {
		v := value(p)
		if !(v > 0) || math.IsInf(v, 0) {
			return nil
		}
		a, b := math.Log(p.Scale), math.Log(v)
		x, y, xx, xy = x+a, y+b, xx+a*a, xy+a*b
	}
	n := float64(len(points))
	e := (n*xy - x*y) / (n*xx - x*x)
	return &e
}
