package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/stream"
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
	out, err := l.readStream(ctx)
	if err != nil {
		return federation.AlertDeliveries{}, err
	}
	gates, err := l.store.Gates(ctx, all.OriginSite, federation.Outbound, l.gate)
	if err != nil {
		return federation.AlertDeliveries{}, err
	}
	since, err := l.setSince(ctx)
	if err != nil {
		return federation.AlertDeliveries{}, err
	}
	relays, err := l.store.Relays(ctx, l.bus.Site())
	if err != nil {
		return federation.AlertDeliveries{}, err
	}
	found, err := l.store.Reconciliations(ctx)
	if err != nil {
		return federation.AlertDeliveries{}, err
	}
	passed := func(p federation.SiteID) bool {
		_, relayed := relays.To[p]
		return relayed && gates.For(p).Admits(a).Admitted
	}
	said := l.words(ctx, slices.DeleteFunc(slices.Clone(peers), func(p federation.SiteID) bool { return !passed(p) }), a.ID)
	for _, p := range peers {
		d := federation.AlertDelivery{Peer: p}
		if passed(p) {
			sharing, err := l.sharing(ctx, gates.For(p), a, p)
			if err != nil {
				return federation.AlertDeliveries{}, err
			}
			held, err := out.keeps(ctx, sharing)
			if err != nil {
				return federation.AlertDeliveries{}, err
			}
			d.State, d.Detail = passedState(a, sharing, held, relays.Hub, p, said[p], found[store.Way{Peer: p, Direction: federation.Outbound}])
		} else if d.State, d.Detail, err = l.state(ctx, a, gates, since[p], out, p); err != nil {
			return federation.AlertDeliveries{}, err
		}
		all.Deliveries = append(all.Deliveries, d)
	}
	return all, nil
}

// state is where an alert stands on its way to a peer, whose gate was set at the
// time given. A wrong "kept" would deny a leak.
func (l ledger) state(ctx context.Context, a federation.Alert, gates federation.Gates, set time.Time, out outgoing, peer federation.SiteID) (state federation.DeliveryState, why string, err error) {
	gate := gates.For(peer)
	sharing, err := l.sharing(ctx, gate, a, peer)
	if err != nil {
		return "", "", err
	}
	reason, refused, err := l.refusal(ctx, a.ID, peer, sharing)
	decision := gate.Admits(a)
	switch {
	case err != nil:
		return "", "", err
	case refused:
		return federation.DeliveryRefused, reason, nil
	case decision.Admitted && sharing.Sequence > 0 && sharing.PublishedAt.Before(set):
		return l.sinceGate(ctx, a, set, peer)
	case decision.Admitted:
		return l.delivery(ctx, a, sharing, out, peer)
	case sharing.Sequence == 0 || sharing.Peer == "" && forOthers(gates, a, peer) && !set.After(a.CreatedAt):
		return federation.DeliveryKept, decision.Reason, nil
	}
	return federation.DeliveryUnknown, "it was shared before the gate was narrowed: whether the peer took it by then is not recorded", nil
}

// sinceGate is where an alert stands that was published before the gate of the peer was
// set: the acknowledgements pass over what the gate did not admit at that time, so a
// comparison alone tells.
func (l ledger) sinceGate(ctx context.Context, a federation.Alert, set time.Time, peer federation.SiteID) (federation.DeliveryState, string, error) {
	found, err := l.store.Reconciliations(ctx)
	if err != nil {
		return "", "", err
	}
	r, compared := found[store.Way{Peer: peer, Direction: federation.Outbound}]
	if compared && r.At.After(set) && !a.CreatedAt.Before(r.From) && a.CreatedAt.Before(r.Until) && r.Lost+r.Pending+r.Refused == 0 {
		return federation.DeliveryStored, "as the last comparison found", nil
	}
	return federation.DeliveryUnknown, "the gate was set after it was shared: a comparison that finds nothing lost, pending or refused will tell", nil
}

