package store

import (
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func exchangeIsKept(t *testing.T, f fixture) {
	s := f.migrated(t)
	ctx := t.Context()
	g := gossipOf("site-b", t0)
	g.Exchange, g.PassesFor = federation.ExchangeHub, []federation.SiteID{"site-a", "site-c"}
	if r := must(s.RecordGossip(ctx, own.ID, g, t0, ages))(t); r.Exchanged {
		t.Error("the first gossip is a change of the way")
	}
	site := siteNamed(t, s, "site-b")
	equal(t, "the way", site.Exchange, federation.ExchangeHub)
	equal(t, "for whom it passes", site.PassesFor, g.PassesFor)
	g.SentAt = after(time.Second)
	if r := must(s.RecordGossip(ctx, own.ID, g, after(time.Second), ages))(t); r.Exchanged {
		t.Error("the same again is a change")
	}
	older := gossipOf("site-b", after(2*time.Second))
	older.Links = []federation.LinkView{{Peer: own.ID, Status: federation.Healthy, At: t0, Relayed: true}}
	if r := must(s.RecordGossip(ctx, own.ID, older, after(2*time.Second), ages))(t); !r.Exchanged {
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
