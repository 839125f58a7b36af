package ledger

import (
	"context"
	"fmt"
	"slices"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func (l ledger) alertDeliveries(ctx context.Context, id ask.AlertID) (federation.AlertDeliveries, error) {
	a, err := l.store.Alert(ctx, id.ID)
	if err != nil {
		return federation.AlertDeliveries{}, err
	}
	all := federation.AlertDeliveries{AlertID: a.ID, Severity: a.Severity, OriginSite: l.bus.Site().ID, Deliveries: []federation.AlertDelivery{}}
	if a.Origin != nil {
		all.OriginSite = a.Origin.SiteID
		return all, nil
	}
	peers, err := l.store.Peers(ctx, all.OriginSite)
	if err != nil {
		return federation.AlertDeliveries{}, err
	}
	sharing, err := l.store.Sharing(ctx, a.ID)
	if err != nil {
		return federation.AlertDeliveries{}, err
	}
	var out outgoing
	if sharing.Sequence > 0 {
		if out, err = l.readStream(ctx); err != nil {
			return federation.AlertDeliveries{}, err
		}
	}
	for _, p := range peers {
		d := federation.AlertDelivery{Peer: p}
		if d.State, d.Detail, err = l.delivery(ctx, a, sharing, out, p); err != nil {
			return federation.AlertDeliveries{}, err
		}
		all.Deliveries = append(all.Deliveries, d)
	}
	return all, nil
}

// delivery is how far an alert has come on its way to a peer, and why. What
// nothing proves is unknown: a wrong "stored" would end somebody's search, and a
// wrong "refused" would deny a leak.
func (l ledger) delivery(ctx context.Context, a federation.Alert, s store.Sharing, out outgoing, peer federation.SiteID) (state federation.DeliveryState, why string, err error) {
	switch d := l.gate.Decide(a.Severity, a.TLP); {
	case !d.Admitted && s.Sequence == 0:
		return federation.DeliveryRefused, d.Reason, nil
	case !d.Admitted:
		return federation.DeliveryUnknown, "it was shared before the gate was narrowed: whether the peer took it by then is not recorded", nil
	case s.Waiting:
		return federation.DeliveryQueued, "it waits in the outbox", nil
	case s.Sequence == 0:
		return federation.DeliveryUnknown, "there is no record of its sharing: it was raised under a narrower gate, or before such records were kept", nil
	case s.Sequence < out.state.FirstSeq || s.Sequence > out.state.LastSeq:
		return federation.DeliveryUnknown, "the stream no longer holds it, so the acknowledgements prove nothing", nil
	}
	c, err := l.consumer(ctx, l.bus.Site().ID, peer)
	switch {
	case err != nil:
		return "", "", unavailable(err)
	case c == nil:
		return federation.DeliveryQueued, fmt.Sprintf("%s is not admitted yet", peer), nil
	case !slices.Contains(filter(c), subject.Alert(a.Severity)):
		return federation.DeliveryUnknown, "the gate was widened just now, and the peer's consumer not yet", nil
	case c.AckFloor.Stream < s.Sequence:
		return federation.DeliveryQueued, "it is in the stream, and the peer has not acknowledged everything up to it", nil
	}
	return federation.DeliveryStored, "", nil
}
