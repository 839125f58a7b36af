package authority_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func create(t *testing.T) (*authority.Authority, string) {
	t.Helper()
	dir := t.TempDir()
	a, err := authority.Create(dir, "site-a", []string{"hub.example.org"}, now)
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

func shut(t *testing.T, a *authority.Authority) {
	t.Helper()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func parse(t *testing.T, p authority.Pair) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(p.Cert)
	return must(x509.ParseCertificate(block.Bytes))(t)
}

func TestACertificateNamesItsUserAndNothingElseDoes(t *testing.T) {
	a, dir := create(t)
	defer shut(t, a)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(filepath.Join(dir, authority.CertFile)))(t))
	pair := must(a.Enrol("site-b", []string{"nats.b.example.org", "192.0.2.1"}, now, 90*day))(t)
	cert := parse(t, pair)
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			t.Errorf("it is not good for use %d: %v", use, err)
		}
	}
	if len(cert.URIs) != 1 || cert.URIs[0].String() != authority.User("site-b", pair.Serial) || len(cert.EmailAddresses) != 0 {
		t.Errorf("its names are %v and %v", cert.URIs, cert.EmailAddresses)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "nats.b.example.org", "192.0.2.1"} {
		if err := cert.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	server := parse(t, must(a.ServerPair(now, 90*day))(t))
	if len(server.URIs) != 0 || slices.Contains(server.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		t.Error("with the certificate of the primary's server somebody may join")
	}
	if err := server.VerifyHostname("hub.example.org"); err != nil {
		t.Error(err)
	}
	long := parse(t, must(a.Enrol("site-c", nil, now, 100*365*day))(t))
	if long.NotAfter.After(a.NotAfter()) {
		t.Error("a certificate holds longer than that of its authority")
	}
}

func TestWhoHoldsAtWhichTime(t *testing.T) {
	a, dir := create(t)
	one := must(a.Enrol("site-b", nil, now, 90*day))(t)
	two := must(a.Rotate("site-b", now.Add(10*day), 90*day, 7*day))(t)
	other := must(a.Enrol("site-c", nil, now, 30*day))(t)
	if err := a.Revoke("site-c", now.Add(20*day)); err != nil {
		t.Fatal(err)
	}
	shut(t, a)
	a = must(authority.Open(dir))(t)
	defer shut(t, a)
	user := func(site federation.SiteID, p authority.Pair) string { return authority.User(site, p.Serial) }
	for after, want := range map[time.Duration][]string{
		11 * day:  {user("site-b", one), user("site-b", two), user("site-c", other)},
		18 * day:  {user("site-b", two), user("site-c", other)},
		21 * day:  {user("site-b", two)},
		101 * day: nil,
	} {
		var got []string
		for _, users := range a.Users(now.Add(after)) {
			got = append(got, users...)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("after %d days %q hold, want %q", after/day, got, want)
		}
	}
	if _, err := a.Rotate("site-c", now, day, 0); !fault.Is(err, fault.Conflict) {
		t.Errorf("a revoked site gets a certificate by rotating: %v", err)
	}
	again := must(a.Enrol("site-c", nil, now.Add(22*day), 30*day))(t)
	if users := a.Users(now.Add(23 * day))["site-c"]; len(users) != 1 || users[0] != user("site-c", again) {
		t.Errorf("after it was let in again %q hold", users)
	}
}

func TestADirectoryThatIsNotSoundIsRefused(t *testing.T) {
	for what, c := range map[string]struct {
		file, text, says string
		code             fault.Code
	}{
		"a register that is cut short":  {"register.json", `{"version": 1`, "cannot be read", fault.Malformed},
		"a register of a later program": {"register.json", `{"version": 2}`, "has the version 2", fault.Unsupported},
		"a key that is none":            {"ca.key", "none", "is not PEM", fault.Malformed},
		"a certificate that is none":    {"ca.crt", "", "is not PEM", fault.Malformed},
	} {
		a, dir := create(t)
		shut(t, a)
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := authority.Open(dir); !fault.Is(err, c.code) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	a, dir := create(t)
	shut(t, a)
	other, from := create(t)
	shut(t, other)
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), must(os.ReadFile(filepath.Join(from, "ca.key")))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := authority.Open(dir); err == nil || !strings.Contains(err.Error(), "does not belong to its certificate") {
		t.Errorf("the key of another authority: %v", err)
	}
	for _, path := range []string{"ca.key", "register.json"} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s may be read by others: %v", path, info.Mode())
		}
	}
}

func TestAnAuthorityIsOpenOnceAtATime(t *testing.T) {
	a, dir := create(t)
	opened := make(chan error)
	go func() {
		b, err := authority.Open(dir)
		if err == nil {
			if _, known := b.Enrolled()["site-b"]; !known {
				t.Error("the second does not know what the first did")
			}
			err = b.Close()
		}
		opened <- err
	}()
	if _, err := a.Enrol("site-b", nil, now, day); err != nil {
		t.Fatal(err)
	}
	select {
	case <-opened:
		t.Error("it is open twice")
	default:
	}
	shut(t, a)
	if err := <-opened; err != nil {
		t.Error(err)
	}
}
