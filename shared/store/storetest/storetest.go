// Package storetest gives the tests of functions a database of their own. What the
// store itself does is tested on every database, in package store; a function needs
// one that is there at once and goes with the test.
package storetest

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/store"
)

// Open is a new SQLite database with every migration, until the test ends.
func Open(t testing.TB) *store.Store {
	t.Helper()
	return OpenAt(t, filepath.Join(t.TempDir(), "site.db"))
}

// OpenAt is [Open] with its file at path.
func OpenAt(t testing.TB, path string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := st.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return st
}

// Knows makes the site own know a peer, by a gossip that came at the time given.
func Knows(t testing.TB, st *store.Store, own, peer federation.SiteID, at time.Time) {
	t.Helper()
	hear(t, st, own, []federation.Gossip{gossip(peer, at)}, at)
}

// KnowsMany makes the site own know n peers, [SiteOf] each, by gossips that came at the time given.
func KnowsMany(t testing.TB, st *store.Store, own federation.SiteID, n int, at time.Time) {
	t.Helper()
	all := make([]federation.Gossip, n)
	for i := range all {
		all[i] = gossip(SiteOf(i), at)
	}
	for some := range slices.Chunk(all, 500) {
		hear(t, st, own, some, at)
	}
}

// SiteOf is the site of the number, so that the order of ids is that of the numbers.
func SiteOf(i int) federation.SiteID { return federation.SiteID(fmt.Sprintf("site-%05d", i)) }

func gossip(peer federation.SiteID, at time.Time) federation.Gossip {
	return federation.Gossip{Version: federation.GossipVersion, SiteID: peer, SiteName: "B", Tier: federation.Secondary, SentAt: at, IntervalSeconds: 15}
}

func hear(t testing.TB, st *store.Store, own federation.SiteID, gossips []federation.Gossip, at time.Time) {
	t.Helper()
	if _, err := st.RecordGossips(t.Context(), own, gossips, at, federation.Thresholds{Degraded: time.Minute, Down: time.Hour}); err != nil {
		t.Fatal(err)
	}
}
