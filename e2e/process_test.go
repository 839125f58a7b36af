package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/functions"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// binary builds the command once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "auroramesh-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "auroramesh")
	out, err := exec.Command("go", "build", "-o", path, "../cmd/auroramesh").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the command: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// process is the command at work.
type process struct {
	*exec.Cmd
	out *bytes.Buffer
	mu  *sync.Mutex
}

type locked struct {
	b  *bytes.Buffer
	mu *sync.Mutex
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (p process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func run(t *testing.T, env []string, args ...string) process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := process{exec.Command(path, args...), new(bytes.Buffer), new(sync.Mutex)}
	p.Env = append(os.Environ(), env...)
	p.Stdout, p.Stderr = locked{p.out, p.mu}, locked{p.out, p.mu}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			// It may be gone already; Wait says what there is to say.
			if err := p.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Error(err)
			}
			var exit *exec.ExitError
			if err := p.Wait(); err != nil && !errors.As(err, &exit) {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Logf("%v printed:\n%s", args, p.text())
		}
	})
	return p
}

// stop ends a process as a person would, and wants it to end well in time.
func (p process) stop(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it did not stop within 10s")
	}
}

func TestTwoReplicasOfEveryFunctionSurviveTheKillOfOne(t *testing.T) {
	for _, db := range []struct {
		name string
		dsn  func(t *testing.T) string
	}{
		{"sqlite", func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "site.db") }},
		{"postgres", func(t *testing.T) string { return postgrestest.Start(t) }},
	} {
		t.Run(db.name, func(t *testing.T) { killOneReplica(t, db.dsn(t)) })
	}
}

func killOneReplica(t *testing.T, dsn string) {
	server := natstest.Start(t, "site-r")
	api := freeAddress(t)
	env := []string{
		"FEDERATION_SITE_ID=site-r", "FEDERATION_HEARTBEAT_INTERVAL_SECONDS=1", "FEDERATION_DEGRADED_AFTER_SECONDS=5",
		"NATS_URL=" + server.ClientURL(), "DATABASE_URL=" + dsn, "HTTP_LISTEN=" + api,
	}
	if out, err := run(t, env, "migrate").finish(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var behind []string // the gateway
	for _, name := range functions.Names() {
		if name != "gateway" {
			behind = append(behind, name)
		}
	}
	victim := run(t, env, append([]string{"run"}, behind...)...)
	run(t, env, append([]string{"run"}, behind...)...)
	run(t, env, "run", "gateway")

	// Every heartbeat of the site, with when it came.
	bus := natstest.Bus(t, server, "site-r", "listener")
	var mu sync.Mutex
	var beats []time.Time
	if _, err := bus.Conn().Subscribe(subject.Health("site-r"), func(*nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		beats = append(beats, time.Now())
	}); err != nil {
		t.Fatal(err)
	}
	c, err := apiclient.New("http://"+api, apiclient.Attempts(1)) // a failure must show
	if err != nil {
		t.Fatal(err)
	}
	natstest.Within(t, 20*time.Second, "the site is well with two replicas of each", func() bool {
		resp, err := http.Get("http://" + api + "/health")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(body), `"status":"ok","site_id"`) &&
			strings.Contains(victim.text(), "at work")
	})

	const clients = 8
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
					failures.Add(1)
					continue
				}
				taken.Store(a.ID, true)
				count.Add(1)
			}
		})
	}
	natstest.Eventually(t, "the load runs", func() bool { return count.Load() > 100 })
	if err := victim.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	at := count.Load()
	natstest.Within(t, 20*time.Second, "the load goes on without it", func() bool { return count.Load() > at+300 })
	beatsBefore := func() int { mu.Lock(); defer mu.Unlock(); return len(beats) }()
	natstest.Within(t, 20*time.Second, "the heart beats on", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(beats) >= beatsBefore+3
	})
	close(stop)
	load.Wait()
	if n := failures.Load(); n > clients {
		t.Errorf("%d requests failed: more than were in flight on the replica that was killed", n)
	}

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
	// Every alert that was taken is shared, and once.
	page, err := st.ListAlerts(t.Context(), ask.AlertFilter{})
	if err != nil {
		t.Fatal(err)
	}
	natstest.Within(t, 20*time.Second, "the stream has each of them once", func() bool {
		s, err := bus.JetStream().Stream(t.Context(), subject.AlertStream("site-r"))
		return err == nil && s.CachedInfo().State.Msgs == uint64(page.Total)
	})
	if page.Total < int(count.Load()) {
		t.Errorf("%d were taken, %d are stored", count.Load(), page.Total)
	}
	mu.Lock()
	defer mu.Unlock()
	for i := 2; i < len(beats); i++ { // the first may be answered by a nudge
		if gap := beats[i].Sub(beats[i-1]); gap < 400*time.Millisecond {
			t.Errorf("two heartbeats came within %v", gap)
		}
	}
}

