package e2e_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func TestAnAlertRaisedAtOneSiteIsAtEveryOtherWithinTwoSeconds(t *testing.T) {
	m := start(t, demo.Options{Sites: 3})
	raised := m.raise(t, 1, alert("beacon", federation.Critical))
	for _, i := range []int{0, 2} { // leaf to hub, and leaf to leaf through the hub
		rows := m.arrives(t, i, "beacon")
		if len(rows) != 1 {
			t.Fatalf("site %d has it %d times", i, len(rows))
		}
		got := rows[0]
		if got.Source != "federation:site-b" || got.Origin == nil || got.Origin.SiteID != "site-b" || got.Origin.SiteName != "Site B" ||
			got.Origin.AlertID != raised.ID || !got.Origin.RaisedAt.Equal(raised.CreatedAt) || got.ID == raised.ID {
			t.Fatalf("site %d has %+v with origin %+v", i, got, got.Origin)
		}
		// All sites of a demo have one clock.
		if took := got.Origin.ReceivedAt.Sub(raised.CreatedAt); took < 0 || took > 2*time.Second {
			t.Errorf("it was at site %d after %v", i, took)
		}
		if got.Title != raised.Title || got.Severity != raised.Severity || !slices.Equal(got.IOCs, raised.IOCs) || got.Status != "new" {
			t.Errorf("site %d has it as %+v", i, got)
		}
	}
	for i := range m.Sites {
		natstest.Eventually(t, "every site sees all three online and its own links healthy", func() bool {
			top := m.topology(t, i)
			for _, s := range top.Sites {
				if s.Status != federation.Online || s.Local != (s.ID == demo.SiteID(i)) {
					return false
				}
			}
			for j := range m.Sites {
				if j != i && m.link(t, i, federation.LinkID(demo.SiteID(i), demo.SiteID(j))) != federation.Healthy {
					return false
				}
			}
			return top.SiteID == demo.SiteID(i) && len(top.Sites) == 3
		})
	}
	if got := m.link(t, 0, "link-site-a-site-b"); got != federation.Healthy {
		t.Errorf("the link of the contract is %q", got)
	}
}

func TestTheGateDecidesWhatLeaves(t *testing.T) {
	for _, c := range []struct {
		least   federation.Severity
		crosses []federation.Severity
	}{
		{"", []federation.Severity{federation.Critical, federation.High}}, // the default
		{federation.Critical, []federation.Severity{federation.Critical}},
		{federation.Low, []federation.Severity{federation.Critical, federation.High, federation.Medium, federation.Low}},
	} {
		name := "at least " + string(c.least)
		if c.least == "" {
			name = "by default"
		} else {
			t.Setenv("FEDERATION_FEDERATE_MIN_SEVERITY", string(c.least))
		}
		t.Run(name, func(t *testing.T) {
			m := start(t, demo.Options{})
			var last federation.Alert
			for _, s := range federation.Severities() {
				last = m.raise(t, 1, alert("one of severity "+string(s), s))
			}
			m.published(t, 1, last)
			m.raise(t, 1, alert("the marker", federation.Critical))
			m.arrives(t, 0, "the marker")
			for _, s := range federation.Severities() {
				want := 0
				if slices.Contains(c.crosses, s) {
					want = 1
					m.arrives(t, 0, "one of severity "+string(s)) // critical alerts have a lane of their own
				}
				if got := len(m.titled(t, 0, "one of severity "+string(s))); got != want {
					t.Errorf("the one of severity %s is at the peer %d times, want %d", s, got, want)
				}
				if got := len(m.titled(t, 1, "one of severity "+string(s))); got != 1 {
					t.Errorf("the one of severity %s is at home %d times", s, got)
				}
			}
			if got, want := m.shared(t, 1), len(c.crosses)+1; got != want {
				t.Errorf("%d alerts were shared, want %d", got, want)
			}
		})
	}
}

