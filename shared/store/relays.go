package store

import (
	"context"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// Relays is which way the alerts between this site and its peers take.
type Relays struct {
	// Hub passes them on; empty where there is none.
	Hub federation.SiteID
	// To are the peers that get by the hub what this site raises.
	To map[federation.SiteID]RelayedPeer
	// From are those of which this site gets by the hub what they raise.
	From map[federation.SiteID]bool
}

// Relays says which way alerts take: by what this site has decided, and what its peers say.
func (s *Store) Relays(ctx context.Context, own federation.Identity) (Relays, error) {
	r := Relays{From: map[federation.SiteID]bool{}}
	var err error
	if r.To, err = s.RelayedPeers(ctx); err != nil || own.Exchange != federation.ExchangeHub {
		return r, err
	}
	sites, _, err := s.Sites(ctx, own.ID, 0, 0)
	if err != nil {
		return r, err
	}
	if hub, ok := (federation.Mesh{Own: own, Sites: sites}).Hub(); ok {
		r.Hub = hub.ID
	}
	links, err := s.Links(ctx)
	for _, l := range links {
		if l.RelayedHere() {
			r.From[l.Peer(own.ID)] = true
		}
	}
	return r, err
}
