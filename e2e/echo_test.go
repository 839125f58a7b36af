package e2e_test

import (
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
)

// patient has ages so long that no heartbeat is late in a test: what the link says
// it says by its echoes.
func patient(_ int, s *settings.Settings) {
	s.HeartbeatSeconds, s.DegradedSeconds, s.DownSeconds = 1, 600, 1200
}

// proxied is two sites with a line between them that can fail.
func proxied(t *testing.T, o demo.Options) (mesh, *linkproxy.Proxy) {
	t.Helper()
	var proxy *linkproxy.Proxy
	o.LeafURL = func(_ int, listener string) string {
		p, err := linkproxy.Listen("127.0.0.1:0", listener)
		if err != nil {
			t.Fatal(err)
		}
		proxy = p
		return p.Addr()
	}
	m := start(t, o)
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	return m, proxy
}

// only is the one link that site i knows.
func (m mesh) only(t *testing.T, i int) federation.Link {
	t.Helper()
	links := m.topology(t, i).Links
	if len(links) != 1 {
		return federation.Link{}
	}
	return links[0]
}

// bothSee waits until both ends of the link have a status, for one of the causes.
func (m mesh) bothSee(t *testing.T, s federation.LinkStatus, causes ...federation.Cause) {
	t.Helper()
	natstest.Within(t, 20*time.Second, "both ends say "+string(s), func() bool {
		for i := range 2 {
			l := m.only(t, i)
			ok := false
			for _, c := range causes {
				ok = ok || l.Cause == c
			}
			if l.Status != s || !ok {
				return false
			}
		}
		return true
	})
}

func TestADelayInThePathShowsAsLatency(t *testing.T) {
	m, proxy := proxied(t, demo.Options{Configure: patient})
	m.bothSee(t, federation.Healthy, "")
	var before float64 // what an echo takes by itself, on this machine now
	natstest.Within(t, 20*time.Second, "a few echoes have come back", func() bool {
		l := m.only(t, 0).Latency
		if l == nil || l.Echoes < 5 || l.MedianMs == nil {
			return false
		}
		before = *l.MedianMs
		return true
	})
	proxy.Delay(20 * time.Millisecond) // each way
	// A busy machine adds to an echo now and then, so not all four need to be right at one moment.
	var shown [2]struct{ own, peer bool }
	natstest.Within(t, 30*time.Second, "both directions show 40 ms, at both ends", func() bool {
		for i := range 2 {
			l := m.only(t, i)
			shown[i].own = shown[i].own || shows40(l.Latency, before)
			shown[i].peer = shown[i].peer || l.PeerView != nil && l.PeerView.Peer == demo.SiteID(i) && shows40(l.PeerView.Latency, before)
		}
		return shown[0].own && shown[0].peer && shown[1].own && shown[1].peer
	})
	if before > 20 {
		t.Errorf("without the delay an echo took %v ms", before)
	}
	if l := m.only(t, 0); l.Status != federation.Healthy || *l.Latency.ClockOffsetMs < -40 || *l.Latency.ClockOffsetMs > 40 {
		t.Errorf("the link is %s, the clock offset %v ms", l.Status, *l.Latency.ClockOffsetMs)
	}
}

// shows40 reports whether the newest echo took 40 ms, give or take two, over what it takes by itself.
func shows40(l *federation.Latency, before float64) bool {
	return l != nil && l.LastMs != nil && *l.LastMs >= 40 && *l.LastMs <= before+42
}

func TestACutLinkNamesItsCauseLongBeforeAHeartbeatIsLate(t *testing.T) {
	m, proxy := proxied(t, demo.Options{Configure: patient})
	m.bothSee(t, federation.Healthy, "")
	proxy.Set(linkproxy.Cut)
	m.bothSee(t, federation.Down, federation.TransportDisconnected)
	proxy.Set(linkproxy.Pass)
	m.bothSee(t, federation.Healthy, "")
	proxy.Set(linkproxy.BlackHole)
	// Soon the servers notice too, and what was lost is cut.
	natstest.Within(t, 20*time.Second, "the black hole shows", func() bool {
		l := m.only(t, 0)
		return l.Status != federation.Healthy && (l.Cause == federation.EchoLost || l.Cause == federation.TransportDisconnected)
	})
	m.bothSee(t, federation.Down, federation.TransportDisconnected)
	proxy.Set(linkproxy.Pass)
	m.bothSee(t, federation.Healthy, "")

	for i := range 2 {
		h, err := m.api[i].LinkHistory(t.Context(), "link-site-a-site-b", 1)
		if err != nil {
			t.Fatal(err)
		}
		downs := 0
		for _, tr := range h.Transitions {
			if tr.To == string(federation.Down) && tr.Cause == federation.TransportDisconnected {
				downs++
			}
		}
		if downs != 2 || h.Availability <= 0 || h.Availability >= 1 || h.DownSeconds <= 0 || h.Transitions[0].To != string(federation.Healthy) {
			t.Errorf("site %d has the history %+v", i, h)
		}
	}
}

func TestAClockThatIsOffShowsAndStopsNothing(t *testing.T) {
	m := start(t, demo.Options{Configure: patient, Now: func(i int) func() time.Time {
		return func() time.Time { return time.Now().Add(time.Duration(i) * 10 * time.Minute) }
	}})
	m.bothSee(t, federation.LinkDegraded, federation.ClockSkew)
	if off := *m.only(t, 0).Latency.ClockOffsetMs; off < 590_000 || off > 610_000 {
		t.Errorf("site-a sees the clock of site-b %v ms ahead", off)
	}
	m.raise(t, 1, alert("from the future", federation.Critical))
	m.arrives(t, 0, "from the future")
}
