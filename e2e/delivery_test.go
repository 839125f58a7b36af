package e2e_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// deliveries are the two directions of a site's one peer.
func deliveries(t *testing.T, c *apiclient.Client) (out, in federation.Delivery) {
	t.Helper()
	d, err := c.Deliveries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Deliveries) != 2 {
		return out, in // no gossip yet
	}
	return d.Deliveries[0], d.Deliveries[1]
}

func are(n *int, want int) bool { return n != nil && *n == want }

func TestTheLedgerTellsWhatWaitsWhileTheLinkIsCut(t *testing.T) {
	t.Parallel()
	m, proxy := proxied(t, demo.Options{})
	state := func(id string) federation.DeliveryState {
		t.Helper()
		d, err := m.api[0].AlertDeliveries(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Deliveries) != 1 {
			return ""
		}
		return d.Deliveries[0].State
	}
	// Both consumers and both pulls stand, or what follows could be queued for another reason.
	before := m.raise(t, 0, alert("before", federation.High))
	for i := range 2 {
		m.raise(t, i, alert(fmt.Sprintf("first of %d", i), federation.High))
		m.arrives(t, 1-i, fmt.Sprintf("first of %d", i))
	}
	natstest.Eventually(t, "both are stored", func() bool {
		out, in := deliveries(t, m.api[0])
		return are(out.Stored, 2) && are(out.Pending, 0) && in.Reachable && are(in.Stored, 1) && are(in.Pending, 0)
	})
	if got := state(before.ID); got != federation.DeliveryStored {
		t.Errorf("an alert that the peer has is %q", got)
	}

	proxy.Set(linkproxy.Cut)
	var last federation.Alert
	for n := range 3 {
		last = m.raise(t, 0, alert(fmt.Sprintf("cut off %d", n), federation.Critical))
		m.raise(t, 0, alert(fmt.Sprintf("kept %d", n), federation.Info)) // the gate refuses it
		natstest.Eventually(t, fmt.Sprintf("%d wait", n+1), func() bool {
			out, _ := deliveries(t, m.api[0])
			return are(out.Pending, n+1) && are(out.Stored, 2) && are(out.Shared, n+3)
		})
	}
	natstest.Eventually(t, "the age of the oldest is shown, and the peer is not reachable", func() bool {
		out, in := deliveries(t, m.api[0])
		return out.OldestPendingSeconds != nil && *out.OldestPendingSeconds > 1 && out.OldestPendingAt != nil && !in.Reachable && in.Pending == nil && are(in.Stored, 1)
	})
	if got := state(last.ID); got != federation.DeliveryQueued {
		t.Errorf("an alert that waits is %q", got)
	}

	proxy.Set(linkproxy.Pass)
	natstest.Within(t, 30*time.Second, "all is stored", func() bool {
		out, in := deliveries(t, m.api[0])
		return are(out.Stored, 5) && are(out.Pending, 0) && out.OldestPendingAt == nil && in.Reachable
	})
	if got := state(last.ID); got != federation.DeliveryStored {
		t.Errorf("an alert that waited is %q", got)
	}
	for _, a := range every(t, m.api[1], "federation:site-a") {
		d, err := m.api[1].AlertDeliveries(t.Context(), a.ID)
		if err != nil || d.OriginSite != "site-a" || len(d.Deliveries) != 0 {
			t.Errorf("at the peer, an alert of this site: %+v, %v", d, err)
		}
	}
	if _, err := m.api[0].AlertDeliveries(t.Context(), "nobody"); fault.Of(err).Code != fault.NotFound {
		t.Errorf("an unknown alert: %v", err)
	}
}

// spoiled raises an alert at site i whose shared payload the peers cannot store:
// it claims another origin than the stream that it is in.
func (m mesh) spoiled(t *testing.T, i int, dir, title string) federation.Alert {
	t.Helper()
	site := m.Sites[i].ID()
	st, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, string(site.ID), "auroramesh.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	a := alert(title, federation.Critical).Alert("spoiled-"+title, time.Now())
	payload, err := json.Marshal(federation.Share(a, site))
	if err != nil {
		t.Fatal(err)
	}
	bad := altered(t, string(payload), `"origin_site":"`+string(site.ID)+`"`, `"origin_site":"site-x"`)
	out := []store.Outgoing{{Subject: subject.Alert(a.Severity), MsgID: a.ID, Priority: a.Severity.Rank(), AlertID: a.ID, Payload: []byte(bad)}}
	if _, _, err := st.RaiseAlert(t.Context(), a, out); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTheLedgerTellsWhatThePeerRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := start(t, demo.Options{DataDir: dir})
	const n = 11
	var good []federation.Alert
	raise := func() { good = append(good, m.raise(t, 0, alert(fmt.Sprint("good ", len(good)), federation.Critical))) }
	for range n / 2 {
		raise()
	}
	bad := m.spoiled(t, 0, dir, "bad")
	for range n / 2 {
		raise()
	}
	natstest.Within(t, 20*time.Second, "all but one are stored", func() bool {
		out, _ := deliveries(t, m.api[0])
		return are(out.Shared, n) && are(out.Acknowledged, n) && are(out.Refused, 1) && are(out.Stored, n-1) && are(out.Pending, 0)
	})
	if got := m.total(t, 1, "federation:site-a"); got != n-1 {
		t.Errorf("the peer has %d", got)
	}
	told := func(a federation.Alert) federation.AlertDelivery {
		t.Helper()
		d, err := m.api[0].AlertDeliveries(t.Context(), a.ID)
		if err != nil || len(d.Deliveries) != 1 {
			t.Fatalf("the deliveries of %s: %+v, %v", a.Title, d, err)
		}
		return d.Deliveries[0]
	}
	for _, a := range good {
		if d := told(a); d.State != federation.DeliveryStored {
			t.Errorf("%s is %+v", a.Title, d)
		}
	}
	if d := told(bad); d.State != federation.DeliveryRefused || d.Detail != "the alert stream of site-a holds an alert whose origin is site-x, signed by site-a" {
		t.Errorf("the bad one is %+v", d)
	}
	line := `aurora_federation_deliveries_refused{peer="site-b",site="site-a"} 1` + "\n"
	natstest.Within(t, 20*time.Second, "the gauge shows it", func() bool { return strings.Contains(metrics(t, m.Sites[0].API), line) })
	if out := command(t, "deliveries", "--api-base="+m.Sites[0].API, bad.ID); !strings.Contains(out, "refused") || !strings.Contains(out, "whose origin is site-x") {
		t.Errorf("the command shows %s", out)
	}
}
