package function_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

func TestWhileTheDatabaseIsAwayNothingIsPulledAndOneLineTellsIt(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "test")
	publish := numbers(t, b)
	for n := range 100 {
		publish(fmt.Sprintf(`{"n":%d}`, n))
	}
	var away atomic.Bool
	var checks, calls atomic.Int64
	away.Store(true)
	var got seen
	fn := reader(func(_ context.Context, ns []number) error {
		calls.Add(1)
		if away.Load() {
			return fault.New(fault.Unavailable, "the rows cannot be written")
		}
		got.add(ns...)
		return nil
	}, function.Batch(10, time.Second))
	fn.Checks = []function.Check{{Part: "database", Run: func(context.Context) error {
		checks.Add(1)
		if away.Load() {
			return fault.New(fault.Unavailable, "the database is away")
		}
		return nil
	}}}
	var log lines
	reg := prometheus.NewRegistry()
	r, err := function.Start(fn, natstest.Bus(t, s, site, fn.Name), function.NewMetrics(reg), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, r) })
	natstest.Within(t, time.Minute, "it is looked again and again whether the database answers", func() bool { return checks.Load() > 5 })
	if n := calls.Load(); n > 2 {
		t.Errorf("the handler was called %d times", n)
	}
	if log.count("level=WARN") != 1 || log.count("level=ERROR") != 0 {
		t.Errorf("the log has %s", log.text.String())
	}
	away.Store(false)
	natstest.Within(t, time.Minute, "all are handled", func() bool { return len(got.sorted()) >= 100 })
	settled(t, b)
	if len(got.sorted()) != 100 || log.count("answers again") != 1 || log.count("level=WARN") != 1 {
		t.Errorf("%d were handled; the log has %s", len(got.sorted()), log.text.String())
	}
	if again := counter(t, reg, "aurora_function_messages_redelivered_total", "function", "reader"); again > 60 {
		t.Errorf("%v came again", again) // no more than was in hand once
	}
}

func TestASourceThatCannotBeHadIsToldByItself(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "test")
	publish := numbers(t, b)
	nobody := function.Source{Site: site, Stream: "NUMBERS", Consumer: "nobody"}
	var log lines
	var got seen
	reg := prometheus.NewRegistry()
	r, err := function.Start(function.Function{Name: "reader", Triggers: []function.Trigger{
		function.ConsumeEach(func(context.Context) ([]function.Source, error) { return []function.Source{source, nobody}, nil }, 10*time.Millisecond,
			func(_ context.Context, ns []number) error { got.add(ns...); return nil }),
	}}, natstest.Bus(t, s, site, "reader"), function.NewMetrics(reg), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, r) })
	natstest.Within(t, time.Minute, "it is told", func() bool { return log.count("nobody") > 0 })
	publish(`{"n":1}`)
	natstest.Eventually(t, "the other is pulled from", func() bool { return len(got.sorted()) == 1 })
	h, err := function.Ask(ctx(t), b, site, function.HealthEndpoint("reader"), struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	for _, trigger := range h.Triggers {
		if trigger.Kind == "consume" && (trigger.Trouble != "" || len(trigger.Sources) != 1 || trigger.Sources[nobody.String()] == "") {
			t.Errorf("the trigger is %+v", trigger)
		}
	}
	if n := counter(t, reg, "aurora_function_trigger_restarts_total", "function", "reader"); n == 0 {
		t.Error("no restart was counted")
	}
	if log.count("level=WARN") != 1 {
		t.Errorf("the log has %s", log.text.String())
	}
}

func TestThatTheSourcesCannotBeListedIsToldOnce(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	publish := numbers(t, natstest.Bus(t, s, site, "test"))
	var asked atomic.Int64
	var got seen
	var log lines
	r, err := function.Start(function.Function{Name: "reader", Triggers: []function.Trigger{
		function.ConsumeEach(func(context.Context) ([]function.Source, error) {
			if asked.Add(1) <= 5 {
				return nil, fault.New(fault.Unavailable, "the rows cannot be read")
			}
			return []function.Source{source}, nil
		}, 10*time.Millisecond, func(_ context.Context, ns []number) error { got.add(ns...); return nil }),
	}}, natstest.Bus(t, s, site, "reader"), function.NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, r) })
	publish(`{"n":1}`)
	natstest.Eventually(t, "the source is pulled from", func() bool { return len(got.sorted()) == 1 })
	if log.count("level=WARN") != 1 || log.count("listed again") != 1 {
		t.Errorf("the log has %s", log.text.String())
	}
}
