package sharing

import (
	"maps"
	"slices"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/store"
)

// table is both gates of every peer that is known or has one set, by peer.
func (k keeper) table(known []federation.SiteID, set []store.PeerGate) []ask.PeerGate {
	own := map[ask.GateOf]*store.PeerGate{}
	peers := map[federation.SiteID]bool{}
	for _, p := range known {
		peers[p] = true
	}
	for i, g := range set {
		own[ask.GateOf{Peer: g.Peer, Direction: g.Direction}] = &set[i]
		if !peers[g.Peer] && len(setNames(g.GateSetting)) > 0 {
			peers[g.Peer] = false // not known, and listed all the same
		}
	}
	var rows []ask.PeerGate
	for _, p := range slices.Sorted(maps.Keys(peers)) {
		for _, d := range []federation.Direction{federation.Outbound, federation.Inbound} {
			g := ask.GateOf{Peer: p, Direction: d}
			rows = append(rows, k.shown(g, peers[p], own[g]))
		}
	}
	return rows
}

// shown is the gate of a peer as it holds; set is what is set for it, or nil.
func (k keeper) shown(g ask.GateOf, known bool, set *store.PeerGate) ask.PeerGate {
	gate, names := k.gate, []string{}
	var at *time.Time
	if g.Direction == federation.Inbound {
		gate = federation.InboundGate()
	}
	if set != nil {
		gate, names, at = set.Over(gate), setNames(set.GateSetting), &set.UpdatedAt
	}
	return ask.PeerGate{
		Peer: g.Peer, Direction: g.Direction, Known: known, MinSeverity: gate.MinSeverity, Sources: orEmpty(gate.Sources),
		ExceptSources: orEmpty(gate.ExceptSources), StripIOCs: orEmpty(gate.StripIOCs), Set: names, UpdatedAt: at,
	}
}

// setNames is the fields of a setting that are set, as the API calls them.
func setNames(s federation.GateSetting) []string {
	names := []string{}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"min_severity", s.MinSeverity != ""}, {"sources", len(s.Sources) > 0},
		{"except_sources", len(s.ExceptSources) > 0}, {"strip_iocs", len(s.StripIOCs) > 0},
	} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
