// Package heartbeat is the function that says "this site lives": once every
// interval it refreshes the site's own row and publishes its gossip. It gossips
// again at once when healthsink nudges it because a peer has just appeared, so
// that two sites see each other without waiting for an interval. When the last
// function of the site stops, and it is this one, it says goodbye.
package heartbeat

import (
	"context"
	"fmt"
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
	me := h.bus.Site()
	site, err := h.store.UpsertOwnSite(ctx, me, h.now())
	if err != nil {
		return err
	}
	if !h.gossips {
		return nil
	}
	links, err := h.views(ctx)
	if err != nil {
		return err
	}
	g := h.gossip(site)
	g.Links = links
	passed, err := h.store.PassedPeers(ctx)
	if err != nil {
		return err
	}
	g.PassesFor = passed[:min(len(passed), federation.MaxPassesFor)] // the others go on directly, for they are not told
	if me.Exchange == federation.ExchangeHub {
		if g.SharedAt, err = h.store.NewestShared(ctx, h.now().Add(-newly), h.gate.Severities()); err != nil {
			return err
		}
	}
	return h.bus.Publish(ctx, subject.Health(me.ID), g)
}

func (h heartbeat) gossip(site federation.Site) federation.Gossip {
	me := h.bus.Site()
	return federation.Gossip{
		Version: federation.GossipVersion, SiteID: me.ID, SiteName: me.Name, Tier: me.Tier, SoftwareVersion: me.Version,
		SentAt: h.now().UTC(), IntervalSeconds: int(h.interval / time.Second),
		AgentsTotal: site.AgentsTotal, AgentsOnline: site.AgentsOnline, Exchange: me.Exchange,
	}
}

// farewell says goodbye where nothing of the site is left: its peers need not wait
// for the silence to know.
func (h heartbeat) farewell(ctx context.Context) error {
	if !h.gossips || h.inhabited(ctx) {
		return nil
	}
	me := h.bus.Site().ID
	sites, _, err := h.store.Sites(ctx, me, 0, 1)
	if err != nil {
		return fmt.Errorf("reading the own site: %w", err)
	}
	if len(sites) == 0 || sites[0].ID != me { // no heartbeat has been, so nobody knows the site
		return nil
	}
	g := h.gossip(sites[0])
	g.Leaving = true
	return h.bus.Publish(ctx, subject.Health(me), g)
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

// views are the links as this site sees them now, for its peers.
func (h heartbeat) views(ctx context.Context) ([]federation.LinkView, error) {
	links, err := h.store.Links(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the links: %w", err)
	}
	relayed, err := h.store.RelayedPeers(ctx)
	if err != nil {
		return nil, err
	}
	now := h.now().UTC()
	views := make([]federation.LinkView, min(len(links), federation.MaxGossipLinks))
	for i := range views {
		views[i] = links[i].At(now, h.thresholds).View(h.bus.Site().ID, now)
		p, byHub := relayed[views[i].Peer]
		views[i].Relayed = byHub && !p.Direct
	}
	return views, nil
}

func (h heartbeat) setAgents(ctx context.Context, a federation.Agents) (federation.Site, error) {
	return h.store.SetAgents(ctx, h.bus.Site(), a, h.now())
}
