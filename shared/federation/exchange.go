package federation

import (
	"reflect"
	"slices"
	"time"
)

// Exchange is how a site exchanges alerts with its peers.
type Exchange string

// The ways.
const (
	// ExchangeDirect pulls from each peer, and lets each peer pull.
	ExchangeDirect Exchange = "direct"
	// ExchangeHub leaves it to the hub to pass alerts on between those that say so too.
	ExchangeHub Exchange = "hub"
)

// ExchangeForm says in words what an exchange may be.
const ExchangeForm = "direct or hub"

// Valid reports whether e is one of the ways.
func (e Exchange) Valid() bool { return e == ExchangeDirect || e == ExchangeHub }

// OrDefault is the way of a site that names none: it knows of no other.
func (e Exchange) OrDefault() Exchange {
	if e == "" {
		return ExchangeDirect
	}
	return e
}

// Mesh is what a site goes by when it decides which way alerts take.
type Mesh struct {
	Own Identity
	// Sites are all that are known, the own one among them or not.
	Sites []Site
	// Gates are those for what leaves.
	Gates Gates
	// At is the moment of the decision, and Patience how long a hub that said goodbye is
	// waited for: where its functions are only started anew, all stays as it is.
	At       time.Time
	Patience time.Duration
}

// Hub is the one other primary of the mesh; ok is false where there is none, or more.
func (m Mesh) Hub() (hub Site, ok bool) {
	if m.Own.Tier == Primary {
		return Site{}, false
	}
	for _, s := range m.Sites {
		if s.ID == m.Own.ID || s.Tier != Primary {
			continue
		}
		if ok {
			return Site{}, false
		}
		hub, ok = s, true
	}
	return hub, ok
}

// without reports whether the hub is to be done without: its silence made it offline, or
// its goodbye is as old as patience allows.
func (m Mesh) without(hub Site) bool {
	if hub.Status != Offline {
		return false
	}
	return hub.Reason != Leaving || hub.LastHeartbeatAt == nil || m.At.Sub(*hub.LastHeartbeatAt) >= m.Patience
}

// Relayed reports whether what this site raises reaches a peer by the hub: this site,
// the peer and the one hub say so, the hub is there and says that it passes for both,
// and neither it nor the peer has a gate of its own here. Else the peer pulls from
// this site. The other direction is for the peer to decide, by its gates.
func (m Mesh) Relayed(peer SiteID) bool {
	hub, ok := m.Hub()
	if !ok || m.Own.Exchange != ExchangeHub || hub.Exchange != ExchangeHub || m.without(hub) || peer == hub.ID || peer == m.Own.ID {
		return false
	}
	if !slices.Contains(hub.PassesFor, m.Own.ID) || !slices.Contains(hub.PassesFor, peer) || m.Gates.Own(hub.ID) || m.Gates.Own(peer) {
		return false
	}
	return slices.ContainsFunc(m.Sites, func(s Site) bool { return s.ID == peer && s.Exchange == ExchangeHub })
}

// Passes reports whether this site, as the hub, passes on what a peer shares, and to
// that peer what others share.
func (m Mesh) Passes(peer SiteID) bool {
	if m.Own.Tier != Primary || m.Own.Exchange != ExchangeHub {
		return false
	}
	found := false
	for _, s := range m.Sites {
		switch {
		case s.ID == m.Own.ID:
		case s.Tier == Primary: // who the hub is, is open
			return false
		case s.ID == peer:
			found = s.Exchange == ExchangeHub
		}
	}
	return found
}

// Own reports whether a peer has a gate that is another than the one of every peer.
func (g Gates) Own(peer SiteID) bool { return !reflect.DeepEqual(g.For(peer), g.Default) }

// Relay is the leave that an origin gives to its hub with an alert: to pass it on to
// all for whom it passes but those that are excepted.
type Relay struct {
	// Except are the peers with a gate of their own when the alert left. Where the hub is
	// among them it passes the alert to nobody: what it has is by a gate of its own too.
	Except []SiteID `json:"except,omitempty"`
}

// Relay is the leave to pass on a version of a local alert; nil where the gate of
// every peer does not admit it.
func (g Gates) Relay(a Alert) *Relay {
	if !g.Default.Admits(a).Admitted {
		return nil
	}
	r := &Relay{}
	for peer := range g.Peers {
		if g.Own(peer) {
			r.Except = append(r.Except, peer)
		}
	}
	slices.Sort(r.Except)
	return r
}

// Admits reports whether a hub may pass the alert to a peer. No leave at all is none.
func (r *Relay) Admits(hub, peer SiteID) bool {
	return r != nil && !slices.Contains(r.Except, hub) && !slices.Contains(r.Except, peer)
}
