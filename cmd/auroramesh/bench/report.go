package bench

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Report is what a benchmark found, with what it was measured on.
type Report struct {
	Version string    `json:"version"`
	At      time.Time `json:"at"`
	Go      string    `json:"go"`
	OS      string    `json:"os"`
	CPUs    int       `json:"cpus"`
	Rounds  int       `json:"rounds"`
	Scale   float64   `json:"scale"`
	// SyncAlways is that of the options.
	SyncAlways bool     `json:"sync_always"`
	Results    []Result `json:"results"`
}

// Result is one workload beside its limit or peer.
type Result struct {
	Name       string `json:"name"`
	Does       string `json:"does"`
	BesideDoes string `json:"beside_does"`
	Unit       string `json:"unit"`
	Goal       string `json:"goal"` // of the ratio
	// NotRun says why what stands beside was not run; then neither Beside nor Ratio says anything.
	NotRun string `json:"not_run,omitempty"`
	Own    Series `json:"own"`
	Beside Series `json:"beside"`
	// Ratio is that of own to beside: the median of the rounds', with the least and the
	// most. Within a round the machine was equally busy for both.
	Ratio Spread `json:"ratio"`
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

func about(o Options) Report {
	return Report{
		Version: o.Version, At: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH,
		CPUs: runtime.NumCPU(), Rounds: o.Rounds, Scale: o.Scale, SyncAlways: o.SyncAlways, Results: []Result{},
	}
}

func (s *Series) add(sample Sample) { s.Samples = append(s.Samples, sample) }

// compare fills in what follows from the samples.
func (r *Result) compare() {
	r.Own.medians()
	if r.NotRun != "" {
		return
	}
	r.Beside.medians()
	var ratios []float64
	for i, o := range r.Own.Samples {
		ratios = append(ratios, o.Value/r.Beside.Samples[i].Value)
	}
	r.Ratio = SpreadOf(ratios)
}

func (s *Series) medians() {
	of := func(value func(Sample) float64) Spread {
		var all []float64
		for _, sample := range s.Samples {
			all = append(all, value(sample))
		}
		return SpreadOf(all)
	}
	s.Spread = of(func(s Sample) float64 { return s.Value })
	s.P99 = of(func(s Sample) float64 { return s.P99 }).Median
	s.CPU = of(func(s Sample) float64 { return s.CPU }).Median
	s.Memory = of(func(s Sample) float64 { return s.Memory }).Median
}

// SpreadOf is the spread of one value or more; the median of an even number lies between the two in the middle.
func SpreadOf(values []float64) Spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1]}
}

// Format is a value for people, in its unit.
func Format(v float64, unit string) string {
	switch {
	case unit == milliseconds:
		return fmt.Sprintf("%.2f ms", v)
	case unit == core:
		return fmt.Sprintf("%.1f %%", v)
	case unit == megabytes:
		return fmt.Sprintf("%.0f MB", v)
	case unit == seconds:
		return fmt.Sprintf("%.2f s", v)
	case unit == bytesPerSecond:
		return fmt.Sprintf("%.0f B/s", v)
	case unit == alarms:
		return fmt.Sprintf("%.0f", v)
	case v >= 10_000:
		return fmt.Sprintf("%.1f k/s", v/1000)
	}
	return fmt.Sprintf("%.0f /s", v)
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
