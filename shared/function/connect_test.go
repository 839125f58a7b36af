package function_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/shared/function"
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

// A server whose file of users is wrong for a while must not end functions for good: their
// processes would stay, and do nothing.
func TestAFunctionThatIsRefusedForAWhileConnectsAgain(t *testing.T) {
	options := func(password string, port int) *server.Options {
		return &server.Options{ServerName: "site-a", Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, Username: "functions", Password: password}
	}
	s := natstest.StartPlain(t, options("right", server.RANDOM_PORT))
	addr, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("the NATS server listens at %v", s.Addr())
	}
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
	reload := func(password string) {
		t.Helper()
		if err := s.ReloadOptions(options(password, addr.Port)); err != nil {
			t.Fatal(err)
		}
	}
	reload("another")
	natstest.Eventually(t, "it was refused three times", func() bool { return dialer.tries.Load() >= 5 || b.Conn().IsClosed() })
	reload("right")
	natstest.Eventually(t, "it is connected again", func() bool { return b.Conn().IsConnected() || b.Conn().IsClosed() })
	if b.Conn().IsClosed() {
		t.Fatal("the connection was given up")
	}
	if n := log.count("the NATS server refuses the function"); n != 1 {
		t.Errorf("the refusal is told %d times, want once in half a minute", n)
	}
}

// Who starts a process before its server, or with the wrong authority, sees why nothing happens.
func TestAServerThatCannotBeReachedIsToldWhileItIsWaitedFor(t *testing.T) {
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
