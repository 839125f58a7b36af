package heartbeat_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/functions/heartbeat"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const own = federation.SiteID("site-a")

// every is so long that a gossip comes only when a test has it come, by the clock of the test.
const every = time.Hour

// ages are so long that no link is late.
var ages = federation.Thresholds{Degraded: 1e4 * every, Down: 2e4 * every}

// beating is the heartbeat of site-a at work.
type beating struct {
	store *store.Store
	bus   *function.Bus
	heard *nats.Subscription
	at    atomic.Int64 // nanoseconds since 1970
}

func beat(t testing.TB) *beating {
	t.Helper()
	s := natstest.Start(t, own)
	b := &beating{store: storetest.Open(t), bus: natstest.Bus(t, s, own, "heartbeat")}
	b.at.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	var err error
	if b.heard, err = natstest.Bus(t, s, own, "listener").Conn().SubscribeSync(subject.Health(own)); err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, b.bus, heartbeat.New(every, true, []string{"heartbeat"}, federation.Gate{MinSeverity: federation.High}, ages, b.store, b.bus, b.now))
	if _, err := b.heard.NextMsg(30 * time.Second); err != nil { // a new schedule has a tick at once
		t.Fatal(err)
	}
	return b
}

func (b *beating) now() time.Time { return time.Unix(0, b.at.Load()) }

// gossip lets some time go by, and gives the gossip of then and how many bytes it has.
func (b *beating) gossip(t testing.TB, later time.Duration) (g federation.Gossip, bytes int) {
	t.Helper()
	b.at.Add(int64(later))
	if err := b.bus.Nudge("heartbeat"); err != nil {
		t.Fatal(err)
	}
	msg, err := b.heard.NextMsg(30 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(msg.Data, &g); err != nil {
		t.Fatal(err)
	}
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	return g, msg.Size() - len(msg.Subject) // as others count it: payload and headers
}

// meet has the site hear so many peers that keep what they are told, and tell how they see their links.
func (b *beating) meet(t testing.TB, peers int) {
	t.Helper()
	now := b.now()
	all := make([]federation.Gossip, peers)
	for i := range all {
		all[i] = federation.Gossip{
			Version: federation.GossipVersion, SiteID: storetest.SiteOf(i), SiteName: "Peer", Tier: federation.Secondary, SentAt: now, IntervalSeconds: 15,
			LinksSince: now, Links: []federation.LinkView{{Peer: own, Status: federation.Healthy, At: now}},
		}
	}
	for some := range slices.Chunk(all, 500) {
		if _, err := b.store.RecordGossips(t.Context(), own, some, now, ages); err != nil {
			t.Fatal(err)
		}
	}
}

// measure notes an echo of each link, over lines of 5 to 100 ms that vary by a tenth.
func (b *beating) measure(t testing.TB, peers int) {
	t.Helper()
	now := b.now()
	echoes := map[string]federation.Echo{}
	for i := range peers {
		ms := float64(5+i%96) * (0.9 + 0.2*rand.Float64())
		echoes[federation.LinkID(own, storetest.SiteOf(i))] = federation.Echo{At: now, Outcome: federation.Answered, Trip: time.Duration(ms * float64(time.Millisecond)), PeerAt: now}
	}
	if _, err := b.store.RecordEchoes(t.Context(), own, echoes, now, ages); err != nil {
		t.Fatal(err)
	}
}

func TestAtRestAGossipIsAsLargeForManyPeersAsForFew(t *testing.T) {
	t.Parallel()
	sizes := map[int]int{}
	for _, peers := range []int{10, 300} {
		b := beat(t)
		b.meet(t, peers)
		b.measure(t, peers)
		if g, _ := b.gossip(t, every); len(g.Links) != peers {
			t.Errorf("the first gossip names %d of %d links", len(g.Links), peers)
		}
		for range 5 {
			b.measure(t, peers)
			b.gossip(t, every)
		}
		b.measure(t, peers)
		g, bytes := b.gossip(t, every)
		if len(g.Links) != 1 || len(g.Lacks) != 0 { // the one whose turn it is
			t.Errorf("at rest it names %d of %d links, and asks %d peers", len(g.Links), peers, len(g.Lacks))
		}
		sizes[peers] = bytes
	}
	if off := sizes[300] - sizes[10]; off < -50 || off > 50 {
		t.Errorf("it has %d bytes with 10 peers, and %d with 300", sizes[10], sizes[300])
	}
}

func TestEachLinkIsNamedInItsTurn(t *testing.T) {
	t.Parallel()
	b := beat(t)
	const peers = 7
	b.meet(t, peers)
	for range 6 {
		b.gossip(t, every)
	}
	named := map[federation.SiteID]int{}
	for range peers {
		g, _ := b.gossip(t, every)
		for _, v := range g.Links {
			named[v.Peer]++
		}
	}
	if len(named) != peers {
		t.Errorf("%d gossips at rest name %v", peers, named)
	}
}

func TestMoreThanAGossipMayNameComesWithTheNext(t *testing.T) {
	t.Parallel()
	b := beat(t)
	const peers = federation.MaxGossipLinks + 30
	b.meet(t, peers)
	named := map[federation.SiteID]bool{}
	for i, want := range []int{federation.MaxGossipLinks, peers} {
		g, _ := b.gossip(t, every)
		if len(g.Links) != federation.MaxGossipLinks {
			t.Errorf("gossip %d names %d links", i, len(g.Links))
		}
		for _, v := range g.Links {
			named[v.Peer] = true
		}
		if len(named) != want {
			t.Errorf("after gossip %d, %d links were named, want %d", i, len(named), want)
		}
	}
}

func TestAClockThatWasSetTellsAllAnew(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]time.Duration{"back": -100 * every, "forward": 100 * every} {
		b := beat(t)
		const peers = 5
		b.meet(t, peers)
		for range 6 {
			b.gossip(t, every)
		}
		b.at.Add(int64(by))
		if g, _ := b.gossip(t, 0); len(g.Links) != peers {
			t.Errorf("after the clock was set %s it names %d of %d links", name, len(g.Links), peers)
		}
		for range 5 {
			b.gossip(t, every)
		}
		if g, _ := b.gossip(t, every); len(g.Links) != 1 {
			t.Errorf("some gossips after the clock was set %s it names %d links", name, len(g.Links))
		}
	}
}

