package reconcile_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/reconcile"
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
	origin federation.SiteID = "site-a"
	peer   federation.SiteID = "site-b"
)

// config compares so seldom that a test sees no second look of its own accord.
var config = reconcile.Config{Gate: federation.Gate{MinSeverity: federation.High}, Interval: time.Hour, Backfill: 24 * time.Hour}

// servers are those of the origin and of the peer, joined.
func servers(t *testing.T) (hub, leaf *server.Server) {
	t.Helper()
	hub = natstest.StartHub(t, nats.DevHub)
	leaf = natstest.StartLeaf(t, nats.DevLeaf, hub)
	natstest.Joined(t, hub, leaf)
	return hub, leaf
}

// database is an empty one of a site that knows another.
func database(t *testing.T, own, other federation.SiteID) *store.Store {
	t.Helper()
	st := storetest.Open(t)
	storetest.Knows(t, st, own, other, time.Now())
	return st
}

// start runs reconcile at a site until the test ends.
func start(t *testing.T, s *server.Server, own federation.SiteID, st *store.Store, config reconcile.Config) {
	t.Helper()
	bus := secondary(t, s, own)
	natstest.Run(t, bus, reconcile.New(config, st, bus, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), time.Now))
}

// secondary is the bus of a site that exchanges by the hub, where there is one.
func secondary(t *testing.T, s *server.Server, own federation.SiteID) *function.Bus {
	t.Helper()
	id := natstest.Identity(own)
	id.Tier, id.Exchange = federation.Secondary, federation.ExchangeHub
	bus, err := function.NewBus(natstest.Bus(t, s, own, "reconcile").Conn(), id)
	if err != nil {
		t.Fatal(err)
	}
	bus.Identify(natstest.Key(t, own), natstest.Keys{})
	return bus
}

// raise stores a local alert that was raised some time ago, and nothing of its sharing.
func raise(t *testing.T, st *store.Store, title string, s federation.Severity, ago time.Duration, out ...store.Outgoing) federation.Alert {
	t.Helper()
	a := federation.NewAlert{Title: title, Severity: s, Source: "test"}.Alert(title, time.Now().Add(-ago))
	for i := range out {
		out[i].AlertID, out[i].Version = a.ID, a.Version
	}
	if _, _, err := st.RaiseAlert(t.Context(), a, out); err != nil {
		t.Fatal(err)
	}
	return a
}

