package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
)

func exchangeIsKept(t *testing.T, f fixture) {
	s := f.migrated(t)
	ctx := t.Context()
	g := gossipOf("site-b", t0)
	g.Exchange, g.PassesFor = federation.ExchangeHub, []federation.SiteID{"site-a", "site-c"}
	if r := record(t, s, g, t0); r.Exchanged {
		t.Error("the first gossip is a change of the way")
	}
	site := siteNamed(t, s, "site-b")
	equal(t, "the way", site.Exchange, federation.ExchangeHub)
	equal(t, "for whom it passes", site.PassesFor, g.PassesFor)
	g.SentAt = after(time.Second)
	if r := record(t, s, g, after(time.Second)); r.Exchanged {
		t.Error("the same again is a change")
	}
	older := gossipOf("site-b", after(2*time.Second))
	older.Links = []federation.LinkView{{Peer: own.ID, Status: federation.Healthy, At: t0, Relayed: true}}
	if r := record(t, s, older, after(2*time.Second)); !r.Exchanged {
		t.Error("another way is no change")
	}
	equal(t, "the way of a site that names none", siteNamed(t, s, "site-b").Exchange, federation.ExchangeDirect)

	byHub, direct := own, own
	byHub.Exchange = federation.ExchangeHub
	record(t, s, gossipOf("site-c", t0), t0)
	equal(t, "from whom a site pulls by the hub", must(s.PullsFrom(ctx, byHub))(t), []federation.SiteID{"site-c"})
	equal(t, "and directly", must(s.PullsFrom(ctx, direct))(t), []federation.SiteID{"site-b", "site-c"})
}

