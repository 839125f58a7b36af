package e2e_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
)

// So many that a batch is stored in two halves, which only PostgreSQL does at a time: some
// in several versions, of which the last would not pass the gate, and some that do not pass it.
func TestALargeBacklogIsWholeInItsNewestVersionsBehindAGate(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t)
	m, proxy := proxied(t, demo.Options{Configure: func(i int, s *settings.Settings) {
		quick(i, s)
		s.MinSeverity = string(federation.Low)
		if i == 1 {
			s.DatabaseURL = dsn
		}
	}})
	m.setGate(t, 1, "site-a", federation.Inbound, federation.GateSetting{MinSeverity: federation.High})
	m.raise(t, 0, alert("first", federation.High))
	m.arrives(t, 1, "first")

	proxy.Set(linkproxy.Cut)
	const all, at = 2400, 8
	var clients sync.WaitGroup
	for part := range at {
		clients.Go(func() {
			for i := part; i < all; i += at {
				n := alert(fmt.Sprint("kept ", i), federation.High)
				switch i % 100 {
				case 0:
					n.Title = fmt.Sprint("made harmless ", i)
				case 1:
					n.Title, n.Severity = fmt.Sprint("not wanted ", i), federation.Medium
				}
				a, _, _, err := m.api[0].Raise(t.Context(), n)
				if err == nil && i%100 == 0 {
					_, err = m.api[0].Update(t.Context(), a.ID, federation.AlertPatch{Severity: federation.Low})
				}
				if err != nil {
					t.Errorf("raising %d: %v", i, err)
					return
				}
			}
		})
	}
	clients.Wait()
	const harmless, refused = all / 100, all / 100
	natstest.Within(t, 30*time.Second, "all are in the stream", func() bool { return m.shared(t, 0) == 1+all+harmless })

	proxy.Set(linkproxy.Pass)
	natstest.Within(t, 60*time.Second, "all that are wanted are at the peer", func() bool {
		return m.total(t, 1, "federation:site-a") == 1+all-refused
	})
	natstest.Within(t, 60*time.Second, "the newest versions are too", func() bool {
		low := 0
		for _, a := range every(t, m.api[1], "federation:site-a") {
			if a.Severity == federation.Low {
				low++
			}
		}
		return low == harmless
	})
}
