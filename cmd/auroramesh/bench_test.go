package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/bench"
)

func TestABenchmarkNamesWhatWasNotRun(t *testing.T) {
	t.Parallel()
	own := bench.Series{Spread: bench.Spread{Median: 2, Min: 1, Max: 3}, Samples: []bench.Sample{{Value: 2, More: map[string]float64{"sites": 3, "until the link is down (s)": 0.1374, "raised": 22810}}}}
	var out strings.Builder
	err := writeBench(&out, bench.Report{Rounds: 1, Scale: 0.5, Conditions: bench.Conditions{Version: "1.2.3", Go: "go1"}, Results: []bench.Result{{Name: "detect", Unit: "s", Own: own, NotRun: "it needs the go command"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"detect", "2.00 s", "not run", "detect: NOT RUN beside it: it needs the go command", "detect: sites: 3\n", "detect: until the link is down: 0.137 s\n", "detect: raised: 22810\n", "Medians of 1 round at scale 0.5; the goals are meant for scale 1. auroramesh 1.2.3, go1, "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, out.String())
		}
	}
	if said := strings.Count(strings.ToLower(out.String()), "not run"); said != 2 {
		t.Errorf("the report says %d times that something was not run, want once in the table and once with the reason:\n%s", said, out.String())
	}
	if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "0.00") {
		t.Errorf("the report has figures of what was not run:\n%s", out.String())
	}
}

func TestABenchmarkThatIsInterruptedTellsWhatItHas(t *testing.T) {
	t.Parallel()
	r := bench.Report{Rounds: 5, Scale: 1, Interrupted: "in intake-1 after 0 of 5 rounds", Results: []bench.Result{{Name: "ingest", Unit: "alerts/s", Goal: "none"}}}
	for asJSON, want := range map[bool]string{
		false: "\nINTERRUPTED in intake-1 after 0 of 5 rounds: only what was complete is here.\nMedians of 5 rounds",
		true:  `"interrupted": "in intake-1 after 0 of 5 rounds",`,
	} {
		var out strings.Builder
		if err := printed(&out, asJSON, r, r.Interrupted, writeBench, context.Canceled); !errors.Is(err, context.Canceled) {
			t.Errorf("it ends with %v", err)
		}
		if !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "ingest") {
			t.Errorf("got\n%s\nwant in it\n%s", out.String(), want)
		}
	}
	var out strings.Builder
	if err := printed(&out, false, bench.Report{}, "", writeBench, context.Canceled); !errors.Is(err, context.Canceled) || out.Len() > 0 {
		t.Errorf("of a benchmark that failed comes %q: %v", out.String(), err)
	}
}

func TestTheGrowthOfABenchmarkHasItsSizesAndExponents(t *testing.T) {
	t.Parallel()
	e := 0.25
	var out strings.Builder
	err := writeGrowth(&out, bench.Growth{Rounds: 1, Grown: []bench.Grown{{
		Name: "ingest", Unit: "alerts/s", Cost: &e,
		Points: []bench.Point{{Scale: 0.1, Value: 400, CPU: 30}, {Scale: 1, Value: 200, More: map[string]float64{"sites": 3}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"COST^", "0.1", "400 /s", "30 µs", "200 /s", "0.25", "ingest at 1: sites: 3", "Medians of 1 round."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, out.String())
		}
	}
}

func TestTheTableOfABenchmarkHasTheColumnsThatSaySomething(t *testing.T) {
	t.Parallel()
	same := func(v float64) bench.Spread { return bench.Spread{Median: v, Min: v, Max: v} }
	measured, reached := 0.5, false
	goals := []bench.Goal{{What: "ratio", At: "least", Bound: 0.62, Measured: &measured, Reached: &reached}}
	for _, c := range []struct {
		result bench.Result
		want   string
	}{
		{
			bench.Result{Name: "start", Unit: "ms", Own: bench.Series{Spread: same(2)}, Beside: bench.Series{Spread: same(4)}, Ratio: same(0.5), Goals: goals},
			"WORKLOAD  MESH     BESIDE   RATIO  GOAL\nstart     2.00 ms  4.00 ms  0.50   ≥ 0.62: NOT reached\n\n",
		},
		{
			bench.Result{
				Name: "intake", Unit: "requests/s", Own: bench.Series{Spread: bench.Spread{Median: 2, Min: 1, Max: 3}, P99: 6, CPU: 7}, Beside: bench.Series{Spread: same(4), P99: 3},
				Ratio: bench.Spread{Median: 0.5, Min: 0.25, Max: 0.75}, P99Ratio: same(2), Goal: "none",
			},
			"WORKLOAD  MESH        P99     CPU/ITEM  BESIDE  P99     RATIO             P99 RATIO  GOAL\n" +
				"intake    2 /s (1–3)  6.0 ms  7 µs      4 /s    3.0 ms  0.50 (0.25–0.75)  2.00       none\n\n",
		},
	} {
		var out strings.Builder
		if err := writeBench(&out, bench.Report{Rounds: 3, Scale: 1, Results: []bench.Result{c.result}}); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(out.String(), c.want) {
			t.Errorf("got\n%s\nwant\n%s", out.String(), c.want)
		}
	}
}