func TestPeersAreAskedForTheViewsThatAreLacking(t *testing.T) {
	t.Parallel()
	b := beat(t)
	const peers = federation.MaxLacks + 20
	b.meet(t, peers)
	now := b.now().Add(time.Second)
	var missed []federation.Gossip
	for i := range peers {
		missed = append(missed, federation.Gossip{
			Version: federation.GossipVersion, SiteID: storetest.SiteOf(i), SiteName: "Peer", Tier: federation.Secondary, SentAt: now, IntervalSeconds: 15, LinksSince: now,
		})
	}
	if _, err := b.store.RecordGossips(t.Context(), own, missed[:1], now, ages); err != nil {
		t.Fatal(err)
	}
	if g, _ := b.gossip(t, every); !slices.Equal(g.Lacks, []federation.SiteID{storetest.SiteOf(0)}) {
		t.Errorf("it asks %v", g.Lacks)
	}
	if _, err := b.store.RecordGossips(t.Context(), own, missed[1:], now, ages); err != nil {
		t.Fatal(err)
	}
	if g, _ := b.gossip(t, every); len(g.Lacks) != federation.MaxLacks {
		t.Errorf("it asks %d peers at once", len(g.Lacks))
	}
}

// BenchmarkGossipAtRest is the gossip of one site over an hour at rest, in which each link is
// measured: the bytes of one, and what so many sites that are all like it have carried to each other, in a second.
func BenchmarkGossipAtRest(b *testing.B) {
	const interval = 15 * time.Second
	for _, sites := range []int{10, 50, 200, 1000} {
		b.Run(fmt.Sprintf("sites=%d", sites), func(b *testing.B) {
			site := beat(b)
			site.meet(b, sites-1)
			for range 6 {
				site.measure(b, sites-1)
				site.gossip(b, every)
			}
			total, gossips, links := 0, 0, 0
			for b.Loop() {
				site.measure(b, sites-1)
				g, bytes := site.gossip(b, every)
				total, gossips, links = total+bytes, gossips+1, links+len(g.Links)
			}
			each := float64(total) / float64(gossips)
			b.ReportMetric(each, "B/gossip")
			b.ReportMetric(float64(links)/float64(gossips), "links/gossip")
			b.ReportMetric(each*float64(sites*(sites-1))/interval.Seconds(), "mesh-B/s")
		})
	}
}

// A hub of more sites than a gossip may name says that it passes on for as many as it may:
// its peers would refuse the whole gossip otherwise.
func TestAHubTellsOfNoMoreSitesThanAGossipMayName(t *testing.T) {
	t.Parallel()
	s, st := natstest.Start(t, "site-a"), storetest.Open(t)
	for i := range federation.MaxPassesFor + 1 {
		if err := st.SetPassed(t.Context(), federation.SiteID(fmt.Sprintf("leaf-%04d", i)), true, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	bus := natstest.Bus(t, s, "site-a", "heartbeat")
	heard := make(chan *nats.Msg, 16)
	if _, err := natstest.Bus(t, s, "site-a", "listener").Conn().ChanSubscribe(subject.Health("site-a"), heard); err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, bus, heartbeat.New(time.Second, true, nil, federation.Gate{MinSeverity: federation.High}, federation.Thresholds{Degraded: time.Minute, Down: time.Hour}, st, bus, time.Now))
	select {
	case msg := <-heard:
		var g federation.Gossip
		if err := json.Unmarshal(msg.Data, &g); err != nil {
			t.Fatal(err)
		}
		if err := g.Validate(); err != nil || len(g.PassesFor) != federation.MaxPassesFor || g.PassesFor[0] != "leaf-0000" {
			t.Errorf("it passes for %d, %v", len(g.PassesFor), err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no gossip came")
	}
}
