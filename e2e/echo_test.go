package e2e_test

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// patient has ages so long that no heartbeat is late in a test: what the link says
// it says by its echoes.
func patient(i int, s *settings.Settings) {
	quick(i, s)
	s.DegradedSeconds, s.DownSeconds = 600, 1200
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

// TestADelayInThePathShowsAsLatency puts the same delay into a bare line beside the mesh's.
// What that one takes is what the machine makes of 40 ms, so a busy one fails nothing.
func TestADelayInThePathShowsAsLatency(t *testing.T) {
	if raced {
		t.Skip("under the race detector an echo takes tens of milliseconds by itself; run it without: go test -run ADelayInThePath ./e2e")
	}
	m, proxy := proxied(t, demo.Options{Configure: patient})
	m.bothSee(t, federation.Healthy, "")
	before := [2]float64{1e9, 1e9} // what an echo of each end takes by itself: the quickest, for a busy machine only adds to it
	natstest.Within(t, 20*time.Second, "a few echoes have come back", func() bool {
		enough := true
		for i := range before {
			l := m.only(t, i).Latency
			if l != nil && l.LastMs != nil {
				before[i] = min(before[i], *l.LastMs)
			}
			enough = enough && l != nil && l.Echoes >= 8
		}
		return enough
	})
	proxy.Delay(20 * time.Millisecond) // each way
	bare := bareLine(t, 20*time.Millisecond)
	var trips []float64 // of the bare line
	injected := 0.0     // their median
	sees := func(i int, l *federation.Latency) bool {
		return l != nil && l.LastMs != nil && *l.LastMs >= 40 && *l.LastMs <= injected+before[i]+2
	}
	var shown, heard [2]bool
	natstest.Within(t, 60*time.Second, "both ends show 40 ms, and that the other sees it too", func() bool {
		trips = append(trips, bare())
		slices.Sort(trips)
		injected = trips[len(trips)/2]
		for i := range 2 {
			l := m.only(t, i)
			shown[i] = shown[i] || sees(i, l.Latency)
			v := l.PeerView
			heard[i] = heard[i] || v != nil && v.Peer == demo.SiteID(i) && sees(1-i, v.Latency)
		}
		return shown[0] && shown[1] && heard[0] && heard[1]
	})
	for i, ms := range before {
		if ms > 20 {
			t.Errorf("without the delay an echo of site %d took %v ms", i, ms)
		}
	}
	if l := m.only(t, 0); l.Status != federation.Healthy || *l.Latency.ClockOffsetMs < -40 || *l.Latency.ClockOffsetMs > 40 {
		t.Errorf("the link is %s, the clock offset %v ms", l.Status, *l.Latency.ClockOffsetMs)
	}
}

// bareLine is a connection through a line with the delay, and nothing else in it: each call is a round trip, in milliseconds.
func bareLine(t *testing.T, delay time.Duration) func() float64 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c) // until the line is closed
		_ = c.Close()
	}()
	p, err := linkproxy.Listen("127.0.0.1:0", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p.Delay(delay)
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return func() float64 {
		began := time.Now()
		b := []byte{1}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
		return float64(time.Since(began)) / 1e6
	}
}

func TestACutLinkNamesItsCauseLongBeforeAHeartbeatIsLate(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// A leaf keeps its own leafnode when another is cut from the hub: it is the hub's
// gossip that tells it. Without ticks nothing else makes it look.
func TestALeafHearsOfTheHubThatAnotherIsCut(t *testing.T) {
	t.Parallel()
	proxies := map[int]*linkproxy.Proxy{}
	m := start(t, demo.Options{Sites: 3, Configure: patient, LeafURL: func(i int, listener string) string {
		p, err := linkproxy.Listen("127.0.0.1:0", listener)
		if err != nil {
			t.Fatal(err)
		}
		proxies[i] = p
		return p.Addr()
	}})
	t.Cleanup(func() {
		for _, p := range proxies {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	const link = "link-site-b-site-c"
	is := func(s federation.LinkStatus, c federation.Cause) func() bool {
		return func() bool {
			for _, l := range m.topology(t, 2).Links {
				if l.ID == link {
					return l.Status == s && l.Cause == c && (s == federation.Down || l.Latency != nil && l.Latency.Echoes >= 3)
				}
			}
			return false
		}
	}
	natstest.Within(t, 20*time.Second, "the link is measured", is(federation.Healthy, ""))
	ticks, err := natstest.Bus(t, m.Sites[2].Server(), "site-c", "test").JetStream().Stream(t.Context(), subject.TickStream("site-c"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ticks.Purge(t.Context(), jetstream.WithPurgeSubject(subject.Schedule("site-c", "linkprobe", "probe"))); err != nil {
		t.Fatal(err)
	}
	proxies[1].Set(linkproxy.Cut)
	natstest.Eventually(t, "the leaf says that the other is cut", is(federation.Down, federation.TransportDisconnected))
	proxies[1].Set(linkproxy.Pass)
	natstest.Eventually(t, "the leaf says that the other is back", is(federation.Healthy, ""))
}
