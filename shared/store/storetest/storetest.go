// Package storetest gives the tests of functions a database of their own. What the
// store itself does is tested on every database, in package store; a function needs
// one that is there at once and goes with the test.
package storetest

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/store"
)

// Open is a new SQLite database with every migration, until the test ends.
func Open(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "site.db"))
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
	gossip := federation.Gossip{Version: federation.GossipVersion, SiteID: peer, SiteName: "B", Tier: federation.Secondary, SentAt: at, IntervalSeconds: 15}
	if _, err := st.RecordGossips(t.Context(), own, []federation.Gossip{gossip}, at, federation.Thresholds{Degraded: time.Minute, Down: time.Hour}); err != nil {
		t.Fatal(err)
	}
}
