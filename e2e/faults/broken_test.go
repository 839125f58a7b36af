//go:build linux

package faults_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// breakage is a change of the source that breaks the promise in one way.
type breakage struct{ file, sound, broken string }

var breakages = map[string]breakage{
	// Every alert of a peer gets an identity of its own, so that the index has nothing to refuse.
	"dedup": {"shared/federation/share.go", "a.DedupHash = ReplayHash(s.OriginSite, s.OriginID)", "a.DedupHash = ReplayHash(s.OriginSite, id)"},
	// What is to be published is taken out of the outbox before the server has it.
	"outbox": {"functions/alertrelay/alertrelay.go", "sequences, err := r.bus.Store(ctx, msgs)", `early := make([]store.Confirmed, len(queued))
	for i, q := range queued {
		early[i] = store.Confirmed{Queued: q, Sequence: 1}
	}
	if _, err := r.store.Published(ctx, r.now(), early); err != nil {
		return nil, err
	}
	sequences, err := r.bus.Store(ctx, msgs)`},
	// A batch is acknowledged before it is handed over.
	"acknowledgement": {"shared/function/consume.go", "base := context.WithValue(r.base, sourceKey{}, s)", `base := context.WithValue(r.base, sourceKey{}, s)
	for _, msg := range kept {
		ack(r, msg)
	}`},
}

// revealing are the faults that show each breakage: they need what it breaks.
var revealing = map[string]planned{
	"dedup":           {kind: "duplicates", site: "site-b", at: 2 * time.Second, lasts: time.Second},
	"outbox":          {kind: "jetstream-off", site: "site-b", at: 4 * time.Second, lasts: 5 * time.Second},
	"acknowledgement": {kind: "database-locked", site: "site-a", at: 2 * time.Second, lasts: 14 * time.Second},
}

// calm is how long a broken mesh is watched after its faults: the outbox is looked at
// every two seconds, and what else is still to come shows as waiting in the ledger.
const calm = 8 * time.Second

// buildBroken builds the command with the breakage laid over its source.
func buildBroken(t *testing.T, b breakage) (path string) {
	t.Helper()
	file, err := filepath.Abs(filepath.Join(root, b.file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), b.sound); n != 1 {
		t.Fatalf("%s has %q %d times, so it cannot be broken there", b.file, b.sound, n)
	}
	dir := t.TempDir()
	broken, overlay, path := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "auroramesh")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: broken}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{broken: strings.Replace(string(text), b.sound, b.broken, 1), overlay: string(replace)} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := build(path, "./cmd/auroramesh", "-overlay", overlay); err != nil {
		t.Fatal(err)
	}
	return path
}

// brief lets some faults happen to a mesh with nothing but SQLite while alerts are
// raised. Nothing is reconciled there: that would fetch again what a breakage loses.
func brief(t *testing.T, p programs, watched time.Duration, all ...planned) verdict {
	t.Helper()
	m := up(t, options{programs: p, seed: 1, without: []string{"reconcile"}})
	enough := m.raising(rate)
	m.suffer(all)
	enough()
	return m.settle(watched, settling)
}

// The check is worth something only if it fails where the promise is broken. What
// the sound command does under the same faults is the proof that they alone do not break it.
func TestTheCheckSeesABrokenPromise(t *testing.T) {
	t.Parallel()
	p := wanted(t)
	t.Run("nothing is broken", func(t *testing.T) {
		t.Parallel()
		var all []planned
		for _, f := range revealing { // each at another site or another time
			all = append(all, f)
		}
		if v := brief(t, p, settling, all...); !v.Right {
			t.Error("the faults break the promise of the sound command")
		}
	})
	for name, b := range breakages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := p
			p.auroramesh = buildBroken(t, b)
			v := brief(t, p, calm, revealing[name])
			lost, duplicated := 0, 0
			for _, pair := range v.Pairs {
				lost += len(pair.Lost)
				duplicated += len(pair.Duplicated)
			}
			if v.Right || (name == "dedup") != (duplicated > 0) || (name != "dedup") != (lost > 0) {
				t.Errorf("with a broken %s the check finds %d lost and %d duplicated, and says right: %t", name, lost, duplicated, v.Right)
			}
		})
	}
}
