package e2e_test

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// comparing compares every second what a user would have compared every half minute.
func comparing(i int, s *settings.Settings) {
	quick(i, s)
	s.ReconcileSeconds = 1
}

// purge lets the stream of site i go of all that it holds, once that is n alerts: one
// that comes into it a moment later would stay.
func (m mesh) purge(t *testing.T, i, n int) {
	t.Helper()
	natstest.Eventually(t, "all is in the stream", func() bool { return m.shared(t, i) == n })
	site := m.Sites[i].ID().ID
	s, err := m.reader(t, i).JetStream().Stream(t.Context(), subject.AlertStream(site))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// resent is how many alerts site i has sent again.
func (m mesh) resent(t *testing.T, i int) (n int) {
	t.Helper()
	for _, v := range regexp.MustCompile(`(?m)^aurora_alerts_resent_total\{.*\} (\d+)$`).FindAllStringSubmatch(metrics(t, m.Sites[i].API), -1) {
		one, err := strconv.Atoi(v[1])
		if err != nil {
			t.Fatal(err)
		}
		n += one
	}
	return n
}

// clean waits until both ends have compared all the alerts of site i after a moment and
// have found nothing lost, and returns when.
func (m mesh) clean(t *testing.T, i, n int, after time.Time) (at time.Time) {
	t.Helper()
	natstest.Within(t, 30*time.Second, "it is stated that nothing is lost", func() bool {
		out, _ := deliveries(t, m.api[i])
		_, in := deliveries(t, m.api[1-i])
		for _, d := range []federation.Delivery{out, in} {
			r := d.Reconciliation
			if r == nil || !r.At.After(after) || r.Compared != n || r.Lost != 0 || r.Pending != 0 || r.Duplicated != 0 || r.Extra != 0 {
				return false
			}
			at = r.At
		}
		return true
	})
	return at
}

// A stream that loses what it kept while the link is cut costs nothing, new alerts
// and new versions alike; and what is there is not sent again.
func TestWhatTheStreamLostIsFoundAndFetchedOnce(t *testing.T) {
	t.Parallel()
	m, proxy := proxied(t, demo.Options{Configure: comparing})
	known := m.raise(t, 0, alert("known", federation.High))
	there := m.arrives(t, 1, "known")[0]

	proxy.Set(linkproxy.Cut)
	m.change(t, 0, known.ID, federation.AlertPatch{Status: federation.Escalated})
	for n := range 20 {
		m.raise(t, 0, alert(fmt.Sprintf("cut off %d", n), federation.Critical))
	}
	m.purge(t, 0, 22)
	healed := time.Now()
	proxy.Set(linkproxy.Pass)

	natstest.Within(t, 60*time.Second, "all has come", func() bool { return m.total(t, 1, "federation:site-a") == 21 })
	if a := m.at(t, 1, there.ID, 2); a.Origin.Status != federation.Escalated {
		t.Errorf("the newest version is %+v", a)
	}
	at := m.clean(t, 0, 21, healed)
	if n := m.resent(t, 0); n != 21 {
		t.Errorf("%d alerts were sent again, want 21", n)
	}
	if n := m.total(t, 1, "federation:site-a"); n != 21 {
		t.Errorf("the peer has %d", n)
	}

	before := m.shared(t, 0)
	m.clean(t, 0, 21, at)
	if n, shared := m.resent(t, 0), m.shared(t, 0); n != 21 || shared != before {
		t.Errorf("with nothing lost, %d were sent again in all, and the stream holds %d, not %d", n, shared, before)
	}
}

func TestASiteThatJoinsLaterGetsWhatTheStreamHoldsNoMore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	o := demo.Options{DataDir: dir, Configure: comparing, Version: "0.0.1", Log: slog.New(slog.DiscardHandler)}
	d, err := demo.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	before := mesh{Demo: d}
	for _, s := range d.Sites {
		before.api = append(before.api, client(t, s.API))
	}
	for n := range 3 {
		before.raise(t, 0, alert(fmt.Sprintf("early %d", n), federation.High))
	}
	before.raise(t, 0, alert("not for them", federation.Low))
	before.arrives(t, 1, "early 2")
	before.purge(t, 0, 3)
	if err := d.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	o.Sites = 3
	m := start(t, o)
	natstest.Within(t, 60*time.Second, "the third site has them", func() bool { return m.total(t, 2, "federation:site-a") == 3 })
	if n := m.total(t, 1, "federation:site-a"); n != 3 {
		t.Errorf("the second has %d", n)
	}
	if n := m.resent(t, 0); n != 3 {
		t.Errorf("%d alerts were sent again, want 3", n)
	}
}

