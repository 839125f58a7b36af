// Package linkprobe is the function that measures the links: once a second it
// sends an echo to every known peer and notes the round trip, on one monotonic
// clock, or that none came back. Over a link that carries no alerts, because the hub
// passes them on, one goes in each heartbeat interval. A silent link shows itself so within seconds,
// long before a heartbeat is late, and a cut one is told from a peer that is slow. Where
// there are thousands of peers each has its turn in so many seconds.
// A site that answers itself late is too busy to say of a peer that it is silent: what
// it loses meanwhile counts for nothing.
// When the server tells that a leafnode came or went, it looks at once. That alone
// proves nothing about a peer, for a hub stands between most of them: an echo does.
// It also answers the echoes of the peers.
package linkprobe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/metric"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	// interval is how often every peer is probed over whose link alerts go.
	interval = federation.EchoEvery
	// eachSecond is how many echoes a site sends in a second: of more peers each gets one the more seldom.
	eachSecond = 2000
	// patience is how long an echo may take. Two lost ones mark the link, and the second
	// goes at once, so a black hole shows within interval + 2 × patience.
	patience = 800 * time.Millisecond
	// strain is how long the echo to the own site may take before what others lose meanwhile
	// says more of this site than of them.
	strain = patience / 4
	// atOnce bounds the echoes that are under way.
	atOnce = 256
	// sending is for how long a round sends echoes: what came of them is noted in the rest of its
	// time, and whose turn it has not come to is in another round. Without an answer from
	// thousands of peers a round would not come to its end.
	sending = 2 * time.Second
	// roundTime is how long a round may take. There is a second one for those that are lost at first.
	roundTime = 4 * time.Second
	// glance is how long an echo may take that is sent because something has
	// happened. One that takes longer is left to those of every second.
	glance = 150 * time.Millisecond
	// glances bounds the looks after one event, and between them is the time from
	// one to the next: what an event tells takes a moment to be true of the server's
	// subjects, and a link that was marked heals with the third echo.
	glances, between = 10, 50 * time.Millisecond
	// notices is of how many connections the server may tell that one look follows: when a hub
	// comes back, each leafnode and each function has one.
	notices = 1000
)

