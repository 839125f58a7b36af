// Package deliverywatch is the function that notices a delivery that stands still:
// alerts wait for a peer, the line to it works, and it acknowledges none. It marks
// the link, and begins the delivery anew at the origin: the consumer is made again
// from the first alert that is not acknowledged, so that a request that was lost, or
// a batch that nobody works on, holds nothing up. What comes twice by this the peer drops.
package deliverywatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	// interval is how often it looks.
	interval = 10 * time.Second
	// patience is how long one look and its repairs may take.
	patience = 30 * time.Second
	// answered is how long the server may take to say how far the deliveries are. What it
	// is asked just as a node of its cluster dies it never answers.
	answered = 5 * time.Second
)

// New is the function for one site. A delivery stands still when it has not moved
// for as long as after.
func New(after time.Duration, t federation.Thresholds, limits stream.Limits, st *store.Store, bus *function.Bus, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) function.Function {
	counter := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"peer"})
		reg.MustRegister(c)
		return c
	}
	w := watcher{after: after, thresholds: t, store: st, bus: bus, log: log, now: now,
		stalls:  counter("aurora_delivery_stalls_total", "Times that a delivery to a peer was found to stand still, although the line works."),
		repairs: counter("aurora_delivery_repairs_total", "Times that a delivery to a peer was begun anew because it stood still."),
	}
	return function.Function{
		Name:        "deliverywatch",
		Description: "Notices a delivery that stands still although the line works, marks its link and begins it anew.",
		Triggers:    []function.Trigger{function.Every(interval, w.look, function.Named("look"), function.Timeout(patience))},
		Streams:     []jetstream.StreamConfig{stream.Alerts(bus.Site().ID, limits)},
		Checks:      []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type watcher struct {
	after           time.Duration
	thresholds      federation.Thresholds
	store           *store.Store
	bus             *function.Bus
	log             *slog.Logger
	now             func() time.Time
	stalls, repairs *prometheus.CounterVec
}

// look compares every delivery with the last look at it.
func (w watcher) look(ctx context.Context) error {
	own, at := w.bus.Site().ID, w.now()
	links, err := w.store.Links(ctx)
	if err != nil {
		return fmt.Errorf("reading the links: %w", err)
	}
	lines := map[federation.SiteID]bool{}
	for _, l := range links {
		lines[l.Peer(own)] = l.Probe.Works(at)
	}
	before, err := w.store.Watches(ctx)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, answered)
	defer cancel()
	alerts, err := w.bus.JetStream().Stream(asking, subject.AlertStream(own))
	if err != nil {
		return fmt.Errorf("reading the stream of shared alerts: %w", err)
	}
	consumers, err := stream.Consumers(asking, alerts)
	if err != nil {
		return err
	}
	watches := make([]federation.DeliveryWatch, 0, len(consumers))
	for _, c := range consumers {
		p := progress(c)
		line, known := lines[p.Peer]
		if !known {
			continue
		}
		watches = append(watches, before[p.Consumer].Next(p, at, w.after, line))
	}
	changes, err := w.store.RecordWatches(ctx, own, before, watches, at, w.thresholds)
	if err != nil {
		return err
	}
	for _, c := range changes {
		w.log.WarnContext(ctx, "a link has changed", "id", c.ID, "from", c.From, "to", c.To, "cause", c.Cause)
	}
	var failed []error
	repaired := 0
	for _, d := range watches {
		w.tell(before[d.Consumer], d)
		if !lines[d.Peer] || !d.Due(at) {
			continue
		}
		repaired++
		failed = append(failed, w.repair(ctx, alerts, d, at))
	}
	if len(changes)+repaired > 0 {
		failed = append(failed, w.bus.Nudge("alertrelay"))
	}
	return errors.Join(failed...)
}

// tell logs and counts what a look found out.
func (w watcher) tell(before, now federation.DeliveryWatch) {
	switch {
	case before.StalledAt == nil && now.StalledAt != nil:
		w.stalls.WithLabelValues(string(now.Peer)).Inc()
		w.log.Warn("a delivery stands still", "peer", now.Peer, "consumer", now.Consumer, "moved_at", now.MovedAt,
			"waiting", now.Waiting, "under_way", now.UnderWay, "ack_floor", now.AckFloor)
	case before.StalledAt != nil && now.StalledAt == nil:
		w.log.Info("a delivery moves again", "peer", now.Peer, "consumer", now.Consumer, "stalled_at", *before.StalledAt, "repairs", before.Repairs)
	}
}

// repair begins a delivery anew, and keeps that it did.
func (w watcher) repair(ctx context.Context, alerts jetstream.Stream, d federation.DeliveryWatch, at time.Time) error {
	c, err := rebind(ctx, alerts, d.Consumer)
	if err != nil {
		return fmt.Errorf("beginning the delivery to %s anew: %w", d.Consumer, err)
	}
	d = d.Repaired(progress(c), at)
	w.repairs.WithLabelValues(string(d.Peer)).Inc()
	w.log.WarnContext(ctx, "a delivery was begun anew", "peer", d.Peer, "consumer", d.Consumer, "from", d.AckFloor+1, "repairs", d.Repairs)
	return w.store.RecordRepair(ctx, w.bus.Site().ID, d, at)
}

// rebind makes a consumer again as it was, from the first alert after its
// acknowledgement floor. What was acknowledged above the floor is sent once more.
func rebind(ctx context.Context, alerts jetstream.Stream, name string) (*jetstream.ConsumerInfo, error) {
	old, err := alerts.Consumer(ctx, name)
	if err != nil {
		return nil, err
	}
	config := old.CachedInfo().Config
	config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartSequencePolicy, nil
	config.OptStartSeq = old.CachedInfo().AckFloor.Stream + 1
	if err := alerts.DeleteConsumer(ctx, name); err != nil {
		return nil, err
	}
	c, err := alerts.CreateConsumer(ctx, config)
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}

func progress(c *jetstream.ConsumerInfo) federation.Progress {
	return federation.Progress{
		Peer: subject.ConsumerPeer(c.Name), Consumer: c.Name, AckFloor: c.AckFloor.Stream, Deliveries: c.Delivered.Consumer,
		Waiting: int(c.NumPending), UnderWay: c.NumAckPending,
	}
}