func TestNothingCrossesTwice(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{})
	n := alert("only once", federation.Critical)
	first, created, _, err := m.api[1].Raise(t.Context(), n)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	again, created, _, err := m.api[1].Raise(t.Context(), n)
	if err != nil || created || again.ID != first.ID {
		t.Errorf("the same alert again: created %v, id %s and not %s, %v", created, again.ID, first.ID, err)
	}
	m.arrives(t, 0, "only once")
	if got := m.shared(t, 1); got != 1 {
		t.Errorf("two posts of one alert shared it %d times", got)
	}

	// A replay and an echo, straight into the origin's stream under message ids of their own.
	bus := m.speaker(t, 1)
	put := func(id string, s federation.SharedAlert) {
		t.Helper()
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bus.Store(t.Context(), []function.Message{{Subject: subject.Alert(federation.Critical), ID: id, Payload: data}}); err != nil {
			t.Fatal(err)
		}
	}
	put("replay", federation.Share(first, m.Sites[1].ID()))
	put("replay of the replay", federation.Share(first, m.Sites[1].ID()))
	altered := federation.Share(first, m.Sites[1].ID())
	altered.Title = "the same under another title"
	put("altered replay", altered)
	echo := federation.Share(first, m.Sites[0].ID())
	echo.Title = "an echo"
	put("echo", echo)
	forged := federation.Share(first, federation.Identity{ID: "site-z", Name: "Z"})
	forged.Title = "a forgery"
	put("forgery", forged)
	m.raise(t, 1, alert("the marker", federation.Critical))
	m.arrives(t, 0, "the marker")
	for title, want := range map[string]int{"only once": 1, altered.Title: 0, "an echo": 0, "a forgery": 0} {
		if got := len(m.titled(t, 0, title)); got != want {
			t.Errorf("%q is there %d times, want %d", title, got, want)
		}
	}
	natstest.Eventually(t, "the replays, the echo and the forgery are counted", func() bool {
		text := metrics(t, m.Sites[0].API)
		return strings.Contains(text, `aurora_alerts_received_total{origin="site-b",outcome="replay",site="site-a"} 3`) &&
			strings.Contains(text, `aurora_alerts_received_total{origin="site-b",outcome="echo",site="site-a"} 1`) &&
			strings.Contains(text, `aurora_function_dead_letters_total{function="alertsink",site="site-a",trigger="alerts"} 1`)
	})
}

func TestWithFederationOffASiteWorksAlone(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{Configure: func(i int, s *settings.Settings) {
		quick(i, s)
		s.Enabled = i == 0
	}})
	// At the peer, where everything that leaves would come by.
	sub, err := natstest.Bus(t, m.Sites[0].Server(), "site-a", "listener").Conn().SubscribeSync(subject.Health("site-b"))
	if err != nil {
		t.Fatal(err)
	}
	m.published(t, 1, m.raise(t, 1, alert("kept at home", federation.Critical)))
	m.published(t, 0, m.raise(t, 0, alert("for nobody", federation.Critical)))
	var last time.Time
	beats := 0
	natstest.Within(t, 20*time.Second, "its own row has three fresh heartbeats", func() bool {
		sites, err := m.api[1].Sites(t.Context(), ask.Page{})
		if err != nil || sites.Total != 1 {
			t.Fatalf("it knows %d sites, %v", sites.Total, err)
		}
		if at := sites.Items[0].LastHeartbeatAt; at != nil && at.After(last) {
			last = *at
			beats++
		}
		return beats >= 3
	})
	// Sent last, so that it comes last.
	if err := natstest.Bus(t, m.Sites[1].Server(), "site-b", "marker").Conn().Publish(subject.Health("site-b"), []byte("marker")); err != nil {
		t.Fatal(err)
	}
	if msg, err := sub.NextMsg(30 * time.Second); err != nil || string(msg.Data) != "marker" {
		t.Errorf("gossip left the site: %s, %v", msg.Data, err)
	}
	if n := m.shared(t, 1); n != 0 {
		t.Errorf("%d alerts were put out for the peers", n)
	}
	if m.total(t, 0, "") != 1 || m.total(t, 1, "") != 1 {
		t.Error("an alert crossed")
	}
}