// New is the function for one site. seldom is how often a peer is probed over whose link no alerts go.
func New(seldom time.Duration, t federation.Thresholds, st *store.Store, bus *function.Bus, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) function.Function {
	p := prober{seldom: seldom, thresholds: t, store: st, bus: bus, log: log, now: now,
		echoes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_link_echoes_total",
			Help: "Echoes sent to a peer by outcome: answered, lost (no answer within 0.8 s), unjudged (the same, while this site answered itself late, so that it says nothing of the link), disconnected (nothing at the peer can be reached) or forbidden (the own server lets no echo through)."},
			[]string{"peer", "outcome"}),
		trips: metric.NewHistograms("aurora_link_echo_seconds", "Round trips of the echoes to a peer.", "peer",
			[]float64{.0005, .001, .0025, .005, .01, .02, .04, .08, .16, .32, .64, 1}),
	}
	reg.MustRegister(p.echoes, p.trips)
	return function.Function{
		Name:        "linkprobe",
		Description: "Measures the round trip to every peer once a second, to those whose alerts the hub passes on once a heartbeat, and answers the peers' echoes.",
		Triggers: []function.Trigger{
			function.Every(interval, p.probe, function.Named("probe"), function.Timeout(2*roundTime)),
			function.OnTogether(subject.Disconnected, p.cut, function.Named("cut"), function.Batch(notices, 0), function.CutShort()),
			function.OnTogether(subject.Connected, p.joined, function.Named("joined"), function.Batch(notices, 0), function.CutShort()),
			function.On(subject.Refused, p.refused, function.Named("refused")),
			function.OnTogether(subject.AllRefused, p.told, function.Named("told"), function.Batch(notices, between), function.CutShort()),
			function.Nudged(p.doubt, function.CutShort()),
			function.Reply(ask.Echo, p.echo, function.Parallel(2)),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type prober struct {
	seldom     time.Duration
	thresholds federation.Thresholds
	store      *store.Store
	bus        *function.Bus
	echoes     *prometheus.CounterVec
	trips      *metric.Histograms
	log        *slog.Logger
	now        func() time.Time
}

func (p prober) echo(context.Context, ask.None) (federation.EchoReply, error) {
	return federation.EchoReply{At: p.now().UTC()}, nil
}

func (p prober) probe(ctx context.Context) error {
	due, err := p.due(ctx)
	for err == nil && len(due) > 0 {
		due, err = p.round(ctx, due)
	}
	return err
}

// round sends one echo to each peer that is due, and records what became of them. Those
// that have lost the first are due once more.
func (p prober) round(ctx context.Context, due map[federation.SiteID]time.Duration) (again map[federation.SiteID]time.Duration, err error) {
	strained := make(chan bool, 1)
	go func() { strained <- p.strained(ctx) }()
	results := p.sendAll(ctx, slices.Sorted(maps.Keys(due)), patience)
	busy := <-strained
	for peer, e := range results {
		if busy && e.Outcome == federation.Lost {
			p.echoes.WithLabelValues(string(peer), unjudged).Inc()
			delete(results, peer)
			continue
		}
		e.Every = due[peer]
		results[peer] = e
	}
	doubted, err := p.record(ctx, results)
	again = map[federation.SiteID]time.Duration{}
	for peer, e := range results {
		if e.Outcome == federation.Lost && doubted[federation.LinkID(p.bus.Site().ID, peer)] {
			again[peer] = due[peer]
		}
	}
	return again, err
}

// unjudged is the outcome, in the metric, of an echo that was lost while this site was strained.
const unjudged = "unjudged"

// strained reports whether an echo to this site itself is late.
func (p prober) strained(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	begun := time.Now()
	_, err := function.Ask(ctx, p.bus, p.bus.Site().ID, ask.Echo, ask.None{})
	return err == nil && time.Since(begun) > strain || fault.Is(err, fault.Timeout)
}

// due is the peers that are to be probed now, and how often each is.
func (p prober) due(ctx context.Context) (map[federation.SiteID]time.Duration, error) {
	own := p.bus.Site().ID
	relayed, err := p.store.RelayedPeers(ctx)
	if err != nil {
		return nil, err
	}
	due := map[federation.SiteID]time.Duration{}
	if len(relayed) == 0 { // every link may carry alerts
		peers, err := p.store.Peers(ctx, own)
		if err != nil {
			return nil, err
		}
		if pace(len(peers)) == interval {
			for _, peer := range peers {
				due[peer] = interval
			}
			return due, nil
		}
	}
	links, err := p.store.Links(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the links: %w", err)
	}
	now, often := p.now(), pace(len(links))
	for _, l := range links {
		peer, every := l.Peer(own), often
		if to, byHub := relayed[peer]; byHub && !to.Direct && l.RelayedHere() {
			every = max(p.seldom, often) // no alerts go over it in either direction
		}
		if l.Probe.Due(now, every, federation.Shift(own, peer, every)) {
			due[peer] = every
		}
	}
	return due, nil
}

// pace is how often each of so many peers is probed.
func pace(peers int) time.Duration {
	return interval * time.Duration(max((peers+eachSecond-1)/eachSecond, 1))
}

// sendAll sends one echo to each of the peers, as far as the time suffices, and returns what
// became of them. It begins with any of them, so that none is always the last.
func (p prober) sendAll(ctx context.Context, peers []federation.SiteID, wait time.Duration) map[federation.SiteID]federation.Echo {
	var (
		results = make(map[federation.SiteID]federation.Echo, len(peers))
		mu      sync.Mutex
		all     sync.WaitGroup
		slots   = make(chan struct{}, atOnce)
	)
	begun, first := time.Now(), rand.IntN(len(peers)+1)
	for _, peer := range slices.Concat(peers[first:], peers[:first]) {
		slots <- struct{}{}
		if time.Since(begun) > sending {
			break
		}
		all.Go(func() {
			defer func() { <-slots }()
			e := p.send(ctx, peer, wait)
			if e.Outcome == federation.Lost && wait < patience {
				return // an echo that was not waited for is not lost
			}
			mu.Lock()
			defer mu.Unlock()
			results[peer] = e
		})
	}
	all.Wait()
	return results
}

// record notes what became of echoes, and tells of the links that are now another. What it
// returns are the ids of the links of which their last echo says otherwise than is said of them.
func (p prober) record(ctx context.Context, results map[federation.SiteID]federation.Echo) (doubted map[string]bool, err error) {
	own := p.bus.Site().ID
	echoes := make(map[string]federation.Echo, len(results)) // by the link's id
	for peer, e := range results {
		p.echoes.WithLabelValues(string(peer), string(e.Outcome)).Inc()
		echoes[federation.LinkID(own, peer)] = e
	}
	done, err := p.store.RecordEchoes(ctx, own, echoes, p.now(), p.thresholds)
	if err != nil {
		return nil, fmt.Errorf("recording the echoes: %w", err)
	}
	if len(done.Changes) == 0 {
		return done.Doubted, nil
	}
	for _, c := range done.Changes {
		p.log.WarnContext(ctx, "a link has changed", "id", c.ID, "from", c.From, "to", c.To, "cause", c.Cause)
	}
	// The peers hear of it with a gossip at once: the one that is behind this site
	// may not have been told by its own server.
	return done.Doubted, errors.Join(p.bus.Nudge("alertrelay"), p.bus.Nudge("heartbeat"))
}

// send sends one echo. Where nobody answers at all, it finds out whether only the
// peer's linkprobe is missing or the whole peer.
func (p prober) send(ctx context.Context, peer federation.SiteID, wait time.Duration) federation.Echo {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	e := federation.Echo{At: p.now(), Outcome: federation.Lost}
	begun := time.Now()
	reply, err := function.Ask(ctx, p.bus, peer, ask.Echo, ask.None{})
	trip := time.Since(begun)
	switch {
	case err == nil:
		e.Outcome, e.Trip, e.PeerAt = federation.Answered, trip, reply.At
		p.trips.Observe(string(peer), trip.Seconds())
	case fault.Is(err, fault.Forbidden):
		e.Outcome = federation.Forbidden
	case fault.Is(err, fault.Unavailable):
		if reached, err := p.bus.Reaches(ctx, peer); err == nil && !reached {
			e.Outcome = federation.Disconnected
		}
	}
	if err != nil {
		p.log.DebugContext(ctx, "an echo was lost", "peer", peer, "outcome", e.Outcome, "error", err)
	}
	return e
}
