//go:build linux

// Package deployed_test runs two sites as they are deployed, but without containers:
// two processes of every function, a real NATS server and a PostgreSQL database for
// each site. Half of the processes are killed, and the rest do the work. It runs
// where AURORAMESH_DEPLOYED is set.
package deployed_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/functions"
	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
)

// wanted is the variable that says that the sites are to be run.
const wanted = "AURORAMESH_DEPLOYED"

// patience is for a machine on which everything else runs too.
const patience = 2 * time.Minute

// deployed is one site: its servers, and two processes of each function.
type deployed struct {
	id      string
	api     []*apiclient.Client // of each gateway
	workers [2][]*process       // each has one process of every function, the heartbeat last
}

// deploy starts a site. hub is the address of the primary's leafnode listener; the
// primary itself has the port of its own.
func deploy(t *testing.T, p programs, id string, tier federation.Tier, leafPort int) *deployed {
	t.Helper()
	d := &deployed{id: id}
	dir := filepath.Join(t.TempDir(), id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	natsPort := freePort(t)
	conf, changes := nats.DevHub, map[string]string{"127.0.0.1:4222": address(natsPort), "127.0.0.1:7422": address(leafPort)}
	if tier == federation.Secondary {
		conf, changes = nats.DevLeaf, map[string]string{"127.0.0.1:4223": address(natsPort), "127.0.0.1:7422": address(leafPort)}
	}
	changes["data/"+id+"/jetstream"] = filepath.Join(dir, "jetstream")
	for was, is := range changes {
		if !strings.Contains(conf, was) {
			t.Fatalf("the configuration has no %q", was)
		}
		conf = strings.ReplaceAll(conf, was, is)
	}
	if err := os.WriteFile(filepath.Join(dir, "nats.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "nats-server", nil, p.nats, "-c", filepath.Join(dir, "nats.conf"))

	env := []string{
		"FEDERATION_SITE_ID=" + id, "FEDERATION_SITE_TIER=" + string(tier), "FEDERATION_HEARTBEAT_INTERVAL_SECONDS=2",
		"FEDERATION_DEGRADED_AFTER_SECONDS=10", "FEDERATION_DOWN_AFTER_SECONDS=30",
		"NATS_URL=nats://" + address(natsPort), "DATABASE_URL=" + postgrestest.Start(t),
		"DATABASE_MAX_OPEN_CONNS=2", "DATABASE_MAX_IDLE_CONNS=1", "LOG_LEVEL=warn", "LOG_FORMAT=json",
		"FEDERATION_IDENTITY_DIR=" + filepath.Join(dir, "identity"),
	}
	// Two at once, as two pods would: one applies, the other waits and finds nothing to do.
	migrations := []*process{run(t, dir, "migrate-1", env, p.auroramesh, "migrate"), run(t, dir, "migrate-2", env, p.auroramesh, "migrate")}
	for _, m := range migrations {
		m.finish(t)
	}
	for replica := range d.workers {
		names := slices.DeleteFunc(functions.Names(), func(n string) bool { return n == "heartbeat" })
		for _, name := range append(names, "heartbeat") {
			metrics := address(freePort(t))
			mine := append(slices.Clone(env), "METRICS_LISTEN="+metrics)
			if name == "gateway" {
				listen := address(freePort(t))
				client, err := apiclient.New("http://"+listen, apiclient.Timeout(10*time.Second))
				if err != nil {
					t.Fatal(err)
				}
				mine, d.api = append(mine, "HTTP_LISTEN="+listen), append(d.api, client)
			}
			w := run(t, dir, fmt.Sprintf("%s-%d", name, replica+1), mine, p.auroramesh, "run", name)
			w.metrics = "http://" + metrics
			d.workers[replica] = append(d.workers[replica], w)
		}
	}
	return d
}

// atWork waits until every process of a replica says that it is at work.
func (d *deployed) atWork(t *testing.T, replica int) {
	t.Helper()
	for _, w := range d.workers[replica] {
		natstest.Within(t, patience, d.id+": "+w.name+" is at work", func() bool {
			select {
			case <-w.ended:
				t.Fatalf("%s: %s has ended: %v", d.id, w.name, w.err)
			default:
			}
			res, err := http.Get(w.metrics + "/health/ready")
			if err != nil {
				return false
			}
			defer res.Body.Close()
			return res.StatusCode == http.StatusOK
		})
	}
}

// sees waits until the site sees the other over a healthy link.
func (d *deployed) sees(t *testing.T, gateway int) {
	t.Helper()
	natstest.Within(t, patience, d.id+" sees its peer over a healthy link", func() bool {
		top, err := d.api[gateway].Topology(t.Context())
		return err == nil && len(top.Links) == 1 && top.Links[0].Status == federation.Healthy
	})
}

// crosses raises an alert at one site and waits until the other has it, once.
func crosses(t *testing.T, from, to *deployed, gateway int, title string) {
	t.Helper()
	raised, created, _, err := from.api[gateway].Raise(t.Context(), federation.NewAlert{Title: title, Severity: federation.Critical, Source: "test"})
	if err != nil || !created {
		t.Fatalf("%s: raising %q: %t, %v", from.id, title, created, err)
	}
	natstest.Within(t, patience, title+" is at "+to.id, func() bool {
		page, err := to.api[gateway].Alerts(t.Context(), ask.AlertFilter{Source: "federation:" + from.id})
		return err == nil && len(slices.DeleteFunc(page.Items, func(a federation.Alert) bool { return a.Origin.AlertID != raised.ID })) == 1
	})
}

func TestTwoSitesOfOneProcessAFunctionOutliveHalfOfThem(t *testing.T) {
	if os.Getenv(wanted) == "" {
		t.Skip("SKIPPED, NOT RUN AS DEPLOYED: some seventy processes take their time; set " + wanted + "=1")
	}
	p, err := built()
	if err != nil {
		t.Fatal(err)
	}
	leafPort := freePort(t)
	a, b := deploy(t, p, "site-a", federation.Primary, leafPort), deploy(t, p, "site-b", federation.Secondary, leafPort)
	sites := []*deployed{a, b}
	for _, d := range sites {
		for replica := range d.workers {
			d.atWork(t, replica)
		}
		d.sees(t, 0)
	}
	crosses(t, b, a, 0, "with two of each")
	crosses(t, a, b, 1, "and back")

	for _, d := range sites {
		for _, w := range d.workers[0] {
			w.signal(t, syscall.SIGKILL)
		}
	}
	crosses(t, b, a, 1, "with one of each")
	crosses(t, a, b, 1, "and back with one of each")
	for _, d := range sites {
		d.sees(t, 1)
		d.atWork(t, 1)
	}

	stop(t, b.workers[1])
	natstest.Within(t, patience, "site-a has heard the goodbye of site-b", func() bool {
		top, err := a.api[1].Topology(t.Context())
		return err == nil && len(top.Links) == 1 && top.Links[0].Cause == federation.PeerLeaving
	})
	stop(t, a.workers[1])
}

// stop stops processes as a service manager does, the last of them, which is the
// heartbeat, after the others: so it says goodbye.
func stop(t *testing.T, all []*process) {
	t.Helper()
	for _, some := range [][]*process{all[:len(all)-1], all[len(all)-1:]} {
		for _, w := range some {
			w.signal(t, syscall.SIGTERM)
		}
		for _, w := range some {
			w.finish(t)
		}
	}
}
