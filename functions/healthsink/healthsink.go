// Package healthsink is the function that takes the peers' gossip in: it brings
// the peer's site row and the link to it up to date. The site's own gossip, and
// what is not signed by the site whose it is said to be, malformed, of an unknown
// version or older than what is known, changes nothing and is counted by its reason.
package healthsink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// What comes within linger of what was taken last is taken together, atOnce at most.
const (
	atOnce = 500
	linger = 100 * time.Millisecond
)

// New is the function for one site.
func New(t federation.Thresholds, st *store.Store, bus *function.Bus, now func() time.Time) function.Function {
	h := sink{t, st, bus, now}
	return function.Function{
		Name:        "healthsink",
		Description: "Takes the peers' gossip in: brings their sites and links up to date.",
		Triggers: []function.Trigger{
			function.OnTogether(subject.AllHealth, h.take, function.Named("gossip"), function.Verified(subject.HealthSite), function.Batch(atOnce, linger)),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type sink struct {
	thresholds federation.Thresholds
	store      *store.Store
	bus        *function.Bus
	now        func() time.Time
}

func (h sink) take(ctx context.Context, came []function.Came[federation.Gossip]) error {
	own := h.bus.Site().ID
	left := function.Each{}
	var gossips []federation.Gossip
	var places []int // of the gossips among what came
	for i, c := range came {
		switch g := c.Value; {
		case g.SiteID == own:
			left[i] = function.Drop("own gossip")
		case c.Subject != subject.Health(g.SiteID):
			left[i] = fault.New(fault.Invalid, "the gossip of %s came on the subject %s", g.SiteID, c.Subject)
		default:
			gossips, places = append(gossips, g), append(places, i)
		}
	}
	results, err := h.store.RecordGossips(ctx, own, gossips, h.now(), h.thresholds)
	if err != nil {
		return fmt.Errorf("recording the gossip of %d sites: %w", len(gossips), err)
	}
	var told []federation.Gossip // that was not known yet
	changed, exchanged := false, false
	for i, r := range results {
		if r.Stale {
			left[places[i]] = function.Drop("older than known")
			continue
		}
		told = append(told, gossips[i])
		changed = changed || r.FirstSeen || len(r.Transitions) > 0
		exchanged = exchanged || r.Exchanged
	}
	// It is committed, so whatever fails from here on keeps nothing of the rest.
	var failed error
	if exchanged { // so that alerts go another way
		failed = h.bus.Nudge("peeradmit")
	}
	if changed {
		// A peer is new or back, so it may not know this site: gossip now, not at the
		// next interval. The events that say so wait in the outbox.
		failed = errors.Join(failed, h.bus.Nudge("heartbeat"), h.bus.Nudge("alertrelay"))
	}
	if failed = errors.Join(failed, h.doubt(ctx, told)); failed != nil {
		return errors.Join(left, failed)
	}
	return left
}

// doubt has linkprobe look again where gossip does not fit with what it has measured.
func (h sink) doubt(ctx context.Context, told []federation.Gossip) error {
	own := h.bus.Site().ID
	var of []federation.SiteID
	for _, g := range told {
		of = append(of, g.SiteID)
		for _, v := range g.Links {
			if v.Status == federation.Down {
				of = append(of, v.Peer)
			}
		}
	}
	slices.Sort(of)
	links, err := h.store.LinksTo(ctx, own, slices.Compact(of))
	if err != nil {
		return fmt.Errorf("reading the links: %w", err)
	}
	for _, g := range told {
		if g.Contradicts(own, links) {
			return h.bus.Nudge("linkprobe")
		}
	}
	return nil
}