func relayedPeers(t *testing.T, f fixture) {
	s := f.migrated(t)
	ctx := t.Context()
	p := RelayedPeer{Peer: "site-b", Since: t0, Sequence: 7, Direct: true}
	want := map[federation.SiteID]RelayedPeer{"site-b": p}
	later := p
	later.Sequence, later.Since = 9, after(time.Minute)
	for _, p := range []RelayedPeer{p, later} { // another replica
		if err := s.BeginRelayed(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "as it begins", must(s.RelayedPeers(ctx))(t), want)
	if err := s.RelayedOnly(ctx, "site-b"); err != nil {
		t.Fatal(err)
	}
	p.Direct = false
	equal(t, "once it has the rest", must(s.RelayedPeers(ctx))(t), map[federation.SiteID]RelayedPeer{"site-b": p})
	if err := s.EndRelayed(ctx, "site-b"); err != nil {
		t.Fatal(err)
	}
	equal(t, "at the end", must(s.RelayedPeers(ctx))(t), map[federation.SiteID]RelayedPeer{})
}

func theWaysOfAlertsAreKnown(t *testing.T, f fixture) {
	s := f.migrated(t)
	me := own
	me.Tier, me.Exchange = federation.Secondary, federation.ExchangeHub
	for id, tier := range map[federation.SiteID]federation.Tier{"site-b": federation.Secondary, "site-c": federation.Secondary, "site-h": federation.Primary} {
		g := gossipOf(id, t0)
		g.Tier, g.SharedAt = tier, after(time.Minute)
		g.Links = []federation.LinkView{{Peer: me.ID, Status: federation.Healthy, At: t0, Relayed: id == "site-c"}}
		record(t, s, g, t0)
	}
	p := RelayedPeer{Peer: "site-b", Since: t0, Sequence: 7}
	if err := s.BeginRelayed(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	to := map[federation.SiteID]RelayedPeer{"site-b": p}
	equal(t, "by the hub", must(s.Relays(t.Context(), me))(t), Relays{Hub: "site-h", To: to, From: map[federation.SiteID]bool{"site-c": true}})
	me.Exchange = federation.ExchangeDirect
	equal(t, "of a site that says direct", must(s.Relays(t.Context(), me))(t), Relays{To: to, From: map[federation.SiteID]bool{}})
	equal(t, "when the newest was raised", siteNamed(t, s, "site-c").SharedAt, after(time.Minute))
}

func passedPeers(t *testing.T, f fixture) {
	s := f.migrated(t)
	ctx := t.Context()
	for _, p := range []federation.SiteID{"site-c", "site-b", "site-b"} {
		if err := s.SetPassed(ctx, p, true, t0); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "for whom it passes", must(s.PassedPeers(ctx))(t), []federation.SiteID{"site-b", "site-c"})
	if err := s.SetPassed(ctx, "site-b", false, t0); err != nil {
		t.Fatal(err)
	}
	equal(t, "then", must(s.PassedPeers(ctx))(t), []federation.SiteID{"site-c"})
}

// passedOn is a message in which a version of an alert of site-b is passed on.
func passedOn(version int, withdraws bool) Outgoing {
	return Outgoing{
		Subject: "s", MsgID: fmt.Sprint("passed ", version), AlertID: federation.PassedAlertID("site-b", "1"), Version: version, Withdraws: withdraws, Payload: []byte("as it was signed"),
		Proof: &function.Proof{Site: "site-b", Subject: "signed under", Headers: map[string]string{function.HeaderKey: "U", function.HeaderSignature: "x\u0000y"}},
	}
}

func whatIsPassedOnKeepsItsProof(t *testing.T, f fixture) {
	s := f.migrated(t)
	a := received(t, "1")
	pass := func(out Outgoing) func([]Arrived) []Outgoing {
		return func([]Arrived) []Outgoing { return []Outgoing{out} }
	}
	want := passedOn(1, false)
	must(s.ReceiveAlerts(t.Context(), []federation.Alert{a}, pass(want)))(t)
	queued := must(s.Outbox(t.Context(), 10))(t)
	if len(queued) != 1 {
		t.Fatalf("%d messages wait", len(queued))
	}
	equal(t, "the message", queued[0].Outgoing, want)

	// What the origin has taken back leaves in no earlier version, whether it is here or refused.
	refused := RefusedAlert{OriginSite: "site-b", OriginID: "1", Version: 2, RaisedAt: t0, At: t0}
	must(s.ReceiveAlerts(t.Context(), nil, pass(passedOn(2, true)), refused))(t)
	queued = must(s.Outbox(t.Context(), 10))(t)
	if len(queued) != 1 || queued[0].Version != 2 {
		t.Fatalf("what waits is %+v", queued)
	}
	equal(t, "the alert by its origin's id", must(s.AlertOf(t.Context(), "site-b", "1"))(t).Title, a.Title)
	if _, err := s.AlertOf(t.Context(), "site-c", "1"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an alert of another origin: %v", err)
	}
}

func placesOfWhatWasPassedOnGo(t *testing.T, f fixture) {
	s := f.migrated(t)
	for i, at := range []time.Time{t0, after(time.Hour)} {
		own := Outgoing{AlertID: fmt.Sprint("own-", i), Version: 1}
		must(s.Published(t.Context(), at, []Confirmed{{Queued: Queued{Outgoing: passedOn(i+1, false)}, Sequence: 1}, {Queued: Queued{Outgoing: own}, Sequence: 2}, {Queued: Queued{Outgoing: passedOn(9, true)}}}))(t)
	}
	places := func(alert string) int { return len(must(s.Places(t.Context(), alert, 100))(t)) }
	passed := federation.PassedAlertID("site-b", "1")
	if n := places(passed); n != 2 {
		t.Errorf("%d places are noted", n)
	}
	equal(t, "with a limit", must(s.ForgetPassed(t.Context(), after(2*time.Hour), 1))(t), 1)
	equal(t, "by time", must(s.ForgetPassed(t.Context(), after(time.Minute), 10))(t), 0)
	equal(t, "left", []int{places(passed), places("own-0"), places("own-1")}, []int{1, 1, 1})
}
