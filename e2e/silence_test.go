package e2e_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// transitions collects the transitions that a site tells.
type transitions struct {
	mu  sync.Mutex
	all []federation.Transition
}

func (tr *transitions) follow(t *testing.T, c *apiclient.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		err := c.Events(ctx, "0", func(_ string, e federation.Event) error { // from the first on
			if e.Transition != nil {
				tr.mu.Lock()
				defer tr.mu.Unlock()
				tr.all = append(tr.all, *e.Transition)
			}
			return nil
		})
		if ctx.Err() == nil {
			t.Errorf("the event stream ended: %v", err)
		}
	}()
}

func (tr *transitions) find(id, from, to string) (found []federation.Transition) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, s := range tr.all {
		if s.ID == id && s.From == from && s.To == to {
			found = append(found, s)
		}
	}
	return found
}

// chained fails unless the transitions of a link lead from healthy to down and back
// to healthy, each from where the one before it went, and each with its cause. A
// new cause alone is a transition too: it says whom to call.
func (tr *transitions) chained(t *testing.T, link string) {
	t.Helper()
	natstest.Eventually(t, "the way of "+link+" is told to its end", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		at, cause, down := string(federation.Healthy), federation.Cause(""), false
		for _, s := range tr.all {
			if s.ID != link {
				continue
			}
			if s.From != at {
				t.Fatalf("a transition from %s follows one to %s", s.From, at)
			}
			if s.To == at && s.Cause == cause {
				t.Fatalf("a transition to %s with the cause %q changes nothing", s.To, s.Cause)
			}
			if (s.To == string(federation.Healthy)) != (s.Cause == "") {
				t.Fatalf("the transition to %s has the cause %q", s.To, s.Cause)
			}
			at, cause, down = s.To, s.Cause, down || s.To == string(federation.Down)
		}
		return down && at == string(federation.Healthy)
	})
}

func TestASiteWhoseLinkFailsWorksAloneAndMissesNothing(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]linkproxy.Mode{"cut": linkproxy.Cut, "black hole": linkproxy.BlackHole} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // both mostly wait
			silence(t, mode)
		})
	}
}

func silence(t *testing.T, mode linkproxy.Mode) {
	m, proxy := proxied(t, demo.Options{})
	const link = "link-site-a-site-b"
	natstest.Eventually(t, "the link is healthy", func() bool {
		return m.link(t, 0, link) == federation.Healthy && m.link(t, 1, link) == federation.Healthy
	})
	var told [2]transitions
	for i := range told {
		told[i].follow(t, m.api[i])
	}

	proxy.Set(mode)
	raised := 0
	for _, want := range []federation.SiteStatus{federation.SiteDegraded, federation.Offline} {
		natstest.Within(t, 20*time.Second, "the peer is "+string(want), func() bool {
			for i := range 2 { // local alerts are taken the whole time
				m.raise(t, i, alert(fmt.Sprintf("alone %d", raised), federation.High))
			}
			raised++
			return m.link(t, 0, link) != federation.Healthy && m.status(t, 0, "site-b") == want &&
				m.link(t, 1, link) != federation.Healthy && m.status(t, 1, "site-a") == want
		})
	}
	// A question is answered by the age of that moment, a transition is told at the
	// next look: the link must not heal between the two.
	natstest.Eventually(t, "both sites have told that the other is gone", func() bool {
		for i := range told {
			if m.link(t, i, link) != federation.Down || len(told[i].find(string(demo.SiteID(1-i)), "degraded", "offline")) == 0 {
				return false
			}
		}
		return true
	})
	for i := range 2 {
		if got := m.total(t, i, ""); got != raised {
			t.Fatalf("with the link gone site %d has %d alerts, and took %d", i, got, raised)
		}
		if got := m.status(t, i, demo.SiteID(i)); got != federation.Online {
			t.Errorf("site %d holds itself for %s", i, got)
		}
	}

	proxy.Set(linkproxy.Pass)
	natstest.Within(t, 30*time.Second, "the link is healthy again", func() bool {
		return m.link(t, 0, link) == federation.Healthy && m.link(t, 1, link) == federation.Healthy &&
			m.status(t, 0, "site-b") == federation.Online && m.status(t, 1, "site-a") == federation.Online
	})
	for i := range 2 {
		natstest.Within(t, 30*time.Second, "nothing is missing", func() bool {
			return m.total(t, i, "federation:"+string(demo.SiteID(1-i))) >= raised
		})
	}
	for i := range 2 { // whatever came twice is there before the marker of either way
		m.raise(t, 1-i, alert("the marker", federation.High))
		natstest.Within(t, 30*time.Second, "the marker is there", func() bool {
			return len(m.titled(t, i, "the marker")) == i+1
		})
		times := map[string]int{}
		for _, a := range every(t, m.api[i], "") {
			times[a.Title]++
		}
		for n := range raised {
			if got := times[fmt.Sprintf("alone %d", n)]; got != 2 {
				t.Fatalf("site %d has alert %d %d times: its own and the peer's are two", i, n, got)
			}
		}
	}
	for i := range told {
		peer := string(demo.SiteID(1 - i))
		for _, c := range []struct {
			id, from, to string
			least, most  float64 // age of the last heartbeat
		}{
			// Silence is looked for once a second.
			{peer, "online", "degraded", 3, 5}, {peer, "degraded", "offline", 6, 8}, {peer, "offline", "online", 0, 0},
		} {
			natstest.Eventually(t, fmt.Sprintf("site %d tells that %s goes from %s to %s", i, c.id, c.from, c.to), func() bool { return len(told[i].find(c.id, c.from, c.to)) > 0 })
			all := told[i].find(c.id, c.from, c.to)
			if len(all) != 1 {
				t.Errorf("site %d told %d times that %s goes from %s to %s", i, len(all), c.id, c.from, c.to)
			}
			if age := all[0].HeartbeatAgeSeconds; age < c.least || age > c.most {
				t.Errorf("site %d: %s went from %s to %s at the age of %v s", i, c.id, c.from, c.to, age)
			}
		}
		told[i].chained(t, link)
	}
}
