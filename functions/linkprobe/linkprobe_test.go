package linkprobe_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsio "github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/linkprobe"
	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

var ages = federation.Thresholds{Degraded: time.Hour, Down: 2 * time.Hour}

// probing runs the linkprobe of a site that knows one peer, and returns what it knows of the link.
func probing(t *testing.T, s *server.Server, own, peer federation.SiteID) (link func() federation.Link) {
	t.Helper()
	st := storetest.Open(t)
	gossip := federation.Gossip{Version: federation.GossipVersion, SiteID: peer, SiteName: "peer", Tier: federation.Secondary, SentAt: time.Now(), IntervalSeconds: 15}
	if _, err := st.RecordGossips(t.Context(), own, []federation.Gossip{gossip}, time.Now(), ages); err != nil {
		t.Fatal(err)
	}
	bus := natstest.Bus(t, s, own, "linkprobe")
	natstest.Run(t, bus, linkprobe.New(15*time.Second, ages, st, bus, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), time.Now))
	return func() federation.Link {
		links, err := st.Links(t.Context())
		if err != nil || len(links) != 1 {
			t.Fatalf("%d links: %v", len(links), err)
		}
		return links[0]
	}
}

// runs runs the linkprobe of a site until it is stopped.
func runs(t *testing.T, s *server.Server, st *store.Store, own federation.SiteID, figures prometheus.Registerer) (stop func()) {
	t.Helper()
	bus := natstest.Bus(t, s, own, "linkprobe")
	log := slog.New(slog.DiscardHandler)
	r, err := function.Start(linkprobe.New(15*time.Second, ages, st, bus, figures, log, time.Now), bus, function.NewMetrics(figures), log)
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := r.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	natstest.Eventually(t, "linkprobe is ready", func() bool { return r.NotReady(t.Context()) == nil })
	return stop
}

func TestAnEchoThatTheOwnServerForbidsSaysSo(t *testing.T) {
	t.Parallel()
	own := natstest.StartHub(t, nats.DevHub, func(o *server.Options) {
		for _, u := range o.Users {
			if u.Username == o.NoAuthUser {
				u.Permissions = &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{subject.Echo("site-b")}}}
			}
		}
	})
	link := probing(t, own, "site-a", "site-b")
	natstest.Eventually(t, "the link says that it is refused", func() bool {
		l := link()
		return l.Status == federation.LinkDegraded && l.Cause == federation.AuthRefused
	})
}

// A site that answers itself late says nothing of a peer that does not answer.
func TestASiteThatIsTooBusyMarksNoPeer(t *testing.T) {
	t.Parallel()
	s := hub(t, "")
	other := natstest.Bus(t, s, "site-a", "busy").Conn()
	own := make([]*natsio.Subscription, 500) // of its queue, so that nearly every echo to itself comes to one of these
	for i := range own {
		var err error
		if own[i], err = other.QueueSubscribe(subject.Echo("site-a"), "site-a_linkprobe", func(*natsio.Msg) {}); err != nil {
			t.Fatal(err)
		}
	}
	silent, err := other.SubscribeSync(subject.Echo("site-b"))
	if err != nil {
		t.Fatal(err)
	}
	link := probing(t, s, "site-a", "site-b")
	natstest.Eventually(t, "several echoes are lost", func() bool { n, _, err := silent.Pending(); return err == nil && n >= 4 })
	if l := link(); l.Status != federation.Healthy || len(l.Probe.Trips) > 0 {
		t.Errorf("the link is %s (%s), after %v", l.Status, l.Cause, l.Probe.Trips)
	}
	for _, sub := range own {
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, "the link is marked", func() bool { l := link(); return l.Status == federation.LinkDegraded && l.Cause == federation.EchoLost })
}

