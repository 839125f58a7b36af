package function_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func TestAStreamIsUpdatedOnlyWhereItDiffers(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "observer")
	updates, err := b.Conn().SubscribeSync("$JS.API.STREAM.UPDATE.*")
	if err != nil {
		t.Fatal(err)
	}
	sent := func() int {
		t.Helper()
		if err := b.Conn().Flush(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			if _, err := updates.NextMsg(50 * time.Millisecond); err != nil {
				if !errors.Is(err, nats.ErrTimeout) {
					t.Fatal(err)
				}
				return n
			}
			n++
		}
	}
	fn := func(l stream.Limits) function.Function {
		return function.Function{
			Name: "clock", Streams: []jetstream.StreamConfig{stream.Alerts(site, l), stream.Events(site)},
			Triggers: []function.Trigger{function.Every(time.Hour, func(context.Context) error { return nil })},
		}
	}
	for range 3 {
		r, _ := start(t, s, fn(stream.Limits{MaxAge: time.Hour}))
		ready(t, r)
	}
	if n := sent(); n != 0 {
		t.Errorf("three replicas with the same streams sent %d updates", n)
	}
	r, _ := start(t, s, fn(stream.Limits{MaxAge: 2 * time.Hour}))
	ready(t, r)
	if n := sent(); n != 1 {
		t.Errorf("one changed limit sent %d updates", n)
	}
	st, err := b.JetStream().Stream(ctx(t), "ALERTS_site-a")
	if err != nil {
		t.Fatal(err)
	}
	if got := st.CachedInfo().Config.MaxAge; got != 2*time.Hour {
		t.Errorf("the limit is %v", got)
	}
}

// The store of a server may be lost under a site that goes on running.
func TestAStreamThatIsGoneComesBackWhileTheFunctionRuns(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "observer")
	r, _ := start(t, s, function.Function{Name: "clock", Streams: []jetstream.StreamConfig{stream.Events(site), stream.Alerts(site, stream.Limits{})}})
	ready(t, r)
	for _, name := range []string{"EVENTS_site-a", "ALERTS_site-a"} {
		if err := b.JetStream().DeleteStream(ctx(t), name); err != nil {
			t.Fatal(err)
		}
		natstest.Eventually(t, name+" is back", func() bool {
			_, err := b.JetStream().Stream(ctx(t), name)
			return err == nil
		})
	}
	natstest.Eventually(t, "the function is well again", func() bool { return r.NotReady(ctx(t)) == nil })
}

func TestADeadLetterOutlivesTheLossOfItsStream(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "observer")
	publish := numbers(t, b)
	r, _ := start(t, s, function.Function{Name: "sums", Triggers: []function.Trigger{
		function.Consume(source, func(context.Context, []number) error { return nil }),
	}})
	ready(t, r)
	if err := b.JetStream().DeleteStream(ctx(t), subject.DeadLetterStream(site)); err != nil {
		t.Fatal(err)
	}
	publish("no number")
	natstest.Eventually(t, "the dead letter is stored", func() bool {
		st, err := b.JetStream().Stream(ctx(t), subject.DeadLetterStream(site))
		return err == nil && st.CachedInfo().State.Msgs == 1
	})
}

// What a server keeps can be lost while functions stay connected: all of it comes
// back, and the triggers work on.
func TestWhatALostServerKeptComesBack(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "observer")
	var ticks, taken atomic.Int64
	source := function.Source{Site: site, Stream: subject.AlertStream(site), Consumer: "reader"}
	r, _ := start(t, s, function.Function{
		Name: "clock", Streams: []jetstream.StreamConfig{stream.Alerts(site, stream.Limits{}), stream.Events(site), stream.DeadLetters(site)},
		Triggers: []function.Trigger{
			function.Every(time.Second, func(context.Context) error { ticks.Add(1); return nil }),
			function.Consume(source, func(_ context.Context, msgs []number) error { taken.Add(int64(len(msgs))); return nil }, function.Named("alerts")),
		},
	})
	send := func() {
		t.Helper()
		natstest.Eventually(t, "the consumer can be made", func() bool {
			_, err := b.JetStream().CreateOrUpdateConsumer(ctx(t), source.Stream, jetstream.ConsumerConfig{Durable: source.Consumer, AckPolicy: jetstream.AckExplicitPolicy})
			return err == nil
		})
		if _, err := b.JetStream().Publish(ctx(t), subject.Alert(federation.High), []byte(`{"n":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	ready(t, r)
	send()
	natstest.Eventually(t, "it works", func() bool { return ticks.Load() > 0 && taken.Load() == 1 })

	natstest.Lose(t, s, site)
	natstest.Eventually(t, "the streams are back", func() bool {
		for _, name := range []string{subject.AlertStream(site), subject.EventStream(site), subject.DeadLetterStream(site), subject.TickStream(site)} {
			if _, err := b.JetStream().Stream(ctx(t), name); err != nil {
				return false
			}
		}
		return true
	})
	before := ticks.Load()
	natstest.Eventually(t, "the ticks go on", func() bool { return ticks.Load() > before+2 })
	send()
	natstest.Eventually(t, "messages come", func() bool { return taken.Load() == 2 })
	ready(t, r)
	stop(t, r) // before its server, which is the younger one
}
