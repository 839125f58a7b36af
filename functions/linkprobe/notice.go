package linkprobe

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// notice is what the server tells of one of its connections.
type notice struct {
	Client struct {
		Kind string `json:"kind"`
		Name string `json:"name"` // of a leafnode that joins: the name of its server
	} `json:"client"`
}

func (n notice) leafnode() bool { return n.Client.Kind == "Leafnode" }

// notLeafnode is for the connections of functions and people, which are most.
const notLeafnode = "not a leafnode"

// cut looks which peers went away with a leafnode.
func (p prober) cut(ctx context.Context, n notice) error {
	if !n.leafnode() {
		return function.Drop(notLeafnode)
	}
	return p.follow(ctx, func(l federation.Link) bool { return !l.Probe.State.Unreachable() },
		func(looked, proved int) bool { return looked == proved })
}

// joined looks which peers came back with a leafnode.
func (p prober) joined(ctx context.Context, n notice) error {
	if !n.leafnode() {
		return function.Drop(notLeafnode)
	}
	return p.heal(ctx)
}

// doubt looks at every peer: healthsink has heard what does not fit with the echoes.
func (p prober) doubt(ctx context.Context) error {
	if _, _, err := p.glance(ctx, func(l federation.Link) bool { return !marked(l) }, ""); err != nil {
		return err
	}
	return p.heal(ctx)
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

// told notes that a hub or a relay did not let a peer in. Anyone can give that name
// and a wrong password, so it counts only where the peer cannot be reached.
func (p prober) told(ctx context.Context, n notice) error {
	if !n.leafnode() {
		return function.Drop(notLeafnode)
	}
	own := p.bus.Site().ID
	looked, _, err := p.glance(ctx, func(l federation.Link) bool { return string(l.Peer(own)) == n.Client.Name }, federation.Refused)
	if err != nil {
		return err
	}
	if looked == 0 {
		return function.Drop("an unknown site")
	}
	return nil
}

func marked(l federation.Link) bool { return l.Probe.State != federation.Answered }

// heal looks at the links that are marked until none is.
func (p prober) heal(ctx context.Context) error {
	return p.follow(ctx, marked, func(looked, _ int) bool { return looked == 0 })
}

// follow looks at the links chosen until that is over: done is told at how many it
// looked and of how many that proved something.
func (p prober) follow(ctx context.Context, choose func(federation.Link) bool, done func(looked, proved int) bool) error {
	for range glances {
		looked, proved, err := p.glance(ctx, choose, "")
		if err != nil || done(looked, proved) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil // the echoes of every second go on
		case <-time.After(between):
		}
	}
	return nil
}

// glance sends one echo over each of the links chosen, and records those that
// prove something. why, where set, is what is recorded of a peer that cannot be reached.
func (p prober) glance(ctx context.Context, choose func(federation.Link) bool, why federation.EchoOutcome) (looked, proved int, err error) {
	links, err := p.store.Links(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("reading the links: %w", err)
	}
	var peers []federation.SiteID
	for _, l := range links {
		if choose(l) {
			peers = append(peers, l.Peer(p.bus.Site().ID))
		}
	}
	results := p.sendAll(ctx, peers, glance)
	for peer, e := range results {
		if why != "" && e.Outcome == federation.Disconnected {
			e.Outcome = why
			results[peer] = e
		}
	}
	return len(peers), len(results), p.record(ctx, results)
}
