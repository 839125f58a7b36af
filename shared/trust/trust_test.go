package trust_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
	"github.com/auroramesh/auroramesh/shared/trust"
)

func TestAKeyringBelievesTheFirstKeyOfASiteAndNoOther(t *testing.T) {
	st := storetest.Open(t)
	var said strings.Builder
	ring := trust.New("site-a", st, slog.New(slog.NewTextHandler(&said, nil)), time.Now)
	key, other := natstest.Key(t, "site-b"), natstest.Key(t, "site-x")
	s := identity.Statement{Kind: identity.Message, Site: "site-b", Subject: "aurora.federation.health.site-b", Body: []byte("I live")}
	verify := func(by *identity.Identity, introduces bool) error {
		return ring.Verify(t.Context(), by.Key(), identity.Proof{Signature: by.Sign(s)}, s, introduces)
	}
	refused := func(what string, err error, want identity.Reason) {
		t.Helper()
		var r *identity.Refusal
		if !errors.As(err, &r) || r.Reason != want || !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := verify(key, false); !fault.Is(err, fault.Unavailable) {
		t.Errorf("an alert before the first gossip: %v", err)
	}
	refused("nothing signed, and nobody known", ring.Verify(t.Context(), "", identity.Proof{}, s, true), identity.Unsigned)
	if keys, err := st.TrustedKeys(t.Context(), "site-a"); err != nil || len(keys) != 0 {
		t.Errorf("who is not known is noted: %+v, %v", keys, err)
	}
	for range 2 {
		if err := verify(key, true); err != nil {
			t.Errorf("its gossip: %v", err)
		}
	}
	refused("another key", verify(other, true), identity.WrongKey)
	refused("no signature", ring.Verify(t.Context(), key.Key(), identity.Proof{}, s, true), identity.Unsigned)
	refused("that of something else", ring.Verify(t.Context(), key.Key(), identity.Proof{Signature: key.Sign(identity.Statement{Site: "site-b"})}, s, true), identity.BadSignature)
	if err := ring.Verify(t.Context(), key.Key(), identity.Proof{Signature: key.Sign(s)}, identity.Statement{Site: "*"}, true); !fault.Is(err, fault.Invalid) {
		t.Errorf("in the name of no site: %v", err)
	}

	// What another replica has pinned holds here at once.
	if _, err := st.PinKey(t.Context(), "site-a", "site-b", other.Key(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := verify(other, false); err != nil {
		t.Errorf("the key that was pinned: %v", err)
	}
	refused("the old key", verify(key, true), identity.WrongKey)
	together := []identity.Statement{s, {Kind: identity.Message, Site: "site-b", Body: []byte("2")}}
	proofs := other.SignTogether(together)
	if err := ring.Verify(t.Context(), other.Key(), proofs[0], together[0], false); err != nil {
		t.Errorf("what was signed together: %v", err)
	}
	keys, err := st.TrustedKeys(t.Context(), "site-a")
	if err != nil || len(keys) != 1 || keys[0].PinnedBy != federation.Administrator || keys[0].Refused == nil || keys[0].Refused.Key != key.Key() {
		t.Errorf("the keys are %+v, %v", keys, err)
	}

	// A root that is remembered does not keep its key.
	if _, err := st.PinKey(t.Context(), "site-a", "site-b", key.Key(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := verify(key, false); err != nil {
		t.Errorf("the key that was pinned again: %v", err)
	}
	refused("what was signed together with a key that is pinned no more", ring.Verify(t.Context(), other.Key(), proofs[1], together[1], false), identity.WrongKey)

	if err := errors.Join(ring.Own(t.Context(), "K1"), ring.Own(t.Context(), "K1")); err != nil || strings.Contains(said.String(), "another key before") {
		t.Errorf("the own key: %v, %s", err, &said)
	}
	if err := ring.Own(t.Context(), "K2"); err != nil || !strings.Contains(said.String(), "another key before") {
		t.Errorf("another own key: %v, %s", err, &said)
	}
}

func TestACrowdThatComesTogetherBecomesKnownTogether(t *testing.T) {
	st := storetest.Open(t)
	ring := trust.New("site-a", st, slog.New(slog.DiscardHandler), time.Now)
	claim := func(site federation.SiteID, by *identity.Identity) identity.Claim {
		s := identity.Statement{Kind: identity.Message, Site: string(site), Subject: "aurora.federation.health." + string(site), Body: []byte("I live")}
		return identity.Claim{Key: by.Key(), Proof: identity.Proof{Signature: by.Sign(s)}, Statement: s}
	}
	const crowd = 300
	var all []identity.Claim
	for i := range crowd {
		all = append(all, claim(storetest.SiteOf(i), natstest.Key(t, storetest.SiteOf(i))))
	}
	for _, err := range ring.VerifyAll(t.Context(), all, false) {
		if !fault.Is(err, fault.Unavailable) {
			t.Fatalf("before the first gossip: %v", err)
		}
	}
	forged, unsigned := claim(storetest.SiteOf(7), natstest.Key(t, "site-x")), claim("site-u", natstest.Key(t, "site-u"))
	unsigned.Proof.Signature = nil
	all = append(all, forged, unsigned)
	for i, err := range ring.VerifyAll(t.Context(), all, true) {
		var r *identity.Refusal
		switch {
		case i < crowd && err != nil:
			t.Errorf("the gossip of %s: %v", all[i].Statement.Site, err)
		case i == crowd && (!errors.As(err, &r) || r.Reason != identity.WrongKey):
			t.Errorf("a second key for one of them: %v", err)
		case i == crowd+1 && (!errors.As(err, &r) || r.Reason != identity.Unsigned):
			t.Errorf("what is not signed: %v", err)
		}
	}
	keys, err := st.TrustedKeys(t.Context(), "site-a")
	if err != nil || len(keys) != crowd {
		t.Errorf("%d keys are pinned, %v", len(keys), err)
	}
	pinnedAt := keys[0].PinnedAt
	for _, k := range keys {
		if !k.PinnedAt.Equal(pinnedAt) {
			t.Fatalf("the key of %s was pinned by itself, at %s", k.Site, k.PinnedAt)
		}
	}
}

// One alert of a site whose key was read just now needs none of what a crowd does.
func TestOneClaimOfAKnownSiteIsCheap(t *testing.T) {
	st := storetest.Open(t)
	ring := trust.New("site-a", st, slog.New(slog.DiscardHandler), time.Now)
	key := natstest.Key(t, "site-b")
	s := identity.Statement{Kind: identity.Message, Site: "site-b", Subject: "aurora.federation.health.site-b", Body: []byte("I live")}
	proof := identity.Proof{Signature: key.Sign(s)}
	all := []identity.Claim{{Key: key.Key(), Proof: proof, Statement: s}}
	one := testing.AllocsPerRun(1000, func() {
		if err := ring.Verify(t.Context(), key.Key(), proof, s, true); err != nil {
			t.Fatal(err)
		}
	})
	together := testing.AllocsPerRun(1000, func() {
		if err := ring.VerifyAll(t.Context(), all, true)[0]; err != nil {
			t.Fatal(err)
		}
	})
	if one >= together {
		t.Errorf("one claim makes %v allocations, as many as a crowd of one with its %v", one, together)
	}
}

func BenchmarkVerify(b *testing.B) {
	st := storetest.Open(b)
	ring := trust.New("site-a", st, slog.New(slog.DiscardHandler), time.Now)
	key := natstest.Key(b, "site-b")
	s := identity.Statement{Kind: identity.Message, Site: "site-b", Subject: "aurora.federation.health.site-b", Body: []byte("I live")}
	proof := identity.Proof{Signature: key.Sign(s)}
	for b.Loop() {
		if err := ring.Verify(b.Context(), key.Key(), proof, s, true); err != nil {
			b.Fatal(err)
		}
	}
}
