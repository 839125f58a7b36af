package linkprobe

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// notice is what the server tells of one of its connections.
type notice struct {
	Client struct {
		Kind string `json:"kind"`
		Name string `json:"name"` // of a leafnode that joined: the name of its server, which for a site is its id
	} `json:"client"`
}

func (n notice) leafnode() bool { return n.Client.Kind == "Leafnode" }

// notLeafnode is for the connections of functions and people, which are most.
const notLeafnode = "not a leafnode"

// named gives the names of the leafnodes that the server tells of, and which notices are left aside.
func named(came []function.Came[notice]) (names []federation.SiteID, left function.Each) {
	left = function.Each{}
	for i, c := range came {
		switch name := federation.SiteID(c.Value.Client.Name); {
		case !c.Value.leafnode():
			left[i] = function.Drop(notLeafnode)
		case !slices.Contains(names, name):
			names = append(names, name)
		}
	}
	return names, left
}

// cut looks which peers went away with leafnodes.
func (p prober) cut(ctx context.Context, came []function.Came[notice]) error {
	names, left := named(came)
	if len(names) == 0 {
		return left
	}
	begun := p.now()
	if err := p.follow(ctx, names, func(l federation.Link) bool { return !l.Probe.State.Unreachable() && l.Probe.At.Before(begun) }); err != nil {
		return err
	}
	return left
}

// joined looks which peers came back with leafnodes.
func (p prober) joined(ctx context.Context, came []function.Came[notice]) error {
	names, left := named(came)
	if len(names) == 0 {
		return left
	}
	if err := p.follow(ctx, names, marked); err != nil {
		return err
	}
	return left
}

// doubt looks at every peer: healthsink has heard what does not fit with the echoes.
func (p prober) doubt(ctx context.Context) error {
	if _, err := p.look(ctx, nil, func(l federation.Link) bool { return !marked(l) }); err != nil && ctx.Err() == nil {
		return err
	}
	return p.follow(ctx, nil, marked)
}

// refused tells every site whom the own server did not let in: the name alone, and
// not from where it came or what it showed.
func (p prober) refused(_ context.Context, n notice) error {
	if !n.leafnode() {
		return function.Drop(notLeafnode)
	}
	site := federation.SiteID(n.Client.Name)
	if !site.Valid() {
		return function.Drop("an unknown site")
	}
	body, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("telling of a refusal: %w", err)
	}
	return p.bus.Conn().Publish(subject.RefusedSite(site), body)
}

// told notes that a hub or a relay did not let peers in. Anyone can give that name
// and a wrong password, so it counts only where the peer cannot be reached.
func (p prober) told(ctx context.Context, came []function.Came[notice]) error {
	names, left := named(came)
	links, err := p.store.LinksTo(ctx, p.bus.Site().ID, names)
	if err == nil {
		err = p.glance(ctx, links, federation.Refused)
	}
	if err != nil && ctx.Err() == nil {
		return err
	}
	for i, c := range came {
		if c.Value.leafnode() && !slices.ContainsFunc(links, func(l federation.Link) bool { return string(l.Peer(p.bus.Site().ID)) == c.Value.Client.Name }) {
			left[i] = function.Drop("an unknown site")
		}
	}
	return left
}

func marked(l federation.Link) bool { return l.Probe.State != federation.Answered }

// behind is the links that may be others now because leafnodes of these names came or went. At
// a primary they are those to the sites that are called so. Where one is no known site, as a relay is
// none, or none is named, it is every link, as at a secondary, whose own leafnode leads to all.
func (p prober) behind(ctx context.Context, names []federation.SiteID) ([]federation.Link, error) {
	if p.bus.Site().Tier == federation.Primary && len(names) > 0 {
		links, err := p.store.LinksTo(ctx, p.bus.Site().ID, names)
		if err != nil || len(links) == len(names) {
			return links, err
		}
	}
	return p.store.Links(ctx)
}

// follow looks at the links chosen until there is none, or that has gone on for long enough.
func (p prober) follow(ctx context.Context, names []federation.SiteID, choose func(federation.Link) bool) error {
	for range glances {
		some, err := p.look(ctx, names, choose)
		if ctx.Err() != nil {
			return nil // the echoes of every second go on
		}
		if err != nil || !some {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(between):
		}
	}
	return nil
}

// look glances at those of the links behind leafnodes that are chosen, and reports whether there are some.
func (p prober) look(ctx context.Context, names []federation.SiteID, choose func(federation.Link) bool) (some bool, err error) {
	links, err := p.behind(ctx, names)
	if err != nil {
		return false, fmt.Errorf("reading the links: %w", err)
	}
	links = slices.DeleteFunc(links, func(l federation.Link) bool { return !choose(l) })
	return len(links) > 0, p.glance(ctx, links, "")
}

// glance sends one echo over each of the links, and records those that prove something new.
// why, where set, is what is recorded of a peer that cannot be reached.
func (p prober) glance(ctx context.Context, links []federation.Link, why federation.EchoOutcome) error {
	known := make(map[federation.SiteID]federation.EchoOutcome, len(links))
	for _, l := range links {
		known[l.Peer(p.bus.Site().ID)] = l.Probe.State
	}
	results := p.sendAll(ctx, slices.Sorted(maps.Keys(known)), glance)
	for peer, e := range results {
		switch {
		case e.Outcome != federation.Disconnected:
		case why != "":
			e.Outcome = why
			results[peer] = e
		case known[peer].Unreachable():
			delete(results, peer)
		}
	}
	if len(results) == 0 {
		return nil
	}
	_, err := p.record(ctx, results)
	return err
}
