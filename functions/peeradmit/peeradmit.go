// Package peeradmit is the function that admits peers: for every site whose gossip
// has arrived it keeps, at this origin's alert stream, the durable consumers of
// that peer's lanes with its gate as their filters. A kept alert is therefore never
// on the wire. Where the gate is set anew the filters follow before the change is
// answered. The peer pulls from its consumers and what it has acknowledged is what
// it has stored, or put among its dead letters. A peer that gets by the hub what this
// site raises has none; see relay.go for how it loses and gets them.
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

// overtakenMost is how often a step is looked at that another replica is in the middle of.
const overtakenMost = 10

// New is the function for one site. gate is that of a peer for which none is set; a hub
// that said goodbye is waited for as long as patience says.
func New(gate federation.Gate, patience time.Duration, limits stream.Limits, st *store.Store, bus *function.Bus, now func() time.Time) function.Function {
	a := admitter{gate, patience, st, bus, now}
	site := bus.Site().ID
	return function.Function{
		Name:        "peeradmit",
		Description: "Keeps, for every known peer, the durable consumers from which it pulls this site's alerts.",
		Triggers: []function.Trigger{
			function.OnTogether(subject.Event(site, federation.SiteSeen), a.seen, function.Named("seen"), function.Batch(atOnce, linger)),
			function.Reply(ask.AdmitPeers, a.admitNow),
			function.Nudged(a.admitAll),
			function.Every(sweep, a.admitAll, function.Named("sweep")),
		},
		Streams: []jetstream.StreamConfig{stream.Alerts(site, limits)},
		Checks:  []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type admitter struct {
	gate     federation.Gate
	patience time.Duration
	store    *store.Store
	bus      *function.Bus
	now      func() time.Time
}

// way is how alerts of this site's stream get to a peer.
type way struct {
	gate    federation.Gate
	relayed bool // by the hub: the peer pulls nothing here
	hub     bool // the peer is the hub of this site, and takes what is for others by it
	passed  bool // this site is the hub of the peer, and passes on to it
}

// standing is the way to a peer, and how far it is in place.
type standing struct {
	way
	was     store.RelayedPeer // where it gets by the hub what this site raises, or is about to
	known   bool              // whether there is that
	passing bool              // whether it is noted that this site passes on to it
	lanes   bool              // whether it has any here
}

// consumers are those of this site's stream, by name, as they were at one moment.
type consumers map[string]*jetstream.ConsumerInfo

func (a admitter) seen(ctx context.Context, came []function.Came[federation.Event]) error {
	peers := map[federation.SiteID]bool{}
	for _, c := range came {
		peers[c.Value.SiteID] = true
	}
	return a.admitEach(ctx, func(p federation.SiteID) bool { return peers[p] })
}

func (a admitter) admitNow(ctx context.Context, _ ask.None) (ask.None, error) {
	return ask.None{}, a.admitAll(ctx)
}

func (a admitter) admitAll(ctx context.Context) error {
	return a.admitEach(ctx, func(federation.SiteID) bool { return true })
}

// admitEach brings the peers that are meant to their present ways. It looks at these
// again behind itself: one that was changed in between may have been put right already by
// another replica, over which the older one was written here.
func (a admitter) admitEach(ctx context.Context, meant func(federation.SiteID) bool) error {
	now, there, err := a.standings(ctx, meant)
	for tries := 1; err == nil; tries++ {
		var failed, overtaken []error
		for _, p := range slices.Sorted(maps.Keys(now)) {
			err := a.admit(ctx, p, now[p], there)
			if err != nil {
				err = fmt.Errorf("admitting %s: %w", p, err)
			}
			if isGone(err) {
				overtaken = append(overtaken, err)
			} else {
				failed = append(failed, err)
			}
		}
		if err := errors.Join(failed...); err != nil {
			return err
		}
		before := now
		if now, there, err = a.standings(ctx, meant); err != nil || !reflect.DeepEqual(now, before) {
			continue
		}
		if err := errors.Join(overtaken...); err == nil || tries >= overtakenMost {
			return err
		} // else whoever was first is still at it
	}
	return err
}

// isGone reports whether a lane went while it was worked on: another replica, or
// another trigger, has taken the same step at the same moment.
func isGone(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrConsumerDoesNotExist)
}

// standings is where the ways to the known peers stand that are meant, and the consumers
// that there are.
func (a admitter) standings(ctx context.Context, meant func(federation.SiteID) bool) (map[federation.SiteID]standing, consumers, error) {
	mesh, err := a.store.Mesh(ctx, a.bus.Site(), a.gate, a.now(), a.patience)
	if err != nil {
		return nil, nil, err
	}
	relayed, err := a.store.RelayedPeers(ctx)
	if err != nil {
		return nil, nil, err
	}
	passed, err := a.store.PassedPeers(ctx)
	if err != nil {
		return nil, nil, err
	}
	alerts, err := a.bus.JetStream().Stream(ctx, subject.AlertStream(a.bus.Site().ID))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the stream of shared alerts: %w", err)
	}
	there, err := stream.Consumers(ctx, alerts) // after the database: what is noted there is behind what they show
	if err != nil {
		return nil, nil, err
	}
	lanes := map[federation.SiteID]bool{}
	for name := range there {
		lanes[subject.ConsumerPeer(name)] = true
	}
	hub, _ := mesh.Hub()
	all := make(map[federation.SiteID]standing, len(mesh.Sites))
	for _, s := range mesh.Sites {
		if s.ID == mesh.Own.ID || !meant(s.ID) {
			continue
		}
		now := standing{passing: slices.Contains(passed, s.ID), lanes: lanes[s.ID], way: way{
			gate: mesh.Gates.For(s.ID), relayed: mesh.Relayed(s.ID), passed: mesh.Passes(s.ID),
			hub: mesh.Own.Exchange == federation.ExchangeHub && s.ID == hub.ID,
		}}
		now.was, now.known = relayed[s.ID]
		all[s.ID] = now
	}
	return all, there, nil
}

