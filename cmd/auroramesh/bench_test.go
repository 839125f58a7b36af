package main

import (
	"strings"
	"testing"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/bench"
)

func TestABenchmarkNamesWhatWasNotRun(t *testing.T) {
	t.Parallel()
	own := bench.Series{Spread: bench.Spread{Median: 2, Min: 1, Max: 3}, Samples: []bench.Sample{{Value: 2, More: map[string]float64{"sites": 3, "until the link is down (s)": 0.1374, "raised": 22810}}}}
	var out strings.Builder
	err := writeBench(&out, bench.Report{Rounds: 1, Results: []bench.Result{{Name: "detect", Unit: "s", Own: own, NotRun: "it needs the go command"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"detect", "2.00 s", "not run", "detect: NOT RUN beside it: it needs the go command", "detect: sites: 3\n", "detect: until the link is down: 0.137 s\n", "detect: raised: 22810\n", "Medians of 1 round at"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "0.00") {
		t.Errorf("the report has figures of what was not run:\n%s", out.String())
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