// finish waits for a process and gives what it printed.
func (p process) finish() (string, error) {
	err := p.Wait()
	return p.text(), err
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTheDemoAsAProcess(t *testing.T) {
	dir := t.TempDir()
	args := []string{"demo", "--data-dir", dir, "--api-port", "18400", "--nats-port", "14422", "--leaf-port", "17842"}
	up := func(p process) {
		natstest.Within(t, 20*time.Second, "the demo is up", func() bool { return strings.Contains(p.text(), "2 sites are up") })
	}
	p := run(t, nil, args...)
	up(p)
	b, err := apiclient.New("http://127.0.0.1:18402")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := b.Raise(t.Context(), alert("kept over a restart", federation.Critical)); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, nil, args...).finish()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(out, `--api-port: "18400" is not allowed: a free port`) {
		t.Errorf("a second one on the same ports: %v: %s", err, out)
	}
	p.stop(t)
	if !strings.Contains(p.text(), "Stopped.") {
		t.Errorf("it printed %s", p.text())
	}

	p = run(t, nil, args...)
	up(p)
	a, err := apiclient.New("http://127.0.0.1:18400")
	if err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the alert is at the peer after the restart", func() bool {
		page, err := a.Alerts(t.Context(), ask.AlertFilter{Source: "federation:site-b"})
		return err == nil && page.Total == 1
	})
	p.stop(t)
}

func TestTheNATSCommandShowsTheFunctionsOfEverySite(t *testing.T) {
	cli, err := exec.LookPath("nats")
	if err != nil {
		if strings.Contains(os.Getenv("AURORAMESH_TEST_REQUIRE"), "nats") {
			t.Fatal("the nats command is required and not on the PATH")
		}
		t.Skip("SKIPPED: the nats command is not on the PATH; go install github.com/nats-io/natscli/nats@v0.5.0")
	}
	m := start(t, demo.Options{})
	nats := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(cli, append([]string{"-s", m.Sites[0].NATS, "micro"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("nats micro %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	list := nats("ls", "--json")
	for _, name := range functions.Names() {
		if info := nats("info", name, "--json"); !strings.Contains(info, `"name": "`+name+`"`) || !strings.Contains(info, `aurora.site.`) {
			t.Errorf("nats micro info %s shows no endpoint of it: %s", name, info)
		}
		if n := strings.Count(list, `"name": "`+name+`"`); n < 2 {
			t.Errorf("nats micro ls shows %s %d times: there are two sites", name, n)
		}
		if stats := nats("stats", name); !strings.Contains(stats, "site-a_"+name) || !strings.Contains(stats, "site-b_"+name) {
			t.Errorf("nats micro stats %s does not show both sites: %s", name, stats)
		}
	}
	for _, want := range []string{`"site": "site-a"`, `"site": "site-b"`, `"tier": "primary"`, `"tier": "secondary"`, `"version": "0.0.1"`} {
		if !strings.Contains(list, want) {
			t.Errorf("nats micro ls does not show %s", want)
		}
	}
}
