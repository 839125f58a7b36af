package access_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	accessfn "github.com/auroramesh/auroramesh/functions/access"
	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
)

const own federation.SiteID = "site-a"

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// site is a running access function with a clock that the test moves.
type site struct {
	bus   *function.Bus
	store *store.Store
	mu    sync.Mutex
	at    time.Time
}

func (s *site) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *site) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = s.at.Add(d)
}

func start(t *testing.T) *site {
	t.Helper()
	server := natstest.Start(t, own)
	s := &site{bus: natstest.Bus(t, server, own, "asker"), store: storetest.Open(t), at: noon}
	bus := natstest.Bus(t, server, own, "access")
	natstest.Run(t, bus, accessfn.New(12*time.Hour, s.store, slog.New(slog.DiscardHandler), s.now))
	return s
}

func put[Req, Res any](t *testing.T, s *site, e function.Endpoint[Req, Res], req Req) (Res, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return function.Ask(ctx, s.bus, own, e, req)
}

func create(t *testing.T, s *site, n access.NewKey) (access.MadeKey, ask.KeyProof) {
	t.Helper()
	made, err := put(t, s, ask.CreateKey, ask.KeyRequest{NewKey: n, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return made, ask.KeyProof{ID: made.ID, Hash: access.Hash(made.Secret)}
}

func TestAKeyIsKnownUntilItExpiresOrIsRevoked(t *testing.T) {
	t.Parallel()
	s := start(t)
	expires := noon.Add(time.Hour)
	made, proof := create(t, s, access.NewKey{Name: "sensor", Scopes: []access.Scope{access.AlertsWrite}, ExpiresAt: &expires})
	_, lasting := create(t, s, access.NewKey{Name: "lasting", Scopes: []access.Scope{access.Admin}})

	got, err := put(t, s, ask.CheckKey, proof)
	if err != nil || got.Principal.ID != made.ID || got.Principal.Name != "sensor" || !got.Principal.May(access.AlertsWrite) || got.Principal.May(access.AlertsRead) || got.Until == nil || !got.Until.Equal(expires) {
		t.Errorf("%+v: %v", got, err)
	}
	list, err := put(t, s, ask.ListKeys, ask.Page{})
	if err != nil || list.Total != 2 || list.Items[0].LastUsedAt == nil && list.Items[1].LastUsedAt == nil {
		t.Errorf("%+v: %v", list, err)
	}
	s.pass(time.Hour)
	if _, err := put(t, s, ask.CheckKey, proof); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("an expired key: %v", err)
	}
	if _, err := put(t, s, ask.CheckKey, lasting); err != nil {
		t.Errorf("a key that does not expire: %v", err)
	}
	if _, err := put(t, s, ask.RevokeKey, ask.KeyID{ID: lasting.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, s, ask.CheckKey, lasting); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("a revoked key: %v", err)
	}
}

func TestWhoHasNotTheSecretIsToldNothingOfTheKey(t *testing.T) {
	t.Parallel()
	s := start(t)
	made, proof := create(t, s, access.NewKey{Name: "sensor", Scopes: []access.Scope{access.AlertsWrite}})
	if _, err := put(t, s, ask.RevokeKey, ask.KeyID{ID: made.ID}); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, p := range []ask.KeyProof{{ID: made.ID, Hash: access.Hash("guess")}, {ID: "none", Hash: proof.Hash}} {
		_, err := put(t, s, ask.CheckKey, p)
		if !fault.Is(err, fault.Unauthorized) {
			t.Errorf("%v: %v", p, err)
		}
		said = append(said, err.Error())
	}
	if said[0] != said[1] {
		t.Errorf("a key that exists is told from one that does not: %q", said)
	}
	if _, err := put(t, s, ask.CheckKey, ask.KeyProof{ID: made.ID, Hash: "no hash"}); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("no hash: %v", err)
	}
}

func TestTheDatabaseHasNoSecret(t *testing.T) {
	t.Parallel()
	s := start(t)
	made, proof := create(t, s, access.NewKey{Name: "sensor", Scopes: []access.Scope{access.Admin}})
	_, hash, err := s.store.Key(t.Context(), made.ID)
	if err != nil || hash != proof.Hash || hash == made.Secret {
		t.Errorf("the store has %q: %v", hash, err)
	}
	session, err := put(t, s, ask.OpenSession, proof)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.store.Session(t.Context(), session.Secret); !fault.Is(err, fault.NotFound) {
		t.Errorf("a session is found by its secret: %v", err)
	}
}