// refusal says whether a peer could not store an alert as it was last shared, and
// why. A refusal on record is proof by itself: the stream need not hold the alert any more.
func (l ledger) refusal(ctx context.Context, alertID string, peer federation.SiteID, s store.Sharing) (reason string, refused bool, err error) {
	if s.Sequence == 0 {
		return "", false, nil
	}
	rs, err := l.store.RefusalsOf(ctx, alertID, s.Sequence)
	for _, r := range rs {
		if r.Peer == peer {
			return r.Reason, true, nil
		}
	}
	return "", false, err
}

// setSince is when the gate of each peer was set that has one.
func (l ledger) setSince(ctx context.Context) (map[federation.SiteID]time.Time, error) {
	set, err := l.store.PeerGates(ctx)
	since := map[federation.SiteID]time.Time{}
	for _, g := range set {
		if g.Direction == federation.Outbound {
			since[g.Peer] = g.UpdatedAt
		}
	}
	return since, err
}

// sharing is how far an alert has come in the forms by which the peer may have got
// it, as its gate stands. What the gate refuses may have gone before in either.
func (l ledger) sharing(ctx context.Context, g federation.Gate, a federation.Alert, peer federation.SiteID) (store.Sharing, error) {
	if g.OwnCopy() && g.Admits(a).Admitted {
		return l.store.OwnSharing(ctx, a.ID, peer)
	}
	return l.store.Sharing(ctx, a.ID, peer)
}

// forOthers reports whether the form for all alike is there for other peers' sake.
func forOthers(gates federation.Gates, a federation.Alert, peer federation.SiteID) bool {
	others := federation.Gates{Default: gates.Default, Peers: maps.Clone(gates.Peers)}
	delete(others.Peers, peer)
	return slices.ContainsFunc(others.Routes(a), func(r federation.Route) bool { return r.Peer == "" })
}

// unrecorded is why nothing is known of an alert that the gate would admit.
const unrecorded = "there is no record of its sharing: it was raised under another gate, or before such records were kept"

// delivery is how far an alert that its gate admits, and that is not refused, has
// come on its way to a peer, and why. What nothing proves is unknown: a wrong
// "stored" would end somebody's search.
func (l ledger) delivery(ctx context.Context, a federation.Alert, s store.Sharing, out outgoing, peer federation.SiteID) (state federation.DeliveryState, why string, err error) {
	switch {
	case s.Waiting:
		return federation.DeliveryQueued, "it waits in the outbox", nil
	case s.Sequence == 0:
		return federation.DeliveryUnknown, unrecorded, nil
	}
	switch held, err := out.keeps(ctx, s); {
	case err != nil:
		return "", "", err
	case !held:
		return federation.DeliveryUnknown, "the stream no longer holds it, so the acknowledgements prove nothing", nil
	}
	lanes := out.lanes(peer)
	lane := slices.IndexFunc(lanes, func(c *jetstream.ConsumerInfo) bool {
		return slices.Contains(stream.Filter(c.Config), sharedAs(a, s.Peer))
	})
	switch {
	case len(lanes) == 0:
		return federation.DeliveryQueued, fmt.Sprintf("%s is not admitted yet", peer), nil
	case lane < 0:
		return federation.DeliveryUnknown, "the gate was widened just now, and the peer's consumer not yet", nil
	case lanes[lane].AckFloor.Stream < s.Sequence:
		return federation.DeliveryQueued, "it is in the stream, and the peer has not acknowledged everything up to it", nil
	}
	return federation.DeliveryStored, "", nil
}

// sharedAs is the subject of an alert in the form for a peer, or for all alike.
func sharedAs(a federation.Alert, peer federation.SiteID) string {
	if peer == "" {
		return subject.Alert(a.SharedSeverity)
	}
	return subject.AlertTo(a.SharedSeverity, peer)
}

// keeps reports whether the stream still has the version of an alert. It may have let
// go of that although it holds older ones; see the function backlog.
func (o outgoing) keeps(ctx context.Context, s store.Sharing) (bool, error) {
	if !s.In(o.made, o.state.FirstSeq, o.state.LastSeq) {
		return false, nil
	}
	_, err := o.GetMsg(ctx, s.Sequence)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return false, nil
	case err != nil:
		return false, unavailable(err)
	}
	return true, nil
}