// A peer that has answered is asked again at once where it does not, and not only with the next tick.
func TestOneTickIsEnoughToFindAPeerSilent(t *testing.T) {
	t.Parallel()
	s, st := natstest.Start(t, "site-a"), storetest.Open(t)
	storetest.Knows(t, st, "site-a", "site-b", time.Now())
	link := federation.LinkID("site-a", "site-b")
	answered := func() {
		e := federation.Echo{At: time.Now(), Outcome: federation.Answered, PeerAt: time.Now()}
		if _, err := st.RecordEchoes(t.Context(), "site-a", map[string]federation.Echo{link: e}, time.Now(), ages); err != nil {
			t.Fatal(err)
		}
	}
	answered()
	bus := natstest.Bus(t, s, "site-a", "test")
	first := make(chan struct{})
	once := sync.OnceFunc(func() { close(first) })
	echoes(t, s, "site-b", func(*natsio.Msg) { once() })
	runs(t, s, st, "site-a", prometheus.NewRegistry())
	<-first
	purgeTicks(t, bus)
	last := time.Now()
	natstest.Within(t, 2*time.Minute, "the link is marked", func() bool {
		if time.Since(last) > 10*time.Second { // the site was too busy to judge: once more
			answered()
			if _, err := bus.JetStream().Publish(t.Context(), subject.Tick("site-a", "linkprobe", "probe"), nil); err != nil {
				t.Fatal(err)
			}
			last = time.Now()
		}
		links, err := st.Links(t.Context())
		if err != nil || len(links) != 1 {
			t.Fatalf("%d links: %v", len(links), err)
		}
		return links[0].Status == federation.LinkDegraded && links[0].Cause == federation.EchoLost
	})
}

// hub runs the server of site-a, which wants a password of its leaves where one is given.
func hub(t *testing.T, password string) *server.Server {
	t.Helper()
	return natstest.StartHub(t, nats.DevHub, func(o *server.Options) {
		if password != "" {
			o.LeafNode.Username, o.LeafNode.Password = "leaf", password
		}
	})
}

// leaf runs the server of site-b, which goes to the hub.
func leaf(t *testing.T, hub *server.Server, password string) *server.Server {
	t.Helper()
	return leafOf(t, "site-b", hub, password)
}

// leafOf is leaf for any site.
func leafOf(t *testing.T, site federation.SiteID, hub *server.Server, password string) *server.Server {
	t.Helper()
	return natstest.StartLeaf(t, nats.DevLeaf, hub, func(o *server.Options) {
		o.ServerName, o.JetStreamDomain = string(site), subject.Domain(site)
		if password != "" {
			o.LeafNode.Remotes[0].URLs[0].User = url.UserPassword("leaf", password)
		}
	})
}

func TestWhatTheServerTellsOfALeafnodeMarksAndHealsTheLinkWithoutATick(t *testing.T) {
	t.Parallel()
	hub := hub(t, "")
	vars, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	line := natstest.Line(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(vars.LeafNode.Port)))
	b := natstest.StartLeaf(t, nats.DevLeaf, hub, func(o *server.Options) { o.LeafNode.Remotes[0].URLs[0].Host = line.Addr() })
	link := probing(t, hub, "site-a", "site-b")
	probing(t, b, "site-b", "site-a")
	answered := func() bool { return link().Probe.State == federation.Answered }
	natstest.Eventually(t, "the peer answers", answered)
	purgeTicks(t, natstest.Bus(t, hub, "site-a", "test"))

	set := func(m linkproxy.Mode, leaves int) {
		t.Helper()
		line.Set(m)
		natstest.Eventually(t, "the hub has noticed", func() bool { return hub.NumLeafNodes() == leaves })
	}
	// What the server tells is followed by a few looks, all of which a busy machine may
	// lose. So where nothing has come of it the line turns once more, and it is told again.
	until := func(what string, turn func(), ok func() bool) {
		t.Helper()
		turn()
		last := time.Now()
		natstest.Within(t, 2*time.Minute, what, func() bool {
			if time.Since(last) > 5*time.Second {
				turn()
				last = time.Now()
			}
			return ok()
		})
	}
	until("the link is down", func() { set(linkproxy.Pass, 1); set(linkproxy.Cut, 0) }, func() bool {
		l := link()
		return l.Status == federation.Down && l.Cause == federation.TransportDisconnected
	})
	until("the link is healthy", func() { set(linkproxy.Cut, 0); set(linkproxy.Pass, 1) }, func() bool {
		return answered() && link().Status == federation.Healthy
	})
}

