package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/functions"
	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// leaf is a NATS server of a secondary site on the shipped configuration.
func leaf(t *testing.T, id federation.SiteID, hub string) *server.Server {
	t.Helper()
	o := &server.Options{}
	if err := o.ProcessConfigString(nats.DevLeaf); err != nil {
		t.Fatal(err)
	}
	o.ServerName, o.JetStreamDomain, o.StoreDir, o.Port = string(id), subject.Domain(id), t.TempDir(), server.RANDOM_PORT
	o.LeafNode.Remotes[0].URLs = []*url.URL{{Scheme: "nats-leaf", Host: hub}}
	return natstest.StartOptions(t, o)
}

func TestTwoReplicasOfEveryFunctionSurviveTheKillOfOne(t *testing.T) {
	t.Parallel()
	for _, db := range []struct {
		name string
		dsn  func(t *testing.T) string
	}{
		{"sqlite", func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "site.db") }},
		{"postgres", func(t *testing.T) string { return postgrestest.Start(t) }},
	} {
		t.Run(db.name, func(t *testing.T) {
			t.Parallel() // both mostly wait
			killOneReplica(t, db.dsn(t))
		})
	}
}

// beats notes when each heartbeat of a site comes.
type beats struct {
	mu sync.Mutex
	at []time.Time
}

func (b *beats) note(*natsgo.Msg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = append(b.at, time.Now())
}

func (b *beats) all() []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.at)
}