// outbox is the message ids that wait at a site.
func outbox(t *testing.T, st *store.Store) []string {
	t.Helper()
	queued, err := st.Outbox(t.Context(), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, q := range queued {
		if q.AlertID != "" {
			ids = append(ids, q.MsgID)
		}
	}
	return ids
}

// site is the origin of a test and a connection of its peer.
type site struct {
	*testing.T
	store *store.Store
	own   *function.Bus
	peer  *function.Bus
}

func single(t *testing.T) site {
	s := natstest.Start(t, origin)
	o := site{t, database(t, origin, peer), natstest.Bus(t, s, origin, "test"), natstest.Bus(t, s, peer, "test")}
	start(t, s, origin, o.store, config)
	return o
}

// compare asks the origin, as a peer that has some alerts of it, and gives the ids that are missing.
func (o site) compare(has ...federation.Held) (missing []string, a ask.CompareAnswer) {
	o.Helper()
	now := time.Now()
	q := ask.CompareQuestion{Span: federation.Span{After: federation.Mark{At: now.Add(-100 * time.Hour)}, Until: now}, Page: federation.HeldPage{Held: has}}
	a, err := function.Ask(o.Context(), o.peer, origin, ask.ReconcileCompare(peer), q)
	if err != nil {
		o.Fatal(err)
	}
	for _, h := range a.Missing {
		missing = append(missing, h.ID)
	}
	return missing, a
}

func (o site) expect(what string, pending int, missing ...string) {
	o.Helper()
	got, a := o.compare()
	if !slices.Equal(got, missing) || a.Pending != pending {
		o.Errorf("%s: %v are missing and %d pending, want %v and %d", what, got, a.Pending, missing, pending)
	}
}

// publish takes an alert's way through the stream, as alertrelay does.
func (o site) publish() {
	o.Helper()
	queued, err := o.store.Outbox(o.Context(), 100)
	if err != nil {
		o.Fatal(err)
	}
	for _, q := range queued {
		if q.AlertID == "" { // an event, for which there is no stream here
			continue
		}
		sequences, err := o.own.Store(o.Context(), []function.Message{{Subject: q.Subject, ID: q.MsgID, Payload: q.Payload}})
		if err != nil {
			o.Fatal(err)
		}
		if _, err := o.store.Published(o.Context(), time.Now(), []store.Confirmed{{Queued: q, Sequence: sequences[0]}}); err != nil {
			o.Fatal(err)
		}
	}
}

func (o site) makeStream() jetstream.Stream {
	o.Helper()
	s, err := o.own.JetStream().CreateStream(o.Context(), stream.Alerts(origin, stream.Limits{}))
	if err != nil {
		o.Fatal(err)
	}
	return s
}

// What waits or is in the stream is on its way; what neither is is lost. A sequence
// of a stream that was made anew since says nothing.
func TestWhatIsOnItsWayIsNotLost(t *testing.T) {
	t.Parallel()
	o := single(t)
	s := o.makeStream()
	raise(t, o.store, "never queued", federation.High, 3*time.Minute)
	o.expect("without a message", 0, "never queued")
	out := store.Outgoing{Subject: subject.Alert(federation.High), MsgID: "m", Payload: []byte("{}")}
	raise(t, o.store, "sent", federation.High, 2*time.Minute, out)
	o.expect("in the outbox", 1, "never queued")
	o.publish()
	o.expect("in the stream of a peer that is not admitted", 1, "never queued")
	c, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: subject.AlertConsumer(peer), AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	o.expect("not acknowledged", 1, "never queued")
	msg, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	o.expect("under way", 1, "never queued")
	if err := msg.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.expect("acknowledged, but not there", 0, "never queued", "sent")

	raise(t, o.store, "purged", federation.High, time.Minute, store.Outgoing{Subject: subject.Alert(federation.High), MsgID: "n", Payload: []byte("{}")})
	o.publish()
	o.expect("in the stream", 1, "never queued", "sent")
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.expect("let go of", 0, "never queued", "sent", "purged")

	raise(t, o.store, "old stream", federation.High, 30*time.Second, store.Outgoing{Subject: subject.Alert(federation.High), MsgID: "o", Payload: []byte("{}")})
	o.publish()
	if err := o.own.JetStream().DeleteStream(t.Context(), subject.AlertStream(origin)); err != nil {
		t.Fatal(err)
	}
	o.expect("without a stream", 0, "never queued", "sent", "purged", "old stream")
	o.makeStream()
	for i := range 5 { // so that the new stream has the sequence, too
		if _, err := o.own.JetStream().Publish(t.Context(), subject.Alert(federation.Critical), []byte(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	o.expect("in a new stream", 0, "never queued", "sent", "purged", "old stream")
}

func TestAPeerShouldHaveWhatTheGateAdmitsOfTheWindow(t *testing.T) {
	t.Parallel()
	o := single(t)
	a := raise(t, o.store, "a", federation.Critical, time.Hour)
	b := raise(t, o.store, "b", federation.High, time.Minute)
	raise(t, o.store, "low", federation.Low, time.Minute)
	raise(t, o.store, "old", federation.Critical, 26*time.Hour)
	o.expect("of all", 0, "a", "b")
	older := b.Held()
	b.Version++
	if _, err := o.store.UpdateAlert(t.Context(), b.ID, federation.AlertPatch{Status: federation.Triaged}, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	extra := federation.Held{ID: "x", Version: 1, RaisedAt: a.CreatedAt.Add(time.Second)}
	if missing, got := o.compare(a.Held(), extra, older); !slices.Equal(missing, []string{"b"}) || got.Extra != 1 {
		t.Errorf("of an older version: %+v", got)
	}
	if missing, got := o.compare(a.Held(), b.Held()); len(missing) != 0 || got.Extra != 0 || got.Upto != nil {
		t.Errorf("of all that it should have: %+v", got)
	}

	digests := federation.Digests{}
	digests.Add(a.Held())
	digests.Add(b.Held())
	q := ask.DigestQuestion{From: time.Now().Add(-100 * time.Hour), Until: time.Now(), Digests: digests}
	got, err := function.Ask(t.Context(), o.peer, origin, ask.ReconcileDigest(peer), q)
	if err != nil || got.Compared != 2 || len(got.Hours) != 0 || got.From.Before(time.Now().Add(-26*time.Hour)) {
		t.Errorf("digests of all that it should have: %+v, %v", got, err)
	}
	q.Digests = federation.Digests{}
	q.Digests.Add(a.Held())
	q.Digests.Add(older)
	q.Digests.Add(federation.Held{ID: "y", Version: 1, RaisedAt: time.Now().Add(-50 * time.Hour)}) // before the window
	got, err = function.Ask(t.Context(), o.peer, origin, ask.ReconcileDigest(peer), q)
	if err != nil || !slices.Equal(got.Hours, []int64{federation.HourOf(b.CreatedAt)}) {
		t.Errorf("digests of an older version: %+v, %v", got, err)
	}
}

func TestNothingIsSentAgainThatMayNotLeave(t *testing.T) {
	t.Parallel()
	o := single(t)
	raise(t, o.store, "mine", federation.High, time.Minute)
	raise(t, o.store, "low", federation.Low, time.Minute)
	raise(t, o.store, "old", federation.High, 26*time.Hour)
	ids := ask.AlertIDs{IDs: []string{"mine", "low", "old", "nobody", "mine"}}
	again := func() ask.Resent {
		t.Helper()
		got, err := function.Ask(t.Context(), o.peer, origin, ask.ReconcileResend(peer), ids)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := again(); got.Resent != 1 {
		t.Errorf("%d were sent again", got.Resent)
	}
	if got := again(); got.Resent != 0 {
		t.Errorf("at once, %d were sent again", got.Resent)
	}
	queued, err := o.store.Outbox(t.Context(), 10)
	if err != nil || len(queued) != 2 { // with the event that the peer was seen, which goes first
		t.Fatalf("the outbox has %+v, %v", queued, err)
	}
	q := queued[1]
	if q.Subject != "aurora.alerts.federation.high.to.site-b" || q.Peer != peer || q.AlertID != "mine" || q.Version != 1 || q.Priority >= 0 || q.MsgID == federation.SharedMsgID(origin, "mine", 1) {
		t.Errorf("it is sent as %+v", q)
	}
	o.expect("after that", 1)
}

func TestAQuestionOfAPeerThatThePeerDidNotSignIsRefused(t *testing.T) {
	t.Parallel()
	o := single(t)
	forger, err := function.NewBus(o.peer.Conn(), natstest.Identity(peer))
	if err != nil {
		t.Fatal(err)
	}
	forger.Identify(natstest.Key(t, "site-x"), natstest.Keys{})
	now := time.Now()
	question := ask.DigestQuestion{From: now.Add(-time.Hour), Until: now}
	if _, err := function.Ask(t.Context(), forger, origin, ask.ReconcileDigest(peer), question); !fault.Is(err, fault.Forbidden) || !strings.Contains(err.Error(), "site-b is signed with the key") {
		t.Errorf("with another key: %v", err)
	}
	unsigned := ask.ReconcileDigest(peer)
	unsigned.Asker = nil
	if _, err := function.Ask(t.Context(), o.peer, origin, unsigned, question); !fault.Is(err, fault.Forbidden) || !strings.Contains(err.Error(), "is not signed") {
		t.Errorf("with none: %v", err)
	}
	if _, err := function.Ask(t.Context(), o.peer, origin, ask.ReconcileDigest(peer), question); err != nil {
		t.Errorf("with its own: %v", err)
	}
}

func TestAnAnswerThatTheOriginDidNotSignIsNotHeard(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, origin)
	asker, liar := natstest.Bus(t, s, peer, "test"), natstest.Bus(t, s, "site-x", "liar")
	var recorded *natsgo.Msg
	answer := func(how func(*natsgo.Msg) *natsgo.Msg) {
		t.Helper()
		sub, err := liar.Conn().Subscribe(subject.Reconcile(origin, peer, "digest"), func(m *natsgo.Msg) {
			a := how(m)
			a.Subject = m.Reply
			if err := liar.Conn().PublishMsg(a); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := liar.Conn().Flush(); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		got, err := function.Ask(t.Context(), asker, origin, ask.ReconcileDigest(peer), ask.DigestQuestion{From: now, Until: now})
		if !fault.Is(err, fault.Forbidden) {
			t.Errorf("the answer %+v was heard: %v", got, err)
		}
		if err := errors.Join(sub.Unsubscribe(), liar.Conn().Flush()); err != nil {
			t.Fatal(err)
		}
	}
	answer(func(*natsgo.Msg) *natsgo.Msg { return &natsgo.Msg{Data: []byte(`{"hours":[]}`)} }) // unsigned
	start(t, s, origin, database(t, origin, peer), config)
	now := time.Now()
	watch, err := liar.Conn().SubscribeSync(subject.Inbox(peer) + ".>")
	if err := errors.Join(err, liar.Conn().Flush()); err != nil { // the answer comes over another connection
		t.Fatal(err)
	}
	if _, err := function.Ask(t.Context(), asker, origin, ask.ReconcileDigest(peer), ask.DigestQuestion{From: now, Until: now}); err != nil {
		t.Fatalf("the origin itself: %v", err)
	}
	if recorded, err = watch.NextMsg(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	// An old answer, rightly signed, where the origin does not answer itself.
	other := natstest.Start(t, "site-c")
	asker, liar = natstest.Bus(t, other, peer, "test"), natstest.Bus(t, other, "site-x", "liar")
	answer(func(*natsgo.Msg) *natsgo.Msg { return &natsgo.Msg{Header: recorded.Header, Data: recorded.Data} })
}

func TestOnlyAPeerThatIsKnownMayCompare(t *testing.T) {
	t.Parallel()
	o := single(t)
	raise(t, o.store, "mine", federation.High, time.Minute)
	now := time.Now()
	for _, who := range []federation.SiteID{"site-x", origin} {
		bus, err := function.NewBus(o.peer.Conn(), natstest.Identity(who))
		if err != nil {
			t.Fatal(err)
		}
		bus.Identify(natstest.Key(t, who), natstest.Keys{})
		_, digest := function.Ask(t.Context(), bus, origin, ask.ReconcileDigest(who), ask.DigestQuestion{From: now, Until: now})
		_, compare := function.Ask(t.Context(), bus, origin, ask.ReconcileCompare(who), ask.CompareQuestion{Span: federation.Span{After: federation.Mark{At: now}, Until: now}})
		_, resend := function.Ask(t.Context(), bus, origin, ask.ReconcileResend(who), ask.AlertIDs{IDs: []string{"mine"}})
		_, conclude := function.Ask(t.Context(), bus, origin, ask.ReconcileConclude(who), federation.Reconciliation{At: now, From: now, Until: now})
		for _, err := range []error{digest, compare, resend, conclude} {
			if !fault.Is(err, fault.NotFound) {
				t.Errorf("%s: %v", who, err)
			}
		}
	}
	if got := outbox(t, o.store); len(got) != 0 {
		t.Errorf("the outbox has %v", got)
	}
}

func TestWhatAPeerConcludesIsKeptByTheOriginsClock(t *testing.T) {
	t.Parallel()
	o := single(t)
	at := time.Now().UTC().Truncate(time.Microsecond)
	said := federation.Reconciliation{At: at.Add(time.Hour), From: at.Add(-time.Hour), Until: at, Compared: 7, Lost: 1}
	if _, err := function.Ask(t.Context(), o.peer, origin, ask.ReconcileConclude(peer), said); err != nil {
		t.Fatal(err)
	}
	all, err := o.store.Reconciliations(t.Context())
	got := all[store.Way{Peer: peer, Direction: federation.Outbound}]
	if err != nil || len(all) != 1 || got.Compared != 7 || got.Lost != 1 || !got.From.Equal(said.From) || time.Since(got.At).Abs() > time.Minute {
		t.Errorf("it keeps %+v, %v", all, err)
	}
}

// reachable waits until the peer reaches the origin.
func reachable(t *testing.T, leaf *server.Server) {
	t.Helper()
	look := natstest.Bus(t, leaf, peer, "look")
	natstest.Eventually(t, "the peer reaches the origin", func() bool {
		reached, err := look.Reaches(t.Context(), origin)
		return reached && err == nil
	})
}

// What is missing is not out of sight because the next look is a short one.
func TestALookGoesAsFarBackAsTheLastUntilNothingIsMissing(t *testing.T) {
	t.Parallel()
	hub, leaf := servers(t)
	from, to := database(t, origin, peer), database(t, peer, origin)
	old := raise(t, from, "old", federation.High, 5*time.Hour)
	reachable(t, leaf)
	often := config
	often.Interval = time.Second
	start(t, hub, origin, from, config)
	start(t, leaf, peer, to, often)
	var last federation.Reconciliation
	next := func() {
		t.Helper()
		natstest.Eventually(t, "there is another look", func() bool {
			all, err := to.Reconciliations(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r := all[store.Way{Peer: origin, Direction: federation.Inbound}]
			another := r.At.After(last.At)
			last = r
			return another
		})
	}
	natstest.Eventually(t, "it is found", func() bool { next(); return last.Lost+last.Pending == 1 })
	for range 3 {
		if next(); last.Pending != 1 || last.Lost != 0 || last.From.After(old.CreatedAt) {
			t.Fatalf("while it is on its way: %+v", last)
		}
	}
	if _, err := to.ReceiveAlerts(t.Context(), []federation.Alert{federation.Share(old, natstest.Identity(origin)).Received("here", time.Now())}, nil); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the looks are short again", func() bool { next(); return last.Pending == 0 && last.From.After(old.CreatedAt) })
}

// An hour of more alerts than a page has is compared page by page.
func TestAFullHourIsComparedPageByPage(t *testing.T) {
	t.Parallel()
	hub, leaf := servers(t)
	from, to := database(t, origin, peer), database(t, peer, origin)
	const n = 2*ask.MaxHeld + 500
	var (
		hour = time.Now().Truncate(time.Hour).Add(-time.Hour)
		here []federation.Alert
	)
	for i := range n {
		a := federation.NewAlert{Title: strconv.Itoa(i), Severity: federation.High, Source: "test"}.Alert(fmt.Sprintf("id-%05d", i), hour.Add(time.Duration(i/3)*time.Microsecond))
		if _, _, err := from.RaiseAlert(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 {
			here = append(here, federation.Share(a, natstest.Identity(origin)).Received("here-"+a.ID, time.Now()))
		}
	}
	if _, err := to.ReceiveAlerts(t.Context(), here, nil); err != nil {
		t.Fatal(err)
	}
	reachable(t, leaf)
	start(t, hub, origin, from, config)
	start(t, leaf, peer, to, config)
	var got federation.Reconciliation
	natstest.Within(t, 30*time.Second, "both know what came of it", func() bool {
		theirs, err := to.Reconciliations(t.Context())
		ours, err2 := from.Reconciliations(t.Context())
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		var found bool
		got, found = theirs[store.Way{Peer: origin, Direction: federation.Inbound}]
		_, told := ours[store.Way{Peer: peer, Direction: federation.Outbound}]
		return found && told
	})
	if missing := n - len(here); got.Compared != n || got.Lost+got.Pending != missing || got.Duplicated+got.Extra+got.Refused != 0 {
		t.Fatalf("it found %+v, want %d missing", got, missing)
	}
	again := outbox(t, from)
	slices.Sort(again)
	if len(slices.Compact(again)) != n-len(here) || !strings.HasPrefix(again[0], "site-a/id-00001/1/site-b/") {
		t.Errorf("%d wait to be sent again, the first is %s", len(again), again[0])
	}
}

// passedOn are a receiver and an origin whose alerts a hub passes on to it. The hub has a
// NATS server, and nothing else.
type passedOn struct {
	*testing.T
	from, to *store.Store // of the origin and of the receiver
	own      *function.Bus
	lanes    []jetstream.Consumer // what the hub keeps for the receiver
	hub      *function.Bus
}

const passing federation.SiteID = "site-h"

// byHub makes them, after they have compared before.
func byHub(t *testing.T, before ...federation.Reconciliation) passedOn {
	t.Helper()
	top, leaf := servers(t)
	third := natstest.StartLeaf(t, nats.DevLeaf, top, func(o *server.Options) {
		o.ServerName, o.JetStreamDomain = string(passing), subject.Domain(passing)
	})
	p := passedOn{T: t, from: database(t, origin, peer), to: database(t, peer, passing), hub: natstest.Bus(t, third, passing, "test")}
	alerts, err := p.hub.JetStream().CreateStream(t.Context(), stream.Alerts(passing, stream.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, lane := range subject.AlertConsumers(peer) {
		c, err := alerts.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
			Durable: lane.Consumer, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: subject.AlertFrom(lane.Severities[0], origin),
		})
		if err != nil {
			t.Fatal(err)
		}
		p.lanes = append(p.lanes, c)
	}
	p.hears(time.Time{})
	for _, r := range before {
		if err := p.to.RecordReconciliation(t.Context(), origin, federation.Inbound, r); err != nil {
			t.Fatal(err)
		}
	}
	reachable(t, leaf)
	natstest.Eventually(t, "the receiver reaches the hub", func() bool {
		reached, err := natstest.Bus(t, leaf, peer, "look").Reaches(t.Context(), passing)
		return reached && err == nil
	})
	start(t, top, origin, p.from, config)
	p.own = secondary(t, leaf, peer)
	often := config
	often.Interval = time.Second
	natstest.Run(t, p.own, reconcile.New(often, p.to, p.own, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), time.Now))
	return p
}

// hears is the gossip of the origin and of the hub at the receiver: that the one passes on
// what the other raises, the newest at the time given.
func (p passedOn) hears(newest time.Time) {
	p.Helper()
	now := time.Now()
	g := federation.Gossip{Version: federation.GossipVersion, SiteID: origin, SiteName: "A", Tier: federation.Secondary, SentAt: now, IntervalSeconds: 15, Exchange: federation.ExchangeHub,
		SharedAt: newest, Links: []federation.LinkView{{Peer: peer, Status: federation.Healthy, At: now, Relayed: true}}}
	h := federation.Gossip{Version: federation.GossipVersion, SiteID: passing, SiteName: "H", Tier: federation.Primary, SentAt: now, IntervalSeconds: 15, Exchange: federation.ExchangeHub,
		PassesFor: []federation.SiteID{origin, peer}}
	for _, g := range []federation.Gossip{g, h} {
		if _, err := p.to.RecordGossips(p.Context(), peer, []federation.Gossip{g}, now, federation.Thresholds{Degraded: time.Minute, Down: time.Hour}); err != nil {
			p.Fatal(err)
		}
	}
}

// last is what the receiver last found.
func (p passedOn) last() federation.Reconciliation {
	p.Helper()
	all, err := p.to.Reconciliations(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	return all[store.Way{Peer: origin, Direction: federation.Inbound}]
}

// ticks waits until reconcile has been asked some times more to compare.
func (p passedOn) ticks(n uint64) {
	p.Helper()
	done := func() uint64 {
		c, err := p.own.JetStream().Consumer(p.Context(), subject.TickStream(peer), subject.TickConsumer("reconcile", "recent"))
		if err != nil {
			p.Fatal(err)
		}
		return c.CachedInfo().AckFloor.Consumer
	}
	before := done()
	natstest.Within(p.T, 30*time.Second, "some ticks go by", func() bool { return done() >= before+n })
}

func TestAnOriginThatTheHubPassesOnIsComparedWhenThereIsSomethingToProve(t *testing.T) {
	t.Parallel()
	p := byHub(t)
	natstest.Within(t, 30*time.Second, "they compare", func() bool { return !p.last().At.IsZero() })
	first := p.last()
	if first.Until.Sub(first.From) < 23*time.Hour {
		t.Errorf("the first look goes from %s to %s, not over all", first.From, first.Until)
	}
	p.ticks(3)
	if at := p.last().At; !at.Equal(first.At) {
		t.Errorf("with nothing to prove they compared again, %s after the first", at.Sub(first.At))
	}
	raised := time.Now()
	p.hears(raised)
	natstest.Within(t, 60*time.Second, "what was raised is proved", func() bool { return p.last().Until.After(raised) })
	proved := p.last()
	if proved.Until.Sub(proved.From) > 3*time.Hour {
		t.Errorf("that look goes from %s to %s, not over the last hours", proved.From, proved.Until)
	}
	p.ticks(3)
	if again := p.last().At; !again.Equal(proved.At) {
		t.Errorf("with all proved they compared again, %s later", again.Sub(proved.At))
	}
}

func TestAnOriginThatTheHubPassesOnIsComparedInFullOnceInTenMinutes(t *testing.T) {
	t.Parallel()
	before := federation.Reconciliation{At: time.Now().Add(-10 * time.Minute), From: time.Now().Add(-2 * time.Hour), Until: time.Now().Add(-11 * time.Minute)}
	p := byHub(t, before)
	natstest.Within(t, 30*time.Second, "they compare though there is nothing to prove", func() bool { return p.last().At.After(before.At.Add(time.Minute)) })
	if r := p.last(); r.Until.Sub(r.From) < 23*time.Hour {
		t.Errorf("that look goes from %s to %s, not over all", r.From, r.Until)
	}
}

// While the hub still has alerts for the receiver, it may have those that are missing.
func TestWhatTheHubMayStillHaveIsNotLost(t *testing.T) {
	t.Parallel()
	p := byHub(t)
	if _, err := p.hub.JetStream().Publish(t.Context(), subject.AlertFrom(federation.Critical, origin), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	raise(t, p.from, "mine", federation.Critical, time.Minute)
	p.hears(time.Now())
	natstest.Within(t, 30*time.Second, "it is missed", func() bool { return p.last().Pending == 1 })
	p.ticks(2)
	if r := p.last(); r.Lost != 0 || r.Pending != 1 {
		t.Errorf("while the hub has an alert for it they find %+v", r)
	}
	if again := outbox(t, p.from); len(again) != 0 {
		t.Errorf("%v are sent again", again)
	}
	for _, m := range natstest.Fetch(t, p.lanes[0], 1) {
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Within(t, 30*time.Second, "it is sent again", func() bool { return len(outbox(t, p.from)) == 1 })
}

// What the hub has taken it passes on, and what it has not is on its way.
func TestWhatTheHubHasNotTakenIsOnItsWayToThePeer(t *testing.T) {
	t.Parallel()
	o := single(t)
	s := o.makeStream()
	h := federation.Gossip{Version: federation.GossipVersion, SiteID: passing, SiteName: "H", Tier: federation.Primary, SentAt: time.Now(), IntervalSeconds: 15, Exchange: federation.ExchangeHub}
	if _, err := o.store.RecordGossips(t.Context(), origin, []federation.Gossip{h}, time.Now(), federation.Thresholds{Degraded: time.Minute, Down: time.Hour}); err != nil {
		t.Fatal(err)
	}
	raise(t, o.store, "sent", federation.High, time.Minute, store.Outgoing{Subject: subject.Alert(federation.High), MsgID: "m", Payload: []byte("{}")})
	o.publish()
	lane := func(who federation.SiteID) jetstream.Consumer {
		t.Helper()
		c, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: subject.AlertConsumer(who), AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	take := func(c jetstream.Consumer) {
		t.Helper()
		if err := natstest.Fetch(t, c, 1)[0].DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	hub, direct := lane(passing), lane(peer)
	take(direct)
	o.expect("where the peer pulls", 0, "sent")
	if err := o.store.BeginRelayed(t.Context(), store.RelayedPeer{Peer: peer, Since: time.Now(), Direct: true}); err != nil {
		t.Fatal(err)
	}
	o.expect("where the hub takes it too", 1)
	if err := errors.Join(o.store.RelayedOnly(t.Context(), peer), s.DeleteConsumer(t.Context(), subject.AlertConsumer(peer))); err != nil {
		t.Fatal(err)
	}
	o.expect("where the hub alone takes it", 1)
	take(hub)
	o.expect("where the hub has taken it", 0, "sent")
	if _, err := function.Ask(t.Context(), o.peer, origin, ask.ReconcileResend(peer), ask.AlertIDs{IDs: []string{"sent"}}); err != nil {
		t.Fatal(err)
	}
	queued, err := o.store.Outbox(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(queued, func(q store.Queued) bool { return q.AlertID == "sent" }); i < 0 || queued[i].Subject != "aurora.alerts.federation.high.via.site-b" {
		t.Errorf("it is sent again as %+v", queued)
	}
}
