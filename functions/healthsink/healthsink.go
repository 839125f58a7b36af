// Package healthsink is the function that takes the peers' gossip in: it brings
// the peer's site row and the link to it up to date. The site's own gossip, and
// what is not signed by the site whose it is said to be, malformed, of an unknown
// version or older than what is known, changes nothing and is counted by its reason.
package healthsink

import (
	"context"
	"fmt"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// New is the function for one site.
func New(t federation.Thresholds, st *store.Store, bus *function.Bus, now func() time.Time) function.Function {
	h := sink{t, st, bus, now}
	return function.Function{
		Name:        "healthsink",
		Description: "Takes the peers' gossip in: brings their sites and links up to date.",
		Triggers:    []function.Trigger{function.On(subject.AllHealth, h.take, function.Named("gossip"), function.Verified(subject.HealthSite))},
		Checks:      []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type sink struct {
	thresholds federation.Thresholds
	store      *store.Store
	bus        *function.Bus
	now        func() time.Time
}

func (h sink) take(ctx context.Context, g federation.Gossip) error {
	own := h.bus.Site().ID
	if g.SiteID == own {
		return function.Drop("own gossip")
	}
	if came := function.SubjectOf(ctx); came != subject.Health(g.SiteID) {
		return fault.New(fault.Invalid, "the gossip of %s came on the subject %s", g.SiteID, came)
	}
	result, err := h.store.RecordGossip(ctx, own, g, h.now(), h.thresholds)
	if err != nil {
		return fmt.Errorf("recording the gossip of %s: %w", g.SiteID, err)
	}
	if result.Stale {
		return function.Drop("older than known")
	}
	links, err := h.store.Links(ctx)
	if err != nil {
		return fmt.Errorf("reading the links: %w", err)
	}
	if g.Contradicts(own, links) {
		if err := h.bus.Nudge("linkprobe"); err != nil {
			return err
		}
	}
	if result.Exchanged {
		if err := h.bus.Nudge("peeradmit"); err != nil {
			return err
		}
	}
	if !result.FirstSeen && len(result.Transitions) == 0 {
		return nil
	}
	// The peer is new or back, so it may not know this site: gossip now, not at the
	// next interval. The events that say so wait in the outbox.
	if err := h.bus.Nudge("heartbeat"); err != nil {
		return err
	}
	return h.bus.Nudge("alertrelay")
}
