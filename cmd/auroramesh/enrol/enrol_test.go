package enrol_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/enrol"
	"github.com/auroramesh/auroramesh/cmd/auroramesh/site"
	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// long is how long anything may take on a busy machine.
const long = 30 * time.Second

// mesh is an authority whose primary's server runs.
type mesh struct {
	dir  string
	hub  *server.Server
	url  string // where the hub takes clients
	leaf string // where it takes leafnodes
}

func place() enrol.Place {
	return enrol.Place{ClientListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", Days: 90}
}

func newMesh(t *testing.T) mesh {
	t.Helper()
	m := mesh{dir: filepath.Join(t.TempDir(), "sites")}
	p := place()
	p.LeafnodeListen = "127.0.0.1:0"
	dir, err := enrol.Init(m.dir, "site-a", p, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m.hub = run(t, filepath.Join(dir, nats.HubFile))
	vars, err := m.hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	m.url, m.leaf = m.hub.ClientURL(), net.JoinHostPort("127.0.0.1", fmt.Sprint(vars.LeafNode.Port))
	return m
}

// run runs the server on a file of a directory as it was made.
func run(t *testing.T, file string) *server.Server {
	t.Helper()
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return natstest.StartOptions(t, o)
}

func (m mesh) with(t *testing.T, do func(*authority.Authority) error) {
	t.Helper()
	a, err := authority.Open(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(a), a.Close()); err != nil {
		t.Fatal(err)
	}
}

// enrolled is the directory of a site that was let in.
func (m mesh) enrolled(t *testing.T, id federation.SiteID) (dir string) {
	t.Helper()
	m.with(t, func(a *authority.Authority) (err error) {
		p := place()
		p.Hubs = []string{m.leaf}
		if dir, err = enrol.Enrol(a, id, p, time.Now()); err != nil {
			return err
		}
		_, err = enrol.Apply(t.Context(), a, "site-a", m.url, time.Now())
		return err
	})
	return dir
}

// connections are the leafnodes of the hub by the name of their server.
func (m mesh) connections(t *testing.T) map[string]uint64 {
	t.Helper()
	z, err := m.hub.Leafz(&server.LeafzOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]uint64{}
	for _, l := range z.Leafs {
		ids[l.Name] = l.ID
	}
	return ids
}

func (m mesh) joins(t *testing.T, id, dir string) *server.Server {
	t.Helper()
	s := run(t, filepath.Join(dir, nats.LeafFile))
	natstest.Within(t, long, id+" has joined", func() bool { return m.connections(t)[id] != 0 })
	return s
}

func TestWhoIsRevokedIsCutAtOnceAndNobodyElse(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.joins(t, "site-b", m.enrolled(t, "site-b"))
	before := m.connections(t)["site-b"]
	c := m.joins(t, "site-c", m.enrolled(t, "site-c"))
	if after := m.connections(t)["site-b"]; after != before {
		t.Errorf("site-b was connection %d and is %d after site-c was let in", before, after)
	}
	refused := m.refused(t)
	m.with(t, func(a *authority.Authority) error {
		if err := enrol.Revoke(a, "site-c", time.Now()); err != nil {
			return err
		}
		done, err := enrol.Apply(t.Context(), a, "site-a", m.url, time.Now())
		if err == nil && (len(done.Cut) != 1 || !strings.HasPrefix(done.Cut[0], "spiffe://auroramesh/site/site-c/")) {
			t.Errorf("cut is %q", done.Cut)
		}
		return err
	})
	natstest.Within(t, long, "site-c is cut", func() bool { return m.connections(t)["site-c"] == 0 })
	natstest.Within(t, long, "the functions of the primary are told whom it refuses from then on", func() bool {
		msg, err := refused.NextMsg(20 * time.Millisecond)
		return err == nil && strings.Contains(string(msg.Data), `"name":"site-c"`)
	})
	if n := c.NumLeafNodes(); n != 0 {
		t.Errorf("site-c has %d leafnodes", n)
	}
	if after := m.connections(t)["site-b"]; after != before {
		t.Errorf("site-b was connection %d and is %d after site-c was cut", before, after)
	}
	c.Shutdown()
	c.WaitForShutdown()
	m.joins(t, "site-c", m.enrolled(t, "site-c")) // again, with a new certificate
}

// refused is what the functions of the primary are told.
func (m mesh) refused(t *testing.T) *natsgo.Subscription {
	t.Helper()
	dir := filepath.Join(m.dir, "site-a")
	key, err := natsgo.NkeyOptionFromSeed(filepath.Join(dir, "functions.nk"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := natsgo.Connect(m.url, key, natsgo.RootCAs(filepath.Join(dir, "ca.crt")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	sub, err := nc.SubscribeSync(subject.Refused)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return sub
}

func TestACertificateIsRotatedWithoutAnOutage(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	dir := m.enrolled(t, "site-b")
	leaf := m.joins(t, "site-b", dir)
	before := m.connections(t)["site-b"]
	begun := time.Now()
	m.with(t, func(a *authority.Authority) error {
		if _, err := enrol.Rotate(a, "site-b", 90, time.Hour, begun); err != nil {
			return err
		}
		done, err := enrol.Apply(t.Context(), a, "site-a", m.url, begun)
		if len(done.Cut) != 0 {
			t.Errorf("cut is %q while the old certificate holds", done.Cut)
		}
		return err
	})
	if err := leaf.Reload(); err != nil { // with it the site has its new certificate
		t.Fatal(err)
	}
	if after := m.connections(t)["site-b"]; after != before {
		t.Errorf("site-b was connection %d and is %d after its certificate was rotated", before, after)
	}
	m.with(t, func(a *authority.Authority) error { // once the grace is over
		done, err := enrol.Apply(t.Context(), a, "site-a", m.url, begun.Add(2*time.Hour))
		if len(done.Cut) != 1 {
			t.Errorf("cut is %q, want the connection with the old certificate", done.Cut)
		}
		return err
	})
	natstest.Within(t, long, "site-b is back with its new certificate", func() bool {
		now := m.connections(t)["site-b"]
		return now != 0 && now != before
	})
	m.with(t, func(a *authority.Authority) error {
		done, err := enrol.Apply(t.Context(), a, "site-a", m.url, begun.Add(2*time.Hour))
		if len(done.Cut) != 0 {
			t.Errorf("cut is %q with the new certificate", done.Cut)
		}
		return err
	})
}

func TestTheServersCertificateIsRotatedWhileItRuns(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	dir := m.enrolled(t, "site-b")
	m.joins(t, "site-b", dir)
	before := m.connections(t)["site-b"]
	m.with(t, func(a *authority.Authority) error {
		if _, err := enrol.Rotate(a, "site-a", 90, 0, time.Now()); err != nil {
			return err
		}
		_, err := enrol.Apply(t.Context(), a, "site-a", m.url, time.Now())
		return err
	})
	if after := m.connections(t)["site-b"]; after != before {
		t.Errorf("site-b was connection %d and is %d", before, after)
	}
	m.joins(t, "site-c", m.enrolled(t, "site-c"))
}

// Whatever many commands do at the same time, none is lost.
func TestTwoCommandsAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			a, err := authority.Open(m.dir)
			if err != nil {
				t.Error(err)
				return
			}
			p := place()
			p.Hubs = []string{m.leaf}
			_, err = enrol.Enrol(a, federation.SiteID(fmt.Sprintf("site-%d", i)), p, time.Now())
			if err := errors.Join(err, a.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	m.with(t, func(a *authority.Authority) error {
		if n := len(enrol.Statuses(a, time.Now())); n != 9 {
			t.Errorf("%d sites are listed, want 9", n)
		}
		return nil
	})
	text, err := os.ReadFile(filepath.Join(m.dir, "site-a", nats.AccessFile))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "spiffe://auroramesh/site/site-"); n != 8 {
		t.Errorf("sites.conf lets %d in, want 8", n)
	}
}

func TestAServerThatDoesNotRunIsToldFromOneThatFails(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.hub.Shutdown()
	m.hub.WaitForShutdown()
	m.with(t, func(a *authority.Authority) error {
		if _, err := enrol.Apply(t.Context(), a, "site-a", m.url, time.Now()); !fault.Is(err, fault.Unavailable) {
			t.Errorf("the error is %v", err)
		}
		return nil
	})
}

// A relay that runs elsewhere reads a copy of its directory. Until sites.conf is copied
// anew it goes by the old one, and nobody is told that it is up to date.
func TestARelayElsewhereThatGoesByAnOldFileIsFound(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	p := place()
	p.LeafnodeListen, p.ClusterListen, p.At = "127.0.0.1:0", "127.0.0.1:0", filepath.Join(t.TempDir(), "relay")
	var dir string
	m.with(t, func(a *authority.Authority) (err error) {
		dir, err = enrol.Relay(a, "relay-1", p, time.Now())
		return err
	})
	if err := os.CopyFS(p.At, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(filepath.Join(p.At, nats.RelayFile))
	if err != nil {
		t.Fatal(err)
	}
	url := natstest.StartPlain(t, o).ClientURL()
	m.with(t, func(a *authority.Authority) error {
		apply := func() error {
			_, err := enrol.Apply(t.Context(), a, "relay-1", url, time.Now())
			return err
		}
		if err := apply(); err != nil {
			t.Errorf("before anything has changed: %v", err)
		}
		for _, id := range []federation.SiteID{"site-b", "site-c"} {
			there := place()
			there.Hubs = []string{m.leaf}
			if _, err := enrol.Enrol(a, id, there, time.Now()); err != nil {
				return err
			}
			file := filepath.Join(dir, nats.AccessFile)
			want := "relay-1 does not go by " + file + ": copy that to " + filepath.Join(p.At, nats.AccessFile)
			if err := apply(); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), want) {
				t.Errorf("after %s was enrolled the error is %v, without %q", id, err, want)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(p.At, nats.AccessFile), text, 0o600); err != nil {
				return err
			}
			if err := apply(); err != nil {
				t.Errorf("with the file that has %s: %v", id, err)
			}
		}
		return nil
	})
}

// functions runs every function of a site on the settings that its directory has.
func functions(t *testing.T, dir, url string) *apiclient.Client {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "site.env"))
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"FEDERATION_HEARTBEAT_INTERVAL_SECONDS": "1"}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			env[name] = value
		}
	}
	env["NATS_URL"] = url
	s, err := settings.Load(env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	st, err := site.OpenStore(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	_, err = st.Migrate(ctx)
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	running, err := site.Start(ctx, site.Config{Settings: s, Version: "0.0.1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := running.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := apiclient.New("http://" + running.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Two sites as `auroramesh site` makes them, with all their functions: alerts cross in
// both directions, each is acknowledged, and the comparison finds nothing missing.
func TestTwoSitesWorkFromTheDirectoriesThatWereMade(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	dir := m.enrolled(t, "site-b")
	leaf := m.joins(t, "site-b", dir)
	a, b := functions(t, filepath.Join(m.dir, "site-a"), m.url), functions(t, dir, leaf.ClientURL())
	for _, severity := range []federation.Severity{federation.High, federation.Critical} { // each has its lane
		for source, way := range map[string][2]*apiclient.Client{"federation:site-a": {a, b}, "federation:site-b": {b, a}} {
			if _, _, _, err := way[0].Raise(t.Context(), federation.NewAlert{Title: string(severity) + " " + source, Severity: severity, Source: "test"}); err != nil {
				t.Fatal(err)
			}
			natstest.Within(t, long, "the alert is there with "+source, func() bool {
				page, err := way[1].Alerts(t.Context(), ask.AlertFilter{Source: source, Severity: severity})
				return err == nil && page.Total == 1
			})
		}
	}
	for name, c := range map[string]*apiclient.Client{"site-a": a, "site-b": b} {
		natstest.Within(t, long, "the peer of "+name+" has acknowledged all", func() bool {
			d, err := c.Deliveries(t.Context())
			if err != nil {
				return false
			}
			for _, d := range d.Deliveries {
				if d.Direction == federation.Outbound {
					return d.Stored != nil && *d.Stored == 2 && d.Pending != nil && *d.Pending == 0
				}
			}
			return false
		})
		natstest.Within(t, long, name+" sees a healthy link", func() bool {
			top, err := c.Topology(t.Context())
			return err == nil && len(top.Links) == 1 && top.Links[0].Status == federation.Healthy
		})
	}
}
