// Package natstest starts real NATS servers in tests: embedded, with JetStream in
// a temporary directory, ready in milliseconds.
package natstest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// Identity is the site of a test.
func Identity(id federation.SiteID) federation.Identity {
	return federation.Identity{ID: id, Name: "Site " + string(id), Tier: federation.Primary, Version: "0.0.1"}
}

// Start runs a server of a site until the test ends.
func Start(t testing.TB, site federation.SiteID) *server.Server {
	t.Helper()
	return StartOptions(t, &server.Options{ServerName: string(site), JetStreamDomain: subject.Domain(site), StoreDir: t.TempDir()})
}

// StartOptions runs a server with JetStream on loopback until the test ends.
func StartOptions(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.JetStream, o.NoSigs, o.NoLog = "127.0.0.1", true, true, true
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatalf("making a NATS server: %v", err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start within 10s")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// Bus is a connection of a function of site to a server, closed when the test ends.
func Bus(t testing.TB, s *server.Server, site federation.SiteID, name string) *function.Bus {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	b, err := function.Connect(ctx, Identity(site), name, s.ClientURL(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	t.Cleanup(b.Conn().Close)
	return b
}

// Eventually waits until ok holds, and fails the test where it does not within ten seconds.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	Within(t, 10*time.Second, what, ok)
}

// Within is [Eventually] with a time of the caller's.
func Within(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain until %s", d, what)
		}
	}
}
