package bench

import (
	"encoding/json"
	"strings"
	"testing"
)

// of is a result of three rounds of which the second has the median of the ratios, and it is not that of the medians.
func of(unit string, own, beside Sample, goals ...Goal) Result {
	times := func(n float64, s Sample) Sample {
		return Sample{Value: n * s.Value, P99: n * s.P99, CPU: n * s.CPU, Memory: n * s.Memory}
	}
	r := Result{Unit: unit, Goal: Workload{Unit: unit, Goals: goals}.Goal(), Goals: goals}
	for _, n := range [][2]float64{{0.1, 10}, {1, 1}, {10, 5}} {
		r.Own.add(times(n[0], own))
		r.Beside.add(times(n[1], beside))
	}
	r.compare()
	return r
}

func TestAGoalIsComparedWithTheMedianOfTheRoundsRatios(t *testing.T) {
	t.Parallel()
	own, beside := Sample{Value: 2, P99: 9, CPU: 7, Memory: 1}, Sample{Value: 4, P99: 3, CPU: 2, Memory: 2}
	for _, c := range []struct {
		goal     Goal
		measured float64
		reached  bool
		text     string
	}{
		{atLeast(0.5), 0.5, true, "at least 0.5"},
		{atLeast(0.62), 0.5, false, "at least 0.62"},
		{atMost(ofRatio, 0.05), 0.5, false, "at most 0.05"},
		{atMost(ofP99Ratio, 3), 3, true, "P99 at most 3"},
		{atMost(ofP99Ratio, 1), 3, false, "P99 at most 1"},
		{atMost(ofCPURatio, 1/3.5), 3.5, false, "CPU at most 1/3.5"},
		{atMost(ofMemoryRatio, 1.0/3), 0.5, false, "memory at most 1/3"},
		{atMost(ofValue, 2), 2, true, "the mesh at most 2 ms"},
		{atMost(ofMemory, 0.5), 1, false, "its memory at most 0.5 MB"},
	} {
		r := of(milliseconds, own, beside, c.goal)
		g := r.Goals[0]
		if r.Goal != c.text || g.Measured == nil || *g.Measured != c.measured || *g.Reached != c.reached {
			t.Errorf("got %q, %+v, want %q, measured %g, reached %t", r.Goal, g, c.text, c.measured, c.reached)
		}
	}
}

func TestTheVerdictSaysOfEachGoalWhetherItWasReached(t *testing.T) {
	t.Parallel()
	goals := []Goal{atLeast(0.5), atMost(ofP99Ratio, 1), atMost(ofCPURatio, 1)}
	r := of(requests, Sample{Value: 2, P99: 9}, Sample{Value: 4, P99: 3}, goals...)
	if got, want := r.Verdict(), "≥ 0.5: reached; P99 ≤ 1: NOT reached; CPU ≤ 1: not measured"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (Result{Goal: Workload{NoGoal: "(it says what it costs)"}.Goal()}).Verdict(), "none (it says what it costs)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheRecordHasNeitherRatioNorVerdictOfWhatWasNotMeasured(t *testing.T) {
	t.Parallel()
	r := Result{Unit: alarms, NotRun: "there is nothing", Goals: []Goal{atMost(ofValue, 0), atLeast(1)}}
	r.Own.add(Sample{})
	r.compare()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`{"what":"value","at":"most","bound":0,"measured":0,"reached":true}`, `{"what":"ratio","at":"least","bound":1}`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the record does not have %s: %s", want, data)
		}
	}
	if strings.Contains(string(data), `ratio":{`) {
		t.Errorf("the record has a ratio: %s", data)
	}
}

func TestEveryGoalIsOfSomethingThatIsMeasured(t *testing.T) {
	t.Parallel()
	for _, w := range Workloads() {
		for _, g := range w.Goals {
			if _, ok := (&Result{Own: Series{P99: 1, Memory: 1}, Ratio: Spread{Median: 1}, P99Ratio: Spread{Median: 1}, CPURatio: Spread{Median: 1}, MemoryRatio: Spread{Median: 1}}).measured(g.What); !ok {
				t.Errorf("%s has a goal of %q, which nothing measures", w.Name, g.What)
			}
		}
		if w.NoGoal != "" && !strings.HasPrefix(w.NoGoal, "(") {
			t.Errorf("%s has no goal for the reason %q, which is to stand in parentheses", w.Name, w.NoGoal)
		}
	}
}
