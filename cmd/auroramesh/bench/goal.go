package bench

import (
	"fmt"
	"strconv"
	"strings"
)

// What a goal is about. Ratios are those of the mesh to what stands beside it.
const (
	ofRatio       = "ratio" // of the values
	ofP99Ratio    = "p99_ratio"
	ofCPURatio    = "cpu_ratio"
	ofMemoryRatio = "memory_ratio"
	ofValue       = "value"     // the mesh's own, in the unit of the workload
	ofMemory      = "memory_mb" // the mesh's own
)

// Goal is a bound that a workload should keep.
type Goal struct {
	What  string  `json:"what"`
	At    string  `json:"at"` // least or most
	Bound float64 `json:"bound"`
	// Measured is the median, and Reached says whether it keeps the bound; both are nil where it was not measured.
	Measured *float64 `json:"measured,omitempty"`
	Reached  *bool    `json:"reached,omitempty"`
}

// The two ways to bound: from below and from above.
const (
	floor   = "least"
	ceiling = "most"
)

func atLeast(ratio float64) Goal { return Goal{What: ofRatio, At: floor, Bound: ratio} }

func atMost(what string, bound float64) Goal { return Goal{What: what, At: ceiling, Bound: bound} }

// judge fills in what was measured.
func (g *Goal) judge(v float64) {
	reached := v >= g.Bound
	if g.At == ceiling {
		reached = v <= g.Bound
	}
	g.Measured, g.Reached = &v, &reached
}

// text is the goal of a workload whose values have a unit; at is how "at least" or "at most" is said.
func (g Goal) text(unit, at string) string {
	switch bound := g.bound(); g.What {
	case ofP99Ratio:
		return "P99 " + at + " " + bound
	case ofCPURatio:
		return "CPU " + at + " " + bound
	case ofMemoryRatio:
		return "memory " + at + " " + bound
	case ofValue:
		return "the mesh " + at + " " + bound + " " + unit
	case ofMemory:
		return "its memory " + at + " " + bound + " MB"
	default:
		return at + " " + bound
	}
}

// bound is the bound, as a fraction where that is what it was meant as: 1/3.5.
func (g Goal) bound() string {
	text := strconv.FormatFloat(g.Bound, 'g', -1, 64)
	if len(text) > 6 {
		return fmt.Sprintf("1/%.3g", 1/g.Bound)
	}
	return text
}

// Goal is the goals in words, or that there is none and why.
func (w Workload) Goal() string {
	if len(w.Goals) == 0 {
		return strings.TrimSpace("none " + w.NoGoal)
	}
	var all []string
	for _, g := range w.Goals {
		all = append(all, g.text(w.Unit, "at "+g.At))
	}
	return strings.Join(all, ", ")
}

// Verdict says of each goal whether it was reached.
func (r Result) Verdict() string {
	if len(r.Goals) == 0 {
		return r.Goal
	}
	var all []string
	for _, g := range r.Goals {
		at, verdict := "≥", "not measured"
		if g.At == ceiling {
			at = "≤"
		}
		if g.Reached != nil && *g.Reached {
			verdict = "reached"
		} else if g.Reached != nil {
			verdict = "NOT reached"
		}
		all = append(all, g.text(r.Unit, at)+": "+verdict)
	}
	return strings.Join(all, "; ")
}
