package federation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
)

var echoAges = federation.Thresholds{Degraded: 45 * time.Second, Down: 120 * time.Second}

// probed is a probe after one echo a second: '.' answered in 5 ms, 'x' lost, '/' disconnected, 'r' refused, 'f' forbidden.
func probed(echoes string, offset time.Duration) (p federation.Probe, now time.Time) {
	now = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, c := range echoes {
		now = now.Add(time.Second)
		e := federation.Echo{At: now, Outcome: map[rune]federation.EchoOutcome{'.': federation.Answered, 'x': federation.Lost, '/': federation.Disconnected, 'r': federation.Refused, 'f': federation.Forbidden}[c]}
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
		"refused":                                  {"../r", 0, 0, down, federation.AuthRefused},
		"refused, then not to be reached":          {"r///", 0, 0, down, federation.AuthRefused},
		"refused, then silent":                     {"rxxx", 0, 0, down, federation.AuthRefused},
		"no echo is let through":                   {"..f", 0, 0, d, federation.AuthRefused},
		"an echo is let through again":             {"ff...", 0, 0, h, ""},
		"let through, but lost":                    {"ffxx", 0, 0, d, federation.EchoLost},
		"refused long ago":                         {"r///////////////", 0, 0, down, federation.TransportDisconnected},
		"refused, then let in":                     {"r...", 0, 0, h, ""},
		"let in, then cut":                         {"r.../", 0, 0, down, federation.TransportDisconnected},
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

func TestAnEchoThatWasSentBeforeTheLastChangesNothing(t *testing.T) {
	p, now := probed("...", 0)
	after := p.Next(federation.Echo{At: now.Add(-time.Millisecond), Outcome: federation.Disconnected})
	if diff := cmp.Diff(p, after); diff != "" {
		t.Error(diff)
	}
}

// A clock is set by a step, in either direction, while a link is cut, refused or works.
func TestAClockThatIsSetHidesNoCut(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, -6 * time.Second, 6 * time.Second, time.Hour} {
		p, now := probed("...", 0)
		set := now.Add(step)
		if stale := step.Abs() > federation.FreshEcho; p.Works(set) == stale {
			t.Errorf("set by %v the line works: %t", step, !stale)
		}
		for i, o := range []federation.EchoOutcome{federation.Disconnected, federation.Refused, federation.Disconnected} {
			at := set.Add(time.Duration(i) * time.Second)
			p = p.Next(federation.Echo{At: at, Outcome: o})
			want := federation.TransportDisconnected
			if i > 0 {
				want = federation.AuthRefused
			}
			if status, cause := echoAges.Judge(0, p, at); status != federation.Down || cause != want {
				t.Errorf("set by %v and cut the link is %s (%s), want down (%s)", step, status, cause, want)
			}
		}
		p = p.Next(federation.Echo{At: set.Add(-time.Minute), Outcome: federation.Disconnected})
		if p.State != federation.Disconnected {
			t.Errorf("a refusal from before the clock was set back is still told: %s", p.State)
		}
	}
}

func TestEchoesOfAnotherTimeSayNothing(t *testing.T) {
	p, now := probed("../", 0)
	for ago, want := range map[time.Duration]federation.LinkStatus{
		15 * time.Second: federation.Down, 16 * time.Second: federation.Healthy,
		-15 * time.Second: federation.Down, -16 * time.Second: federation.Healthy,
	} {
		if status, _ := echoAges.Judge(0, p, now.Add(ago)); status != want {
			t.Errorf("%v after the echo the link is %s, want %s", ago, status, want)
		}
	}
}

func TestADeliveryThatStandsStillIsToldWhereNothingElseExplainsIt(t *testing.T) {
	for name, c := range map[string]struct {
		echoes string
		age    time.Duration
		offset time.Duration
		status federation.LinkStatus
		cause  federation.Cause
	}{
		"answered":                     {"...", 0, 0, federation.LinkDegraded, federation.DeliveryStalled},
		"answered, with a clock off":   {"...", 0, time.Hour, federation.LinkDegraded, federation.DeliveryStalled},
		"echoes lost":                  {"..xx", 0, 0, federation.LinkDegraded, federation.EchoLost},
		"cut":                          {"../", 0, 0, federation.Down, federation.TransportDisconnected},
		"a late heartbeat":             {"...", time.Minute, 0, federation.LinkDegraded, federation.HeartbeatLate},
		"no heartbeat for a long time": {"...", 3 * time.Minute, 0, federation.Down, federation.HeartbeatLate},
	} {
		p, now := probed(c.echoes, c.offset)
		p.StalledAt = &now
		p = p.Next(federation.Echo{At: now, Outcome: map[bool]federation.EchoOutcome{true: federation.Answered, false: federation.Lost}[p.State == federation.Answered], PeerAt: now.Add(c.offset)})
		if status, cause := echoAges.Judge(c.age, p, now); status != c.status || cause != c.cause {
			t.Errorf("%s: the link is %s (%s), want %s (%s)", name, status, cause, c.status, c.cause)
		}
		if got, want := p.Works(now), p.State == federation.Answered; got != want || p.Works(now.Add(16*time.Second)) {
			t.Errorf("%s: the line works: %t", name, got)
		}
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

// What was lost while nothing at the peer could be reached is in the history, and is no loss of the
// link as it is now. What a line loses that works is.
func TestLossBeginsAnewOnceThePeerIsReachedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		echoes string
		lost   int
		of     int
	}{
		"a cut":                                 {"....x//////...", 0, 3},
		"a cut that is not healed for sure":     {"....//..", 2, 8},
		"a refusal":                             {"..rrrr....", 0, 4},
		"what is lost after it":                 {"..////...x..x.", 2, 8},
		"a second cut":                          {"..////...xxx..///...", 0, 3},
		"a black hole that is found to be one":  {"....xxxx///...", 0, 3},
		"a line that loses two and works":       {"....xx....", 2, 10},
		"a cut that the window has left":        {"////" + strings.Repeat(".", 118) + "x.", 1, 120},
		"a cut as the first thing":              {"//...", 0, 3},
		"echoes of a line that was never there": {"///", 3, 3},
	} {
		p, _ := probed(c.echoes, 0)
		l := p.Latency()
		if l.Echoes != c.of || l.Loss != float64(c.lost)/float64(c.of) {
			t.Errorf("%s: of %d echoes %.3f are lost, want %d of %d", name, l.Echoes, l.Loss, c.lost, c.of)
		}
		if m, sent := p.Minute(), min(len(c.echoes), 60); m.Echoes != sent || m.Lost != sent-strings.Count(c.echoes[len(c.echoes)-sent:], ".") {
			t.Errorf("%s: the history has %d lost of %d", name, m.Lost, m.Echoes)
		}
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
		if len(p.Trips) > federation.EchoWindow || p.Anew > len(p.Trips) {
			t.Errorf("%d echoes are kept, of which %d are new", len(p.Trips), p.Anew)
		}
	})
}

