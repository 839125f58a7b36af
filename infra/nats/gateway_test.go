package nats_test

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// regions are two relays on the shipped file, of one region each, with a gateway between
// them, and the lines to both ends of it.
type regions struct {
	realm
	pairs            map[federation.SiteID]pair
	north, south     *server.Server
	northAt, southAt string // where they take sites
	lines            []*linkproxy.Proxy
}

func newRegions(t *testing.T, sites ...federation.SiteID) regions {
	t.Helper()
	r := regions{}
	r.realm, r.pairs = hubless(t, sites...)
	region := func(name string, others ...nats.Gateway) (*server.Server, string, string) {
		listen := free(t)
		p := natstest.Line(t, listen)
		r.lines = append(r.lines, p)
		s, at := relay(t, r.Authority, nats.Server{Name: name + "-1", Region: name, GatewayListen: listen, GatewayAdvertise: p.Addr(), Gateways: others}, r.peers())
		return s, at, p.Addr()
	}
	var at string
	r.north, r.northAt, at = region("north")
	r.south, r.southAt, _ = region("south", nats.Gateway{Region: "north", Hosts: []string{at}})
	r.joined(t)
	return r
}

// free is an address at which nobody listens.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// joined waits until the gateway goes both ways.
func (r regions) joined(t *testing.T) {
	t.Helper()
	natstest.Within(t, 60*time.Second, "the regions are joined", func() bool {
		return r.north.NumOutboundGateways() == 1 && r.south.NumOutboundGateways() == 1
	})
}

// cut cuts the gateway, and waits until both sides know it.
func (r regions) cut(t *testing.T) {
	t.Helper()
	for _, p := range r.lines {
		p.Set(linkproxy.Cut)
	}
	natstest.Within(t, 60*time.Second, "the gateway is cut", func() bool {
		return r.north.NumOutboundGateways() == 0 && r.south.NumOutboundGateways() == 0
	})
}

func (r regions) heal(t *testing.T) {
	t.Helper()
	for _, p := range r.lines {
		p.Set(linkproxy.Pass)
	}
	r.joined(t)
}

// site runs the server of a site that goes to a relay.
func (r regions) site(t *testing.T, id federation.SiteID, hub string) node {
	t.Helper()
	n := r.start(t, nats.LeafFile, nats.Leaf, nats.Server{Site: id, Hubs: []string{hub}}, r.pairs[id], nil)
	natstest.Within(t, 30*time.Second, string(id)+" has joined", func() bool { return n.server.NumLeafNodes() == 1 })
	return n
}

// asked asks a site for an echo until it is answered, or ends in an error that is wanted.
func asked(t *testing.T, from end, to federation.SiteID, want error) {
	t.Helper()
	what := "answers"
	if want != nil {
		what = "ends in " + want.Error()
	}
	natstest.Within(t, 60*time.Second, "the echo of "+string(to)+" "+what, func() bool {
		_, err := from.nc.Request(subject.Echo(to), nil, time.Second)
		return errors.Is(err, want)
	})
}

// Whom the relay of one region refuses the sites of the other are told too.
func TestWhomARelayRefusesIsToldInTheOtherRegion(t *testing.T) {
	t.Parallel()
	r := newRegions(t, "site-b")
	b := r.site(t, "site-b", r.northAt)
	told, err := b.nc.SubscribeSync(subject.AllRefused)
	if err != nil {
		t.Fatal(err)
	}
	r.start(t, nats.LeafFile, nats.Leaf, nats.Server{Site: "site-x", Hubs: []string{r.southAt}}, stranger(t, r.Authority, "site-x"), nil)
	natstest.Within(t, 30*time.Second, "site-b is told that site-x is refused", func() bool {
		m, err := told.NextMsg(20 * time.Millisecond)
		return err == nil && strings.Contains(string(m.Data), `"name":"site-x"`)
	})
}

