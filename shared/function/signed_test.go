package function_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// What is stored at once shares signatures, and yet each message is proved alone: in
// any order, from the dead letters too, and not once anything of it is changed.
func TestWhatIsStoredTogetherIsProvedEachByItself(t *testing.T) {
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "sender")
	high := subject.Alert(federation.High)
	if _, err := b.JetStream().CreateStream(ctx(t), jetstream.StreamConfig{Name: "NUMBERS", Subjects: []string{"aurora.alerts.federation.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.JetStream().CreateConsumer(ctx(t), "NUMBERS", jetstream.ConsumerConfig{Durable: "reader", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	const n = 2*identity.MaxTogether + 1
	msgs := make([]function.Message, n)
	for i := range msgs {
		msgs[i] = function.Message{Subject: high, ID: fmt.Sprint(i), Payload: fmt.Appendf(nil, `{"n":%d}`, i)}
	}
	sequences, err := b.Store(ctx(t), msgs)
	if err != nil || len(sequences) != n || sequences[n-1] != n {
		t.Fatalf("stored as %v, %v", sequences, err)
	}
	stored := func(i int) *nats.Msg {
		t.Helper()
		st, err := b.JetStream().Stream(ctx(t), "NUMBERS")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := st.GetMsg(ctx(t), sequences[i])
		if err != nil {
			t.Fatal(err)
		}
		raw.Header.Del(jetstream.MsgIDHeader)
		return &nats.Msg{Subject: raw.Subject, Header: raw.Header, Data: raw.Data}
	}
	signature := func(i int) string { return stored(i).Header.Get(function.HeaderSignature) }
	if signature(0) != signature(identity.MaxTogether-1) || signature(0) == signature(identity.MaxTogether) || stored(n-1).Header.Get(function.HeaderPlace) != "" {
		t.Error("not those that were stored together share a signature")
	}

	again := stored(7)
	forge := func(change func(*nats.Msg)) *nats.Msg { m := stored(8); change(m); return m }
	place := func(i int) func(*nats.Msg) {
		return func(m *nats.Msg) { m.Header.Set(function.HeaderPlace, stored(i).Header.Get(function.HeaderPlace)) }
	}
	forged := []*nats.Msg{
		forge(func(m *nats.Msg) { m.Data = []byte(`{"n":9}`) }),
		forge(func(m *nats.Msg) { m.Subject = subject.Alert(federation.Critical) }),
		forge(func(m *nats.Msg) { m.Header.Del(function.HeaderPlace) }),
		forge(func(m *nats.Msg) { m.Header.Set(function.HeaderPlace, "nowhere") }),
		forge(place(9)), forge(place(8 + identity.MaxTogether)),
		forge(func(m *nats.Msg) { m.Header.Set(function.HeaderKey, natstest.Key(t, "site-x").Key()) }),
	}
	for _, m := range append(forged, again) {
		if _, err := b.JetStream().PublishMsg(ctx(t), m); err != nil {
			t.Fatal(err)
		}
	}
	var got seen
	var mended atomic.Bool
	start(t, s, reader(func(_ context.Context, ns []number) error {
		for _, one := range ns {
			if one.N == 3 && !mended.Load() {
				return fault.New(fault.Invalid, "not yet")
			}
		}
		got.add(ns...)
		return nil
	}, function.VerifiedOrigin(), function.Batch(n, time.Second)))
	settled(t, b)
	dead, err := b.JetStream().Stream(ctx(t), subject.DeadLetterStream(site))
	if err != nil || dead.CachedInfo().State.Msgs != uint64(len(forged)+1) {
		t.Fatalf("there are %+v, want %d dead letters, %v", dead, len(forged)+1, err)
	}
	mended.Store(true)
	retried := 0
	for id := range dead.CachedInfo().State.LastSeq {
		_, err := function.Ask(ctx(t), b, site, function.RetryEndpoint("reader", "consume"), function.LetterID{ID: id + 1})
		if err == nil {
			retried++
		} else if !fault.Is(err, fault.Forbidden) {
			t.Errorf("the dead letter %d: %v", id+1, err)
		}
	}
	want := []int{7} // a second time
	for i := range n {
		want = append(want, i)
	}
	slices.Sort(want)
	if ns := got.sorted(); retried != 1 || !slices.Equal(ns, want) {
		t.Errorf("%d dead letters were handled; handled are %v", retried, ns)
	}
}