// Asked each second, as linkprobe is.
func TestALinkWithoutAlertsIsProbedAtItsPace(t *testing.T) {
	const every = 15 * time.Second
	start := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	// sent is in which of the seconds echoes go whose outcomes are given in order; the last goes for all that follow.
	sent := func(shift time.Duration, seconds int, echoes ...federation.EchoOutcome) (at []int, p federation.Probe) {
		for s := range seconds {
			now := start.Add(time.Duration(s) * time.Second)
			if !p.Due(now, every, shift) {
				continue
			}
			e := federation.Echo{At: now, Outcome: echoes[min(len(at), len(echoes)-1)], Every: every}
			if e.Outcome == federation.Answered {
				e.PeerAt = now
			}
			p, at = p.Next(e), append(at, s)
		}
		return at, p
	}
	const ok, lost, gone = federation.Answered, federation.Lost, federation.Disconnected
	for name, c := range map[string]struct {
		shift  time.Duration
		echoes []federation.EchoOutcome
		want   []int
	}{
		"answered":                              {0, []federation.EchoOutcome{ok}, []int{0, 15, 30, 45}},
		"another shift has its turn in between": {5 * time.Second, []federation.EchoOutcome{ok}, []int{0, 10, 25, 40, 55}},
		"one lost is looked at again at once":   {0, []federation.EchoOutcome{ok, lost, ok}, []int{0, 15, 16, 30, 45}},
		"two lost mark it, and it has its pace": {0, []federation.EchoOutcome{ok, lost}, []int{0, 15, 16, 30, 45}},
		"three that come back heal it at once":  {0, []federation.EchoOutcome{ok, gone, ok}, []int{0, 15, 30, 31, 32, 45}},
	} {
		t.Run(name, func(t *testing.T) {
			got, p := sent(c.shift, 60, c.echoes...)
			if !cmp.Equal(got, c.want) {
				t.Errorf("echoes go in the seconds %v, want %v", got, c.want)
			}
			if l := p.Latency(); l.EverySeconds != 15 {
				t.Errorf("the figures are of an echo every %d s", l.EverySeconds)
			}
			if m := p.Minute(); m.Echoes != min(len(got), 4) {
				t.Errorf("a minute has %d echoes", m.Echoes)
			}
		})
	}

	if _, p := sent(0, 600, ok); p.Latency().Echoes != 8 {
		t.Errorf("the figures are over %d echoes, want those of two minutes", p.Latency().Echoes)
	}
	_, p := sent(0, 1, ok)
	if !p.Works(start.Add(29*time.Second)) || p.Works(start.Add(31*time.Second)) {
		t.Error("an echo that is one of every 15 s does not count for 15 s more than the pace")
	}
	shifts := map[time.Duration]bool{}
	for _, peer := range []federation.SiteID{"site-b", "site-c", "site-d", "site-e"} {
		s := federation.Shift("site-a", peer, every)
		if s < 0 || s >= every {
			t.Errorf("the shift of %s is %s", peer, s)
		}
		shifts[s] = true
	}
	if len(shifts) != 4 {
		t.Errorf("four peers have the shifts %v", shifts)
	}
	if !p.Due(start, federation.EchoEvery, 0) {
		t.Error("a link that carries alerts is not probed each second")
	}
	if p = p.Next(federation.Echo{At: start.Add(16 * time.Second), Outcome: ok, Every: federation.EchoEvery}); p.Works(start.Add(32*time.Second)) || p.Latency().EverySeconds != 0 {
		t.Error("a link that carries alerts again keeps the pace of one that does not")
	}
}
