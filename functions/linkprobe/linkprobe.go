// Package linkprobe is the function that measures the links: once a second it
// sends an echo to every known peer and notes the round trip, on one monotonic
// clock, or that none came back. A silent link shows itself so within seconds,
// long before a heartbeat is late, and a cut one is told from a peer that is slow.
// It also answers the echoes of the peers.
package linkprobe

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
)

const (
	// interval is how often every peer is probed.
	interval = time.Second
	// patience is how long an echo may take. Two lost ones mark the link, so a
	// black hole shows within interval + 2 × patience.
	patience = time.Second
	// atOnce bounds the echoes that are under way.
	atOnce = 64
)

// New is the function for one site.
func New(t federation.Thresholds, st *store.Store, bus *function.Bus, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) function.Function {
	p := prober{thresholds: t, store: st, bus: bus, log: log, now: now,
		echoes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_link_echoes_total",
			Help: "Echoes sent to a peer by outcome: answered, lost (no answer within a second) or disconnected (nothing at the peer can be reached)."},
			[]string{"peer", "outcome"}),
		trips: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "aurora_link_echo_seconds",
			Help:    "Round trips of the echoes to a peer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .02, .04, .08, .16, .32, .64, 1}},
			[]string{"peer"}),
	}
	reg.MustRegister(p.echoes, p.trips)
	return function.Function{
		Name:        "linkprobe",
		Description: "Measures the round trip to every peer once a second, and answers the peers' echoes.",
		Triggers: []function.Trigger{
			function.Every(interval, p.probe, function.Named("probe"), function.Timeout(4*time.Second)),
			function.Reply(ask.Echo, p.echo, function.Parallel(2)),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type prober struct {
	thresholds federation.Thresholds
	store      *store.Store
	bus        *function.Bus
	echoes     *prometheus.CounterVec
	trips      *prometheus.HistogramVec
	log        *slog.Logger
	now        func() time.Time
}

func (p prober) echo(context.Context, ask.None) (federation.EchoReply, error) {
	return federation.EchoReply{At: p.now().UTC()}, nil
}

func (p prober) probe(ctx context.Context) error {
	own := p.bus.Site().ID
	links, err := p.store.Links(ctx)
	if err != nil {
		return fmt.Errorf("reading the links: %w", err)
	}
	var (
		results = make(map[string]federation.Echo, len(links))
		mu      sync.Mutex
		all     sync.WaitGroup
		slots   = make(chan struct{}, atOnce)
	)
	for _, l := range links {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			e := p.send(ctx, l.Peer(own))
			mu.Lock()
			defer mu.Unlock()
			results[l.ID] = e
		})
	}
	all.Wait()
	changes, err := p.store.RecordEchoes(ctx, own, results, p.now(), p.thresholds)
	if err != nil {
		return fmt.Errorf("recording the echoes: %w", err)
	}
	if len(changes) == 0 {
		return nil
	}
	for _, c := range changes {
		p.log.Warn("a link has changed", "id", c.ID, "from", c.From, "to", c.To, "cause", c.Cause)
	}
	return p.bus.Nudge("alertrelay")
}

// send sends one echo. Where nobody answers at all, it finds out whether only the
// peer's linkprobe is missing or the whole peer.
func (p prober) send(ctx context.Context, peer federation.SiteID) federation.Echo {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	e := federation.Echo{At: p.now(), Outcome: federation.Lost}
	begun := time.Now()
	reply, err := function.Ask(ctx, p.bus, peer, ask.Echo, ask.None{})
	trip := time.Since(begun)
	switch {
	case err == nil:
		e.Outcome, e.Trip, e.PeerAt = federation.Answered, trip, reply.At
		p.trips.WithLabelValues(string(peer)).Observe(trip.Seconds())
	case fault.Is(err, fault.Unavailable):
		if reached, err := p.bus.Reaches(ctx, peer); err == nil && !reached {
			e.Outcome = federation.Disconnected
		}
	}
	if err != nil {
		p.log.Debug("an echo was lost", "peer", peer, "outcome", e.Outcome, "error", err)
	}
	p.echoes.WithLabelValues(string(peer), string(e.Outcome)).Inc()
	return e
}
