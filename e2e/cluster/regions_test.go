//go:build linux

package cluster_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/enrol"
	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// regions is a mesh of two regions on the directories that `auroramesh site` makes: two relays
// in the north and one in the south, a gateway between them, two sites at each.
type regions struct {
	relays   map[string]*server.Server
	gateways []*linkproxy.Proxy // the lines to the gateway of each relay
	sites    map[federation.SiteID]*apiclient.Client
}

var (
	north = []federation.SiteID{"site-a", "site-b"} // site-a is the primary
	south = []federation.SiteID{"site-c", "site-d"}
)

// newRegions starts relays and sites, with settings of the sites beside those of the test.
func newRegions(t *testing.T, env map[string]string) *regions {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sites")
	place := enrol.Place{ClientListen: local(0), LeafnodeListen: local(0), HTTPListen: local(0), Days: 1}
	if _, err := enrol.Init(dir, north[0], place, time.Now()); err != nil {
		t.Fatal(err)
	}
	a, err := authority.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &regions{relays: map[string]*server.Server{}, sites: map[federation.SiteID]*apiclient.Client{}}
	relays := []struct{ name, region string }{{"north-1", "north"}, {"north-2", "north"}, {"south-1", "south"}}
	ports := freePorts(t, 3*len(relays))
	leaf, route, gateway := ports[:3], ports[3:6], ports[6:]
	var lines []string
	for i := range relays {
		p := natstest.Line(t, local(gateway[i]))
		r.gateways, lines = append(r.gateways, p), append(lines, p.Addr())
	}
	for i, relay := range relays {
		p := place
		p.LeafnodeListen, p.ClusterListen, p.Region, p.GatewayListen = local(leaf[i]), local(route[i]), relay.region, local(gateway[i])
		if relay.region == "north" {
			p.Routes = []string{local(route[0]), local(route[1])}
		} else { // the north learns of the south when that connects
			p.Gateways = []nats.Gateway{{Region: "north", Hosts: lines[:2]}}
		}
		dir, err := enrol.Relay(a, relay.name, p, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		// A gateway is found by the line to it.
		edit(t, filepath.Join(dir, nats.SiteFile), `AURORA_GATEWAY_ADVERTISE: "`+local(gateway[i]), `AURORA_GATEWAY_ADVERTISE: "`+lines[i])
	}
	dirs := map[federation.SiteID]string{}
	for region, ids := range map[string][]federation.SiteID{"north": north, "south": south} {
		for _, id := range ids {
			p := place
			p.Region = region
			if dirs[id], err = enrol.Enrol(a, id, p, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}

	for _, relay := range relays {
		r.relays[relay.name] = natstest.StartPlain(t, options(t, filepath.Join(dir, relay.name, nats.RelayFile)))
	}
	r.joined(t)
	for id, dir := range dirs {
		own := maps.Clone(env)
		maps.Copy(own, variables(t, filepath.Join(dir, "site.env")))
		own["NATS_URL"] = natstest.StartOptions(t, options(t, filepath.Join(dir, nats.LeafFile))).ClientURL()
		r.sites[id] = start(t, id, own)
	}
	return r
}

// options are those of a configuration file.
func options(t *testing.T, path string) *server.Options {
	t.Helper()
	o, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// edit puts one text in a file in place of another.
func edit(t *testing.T, path, from, to string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		t.Fatalf("%s has no %q:\n%s", path, from, text)
	}
	if err := authority.Write(path, []byte(strings.ReplaceAll(string(text), from, to)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// variables are those of a site.env.
func variables(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			env[name] = value
		}
	}
	return env
}

// joined waits until every relay has a connection to the gateway of the other region.
func (r *regions) joined(t *testing.T) {
	t.Helper()
	natstest.Within(t, patience, "the regions are joined", func() bool {
		for _, relay := range r.relays {
			if relay.NumOutboundGateways() != 1 {
				return false
			}
		}
		return true
	})
}

// line puts all lines between the regions into a mode.
func (r *regions) line(m linkproxy.Mode) {
	for _, p := range r.gateways {
		p.Set(m)
	}
}

// link is how a site sees its link with another, nil while it sees none.
func (r *regions) link(t *testing.T, at, peer federation.SiteID) *federation.Link {
	t.Helper()
	top, err := r.sites[at].Topology(t.Context())
	if err != nil {
		return nil
	}
	i := slices.IndexFunc(top.Links, func(l federation.Link) bool { return l.Peer(at) == peer })
	if i < 0 {
		return nil
	}
	return &top.Links[i]
}

// healthy waits until every site sees its links with all others healthy.
func (r *regions) healthy(t *testing.T) {
	t.Helper()
	for at := range r.sites {
		for peer := range r.sites {
			if at == peer {
				continue
			}
			natstest.Within(t, patience, string(at)+" sees its link with "+string(peer)+" healthy", func() bool {
				l := r.link(t, at, peer)
				return l != nil && l.Status == federation.Healthy
			})
		}
	}
}

// total is how many alerts of a source a site has.
func (r *regions) total(t *testing.T, at federation.SiteID, source string) (n int) {
	t.Helper()
	natstest.Within(t, patience, string(at)+" counts its alerts", func() bool {
		page, err := r.sites[at].Alerts(t.Context(), ask.AlertFilter{Page: ask.Page{Limit: 1}, Source: source})
		n = page.Total
		return err == nil
	})
	return n
}

// Two regions of two sites each, and alerts all the time. The gateway between them is cut, or
// says nothing: each region goes on by itself, every site sees that the other region is
// away, and once the gateway is back every alert is at every site, once, without a comparison.
func TestRegionsOutliveTheLossOfTheirGateway(t *testing.T) {
	for name, c := range map[string]struct {
		exchange string
		lost     linkproxy.Mode
	}{
		"each pulls from each, and it is cut":          {"direct", linkproxy.Cut},
		"the hub passes on, and nothing comes through": {"hub", linkproxy.BlackHole},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegions(t, map[string]string{"FEDERATION_EXCHANGE": c.exchange, "FEDERATION_DEGRADED_AFTER_SECONDS": "4", "FEDERATION_DOWN_AFTER_SECONDS": "8"})
			r.healthy(t)
			for name, relay := range r.relays {
				if mode := interest(t, relay); mode != "Interest-Only" {
					t.Errorf("%s has a gateway in the mode %q", name, mode)
				}
			}
			if c.exchange == "hub" {
				r.passed(t, "site-b", "site-c")
				r.passed(t, "site-c", "site-d")
			}
			b, c2 := raise(t, r.sites["site-b"], "of site-b"), raise(t, r.sites["site-c"], "of site-c")
			b.more(t, 30)
			c2.more(t, 30)

			r.line(c.lost)
			for _, at := range north {
				for _, peer := range south {
					for _, way := range [][2]federation.SiteID{{at, peer}, {peer, at}} {
						natstest.Within(t, patience, string(way[0])+" sees that "+string(way[1])+" is away", func() bool {
							l := r.link(t, way[0], way[1])
							return l != nil && l.Status == federation.Down
						})
					}
				}
			}
			had := r.total(t, "site-d", "federation:site-b")
			r.goesOn(t, "site-b", "site-a")
			r.goesOn(t, "site-c", "site-d") // in the region without a hub too
			if n := r.total(t, "site-d", "federation:site-b"); n != had {
				t.Errorf("site-d had %d alerts of the other region, and has %d", had, n)
			}

			r.line(linkproxy.Pass)
			r.joined(t)
			r.healthy(t)
			b.more(t, 30)
			c2.more(t, 30)
			raised := map[federation.SiteID][]string{"site-b": b.finish(), "site-c": c2.finish()}
			for at, site := range r.sites {
				for origin, titles := range raised {
					source := "test"
					if at != origin {
						source = "federation:" + string(origin)
					}
					expect(t, site, source, titles)
				}
			}
			t.Logf("%d alerts of the north and %d of the south crossed", len(raised["site-b"]), len(raised["site-c"]))
		})
	}
}

// goesOn waits until more alerts of one site are at another.
func (r *regions) goesOn(t *testing.T, from, to federation.SiteID) {
	t.Helper()
	had := r.total(t, to, "federation:"+string(from))
	natstest.Within(t, patience, fmt.Sprintf("alerts of %s come to %s", from, to), func() bool {
		return r.total(t, to, "federation:"+string(from)) >= had+20
	})
}

// passed waits until a site has what it raises passed on to another by the hub.
func (r *regions) passed(t *testing.T, from, to federation.SiteID) {
	t.Helper()
	natstest.Within(t, patience, fmt.Sprintf("the hub passes on from %s to %s", from, to), func() bool {
		ledger, err := r.sites[from].Deliveries(t.Context())
		return err == nil && slices.ContainsFunc(ledger.Deliveries, func(d federation.Delivery) bool {
			return d.Peer == to && d.Direction == federation.Outbound && d.PassedBy == north[0]
		})
	})
}

// interest is by what a relay decides what to send through its gateway.
func interest(t *testing.T, relay *server.Server) (mode string) {
	t.Helper()
	natstest.Within(t, patience, relay.Name()+" has a gateway", func() bool {
		z, err := relay.Gatewayz(&server.GatewayzOptions{Accounts: true, AccountName: "AURORA"})
		if err != nil {
			t.Fatal(err)
		}
		for _, gateway := range z.OutboundGateways {
			for _, account := range gateway.Accounts {
				mode = account.InterestMode
			}
		}
		return mode != ""
	})
	return mode
}
