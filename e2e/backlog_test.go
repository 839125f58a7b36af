package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
)

func TestAFullBacklogLetsTheLeastSevereGoAndTellsIt(t *testing.T) {
	t.Parallel()
	m, proxy := proxied(t, demo.Options{Configure: func(i int, s *settings.Settings) {
		patient(i, s)
		s.MinSeverity, s.BacklogMessages = string(federation.Low), 100
	}})
	m.raise(t, 0, alert("first", federation.High))
	m.arrives(t, 1, "first")
	nothingPending := func() bool { out, _ := deliveries(t, m.api[0]); return are(out.Pending, 0) }
	natstest.Eventually(t, "it is acknowledged", nothingPending)
	proxy.Set(linkproxy.Cut)
	for n := range 120 {
		m.raise(t, 0, alert(fmt.Sprintf("low %d", n), federation.Low))
		if n%10 == 0 {
			m.raise(t, 0, alert(fmt.Sprintf("critical %d", n), federation.Critical))
		}
	}
	// 133 in all: the one that site-b has, and 32 too many.
	var got federation.Backlog
	natstest.Within(t, 30*time.Second, "32 had to go", func() bool {
		d, err := m.api[0].Deliveries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = d.Backlog
		return got.Dropped[federation.Low] == 32 && got.Messages == 100
	})
	if len(got.Dropped) != 1 || got.DroppedAt == nil || got.MaxMessages != 100 {
		t.Errorf("the backlog is %+v", got)
	}
	proxy.Set(linkproxy.Pass)
	natstest.Within(t, 30*time.Second, "the rest arrives", func() bool { return total(t, m.api[1], "") == 101 })
	for n := 0; n < 120; n += 10 {
		m.arrives(t, 1, fmt.Sprintf("critical %d", n))
	}
	natstest.Eventually(t, "nothing is pending", nothingPending)
}
