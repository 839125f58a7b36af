package function_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// lines is what a log wrote.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// counted counts how often a connection is tried.
type counted struct{ tries atomic.Int64 }

func (c *counted) Dial(network, address string) (net.Conn, error) {
	c.tries.Add(1)
	return net.DialTimeout(network, address, 5*time.Second)
}

// guarded is a NATS server that lets the functions in by a password, which can be changed.
type guarded struct {
	*server.Server
	port int
}

func startGuarded(t *testing.T, password string) guarded {
	t.Helper()
	g := guarded{port: server.RANDOM_PORT}
	g.Server = natstest.StartPlain(t, g.options(password))
	addr, ok := g.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("the NATS server listens at %v", g.Addr())
	}
	g.port = addr.Port
	return g
}

func (g guarded) options(password string) *server.Options {
	return &server.Options{ServerName: "site-a", Host: "127.0.0.1", Port: g.port, NoSigs: true, NoLog: true, Username: "functions", Password: password}
}

func (g guarded) reload(t *testing.T, password string) {
	t.Helper()
	if err := g.ReloadOptions(g.options(password)); err != nil {
		t.Fatal(err)
	}
}

// A server whose file of users is wrong for a while must not end functions for good: their
// processes would stay, and do nothing.
func TestAFunctionThatIsRefusedForAWhileConnectsAgain(t *testing.T) {
	t.Parallel()
	s := startGuarded(t, "right")
	var log lines
	var dialer counted
	c, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b, err := function.Connect(c, natstest.Identity(site), "heartbeat", s.ClientURL(), slog.New(slog.NewTextHandler(&log, nil)),
		nats.UserInfo("functions", "right"), nats.SetCustomDialer(&dialer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Conn().Close)
	s.reload(t, "another")
	natstest.Eventually(t, "it was refused three times", func() bool { return dialer.tries.Load() >= 5 || b.Conn().IsClosed() })
	s.reload(t, "right")
	natstest.Eventually(t, "it is connected again", func() bool { return b.Conn().IsConnected() || b.Conn().IsClosed() })
	if b.Conn().IsClosed() {
		t.Fatal("the connection was given up")
	}
	if n := log.count("the NATS server refuses the function"); n != 1 {
		t.Errorf("the refusal is told %d times, want once in half a minute", n)
	}
}

// Who starts while the server reads its configuration anew may be refused for a moment.
func TestAFunctionThatIsRefusedAsItStartsTriesAgain(t *testing.T) {
	t.Parallel()
	s := startGuarded(t, "another")
	var log lines
	var dialer counted
	done := make(chan error, 1)
	go func() {
		b, err := function.Connect(t.Context(), natstest.Identity(site), "heartbeat", s.ClientURL(), slog.New(slog.NewTextHandler(&log, nil)),
			nats.UserInfo("functions", "right"), nats.SetCustomDialer(&dialer))
		if err == nil {
			b.Conn().Close()
		}
		done <- err
	}()
	natstest.Eventually(t, "it was refused twice", func() bool { return dialer.tries.Load() >= 3 || len(done) > 0 })
	s.reload(t, "right")
	if err := <-done; err != nil {
		t.Errorf("it gave up: %v", err)
	}
	if n := log.count("the NATS server refuses the function; trying again"); n != 1 {
		t.Errorf("the refusal is told %d times, want once", n)
	}
}

// A wrong credential ends a start, which says whom the server refuses and no password.
func TestAFunctionThatIsRefusedForGoodEnds(t *testing.T) {
	t.Parallel() // it takes as long as a refusal may
	s := startGuarded(t, "right")
	url := strings.Replace(s.ClientURL(), "nats://", "nats://functions:wrong@", 1)
	_, err := function.Connect(t.Context(), natstest.Identity(site), "heartbeat", url, slog.New(slog.DiscardHandler))
	if !errors.Is(err, nats.ErrAuthorization) || !strings.Contains(err.Error(), "connecting the function heartbeat to NATS at nats://functions:xxxxx@127.0.0.1") {
		t.Errorf("it ends with %v", err)
	}
}

// Who has less time than a refusal may take, such as auroramesh doctor, hears of the refusal too.
func TestARefusalIsToldWhenTheTimeToConnectIsOver(t *testing.T) {
	t.Parallel()
	s := startGuarded(t, "right")
	c, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := function.Connect(c, natstest.Identity(site), "doctor", s.ClientURL(), slog.New(slog.DiscardHandler), nats.UserInfo("functions", "wrong"))
	if !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("it ends with %v", err)
	}
}

