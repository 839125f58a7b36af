// Package sharing is the function that looks after the sharing gates: it shows
// them, sets the one of a peer, and tells beforehand what they would decide on an
// alert. The deciding itself is done where alerts leave and arrive, by alertintake,
// peeradmit and alertsink.
package sharing

import (
	"context"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
)

// New is the function for one site. gate is what leaves for a peer for which nothing is set.
func New(gate federation.Gate, st *store.Store, bus *function.Bus, now func() time.Time) function.Function {
	k := keeper{gate, st, bus, now}
	return function.Function{
		Name:        "sharing",
		Description: "Shows and sets the sharing gates of the peers, and tells beforehand what they would decide.",
		Triggers: []function.Trigger{
			function.Reply(ask.PreviewSharing, k.preview),
			function.Reply(ask.SharingGates, k.gates),
			function.Reply(ask.SetGate, k.set),
			function.Reply(ask.ResetGate, k.reset),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type keeper struct {
	gate  federation.Gate
	store *store.Store
	bus   *function.Bus
	now   func() time.Time
}

// preview says of every known peer whether it would get the alert.
func (k keeper) preview(ctx context.Context, n federation.NewAlert) (ask.SharingPreview, error) {
	own := k.bus.Site().ID
	peers, err := k.store.Peers(ctx, own)
	if err != nil {
		return ask.SharingPreview{}, err
	}
	gates, err := k.store.Gates(ctx, own, federation.Outbound, k.gate)
	if err != nil {
		return ask.SharingPreview{}, err
	}
	p := ask.SharingPreview{SiteID: own, Severity: n.Severity, TLP: n.TLP.OrDefault(), Gate: k.open(), Peers: []ask.PeerDecision{}}
	for _, peer := range peers {
		gate := gates.For(peer)
		d := ask.PeerDecision{Peer: peer, Decision: gate.Decide(n.Severity, n.TLP, n.Source), StrippedIOCs: []federation.IOCType{}}
		if d.Admitted {
			d.StrippedIOCs = gate.Stripped(n.IOCs.Items)
		}
		p.Peers = append(p.Peers, d)
	}
	return p, nil
}

// open is the default gate as it is shown.
func (k keeper) open() ask.SharingGate {
	return ask.SharingGate{Federation: !k.gate.Closed, MinSeverity: k.gate.MinSeverity, TLPs: federation.ShareableTLPs()}
}

func (k keeper) gates(ctx context.Context, _ ask.None) (ask.SharingOverview, error) {
	all := ask.SharingOverview{SiteID: k.bus.Site().ID, Default: k.open(), Gates: []ask.PeerGate{}}
	known, err := k.store.Peers(ctx, all.SiteID)
	if err != nil {
		return all, err
	}
	set, err := k.store.PeerGates(ctx)
	if err != nil {
		return all, err
	}
	all.Gates = append(all.Gates, k.table(known, set)...)
	return all, nil
}

// set replaces the gate of a peer as a whole.
func (k keeper) set(ctx context.Context, c ask.GateChange) (ask.PeerGate, error) {
	if err := k.notOwn(c.GateOf); err != nil {
		return ask.PeerGate{}, err
	}
	if _, err := k.store.SetGate(ctx, c.Peer, c.Direction, c.Gate.Canonical(), k.now()); err != nil {
		return ask.PeerGate{}, err
	}
	return k.follow(ctx, c.GateOf)
}

func (k keeper) reset(ctx context.Context, g ask.GateOf) (ask.PeerGate, error) {
	if err := k.notOwn(g); err != nil {
		return ask.PeerGate{}, err
	}
	if err := k.store.DeleteGate(ctx, g.Peer, g.Direction, k.now()); err != nil {
		return ask.PeerGate{}, err
	}
	return k.follow(ctx, g)
}

func (k keeper) notOwn(g ask.GateOf) error {
	var wrong fault.Fields
	if g.Peer == k.bus.Site().ID {
		wrong.Add("peer", string(g.Peer), "the id of another site: there is no gate between a site and itself")
	}
	return wrong.Err("the gate is not valid")
}

// follow has the peers' consumers brought to the gates as they stand, so that what
// a gate has just begun to refuse does not leave once the answer is given, and
// returns the gate as it holds now. With federation off there are no consumers.
func (k keeper) follow(ctx context.Context, g ask.GateOf) (ask.PeerGate, error) {
	if g.Direction == federation.Outbound && !k.gate.Closed {
		if _, err := function.Ask(ctx, k.bus, k.bus.Site().ID, ask.AdmitPeers, ask.None{}); err != nil {
			return ask.PeerGate{}, fault.New(fault.Unavailable, "the gate is stored, but what leaves for %s does not follow it yet: %v", g.Peer, err)
		}
	}
	all, err := k.gates(ctx, ask.None{})
	if err != nil {
		return ask.PeerGate{}, err
	}
	for _, shown := range all.Gates {
		if shown.Peer == g.Peer && shown.Direction == g.Direction {
			return shown, nil
		}
	}
	return k.shown(g, false, nil), nil // reset, and of a peer that is not known
}
