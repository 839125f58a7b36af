// Package alertsink is the function that brings the peers' alerts home: it pulls
// from the alert stream of every known peer, across the leafnode, and stores what
// is new. Alerts that began at this site (echoes) and alerts that are stored
// already (replays) are dropped and counted. A batch is acknowledged to its
// origin only after its rows are committed.
package alertsink

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	// rescan is how often it looks for peers that have appeared.
	rescan = time.Second
	// batch and linger are how many alerts go into one transaction, and how long
	// the first of them waits for more that the origin says are there.
	batch  = 500
	linger = 50 * time.Millisecond
)

// New is the function for one site.
func New(st *store.Store, bus *function.Bus, reg prometheus.Registerer, now func() time.Time) function.Function {
	s := sink{store: st, bus: bus, now: now,
		received: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_alerts_received_total",
			Help: "Alerts pulled from a peer by outcome: stored, replay (stored before) or echo (raised at this site)."},
			[]string{"origin", "outcome"}),
	}
	reg.MustRegister(s.received)
	return function.Function{
		Name:        "alertsink",
		Description: "Pulls the alerts that the peers share and stores what is new, each exactly once.",
		Triggers: []function.Trigger{
			function.ConsumeEach(s.peers, rescan, s.take, function.Named("alerts"), function.Batch(batch, linger)),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type sink struct {
	store    *store.Store
	bus      *function.Bus
	received *prometheus.CounterVec
	now      func() time.Time
}

// peers lists the consumer that each known peer keeps for this site.
func (s sink) peers(ctx context.Context) ([]function.Source, error) {
	own := s.bus.Site().ID
	peers, err := s.store.Peers(ctx, own)
	if err != nil {
		return nil, err
	}
	sources := make([]function.Source, len(peers))
	for i, p := range peers {
		sources[i] = function.Source{Site: p, Stream: subject.AlertStream(p), Consumer: subject.AlertConsumer(own)}
	}
	return sources, nil
}

func (s sink) take(ctx context.Context, shared []federation.SharedAlert) error {
	own, at, from := s.bus.Site().ID, s.now(), function.SourceOf(ctx).Site
	rows := make([]federation.Alert, 0, len(shared))
	echoes := 0
	for _, a := range shared {
		if a.OriginSite == own {
			echoes++
			continue
		}
		if a.OriginSite != from {
			return fault.New(fault.Invalid, "the alert stream of %s holds an alert whose origin is %s", from, a.OriginSite)
		}
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("making an alert id: %w", err)
		}
		rows = append(rows, a.Received(id.String(), at))
	}
	stored, err := s.store.ReceiveAlerts(ctx, rows, func(a federation.Alert) store.Outgoing {
		return store.EventMessage(own, federation.Event{Kind: federation.AlertStored, At: at, Alert: &a}, a.ID)
	})
	if err != nil {
		return fmt.Errorf("storing %d alerts of %s: %w", len(rows), from, err)
	}
	// Counted only now: a batch that fails comes again, one by one.
	s.received.WithLabelValues(string(from), "echo").Add(float64(echoes))
	if len(rows) == 0 {
		return nil
	}
	n := 0
	for _, isNew := range stored {
		if isNew {
			n++
		}
	}
	s.received.WithLabelValues(string(from), "stored").Add(float64(n))
	s.received.WithLabelValues(string(from), "replay").Add(float64(len(rows) - n))
	return s.bus.Nudge("alertrelay")
}