func TestALinkWhoseLeafnodeIsRefusedSaysSoUntilItIsLetIn(t *testing.T) {
	t.Parallel()
	hub := hub(t, "right")
	link := probing(t, hub, "site-a", "site-b")
	is := func(s federation.LinkStatus, c federation.Cause) func() bool {
		return func() bool { l := link(); return l.Status == s && l.Cause == c }
	}
	natstest.Eventually(t, "a peer that is not there is just not there", is(federation.Down, federation.TransportDisconnected))

	wrong := leaf(t, hub, "wrong")
	natstest.Eventually(t, "the refusal is the cause", is(federation.Down, federation.AuthRefused))
	seen := link().Probe.At
	natstest.Eventually(t, "the echoes of every second do not take it back", func() bool { return link().Probe.At.After(seen.Add(3 * time.Second)) })
	if !is(federation.Down, federation.AuthRefused)() {
		t.Errorf("it is %s", link().Cause)
	}
	wrong.Shutdown()
	wrong.WaitForShutdown()

	probing(t, leaf(t, hub, "right"), "site-b", "site-a")
	natstest.Eventually(t, "the link is healthy", is(federation.Healthy, ""))

	leaf(t, hub, "wrong") // under the name of the one that is in
	seen = link().Probe.At
	natstest.Eventually(t, "echoes go on", func() bool { return link().Probe.At.After(seen.Add(2 * time.Second)) })
	if !is(federation.Healthy, "")() {
		t.Errorf("a wrong password of somebody else marked the link as %s", link().Cause)
	}
}

// noticing is a site whose peers were not there at first. It has no ticks, and looks where it is told of a leafnode.
type noticing struct {
	server  *server.Server
	store   *store.Store
	bus     *function.Bus
	figures *prometheus.Registry
	stop    func()
}

func notices(t *testing.T, peers ...federation.SiteID) noticing {
	t.Helper()
	s, figures := natstest.Start(t, "site-a"), prometheus.NewRegistry()
	n := noticing{server: s, store: storetest.Open(t), bus: natstest.Bus(t, s, "site-a", "test"), figures: figures}
	for _, peer := range peers {
		storetest.Knows(t, n.store, "site-a", peer, time.Now())
	}
	n.stop = runs(t, s, n.store, "site-a", figures)
	for _, peer := range peers {
		n.eventually(t, peer, federation.Disconnected)
	}
	purgeTicks(t, n.bus)
	return n
}

func (n noticing) eventually(t *testing.T, peer federation.SiteID, is federation.EchoOutcome) {
	t.Helper()
	natstest.Eventually(t, string(peer)+" is "+string(is), func() bool {
		links, err := n.store.LinksTo(t.Context(), "site-a", []federation.SiteID{peer})
		if err != nil || len(links) != 1 {
			t.Fatalf("%d links to %s: %v", len(links), peer, err)
		}
		return links[0].Probe.State == is
	})
}

// tell is what the server tells of a connection.
func (n noticing) tell(t *testing.T, subj, kind, name string) {
	t.Helper()
	if err := n.bus.Conn().Publish(subj, fmt.Appendf(nil, `{"client":{"kind":%q,"name":%q}}`, kind, name)); err != nil {
		t.Fatal(err)
	}
}

