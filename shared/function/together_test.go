package function_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// crowd is what handlers of an OnTogether were given.
type crowd struct {
	mu      sync.Mutex
	numbers []int
	calls   int
	largest int
}

func (c *crowd) take(came []function.Came[number]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	c.largest = max(c.largest, len(came))
	for _, m := range came {
		c.numbers = append(c.numbers, m.Value.N)
	}
}

func (c *crowd) counts() (numbers, calls, largest int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.numbers), c.calls, c.largest
}

func send(t *testing.T, b *function.Bus, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := b.Publish(ctx(t), "numbers", number{i}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatComesInNumbersIsHandledTogether(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	var got crowd
	first := make(chan struct{})
	_, reg := start(t, s, function.Function{Name: "counter", Triggers: []function.Trigger{
		function.OnTogether("numbers", func(_ context.Context, came []function.Came[number]) error {
			got.take(came)
			<-first
			left := function.Each{}
			for i, c := range came {
				switch {
				case c.Subject != "numbers":
					t.Errorf("the subject is %q", c.Subject)
				case c.Value.N == 7:
					left[i] = function.Drop("seven")
				case c.Value.N == 8:
					left[i] = fault.New(fault.Conflict, "eight")
				}
			}
			return left
		}, function.Named("on"), function.Batch(40, time.Millisecond)),
	}})
	b := natstest.Bus(t, s, site, "sender")
	send(t, b, 0, 1)
	natstest.Eventually(t, "a message alone is handled at once", func() bool { n, _, _ := got.counts(); return n == 1 })
	send(t, b, 1, 100)
	send(t, b, -1, 0) // is not valid
	if err := b.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	close(first)
	natstest.Eventually(t, "all are handled", func() bool { n, _, _ := got.counts(); return n == 100 })
	if _, calls, largest := got.counts(); largest > 40 || calls > 50 {
		t.Errorf("100 messages took %d calls, the largest of %d", calls, largest)
	}
	refused := func(reason string) float64 {
		return counter(t, reg, "aurora_function_messages_refused_total", "reason", reason)
	}
	natstest.Eventually(t, "one is dropped and two are refused", func() bool {
		return refused("seven") == 1 && refused("conflict") == 1 && refused("invalid") == 1
	})
}

func TestWhatWaitsIsHandledBeforeAStop(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	var got crowd
	var begun atomic.Bool
	hold := make(chan struct{})
	r, _ := start(t, s, function.Function{Name: "counter", Triggers: []function.Trigger{
		function.OnTogether("numbers", func(_ context.Context, came []function.Came[number]) error {
			begun.Store(true)
			<-hold
			got.take(came)
			return nil
		}, function.Named("on"), function.Batch(10, time.Hour)),
	}})
	b := natstest.Bus(t, s, site, "sender")
	send(t, b, 0, 1)
	natstest.Eventually(t, "it is at work", begun.Load)
	send(t, b, 1, 30)
	if err := b.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	// On the same connection as they, but behind them.
	if _, err := function.Ask(ctx(t), b, site, function.HealthEndpoint("counter"), struct{}{}); err != nil {
		t.Fatal(err)
	}
	close(hold)
	stop(t, r)
	if n, _, _ := got.counts(); n != 30 {
		t.Errorf("%d of 30 messages were handled", n)
	}
}

func TestWhatIsTooMuchIsCountedAndTheRestHandledTogether(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	var got crowd
	var begun atomic.Bool
	hold := make(chan struct{})
	own, reg := natstest.Bus(t, s, site, "counter"), prometheus.NewRegistry()
	r, err := function.Start(function.Function{Name: "counter", Triggers: []function.Trigger{
		function.OnTogether("numbers", func(_ context.Context, came []function.Came[number]) error {
			begun.Store(true)
			<-hold
			got.take(came)
			return nil
		}, function.Named("on"), function.Batch(100, time.Millisecond), function.Timeout(time.Minute)),
	}}, own, function.NewMetrics(reg), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, r) })
	b := natstest.Bus(t, s, site, "sender")
	send(t, b, 0, 1)
	natstest.Eventually(t, "it is at work", begun.Load)
	const more = 40
	for range more {
		if err := b.Conn().Publish("numbers", []byte(`{"n":1}`+strings.Repeat(" ", 900<<10))); err != nil {
			t.Fatal(err)
		}
	}
	for _, nc := range []*nats.Conn{b.Conn(), own.Conn()} { // all have come, or were dropped
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	close(hold)
	overflow := func() int {
		return int(counter(t, reg, "aurora_function_messages_refused_total", "reason", "overflow"))
	}
	natstest.Eventually(t, "each is handled or counted", func() bool { n, _, _ := got.counts(); return n+overflow() == 1+more })
	if n, calls, _ := got.counts(); overflow() == 0 || n < 2 || calls != 2 {
		t.Errorf("%d were handled in %d calls, %d dropped", n, calls, overflow())
	}
}
