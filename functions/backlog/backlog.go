// Package backlog is the function that keeps what waits for the peers within its
// bound. Where the alert stream of the site holds more, first goes what every peer
// has acknowledged, and then the oldest of the lowest severity, so that a flood of
// what matters little never takes the place of what matters much. What goes so is
// counted, and is not lost: the alert itself stays in the queue of its site.
package backlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
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
	// interval is how often the backlog is measured. What comes in between must fit
	// into the room that [stream.Above] leaves.
	interval = 2 * time.Second
	// patience is how long making room may take; the next tick goes on.
	patience = 30 * time.Second
	// answered is how long the server may take to say how large the backlog is. What it
	// is asked just as a node of its cluster dies it never answers.
	answered = 5 * time.Second
)

// New is the function for one site.
func New(bound federation.BacklogBound, st *store.Store, bus *function.Bus, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) function.Function {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	k := keeper{
		bound: bound, store: st, bus: bus, log: log, now: now,
		messages: gauge("aurora_backlog_messages", "Alerts that the stream for the peers holds, at the last look."),
		bytes:    gauge("aurora_backlog_bytes", "Size of the stream for the peers, at the last look."),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_backlog_dropped_total",
			Help: "Alerts that had to leave the backlog, because it was over its bound, before every peer had acknowledged them."}, []string{"severity"}),
	}
	gauge("aurora_backlog_max_messages", "The bound of the backlog in alerts.").Set(float64(bound.Messages))
	gauge("aurora_backlog_max_bytes", "The bound of the backlog in bytes.").Set(float64(bound.Bytes))
	reg.MustRegister(k.dropped)
	return function.Function{
		Name:        "backlog",
		Description: "Keeps what waits for the peers within its bound: the oldest of the lowest severity go first.",
		Triggers:    []function.Trigger{function.Every(interval, k.keep, function.Named("keep"), function.Timeout(patience))},
		Streams:     []jetstream.StreamConfig{stream.Alerts(bus.Site().ID, stream.Above(bound))},
		Checks:      []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type keeper struct {
	bound           federation.BacklogBound
	store           *store.Store
	bus             *function.Bus
	log             *slog.Logger
	now             func() time.Time
	messages, bytes prometheus.Gauge
	dropped         *prometheus.CounterVec
}

// keep brings the backlog back within its bound. It looks anew after each step,
// because what comes meanwhile may be less severe than what would be next.
func (k keeper) keep(ctx context.Context) error {
	look, cancel := context.WithTimeout(ctx, answered)
	alerts, err := k.bus.JetStream().Stream(look, subject.AlertStream(k.bus.Site().ID))
	cancel()
	if err != nil {
		return fmt.Errorf("reading the backlog: %w", err)
	}
	over, state, err := k.measure(ctx, alerts)
	if err != nil || over.None() {
		return err
	}
	acknowledged, err := passed(ctx, alerts, state.LastSeq+1)
	if err != nil {
		return err
	}
	next := step{below: acknowledged, filters: []string{subject.AllAlerts}}
	for !over.None() && len(next.filters) > 0 {
		c, err := oldest(ctx, alerts, next, over)
		if err != nil {
			return fmt.Errorf("looking for what can leave the backlog: %w", err)
		}
		if c.messages > 0 {
			if err := k.purge(ctx, alerts, next, c); err != nil {
				return err
			}
		}
		if over, state, err = k.measure(ctx, alerts); err != nil {
			return err
		}
		if next.severity != "" || c.messages == 0 {
			next = lowest(state)
		}
	}
	return nil
}

// measure reads how large the backlog is, and what it has over its bound.
func (k keeper) measure(ctx context.Context, alerts jetstream.Stream) (federation.Excess, jetstream.StreamState, error) {
	ctx, cancel := context.WithTimeout(ctx, answered)
	defer cancel()
	info, err := alerts.Info(ctx, jetstream.WithSubjectFilter(subject.AllAlerts))
	if err != nil {
		return federation.Excess{}, jetstream.StreamState{}, fmt.Errorf("measuring the backlog: %w", err)
	}
	k.messages.Set(float64(info.State.Msgs))
	k.bytes.Set(float64(info.State.Bytes))
	return k.bound.Excess(int(info.State.Msgs), int64(info.State.Bytes)), info.State, nil
}

// step is some alerts that may go: those of the filters below a place in the stream.
type step struct {
	severity federation.Severity // empty for what every peer has acknowledged
	filters  []string
	below    uint64
}

// lowest is the step of the lowest severity of which the backlog holds any; without
// filters where it holds none.
func lowest(state jetstream.StreamState) step {
	for _, s := range slices.Backward(federation.Severities()) {
		for subj := range state.Subjects {
			if subj == subject.Alert(s) || strings.HasPrefix(subj, subject.Alert(s)+".") {
				return step{severity: s, filters: subject.AlertsOf(s), below: math.MaxUint64}
			}
		}
	}
	return step{}
}

// purge lets go of the alerts of a step before the cut. It names a place in the
// stream, never a number of alerts, so nothing that is published meanwhile can go.
func (k keeper) purge(ctx context.Context, alerts jetstream.Stream, s step, c cut) error {
	filters := s.filters
	if s.severity == "" {
		filters = []string{""} // by place alone, which costs the server next to nothing
	}
	for _, f := range filters {
		if err := alerts.Purge(ctx, jetstream.WithPurgeSequence(c.before), jetstream.WithPurgeSubject(f)); err != nil {
			return fmt.Errorf("making room in the backlog: %w", err)
		}
	}
	if s.severity == "" {
		k.log.InfoContext(ctx, "alerts that every peer has acknowledged have left the full backlog", "alerts", c.messages)
		return nil
	}
	k.log.WarnContext(ctx, "the backlog is over its bound: alerts have left it that a peer may not have", "severity", s.severity, "alerts", c.messages)
	k.dropped.WithLabelValues(string(s.severity)).Add(float64(c.messages))
	if err := k.store.RecordDrop(ctx, k.bus.Site().ID, s.severity, c.messages, k.now()); err != nil {
		return err
	}
	return k.bus.Nudge("alertrelay")
}

// passed is the place in the stream before which every durable consumer has
// acknowledged all that it is given; 0 where there is no consumer, for then the
// stream is all that a first peer could have.
func passed(ctx context.Context, alerts jetstream.Stream, end uint64) (uint64, error) {
	place := uint64(0)
	consumers := alerts.ListConsumers(ctx)
	for c := range consumers.Info() {
		if c.Config.Durable == "" {
			continue
		}
		next, err := firstPending(ctx, alerts, c, end)
		if err != nil {
			return 0, err
		}
		if place == 0 || next < place {
			place = next
		}
	}
	if err := consumers.Err(); err != nil {
		return 0, fmt.Errorf("listing the consumers of the backlog: %w", err)
	}
	return place, nil
}

// firstPending is the place of the first alert that a consumer has not
// acknowledged, or end. The acknowledgement floor alone would not do: it stays far
// behind where the gate of a peer admits little.
func firstPending(ctx context.Context, alerts jetstream.Stream, c *jetstream.ConsumerInfo, end uint64) (uint64, error) {
	filters := c.Config.FilterSubjects
	if c.Config.FilterSubject != "" {
		filters = []string{c.Config.FilterSubject}
	}
	if len(filters) == 0 {
		filters = []string{subject.AllAlerts}
	}
	place := end
	for _, f := range filters {
		msg, err := alerts.GetMsg(ctx, c.AckFloor.Stream+1, jetstream.WithGetMsgSubject(f))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return 0, fmt.Errorf("looking for the first alert that waits for %s: %w", c.Name, err)
		default:
			place = min(place, msg.Sequence)
		}
	}
	return place, nil
}
