package healthsink_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/healthsink"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const own = federation.SiteID("site-a")

var ages = federation.Thresholds{Degraded: time.Minute, Down: time.Hour}

// listening is a healthsink of site-a at work.
type listening struct {
	store   *store.Store
	bus     *function.Bus
	figures *prometheus.Registry
}

func listen(t *testing.T) listening {
	t.Helper()
	return listenOn(t, storetest.Open(t))
}

func listenOn(t *testing.T, st *store.Store) listening {
	t.Helper()
	s := natstest.Start(t, own)
	l := listening{st, natstest.Bus(t, s, own, "test"), prometheus.NewRegistry()}
	bus := natstest.Bus(t, s, own, "healthsink")
	natstest.RunMeasured(t, bus, healthsink.New(ages, l.store, bus, time.Now), l.figures)
	return l
}

func gossip(site federation.SiteID, sent time.Time, links ...federation.LinkView) federation.Gossip {
	return federation.Gossip{Version: federation.GossipVersion, SiteID: site, SiteName: "X", Tier: federation.Secondary, SentAt: sent, IntervalSeconds: 15, Links: links}
}

// say publishes gossip under the subject of a site, and signed by it.
func (l listening) say(t *testing.T, as federation.SiteID, g federation.Gossip) {
	t.Helper()
	data, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.bus.Conn().PublishMsg(function.Said(natstest.Key(t, as), as, subject.Health(as), data)); err != nil {
		t.Fatal(err)
	}
}

// nudged counts the nudges of a function from now on.
func (l listening) nudged(t *testing.T, name string) func() int {
	t.Helper()
	sub, err := l.bus.Conn().SubscribeSync(subject.Nudge(own, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.bus.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	return func() int {
		n, _, err := sub.Pending()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

func (l listening) refused(t *testing.T, reason string) float64 {
	t.Helper()
	families, err := l.figures.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "aurora_function_messages_refused_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "reason" && label.GetValue() == reason {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

func TestACrowdIsHeardAndEachRefusalIsOfItsOwnMessage(t *testing.T) {
	l := listen(t)
	heartbeat := l.nudged(t, "heartbeat")
	now := time.Now()
	const crowd = 200
	for i := range crowd {
		id := federation.SiteID(fmt.Sprintf("site-%03d", i))
		l.say(t, id, gossip(id, now))
		switch i {
		case 10: // the newest of one batch stands, whatever its order
			newer := gossip(id, now.Add(2*time.Second))
			newer.SiteName = "the newest"
			l.say(t, id, newer)
			l.say(t, id, gossip(id, now.Add(time.Second)))
		case 20:
			l.say(t, id, gossip("site-021", now.Add(time.Hour)))
		case 30:
			l.say(t, own, gossip(own, now))
		}
	}
	natstest.Eventually(t, "all are known", func() bool {
		sites, _, err := l.store.Sites(t.Context(), own, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(sites) == crowd
	})
	for reason, n := range map[string]float64{"older than known": 1, "invalid": 1, "own gossip": 1} {
		natstest.Eventually(t, fmt.Sprintf("%v is refused as %s", n, reason), func() bool { return l.refused(t, reason) == n })
	}
	links, err := l.store.Links(t.Context())
	if err != nil || len(links) != crowd {
		t.Fatalf("there are %d links: %v", len(links), err)
	}
	for _, link := range links {
		if link.Status != federation.Healthy {
			t.Errorf("%s is %s", link.ID, link.Status)
		}
	}
	sites, _, err := l.store.Sites(t.Context(), own, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sites {
		if want := map[bool]string{true: "the newest", false: "X"}[s.ID == "site-010"]; s.Name != want || s.Status != federation.Online {
			t.Errorf("%s is %s, and called %q", s.ID, s.Status, s.Name)
		}
	}
	if n := heartbeat(); n == 0 || n > crowd/2 {
		t.Errorf("the heartbeat was nudged %d times for %d new sites", n, crowd)
	}
	if first := outbox(t, l.store); first != crowd {
		t.Errorf("%d sites are told as seen for the first time, want %d", first, crowd)
	}
}

func outbox(t *testing.T, st *store.Store) int {
	t.Helper()
	all, err := st.Outbox(t.Context(), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestGossipThatDoesNotFitWithTheEchoesHasThePeersProbed(t *testing.T) {
	l := listen(t)
	probe := l.nudged(t, "linkprobe")
	now := time.Now()
	l.say(t, "site-b", gossip("site-b", now))
	l.say(t, "site-c", gossip("site-c", now))
	healthy := federation.LinkView{Peer: "site-c", Status: federation.Healthy, At: now}
	l.say(t, "site-b", gossip("site-b", now.Add(time.Second), healthy))
	heard := func(want time.Time) bool {
		sites, _, err := l.store.Sites(t.Context(), own, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(sites) == 2 && sites[0].HeartbeatSentAt.Equal(want.UTC().Truncate(time.Microsecond))
	}
	natstest.Eventually(t, "it is heard", func() bool { return heard(now.Add(time.Second)) })
	if n := probe(); n != 0 {
		t.Errorf("there were %d nudges for what fits", n)
	}
	lost := healthy
	lost.Status, lost.Cause = federation.Down, federation.TransportDisconnected
	l.say(t, "site-b", gossip("site-b", now.Add(2*time.Second), lost))
	natstest.Eventually(t, "the peers are probed", func() bool { return probe() == 1 })
}

// What fails once the gossip is committed keeps nothing from the functions that go on with it.
func TestAPeerIsAnsweredThoughItsLinksCannotBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "site.db")
	st := storetest.OpenAt(t, path)
	now := time.Now()
	storetest.Knows(t, st, own, "site-c", now)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.ExecContext(t.Context(), `UPDATE links SET probe = 'damaged' WHERE id = ?`, federation.LinkID(own, "site-c")); err != nil {
		t.Fatal(err)
	}
	l := listenOn(t, st)
	heartbeat, relay, probe := l.nudged(t, "heartbeat"), l.nudged(t, "alertrelay"), l.nudged(t, "linkprobe")
	l.say(t, own, gossip(own, now))
	l.say(t, "site-b", gossip("site-b", now, federation.LinkView{Peer: "site-c", Status: federation.Down, Cause: federation.TransportDisconnected, At: now}))
	natstest.Eventually(t, "the peer is answered, and the watchers are told", func() bool { return heartbeat() == 1 && relay() == 1 })
	natstest.Eventually(t, "what was left aside is counted", func() bool { return l.refused(t, "own gossip") == 1 })
	if n := probe(); n != 0 {
		t.Errorf("the links could be read: linkprobe was nudged %d times", n)
	}
}
