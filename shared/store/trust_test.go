package store

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func theFirstKeyOfASiteIsPinned(t *testing.T, f fixture) {
	s := f.migrated(t)
	if _, err := s.TrustedKey(t.Context(), "site-b"); !fault.Is(err, fault.NotFound) {
		t.Errorf("before: %v", err)
	}
	equal(t, "the first", pinFirst(t, s, "site-b", "K1", t0), "K1")
	equal(t, "the second", pinFirst(t, s, "site-b", "K2", after(time.Hour)), "K1")
	pinFirst(t, s, own.ID, "K0", t0)
	equal(t, "all", must(s.TrustedKeys(t.Context(), own.ID))(t), []federation.TrustedKey{
		{Site: own.ID, Local: true, Key: "K0", PinnedBy: federation.FirstSeen, PinnedAt: t0},
		{Site: "site-b", Key: "K1", PinnedBy: federation.FirstSeen, PinnedAt: t0},
	})
}

func keysPinnedAtOnceAreOne(t *testing.T, f fixture) {
	stores := f.replicas(t, 4)
	pinned := atOnce(t, len(stores), func(i int) (string, error) {
		pinned, err := stores[i].PinFirstSeen(t.Context(), map[federation.SiteID]string{"site-b": string(rune('A' + i))}, t0)
		return pinned["site-b"], err
	})
	for _, k := range pinned {
		if k != pinned[0] {
			t.Fatalf("the replicas have %q", pinned)
		}
	}
}

func anAdministratorPinsAndUnpinsKeys(t *testing.T, f fixture) {
	s := f.migrated(t)
	pinFirst(t, s, "site-b", "K1", t0)
	refusal := federation.KeyRefusal{Reason: "wrong_key", Key: "K2", At: after(time.Second)}
	for _, site := range []federation.SiteID{"site-b", "site-x"} { // of a site without a key nothing is kept
		if err := s.NoteKeyRefused(t.Context(), own.ID, site, refusal); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "refused", must(s.TrustedKeys(t.Context(), own.ID))(t), []federation.TrustedKey{
		{Site: "site-b", Key: "K1", PinnedBy: federation.FirstSeen, PinnedAt: t0, Refused: &refusal},
	})
	pinned := federation.TrustedKey{Site: "site-b", Key: "K2", PinnedBy: federation.Administrator, PinnedAt: after(time.Minute)}
	equal(t, "the answer", must(s.PinKey(t.Context(), own.ID, "site-b", "K2", after(time.Minute)))(t), pinned)
	equal(t, "pinned", must(s.TrustedKeys(t.Context(), own.ID))(t), []federation.TrustedKey{pinned})
	equal(t, "unpinned", must(s.UnpinKey(t.Context(), own.ID, "site-b"))(t), pinned)
	if _, err := s.UnpinKey(t.Context(), own.ID, "site-b"); !fault.Is(err, fault.NotFound) {
		t.Errorf("once more: %v", err)
	}
	equal(t, "the next", pinFirst(t, s, "site-b", "K3", t0), "K3")
}

func whatIsRefusedExplainsALateLink(t *testing.T, f fixture) {
	s := f.migrated(t)
	record(t, s, gossipOf("site-b", t0), t0)
	pinFirst(t, s, "site-b", "K1", t0)
	refuse := func(at time.Time) {
		t.Helper()
		if err := s.NoteKeyRefused(t.Context(), own.ID, "site-b", federation.KeyRefusal{Reason: "unsigned", At: at}); err != nil {
			t.Fatal(err)
		}
	}
	cause := func(at time.Time) federation.Cause {
		t.Helper()
		return must(s.Links(t.Context()))(t)[0].At(at, ages).Cause
	}
	late := t0.Add(ages.Degraded)
	refuse(t0.Add(-time.Second))
	equal(t, "what was refused before the last heartbeat", cause(late), federation.HeartbeatLate)
	refuse(after(time.Second))
	equal(t, "a link that is not late", cause(after(2*time.Second)), federation.Cause(""))
	equal(t, "a late one", cause(late), federation.AuthRefused)
	changes := must(s.Age(t.Context(), own.ID, late, ages))(t)
	if len(changes) != 2 || changes[1].Cause != federation.AuthRefused {
		t.Errorf("the changes are %+v", changes)
	}
}

// pinFirst is the key that is pinned for a site after it was heard with one.
func pinFirst(t *testing.T, s *Store, site federation.SiteID, key string, at time.Time) string {
	t.Helper()
	return must(s.PinFirstSeen(t.Context(), map[federation.SiteID]string{site: key}, at))(t)[site]
}

// A crowd that appears at once is in one transaction, and of those that are known the first stands.
func aCrowdIsPinnedAtOnce(t *testing.T, f fixture) {
	s := f.migrated(t)
	pinFirst(t, s, "site-00007", "K", t0)
	heard, want := map[federation.SiteID]string{}, map[federation.SiteID]string{}
	for i := range 3000 {
		id := federation.SiteID(fmt.Sprintf("site-%05d", i))
		heard[id], want[id] = "K"+string(id), "K"+string(id)
	}
	want["site-00007"] = "K"
	equal(t, "pinned", must(s.PinFirstSeen(t.Context(), heard, t0))(t), want)
	equal(t, "read", must(s.TrustedKeysOf(t.Context(), slices.Collect(maps.Keys(heard))))(t), want)
	equal(t, "nobody", must(s.TrustedKeysOf(t.Context(), nil))(t), map[federation.SiteID]string{})
}
