package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/healthsink"
	"github.com/auroramesh/auroramesh/functions/heartbeat"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// gossiping is sites that gossip when a test says so, by a clock that it sets. Heartbeat,
// healthsink, databases and NATS are real; what the links are like the test notes itself.
type gossiping struct {
	server *server.Server
	dsn    func(*testing.T) string
	every  time.Duration // is so long that no schedule comes in between
	ages   federation.Thresholds
	said   *natsgo.Subscription
	speak  *natsgo.Conn

	mu  sync.Mutex
	now time.Time

	sites map[federation.SiteID]*gossiper
}

// gossiper is one of them. Without a sink it is deaf.
type gossiper struct {
	id              federation.SiteID
	dsn             string
	store           *store.Store
	heartbeat, sink *function.Running
}

// eachDatabase runs a test with sites on each database.
func eachDatabase(t *testing.T, test func(*testing.T, *gossiping)) {
	t.Parallel()
	for name, dsn := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "site.db") },
		"postgres": func(t *testing.T) string { return postgrestest.Start(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // both mostly wait
			g := &gossiping{
				server: natstest.Start(t, "hub"), dsn: dsn, every: time.Hour, ages: federation.Thresholds{Degraded: 3 * time.Hour, Down: 8 * time.Hour},
				now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), sites: map[federation.SiteID]*gossiper{},
			}
			g.speak = natstest.Bus(t, g.server, "hub", "speaker").Conn()
			var err error
			if g.said, err = natstest.Bus(t, g.server, "hub", "listener").Conn().SubscribeSync(subject.AllHealth); err != nil {
				t.Fatal(err)
			}
			test(t, g)
		})
	}
}

// clock is later each time, so that of two gossips one is the newer.
func (g *gossiping) clock() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now = g.now.Add(time.Millisecond)
	return g.now
}

func (g *gossiping) pass(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now = g.now.Add(d)
}

// join adds sites, each with a database of its own.
func (g *gossiping) join(t *testing.T, ids ...federation.SiteID) {
	t.Helper()
	for _, id := range ids {
		s := &gossiper{id: id, dsn: g.dsn(t)}
		s.store = open(t, s.dsn)
		g.sites[id] = s
		g.hear(t, id)
		s.heartbeat = g.beating(t, s.store, id)
	}
}

func open(t *testing.T, dsn string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() }) // the test is over
	if _, err := st.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return st
}

// beating runs a replica of the heartbeat of a site. It says no goodbye while the site's healthsink lives.
func (g *gossiping) beating(t *testing.T, st *store.Store, id federation.SiteID) *function.Running {
	t.Helper()
	bus := natstest.Bus(t, g.server, id, "heartbeat")
	return runs(t, bus, heartbeat.New(g.every, true, []string{"healthsink"}, federation.Gate{MinSeverity: federation.High}, g.ages, st, bus, g.clock))
}

// hear has a site listen.
func (g *gossiping) hear(t *testing.T, id federation.SiteID) {
	t.Helper()
	bus := natstest.Bus(t, g.server, id, "healthsink")
	g.sites[id].sink = runs(t, bus, healthsink.New(g.ages, g.sites[id].store, bus, g.clock))
}

func (g *gossiping) deafen(t *testing.T, id federation.SiteID) {
	t.Helper()
	halt(t, g.sites[id].sink)
	g.sites[id].sink = nil
}

func runs(t *testing.T, bus *function.Bus, f function.Function) *function.Running {
	t.Helper()
	r, err := function.Start(f, bus, function.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { halt(t, r) })
	natstest.Eventually(t, f.Name+" is ready", func() bool { return r.NotReady(t.Context()) == nil })
	return r
}

