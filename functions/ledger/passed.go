package ledger

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
)

// atOnce bounds the peers that are asked about one alert at a time.
const atOnce = 64

// passed is how far this site's alerts have come at a peer to which the hub passes them
// on. The hub's acknowledgement proves nothing of the peer, so it goes by what the peer
// found as it last compared; what was raised since is pending.
func (l ledger) passed(ctx context.Context, hub, peer federation.SiteID, found map[store.Way]federation.Reconciliation) (federation.Delivery, error) {
	d := federation.Delivery{Peer: peer, Direction: federation.Outbound, PassedBy: hub, Reachable: true}
	r, compared := found[store.Way{Peer: peer, Direction: federation.Outbound}]
	if !compared {
		d.Detail = fmt.Sprintf("%s has not compared yet, so nothing is proved", peer)
		return d, nil
	}
	newer, oldest, err := l.store.SharedSince(ctx, r.Until, l.gate.Severities())
	if err != nil {
		return d, err
	}
	missing := r.Lost + r.Pending
	stored, pending := max(r.Compared-missing-r.Refused, 0), missing+newer
	acknowledged := stored + r.Refused
	d.ProvedUntil, d.Stored, d.Refused, d.Acknowledged, d.Pending, d.Shared = &r.Until, &stored, &r.Refused, &acknowledged, &pending, new(acknowledged+pending)
	if missing > 0 { // it was raised before, and what was raised since is younger
		oldest = new(cmp.Or(r.MissingSince, r.Until)) // an older version of this site has not kept the first
	}
	if oldest != nil {
		d.OldestPendingAt, d.OldestPendingSeconds = oldest, new(max(l.now().Sub(*oldest), 0).Seconds())
	}
	return d, nil
}

// received is how far the alerts of a peer have come that the hub passes on to this
// site, beside those that are stored here. What of them waits at the hub is among what that has for this site.
func received(hub, peer federation.SiteID, stored int, reachable bool, found map[store.Way]federation.Reconciliation) federation.Delivery {
	d := federation.Delivery{Peer: peer, Direction: federation.Inbound, PassedBy: hub, Reachable: reachable, Stored: &stored}
	if !reachable {
		d.Detail = fmt.Sprintf("%s does not answer", hub)
	}
	if r, compared := found[store.Way{Peer: peer, Direction: federation.Inbound}]; compared {
		d.ProvedUntil = &r.Until
	}
	return d
}

// word is what a peer says of one alert.
type word struct {
	ask.Reception
	answered bool
}

// words asks peers together how far each has an alert of this site.
func (l ledger) words(ctx context.Context, peers []federation.SiteID, id string) map[federation.SiteID]word {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var (
		said  = map[federation.SiteID]word{}
		mu    sync.Mutex
		all   sync.WaitGroup
		slots = make(chan struct{}, atOnce)
	)
	for _, p := range peers {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			answer, err := function.Ask(ctx, l.bus, p, ask.ReconcileHeld(l.bus.Site().ID), ask.AlertIDs{IDs: []string{id}})
			if err != nil {
				return // it is away, which is what the answer is to say
			}
			w := word{answered: true}
			for _, r := range answer.Items {
				if r.ID == id {
					w.Reception = r
				}
			}
			mu.Lock()
			defer mu.Unlock()
			said[p] = w
		})
	}
	all.Wait()
	return said
}

// passedState is where an alert stands, that its gate admits, on its way to a peer to
// which the hub passes it on: as the peer says, or proved by the last comparison. held
// says that the stream still holds it.
func passedState(a federation.Alert, s store.Sharing, held bool, hub, peer federation.SiteID, w word, r federation.Reconciliation) (state federation.DeliveryState, why string) {
	switch {
	case w.Version >= a.Version && w.Refused:
		return federation.DeliveryRefused, readable(w.Reason)
	case w.Version >= a.Version:
		return federation.DeliveryStored, fmt.Sprintf("%s says that it has it", peer)
	case w.answered && w.Version == 0 && a.Withheld():
		return federation.DeliveryKept, fmt.Sprintf("it was taken back, and %s says that it never had it", peer)
	case s.Waiting:
		return federation.DeliveryQueued, "it waits in the outbox"
	case s.Sequence == 0:
		return federation.DeliveryUnknown, unrecorded
	case w.answered && held:
		return federation.DeliveryQueued, fmt.Sprintf("%s passes it on, and %s says that it does not have it yet", hub, peer)
	case w.answered:
		return federation.DeliveryUnknown, fmt.Sprintf("the stream no longer holds it, and %s says that it does not have it: it was let go of, or a comparison brings it", peer)
	case r.Proves(a.CreatedAt, s.PublishedAt):
		return federation.DeliveryStored, fmt.Sprintf("as the last comparison found; %s does not answer now", peer)
	case !held:
		return federation.DeliveryUnknown, fmt.Sprintf("the stream no longer holds it, and %s does not answer", peer)
	}
	return federation.DeliveryQueued, fmt.Sprintf("%s passes it on; %s does not answer, and no comparison proves that it has it", hub, peer)
}
