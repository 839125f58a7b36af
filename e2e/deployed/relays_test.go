//go:build linux

package deployed_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// whole starts the site in a directory with all its functions in one process, its NATS
// server with the configuration named.
func whole(t *testing.T, p programs, dir, conf string, more ...string) *deployed {
	t.Helper()
	d := &deployed{id: filepath.Base(dir), env: append(append(settingsOf(t, dir), "FEDERATION_HEARTBEAT_INTERVAL_SECONDS=2", "LOG_LEVEL=warn"), more...)}
	command(t, d.env, p.auroramesh, "migrate")
	d.start(t, p, dir, conf)
	for _, v := range d.env {
		if listen, ok := strings.CutPrefix(v, "HTTP_LISTEN="); ok {
			d.api = []*apiclient.Client{client(t, listen, "")}
		}
	}
	return d
}

// start starts the NATS server and the functions, which may have been killed.
func (d *deployed) start(t *testing.T, p programs, dir, conf string) {
	t.Helper()
	server := serve(t, p, dir, conf)
	d.workers[0] = []*process{server, run(t, dir, "functions", d.env, p.auroramesh, "run")}
}

// amongRelays is a new authority of which site-a is the primary, and its command `auroramesh site`.
func amongRelays(t *testing.T) (p programs, dir string, site func(args ...string) string) {
	t.Helper()
	if os.Getenv(wanted) == "" {
		t.Skip("SKIPPED, NOT RUN AS DEPLOYED: set " + wanted + "=1")
	}
	p, err := built()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "sites")
	site = func(args ...string) string {
		t.Helper()
		return string(command(t, nil, p.auroramesh, append([]string{"site"}, append(args, "--dir", dir)...)...))
	}
	site("init", "--primary", "site-a")
	return p, dir, site
}

// isRevoked holds what the revocation of site-b said to have reached both relays, and waits until site-a says why it is away.
func isRevoked(t *testing.T, a *deployed, said string, relays ...string) {
	t.Helper()
	if want := "Cut: the leafnode of spiffe://auroramesh/site/site-b/"; !strings.Contains(said, want) {
		t.Errorf("site revoke says %q, without %q", said, want)
	}
	for _, name := range relays {
		if want := "The NATS server " + name + " is up to date."; !strings.Contains(said, want) {
			t.Errorf("site revoke says %q, without %q", said, want)
		}
	}
	natstest.Within(t, patience, "site-a says that site-b is refused", func() bool {
		top, err := a.api[0].Topology(t.Context())
		return err == nil && len(top.Links) == 1 && top.Links[0].Status == federation.Down && top.Links[0].Cause == federation.AuthRefused
	})
}

// Two relays and two sites. Each relay is killed in turn, so that whichever the sites are
// at, it is lost once. Then a site is revoked, and the other says why it is away.
func TestSitesOutliveTheLossOfAnyRelay(t *testing.T) {
	p, dir, site := amongRelays(t)
	hubs, routes := []string{address(freePort(t)), address(freePort(t))}, []string{address(freePort(t)), address(freePort(t))}
	relays := []string{"relay-1", "relay-2"}
	for i, name := range relays {
		site("relay", name, "--host", "127.0.0.1", "--listen", address(freePort(t)), "--leafnode-listen", hubs[i], "--cluster-listen", routes[i], "--route", routes[1-i])
	}
	for _, id := range []string{"site-a", "site-b"} {
		site("enrol", id, "--hub", hubs[0], "--hub", hubs[1], "--listen", address(freePort(t)), "--http-listen", address(freePort(t)))
	}
	var servers []*process
	for _, name := range relays {
		servers = append(servers, serve(t, p, filepath.Join(dir, name), nats.RelayFile))
	}
	a, b := whole(t, p, filepath.Join(dir, "site-a"), nats.LeafFile), whole(t, p, filepath.Join(dir, "site-b"), nats.LeafFile)
	a.sees(t, 0)
	b.sees(t, 0)
	crosses(t, b, a, 0, "over either relay")
	for i, name := range relays {
		servers[i].signal(t, syscall.SIGKILL)
		<-servers[i].ended
		crosses(t, b, a, 0, "without "+name)
		crosses(t, a, b, 0, "and back without "+name)
		servers[i] = serve(t, p, filepath.Join(dir, name), nats.RelayFile)
	}

	isRevoked(t, a, site("revoke", "site-b"), "relay-1", "relay-2")
}

// Two regions of a relay and a site each. What is raised in one comes to the other, and a
// site that is revoked is cut in its region and refused there, which the other is told.
func TestASiteIsRevokedInEveryRegion(t *testing.T) {
	p, dir, site := amongRelays(t)
	north := address(freePort(t))
	for _, relay := range [][]string{
		{"north-1", "--region", "north", "--gateway-listen", north},
		{"south-1", "--region", "south", "--gateway-listen", address(freePort(t)), "--gateway", "north=" + north},
	} {
		site(append([]string{"relay", "--host", "127.0.0.1", "--listen", address(freePort(t)), "--leafnode-listen", address(freePort(t)), "--cluster-listen", address(freePort(t))}, relay...)...)
	}
	for id, region := range map[string]string{"site-a": "north", "site-b": "south"} {
		site("enrol", id, "--region", region, "--listen", address(freePort(t)), "--http-listen", address(freePort(t)))
	}
	for _, name := range []string{"north-1", "south-1"} {
		serve(t, p, filepath.Join(dir, name), nats.RelayFile)
	}
	a, b := whole(t, p, filepath.Join(dir, "site-a"), nats.LeafFile), whole(t, p, filepath.Join(dir, "site-b"), nats.LeafFile)
	a.sees(t, 0)
	crosses(t, b, a, 0, "to the north")
	crosses(t, a, b, 0, "to the south")

	isRevoked(t, a, site("revoke", "site-b"), "north-1", "south-1")
}
