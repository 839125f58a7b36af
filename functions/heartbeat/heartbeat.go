// Package heartbeat is the function that says "this site lives": once every
// interval it refreshes the site's own row and publishes its gossip, which names
// the links of which there is something to tell. It gossips
// again at once when healthsink nudges it because a peer has just appeared, so
// that two sites see each other without waiting for an interval. When the last
// function of the site stops, and it is this one, it says goodbye.
package heartbeat

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// newly is how old an alert is at most of which the gossip tells that it was raised. What is
// older the peers compare by themselves.
const newly = time.Hour

// repeats is in how many heartbeats a peer is told of a change: who hears one of them knows it.
const repeats = 4

// New is the function for one site, all of whose functions are named. gossips is false where federation is off: the
// own row is kept fresh, and nothing leaves.
func New(interval time.Duration, gossips bool, all []string, gate federation.Gate, t federation.Thresholds, st *store.Store, bus *function.Bus, now func() time.Time) function.Function {
	h := heartbeat{interval, gossips, all, gate, t, st, bus, now}
	return function.Function{
		Name:        "heartbeat",
		Description: "Publishes the gossip of this site once every interval and keeps its own row fresh.",
		Triggers: []function.Trigger{
			function.Every(interval, h.beat, function.Named("beat")),
			function.Nudged(h.beat),
			function.Reply(ask.SetAgents, h.setAgents, function.Parallel(1)),
		},
		Checks:   []function.Check{{Part: "database", Run: st.Ready}},
		Farewell: h.farewell,
	}
}

type heartbeat struct {
	interval   time.Duration
	gossips    bool
	all        []string
	gate       federation.Gate
	thresholds federation.Thresholds
	store      *store.Store
	bus        *function.Bus
	now        func() time.Time
}

func (h heartbeat) beat(ctx context.Context) error {
	me, now := h.bus.Site(), h.now().UTC()
	before, err := h.ownSite(ctx)
	if err != nil {
		return err
	}
	site, err := h.store.UpsertOwnSite(ctx, me, now)
	if err != nil {
		return err
	}
	if !h.gossips {
		return nil
	}
	g := h.gossip(site, now)
	if err := h.tell(ctx, &g, before.HeartbeatSentAt); err != nil {
		return err
	}
	passed, err := h.store.PassedPeers(ctx)
	if err != nil {
		return err
	}
	g.PassesFor = passed[:min(len(passed), federation.MaxPassesFor)] // the others go on directly, for they are not told
	if me.Exchange == federation.ExchangeHub {
		if g.SharedAt, err = h.store.NewestShared(ctx, now.Add(-newly), h.gate.Severities()); err != nil {
			return err
		}
	}
	return h.bus.Publish(ctx, subject.Health(me.ID), g)
}

// ownSite is the site as it last noted itself; the zero value where it has not yet.
func (h heartbeat) ownSite(ctx context.Context) (federation.Site, error) {
	me := h.bus.Site().ID
	sites, _, err := h.store.Sites(ctx, me, 0, 1)
	if err != nil {
		return federation.Site{}, fmt.Errorf("reading the own site: %w", err)
	}
	if len(sites) == 0 || sites[0].ID != me {
		return federation.Site{}, nil
	}
	return sites[0], nil
}

func (h heartbeat) gossip(site federation.Site, at time.Time) federation.Gossip {
	me := h.bus.Site()
	return federation.Gossip{
		Version: federation.GossipVersion, SiteID: me.ID, SiteName: me.Name, Tier: me.Tier, SoftwareVersion: me.Version,
		SentAt: at, IntervalSeconds: int(h.interval / time.Second),
		AgentsTotal: site.AgentsTotal, AgentsOnline: site.AgentsOnline, Exchange: me.Exchange,
	}
}

// farewell says goodbye where nothing of the site is left: its peers need not wait
// for the silence to know.
func (h heartbeat) farewell(ctx context.Context) error {
	if !h.gossips || h.inhabited(ctx) {
		return nil
	}
	site, err := h.ownSite(ctx)
	if err != nil {
		return err
	}
	if site.ID == "" { // no heartbeat has been, so nobody knows the site
		return nil
	}
	g := h.gossip(site, h.now().UTC())
	g.Leaving = true
	return h.bus.Publish(ctx, subject.Health(site.ID), g)
}

// inhabited reports whether any function of the site may live, in any process: one
// that does not answer in time may.
func (h heartbeat) inhabited(ctx context.Context) bool {
	for _, name := range h.all {
		ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		_, err := function.Ask(ctx, h.bus, h.bus.Site().ID, function.HealthEndpoint(name), struct{}{})
		cancel()
		if !fault.Is(err, fault.Unavailable) {
			return true
		}
	}
	return false
}

// tell puts into a gossip what it says of the links: those of which the peer at the other end
// was told something else, or was told it within the time of a few heartbeats, for it may have
// lost one; all to peers that keep nothing; and one in turn, so that whatever has gone wrong comes right.
// It also asks the peers whose view is lacking for it. last is when the site gossiped before this.
func (h heartbeat) tell(ctx context.Context, g *federation.Gossip, last time.Time) error {
	links, err := h.store.Links(ctx)
	if err != nil {
		return fmt.Errorf("reading the links: %w", err)
	}
	relayed, err := h.store.RelayedPeers(ctx)
	if err != nil {
		return err
	}
	told, err := h.store.Told(ctx)
	if err != nil {
		return err
	}
	now := g.SentAt
	g.LinksSince = now.Add(-repeats * h.interval)
	if last.Before(g.LinksSince) { // the peers have not heard the site for long, nor is it sure what they know
		g.LinksSince, told = now, nil
	}
	turn := federation.Turn(now, h.interval, 0)
	var news, again []federation.LinkView
	for i, l := range links {
		v := l.At(now, h.thresholds).View(g.SiteID, now)
		p, byHub := relayed[v.Peer]
		v.Relayed = byHub && !p.Direct
		t, known := told[v.Peer]
		switch {
		case !known || v.Differs(t) || t.At.After(now): // where it is of the future, the clock was set back
			news = append(news, v)
		case !l.PeerKeeps || t.At.After(g.LinksSince) || turn%int64(len(links)) == int64(i):
			again = append(again, v)
		}
		if l.PeerKeeps && l.PeerView == nil && len(g.Lacks) < federation.MaxLacks {
			g.Lacks = append(g.Lacks, v.Peer)
		}
	}
	news = news[:min(len(news), federation.MaxGossipLinks)] // the others with the next
	again = again[:min(len(again), federation.MaxGossipLinks-len(news))]
	g.Links = slices.Concat(news, again)
	return h.store.NoteTold(ctx, news)
}

func (h heartbeat) setAgents(ctx context.Context, a federation.Agents) (federation.Site, error) {
	return h.store.SetAgents(ctx, h.bus.Site(), a, h.now())
}
