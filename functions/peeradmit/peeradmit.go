// Package peeradmit is the function that admits peers: for every site whose gossip
// has arrived it keeps, at this origin's alert stream, the durable consumers of
// that peer's lanes with its gate as their filters. A kept alert is therefore never
// on the wire. Where the gate is set anew the filters follow before the change is
// answered. The peer pulls from its consumers and what it has acknowledged is what
// it has stored, or put among its dead letters.
package peeradmit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	// sweep is how often every peer's consumer is put right.
	sweep = 15 * time.Second
	// ackWait is how long an alert waits for a peer's acknowledgement before it is sent
	// again: what was on the line when that was cut must not wait long after it is whole.
	// A peer that needs longer to store says so meanwhile.
	ackWait = 5 * time.Second
	// maxAckPending is how many alerts may be under way to a peer: enough to fill a
	// link of 40 ms round trip.
	maxAckPending = 10_000
	// Peers that appear within linger of each other are admitted together, atOnce at most.
	atOnce = 500
	linger = 100 * time.Millisecond
)

// New is the function for one site. gate is that of a peer for which none is set.
func New(gate federation.Gate, limits stream.Limits, st *store.Store, bus *function.Bus) function.Function {
	a := admitter{gate, st, bus}
	site := bus.Site().ID
	return function.Function{
		Name:        "peeradmit",
		Description: "Keeps, for every known peer, the durable consumers from which it pulls this site's alerts.",
		Triggers: []function.Trigger{
			function.OnTogether(subject.Event(site, federation.SiteSeen), a.seen, function.Named("seen"), function.Batch(atOnce, linger)),
			function.Reply(ask.AdmitPeers, a.admitNow),
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

func (a admitter) seen(ctx context.Context, came []function.Came[federation.Event]) error {
	peers := map[federation.SiteID]bool{}
	for _, c := range came {
		peers[c.Value.SiteID] = true
	}
	return a.admitEach(ctx, slices.Sorted(maps.Keys(peers)))
}

func (a admitter) admitNow(ctx context.Context, _ ask.None) (ask.None, error) {
	return ask.None{}, a.admitAll(ctx)
}

func (a admitter) admitAll(ctx context.Context) error {
	peers, err := a.store.Peers(ctx, a.bus.Site().ID)
	if err != nil {
		return err
	}
	return a.admitEach(ctx, peers)
}

// admitEach sets the consumers of peers to the present gates. It looks at the gates
// again behind itself: one that was set in between may have been put right already by
// another replica, over which the older one was written here.
func (a admitter) admitEach(ctx context.Context, peers []federation.SiteID) error {
	gates, err := a.gates(ctx)
	for err == nil {
		there, err := a.there(ctx)
		if err != nil {
			return err
		}
		var failed []error
		for _, p := range peers {
			failed = append(failed, a.admit(ctx, p, gates.For(p), there))
		}
		if err := errors.Join(failed...); err != nil {
			return err
		}
		set := gates
		if gates, err = a.gates(ctx); err == nil && reflect.DeepEqual(gates, set) {
			return nil
		}
	}
	return err
}

func (a admitter) gates(ctx context.Context) (federation.Gates, error) {
	return a.store.Gates(ctx, a.bus.Site().ID, federation.Outbound, a.gate)
}

// there is the consumers that there are, by name.
func (a admitter) there(ctx context.Context) (map[string]*jetstream.ConsumerInfo, error) {
	s, err := a.bus.JetStream().Stream(ctx, subject.AlertStream(a.bus.Site().ID))
	if err != nil {
		return nil, fmt.Errorf("reading the stream of shared alerts: %w", err)
	}
	return stream.Consumers(ctx, s)
}

// filters is the subjects from which a peer behind a gate gets alerts of the given
// severities. Copies made for it were decided when they were made, so they always
// reach it; and with no subject at all a consumer would let everything through.
func filters(g federation.Gate, peer federation.SiteID, severities []federation.Severity) []string {
	var all []string
	admitted := g.Severities()
	for _, s := range severities {
		all = append(all, subject.AlertTo(s, peer))
		if !g.OwnCopy() && slices.Contains(admitted, s) {
			all = append(all, subject.Alert(s))
		}
	}
	return all
}

// admit keeps every lane of a peer. That of the critical alerts is first: it starts
// where the other one, while it still has them, has come.
func (a admitter) admit(ctx context.Context, peer federation.SiteID, gate federation.Gate, there map[string]*jetstream.ConsumerInfo) error {
	for _, lane := range subject.AlertConsumers(peer) {
		if err := a.keep(ctx, peer, gate, lane, there); err != nil {
			return fmt.Errorf("admitting %s: %w", peer, err)
		}
	}
	return nil
}

// keep creates a lane, or sets its filter to the gate; where it is as it should be, the
// server is not asked. Where a lane starts cannot be changed, so what is there is kept.
func (a admitter) keep(ctx context.Context, peer federation.SiteID, gate federation.Gate, lane subject.Lane, there map[string]*jetstream.ConsumerInfo) error {
	js, name := a.bus.JetStream(), subject.AlertStream(a.bus.Site().ID)
	want := jetstream.ConsumerConfig{
		Durable:        lane.Consumer,
		Description:    "alerts for " + string(peer),
		FilterSubjects: filters(gate, peer, lane.Severities),
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        ackWait,
		MaxAckPending:  maxAckPending,
		MaxDeliver:     -1, // the peer ends what it cannot store; nothing is given up at the origin
	}
	have := there[lane.Consumer]
	if have == nil {
		want.DeliverPolicy, want.OptStartSeq = from(there[subject.AlertConsumer(peer)], lane)
		_, err := js.CreateConsumer(ctx, name, want)
		if errors.Is(err, jetstream.ErrConsumerExists) {
			return nil // another replica was first
		}
		return err
	}
	if same(have.Config, want) {
		return nil
	}
	want.DeliverPolicy, want.OptStartSeq = have.Config.DeliverPolicy, have.Config.OptStartSeq
	_, err := js.UpdateConsumer(ctx, name, want)
	return err
}

// same reports whether a consumer is as it should be, but for where it starts.
func same(have, want jetstream.ConsumerConfig) bool {
	subjects := func(c jetstream.ConsumerConfig) []string { return slices.Sorted(slices.Values(stream.Filter(c))) }
	return have.Description == want.Description && have.AckPolicy == want.AckPolicy && have.AckWait == want.AckWait &&
		have.MaxAckPending == want.MaxAckPending && have.MaxDeliver == want.MaxDeliver && slices.Equal(subjects(have), subjects(want))
}

// from is where a new lane starts: at the beginning, unless the peer has a consumer
// from before there were lanes. What that one has behind it of this lane's alerts is
// acknowledged, and what it has before it must not be lost when its filter is narrowed.
func from(before *jetstream.ConsumerInfo, lane subject.Lane) (jetstream.DeliverPolicy, uint64) {
	if before == nil {
		return jetstream.DeliverAllPolicy, 0
	}
	for _, s := range lane.Severities {
		if slices.Contains(stream.Filter(before.Config), subject.Alert(s)) {
			return jetstream.DeliverByStartSequencePolicy, before.AckFloor.Stream + 1
		}
	}
	return jetstream.DeliverAllPolicy, 0
}
