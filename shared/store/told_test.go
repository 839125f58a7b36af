package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// changesOf is gossip of a site that names only links that changed, since a minute before.
func changesOf(site federation.SiteID, sent time.Time, views ...federation.LinkView) federation.Gossip {
	g := gossipOf(site, sent)
	g.LinksSince, g.Links = sent.Add(-time.Minute), views
	return g
}

func viewOf(peer federation.SiteID, s federation.LinkStatus, at time.Time) federation.LinkView {
	return federation.LinkView{Peer: peer, Status: s, At: at}
}

func aViewStandsUntilItIsNamedOrMissed(t *testing.T, f fixture) {
	s := f.migrated(t)
	sees := func(what string, keeps bool, want *federation.LinkView) {
		t.Helper()
		l := onlyLink(t, s)
		equal(t, what, l.PeerView, want)
		if l.PeerKeeps != keeps {
			t.Errorf("%s: the peer keeps what it is told: %t", what, l.PeerKeeps)
		}
	}
	degraded := viewOf(own.ID, federation.LinkDegraded, t0)
	old := gossipOf("site-b", t0)
	old.Links = []federation.LinkView{degraded}
	record(t, s, old, t0)
	sees("a site that names all", false, &degraded)

	now := after(15 * time.Second)
	record(t, s, changesOf("site-b", now, viewOf("site-c", federation.Down, now)), now)
	degraded.At = now
	sees("a gossip that names others", true, &degraded)

	now = after(30 * time.Second)
	healthy := viewOf(own.ID, federation.Healthy, now)
	record(t, s, changesOf("site-b", now, healthy), now)
	sees("a gossip that names it", true, &healthy)

	now = after(90 * time.Second) // three were missed
	record(t, s, changesOf("site-b", now), now)
	healthy.At = now
	sees("some gossips were missed", true, &healthy)
	if r := record(t, s, changesOf("site-b", after(time.Minute)), now); !r.Stale {
		t.Error("an older gossip is taken")
	}
	sees("an older gossip", true, &healthy)

	bye := gossipOf("site-b", after(100*time.Second))
	bye.Leaving = true
	record(t, s, bye, after(100*time.Second))
	sees("a goodbye", true, &healthy)
	now = after(120 * time.Second)
	record(t, s, changesOf("site-b", now), now)
	healthy.At = now
	sees("it is back", true, &healthy)

	now = after(181 * time.Second)
	record(t, s, changesOf("site-b", now), now)
	sees("too many were missed", true, nil)
	record(t, s, changesOf("site-b", after(190*time.Second)), after(190*time.Second))
	sees("nothing is known until it is named", true, nil)
	now = after(200 * time.Second)
	healthy.At = now
	record(t, s, changesOf("site-b", now, healthy), now)
	sees("it is named again", true, &healthy)

	old.SentAt, old.Links = after(210*time.Second), nil
	record(t, s, old, after(210*time.Second))
	sees("a site that names all does not name it", false, nil)
}

func whoLacksAViewIsToldAnew(t *testing.T, f fixture) {
	s, replica := f.migrated(t), f.open(t)
	told := func() map[federation.SiteID]federation.LinkView {
		t.Helper()
		return must(replica.Told(t.Context()))(t)
	}
	equal(t, "at first", told(), map[federation.SiteID]federation.LinkView{})
	b, c := viewOf("site-b", federation.Healthy, t0), viewOf("site-c", federation.Down, t0)
	note := func(views ...federation.LinkView) {
		t.Helper()
		if err := s.NoteTold(t.Context(), views); err != nil {
			t.Fatal(err)
		}
	}
	note()
	note(c, b)
	equal(t, "told", told(), map[federation.SiteID]federation.LinkView{"site-b": b, "site-c": c})
	c = viewOf("site-c", federation.LinkDegraded, after(time.Second))
	note(c)
	equal(t, "told something else", told(), map[federation.SiteID]federation.LinkView{"site-b": b, "site-c": c})

	lacking := changesOf("site-b", t0)
	lacking.Lacks = []federation.SiteID{"site-c", "site-d"}
	record(t, s, lacking, t0)
	equal(t, "a peer lacks the views of others", told(), map[federation.SiteID]federation.LinkView{"site-b": b, "site-c": c})
	lacking.SentAt, lacking.Lacks = after(time.Second), []federation.SiteID{own.ID}
	record(t, s, lacking, after(time.Second))
	equal(t, "it lacks the one of this site", told(), map[federation.SiteID]federation.LinkView{"site-c": c})
	note(b)
	if r := record(t, s, lacking, after(2*time.Second)); !r.Stale {
		t.Error("a replay is taken")
	}
	equal(t, "a replay of that", told(), map[federation.SiteID]federation.LinkView{"site-b": b, "site-c": c})
}

// Replicas that tell, and hear who lacks, lock the same rows.
func tellingsAtOnceWaitForEachOther(t *testing.T, f fixture) {
	stores := []*Store{f.migrated(t), f.open(t)}
	const peers, rounds = 20, 10
	atOnce(t, 8, func(i int) (struct{}, error) {
		s := stores[i%2]
		for round := range rounds {
			at := after(time.Duration(round*8+i) * time.Millisecond)
			var views []federation.LinkView
			var gossips []federation.Gossip
			for p := range peers {
				peer := federation.SiteID(fmt.Sprintf("peer-%d", p)) // of which the order is not that of their numbers
				views = append(views, viewOf(peer, federation.Healthy, at))
				g := changesOf(peer, at)
				g.Lacks = []federation.SiteID{own.ID}
				gossips = append(gossips, g)
			}
			if i%4 < 2 {
				slices.Reverse(views)
				if err := s.NoteTold(t.Context(), views); err != nil {
					return struct{}{}, err
				}
				continue
			}
			if _, err := s.RecordGossips(t.Context(), own.ID, gossips, at, ages); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	if n := len(must(stores[0].Told(t.Context()))(t)); n != 0 && n != peers {
		t.Errorf("%d of the %d peers were told", n, peers)
	}
}
