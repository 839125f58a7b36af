package federation_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
)

var echoAges = federation.Thresholds{Degraded: 45 * time.Second, Down: 120 * time.Second}

// probed is a probe after one echo a second: '.' answered in 5 ms, 'x' lost, '/' disconnected.
func probed(echoes string, offset time.Duration) (p federation.Probe, now time.Time) {
	now = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, c := range echoes {
		now = now.Add(time.Second)
		e := federation.Echo{At: now, Outcome: map[rune]federation.EchoOutcome{'.': federation.Answered, 'x': federation.Lost, '/': federation.Disconnected}[c]}
		if c == '.' {
			e.Trip, e.PeerAt = 5*time.Millisecond, now.Add(offset)
		}
		p = p.Next(e)
	}
	return p, now
}

func TestALinkIsJudgedByItsEchoesAndItsHeartbeat(t *testing.T) {
	const h, d, down = federation.Healthy, federation.LinkDegraded, federation.Down
	for name, c := range map[string]struct {
		echoes string
		age    time.Duration
		offset time.Duration
		status federation.LinkStatus
		cause  federation.Cause
	}{
		"nothing measured":                         {"", 0, 0, h, ""},
		"nothing measured, a late heartbeat":       {"", time.Minute, 0, d, federation.HeartbeatLate},
		"answered":                                 {"...", 0, 0, h, ""},
		"one lost is no failure":                   {"..x", 0, 0, h, ""},
		"two lost are":                             {"..xx", 0, 0, d, federation.EchoLost},
		"every other lost is never two in a row":   {".x.x.x", 0, 0, h, ""},
		"two answered do not take it back":         {"xx..", 0, 0, d, federation.EchoLost},
		"three do":                                 {"xx...", 0, 0, h, ""},
		"a link that flaps stays marked":           {"xx..x..x..", 0, 0, d, federation.EchoLost},
		"cut":                                      {"../", 0, 0, down, federation.TransportDisconnected},
		"cut, then silent":                         {"/xxx", 0, 0, down, federation.TransportDisconnected},
		"echoes lost and no heartbeat for long":    {"xx", 3 * time.Minute, 0, down, federation.EchoLost},
		"echoes come back, heartbeats do not":      {"...", 3 * time.Minute, 0, down, federation.HeartbeatLate},
		"a clock that is 29 s off":                 {"...", 0, 29 * time.Second, h, ""},
		"a clock that is ahead":                    {"...", 0, 10 * time.Minute, d, federation.ClockSkew},
		"a clock that is behind":                   {"...", 0, -10 * time.Minute, d, federation.ClockSkew},
		"a late heartbeat is told before the skew": {"...", time.Minute, time.Hour, d, federation.HeartbeatLate},
	} {
		t.Run(name, func(t *testing.T) {
			p, now := probed(c.echoes, c.offset)
			status, cause := echoAges.Judge(c.age, p, now)
			if status != c.status || cause != c.cause {
				t.Errorf("the link is %s (%s), want %s (%s)", status, cause, c.status, c.cause)
			}
			if status, _ := echoAges.Judge(0, p, now.Add(16*time.Second)); status != h {
				t.Errorf("with old echoes and a new heartbeat the link is %s", status)
			}
		})
	}
}

func TestLatencyIsOfTheWindow(t *testing.T) {
	var p federation.Probe
	if p.Latency() != nil {
		t.Error("a link that was never measured has a latency")
	}
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	add := func(trip time.Duration) {
		e := federation.Echo{At: at, Outcome: federation.Lost}
		if trip > 0 {
			e.Outcome, e.Trip, e.PeerAt = federation.Answered, trip, at.Add(trip/2+250*time.Millisecond)
		}
		p = p.Next(e)
	}
	add(time.Hour) // leaves the window
	for range 98 {
		add(40 * time.Millisecond)
	}
	add(90 * time.Millisecond)
	for range 21 {
		add(0)
	}
	l := p.Latency()
	if l.Echoes != federation.EchoWindow || l.Loss != 21.0/120 || l.LastMs != nil {
		t.Errorf("of %d echoes %v were lost, the last took %v", l.Echoes, l.Loss, l.LastMs)
	}
	if *l.MedianMs != 40 || *l.P99Ms != 90 || *l.ClockOffsetMs != 250 {
		t.Errorf("median %v, p99 %v, offset %v ms", *l.MedianMs, *l.P99Ms, *l.ClockOffsetMs)
	}
	if want := 50.0 / 98; *l.JitterMs < want-0.001 || *l.JitterMs > want+0.001 {
		t.Errorf("the jitter is %v ms, want %v", *l.JitterMs, want)
	}
}

func TestAnEchoNeverMakesALinkBetterThanItsHeartbeat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, now := probed(rapid.StringMatching(`[./x]{0,200}`).Draw(t, "echoes"), 0)
		age := time.Duration(rapid.Int64Range(0, int64(5*time.Minute)).Draw(t, "age"))
		status, cause := echoAges.Judge(age, p, now)
		if want := echoAges.Link(age); status.Worse(want) != status {
			t.Errorf("%s, where the heartbeat alone gives %s", status, want)
		}
		if (status == federation.Healthy) != (cause == "") {
			t.Errorf("%s has the cause %q", status, cause)
		}
		if len(p.Trips) > federation.EchoWindow {
			t.Errorf("%d echoes are kept", len(p.Trips))
		}
	})
}