// Whoever comes in by a gateway is told everything, so a site must not.
func TestASiteIsNoRegion(t *testing.T) {
	t.Parallel()
	r := newRegions(t, "site-b")
	o := &server.Options{ServerName: "east-1"}
	o.Gateway.Name, o.Gateway.Host, o.Gateway.Port = "east", "127.0.0.1", -1
	o.Gateway.TLSConfig, o.Gateway.TLSTimeout = r.config(t, r.pairs["site-b"]), 5
	o.Gateway.Gateways = []*server.RemoteGatewayOpts{{Name: "north", TLSConfig: o.Gateway.TLSConfig, TLSTimeout: 5, URLs: server.RoutesFromStr("tls://" + r.lines[0].Addr())}}
	log := &lines{}
	r.north.SetLoggerV2(log, false, false, false)
	natstest.StartPlain(t, o)
	natstest.Within(t, 30*time.Second, "it is refused", func() bool { return log.has("authentication error") || log.has("Authorization") })
	z, err := r.north.Gatewayz(&server.GatewayzOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(z.InboundGateways["east"])+len(z.OutboundGateways)-1 != 0 {
		t.Errorf("there are gateways from %v and to %v", z.InboundGateways, z.OutboundGateways)
	}
}

// What a server does not do: where a gateway is cut it leaves the sites believing that the
// other region listens. So a request across it goes unanswered, where a leafnode that is cut
// would have it end at once, and a link is down only when the heartbeat is late. It forgets
// no better once the gateway is back, until the site's own leafnode connects anew.
func TestWhereAGatewayIsCutARequestIsLeftWaiting(t *testing.T) {
	t.Parallel()
	r := newRegions(t, "site-b", "site-c")
	b, c := r.site(t, "site-b", r.northAt), r.site(t, "site-c", r.southAt)
	answer(t, c.end, subject.Echo("site-c"), "site-c")
	asked(t, b.end, "site-c", nil)
	r.cut(t)
	asked(t, b.end, "site-c", natsgo.ErrTimeout)
	r.heal(t)
	asked(t, b.end, "site-c", nil)
	c.server.Shutdown()
	natstest.Within(t, 30*time.Second, "site-c has left", func() bool { return r.south.NumLeafNodes() == 0 })
	asked(t, b.end, "site-c", natsgo.ErrTimeout)
	b.server.Shutdown()
	asked(t, r.site(t, "site-b", r.northAt).end, "site-c", natsgo.ErrNoResponders)
}

// Without a cut before, a site of the other region that is gone is gone at once.
func TestASiteThatLeavesTheOtherRegionIsMissedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRegions(t, "site-b", "site-c")
	b, c := r.site(t, "site-b", r.northAt), r.site(t, "site-c", r.southAt)
	answer(t, c.end, subject.Echo("site-c"), "site-c")
	asked(t, b.end, "site-c", nil)
	c.server.Shutdown()
	asked(t, b.end, "site-c", natsgo.ErrNoResponders)
}

// Why what stands between the regions keeps no streams: servers with JetStream at the ends of a gateway
// are one JetStream, whatever domains they have, that changes streams and consumers by a
// majority of all its servers. Of two regions of one server each none has it when the gateway is cut.
func TestServersThatKeepStreamsAreOneJetStreamAcrossAGateway(t *testing.T) {
	t.Parallel()
	at := map[string]string{"north": free(t), "south": free(t)}
	var lines []*linkproxy.Proxy
	var remotes []*server.RemoteGatewayOpts
	for region, listen := range at {
		p := natstest.Line(t, listen)
		lines = append(lines, p)
		remotes = append(remotes, &server.RemoteGatewayOpts{Name: region, URLs: server.RoutesFromStr("nats://" + p.Addr())})
	}
	var servers []*server.Server
	for region, listen := range at {
		o, route, gateway := options(t, nats.DevHub), address(t, free(t)), address(t, listen)
		o.ServerName, o.JetStreamDomain, o.Port, o.StoreDir, o.LeafNode.Port = region+"-1", region, server.RANDOM_PORT, t.TempDir(), server.RANDOM_PORT
		o.Cluster.Name, o.Cluster.Host, o.Cluster.Port = region, "127.0.0.1", route.Port
		o.Routes = server.RoutesFromStr("nats://" + route.String()) // without one no JetStream starts beside a gateway
		o.Gateway.Name, o.Gateway.Host, o.Gateway.Port, o.Gateway.Gateways = region, "127.0.0.1", gateway.Port, remotes
		o.Gateway.Advertise = remotes[slices.IndexFunc(remotes, func(r *server.RemoteGatewayOpts) bool { return r.Name == region })].URLs[0].Host
		o.NoSigs, o.NoLog = true, true
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start() // and is ready with the other alone
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	leaders := func() (found int) {
		for _, s := range servers {
			z, err := s.Jsz(&server.JSzOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if z.Meta != nil && z.Meta.Size == len(servers) && z.Meta.Leader != "" {
				found++
			}
		}
		return found
	}
	natstest.Within(t, 60*time.Second, "one of two leads", func() bool { return leaders() > 0 })
	for _, p := range lines {
		p.Set(linkproxy.Cut)
	}
	natstest.Within(t, 60*time.Second, "none leads", func() bool { return leaders() == 0 })
}

// One server by itself does not even that.
func TestAServerAloneStartsNoJetStreamBesideAGateway(t *testing.T) {
	t.Parallel()
	o := options(t, nats.DevHub)
	o.Port, o.LeafNode.Port, o.StoreDir, o.NoSigs = server.RANDOM_PORT, server.RANDOM_PORT, t.TempDir(), true
	o.Gateway.Name, o.Gateway.Host, o.Gateway.Port = "north", "127.0.0.1", -1
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	natstest.Within(t, 60*time.Second, "it says so", func() bool { return log.has("Can't start JetStream") })
}

func address(t *testing.T, at string) *net.TCPAddr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