func halt(t *testing.T, r *function.Running) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// beat has sites gossip, waits until all that listen have taken it, and gives back what each said.
func (g *gossiping) beat(t *testing.T, ids ...federation.SiteID) map[federation.SiteID]federation.Gossip {
	t.Helper()
	after := g.clock()
	for _, id := range ids {
		if err := g.speak.Publish(subject.Nudge(id, "heartbeat"), nil); err != nil {
			t.Fatal(err)
		}
	}
	all := map[federation.SiteID]federation.Gossip{}
	for len(all) < len(ids) {
		msg, err := g.said.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatalf("waiting for %v to gossip: %v", ids, err)
		}
		var said federation.Gossip
		if err := json.Unmarshal(msg.Data, &said); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(ids, said.SiteID) && said.SentAt.After(after) {
			all[said.SiteID] = said
		}
	}
	for _, said := range all {
		g.taken(t, said)
	}
	return all
}

func (g *gossiping) taken(t *testing.T, said federation.Gossip) {
	t.Helper()
	for _, s := range g.sites {
		if s.id == said.SiteID || s.sink == nil {
			continue
		}
		natstest.Eventually(t, fmt.Sprintf("%s has heard %s", s.id, said.SiteID), func() bool {
			sites, _, err := s.store.Sites(t.Context(), s.id, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(sites, func(of federation.Site) bool { return of.ID == said.SiteID && !of.HeartbeatSentAt.Before(said.SentAt) })
		})
	}
}

// round has sites gossip an interval after what was before.
func (g *gossiping) round(t *testing.T, ids ...federation.SiteID) map[federation.SiteID]federation.Gossip {
	t.Helper()
	g.pass(g.every)
	return g.beat(t, ids...)
}

// rest lets so many intervals go by that nothing is told again.
func (g *gossiping) rest(t *testing.T, ids ...federation.SiteID) {
	t.Helper()
	for range 6 {
		g.round(t, ids...)
	}
}

// relay changes the link to a peer as a site sees it, in something that lasts: whether what the
// site raises reaches the peer by the hub.
func (g *gossiping) relay(t *testing.T, id, peer federation.SiteID, relayed bool) {
	t.Helper()
	change := func() error {
		return g.sites[id].store.BeginRelayed(t.Context(), store.RelayedPeer{Peer: peer, Since: g.clock()})
	}
	if !relayed {
		change = func() error { return g.sites[id].store.EndRelayed(t.Context(), peer) }
	}
	if err := change(); err != nil {
		t.Fatal(err)
	}
}

// peerView is what a site knows of how a peer sees their link.
func (g *gossiping) peerView(t *testing.T, id, peer federation.SiteID) *federation.LinkView {
	t.Helper()
	links, err := g.sites[id].store.LinksTo(t.Context(), id, []federation.SiteID{peer})
	if err != nil || len(links) != 1 {
		t.Fatalf("%s has %d links to %s: %v", id, len(links), peer, err)
	}
	return links[0].PeerView
}

// sees fails the test where a site does not know how the peer sees their link, at the moment of that one's last gossip or later.
func (g *gossiping) sees(t *testing.T, what string, id, peer federation.SiteID, relayed bool, last federation.Gossip) {
	t.Helper()
	v := g.peerView(t, id, peer)
	if v == nil || v.Relayed != relayed || v.Status != federation.Healthy || v.At.Before(last.SentAt) {
		t.Errorf("%s: %s knows of the view of %s: %+v, and wants relayed %t at %v", what, id, peer, v, relayed, last.SentAt)
	}
}

// names reports whether a gossip names the link to a peer.
func names(g federation.Gossip, peer federation.SiteID) bool {
	return slices.ContainsFunc(g.Links, func(v federation.LinkView) bool { return v.Peer == peer })
}

func TestGossipTellsWhatChangedAndEveryPeerKnowsTheRest(t *testing.T) {
	eachDatabase(t, func(t *testing.T, g *gossiping) {
		const a, b, c = "site-a", "site-b", "site-c"
		g.join(t, a, b, c)
		g.round(t, a, b, c)
		last := g.round(t, a, b, c)
		for _, pair := range [][2]federation.SiteID{{a, b}, {b, a}, {a, c}, {c, a}, {b, c}, {c, b}} {
			g.sees(t, "all have met", pair[0], pair[1], false, last[pair[1]])
		}

		// At rest each link is named in its turn, and no more often.
		g.rest(t, a, b, c)
		named := 0
		for range 4 {
			last = g.round(t, a, b, c)
			named += len(last[a].Links)
			g.sees(t, "at rest", b, a, false, last[a])
			g.sees(t, "at rest", c, a, false, last[a])
		}
		if named != 4 {
			t.Errorf("at rest four gossips name %d links", named)
		}

		g.relay(t, a, b, true)
		said := g.beat(t, a)[a] // as who changes it has it do
		g.sees(t, "a change", b, a, true, said)
		g.sees(t, "the link of another", c, a, false, said)

		// A peer that loses a few gossips misses nothing.
		g.deafen(t, b)
		g.relay(t, a, b, false)
		g.beat(t, a)
		g.round(t, a, b, c)
		g.round(t, a, b, c)
		g.hear(t, b)
		said = g.round(t, a)[a]
		g.sees(t, "some were lost", b, a, false, said)
		if !names(said, b) {
			t.Error("it is not named again")
		}

		// One that was deaf for long knows that it does not know, and asks.
		g.rest(t, a, b, c)
		g.deafen(t, b)
		g.relay(t, a, b, true)
		g.beat(t, a)
		g.rest(t, a, b, c)
		for names(g.round(t, a, b, c)[a], b) { // until it has just had its turn
		}
		for !names(g.round(t, a, b, c)[a], b) {
		}
		g.hear(t, b)
		if said = g.round(t, a)[a]; names(said, b) {
			t.Fatal("it is named though nothing changes")
		}
		if v := g.peerView(t, b, a); v != nil {
			t.Errorf("after many were lost it holds %+v", v)
		}
		if asks := g.beat(t, b)[b]; !slices.Equal(asks.Lacks, []federation.SiteID{a}) {
			t.Errorf("it asks %v", asks.Lacks)
		}
		said = g.beat(t, a)[a]
		g.sees(t, "it has asked", b, a, true, said)
		if asks := g.beat(t, b)[b]; len(asks.Lacks) != 0 {
			t.Errorf("it still asks %v", asks.Lacks)
		}
	})
}

func TestGossipIsWholeAfterARestartAndTheSameFromAnyReplica(t *testing.T) {
	eachDatabase(t, func(t *testing.T, g *gossiping) {
		const a, b, c = "site-a", "site-b", "site-c"
		g.join(t, a, b, c)
		g.rest(t, a, b, c)
		restart := func(pause int, relayed bool) {
			halt(t, g.sites[a].heartbeat)
			g.relay(t, a, b, relayed)
			for range pause {
				g.round(t, b, c)
			}
			g.sites[a].heartbeat = g.beating(t, g.sites[a].store, a)
		}
		restart(1, true)
		said := g.beat(t, a)[a]
		g.sees(t, "started anew", b, a, true, said)
		g.sees(t, "started anew, the link of another", c, a, false, said)

		g.rest(t, a, b, c)
		restart(31, false)
		said = g.beat(t, a)[a]
		if len(said.Links) != 2 {
			t.Errorf("a site that was silent for long names %d of its 2 links", len(said.Links))
		}
		g.sees(t, "back after long", b, a, false, said)
		g.sees(t, "back after long, the link of another", c, a, false, said)

		// Two replicas: who gossips is left to chance, and either knows what the other told.
		g.beating(t, open(t, g.sites[a].dsn), a)
		g.rest(t, a, b, c)
		g.relay(t, a, b, true)
		g.sees(t, "told by one of two", b, a, true, g.beat(t, a)[a])
		told := 0
		for range 10 {
			if last := g.round(t, a, b, c); names(last[a], b) {
				told++
			}
		}
		if told < 5 || told > 7 { // in the first three, and else in each second, in its turn
			t.Errorf("ten gossips of two replicas name a link %d times that changed before", told)
		}
	})
}

func TestANewPeerAndOneOfAVersionBeforeAreTold(t *testing.T) {
	eachDatabase(t, func(t *testing.T, g *gossiping) {
		const a, b, d, old = "site-a", "site-b", "site-d", "site-old"
		g.join(t, a, b)
		g.rest(t, a, b)
		g.join(t, d)
		g.round(t, d, a, b)
		last := g.round(t, d, a, b)
		for _, peer := range []federation.SiteID{a, b} {
			g.sees(t, "a new peer", d, peer, false, last[peer])
			g.sees(t, "a new peer", peer, d, false, last[d])
		}

		// One that has lost its database is as new, and known to the others.
		g.deafen(t, d)
		halt(t, g.sites[d].heartbeat)
		g.join(t, d)
		for range 3 {
			last = g.round(t, a, b, d)
		}
		g.sees(t, "a peer with a new database", d, a, false, last[a])
		g.sees(t, "a peer with a new database", a, d, false, last[d])

		// A site of the version before names all its links each time, and takes one that is not named for unknown.
		tells := func(views ...federation.LinkView) {
			t.Helper()
			now := g.clock()
			said := federation.Gossip{Version: federation.GossipVersion, SiteID: old, SiteName: "Old", Tier: federation.Secondary, SentAt: now, IntervalSeconds: 3600, Links: views}
			data, err := json.Marshal(said)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.speak.PublishMsg(function.Said(natstest.Key(t, old), old, subject.Health(old), data)); err != nil {
				t.Fatal(err)
			}
			g.taken(t, said)
		}
		for range 8 {
			tells(federation.LinkView{Peer: a, Status: federation.Healthy, At: g.clock()})
			if said := g.round(t, a, b, d)[a]; !names(said, old) {
				t.Error("a peer that keeps nothing is not named")
			}
			if v := g.peerView(t, a, old); v == nil || v.Status != federation.Healthy {
				t.Errorf("of its view %+v is known", v)
			}
			if v := g.peerView(t, b, old); v != nil {
				t.Errorf("a link that it does not name is %+v", v)
			}
		}
		for _, id := range []federation.SiteID{a, b, d} {
			if said := g.beat(t, id)[id]; len(said.Lacks) != 0 {
				t.Errorf("%s asks %v, who would not understand it", id, said.Lacks)
			}
		}
	})
}

func TestAWithdrawnPeerIsToldAsGoneAndNotAgain(t *testing.T) {
	eachDatabase(t, func(t *testing.T, g *gossiping) {
		const a, b, c = "site-a", "site-b", "site-c"
		g.join(t, a, b, c)
		g.rest(t, a, b, c)
		halt(t, g.sites[c].heartbeat)
		g.deafen(t, c)
		for range 9 {
			g.round(t, a, b)
		}
		ageing := func(id federation.SiteID) {
			t.Helper()
			now := g.clock()
			if _, err := g.sites[id].store.Age(t.Context(), id, now, g.ages); err != nil {
				t.Fatal(err)
			}
		}
		ageing(a)
		said := g.round(t, a)[a]
		i := slices.IndexFunc(said.Links, func(v federation.LinkView) bool { return v.Peer == c })
		if i < 0 || said.Links[i].Status != federation.Down {
			t.Errorf("of a link that is down its peers hear %+v", said.Links)
		}
		g.rest(t, a, b)
		named := 0
		for range 4 {
			last := g.round(t, a, b)
			named += len(last[a].Links)
			g.sees(t, "a third site is gone", b, a, false, last[a])
		}
		if named != 4 {
			t.Errorf("later four gossips name %d links", named)
		}
	})
}