func TestAServerThatLostItsDiskCostsNoAlert(t *testing.T) {
	t.Parallel()
	m, proxy := proxied(t, demo.Options{Configure: comparing})
	m.raise(t, 1, alert("before", federation.High))
	m.arrives(t, 0, "before")
	proxy.Set(linkproxy.Cut)
	var last federation.Alert
	for n := range 5 {
		last = m.raise(t, 1, alert(fmt.Sprintf("on the lost disk %d", n), federation.High))
	}
	m.published(t, 1, last)
	if err := m.Sites[1].Lose(); err != nil {
		t.Fatal(err)
	}
	lost := time.Now()
	bus := natstest.Bus(t, m.Sites[1].Server(), "site-b", "reader")
	natstest.Within(t, 20*time.Second, "the streams are back", func() bool {
		for _, name := range []string{subject.AlertStream("site-b"), subject.EventStream("site-b"), subject.TickStream("site-b"), subject.DeadLetterStream("site-b")} {
			if _, err := bus.JetStream().Stream(t.Context(), name); err != nil {
				return false
			}
		}
		return true
	})
	proxy.Set(linkproxy.Pass)
	m.raise(t, 1, alert("after", federation.High))
	natstest.Within(t, 60*time.Second, "all has come", func() bool { return m.total(t, 0, "federation:site-b") == 7 })
	m.clean(t, 1, 7, lost)
	if n := m.total(t, 0, "federation:site-b"); n != 7 {
		t.Errorf("the peer has %d", n)
	}
	natstest.Within(t, 30*time.Second, "the heartbeats go on", func() bool {
		for _, s := range m.topology(t, 1).Sites {
			if s.LastHeartbeatAt == nil || s.LastHeartbeatAt.Before(lost) {
				return false
			}
		}
		return m.link(t, 0, "link-site-a-site-b") == federation.Healthy
	})
}

// What is fetched passes the gates like any other alert: without the IOC types that the
// origin takes off, and not at all where the receiver has refused it, until it would not.
func TestWhatIsFetchedPassesTheGates(t *testing.T) {
	t.Parallel()
	m, proxy := proxied(t, demo.Options{Configure: comparing})
	m.setGate(t, 0, "site-b", federation.Outbound, federation.GateSetting{StripIOCs: []federation.IOCType{federation.IP}})
	m.setGate(t, 1, "site-a", federation.Inbound, federation.GateSetting{ExceptSources: []string{"honeypot"}})
	m.raise(t, 0, from("edr", "known", federation.High))
	m.arrives(t, 1, "known")

	proxy.Set(linkproxy.Cut)
	m.raise(t, 0, from("honeypot", "unwanted", federation.High))
	m.raise(t, 0, from("edr", "lost", federation.Critical))
	m.purge(t, 0, 6) // each in the form for all, and in that for site-b
	proxy.Set(linkproxy.Pass)

	lost := m.arrives(t, 1, "lost")[0]
	if len(lost.IOCs) != 1 || lost.IOCs[0].Type != federation.Domain {
		t.Errorf("it was fetched with %v", lost.IOCs)
	}
	refusals := func(i int) (r *federation.Reconciliation) {
		if i == 0 {
			out, _ := deliveries(t, m.api[0])
			return out.Reconciliation
		}
		_, in := deliveries(t, m.api[1])
		return in.Reconciliation
	}
	natstest.Within(t, 60*time.Second, "both ends know that one is refused and none lost", func() bool {
		for i := range 2 {
			if r := refusals(i); r == nil || r.Compared != 3 || r.Refused != 1 || r.Lost != 0 || r.Pending != 0 {
				return false
			}
		}
		return true
	})
	if sent := m.resent(t, 0); sent != 2 {
		t.Errorf("%d alerts were sent again, want both once", sent)
	}

	if _, err := m.api[1].ResetGate(t.Context(), ask.GateOf{Peer: "site-a", Direction: federation.Inbound}); err != nil {
		t.Fatal(err)
	}
	// The same version was sent again just now, so it goes again only half a minute later.
	natstest.Within(t, 60*time.Second, "what was refused is there", func() bool { return len(m.titled(t, 1, "unwanted")) == 1 })
	natstest.Within(t, 60*time.Second, "the ledger shows no refusal any more", func() bool {
		out, _ := deliveries(t, m.api[0])
		return out.Reconciliation.Refused == 0 && are(out.Refused, 0)
	})
}
