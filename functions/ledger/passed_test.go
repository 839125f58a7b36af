package ledger_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/ledger"
	"github.com/auroramesh/auroramesh/functions/reconcile"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const passing federation.SiteID = "site-h"

// passedBook is the ledger of a site whose alerts the hub passes on to its peer.
func passedBook(t *testing.T, s *server.Server, now func() time.Time) book {
	t.Helper()
	st := storetest.Open(t)
	for id, tier := range map[federation.SiteID]federation.Tier{peer: federation.Secondary, passing: federation.Primary} {
		g := federation.Gossip{Version: federation.GossipVersion, SiteID: id, SiteName: "peer", Tier: tier, SentAt: now(), IntervalSeconds: 15, Exchange: federation.ExchangeHub}
		if id == peer {
			g.Links = []federation.LinkView{{Peer: own, Status: federation.Healthy, At: now(), Relayed: true}}
		}
		if _, err := st.RecordGossips(t.Context(), own, []federation.Gossip{g}, now(), federation.Thresholds{Degraded: time.Minute, Down: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.BeginRelayed(t.Context(), store.RelayedPeer{Peer: peer, Since: now()}); err != nil {
		t.Fatal(err)
	}
	id := natstest.Identity(own)
	id.Tier, id.Exchange = federation.Secondary, federation.ExchangeHub
	bus, err := function.NewBus(natstest.Bus(t, s, own, "ledger").Conn(), id)
	if err != nil {
		t.Fatal(err)
	}
	bus.Identify(natstest.Key(t, own), natstest.Keys{})
	b := book{st, bus, prometheus.NewRegistry()}
	natstest.Run(t, b.bus, ledger.New(federation.Gate{MinSeverity: federation.High}, federation.BacklogBound{Messages: 1000, Bytes: 1 << 30}, st, b.bus, b.reg, now))
	return b
}

// of is what the ledger says of a peer.
func (b book) of(t *testing.T, peer federation.SiteID) (out, in federation.Delivery) {
	t.Helper()
	d, err := function.Ask(t.Context(), b.bus, own, ask.Deliveries, ask.None{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range d.Deliveries {
		switch {
		case row.Peer != peer:
		case row.Direction == federation.Outbound:
			out = row
		default:
			in = row
		}
	}
	return out, in
}

// raise stores an alert of the own site that was raised at a time.
func (b book) raise(t *testing.T, id string, s federation.Severity, at time.Time) federation.Alert {
	t.Helper()
	a := federation.NewAlert{Title: id, Severity: s, Source: "test"}.Alert(id, at)
	if _, _, err := b.store.RaiseAlert(t.Context(), a, nil); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWhatTheHubPassesOnIsProvedByAComparisonAlone(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	b := passedBook(t, hub(t), func() time.Time { return noon })
	out, in := b.of(t, peer)
	equal(t, "before the first", figures(out), "reachable true, shared -, acknowledged -, refused -, stored -, pending -, oldest -, redelivered - site-b has not compared yet, so nothing is proved")
	equal(t, "what comes in", figures(in), "reachable false, shared -, acknowledged -, refused -, stored 0, pending -, oldest -, redelivered - site-h does not answer")
	if out.PassedBy != passing || in.PassedBy != passing || out.ProvedUntil != nil {
		t.Errorf("they are passed by %q and %q, proved until %v", out.PassedBy, in.PassedBy, out.ProvedUntil)
	}

	r := federation.Reconciliation{At: noon.Add(-20 * time.Second), From: noon.Add(-2 * time.Hour), Until: noon.Add(-30 * time.Second), Compared: 40, Refused: 3}
	compared := func() {
		t.Helper()
		if err := b.store.RecordReconciliation(t.Context(), peer, federation.Outbound, r); err != nil {
			t.Fatal(err)
		}
		out, _ = b.of(t, peer)
	}
	// The hub has acknowledged all that is in the stream, and that says nothing.
	share(t, b.bus, federation.High, federation.Critical)
	admit(t, b.bus, own, passing)
	b.raise(t, "proved", federation.High, noon.Add(-time.Minute))
	compared()
	equal(t, "with all compared", figures(out), "reachable true, shared 40, acknowledged 40, refused 3, stored 37, pending 0, oldest -, redelivered - ")
	if out.ProvedUntil == nil || !out.ProvedUntil.Equal(r.Until) {
		t.Errorf("it is proved until %v, want %v", out.ProvedUntil, r.Until)
	}
	b.raise(t, "newer", federation.Critical, noon.Add(-12*time.Second))
	b.raise(t, "stays", federation.Low, noon.Add(-11*time.Second))
	compared()
	equal(t, "with one raised since", figures(out), "reachable true, shared 41, acknowledged 40, refused 3, stored 37, pending 1, oldest 12 s, redelivered - ")
	r.Lost, r.Pending = 2, 5
	compared()
	equal(t, "with some missing", figures(out), "reachable true, shared 41, acknowledged 33, refused 3, stored 30, pending 8, oldest 30 s, redelivered - ")
	natstest.Within(t, 20*time.Second, "the gauges show it", func() bool {
		return gauge(t, b.reg, "aurora_federation_delivery_unproved_seconds", peer) == 30 && gauge(t, b.reg, "aurora_federation_deliveries_pending", peer) == 8 &&
			gauge(t, b.reg, "aurora_federation_deliveries_stored", peer) == 30 && gauge(t, b.reg, "aurora_federation_delivery_oldest_pending_seconds", peer) == 30
	})
	r.At, r.Until, r.Lost, r.Pending = noon.Add(-time.Second), noon.Add(-11*time.Second), 0, 1
	compared()
	equal(t, "with one still missing", figures(out), "reachable true, shared 40, acknowledged 39, refused 3, stored 36, pending 1, oldest 30 s, redelivered - ")
	r.Pending = 0
	compared()
	equal(t, "with none missing any more", figures(out), "reachable true, shared 40, acknowledged 40, refused 3, stored 37, pending 0, oldest -, redelivered - ")

	if err := b.store.EndRelayed(t.Context(), peer); err != nil {
		t.Fatal(err)
	}
	out, _ = b.of(t, peer)
	equal(t, "where the peer pulls again", figures(out), "reachable true, shared -, acknowledged -, refused -, stored -, pending -, oldest -, redelivered - site-b is not admitted yet")
	natstest.Within(t, 20*time.Second, "nothing is left to prove", func() bool { return gauge(t, b.reg, "aurora_federation_delivery_unproved_seconds", peer) < 0 })
}

// gauge is the value of a gauge for a peer, -1 where there is none.
func gauge(t *testing.T, reg *prometheus.Registry, name string, peer federation.SiteID) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == string(peer) {
				return m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// Of one alert the peer itself is asked, for the hub may have it and the peer not.
func TestOfOneAlertThatTheHubPassesOnThePeerIsAsked(t *testing.T) {
	t.Parallel()
	top := hub(t)
	b := passedBook(t, top, time.Now)
	at := time.Now().UTC().Add(-time.Minute)
	state := func(id string) string {
		t.Helper()
		all, err := function.Ask(t.Context(), b.bus, own, ask.AlertDeliveries, ask.AlertID{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all.Deliveries {
			if d.Peer == peer {
				return string(d.State) + ": " + d.Detail
			}
		}
		t.Fatalf("there is no %s among %+v", peer, all.Deliveries)
		return ""
	}
	a := b.raise(t, "a", federation.High, at)
	b.raise(t, "low", federation.Low, at)
	published := func(a federation.Alert, at time.Time) {
		t.Helper()
		place, err := b.bus.JetStream().Publish(t.Context(), subject.Alert(a.Severity), []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		done := store.Confirmed{Queued: store.Queued{Outgoing: store.Outgoing{AlertID: a.ID, Version: a.Version}}, Sequence: place.Sequence}
		if _, err := b.store.Published(t.Context(), at, []store.Confirmed{done}); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "without a record of it", state("a"), "unknown: there is no record of its sharing: it was raised under another gate, or before such records were kept")
	equal(t, "what stays", state("low"), "kept: severity low is below high, the lowest that passes")
	published(a, time.Now())
	equal(t, "with the peer away", state("a"), "queued: site-h passes it on; site-b does not answer, and no comparison proves that it has it")
	r := federation.Reconciliation{At: time.Now(), From: at.Add(-time.Hour), Until: at.Add(30 * time.Second), Compared: 1}
	compared := func() {
		t.Helper()
		if err := b.store.RecordReconciliation(t.Context(), peer, federation.Outbound, r); err != nil {
			t.Fatal(err)
		}
	}
	compared()
	equal(t, "compared before it was published", state("a"), "queued: site-h passes it on; site-b does not answer, and no comparison proves that it has it")
	r.At, r.Until = time.Now(), time.Now()
	compared()
	equal(t, "with the peer away after a comparison", state("a"), "stored: as the last comparison found; site-b does not answer now")
	r.At, r.Lost = time.Now(), 1
	compared()
	equal(t, "after one that missed some", state("a"), "queued: site-h passes it on; site-b does not answer, and no comparison proves that it has it")

	away := natstest.Bus(t, leaf(t, top), peer, "reconcile")
	theirs := storetest.Open(t)
	storetest.Knows(t, theirs, peer, own, time.Now())
	natstest.Run(t, away, reconcile.New(reconcile.Config{Gate: federation.Gate{MinSeverity: federation.High}, Interval: time.Hour, Backfill: time.Hour}, theirs, away, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), time.Now))
	natstest.Eventually(t, "the peer is asked", func() bool {
		return state("a") == "queued: site-h passes it on, and site-b says that it does not have it yet"
	})
	let := b.raise(t, "let go of", federation.High, at)
	published(let, at)
	alerts, err := b.bus.JetStream().Stream(t.Context(), subject.AlertStream(own))
	if err != nil {
		t.Fatal(err)
	}
	if err := alerts.DeleteMsg(t.Context(), alerts.CachedInfo().State.LastSeq); err != nil {
		t.Fatal(err)
	}
	equal(t, "with nothing of it left", state(let.ID), "unknown: the stream no longer holds it, and site-b says that it does not have it: it was let go of, or a comparison brings it")
	if _, err := theirs.ReceiveAlerts(t.Context(), []federation.Alert{federation.Share(a, natstest.Identity(own)).Received("there", time.Now())}, nil); err != nil {
		t.Fatal(err)
	}
	equal(t, "with the alert there", state("a"), "stored: site-b says that it has it")
	edited, err := b.store.UpdateAlert(t.Context(), a.ID, federation.AlertPatch{Status: federation.Triaged}, time.Now(), func(_, _ federation.Alert) ([]store.Outgoing, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "with an older version there", state("a"), "queued: site-h passes it on, and site-b says that it does not have it yet")
	if err := theirs.NoteRefused(t.Context(), store.RefusedAlert{OriginSite: own, OriginID: a.ID, Version: edited.Version, Rule: store.RuleDeadLetter, Reason: "not wanted", RaisedAt: a.CreatedAt, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	equal(t, "with the newer version refused", state("a"), "refused: not wanted")
	stranger := natstest.Bus(t, top, "site-x", "test")
	if _, err := function.Ask(t.Context(), stranger, peer, ask.ReconcileHeld("site-x"), ask.AlertIDs{IDs: []string{"a"}}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a site that the peer does not know is answered: %v", err)
	}
}