func killOneReplica(t *testing.T, dsn string) {
	const site = "site-r"
	peer := start(t, demo.Options{Sites: 1})
	srv := leaf(t, site, peer.Sites[0].Leaf)
	api := address(freePorts(t, 1))
	env := []string{
		"FEDERATION_SITE_ID=" + site, "FEDERATION_HEARTBEAT_INTERVAL_SECONDS=1", "FEDERATION_DEGRADED_AFTER_SECONDS=30",
		"NATS_URL=" + srv.ClientURL(), "DATABASE_URL=" + dsn, "HTTP_LISTEN=" + api, "FEDERATION_IDENTITY_DIR=" + t.TempDir(),
	}
	if code, out := run(t, env, "migrate").finish(t); code != 0 {
		t.Fatal(out)
	}
	behind := slices.DeleteFunc(functions.Names(), func(name string) bool { return name == "gateway" })
	replica := append([]string{"run"}, behind...)
	victim, survivor := run(t, env, replica...), run(t, env, replica...)
	run(t, env, "run", "gateway")

	var heart beats
	bus := natstest.Bus(t, srv, site, "listener")
	if _, err := bus.Conn().Subscribe(subject.Health(site), heart.note); err != nil {
		t.Fatal(err)
	}
	natstest.Within(t, 30*time.Second, "the site is well with two replicas of each, and known to its peer", func() bool {
		resp, err := http.Get("http://" + api + "/health/live")
		if err != nil {
			return false
		}
		resp.Body.Close()
		_, body := get(t, "http://"+api+"/health")
		return strings.Contains(body, `"status":"ok","site_id"`) && strings.Contains(victim.text(), "at work") && strings.Contains(survivor.text(), "at work") &&
			peer.link(t, 0, "link-site-a-site-r") == federation.Healthy
	})
	// A peer that appears is answered by a heartbeat out of turn. From the one
	// after the next on, there is a heartbeat a tick.
	calm := len(heart.all()) + 2
	natstest.Eventually(t, "heartbeats come in their turn", func() bool { return len(heart.all()) >= calm })

	const clients = 8
	c := client(t, "http://"+api, apiclient.Attempts(1)) // a failure must show
	var taken sync.Map
	var count, failures atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for i := range clients {
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				a, _, _, err := c.Raise(context.Background(), alert(fmt.Sprintf("client %d alert %d", i, n), federation.High))
				if err != nil {
					t.Logf("client %d alert %d: %v", i, n, err)
					failures.Add(1)
					continue
				}
				taken.Store(a.ID, true)
				count.Add(1)
			}
		})
	}
	var atPeer atomic.Int64
	load.Go(func() { // the other way, for the site's alertsinks
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, _, _, err := peer.api[0].Raise(context.Background(), alert(fmt.Sprintf("peer alert %d", n), federation.High)); err != nil {
				t.Errorf("raising at the peer: %v", err)
				return
			}
			atPeer.Add(1)
		}
	})
	end := sync.OnceFunc(func() { close(stop); load.Wait() })
	defer end()
	natstest.Within(t, 20*time.Second, "the load runs for a few heartbeats of both replicas", func() bool {
		return count.Load() > 100 && len(heart.all()) >= calm+3
	})
	if err := victim.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	at, beaten := count.Load(), len(heart.all())
	natstest.Within(t, 20*time.Second, "the load goes on without it", func() bool { return count.Load() > at+200 })
	natstest.Within(t, 30*time.Second, "the heart beats on", func() bool { return len(heart.all()) >= beaten+3 })
	end()
	if n := failures.Load(); n > clients {
		t.Errorf("%d requests failed: more than were in flight on the replica that was killed", n)
	}
	judgeBeats(t, heart.all()[calm-1:])
	everyTakenIsStored(t, dsn, &taken)

	// What the killed one had fetched and not acknowledged comes again to the other.
	want := int(atPeer.Load())
	natstest.Within(t, 60*time.Second, "the site has every alert of its peer", func() bool { return total(t, c, "federation:site-a") >= want })
	if got := times(t, c, "federation:site-a"); len(got) != want || total(t, c, "federation:site-a") != want {
		t.Errorf("the site has %d alerts of its peer, want %d", len(got), want)
	}
	raised := total(t, c, "test")
	if raised < int(count.Load()) {
		t.Errorf("%d were taken, %d are stored", count.Load(), raised)
	}
	natstest.Within(t, 60*time.Second, "the peer has every alert", func() bool { return peer.total(t, 0, "federation:"+site) >= raised })
	if _, _, _, err := c.Raise(t.Context(), alert("the marker", federation.High)); err != nil {
		t.Fatal(err)
	}
	peer.arrives(t, 0, "the marker")
	arrived := times(t, peer.api[0], "federation:"+site)
	if len(arrived) != raised+1 {
		t.Errorf("the peer has %d alerts, want %d", len(arrived), raised+1)
	}
	taken.Range(func(id, _ any) bool {
		if n := arrived[id.(string)]; n != 1 {
			t.Errorf("the peer has the alert %s %d times", id, n)
		}
		return true
	})
	if n := messages(t, bus, subject.AlertStream(site)); n != raised+1 {
		t.Errorf("%d alerts were stored and %d were shared", raised+1, n)
	}
}

// times is how often a site has each alert of a peer, by its id there.
func times(t *testing.T, c *apiclient.Client, source string) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, a := range every(t, c, source) {
		n[a.Origin.AlertID]++
	}
	return n
}

// judgeBeats wants one heartbeat a second: none beside another, and no more than
// there were seconds.
func judgeBeats(t *testing.T, all []time.Time) {
	t.Helper()
	for i := 1; i < len(all); i++ {
		if gap := all[i].Sub(all[i-1]); gap < 500*time.Millisecond {
			t.Errorf("two heartbeats came within %v", gap)
		}
	}
	if took := all[len(all)-1].Sub(all[0]); len(all) > 2+int(took/time.Second) {
		t.Errorf("%d heartbeats came within %v", len(all), took)
	}
}

// everyTakenIsStored looks into the database for what the API has confirmed.
func everyTakenIsStored(t *testing.T, dsn string, taken *sync.Map) {
	t.Helper()
	st, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	taken.Range(func(id, _ any) bool {
		if _, err := st.Alert(t.Context(), id.(string)); err != nil {
			t.Errorf("an alert that was taken is lost: %v", err)
		}
		return true
	})
}