func TestASessionEndsByTimeBySigningOutAndWithItsKey(t *testing.T) {
	t.Parallel()
	s := start(t)
	made, proof := create(t, s, access.NewKey{Name: "r.haas", Scopes: []access.Scope{access.AlertsRead}})
	open := func() ask.SessionProof {
		session, err := put(t, s, ask.OpenSession, proof)
		if err != nil {
			t.Fatal(err)
		}
		if session.Principal.Kind != access.KindSession || session.Principal.ID != made.ID {
			t.Errorf("the session is of %v", session.Principal)
		}
		return ask.SessionProof{Hash: access.Hash(session.Secret)}
	}
	check := func(p ask.SessionProof) error {
		_, err := put(t, s, ask.CheckSession, p)
		return err
	}
	signedOut, old := open(), open()
	if _, err := put(t, s, ask.CloseSession, signedOut); err != nil {
		t.Fatal(err)
	}
	if err := check(signedOut); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("after signing out: %v", err)
	}
	s.pass(12*time.Hour - time.Second)
	young := open()
	if err := check(old); err != nil {
		t.Errorf("just before its end: %v", err)
	}
	s.pass(time.Second)
	if err := check(old); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("after its end: %v", err)
	}
	if _, err := put(t, s, ask.RevokeKey, ask.KeyID{ID: made.ID}); err != nil {
		t.Fatal(err)
	}
	if err := check(young); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("after its key was revoked: %v", err)
	}
	if _, err := put(t, s, ask.OpenSession, proof); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("opened with a revoked key: %v", err)
	}
}

func TestASessionOfTheIssuerEndsByTimeAndBySigningOut(t *testing.T) {
	t.Parallel()
	s := start(t)
	who := access.Principal{Kind: access.KindToken, ID: "u-17", Name: "r.haas", Scopes: []access.Scope{access.AlertsRead, "root"}}
	open := func() ask.SessionProof {
		session, err := put(t, s, ask.OpenIssuerSession, ask.IssuerSession{Principal: who})
		if err != nil || !session.Until.Equal(s.now().Add(12*time.Hour)) {
			t.Fatalf("%+v: %v", session, err)
		}
		return ask.SessionProof{Hash: access.Hash(session.Secret)}
	}
	signedOut, old := open(), open()
	got, err := put(t, s, ask.CheckSession, old)
	if p := got.Principal; err != nil || p.Kind != access.KindSession || p.ID != "u-17" || p.Name != "r.haas" || !p.May(access.AlertsRead) || len(p.Scopes) != 1 {
		t.Errorf("the session is of %+v: %v", got, err)
	}
	if _, err := put(t, s, ask.CloseSession, signedOut); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, s, ask.CheckSession, signedOut); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("after signing out: %v", err)
	}
	s.pass(12 * time.Hour)
	if _, err := put(t, s, ask.CheckSession, old); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("after its end: %v", err)
	}
	if _, err := put(t, s, ask.OpenIssuerSession, ask.IssuerSession{}); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("for nobody: %v", err)
	}
}

func TestASessionLastsNoLongerThanItsKey(t *testing.T) {
	t.Parallel()
	s := start(t)
	expires := noon.Add(time.Minute)
	_, proof := create(t, s, access.NewKey{Name: "visitor", Scopes: []access.Scope{access.SitesRead}, ExpiresAt: &expires})
	session, err := put(t, s, ask.OpenSession, proof)
	if err != nil || !session.Until.Equal(expires) {
		t.Errorf("until %v: %v", session.Until, err)
	}
}

func TestTheAuditLogIsWrittenOnceReadAndChecked(t *testing.T) {
	t.Parallel()
	s := start(t)
	entries := ask.AuditEntries{Entries: []access.Entry{{ID: "a", At: noon, Who: "k"}, {ID: "b", At: noon, Who: "k"}}}
	for range 2 { // the answer to the first may have been lost
		if head, err := put(t, s, ask.AppendAudit, entries); err != nil || head.Seq != 2 {
			t.Fatalf("%v: %v", head, err)
		}
	}
	page, err := put(t, s, ask.ListAudit, ask.AuditFilter{Limit: 1})
	if err != nil || len(page.Items) != 1 || page.Items[0].ID != "b" || page.Head != page.Items[0].Head() {
		t.Errorf("%+v: %v", page, err)
	}
	v, err := put(t, s, ask.VerifyAudit, ask.AuditCheck{Noted: &page.Head})
	if err != nil || v.Broken != nil || v.Records != 2 {
		t.Errorf("%+v: %v", v, err)
	}
}
