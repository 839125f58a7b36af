package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/ledger"
	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	own  federation.SiteID = "site-a"
	peer federation.SiteID = "site-b"
)

// hub runs the server of the own site.
func hub(t *testing.T) *server.Server {
	return natstest.StartHub(t, nats.DevHub)
}

// leaf runs the server of the peer and waits until it has joined the hub.
func leaf(t *testing.T, hub *server.Server) *server.Server {
	t.Helper()
	s := natstest.StartLeaf(t, nats.DevLeaf, hub)
	natstest.Joined(t, hub, s)
	return s
}

// book is a running ledger of the own site, which knows its peer.
type book struct {
	store *store.Store
	bus   *function.Bus
	reg   *prometheus.Registry
}

func start(t *testing.T, s *server.Server, now func() time.Time) book {
	t.Helper()
	st := storetest.Open(t)
	storetest.Knows(t, st, own, peer, now())
	b := book{st, natstest.Bus(t, s, own, "ledger"), prometheus.NewRegistry()}
	natstest.Run(t, b.bus, ledger.New(federation.Gate{MinSeverity: federation.High}, federation.BacklogBound{Messages: 1000, Bytes: 1 << 30}, st, b.bus, b.reg, now))
	return b
}

// read is the ledger's answer: outbound and inbound of the one peer.
func (b book) read(t *testing.T) (out, in federation.Delivery) {
	t.Helper()
	d, err := function.Ask(t.Context(), b.bus, own, ask.Deliveries, ask.None{})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Deliveries) != 2 || d.SiteID != own || d.Deliveries[0].Direction != federation.Outbound || d.Deliveries[1].Direction != federation.Inbound {
		t.Fatalf("the ledger is %+v", d)
	}
	return d.Deliveries[0], d.Deliveries[1]
}

