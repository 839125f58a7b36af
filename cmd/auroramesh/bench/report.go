package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Report is what a benchmark found, with what it was measured on.
type Report struct {
	Conditions
	Rounds int     `json:"rounds"`
	Scale  float64 `json:"scale"`
	// SyncAlways is that of the options.
	SyncAlways bool `json:"sync_always"`
	// Interrupted says where the benchmark was ended before its end; empty: nowhere.
	Interrupted string   `json:"interrupted,omitempty"`
	Results     []Result `json:"results"`
}

// Result is one workload beside its limit or peer.
type Result struct {
	Name       string `json:"name"`
	Does       string `json:"does"`
	BesideDoes string `json:"beside_does"`
	Unit       string `json:"unit"`
	Goal       string `json:"goal"` // in words, or that there is none
	Goals      []Goal `json:"goals,omitempty"`
	// NotRun says why what stands beside was not run; then neither Beside nor a ratio says anything.
	NotRun string `json:"not_run,omitempty"`
	Own    Series `json:"own"`
	Beside Series `json:"beside"`
	// Ratio is that of own to beside: the median of the rounds', with the least and the
	// most. Within a round the machine was equally busy for both. The others are the
	// same of what else was measured of both, and zero where it was not.
	Ratio       Spread `json:"ratio,omitzero"`
	P99Ratio    Spread `json:"p99_ratio,omitzero"`
	CPURatio    Spread `json:"cpu_ratio,omitzero"`
	MemoryRatio Spread `json:"memory_ratio,omitzero"`
}

// Series is the rounds of one side.
type Series struct {
	Spread
	P99     float64  `json:"p99_ms,omitempty"` // the median of the rounds', as are the next two
	CPU     float64  `json:"cpu_us,omitempty"`
	Memory  float64  `json:"memory_mb,omitempty"`
	Samples []Sample `json:"samples"`
}

// Spread is a median with what lies farthest from it on either side.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func (s *Series) add(sample Sample) { s.Samples = append(s.Samples, sample) }

// keep leaves the first rounds, of which both sides are there, and compares them where there are some.
func (r *Result) keep(rounds int) {
	r.Own.Samples = r.Own.Samples[:rounds]
	if r.NotRun == "" {
		r.Beside.Samples = r.Beside.Samples[:rounds]
	}
	if rounds > 0 {
		r.compare()
	}
}

// compare fills in what follows from the samples.
func (r *Result) compare() {
	r.Own.medians()
	if r.NotRun == "" {
		r.Beside.medians()
		r.Ratio = r.ratio(valueOf)
		r.P99Ratio = r.ratio(p99Of)
		r.CPURatio = r.ratio(cpuOf)
		r.MemoryRatio = r.ratio(memoryOf)
	}
	for i := range r.Goals {
		if v, ok := r.measured(r.Goals[i].What); ok {
			r.Goals[i].judge(v)
		}
	}
}

// ratio is that of the rounds, zero where a round of what stands beside has nothing to divide by.
func (r *Result) ratio(of func(Sample) float64) Spread {
	var ratios []float64
	for i, o := range r.Own.Samples {
		beside := of(r.Beside.Samples[i])
		if !(beside > 0) {
			return Spread{}
		}
		ratios = append(ratios, of(o)/beside)
	}
	return SpreadOf(ratios)
}

// measured is the median of what a goal is about, if it was measured.
func (r *Result) measured(what string) (v float64, ok bool) {
	switch what {
	case ofValue:
		return r.Own.Median, true // which may be 0
	case ofMemory:
		v = r.Own.Memory
	case ofRatio:
		v = r.Ratio.Median
	case ofP99Ratio:
		v = r.P99Ratio.Median
	case ofCPURatio:
		v = r.CPURatio.Median
	case ofMemoryRatio:
		v = r.MemoryRatio.Median
	}
	return v, v > 0
}

func valueOf(s Sample) float64  { return s.Value }
func p99Of(s Sample) float64    { return s.P99 }
func cpuOf(s Sample) float64    { return s.CPU }
func memoryOf(s Sample) float64 { return s.Memory }

func (s *Series) medians() {
	of := func(value func(Sample) float64) Spread {
		var all []float64
		for _, sample := range s.Samples {
			all = append(all, value(sample))
		}
		return SpreadOf(all)
	}
	s.Spread = of(valueOf)
	s.P99, s.CPU, s.Memory = of(p99Of).Median, of(cpuOf).Median, of(memoryOf).Median
}

// SpreadOf is the spread of one value or more; the median of an even number lies between the two in the middle.
func SpreadOf(values []float64) Spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1]}
}

// Format is a value for people, in its unit.
func Format(v float64, unit string) string { return FormatSpread(Spread{v, v, v}, unit) }

// FormatSpread is a median for people, in its unit, with the least and the most in parentheses where they are others.
func FormatSpread(s Spread, unit string) string {
	by, decimals, name := 1.0, 0, unit
	switch {
	case unit == NoUnit || unit == milliseconds || unit == seconds:
		decimals = 2
	case unit == core:
		decimals, name = 1, "%"
	case unit == megabytes:
		name = "MB"
	case unit == bytesPerSecond:
		name = "B/s"
	case unit == alarms:
		name = ""
	case s.Median >= 10_000:
		by, decimals, name = 1000, 1, "k/s"
	default:
		name = "/s"
	}
	number := func(v float64) string { return strconv.FormatFloat(v/by, 'f', decimals, 64) }
	text := strings.TrimSpace(number(s.Median) + " " + name)
	if from, to := number(s.Min), number(s.Max); from != to {
		text += " (" + from + "–" + to + ")"
	}
	return text
}

// FormatMore is one of [Sample.More] for people: the unit, which stands in parentheses behind the name, goes behind the value.
func FormatMore(name string, v float64) string {
	name, unit, _ := strings.Cut(strings.TrimSuffix(name, ")"), " (")
	value := fmt.Sprintf("%.3g", v)
	if v >= 100 { // no 2.28e+04
		value = fmt.Sprintf("%.0f", v)
	}
	return strings.TrimSpace(name + ": " + value + " " + unit)
}

// Counted is a number of things that are called so, such as "1 round" and "5 rounds".
func Counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.Itoa(n) + " " + thing
}

// NoUnit is that of a ratio.
const NoUnit = ""

// Units of the workloads.
const (
	milliseconds   = "ms"
	seconds        = "s"
	alerts         = "alerts/s"
	requests       = "requests/s"
	bytesPerSecond = "bytes/s a node"
	core           = "percent of a core"
	megabytes      = "MB resident"
	alarms         = "false alarms"
)
