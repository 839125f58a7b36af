package store

import (
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
)

func aKey(t *testing.T, s *Store, name string, at time.Time, expires *time.Time) access.Key {
	t.Helper()
	made := must(access.Make(access.NewKey{Name: name, Scopes: []access.Scope{access.Admin, access.AlertsRead}, ExpiresAt: expires}, "ops", at))(t)
	if err := s.CreateKey(t.Context(), made.Key, access.Hash(made.Secret)); err != nil {
		t.Fatal(err)
	}
	return made.Key
}

func keysAreKeptAndRevoked(t *testing.T, f fixture) {
	s := f.migrated(t)
	expires := after(time.Hour)
	first, second := aKey(t, s, awkward, t0, nil), aKey(t, s, "sensor", after(time.Second), &expires)
	keys, total, err := s.Keys(t.Context(), 0, 10)
	if err != nil || total != 2 {
		t.Errorf("%d keys: %v", total, err)
	}
	equal(t, "keys", keys, []access.Key{second, first})
	page, total, err := s.Keys(t.Context(), 1, 1)
	if err != nil || total != 2 {
		t.Errorf("%d keys: %v", total, err)
	}
	equal(t, "page", page, []access.Key{first})

	for _, at := range []time.Time{after(time.Minute), after(90 * time.Second), after(time.Second)} {
		k, _, err := s.Key(t.Context(), first.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.UseKey(t.Context(), k, at); err != nil {
			t.Fatal(err)
		}
	}
	k, hash, err := s.Key(t.Context(), first.ID)
	if err != nil || len(hash) != 64 {
		t.Fatalf("hash %q, %v", hash, err)
	}
	used, gone := after(time.Minute), after(2*time.Minute)
	first.LastUsedAt = &used
	equal(t, "used", k, first)

	first.RevokedAt = &gone
	equal(t, "revoked", must(s.RevokeKey(t.Context(), first.ID, gone))(t), first)
	equal(t, "revoked again", must(s.RevokeKey(t.Context(), first.ID, after(time.Hour)))(t), first)
	_, err = s.RevokeKey(t.Context(), "none", t0)
	isFault(t, err, fault.NotFound, `"none"`)
	_, _, err = s.Key(t.Context(), "none")
	isFault(t, err, fault.NotFound, `"none"`)
}

func sessionsEndWithTheirKey(t *testing.T, f fixture) {
	s := f.migrated(t)
	k, other := aKey(t, s, "a", t0, nil), aKey(t, s, "b", t0, nil)
	until := after(time.Hour)
	for hash, of := range map[string]access.Key{"one": k, "two": k, "three": other, "four": other} {
		if err := s.OpenSession(t.Context(), hash, of.ID, t0, until); err != nil {
			t.Fatal(err)
		}
	}
	got, end, err := s.Session(t.Context(), "one")
	if err != nil || !end.Equal(until) {
		t.Errorf("until %v: %v", end, err)
	}
	equal(t, "the key of a session", got, k)

	must(s.RevokeKey(t.Context(), k.ID, t0))(t)
	if err := s.CloseSession(t.Context(), "three"); err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{"one", "two", "three"} {
		_, _, err := s.Session(t.Context(), hash)
		isFault(t, err, fault.NotFound, "no such session")
	}
	equal(t, "ended before", must(s.DeleteSessions(t.Context(), until))(t), int64(0))
	equal(t, "ended", must(s.DeleteSessions(t.Context(), until.Add(time.Microsecond)))(t), int64(1))
}

func sessionsOfTheIssuerEnd(t *testing.T, f fixture) {
	s := f.migrated(t)
	who := access.Principal{Kind: access.KindSession, ID: "u-17", Name: "R. Haas", Scopes: []access.Scope{access.AlertsRead, access.SitesRead}}
	until := after(time.Hour)
	for _, hash := range []string{"one", "two"} {
		if err := s.OpenIssuerSession(t.Context(), hash, who, t0, until); err != nil {
			t.Fatal(err)
		}
	}
	got, end, err := s.IssuerSession(t.Context(), "one")
	if err != nil || !end.Equal(until) {
		t.Errorf("until %v: %v", end, err)
	}
	equal(t, "who has the session", got, who)
	if err := s.CloseSession(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.IssuerSession(t.Context(), "one")
	isFault(t, err, fault.NotFound, "no such session")
	equal(t, "ended before", must(s.DeleteSessions(t.Context(), until))(t), int64(0))
	equal(t, "ended", must(s.DeleteSessions(t.Context(), until.Add(time.Microsecond)))(t), int64(1))
}
