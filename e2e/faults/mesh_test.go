//go:build linux

// Package faults_test does to a mesh what must not hurt it. Three sites run as
// real processes, with real NATS servers, SQLite and PostgreSQL, and lines that
// can fail; alerts are raised all the while, and at the end a program that reads
// the databases tells whether each is where it belongs, once. It runs where
// AURORAMESH_FAULTS is set: see docs/faults.md.
package faults_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
)

const root = "../.."

// programs are the programs that the suite runs, as paths.
type programs struct{ auroramesh, nats, check string }

// built builds them once for all tests.
var built = sync.OnceValues(func() (p programs, err error) {
	dir, err := os.MkdirTemp("", "auroramesh-faults-")
	if err != nil {
		return p, err
	}
	p = programs{filepath.Join(dir, "auroramesh"), filepath.Join(dir, "nats-server"), filepath.Join(dir, "check")}
	return p, errors.Join(build(p.auroramesh, "./cmd/auroramesh"), build(p.nats, "github.com/nats-io/nats-server/v2"), build(p.check, "./e2e/faults/check"))
})

func build(out, pkg string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, flags...), pkg)...)
	cmd.Dir = root
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", pkg, err, said)
	}
	return nil
}

// wanted skips a test that needs the whole mesh where nobody has asked for it, and
// gives the programs.
func wanted(t *testing.T) programs {
	t.Helper()
	if os.Getenv("AURORAMESH_FAULTS") == "" {
		t.Skip("SKIPPED, NO FAULTS INJECTED: it takes minutes; set AURORAMESH_FAULTS=1")
	}
	p, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMain(m *testing.M) {
	if ahead := os.Getenv(clockEnv); ahead != "" {
		if err := runAhead(ahead, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if os.Getenv("AURORAMESH_FAULTS") != "" {
		if p, err := built(); err == nil {
			if err := os.RemoveAll(filepath.Dir(p.auroramesh)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// mesh is three sites: site-a is the hub.
type mesh struct {
	t     *testing.T
	dir   string
	check string
	sites []*node
	load  *load
}

// options say how a mesh is made.
type options struct {
	programs
	postgres bool // for the hub; without it every site has SQLite
	seed     uint64
	without  []string // functions that no site runs
	compare  int      // how often sites compare, in seconds; 0: as they do by themselves
}

// up starts a mesh and waits until every site is known to every other.
func up(t *testing.T, o options) *mesh {
	t.Helper()
	dir := os.Getenv("AURORAMESH_FAULTS_DIR")
	if dir == "" {
		dir = t.TempDir()
	} else if dir = filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")); os.MkdirAll(dir, 0o700) != nil {
		t.Fatalf("%s cannot be made", dir)
	}
	m := &mesh{t: t, dir: dir, check: o.check, load: newLoad(o.seed)}
	for _, id := range []string{"site-a", "site-b", "site-c"} {
		m.add(o, id)
	}
	for _, n := range m.sites {
		if err := each(n.everything(), start); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range m.sites {
		natstest.Within(t, time.Minute, n.id+" sees every link healthy", func() bool {
			top, err := n.api.Topology(t.Context())
			return err == nil && len(top.Links) == len(m.sites)-1 && !slices.ContainsFunc(top.Links, func(l federation.Link) bool { return l.Status != federation.Healthy })
		})
	}
	return m
}

func (m *mesh) fatal(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// add makes a site, with its database migrated and nothing of it started.
func (m *mesh) add(o options, id string) {
	m.t.Helper()
	dir := filepath.Join(m.dir, id)
	n := &node{id: id, storeDir: filepath.Join(dir, "jetstream"), dsn: "sqlite:" + filepath.Join(dir, "site.db")}
	n.exchange.Store(federation.ExchangeDirect)
	m.fatal(os.MkdirAll(n.storeDir, 0o700))
	m.disk(n)
	for _, port := range []*int{&n.ports.api, &n.ports.nats, &n.ports.leaf} {
		var err error
		*port, err = freePort(rand.IntN)
		m.fatal(err)
	}
	hub, tier := "", federation.Primary
	if len(m.sites) > 0 {
		var err error
		n.line, err = linkproxy.Listen("127.0.0.1:0", address(m.sites[0].ports.leaf))
		m.fatal(err)
		m.t.Cleanup(func() { m.fatal(n.line.Close()) })
		hub, tier = n.line.Addr(), federation.Secondary
	}
	m.fatal(n.configure(dir, hub))
	if o.postgres && n.line == nil {
		cluster := postgrestest.Own(m.t)
		n.dsn = cluster.DSN()
		n.database = m.program(dir, "postgres", cluster.Server)
		n.database.start()
	}
	n.env = []string{
		"FEDERATION_SITE_ID=" + id, "FEDERATION_SITE_TIER=" + string(tier),
		"FEDERATION_HEARTBEAT_INTERVAL_SECONDS=1", "FEDERATION_DEGRADED_AFTER_SECONDS=3", "FEDERATION_DOWN_AFTER_SECONDS=6",
		"NATS_URL=nats://" + address(n.ports.nats), "DATABASE_URL=" + n.dsn, "HTTP_LISTEN=" + address(n.ports.api), "LOG_LEVEL=warn",
		"FEDERATION_RECONCILE_INTERVAL_SECONDS=" + strconv.Itoa(cmp.Or(o.compare, 30)),
		"FEDERATION_IDENTITY_DIR=" + filepath.Join(dir, "identity"), // which outlives whatever happens to the data
	}
	natstest.Within(m.t, time.Minute, "the database of "+id+" is migrated", func() bool {
		migrate := exec.Command(o.auroramesh, "migrate")
		migrate.Env = n.env
		out, err := migrate.CombinedOutput()
		if err != nil && n.database == nil {
			m.t.Fatalf("migrating: %v: %s", err, out)
		}
		return err == nil
	})
	n.nats = m.program(dir, "nats-server", n.serve(o.nats, dir))
	n.front = m.program(dir, "front", n.run(o.auroramesh, facing...))
	n.rest = m.program(dir, "rest", n.run(o.auroramesh, others(o.without)...))
	for _, name := range []string{"sink-1", "sink-2"} {
		n.sinks = append(n.sinks, m.program(dir, name, n.run(o.auroramesh, "alertsink")))
	}
	var err error
	n.api, err = apiclient.New("http://"+address(n.ports.api), apiclient.Attempts(2), apiclient.Timeout(5*time.Second))
	m.fatal(err)
	m.sites = append(m.sites, n)
}

// diskSize is that of the small disk on which a site's JetStream is.
const diskSize = "256m"

// disk puts the store of JetStream on a small disk of its own, where this process may mount one.
func (m *mesh) disk(n *node) {
	m.t.Helper()
	if err := syscall.Mount("tmpfs", n.storeDir, "tmpfs", 0, "size="+diskSize); err != nil {
		m.t.Logf("SKIPPED, NO DISK OF %s WILL BE FULL: a small one cannot be mounted: %v", n.id, err)
		return
	}
	n.ballast = filepath.Join(n.storeDir, "ballast")
	m.t.Cleanup(func() { m.fatal(syscall.Unmount(n.storeDir, syscall.MNT_DETACH)) })
}

// program makes a program with a log of its own; it is killed at the end of the test.
func (m *mesh) program(dir, name string, command func() *exec.Cmd) *program {
	m.t.Helper()
	log, err := os.Create(filepath.Join(dir, name+".log"))
	m.fatal(err)
	p := &program{name: name, command: command, log: log}
	m.t.Cleanup(func() {
		m.fatal(p.kill())
		text, err := os.ReadFile(log.Name())
		m.fatal(errors.Join(err, log.Close()))
		if bytes.Contains(text, []byte("panic:")) || bytes.Contains(text, []byte("handler panicked")) {
			m.t.Errorf("a program panicked: see below")
		}
		if m.t.Failed() {
			m.t.Logf("%s/%s, started again %d times, said at last:\n%s", filepath.Base(dir), name, p.restarts(), text[max(0, len(text)-1500):])
		}
	})
	return p
}

func (m *mesh) site(id string) *node {
	return m.sites[slices.IndexFunc(m.sites, func(n *node) bool { return n.id == id })]
}

// verdict is what the check found: its JSON, as far as the tests look at it, and its text.
type verdict struct {
	Right bool `json:"right"`
	Pairs []struct {
		Lost       []string `json:"lost"`
		Duplicated []string `json:"duplicated"`
	} `json:"pairs"`
}

// judge runs the check over the databases of the sites.
func (m *mesh) judge(more ...string) (out []byte, err error) {
	answers := filepath.Join(m.dir, "answered")
	if err := os.WriteFile(answers, m.load.answers(), 0o600); err != nil {
		return nil, err
	}
	args := append([]string{"--answered", answers}, more...)
	for _, n := range m.sites {
		args = append(args, "--site", n.id+"="+n.dsn)
	}
	var said, errs bytes.Buffer
	cmd := exec.Command(m.check, args...)
	cmd.Stdout, cmd.Stderr = &said, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) && exit.ExitCode() == 1 {
		return said.Bytes(), nil
	} else if err != nil {
		return nil, fmt.Errorf("the check could not look: %w: %s", err, errs.Bytes())
	}
	return said.Bytes(), nil
}

// idle reports whether nothing is on its way to any peer: what could still arrive twice, has.
func (m *mesh) idle(ctx context.Context) bool {
	for _, n := range m.sites {
		ledger, err := n.api.Deliveries(ctx)
		if err != nil {
			return false
		}
		waits := map[federation.SiteID]bool{}
		for _, d := range ledger.Deliveries {
			if d.Direction == federation.Outbound {
				waits[d.Peer] = waits[d.Peer] || d.Pending == nil || *d.Pending > 0
			}
		}
		if len(waits) != len(m.sites)-1 || slices.Contains(slices.Collect(maps.Values(waits)), true) {
			return false
		}
	}
	return true
}

// settle waits until all is right and at rest, or at rest and not right after it was
// watched for so long, or until patience ends, and gives the last verdict.
func (m *mesh) settle(watched, patience time.Duration) verdict {
	m.t.Helper()
	begun := time.Now()
	for {
		idle := m.idle(m.t.Context())
		out, err := m.judge("--json")
		m.fatal(err)
		var v verdict
		m.fatal(json.Unmarshal(out, &v))
		if took := time.Since(begun); idle && (v.Right || took > watched) || took > patience {
			text, err := m.judge()
			m.fatal(err)
			m.t.Logf("at rest: %t, after %.1f s\n%s", idle, took.Seconds(), text)
			v.Right = v.Right && idle
			return v
		}
		m.fatal(pause(m.t.Context(), 500*time.Millisecond))
	}
}
