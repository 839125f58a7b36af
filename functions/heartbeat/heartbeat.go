// Package heartbeat is the function that says "this site lives": once every
// interval it refreshes the site's own row and publishes its gossip. It gossips
// again at once when healthsink nudges it because a peer has just appeared, so
// that two sites see each other without waiting for an interval.
package heartbeat

import (
	"context"
	"fmt"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// New is the function for one site. gossips is false where federation is off: the
// own row is kept fresh, and nothing leaves.
func New(interval time.Duration, gossips bool, t federation.Thresholds, st *store.Store, bus *function.Bus, now func() time.Time) function.Function {
	h := heartbeat{interval, gossips, t, st, bus, now}
	return function.Function{
		Name:        "heartbeat",
		Description: "Publishes the gossip of this site once every interval and keeps its own row fresh.",
		Triggers: []function.Trigger{
			function.Every(interval, h.beat, function.Named("beat")),
			function.Nudged(h.beat),
			function.Reply(ask.SetAgents, h.setAgents, function.Parallel(1)),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type heartbeat struct {
	interval   time.Duration
	gossips    bool
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
	return h.bus.Publish(ctx, subject.Health(me.ID), federation.Gossip{
		Version: federation.GossipVersion, SiteID: me.ID, SiteName: me.Name, Tier: me.Tier, SoftwareVersion: me.Version,
		SentAt: h.now().UTC(), IntervalSeconds: int(h.interval / time.Second),
		AgentsTotal: site.AgentsTotal, AgentsOnline: site.AgentsOnline, Links: links,
	})
}

// views are the links as this site sees them now, for its peers.
func (h heartbeat) views(ctx context.Context) ([]federation.LinkView, error) {
	links, err := h.store.Links(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the links: %w", err)
	}
	now := h.now().UTC()
	views := make([]federation.LinkView, min(len(links), federation.MaxGossipLinks))
	for i := range views {
		views[i] = links[i].At(now, h.thresholds).View(h.bus.Site().ID, now)
	}
	return views, nil
}

func (h heartbeat) setAgents(ctx context.Context, a federation.Agents) (federation.Site, error) {
	return h.store.SetAgents(ctx, h.bus.Site(), a, h.now())
}
