package identity_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/identity"
)

// said are n statements of a site, no two alike.
func said(n int) []identity.Statement {
	out := make([]identity.Statement, n)
	for i := range out {
		out[i] = identity.Statement{Kind: identity.Message, Site: "site-b", Subject: "aurora.alerts.federation.high", Body: fmt.Appendf(nil, "body %d", i)}
	}
	return out
}

func TestWhatIsSignedTogetherIsProvedEachByItself(t *testing.T) {
	own, other := made(t), made(t)
	for n := range 2*identity.MaxTogether + 2 {
		statements := said(n)
		proofs := own.SignTogether(statements)
		if len(proofs) != n {
			t.Fatalf("%d proofs for %d statements", len(proofs), n)
		}
		signatures := map[string]bool{}
		for i, p := range proofs {
			signatures[string(p.Signature)] = true
			if err := identity.Verify(own.Key(), statements[i], p); err != nil {
				t.Errorf("%d of %d: %v", i, n, err)
			}
			if err := identity.Verify(other.Key(), statements[i], p); !errors.Is(err, identity.ErrSignature) {
				t.Errorf("%d of %d, by another key: %v", i, n, err)
			}
			if p.Place == nil { // alone
				continue
			}
			read, err := identity.ParsePlace(p.Place.String())
			if err != nil || read.String() != p.Place.String() {
				t.Errorf("%d of %d is at %+v, read as %+v, %v", i, n, p.Place, read, err)
			}
		}
		if most := (n + identity.MaxTogether - 1) / identity.MaxTogether; len(signatures) != most {
			t.Errorf("%d signatures for %d statements, want %d", len(signatures), n, most)
		}
	}
}

// Nothing that a message bears can be changed: no verifier takes it, neither one that
// sees the root for the first time nor one that remembers it.
func TestAProofHoldsForItsStatementAlone(t *testing.T) {
	own := made(t)
	rapid.Check(t, func(t *rapid.T) {
		statements := said(rapid.IntRange(2, identity.MaxTogether).Draw(t, "size"))
		proofs := own.SignTogether(statements)
		i := rapid.IntRange(0, len(statements)-1).Draw(t, "which")
		s, p := statements[i], proofs[i]
		var knowing identity.Verifier
		if err := knowing.Verify(own.Key(), s, p); err != nil {
			t.Fatalf("the statement itself: %v", err)
		}
		place := *p.Place
		place.Path = slices.Clone(place.Path)
		p.Place, p.Signature = &place, bytes.Clone(p.Signature)
		bit := byte(1) << rapid.IntRange(0, 7).Draw(t, "bit")
		in := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "byte") }
		change := rapid.SampledFrom([]string{"body", "site", "subject", "kind", "signature", "path", "index", "size", "longer", "shorter", "another's place", "another's body", "another tree's place", "no place"}).Draw(t, "change")
		switch change {
		case "body":
			s.Body = bytes.Clone(s.Body)
			s.Body[in(len(s.Body))] ^= bit
		case "site":
			s.Site = "site-c"
		case "subject":
			s.Subject = "aurora.alerts.federation.critical"
		case "kind":
			s.Kind = identity.Answer
		case "signature":
			p.Signature[in(len(p.Signature))] ^= bit
		case "path":
			place.Path[in(len(place.Path))][in(32)] ^= bit
		case "index":
			place.Index = rapid.Uint32().Filter(func(n uint32) bool { return n != place.Index }).Draw(t, "index")
		case "size":
			place.Size = rapid.Uint32().Filter(func(n uint32) bool { return n != place.Size }).Draw(t, "size")
		case "longer":
			place.Path = append(place.Path, place.Path[0])
		case "shorter":
			place.Path = place.Path[:len(place.Path)-1]
		case "another's place":
			p.Place = proofs[(i+1)%len(proofs)].Place
		case "another's body":
			s.Body = statements[(i+1)%len(statements)].Body
		case "another tree's place":
			others := slices.Clone(statements)
			j := (i + 1) % len(others)
			others[j].Body = []byte("of another tree")
			p.Place = own.SignTogether(others)[i].Place
		case "no place":
			p.Place = nil
		}
		for name, v := range map[string]*identity.Verifier{"one that knows nothing": nil, "one that knows the root": &knowing} {
			if err := v.Verify(own.Key(), s, p); !errors.Is(err, identity.ErrSignature) {
				t.Errorf("%s, %s changed: %v", name, change, err)
			}
		}
	})
}

