// Package ledger is the function that says what each peer has stored. It keeps no
// books of its own: a peer acknowledges an alert after its commit, so the durable
// consumer at the origin is the proof, and the ledger only reads it. It reads this
// site's consumers for what goes out, and across the leafnode the one that each
// peer keeps for this site for what comes in.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	// refresh is how often the gauges are set.
	refresh = 5 * time.Second
	// patience is how long a peer may take to answer.
	patience = 2 * time.Second
)

// New is the function for one site.
func New(gate federation.Gate, limits stream.Limits, st *store.Store, bus *function.Bus, reg prometheus.Registerer, now func() time.Time) function.Function {
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"peer"})
		reg.MustRegister(g)
		return g
	}
	l := ledger{
		gate: gate, store: st, bus: bus, now: now,
		pending: gauge("aurora_federation_deliveries_pending", "Alerts for a peer that it has not acknowledged, at the last look."),
		oldest:  gauge("aurora_federation_delivery_oldest_pending_seconds", "Age of the oldest alert that a peer has not acknowledged, at the last look; 0 where there is none."),
		stored:  gauge("aurora_federation_deliveries_stored", "Alerts that the stream holds and that a peer has acknowledged, at the last look."),
	}
	return function.Function{
		Name:        "ledger",
		Description: "Answers what each peer has stored and what waits for it.",
		Triggers: []function.Trigger{
			function.Reply(ask.Deliveries, l.deliveries),
			function.Reply(ask.AlertDeliveries, l.alertDeliveries),
			function.Every(refresh, l.measure, function.Named("measure")),
		},
		Streams: []jetstream.StreamConfig{stream.Alerts(bus.Site().ID, limits)},
		Checks:  []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type ledger struct {
	gate                    federation.Gate
	store                   *store.Store
	bus                     *function.Bus
	now                     func() time.Time
	pending, oldest, stored *prometheus.GaugeVec
}

func (l ledger) deliveries(ctx context.Context, _ ask.None) (federation.Deliveries, error) {
	peers, err := l.store.Peers(ctx, l.bus.Site().ID)
	if err != nil {
		return federation.Deliveries{}, err
	}
	out, err := l.readStream(ctx)
	if err != nil {
		return federation.Deliveries{}, err
	}
	var (
		rows = make([]federation.Delivery, 2*len(peers))
		errs = make([]error, 2*len(peers))
		wait sync.WaitGroup
	)
	for i, p := range peers { // together, for each peer that is away takes the whole of its time
		wait.Go(func() { rows[2*i], errs[2*i] = l.outbound(ctx, out, p) })
		wait.Go(func() { rows[2*i+1], errs[2*i+1] = l.inbound(ctx, p) })
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return federation.Deliveries{}, err
	}
	return federation.Deliveries{SiteID: l.bus.Site().ID, GeneratedAt: l.now().UTC(), Deliveries: rows}, nil
}

// measure sets the gauges of what goes out. It asks no peer.
func (l ledger) measure(ctx context.Context) error {
	peers, err := l.store.Peers(ctx, l.bus.Site().ID)
	if err != nil {
		return err
	}
	out, err := l.readStream(ctx)
	if err != nil {
		return err
	}
	for _, p := range peers {
		d, err := l.outbound(ctx, out, p)
		if err != nil {
			return err
		}
		if d.Pending == nil {
			continue // not admitted yet
		}
		l.pending.WithLabelValues(string(p)).Set(float64(*d.Pending))
		l.stored.WithLabelValues(string(p)).Set(float64(*d.Stored))
		age := 0.0
		if d.OldestPendingSeconds != nil {
			age = *d.OldestPendingSeconds
		}
		l.oldest.WithLabelValues(string(p)).Set(age)
	}
	return nil
}

// outgoing is this site's stream of shared alerts at one moment.
type outgoing struct {
	jetstream.Stream
	state jetstream.StreamState
}

func (l ledger) readStream(ctx context.Context) (outgoing, error) {
	s, err := l.bus.JetStream().Stream(ctx, subject.AlertStream(l.bus.Site().ID))
	if err != nil {
		return outgoing{}, unavailable(err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject.AllAlerts))
	if err != nil {
		return outgoing{}, unavailable(err)
	}
	return outgoing{s, info.State}, nil
}

// unavailable is the fault of this site's own JetStream, without which nothing can be said.
func unavailable(err error) error {
	return fault.New(fault.Unavailable, "the stream of shared alerts cannot be read: %v", err)
}

// consumer is the state of the consumer that origin keeps for a peer, nil where
// it has not admitted it yet. It needs no right but to read that consumer.
func (l ledger) consumer(ctx context.Context, origin, peer federation.SiteID) (*jetstream.ConsumerInfo, error) {
	js, err := l.bus.JetStreamOf(origin)
	if err != nil {
		return nil, err
	}
	c, err := js.Consumer(ctx, subject.AlertStream(origin), subject.AlertConsumer(peer))
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return c.CachedInfo(), nil
}

// outbound is what this site has for a peer. The stream was read before the
// consumer, so an alert shared in between counts as pending and not as stored.
func (l ledger) outbound(ctx context.Context, out outgoing, peer federation.SiteID) (federation.Delivery, error) {
	d := federation.Delivery{Peer: peer, Direction: federation.Outbound, Reachable: true}
	c, err := l.consumer(ctx, l.bus.Site().ID, peer)
	if err != nil {
		return d, unavailable(err)
	}
	if c == nil {
		d.Detail = fmt.Sprintf("%s is not admitted yet", peer)
		return d, nil
	}
	setPending(&d, c)
	shared := 0
	for _, f := range filter(c) {
		shared += int(out.state.Subjects[f])
	}
	d.Shared, d.Stored = &shared, new(max(shared-*d.Pending, 0))
	if *d.Pending == 0 {
		return d, nil
	}
	at, err := oldestPending(ctx, out, c)
	if err != nil || at == nil {
		return d, err
	}
	d.OldestPendingAt, d.OldestPendingSeconds = at, new(max(l.now().Sub(*at), 0).Seconds())
	return d, nil
}

// inbound is what a peer has for this site, as far as it can be known.
func (l ledger) inbound(ctx context.Context, peer federation.SiteID) (federation.Delivery, error) {
	d := federation.Delivery{Peer: peer, Direction: federation.Inbound}
	page, err := l.store.ListAlerts(ctx, ask.AlertFilter{Page: ask.Page{Limit: 1}, Source: federation.FederatedSource + string(peer)})
	if err != nil {
		return d, fmt.Errorf("counting the alerts of %s: %w", peer, err)
	}
	d.Stored = &page.Total
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := l.consumer(asked, peer, l.bus.Site().ID)
	switch {
	case err != nil: // the link is down, which is what the answer is to say
		d.Detail = fmt.Sprintf("%s does not answer", peer)
	case c == nil:
		d.Reachable, d.Detail = true, fmt.Sprintf("%s has not admitted this site yet", peer)
	default:
		d.Reachable = true
		setPending(&d, c)
	}
	return d, nil
}

func setPending(d *federation.Delivery, c *jetstream.ConsumerInfo) {
	d.Pending = new(int(c.NumPending) + c.NumAckPending)
	d.Redelivered = &c.NumRedelivered
}

// filter is the subjects that a consumer is given. The server may keep one alone in either field.
func filter(c *jetstream.ConsumerInfo) []string {
	if c.Config.FilterSubject != "" {
		return []string{c.Config.FilterSubject}
	}
	return c.Config.FilterSubjects
}

// oldestPending is when the first alert after the acknowledgement floor came into
// the stream. The floor stops before the first alert that is not acknowledged, so
// that one is pending. Nil: it was acknowledged a moment ago.
func oldestPending(ctx context.Context, out outgoing, c *jetstream.ConsumerInfo) (*time.Time, error) {
	var first *jetstream.RawStreamMsg
	for _, f := range filter(c) {
		msg, err := out.GetMsg(ctx, c.AckFloor.Stream+1, jetstream.WithGetMsgSubject(f))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return nil, unavailable(err)
		case first == nil || msg.Sequence < first.Sequence:
			first = msg
		}
	}
	if first == nil {
		return nil, nil
	}
	return new(first.Time.UTC()), nil
}
