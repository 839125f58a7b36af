package metric_test

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/metric"
)

func TestAFigureIsReadWhenItIsAskedFor(t *testing.T) {
	reg, waiting := prometheus.NewRegistry(), 1.0
	var broken error
	reg.MustRegister(metric.Read(func(ctx context.Context, put metric.Put) error {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("a reading may take for ever")
		}
		put("waiting", waiting, "site-b")
		if broken == nil {
			put("seen_total", 7)
		}
		return broken
	}, metric.Figure{Name: "waiting", Help: "What waits.", Labels: []string{"peer"}}, metric.Figure{Name: "seen_total", Help: "What was seen.", Counter: true}))
	gather := func() map[string]float64 {
		t.Helper()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			m := f.GetMetric()[0]
			got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
		return got
	}
	if got := gather(); got["waiting"] != 1 || got["seen_total"] != 7 {
		t.Errorf("it is %v", got)
	}
	waiting = 2
	if got := gather(); got["waiting"] != 2 {
		t.Errorf("later it is %v", got)
	}
	broken = errors.New("the database is away")
	if got := gather(); len(got) != 1 {
		t.Errorf("what could not be read is told all the same: %v", got)
	}
}
