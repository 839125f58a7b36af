package peeradmit

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// overlap is how much of what a comparison has found at a peer is sent to it again where
// it begins to pull: what was changed meanwhile may not have been part of it.
const overlap = 10 * time.Minute

// admit brings a peer to its way. From its own lanes to the hub nothing is lost because
// the peer pulls here until it has all that was in the stream before the hub was known
// to pass on; from the hub to its own lanes, because they start where it surely has
// everything. What the peer gets both ways it drops.
//
// The peers hear of it by the gossip: lanes are there before it says so, and go after.
func (a admitter) admit(ctx context.Context, peer federation.SiteID, s standing, there consumers) (err error) {
	told := s.passed != s.passing // in the gossip
	switch {
	case s.relayed && !s.known:
		err = a.begin(ctx, peer, s.way, there)
	case s.relayed && s.was.Direct:
		var finished bool
		finished, err = a.finish(ctx, s.was, s.way, there)
		told = told || finished
	case s.relayed && s.lanes: // another replica has made them just now
		err = a.dismiss(ctx, peer)
	case s.relayed:
	case s.known:
		told, err = true, a.resume(ctx, s.was, s.way, there)
	default:
		err = a.lanes(ctx, peer, s.way, there, start{})
	}
	if err != nil || !told {
		return err
	}
	if s.passed != s.passing {
		// The lanes take what is passed on before anybody relies on it.
		if err := a.store.SetPassed(ctx, peer, s.passed, a.now()); err != nil {
			return err
		}
	}
	return a.bus.Nudge("heartbeat")
}

// begin notes up to where a peer pulls here, which it still does.
func (a admitter) begin(ctx context.Context, peer federation.SiteID, w way, there consumers) error {
	if err := a.lanes(ctx, peer, w, there, start{}); err != nil {
		return err
	}
	alerts, err := a.bus.JetStream().Stream(ctx, subject.AlertStream(a.bus.Site().ID))
	if err != nil {
		return err
	}
	return a.store.BeginRelayed(ctx, store.RelayedPeer{Peer: peer, Since: a.now(), Sequence: alerts.CachedInfo().State.LastSeq, Direct: true})
}

// finish takes a peer its lanes, once it has what it was to pull from them.
func (a admitter) finish(ctx context.Context, p store.RelayedPeer, w way, there consumers) (finished bool, err error) {
	if err := a.lanes(ctx, p.Peer, w, there, start{}); err != nil {
		return false, err
	}
	for _, lane := range subject.AlertConsumers(p.Peer) {
		// One that was made just now has all before it.
		if info := there[lane.Consumer]; info == nil || info.AckFloor.Stream < p.Sequence && info.NumPending+uint64(info.NumAckPending) > 0 {
			return false, nil
		}
	}
	if err := a.dismiss(ctx, p.Peer); err != nil {
		return false, err
	}
	return true, a.store.RelayedOnly(ctx, p.Peer)
}

// dismiss takes a peer its lanes.
func (a admitter) dismiss(ctx context.Context, peer federation.SiteID) error {
	for _, lane := range subject.AlertConsumers(peer) {
		err := a.bus.JetStream().DeleteConsumer(ctx, subject.AlertStream(a.bus.Site().ID), lane.Consumer)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
	}
	return nil
}

// resume gives a peer its lanes back.
func (a admitter) resume(ctx context.Context, p store.RelayedPeer, w way, there consumers) error {
	begin, err := a.since(ctx, p)
	if err != nil {
		return err
	}
	if err := a.lanes(ctx, p.Peer, w, there, begin); err != nil {
		return err
	}
	return a.store.EndRelayed(ctx, p.Peer)
}

// since is where a peer that was relayed begins to pull: where it was when that began,
// or later, where a comparison has found everything at it since.
func (a admitter) since(ctx context.Context, p store.RelayedPeer) (start, error) {
	alerts, err := a.bus.JetStream().Stream(ctx, subject.AlertStream(a.bus.Site().ID))
	if err != nil {
		return start{}, err
	}
	if alerts.CachedInfo().Created.After(p.Since) { // it counts from 1 again
		return start{}, nil
	}
	found, err := a.store.Reconciliations(ctx)
	if err != nil {
		return start{}, err
	}
	r, compared := found[store.Way{Peer: p.Peer, Direction: federation.Outbound}]
	if compared && r.Lost+r.Pending == 0 {
		upto := r.At // by the clock of this site, and r.Until by the peer's
		if r.Until.Before(upto) {
			upto = r.Until
		}
		if upto = upto.Add(-overlap); upto.After(p.Since) {
			return start{at: upto.UTC()}, nil
		}
	}
	return start{sequence: p.Sequence + 1}, nil
}
