package function_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/stream"
)

func TestAStreamIsUpdatedOnlyWhereItDiffers(t *testing.T) {
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
