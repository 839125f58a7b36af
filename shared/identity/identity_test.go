package identity_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/identity"
)

func made(t testing.TB) *identity.Identity {
	t.Helper()
	i, err := identity.New()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestAnIdentityIsMadeOnceAndReadThen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	keys := make([]string, 8)
	var all sync.WaitGroup
	for n := range keys {
		all.Go(func() {
			i, err := identity.Open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			keys[n] = i.Key()
		})
	}
	all.Wait()
	for _, k := range keys {
		if k != keys[0] || !identity.ValidKey(k) {
			t.Fatalf("the keys are %q", keys)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != identity.File {
		t.Fatalf("the directory holds %v, %v", files, err)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
}

func TestAFileThatOthersMayReadOrThatHoldsNoKeyIsRefusedWithoutTellingIt(t *testing.T) {
	for name, c := range map[string]struct {
		mode          os.FileMode
		text, allowed string
	}{
		"readable by all": {0o644, "", "chmod 600"},
		"no key":          {0o600, "SUSECRETSECRET", "the seed of an nkey"},
		"empty":           {0o600, "\n", "the seed of an nkey"},
	} {
		dir := t.TempDir()
		if _, err := identity.Open(dir); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, identity.File)
		if c.text != "" {
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := identity.Open(dir)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.allowed) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASignatureHoldsForItsStatementAlone(t *testing.T) {
	own, other := made(t), made(t)
	said := identity.Statement{Kind: identity.Message, Site: "site-b", Subject: "aurora.alerts.federation.high", Body: []byte(`{"n":1}`)}
	sig := own.Sign(said)
	if err := identity.Verify(own.Key(), said, identity.Proof{Signature: sig}); err != nil {
		t.Errorf("the statement itself: %v", err)
	}
	for name, change := range map[string]func(*identity.Statement){
		"another kind":     func(s *identity.Statement) { s.Kind = identity.Answer },
		"another site":     func(s *identity.Statement) { s.Site = "site-c" },
		"another subject":  func(s *identity.Statement) { s.Subject = "aurora.alerts.federation.critical" },
		"another question": func(s *identity.Statement) { s.Regarding = "x" },
		"another body":     func(s *identity.Statement) { s.Body = []byte(`{"n":2}`) },
		"a part moved": func(s *identity.Statement) {
			s.Subject, s.Body = "aurora", append([]byte(".alerts.federation.high\n\n"), s.Body...)
		},
	} {
		forged := said
		change(&forged)
		if err := identity.Verify(own.Key(), forged, identity.Proof{Signature: sig}); !errors.Is(err, identity.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	flipped := bytes.Clone(sig)
	flipped[0] ^= 1
	for name, c := range map[string]struct {
		key string
		sig []byte
	}{"another key": {other.Key(), sig}, "no key": {"", sig}, "a key that is none": {"U" + strings.Repeat("A", 55), sig}, "no signature": {own.Key(), nil}, "half": {own.Key(), sig[:32]}, "flipped": {own.Key(), flipped}} {
		if err := identity.Verify(c.key, said, identity.Proof{Signature: c.sig}); !errors.Is(err, identity.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// BenchmarkSign and BenchmarkVerify are of an alert of 1 KB.
func BenchmarkSign(b *testing.B) {
	own, s := made(b), identity.Statement{Kind: identity.Message, Site: "site-b", Subject: "aurora.alerts.federation.high", Body: make([]byte, 1024)}
	for b.Loop() {
		own.Sign(s)
	}
}

func BenchmarkVerify(b *testing.B) {
	own, s := made(b), identity.Statement{Kind: identity.Message, Site: "site-b", Subject: "aurora.alerts.federation.high", Body: make([]byte, 1024)}
	sig := own.Sign(s)
	for b.Loop() {
		if err := identity.Verify(own.Key(), s, identity.Proof{Signature: sig}); err != nil {
			b.Fatal(err)
		}
	}
}
