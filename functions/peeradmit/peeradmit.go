// Package peeradmit is the function that admits peers: for every site whose gossip
// has arrived it keeps, at this origin's alert stream, one durable consumer with
// that peer's gate as its filter. A refused alert is therefore never on the wire.
// The peer pulls from its consumer and what it has acknowledged is what it has stored.
package peeradmit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	// sweep is how often every peer's consumer is put right.
	sweep = 15 * time.Second
	// ackWait is how long an alert waits for a peer's acknowledgement before it is sent again.
	ackWait = 15 * time.Second
	// maxAckPending is how many alerts may be under way to a peer: enough to fill a
	// link of 40 ms round trip.
	maxAckPending = 10_000
)

// New is the function for one site.
func New(gate federation.Gate, limits stream.Limits, st *store.Store, bus *function.Bus) function.Function {
	a := admitter{gate, st, bus}
	site := bus.Site().ID
	return function.Function{
		Name:        "peeradmit",
		Description: "Keeps, for every known peer, the durable consumer from which it pulls this site's alerts.",
		Triggers: []function.Trigger{
			function.On(subject.Event(site, federation.SiteSeen), a.seen, function.Named("seen")),
			function.Every(sweep, a.admitAll, function.Named("sweep")),
		},
		Streams: []jetstream.StreamConfig{stream.Alerts(site, limits)},
		Checks:  []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type admitter struct {
	gate  federation.Gate
	store *store.Store
	bus   *function.Bus
}

func (a admitter) seen(ctx context.Context, e federation.Event) error { return a.admit(ctx, e.SiteID) }

func (a admitter) admitAll(ctx context.Context) error {
	peers, err := a.store.Peers(ctx, a.bus.Site().ID)
	if err != nil {
		return err
	}
	var failed []error
	for _, p := range peers {
		failed = append(failed, a.admit(ctx, p))
	}
	return errors.Join(failed...)
}

// admit creates the peer's consumer, or sets its filter to the present gate.
func (a admitter) admit(ctx context.Context, peer federation.SiteID) error {
	var filter []string
	for _, s := range a.gate.Severities() {
		filter = append(filter, subject.Alert(s))
	}
	_, err := a.bus.JetStream().CreateOrUpdateConsumer(ctx, subject.AlertStream(a.bus.Site().ID), jetstream.ConsumerConfig{
		Durable:        subject.AlertConsumer(peer),
		Description:    "alerts for " + string(peer),
		FilterSubjects: filter,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        ackWait,
		MaxAckPending:  maxAckPending,
		MaxDeliver:     -1, // the peer ends what it cannot store; nothing is given up at the origin
	})
	if err != nil {
		return fmt.Errorf("admitting %s: %w", peer, err)
	}
	return nil
}