func TestWhatIsSignedAloneIsNoTree(t *testing.T) {
	own, s := made(t), said(1)[0]
	if err := identity.Verify(own.Key(), s, identity.Proof{Signature: own.Sign(s), Place: &identity.Place{Size: 1}}); !errors.Is(err, identity.ErrSignature) {
		t.Errorf("a statement as a tree of one: %v", err)
	}
}

// A verifier forgets, and verifies again then.
func TestAVerifierOfManyRootsStaysRight(t *testing.T) {
	own := made(t)
	var v identity.Verifier
	type kept struct {
		s identity.Statement
		p identity.Proof
	}
	var all []kept
	for n := range 1200 {
		statements := said(2)
		statements[0].Body = fmt.Appendf(nil, "tree %d", n)
		proofs := own.SignTogether(statements)
		all = append(all, kept{statements[0], proofs[0]})
		if err := v.Verify(own.Key(), statements[1], proofs[1]); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range all {
		if err := v.Verify(own.Key(), k.s, k.p); err != nil {
			t.Fatal(err)
		}
		k.p.Signature = bytes.Clone(k.p.Signature)
		k.p.Signature[0] ^= 1
		if err := v.Verify(own.Key(), k.s, k.p); !errors.Is(err, identity.ErrSignature) {
			t.Fatalf("a signature that was changed: %v", err)
		}
	}
}

func TestATextThatIsNoPlaceIsRefused(t *testing.T) {
	good := made(t).SignTogether(said(5))[3].Place.String()
	for name, text := range map[string]string{
		"empty": "", "no base64": "!", "cut": good[:len(good)-1], "half a hash": good[:40], "longer": good + "A", "the end of a line": good[:8] + "\n" + good[8:],
		"padded": good + "=", "with bits left over": good[:len(good)-1] + "B", "beyond the end": "AAAABQAAAAU", "no path": "AAAAAAAAAAI", "far too long": string(bytes.Repeat([]byte("A"), 10_000)),
	} {
		if p, err := identity.ParsePlace(text); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func FuzzParsePlace(f *testing.F) {
	for _, p := range made(f).SignTogether(said(5)) {
		f.Add(p.Place.String())
	}
	f.Add("AAAAAAAAAAE")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := identity.ParsePlace(text)
		if err != nil {
			return
		}
		if p.String() != text {
			t.Errorf("%q is read as %+v, which is written %q", text, p, p)
		}
		if err := identity.Verify(made(t).Key(), said(1)[0], identity.Proof{Signature: make([]byte, 64), Place: p}); !errors.Is(err, identity.ErrSignature) {
			t.Errorf("%+v proves something: %v", p, err)
		}
	})
}

// BenchmarkSignTogether and BenchmarkVerifyTogether are of 500 alerts of 1 KB, a figure for one of them.
func BenchmarkSignTogether(b *testing.B) {
	own, statements := made(b), large(500)
	for b.Loop() {
		own.SignTogether(statements)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(statements)), "ns/alert")
}

func BenchmarkVerifyTogether(b *testing.B) {
	own, statements := made(b), large(500)
	proofs := own.SignTogether(statements)
	for b.Loop() {
		var v identity.Verifier
		for i, p := range proofs {
			if err := v.Verify(own.Key(), statements[i], p); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(statements)), "ns/alert")
}

func large(n int) []identity.Statement {
	statements := said(n)
	for i := range statements {
		statements[i].Body = append(statements[i].Body, make([]byte, 1024)...)
	}
	return statements
}