// Who starts a process before its server, or with the wrong authority, sees why nothing happens.
func TestAServerThatCannotBeReachedIsToldWhileItIsWaitedFor(t *testing.T) {
	t.Parallel()
	var log lines
	c, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := function.Connect(c, natstest.Identity(site), "heartbeat", "nats://127.0.0.1:1", slog.New(slog.NewTextHandler(&log, nil)))
		done <- err
	}()
	natstest.Eventually(t, "it is told", func() bool { return log.count("NATS cannot be reached yet") == 1 })
	cancel()
	if err := <-done; err == nil {
		t.Error("it is connected")
	}
}

// A connection that is lost while a function registers comes back with its subscriptions, so
// the function goes on.
func TestAFunctionWhoseConnectionIsLostAsItStartsGoesOn(t *testing.T) {
	s := natstest.Start(t, site)
	line := natstest.Line(t, strings.TrimPrefix(s.ClientURL(), "nats://"))
	b, err := function.Connect(ctx(t), natstest.Identity(site), "heartbeat", "nats://"+line.Addr(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Conn().Close)
	line.Set(linkproxy.BlackHole) // so that the server confirms nothing
	type started struct {
		running *function.Running
		err     error
	}
	done := make(chan started, 1)
	before := b.Conn().NumSubscriptions()
	go func() {
		r, err := function.Start(function.Function{Name: "heartbeat"}, b, function.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
		done <- started{r, err}
	}()
	natstest.Eventually(t, "it registers", func() bool { return b.Conn().NumSubscriptions() > before })
	line.Set(linkproxy.Cut)
	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	t.Cleanup(func() { stop(t, got.running) })
	line.Set(linkproxy.Pass)
	natstest.Eventually(t, "it answers", func() bool {
		_, err := function.Ask(ctx(t), b, site, function.HealthEndpoint("heartbeat"), struct{}{})
		return err == nil
	})
}

// While its own connection is lost a function knows nothing of the others, and does not say
// that they do not run: not while the server is away, and not when it is back before them.
func TestWhoHasLostNATSSaysSoOfNobodyElse(t *testing.T) {
	t.Parallel()
	s := startGuarded(t, "right")
	c, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b, err := function.Connect(c, natstest.Identity(site), "gateway", s.ClientURL(), slog.New(slog.DiscardHandler), nats.UserInfo("functions", "right"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Conn().Close)
	endpoint := function.Endpoint[struct{}, struct{}]{Function: "alertintake", Name: "raise"}
	ask := func(ctx context.Context) error {
		_, err := function.Ask(ctx, b, site, endpoint, struct{}{})
		return err
	}
	if err := ask(c); err == nil || err.Error() != "no replica of the function alertintake runs at site-a" {
		t.Errorf("with NATS: %v", err)
	}
	s.Shutdown()
	s.WaitForShutdown()
	natstest.Eventually(t, "the connection is lost", func() bool { return !b.Conn().IsConnected() })
	soon, over := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer over()
	away := ask(soon)
	back := make(chan error)
	buffered, _ := b.Conn().Buffered()
	go func() { back <- ask(c) }()
	natstest.Eventually(t, "the next question waits for the server", func() bool { n, _ := b.Conn().Buffered(); return n > buffered })
	natstest.StartPlain(t, s.options("right"))
	for when, err := range map[string]error{"while the server is away": away, "once it is back": <-back} {
		if !fault.Is(err, fault.Unavailable) || err.Error() != "NATS cannot be reached" {
			t.Errorf("%s: %v", when, err)
		}
	}
}
