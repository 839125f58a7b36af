package store

import (
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

var (
	openGate    = federation.Gate{MinSeverity: federation.High}
	awkwardGate = federation.GateSetting{
		MinSeverity: federation.Low, Sources: []string{awkward, "edr"}, ExceptSources: []string{`\u0000`}, StripIOCs: []federation.IOCType{federation.IP},
	}
)

func gates(t *testing.T, s *Store, d federation.Direction) federation.Gates {
	t.Helper()
	return must(s.Gates(t.Context(), own.ID, d, openGate))(t)
}

func gatesAreSetForAPeer(t *testing.T, f fixture) {
	s := f.migrated(t)
	equal(t, "with no peer", gates(t, s, federation.Outbound), federation.Gates{Default: openGate, Peers: map[federation.SiteID]federation.Gate{}})
	must(s.UpsertOwnSite(t.Context(), own, t0))(t)
	record(t, s, gossipOf("site-b", t0), t0)

	got := must(s.SetGate(t.Context(), "site-c", federation.Outbound, awkwardGate, t0.Add(time.Nanosecond)))(t)
	want := PeerGate{Peer: "site-c", Direction: federation.Outbound, GateSetting: awkwardGate, UpdatedAt: t0}
	equal(t, "the answer", got, want)
	equal(t, "outbound, a known peer and one to come", gates(t, s, federation.Outbound), federation.Gates{Default: openGate, Peers: map[federation.SiteID]federation.Gate{
		"site-b": openGate, "site-c": awkwardGate.Over(openGate),
	}})
	equal(t, "inbound", gates(t, s, federation.Inbound).Peers, map[federation.SiteID]federation.Gate{"site-b": openGate})

	must(s.SetGate(t.Context(), "site-b", federation.Inbound, federation.GateSetting{}, t0))(t)
	must(s.SetGate(t.Context(), "site-c", federation.Outbound, federation.GateSetting{ExceptSources: []string{"ids"}}, after(time.Second)))(t)
	all := must(s.PeerGates(t.Context()))(t)
	equal(t, "all", all, []PeerGate{
		{Peer: "site-b", Direction: federation.Inbound, GateSetting: federation.GateSetting{Sources: []string{}, ExceptSources: []string{}, StripIOCs: []federation.IOCType{}}, UpdatedAt: t0},
		{Peer: "site-c", Direction: federation.Outbound, GateSetting: federation.GateSetting{Sources: []string{}, ExceptSources: []string{"ids"}, StripIOCs: []federation.IOCType{}}, UpdatedAt: after(time.Second)},
	})
}

func whatComesInGoesByGatesAndPassedPeers(t *testing.T, f fixture) {
	s := f.migrated(t)
	must(s.UpsertOwnSite(t.Context(), own, t0))(t)
	record(t, s, gossipOf("site-b", t0), t0)
	for range 2 { // the questions are kept, the answers are not
		inbound, passed, err := s.Inbound(t.Context(), own.ID, openGate)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the gates", inbound, gates(t, s, federation.Inbound))
		equal(t, "the peers", passed, must(s.PassedPeers(t.Context()))(t))
		must(s.SetGate(t.Context(), "site-c", federation.Inbound, awkwardGate, t0))(t)
		if err := s.SetPassed(t.Context(), "site-b", true, t0); err != nil {
			t.Fatal(err)
		}
	}
}

func gatesAreReset(t *testing.T, f fixture) {
	s := f.migrated(t)
	if err := s.DeleteGate(t.Context(), "site-b", federation.Outbound, t0); err != nil {
		t.Errorf("resetting what is not set: %v", err)
	}
	for _, d := range []federation.Direction{federation.Inbound, federation.Outbound} {
		must(s.SetGate(t.Context(), "site-b", d, awkwardGate, t0))(t)
	}
	if err := s.DeleteGate(t.Context(), "site-b", federation.Outbound, t0); err != nil {
		t.Fatal(err)
	}
	equal(t, "outbound", gates(t, s, federation.Outbound).For("site-b"), openGate)
	equal(t, "inbound", gates(t, s, federation.Inbound).For("site-b"), awkwardGate.Over(openGate))
}

func gatesSetAtOnceStandWhole(t *testing.T, f fixture) {
	stores := f.replicas(t, 4)
	atOnce(t, len(stores), func(i int) (PeerGate, error) {
		source := string(rune('a' + i))
		return stores[i].SetGate(t.Context(), "site-b", federation.Outbound, federation.GateSetting{Sources: []string{source}, ExceptSources: []string{source + source}}, t0)
	})
	g := gates(t, stores[0], federation.Outbound).For("site-b")
	if len(g.Sources) != 1 || len(g.ExceptSources) != 1 || g.ExceptSources[0] != g.Sources[0]+g.Sources[0] {
		t.Errorf("the gate is of two: %+v", g)
	}
}

func refusedAt(id string, version int, rule federation.SharingRule) RefusedAlert {
	return RefusedAlert{OriginSite: "site-b", OriginID: id, Version: version, Rule: rule, Reason: "why " + awkward, RaisedAt: t0, At: after(time.Second)}
}

// refuse notes alerts as refused together with the arrival of others.
func refuse(t *testing.T, s *Store, as []federation.Alert, refused ...RefusedAlert) {
	t.Helper()
	must(s.ReceiveAlerts(t.Context(), as, nil, refused...))(t)
}

func refusedAlertsAreNotedOnce(t *testing.T, f fixture) {
	s := f.migrated(t)
	list := func() []RefusedAlert { return must(s.RefusedAlerts(t.Context(), "site-b"))(t) }
	one, two, newer := refusedAt("1", 1, "source"), refusedAt("2", 2, "min_severity"), refusedAt("1", 3, "min_severity")
	refuse(t, s, nil, two, one, one)
	equal(t, "noted", list(), []RefusedAlert{one, two})
	refuse(t, s, []federation.Alert{received(t, "other")}, newer, refusedAt("1", 2, "source"), refusedAt("2", 1, "source"))
	equal(t, "of two versions", list(), []RefusedAlert{newer, two})
	equal(t, "of another origin", must(s.RefusedAlerts(t.Context(), "site-c"))(t), []RefusedAlert{})

	a := received(t, "1")
	equal(t, "here before", must(s.Received(t.Context(), []string{a.DedupHash}))(t), map[string]bool{})
	refuse(t, s, []federation.Alert{a})
	equal(t, "here", must(s.Received(t.Context(), []string{"none", a.DedupHash}))(t), map[string]bool{a.DedupHash: true})
	equal(t, "once one is here", list(), []RefusedAlert{two})
}

func aNewInboundGateForgetsWhatWasRefused(t *testing.T, f fixture) {
	s := f.migrated(t)
	other := refusedAt("3", 1, "source")
	other.OriginSite = "site-c"
	refuse(t, s, nil, refusedAt("1", 1, "source"), refusedAt("2", 1, RuleDeadLetter), other)
	left := func() []string {
		var ids []string
		for _, origin := range []federation.SiteID{"site-b", "site-c"} {
			for _, r := range must(s.RefusedAlerts(t.Context(), origin))(t) {
				ids = append(ids, r.OriginID)
			}
		}
		return ids
	}
	must(s.SetGate(t.Context(), "site-b", federation.Outbound, awkwardGate, t0))(t)
	equal(t, "after an outbound gate", left(), []string{"1", "2", "3"})
	must(s.SetGate(t.Context(), "site-b", federation.Inbound, awkwardGate, t0))(t)
	equal(t, "after an inbound gate", left(), []string{"2", "3"})
	refuse(t, s, nil, refusedAt("1", 1, "source"))
	if err := s.DeleteGate(t.Context(), "site-b", federation.Inbound, t0); err != nil {
		t.Fatal(err)
	}
	equal(t, "after a reset", left(), []string{"2", "3"})
}