// purgeTicks removes the ticks of site-a, and with them their schedule.
func purgeTicks(t *testing.T, bus *function.Bus) {
	t.Helper()
	ticks, err := bus.JetStream().Stream(t.Context(), subject.TickStream("site-a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ticks.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// echoes has the echoes to a site come to answer.
func echoes(t *testing.T, s *server.Server, site federation.SiteID, answer natsio.MsgHandler) {
	t.Helper()
	nc := natstest.Bus(t, s, site, "peer").Conn()
	if _, err := nc.Subscribe(subject.Echo(site), answer); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// answered answers an echo.
func answered(t *testing.T) natsio.MsgHandler {
	return func(msg *natsio.Msg) {
		if err := msg.Respond([]byte(`{"at":"2026-01-31T12:00:00Z"}`)); err != nil {
			t.Error(err)
		}
	}
}

// When a hub comes back each leafnode has a notice, and a site that stays away is looked at
// for each for half a second. What waits behind them waits for one of them, not for all.
func TestACrowdOfNoticesIsFollowedTogether(t *testing.T) {
	t.Parallel()
	n := notices(t, "site-b")
	for range 1000 {
		n.tell(t, subject.Connected, "Leafnode", "relay-1")
	}
	n.tell(t, subject.Connected, "Client", "the last")
	natstest.Eventually(t, "the last is handled", func() bool {
		all, err := n.figures.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range all {
			if family.GetName() == "aurora_function_messages_refused_total" {
				return true
			}
		}
		return false
	})
}

// What is cut short is looked at again with the echoes of every second, by another replica.
func TestAStopCutsShortWhatIsFollowed(t *testing.T) {
	t.Parallel()
	n := notices(t, "site-b")
	begun := make(chan struct{}, 10_000)
	echoes(t, n.server, "site-b", func(*natsio.Msg) { begun <- struct{}{} })
	for range 1000 {
		n.tell(t, subject.Connected, "Leafnode", "relay-1")
		n.tell(t, subject.RefusedSite("site-b"), "Leafnode", "site-b")
	}
	<-begun
	n.stop()
}

// At a hub each leafnode is one site, and its notice says nothing of the others.
func TestANoticeThatNamesASiteHasNoOtherLookedAt(t *testing.T) {
	t.Parallel()
	n := notices(t, "site-b", "site-c")
	var asked atomic.Int64
	echoes(t, n.server, "site-b", func(*natsio.Msg) { asked.Add(1) })
	echoes(t, n.server, "site-c", answered(t))
	n.tell(t, subject.Connected, "Leafnode", "site-c")
	n.eventually(t, "site-c", federation.Answered)
	if n := asked.Load(); n > 1 { // one may have been under way
		t.Errorf("%d echoes went to another site", n)
	}
}

// The site behind the hub has no leafnode of the other to be refused, so the hub tells
// it: who was refused, and nothing else of it.
func TestASiteBehindTheHubIsToldWhomThatRefuses(t *testing.T) {
	t.Parallel()
	hub := hub(t, "right")
	c := leafOf(t, "site-c", hub, "right")
	probing(t, hub, "site-a", "site-b")
	link := probing(t, c, "site-c", "site-b")
	told, err := natstest.Bus(t, c, "site-c", "test").Conn().SubscribeSync(subject.AllRefused)
	if err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "a peer that is not there is just not there", func() bool { return link().Cause == federation.TransportDisconnected })
	leaf(t, hub, "wrong")
	natstest.Eventually(t, "the refusal is the cause", func() bool { l := link(); return l.Status == federation.Down && l.Cause == federation.AuthRefused })
	m, err := told.NextMsg(30 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"client":{"kind":"Leafnode","name":"site-b"}}`; m.Subject != subject.RefusedSite("site-b") || string(m.Data) != want {
		t.Errorf("site-c is told %s at %s, want %s", m.Data, m.Subject, want)
	}
}

// Nothing crosses the link of two sites whose alerts the hub passes on, so it is looked at
// seldom; the others each second.
func TestALinkThatCarriesNoAlertsIsProbedSeldom(t *testing.T) {
	t.Parallel()
	const own, relayed, oneWay, direct federation.SiteID = "site-b", "site-c", "site-d", "site-a"
	st := storetest.Open(t)
	for _, peer := range []federation.SiteID{relayed, oneWay, direct} {
		g := federation.Gossip{Version: federation.GossipVersion, SiteID: peer, SiteName: "peer", Tier: federation.Secondary, SentAt: time.Now(), IntervalSeconds: 15,
			Links: []federation.LinkView{{Peer: own, Status: federation.Healthy, At: time.Now(), Relayed: peer != direct}}}
		if _, err := st.RecordGossips(t.Context(), own, []federation.Gossip{g}, time.Now(), ages); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []store.RelayedPeer{{Peer: relayed, Since: time.Now()}, {Peer: oneWay, Since: time.Now(), Direct: true}} {
		if err := st.BeginRelayed(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	bus := natstest.Bus(t, natstest.Start(t, own), own, "linkprobe")
	natstest.Run(t, bus, linkprobe.New(24*time.Hour, ages, st, bus, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), time.Now))
	echoes := map[federation.SiteID]int{}
	natstest.Within(t, 30*time.Second, "the others have had three echoes", func() bool {
		links, err := st.Links(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			echoes[l.Peer(own)] = len(l.Probe.Trips)
		}
		return echoes[oneWay] >= 3 && echoes[direct] >= 3
	})
	if echoes[relayed] != 1 {
		t.Errorf("the peers have had the echoes %v, want 1 to %s", echoes, relayed)
	}

	// Where no peer is relayed any more, each has an echo a second, and says so.
	for _, peer := range []federation.SiteID{relayed, oneWay} {
		if err := st.EndRelayed(t.Context(), peer); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Within(t, 30*time.Second, "all have their echoes each second", func() bool {
		links, err := st.Links(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if len(l.Probe.Trips) < 3 || l.Probe.EverySeconds != 0 {
				return false
			}
		}
		return true
	})
}

// A crowd is more peers than a site can probe each second.
func TestOfACrowdEachPeerIsProbedInItsTurn(t *testing.T) {
	t.Parallel()
	const crowd = 2100
	s := natstest.Start(t, "site-a")
	st := storetest.Open(t)
	storetest.KnowsMany(t, st, "site-a", crowd, time.Now())
	answers := natstest.Bus(t, s, "site-a", "peers").Conn()
	if _, err := answers.Subscribe(subject.Echo("*"), func(msg *natsio.Msg) {
		if err := msg.Respond([]byte(`{"at":"2026-01-31T12:00:00Z"}`)); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	bus := natstest.Bus(t, s, "site-a", "linkprobe")
	natstest.Run(t, bus, linkprobe.New(15*time.Second, ages, st, bus, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), time.Now))
	natstest.Within(t, 2*time.Minute, "every peer was probed, and is to be every two seconds", func() bool {
		links, err := st.Links(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(links, func(l federation.Link) bool {
			return l.Probe.State != federation.Answered || l.Probe.EverySeconds != 2
		})
	})
}

// More peers than can be waited for within a round.
func TestACrowdThatIsSilentIsFoundOut(t *testing.T) {
	t.Parallel()
	const crowd = 1100
	s := natstest.Start(t, "site-a")
	st := storetest.Open(t)
	storetest.KnowsMany(t, st, "site-a", crowd, time.Now())
	silent := natstest.Bus(t, s, "site-a", "peers").Conn()
	if _, err := silent.Subscribe(subject.Echo("*"), func(*natsio.Msg) {}); err != nil {
		t.Fatal(err)
	}
	bus := natstest.Bus(t, s, "site-a", "linkprobe")
	natstest.Run(t, bus, linkprobe.New(15*time.Second, ages, st, bus, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), time.Now))
	natstest.Within(t, 2*time.Minute, "an echo was lost over every link", func() bool {
		links, err := st.Links(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(links, func(l federation.Link) bool { return len(l.Probe.Trips) == 0 })
	})
}
