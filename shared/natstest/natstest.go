// Package natstest starts real NATS servers in tests: embedded, with JetStream in
// a temporary directory, ready in milliseconds.
package natstest

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
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
	o.JetStream = true
	return StartPlain(t, o)
}

// StartPlain is [StartOptions] for a server that need not have JetStream.
func StartPlain(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoSigs, o.NoLog = "127.0.0.1", true, true
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatalf("making a NATS server: %v", err)
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server did not start within 30s")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// Lose stops a server, removes all that its JetStream kept, and runs an empty one of
// the same site at the same address until the test ends.
func Lose(t testing.TB, s *server.Server, site federation.SiteID) *server.Server {
	t.Helper()
	addr, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("the NATS server listens at %v", s.Addr())
	}
	dir := s.StoreDir()
	s.Shutdown()
	s.WaitForShutdown()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	return StartOptions(t, &server.Options{ServerName: string(site), JetStreamDomain: subject.Domain(site), StoreDir: t.TempDir(), Port: addr.Port})
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
	b.Identify(Key(t, site), Keys{})
	return b
}

// Run runs a function on its bus until the test ends, and returns once it is ready.
func Run(t testing.TB, b *function.Bus, f function.Function) {
	t.Helper()
	RunMeasured(t, b, f, prometheus.NewRegistry())
}

// RunMeasured is [Run] with the figures of the runtime in a registry.
func RunMeasured(t testing.TB, b *function.Bus, f function.Function, figures prometheus.Registerer) {
	t.Helper()
	r, err := function.Start(f, b, function.NewMetrics(figures), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := r.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	Eventually(t, f.Name+" is ready", func() bool { return r.NotReady(t.Context()) == nil })
}

// Key is the key with which a site of a test signs: always the same for its name.
func Key(t testing.TB, site federation.SiteID) *identity.Identity {
	t.Helper()
	i, err := key(string(site))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func key(site string) (*identity.Identity, error) {
	return identity.FromSeed(sha256.Sum256([]byte(site)))
}

// Keys knows the [Key] of every site of a test.
type Keys struct{}

// VerifyAll implements [function.Keyring].
func (k Keys) VerifyAll(ctx context.Context, all []identity.Claim, introduces bool) []error {
	errs := make([]error, len(all))
	for i, c := range all {
		errs[i] = k.Verify(ctx, c.Key, c.Proof, c.Statement, introduces)
	}
	return errs
}

// Verify implements [function.Keyring].
func (Keys) Verify(_ context.Context, public string, proof identity.Proof, s identity.Statement, _ bool) error {
	i, err := key(s.Site)
	switch {
	case err != nil:
		return err
	case public == "" || len(proof.Signature) == 0:
		return &identity.Refusal{Reason: identity.Unsigned, Site: s.Site}
	case identity.Verify(public, s, proof) != nil:
		return &identity.Refusal{Reason: identity.BadSignature, Site: s.Site}
	case i.Key() != public:
		return &identity.Refusal{Reason: identity.WrongKey, Site: s.Site, Key: public}
	}
	return nil
}

// Eventually waits until ok holds, and fails the test where it does not within half a minute.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	Within(t, 30*time.Second, what, ok)
}

// Within is [Eventually] with a time of the caller's. The longer it waits the more seldom it
// looks, for a look takes of the processors what it is waited for to happen.
func Within(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for begun := time.Now(); !ok(); {
		waited := time.Since(begun)
		if waited > d {
			t.Fatalf("waited %v in vain until %s", d, what)
		}
		time.Sleep(min(max(waited/20, 5*time.Millisecond), 100*time.Millisecond))
	}
}
