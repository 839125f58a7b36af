// Package topologyquery is the function that answers what the mesh looks like
// from this site. A status is the worse of the stored one and the one that the
// heartbeat's age gives at the moment of the answer, so an answer is never
// greener than the truth, even between two looks of staleness.
package topologyquery

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// fresh is how long the same picture of the mesh is given again. The console waits at
// least that long after an event before it asks, so it never sees what was before.
const fresh = 50 * time.Millisecond

// New is the function for one site.
func New(t federation.Thresholds, st *store.Store, bus *function.Bus, reg prometheus.Registerer, now func() time.Time) function.Function {
	q := query{t, st, bus, now, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_link_transitions_total",
		Help: "Changes of a link's status or of its cause, by the link, what it became, and the cause."}, []string{"link", "to", "cause"})}
	reg.MustRegister(q.transitions, q.figures())
	return function.Function{
		Name:        "topologyquery",
		Description: "Answers what the mesh looks like from this site: sites and links.",
		Triggers: []function.Trigger{
			// One instance: who asks while an answer is made waits for that in any case.
			function.Reply(ask.Topology, q.topology, function.Again(fresh), function.Parallel(1)),
			function.Reply(ask.Sites, q.sites),
			function.Reply(ask.LinkHistory, q.history),
			function.On(subject.Event(bus.Site().ID, federation.LinkTransition), q.count, function.Named("count")),
			function.Reply(ask.LinkLatency, q.latency),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type query struct {
	thresholds  federation.Thresholds
	store       *store.Store
	bus         *function.Bus
	now         func() time.Time
	transitions *prometheus.CounterVec
}

func (q query) topology(ctx context.Context, _ ask.None) (federation.Topology, error) {
	own, now := q.bus.Site().ID, q.now().UTC()
	sites, _, err := q.store.Sites(ctx, own, 0, 0)
	if err != nil {
		return federation.Topology{}, fmt.Errorf("reading the sites: %w", err)
	}
	links, err := q.store.Links(ctx)
	if err != nil {
		return federation.Topology{}, fmt.Errorf("reading the links: %w", err)
	}
	for i := range sites {
		sites[i] = sites[i].At(now, q.thresholds)
	}
	for i := range links {
		links[i] = links[i].At(now, q.thresholds)
	}
	return federation.Topology{SiteID: own, GeneratedAt: now, Sites: sites, Links: links}, nil
}

func (q query) sites(ctx context.Context, p ask.Page) (ask.List[federation.Site], error) {
	p = p.WithDefaults()
	sites, total, err := q.store.Sites(ctx, q.bus.Site().ID, p.Skip, p.Limit)
	if err != nil {
		return ask.List[federation.Site]{}, fmt.Errorf("reading the sites: %w", err)
	}
	now := q.now()
	for i := range sites {
		sites[i] = sites[i].At(now, q.thresholds)
	}
	return ask.List[federation.Site]{Items: sites, Total: total, Skip: p.Skip, Limit: p.Limit}, nil
}

// maxTransitions keeps the answer under the megabyte that a NATS message may have.
const maxTransitions = 2000

func (q query) history(ctx context.Context, h ask.HistoryOf) (federation.History, error) {
	if h.Hours == 0 {
		h.Hours = ask.DefaultHistoryHours
	}
	to := q.now().UTC()
	from := to.Add(-time.Duration(h.Hours) * time.Hour)
	l, found, err := q.store.FindLink(ctx, h.LinkID)
	if err != nil {
		return federation.History{}, fmt.Errorf("reading the link: %w", err)
	}
	if found {
		h.LinkID = l.ID
	}
	before, known, ts, err := q.store.LinkHistory(ctx, q.bus.Site().ID, h.LinkID, from, maxTransitions)
	if err != nil {
		return federation.History{}, err
	}
	if known.After(from) {
		from = known
	}
	if len(ts) == maxTransitions {
		from = ts[0].At
	}
	return federation.NewHistory(h.LinkID, from, to, before, ts), nil
}

// latency is what was measured in each minute, and in the one that is not over yet.
func (q query) latency(ctx context.Context, h ask.HistoryOf) (federation.LatencyHistory, error) {
	if h.Hours == 0 {
		h.Hours = ask.DefaultHistoryHours
	}
	l, found, err := q.store.FindLink(ctx, h.LinkID)
	if err != nil {
		return federation.LatencyHistory{}, fmt.Errorf("reading the link: %w", err)
	}
	if !found {
		return federation.LatencyHistory{}, fault.New(fault.NotFound, "there is no link %q at this site", h.LinkID)
	}
	all := federation.LatencyHistory{LinkID: l.ID, To: q.now().UTC()}
	long := time.Duration(h.Hours) * time.Hour
	all.From, all.StepMinutes = all.To.Add(-long), federation.LatencyStep(long)
	if all.Points, err = q.store.LinkMinutes(ctx, l.ID, all.From, all.To, all.StepMinutes); err != nil {
		return all, err
	}
	if l.Probe.At.After(all.From) {
		now := l.Probe.Minute()
		if n := len(all.Points); n == 0 || now.At.Sub(all.Points[n-1].At) >= time.Duration(all.StepMinutes)*time.Minute {
			all.Points = append(all.Points, now)
		}
	}
	return all, nil
}
