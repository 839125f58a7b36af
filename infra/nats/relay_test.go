package nats_test

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// relay runs a relay on the shipped file, with the name, routes and gateways given.
func relay(t *testing.T, a *authority.Authority, s nats.Server, peers []nats.Peer) (*server.Server, string) {
	t.Helper()
	issued, err := a.RelayPair(s.Name, nil, time.Now(), day)
	if err != nil {
		t.Fatal(err)
	}
	p, dir := keep(t, issued), t.TempDir()
	s.ClientListen, s.LeafnodeListen, s.ClusterListen = "127.0.0.1:-1", "127.0.0.1:-1", "127.0.0.1:-1"
	s.CAFile, s.CertFile, s.KeyFile, s.SystemNkey = filepath.Join(a.Dir(), authority.CertFile), p.cert, p.key, newKey(t)
	write(t, filepath.Join(dir, nats.RelayFile), nats.Relay)
	write(t, filepath.Join(dir, nats.SiteFile), s.Conf())
	write(t, filepath.Join(dir, nats.AccessFile), nats.Access{Peers: peers}.Conf())
	o, err := server.ProcessConfigFile(filepath.Join(dir, nats.RelayFile))
	if err != nil {
		t.Fatal(err)
	}
	started := natstest.StartPlain(t, o)
	vars, err := started.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return started, net.JoinHostPort("127.0.0.1", strconv.Itoa(vars.LeafNode.Port))
}

// hubless is an authority with sites enrolled, whose hub is a relay.
func hubless(t *testing.T, sites ...federation.SiteID) (realm, map[federation.SiteID]pair) {
	t.Helper()
	a, err := authority.Create(t.TempDir(), "site-a", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	r, pairs := realm{Authority: a, ca: filepath.Join(a.Dir(), authority.CertFile)}, map[federation.SiteID]pair{}
	for _, s := range sites {
		issued, err := a.Enrol(s, nil, time.Now(), day)
		if err != nil {
			t.Fatal(err)
		}
		pairs[s] = keep(t, issued)
	}
	return r, pairs
}

// Two relays between three sites: whichever a site is at, it meets the others, and when
// one relay dies its sites are at the other moments later, with nothing lost.
func TestTheLossOfARelayIsSurvived(t *testing.T) {
	r, pairs := hubless(t, "site-b", "site-c")
	a := r.Authority
	one, oneAt := relay(t, a, nats.Server{Name: "relay-1"}, r.peers())
	two, twoAt := relay(t, a, nats.Server{Name: "relay-2", Routes: []string{one.ClusterAddr().String()}}, r.peers())
	natstest.Within(t, 30*time.Second, "the relays are a cluster", func() bool { return one.NumRoutes() > 0 && two.NumRoutes() > 0 })

	// Each begins at another relay.
	b := r.start(t, nats.LeafFile, nats.Leaf, nats.Server{Site: "site-b", Hubs: []string{oneAt}}, pairs["site-b"], nil)
	natstest.Within(t, 30*time.Second, "site-b is at the first", func() bool { return one.NumLeafNodes() == 1 })
	c := r.start(t, nats.LeafFile, nats.Leaf, nats.Server{Site: "site-c", Hubs: []string{twoAt, oneAt}}, pairs["site-c"], nil)
	natstest.Within(t, 30*time.Second, "site-c is at one of them", func() bool { return one.NumLeafNodes()+two.NumLeafNodes() == 2 })

	// Whom either relay refuses both sites are told, so that they know why it is away.
	told := map[federation.SiteID]*natsgo.Subscription{}
	for _, n := range []node{b, c} {
		sub, err := n.nc.SubscribeSync(subject.AllRefused)
		if err != nil {
			t.Fatal(err)
		}
		told[n.site] = sub
	}
	for at, leafnodes := range map[string]string{"site-x": oneAt, "site-y": twoAt} {
		r.start(t, nats.LeafFile, nats.Leaf, nats.Server{Site: federation.SiteID(at), Hubs: []string{leafnodes}}, stranger(t, a, federation.SiteID(at)), nil)
		for who, sub := range told {
			natstest.Within(t, 30*time.Second, string(who)+" is told that "+at+" is refused", func() bool {
				m, err := sub.NextMsg(20 * time.Millisecond)
				return err == nil && strings.Contains(string(m.Data), `"name":"`+at+`"`)
			})
		}
	}

	s := alerts(t, b.end, "site-c")
	answer(t, b.end, subject.Echo("site-b"), "site-b")
	exchange := func() {
		t.Helper()
		natstest.Within(t, 30*time.Second, "an echo comes back", func() bool {
			m, err := c.nc.Request(subject.Echo("site-b"), nil, time.Second)
			return err == nil && string(m.Data) == "site-b"
		})
	}
	exchange()
	if err := confirm(c.end, "site-b", pull(t, b.end, c.end, "site-c")); err != nil {
		t.Error(err)
	}
	two.Shutdown()
	two.WaitForShutdown()
	natstest.Within(t, 30*time.Second, "both are at the one that is left", func() bool { return one.NumLeafNodes() == 2 })
	exchange()
	alert(t, b.end)
	if err := confirm(c.end, "site-b", pull(t, b.end, c.end, "site-c")); err != nil {
		t.Error(err)
	}
	if n := pending(t, s, "site-c"); n != 0 {
		t.Errorf("site-b waits for %d acknowledgements", n)
	}
}

// stranger is a certificate of a site that is let in nowhere.
func stranger(t *testing.T, a *authority.Authority, site federation.SiteID) pair {
	t.Helper()
	issued, err := a.Enrol(site, nil, time.Now(), day)
	if err != nil {
		t.Fatal(err)
	}
	return keep(t, issued)
}

// Whoever is in the cluster of the relays is told everything, so a site must not be.
func TestASiteIsNoRelay(t *testing.T) {
	r, pairs := newRealm(t, "site-c")
	one, _ := relay(t, r.Authority, nats.Server{Name: "relay-1"}, r.peers())
	o := &server.Options{ServerName: "relay-2", Host: "127.0.0.1", Port: -1}
	o.Cluster.Name, o.Cluster.Host, o.Cluster.Port = "auroramesh", "127.0.0.1", -1
	o.Cluster.TLSConfig = r.config(t, pairs["site-c"])
	o.Routes = server.RoutesFromStr("tls://" + one.ClusterAddr().String())
	natstest.StartPlain(t, o)
	log := &lines{}
	one.SetLoggerV2(log, false, false, false)
	natstest.Within(t, 30*time.Second, "it is refused", func() bool { return log.has("authentication error") || log.has("Authorization") })
	if n := one.NumRoutes(); n != 0 {
		t.Errorf("there are %d routes", n)
	}
}
