package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
)

// outbound is what site i has for a peer.
func (m mesh) outbound(t *testing.T, i int, peer federation.SiteID) federation.Delivery {
	t.Helper()
	all, err := m.api[i].Deliveries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all.Deliveries {
		if d.Peer == peer && d.Direction == federation.Outbound {
			return d
		}
	}
	return federation.Delivery{}
}

// The hub has taken an alert and acknowledged it, and the peer does not get it: the ledger
// never says that it is there, the receiver misses it, and it comes another time.
func TestWhatTheHubDoesNotPassOnIsMissedAndSentAgain(t *testing.T) {
	t.Parallel()
	proxies := map[int]*linkproxy.Proxy{}
	m := start(t, demo.Options{
		Sites: 3,
		Configure: func(i int, s *settings.Settings) {
			comparing(i, s)
			s.Exchange = string(federation.ExchangeHub)
		},
		LeafURL: func(i int, listener string) string {
			p, err := linkproxy.Listen("127.0.0.1:0", listener)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.Close() })
			proxies[i] = p
			return p.Addr()
		},
	})
	const b, c = 1, 2
	state := func(id string) (federation.DeliveryState, string) {
		t.Helper()
		all, err := m.api[b].AlertDeliveries(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all.Deliveries {
			if d.Peer == "site-c" {
				return d.State, d.Detail
			}
		}
		return "", ""
	}
	m.relayed(t, true)
	known := m.raise(t, b, alert("known", federation.High))
	m.arrives(t, c, "known")
	if s, why := state(known.ID); s != federation.DeliveryStored || why != "site-c says that it has it" {
		t.Errorf("an alert that has come is %s: %s", s, why)
	}
	natstest.Within(t, 60*time.Second, "it is proved", func() bool {
		d := m.outbound(t, b, "site-c")
		return d.PassedBy == "site-a" && are(d.Stored, 1) && are(d.Pending, 0) && d.ProvedUntil != nil && d.ProvedUntil.After(known.CreatedAt)
	})

	proxies[c].Set(linkproxy.Cut)
	var last federation.Alert
	for n := range 3 {
		last = m.raise(t, b, alert(fmt.Sprintf("withheld %d", n), federation.Critical))
	}
	m.arrives(t, 0, last.Title)
	m.purge(t, 0, 4) // the hub has all of it, and passes none on
	natstest.Eventually(t, "the hub has acknowledged all of it", func() bool {
		d := m.outbound(t, b, "site-a")
		return d.PassedBy == "" && are(d.Stored, 4) && are(d.Pending, 0)
	})
	if d := m.outbound(t, b, "site-c"); !are(d.Stored, 1) || !are(d.Pending, 3) || !are(d.Shared, 4) {
		t.Errorf("of what the hub alone has the ledger says %+v", d)
	}
	if s, why := state(last.ID); s != federation.DeliveryQueued || !strings.HasPrefix(why, "site-a passes it on; site-c does not answer") {
		t.Errorf("an alert that the hub alone has is %s: %s", s, why)
	}

	proxies[c].Set(linkproxy.Pass)
	natstest.Within(t, 90*time.Second, "all has come", func() bool { return m.total(t, c, "federation:site-b") == 4 })
	natstest.Within(t, 60*time.Second, "all is proved", func() bool {
		d := m.outbound(t, b, "site-c")
		return are(d.Stored, 4) && are(d.Pending, 0) && d.ProvedUntil.After(last.CreatedAt)
	})
	if n := m.resent(t, b); n != 3 {
		t.Errorf("%d alerts were sent again, want 3", n)
	}
	if lanes := m.lanes(t, b); lanes["site-c"] != 0 {
		t.Errorf("they did not come by the hub: site-b keeps %v", lanes)
	}
	if s, why := state(last.ID); s != federation.DeliveryStored {
		t.Errorf("an alert that was sent again is %s: %s", s, why)
	}
}