// filters is the subjects from which a peer gets alerts of the given severities.
// Copies made for it, or for another by it, were decided when they were made, so they
// always reach it; and with no subject at all a consumer would let everything through.
func filters(w way, peer federation.SiteID, severities []federation.Severity) []string {
	var all []string
	admitted := w.gate.Severities()
	for _, s := range severities {
		all = append(all, subject.AlertTo(s, peer))
		if !w.gate.OwnCopy() && slices.Contains(admitted, s) {
			all = append(all, subject.Alert(s))
		}
		if w.hub {
			all = append(all, subject.AlertVia(s, subject.AnySite))
		}
		if w.passed {
			all = append(all, subject.AlertFrom(s, subject.AnySite))
		}
	}
	return all
}

// lanes keeps every lane of a peer. That of the critical alerts is first: it starts
// where the other one, while it still has them, has come.
func (a admitter) lanes(ctx context.Context, peer federation.SiteID, w way, there consumers, begin start) error {
	for _, lane := range subject.AlertConsumers(peer) {
		if err := a.keep(ctx, peer, w, lane, there, begin); err != nil {
			return err
		}
	}
	return nil
}

// keep creates a lane, or sets its filter to the gate; where it is as it should be, the
// server is not asked. Where a lane starts cannot be changed, so what is there is kept.
func (a admitter) keep(ctx context.Context, peer federation.SiteID, w way, lane subject.Lane, there consumers, begin start) error {
	js, name := a.bus.JetStream(), subject.AlertStream(a.bus.Site().ID)
	want := jetstream.ConsumerConfig{
		Durable:        lane.Consumer,
		Description:    "alerts for " + string(peer),
		FilterSubjects: filters(w, peer, lane.Severities),
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        ackWait,
		MaxAckPending:  maxAckPending,
		MaxDeliver:     -1, // the peer ends what it cannot store; nothing is given up at the origin
	}
	have := there[lane.Consumer]
	if have == nil {
		if begin == (start{}) {
			begin = from(there[subject.AlertConsumer(peer)], lane)
		}
		begin.onto(&want)
		_, err := js.CreateConsumer(ctx, name, want)
		if errors.Is(err, jetstream.ErrConsumerExists) {
			return nil // another replica was first
		}
		return err
	}
	if same(have.Config, want) {
		return nil
	}
	want.DeliverPolicy, want.OptStartSeq, want.OptStartTime = have.Config.DeliverPolicy, have.Config.OptStartSeq, have.Config.OptStartTime
	_, err := js.UpdateConsumer(ctx, name, want)
	return err
}

// same reports whether a consumer is as it should be, but for where it starts.
func same(have, want jetstream.ConsumerConfig) bool {
	subjects := func(c jetstream.ConsumerConfig) []string { return slices.Sorted(slices.Values(stream.Filter(c))) }
	return have.Description == want.Description && have.AckPolicy == want.AckPolicy && have.AckWait == want.AckWait &&
		have.MaxAckPending == want.MaxAckPending && have.MaxDeliver == want.MaxDeliver && slices.Equal(subjects(have), subjects(want))
}

// start is where a new lane starts; the zero one is the beginning of the stream.
type start struct {
	sequence uint64
	at       time.Time
}

// onto writes a start into what a consumer is to be.
func (s start) onto(c *jetstream.ConsumerConfig) {
	switch {
	case !s.at.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.at
	case s.sequence > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.sequence
	default:
		c.DeliverPolicy = jetstream.DeliverAllPolicy
	}
}

// from is where a new lane starts: at the beginning, unless the peer has a consumer
// from before there were lanes. What that one has behind it of this lane's alerts is
// acknowledged, and what it has before it must not be lost when its filter is narrowed.
func from(before *jetstream.ConsumerInfo, lane subject.Lane) start {
	if before == nil {
		return start{}
	}
	for _, s := range lane.Severities {
		if slices.Contains(stream.Filter(before.Config), subject.Alert(s)) {
			return start{sequence: before.AckFloor.Stream + 1}
		}
	}
	return start{}
}