// admit makes the consumer that site keeps for another, for alerts from high up.
func admit(t *testing.T, bus *function.Bus, site, other federation.SiteID) jetstream.Consumer {
	t.Helper()
	c, err := bus.JetStream().CreateConsumer(t.Context(), subject.AlertStream(site), jetstream.ConsumerConfig{
		Durable: subject.AlertConsumer(other), AckPolicy: jetstream.AckExplicitPolicy,
		FilterSubjects: []string{subject.Alert(federation.Critical), subject.Alert(federation.High)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// share stores one alert of each severity in the bus's own stream.
func share(t *testing.T, bus *function.Bus, severities ...federation.Severity) {
	t.Helper()
	for _, s := range severities {
		if _, err := bus.JetStream().Publish(t.Context(), subject.Alert(s), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
}

func ack(t *testing.T, m jetstream.Msg) {
	t.Helper()
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// figures is a delivery in short.
func figures(d federation.Delivery) string {
	show := func(n *int) string {
		if n == nil {
			return "-"
		}
		return strconv.Itoa(*n)
	}
	age := "-"
	if d.OldestPendingSeconds != nil {
		age = fmt.Sprint(*d.OldestPendingSeconds, " s")
	}
	return fmt.Sprintf("reachable %t, shared %s, acknowledged %s, refused %s, stored %s, pending %s, oldest %s, redelivered %s %s",
		d.Reachable, show(d.Shared), show(d.Acknowledged), show(d.Refused), show(d.Stored), show(d.Pending), age, show(d.Redelivered), d.Detail)
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// becomes waits until a delivery is as wanted, and gives it: a consumer counts a new
// message only a moment after the stream has it.
func becomes(t *testing.T, what string, read func() federation.Delivery, want string) (d federation.Delivery) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("%s: it is at last\n%s\nand not\n%s", what, figures(d), want)
		}
	}()
	natstest.Eventually(t, "the ledger is right", func() bool { d = read(); return figures(d) == want })
	return d
}

func TestTheLedgerFollowsAcknowledgements(t *testing.T) {
	t.Parallel()
	s := hub(t)
	bus := natstest.Bus(t, s, own, "origin")
	var began atomic.Pointer[time.Time] // when the first alert for the peer came into the stream
	began.Store(new(time.Now()))
	b := start(t, s, func() time.Time { return began.Load().Add(90 * time.Second) })
	outbound := func() federation.Delivery { out, _ := b.read(t); return out }
	out, _ := b.read(t)
	equal(t, "before it is admitted", figures(out), "reachable true, shared -, acknowledged -, refused -, stored -, pending -, oldest -, redelivered - site-b is not admitted yet")

	c := admit(t, bus, own, peer)
	out, _ = b.read(t)
	equal(t, "before the first alert", figures(out), "reachable true, shared 0, acknowledged 0, refused 0, stored 0, pending 0, oldest -, redelivered 0 ")

	share(t, bus, federation.Low, federation.High, federation.Critical, federation.Medium, federation.High)
	alerts, err := bus.JetStream().Stream(t.Context(), subject.AlertStream(own))
	if err != nil {
		t.Fatal(err)
	}
	first, err := alerts.GetMsg(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	began.Store(&first.Time)
	out = becomes(t, "with nothing sent", outbound, "reachable true, shared 3, acknowledged 0, refused 0, stored 0, pending 3, oldest 90 s, redelivered 0 ")
	if out.OldestPendingAt == nil || !out.OldestPendingAt.Equal(first.Time) {
		t.Errorf("the oldest came at %v, not at %v", out.OldestPendingAt, first.Time)
	}

	msgs := natstest.Fetch(t, c, 2)
	ack(t, msgs[1])
	out, _ = b.read(t)
	equal(t, "with the second acknowledged, the first not", figures(out), "reachable true, shared 3, acknowledged 1, refused 0, stored 1, pending 2, oldest 90 s, redelivered 0 ")

	if err := msgs[0].Nak(); err != nil {
		t.Fatal(err)
	}
	again := natstest.Fetch(t, c, 2)
	out, _ = b.read(t)
	equal(t, "with the first sent again", figures(out), "reachable true, shared 3, acknowledged 1, refused 0, stored 1, pending 2, oldest 90 s, redelivered 1 ")
	for _, m := range again {
		ack(t, m)
	}
	out, _ = b.read(t)
	equal(t, "with all acknowledged", figures(out), "reachable true, shared 3, acknowledged 3, refused 0, stored 3, pending 0, oldest -, redelivered 0 ")

	share(t, bus, federation.High) // right behind the floor
	next, err := alerts.GetMsg(t.Context(), 6)
	if err != nil {
		t.Fatal(err)
	}
	began.Store(&next.Time)
	becomes(t, "with a further one", outbound, "reachable true, shared 4, acknowledged 3, refused 0, stored 3, pending 1, oldest 90 s, redelivered 0 ")
}

func TestTheLedgerShowsTheBacklog(t *testing.T) {
	t.Parallel()
	s := hub(t)
	b := start(t, s, time.Now)
	share(t, b.bus, federation.Low, federation.Critical)
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	if err := b.store.RecordDrop(t.Context(), own, federation.Info, 3, at); err != nil {
		t.Fatal(err)
	}
	d, err := function.Ask(t.Context(), b.bus, own, ask.Deliveries, ask.None{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Backlog.Bytes < 50 || d.Backlog.Bytes > 500 {
		t.Errorf("two alerts take %d bytes", d.Backlog.Bytes)
	}
	d.Backlog.Bytes = 0
	equal(t, "backlog", d.Backlog, federation.Backlog{
		Messages: 2, MaxMessages: 1000, MaxBytes: 1 << 30, Dropped: map[federation.Severity]int{federation.Info: 3}, DroppedAt: &at,
	})
}

func TestTheGaugesShowWhatGoesOut(t *testing.T) {
	t.Parallel()
	s := hub(t)
	bus := natstest.Bus(t, s, own, "origin")
	b := start(t, s, func() time.Time { return time.Now().Add(time.Hour) })
	c := admit(t, bus, own, peer)
	share(t, bus, federation.Critical, federation.High)
	ack(t, natstest.Fetch(t, c, 1)[0])
	var got map[string]float64
	natstest.Within(t, 20*time.Second, "the gauges are set", func() bool {
		got = map[string]float64{}
		families, err := b.reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "aurora_federation_delivery_oldest_pending_seconds" && m.GetGauge().GetValue() < 3600 {
					continue // an hour at least, by the clock of the test
				}
				if m.GetLabel()[0].GetValue() == string(peer) {
					got[strings.TrimPrefix(f.GetName(), "aurora_federation_")] = min(m.GetGauge().GetValue(), 3600)
				}
			}
		}
		return got["deliveries_stored"] == 1
	})
	equal(t, "gauges", got, map[string]float64{"deliveries_pending": 1, "deliveries_stored": 1, "deliveries_refused": 0, "delivery_oldest_pending_seconds": 3600})
}

func TestWhatAPeerHasIsAskedForAcrossTheLink(t *testing.T) {
	hub := hub(t)
	b := start(t, hub, time.Now)
	alert := federation.SharedAlert{
		Version: federation.SharedAlertVersion, OriginSite: peer, OriginName: "B", OriginID: "1", RaisedAt: time.Now(),
		NewAlert: federation.NewAlert{Title: "beacon", Severity: federation.High, Source: "edr"},
	}
	if _, err := b.store.ReceiveAlerts(t.Context(), []federation.Alert{alert.Received("here-1", time.Now())}, nil); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, in := b.read(t)
	equal(t, "with no peer", figures(in), "reachable false, shared -, acknowledged -, refused -, stored 1, pending -, oldest -, redelivered - site-b does not answer")
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("a peer that is away was waited for %v", took)
	}

	away := natstest.Bus(t, leaf(t, hub), peer, "origin")
	if _, err := away.JetStream().CreateStream(t.Context(), stream.Alerts(peer, stream.Limits{})); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the peer answers", func() bool { _, in = b.read(t); return in.Reachable })
	equal(t, "before the peer admits this site", figures(in), "reachable true, shared -, acknowledged -, refused -, stored 1, pending -, oldest -, redelivered - site-b has not admitted this site yet")

	admit(t, away, peer, own)
	share(t, away, federation.High, federation.Low, federation.Critical)
	becomes(t, "with two alerts on their way", func() federation.Delivery { _, in = b.read(t); return in }, "reachable true, shared -, acknowledged -, refused -, stored 1, pending 2, oldest -, redelivered 0 ")
}

// What is unknown is null, so that nobody takes it for none.
func TestTheLastComparisonIsShown(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	b := start(t, hub(t), func() time.Time { return noon })
	if out, in := b.read(t); out.Reconciliation != nil || in.Reconciliation != nil {
		t.Errorf("before the first it shows %+v, %+v", out, in)
	}
	want := federation.Reconciliation{At: noon.Add(-12 * time.Second), From: noon.Add(-time.Hour), Until: noon.Add(-time.Minute), Compared: 40, Lost: 3, Resent: 2, Duplicated: 1}
	for _, site := range []federation.SiteID{peer, "site-gone"} {
		if err := b.store.RecordReconciliation(t.Context(), site, federation.Inbound, want); err != nil {
			t.Fatal(err)
		}
	}
	out, in := b.read(t)
	equal(t, "inbound", in.Reconciliation, &want)
	equal(t, "outbound", out.Reconciliation, (*federation.Reconciliation)(nil))
	natstest.Eventually(t, "the gauges show it", func() bool { return len(gathered(t, b.reg)) == 4 })
	equal(t, "gauges", gathered(t, b.reg), map[string]float64{
		"aurora_federation_reconciliation_lost/inbound/site-b": 3, "aurora_federation_reconciliation_duplicated/inbound/site-b": 1,
		"aurora_federation_reconciliation_compared/inbound/site-b": 40, "aurora_federation_reconciliation_age_seconds/inbound/site-b": 12,
	})
}

// gathered is the gauges of the comparisons, by name and labels.
func gathered(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if name := f.GetName(); strings.HasPrefix(name, "aurora_federation_reconciliation_") {
				found[name+"/"+m.GetLabel()[0].GetValue()+"/"+m.GetLabel()[1].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	return found
}

func TestUnknownFiguresAreNull(t *testing.T) {
	data, err := json.Marshal(federation.Delivery{Peer: peer, Direction: federation.Inbound})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "JSON", string(data), `{"peer":"site-b","direction":"inbound","reachable":false,"shared":null,"acknowledged":null,"refused":null,"stored":null,"pending":null,"oldest_pending_at":null,"oldest_pending_seconds":null,"redelivered":null,"reconciliation":null}`)
}

func TestAnAlertIsFollowedToEachPeer(t *testing.T) {
	t.Parallel()
	s := hub(t)
	bus := natstest.Bus(t, s, own, "origin")
	b := start(t, s, time.Now)
	if _, err := bus.JetStream().CreateStream(t.Context(), stream.Events(own)); err != nil {
		t.Fatal(err)
	}
	raise := func(title string, severity federation.Severity, shared bool) string {
		t.Helper()
		a := federation.NewAlert{Title: title, Severity: severity, Source: "test"}.Alert(title, time.Now())
		var out []store.Outgoing
		if shared {
			out = append(out, store.Outgoing{Subject: subject.Alert(severity), MsgID: title, AlertID: a.ID, Payload: fmt.Appendf(nil, `{"origin_alert_id":%q}`, a.ID)})
		}
		if _, _, err := b.store.RaiseAlert(t.Context(), a, out); err != nil {
			t.Fatal(err)
		}
		return a.ID
	}
	relay := func() { // as alertrelay does
		t.Helper()
		queued, err := b.store.Outbox(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range queued {
			sequences, err := bus.Store(t.Context(), []function.Message{{Subject: q.Subject, ID: q.MsgID, Payload: q.Payload}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.store.Published(t.Context(), time.Now(), []store.Confirmed{{Queued: q, Sequence: sequences[0]}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	state := func(id string) string {
		t.Helper()
		d, err := function.Ask(t.Context(), b.bus, own, ask.AlertDeliveries, ask.AlertID{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		if d.AlertID != id || d.OriginSite != own || len(d.Deliveries) != 1 || d.Deliveries[0].Peer != peer {
			t.Fatalf("deliveries of %s: %+v", id, d)
		}
		return string(d.Deliveries[0].State) + " " + d.Deliveries[0].Detail
	}

	low, first, second := raise("low", federation.Low, false), raise("first", federation.High, true), raise("second", federation.Critical, true)
	equal(t, "low", state(low), "kept severity low is below high, the lowest that passes")
	equal(t, "in the outbox", state(first), "queued it waits in the outbox")
	relay()
	equal(t, "without a consumer", state(first), "queued site-b is not admitted yet")

	c := admit(t, bus, own, peer)
	const under = "queued it is in the stream, and the peer has not acknowledged everything up to it"
	equal(t, "in the stream", state(first), under)
	msgs := natstest.Fetch(t, c, 2)
	ack(t, msgs[1])
	equal(t, "acknowledged above the floor", state(second), under)
	ack(t, msgs[0])
	equal(t, "first", state(first), "stored ")
	equal(t, "second", state(second), "stored ")

	equal(t, "without a record", state(raise("old", federation.High, false)), "unknown there is no record of its sharing: it was raised under another gate, or before such records were kept")
	equal(t, "shared under a wider gate", func() string { id := raise("wide", federation.Medium, true); relay(); return state(id) }(),
		"unknown it was shared before the gate was narrowed: whether the peer took it by then is not recorded")
	alerts, err := bus.JetStream().Stream(t.Context(), subject.AlertStream(own))
	if err != nil {
		t.Fatal(err)
	}
	if err := alerts.Purge(t.Context(), jetstream.WithPurgeSequence(2)); err != nil {
		t.Fatal(err)
	}
	equal(t, "gone from the stream", state(first), "unknown the stream no longer holds it, so the acknowledgements prove nothing")
	equal(t, "kept in the stream", state(second), "stored ")

	// One from the middle, as the function backlog does.
	middle, last := raise("middle", federation.High, true), raise("last", federation.Critical, true)
	relay()
	for _, m := range natstest.Fetch(t, c, 2) {
		ack(t, m)
	}
	equal(t, "in the middle", state(middle), "stored ")
	if err := alerts.Purge(t.Context(), jetstream.WithPurgeSubject(subject.Alert(federation.High))); err != nil {
		t.Fatal(err)
	}
	equal(t, "gone from the middle", state(middle), "unknown the stream no longer holds it, so the acknowledgements prove nothing")
	equal(t, "behind it", state(last), "stored ")

	bad := raise("bad", federation.High, true)
	relay()
	end(t, natstest.Fetch(t, c, 1)[0], "it is bad")
	natstest.Eventually(t, "the refusal is known", func() bool { return state(bad) == "refused it is bad" })
	if err := alerts.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "a refusal of what is gone from the stream", state(bad), "refused it is bad")

	if err := bus.JetStream().DeleteStream(t.Context(), subject.AlertStream(own)); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the stream is made anew", func() bool {
		_, err := bus.JetStream().Stream(t.Context(), subject.AlertStream(own))
		return err == nil
	})
	admit(t, bus, own, peer)
	share(t, bus, federation.High, federation.High, federation.High) // so that the new stream has the sequence, too
	equal(t, "of a stream that was lost", state(second), "unknown the stream no longer holds it, so the acknowledgements prove nothing")

	received := federation.SharedAlert{
		Version: federation.SharedAlertVersion, OriginSite: peer, OriginID: "1", RaisedAt: time.Now(),
		NewAlert: federation.NewAlert{Title: "beacon", Severity: federation.High, Source: "edr"},
	}.Received("here-1", time.Now())
	if _, err := b.store.ReceiveAlerts(t.Context(), []federation.Alert{received}, nil); err != nil {
		t.Fatal(err)
	}
	d, err := function.Ask(t.Context(), b.bus, own, ask.AlertDeliveries, ask.AlertID{ID: "here-1"})
	if err != nil || d.OriginSite != peer || d.Deliveries == nil || len(d.Deliveries) != 0 {
		t.Errorf("an alert of the peer: %+v, %v", d, err)
	}
	if _, err := function.Ask(t.Context(), b.bus, own, ask.AlertDeliveries, ask.AlertID{ID: "nobody"}); fault.Of(err).Code != fault.NotFound {
		t.Errorf("an unknown alert: %v", err)
	}
}

func TestASecondPublishHasTheFirstSequence(t *testing.T) {
	t.Parallel()
	s := hub(t)
	b := start(t, s, time.Now)
	m := function.Message{Subject: subject.Alert(federation.High), ID: "one", Payload: []byte("{}")}
	other := function.Message{Subject: subject.Alert(federation.High), ID: "two", Payload: []byte("{}")}
	got, err := b.bus.Store(t.Context(), []function.Message{m, other, m})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "sequences", got, []uint64{1, 2, 1})
	got, err = b.bus.Store(t.Context(), []function.Message{{Subject: "nobody.captures.this", ID: "three"}, m})
	equal(t, "sequences", got, []uint64{0, 1})
	if fault.Of(err).Code != fault.Unavailable {
		t.Errorf("a message that no stream takes: %v", err)
	}
}

func TestBothLanesAreOneLedger(t *testing.T) {
	t.Parallel()
	s := hub(t)
	bus := natstest.Bus(t, s, own, "origin")
	b := start(t, s, time.Now)
	share(t, bus, federation.High, federation.Critical, federation.High)
	lanes := map[string]jetstream.Consumer{}
	for _, lane := range subject.AlertConsumers(peer) {
		c, err := bus.JetStream().CreateConsumer(t.Context(), subject.AlertStream(own), jetstream.ConsumerConfig{
			Durable: lane.Consumer, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: subject.Alert(lane.Severities[0]),
		})
		if err != nil {
			t.Fatal(err)
		}
		lanes[lane.Consumer] = c
	}
	state := func(id string) federation.DeliveryState {
		t.Helper()
		d, err := function.Ask(t.Context(), b.bus, own, ask.AlertDeliveries, ask.AlertID{ID: id})
		if err != nil || len(d.Deliveries) != 1 {
			t.Fatalf("%s: %+v, %v", id, d, err)
		}
		return d.Deliveries[0].State
	}
	for i, a := range []federation.Alert{
		federation.NewAlert{Title: "h", Severity: federation.High, Source: "test"}.Alert("h", time.Now()),
		federation.NewAlert{Title: "c", Severity: federation.Critical, Source: "test"}.Alert("c", time.Now()),
	} {
		if _, _, err := b.store.RaiseAlert(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := b.store.Published(t.Context(), time.Now(), []store.Confirmed{{Queued: store.Queued{Outgoing: store.Outgoing{AlertID: a.ID, Version: 1}}, Sequence: uint64(i + 1)}}); err != nil {
			t.Fatal(err)
		}
	}
	short := func() string {
		t.Helper()
		out, _ := b.read(t)
		return fmt.Sprint(*out.Shared, *out.Stored, *out.Refused, *out.Pending, *out.Redelivered, out.OldestPendingAt != nil)
	}
	natstest.Eventually(t, "both lanes have counted what was shared", func() bool { return short() == "3 0 0 3 0 true" })
	ack(t, natstest.Fetch(t, lanes["site-b_critical"], 1)[0])
	equal(t, "with the critical one acknowledged", short(), "3 1 0 2 0 true")
	equal(t, "the critical one", state("c"), federation.DeliveryStored)
	equal(t, "the high one before it", state("h"), federation.DeliveryQueued)
	msgs := natstest.Fetch(t, lanes["site-b"], 2)
	end(t, msgs[0], "bad")
	ack(t, msgs[1])
	natstest.Eventually(t, "the refusal is known", func() bool { return short() == "3 2 1 0 0 false" })
}

func TestTheLedgerOfACrowdIsWhole(t *testing.T) {
	t.Parallel()
	const crowd = 3000 // of which the deliveries are over a megabyte
	s := hub(t)
	b := start(t, s, time.Now)
	storetest.KnowsMany(t, b.store, own, crowd, time.Now())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d, err := function.Ask(ctx, b.bus, own, ask.Deliveries, ask.None{})
	if err != nil || len(d.Deliveries) != 2*(crowd+1) {
		t.Errorf("%d deliveries, %v", len(d.Deliveries), err)
	}
}
