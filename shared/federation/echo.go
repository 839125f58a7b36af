package federation

import (
	"math"
	"slices"
	"time"
)

// Cause says why a link is not healthy.
type Cause string

// The causes. A link names the one that explains the others: a transport that
// is cut also loses echoes and, in time, heartbeats.
const (
	PeerLeaving           Cause = "peer_leaving"           // the peer said goodbye: it was stopped on purpose
	AuthRefused           Cause = "auth_refused"           // a hub has just refused the leafnode of a peer that cannot be reached, or the own server lets no echo through; or what comes in the name of a peer that is late is not signed with its key
	TransportDisconnected Cause = "transport_disconnected" // nothing at the peer can be reached: the leafnode is cut
	EchoLost              Cause = "echo_lost"              // echoes do not come back in time
	HeartbeatLate         Cause = "heartbeat_late"         // the newest heartbeat is old
	DeliveryStalled       Cause = "delivery_stalled"       // alerts wait, the line works, and the peer acknowledges none
	ClockSkew             Cause = "clock_skew"             // the clocks of the two sites are more than [MaxClockSkew] apart
)

// Causes lists every cause, the most telling first.
func Causes() []Cause {
	return []Cause{PeerLeaving, AuthRefused, TransportDisconnected, EchoLost, HeartbeatLate, DeliveryStalled, ClockSkew}
}

// Valid reports whether c is one of the causes.
func (c Cause) Valid() bool { return slices.Contains(Causes(), c) }

const (
	// EchoWindow is how many echoes a link remembers over which one goes each second; its
	// figures are over these, two minutes. Where they go at another pace it remembers as many
	// as go in that time, and at least leastWindow.
	EchoWindow, leastWindow = 120, 8
	// lostFrom is how many echoes in a row must be lost before the link says so,
	// and answeredFrom how many must come back before it takes that back. The
	// second is the larger, so that a link that drops every other echo stays marked.
	lostFrom, answeredFrom = 2, 3
	// FreshEcho is for how long after the next one was due the last echo says something about the link.
	FreshEcho = 15 * time.Second
	// EchoEvery is how long after one echo the next goes over a link that carries alerts.
	EchoEvery = time.Second
	// overtaken is by how much echoes that overtake each other may be apart. One
	// that is earlier by more was sent after the own clock was set back.
	overtaken = 5 * time.Second
	// freshRefusal is for how long a refusal explains that the peer cannot be
	// reached. A leafnode that is refused tries again within seconds.
	freshRefusal = 15 * time.Second
	// MaxClockSkew is how far apart the clocks of two sites may be.
	MaxClockSkew = 30 * time.Second
)

// EchoOutcome is what became of one echo.
type EchoOutcome string

// The outcomes of an echo.
const (
	Answered     EchoOutcome = "answered"
	Lost         EchoOutcome = "lost"         // no answer in time
	Disconnected EchoOutcome = "disconnected" // nothing at the peer can be reached
	Refused      EchoOutcome = "refused"      // the same, just after the server has refused the peer's leafnode
	Forbidden    EchoOutcome = "forbidden"    // the own server lets no echo to the peer through
)

// Unreachable reports whether nothing at the peer can be reached.
func (o EchoOutcome) Unreachable() bool { return o == Disconnected || o == Refused }

// Echo is one round trip to a peer.
type Echo struct {
	At      time.Time // when it was sent, on the own clock
	Outcome EchoOutcome
	Trip    time.Duration // on the own monotonic clock; 0 unless answered
	PeerAt  time.Time     // what the peer's clock said; zero unless answered
	// Every is the pace at which echoes go over the link; 0: as the last one said.
	Every time.Duration
}

// EchoReply is a peer's answer to an echo.
type EchoReply struct {
	At time.Time `json:"at"` // the peer's clock
}

// Probe is what a site has measured of its half of a link: the echoes that it
// sent and their answers. The zero value has measured nothing.
type Probe struct {
	At    time.Time   `json:"at"`    // of the last echo
	State EchoOutcome `json:"state"` // with separate thresholds for entering and leaving it
	// Trips are the round trips of the echoes of [EchoWindow] in microseconds, the newest last; -1 is a lost one.
	Trips []int64 `json:"trips"`
	// Anew is how many of these, the newest, came since the link was last out of reach; 0: all of them.
	// What was lost meanwhile is no loss of the link as it is now.
	Anew int `json:"anew,omitempty"`
	// EverySeconds is the pace of the echoes; 0: one goes every second.
	EverySeconds int `json:"every_s,omitempty"`
	// OffsetMicros is how far the peer's clock was ahead at the last answered echo, give or take half its round trip.
	OffsetMicros int64 `json:"offset_us"`
	// RefusedAt is when an echo last found the peer refused.
	RefusedAt time.Time `json:"refused_at,omitzero"`
	// StalledAt is since when this site's alerts stand still on their way to the peer; nil: they do not.
	StalledAt *time.Time `json:"stalled_at,omitempty"`
	// KeyRefusedAt is when something last came in the peer's name that is not signed with its key.
	KeyRefusedAt time.Time `json:"key_refused_at,omitzero"`
}

// Works reports whether the last echoes came back, so that alerts could cross too.
func (p Probe) Works(now time.Time) bool { return p.State == Answered && p.fresh(now) }

// fresh reports whether the last echo says something about the link. One that lies
// in the future is from before the own clock was set back.
func (p Probe) fresh(now time.Time) bool { return near(now, p.At, FreshFor(p.every())) }

// FreshFor is for how long an echo says something about a link over which they go at a pace.
func FreshFor(every time.Duration) time.Duration {
	if every <= EchoEvery {
		return FreshEcho
	}
	return FreshEcho + every
}

// every is the pace of the echoes.
func (p Probe) every() time.Duration {
	return max(time.Duration(p.EverySeconds)*time.Second, EchoEvery)
}

// window is how many echoes the link remembers.
func (p Probe) window() int { return max(int(EchoWindow*EchoEvery/p.every()), leastWindow) }

// Due reports whether an echo is to go now over a link where one goes at a pace. Who
// asks each second spreads many links over the pace by their shifts, and none misses its
// turn. Where the last echo says otherwise of the link than is known of it, the next one
// goes at once: so a peer that is gone is found out by two, and not only after two turns.
func (p Probe) Due(now time.Time, every, shift time.Duration) bool {
	if every <= EchoEvery || p.State == "" {
		return true
	}
	return p.Doubted() || Turn(now, every, shift) != Turn(p.At, every, shift)
}

// Doubted reports whether the last echo says otherwise of the link than is known of it.
func (p Probe) Doubted() bool {
	lost, _ := p.inARow()
	return (lost > 0) == (p.State == Answered)
}

// near reports whether two moments are at most d apart, whichever is the earlier.
func near(a, b time.Time, d time.Duration) bool { return a.Sub(b).Abs() <= d }

// Next is the probe after one more echo.
//
// One that was sent shortly before the last changes nothing: two who probe at once
// may come to an end in another order than they began. One that is earlier by more
// counts, else a clock that was set back would hide a cut until it had caught up.
func (p Probe) Next(e Echo) Probe {
	if e.At.Before(p.At) && near(e.At, p.At, overtaken) {
		return p
	}
	trip := int64(-1)
	if e.Outcome == Answered {
		trip = e.Trip.Microseconds()
		p.OffsetMicros = e.PeerAt.Sub(e.At.Add(e.Trip / 2)).Microseconds()
	}
	p.Trips = append(slices.Clone(p.Trips), trip)
	switch {
	case e.Every > EchoEvery:
		p.EverySeconds = int(e.Every / time.Second)
	case e.Every > 0:
		p.EverySeconds = 0
	}
	p.Trips = p.Trips[max(len(p.Trips)-p.window(), 0):]
	if p.Anew > 0 {
		p.Anew++
	}
	lost, answered := p.inARow()
	switch {
	case e.Outcome == Forbidden:
		p.State = Forbidden
	case e.Outcome == Refused:
		p.State, p.RefusedAt = Refused, e.At
	case e.Outcome == Disconnected && p.State == Refused && e.At.Sub(p.RefusedAt).Abs() < freshRefusal:
	case e.Outcome == Disconnected:
		p.State = Disconnected
	case lost >= lostFrom && !p.State.Unreachable():
		p.State = Lost
	case p.State == "" && answered > 0, answered >= answeredFrom:
		if p.State.Unreachable() {
			p.Anew = answered
		}
		p.State = Answered
	}
	if p.Anew >= len(p.Trips) {
		p.Anew = 0
	}
	p.At = e.At
	return p
}

// inARow is how many of the newest echoes were lost, or were answered: one of the two is 0.
func (p Probe) inARow() (lost, answered int) {
	for _, t := range slices.Backward(p.Trips) {
		switch {
		case t < 0 && answered == 0:
			lost++
		case t >= 0 && lost == 0:
			answered++
		default:
			return lost, answered
		}
	}
	return lost, answered
}

// Latency is what the echoes of one direction of a link say, over those of [EchoWindow], or since the peer could be reached again.
type Latency struct {
	LastMs   *float64 `json:"last_ms"`   // round trip of the newest echo; null where it was lost
	MedianMs *float64 `json:"median_ms"` // null where every echo was lost, as for those below
	P99Ms    *float64 `json:"p99_ms"`
	JitterMs *float64 `json:"jitter_ms"` // mean difference between one round trip and the next
	// ClockOffsetMs is how far the peer's clock is ahead, give or take half a round trip.
	ClockOffsetMs *float64  `json:"clock_offset_ms"`
	Loss          float64   `json:"loss"` // share of the echoes that were lost, 0 to 1
	Echoes        int       `json:"echoes"`
	EverySeconds  int       `json:"every_seconds,omitempty"` // how far apart they are; absent: a second
	MeasuredAt    time.Time `json:"measured_at"`             // the clock of the site that sent them
}

// Latency is the figures of a probe, nil where it has measured nothing.
func (p Probe) Latency() *Latency {
	if len(p.Trips) == 0 {
		return nil
	}
	trips := p.Trips
	if p.Anew > 0 {
		trips = trips[len(trips)-p.Anew:]
	}
	var came []int64
	var differences int64
	for _, t := range trips {
		if t < 0 {
			continue
		}
		if n := len(came); n > 0 {
			differences += max(t-came[n-1], came[n-1]-t)
		}
		came = append(came, t)
	}
	l := &Latency{
		EverySeconds: p.EverySeconds, Echoes: len(trips), Loss: float64(len(trips)-len(came)) / float64(len(trips)), MeasuredAt: p.At,
	}
	if len(came) == 0 {
		return l
	}
	if last := trips[len(trips)-1]; last >= 0 {
		l.LastMs = ms(float64(last))
	}
	l.JitterMs = ms(float64(differences) / float64(max(len(came)-1, 1)))
	l.ClockOffsetMs = ms(float64(p.OffsetMicros))
	slices.Sort(came)
	l.MedianMs, l.P99Ms = ms(float64(quantile(came, 0.5))), ms(float64(quantile(came, 0.99)))
	return l
}

// quantile is the smallest of the sorted values that a share q of them does not exceed.
func quantile(sorted []int64, q float64) int64 {
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}

func ms(micros float64) *float64 {
	v := math.Round(micros) / 1000
	return &v
}

// LinkView is one site's view of its link to a peer. Gossip carries it, so that
// each end of a link knows what the other sees.
type LinkView struct {
	Peer    SiteID     `json:"peer"`
	Status  LinkStatus `json:"status"`
	Cause   Cause      `json:"cause,omitempty"`
	Latency *Latency   `json:"latency,omitempty"`
	At      time.Time  `json:"at"` // the clock of the site whose view it is
	// Relayed says that what the site raises reaches the peer by the hub, so that there
	// is nothing for the peer to pull from the site itself.
	Relayed bool `json:"relayed,omitempty"`
}

// View is the link as the site local sees it.
func (l Link) View(local SiteID, at time.Time) LinkView {
	return LinkView{Peer: l.Peer(local), Status: l.Status, Cause: l.Cause, Latency: l.Latency, At: at}
}

// Judge is the status of a link whose newest heartbeat is of the given age and
// whose echoes are as the probe says, and the cause where it is not healthy.
// Echoes that are older than 15 s, because nothing probes, say nothing, and so do
// those that are as far in the future, because the clock was set back.
func (t Thresholds) Judge(age time.Duration, p Probe, now time.Time) (LinkStatus, Cause) {
	status, cause := t.Link(age), HeartbeatLate
	if status == Healthy {
		cause = ""
	}
	if cause == HeartbeatLate && !p.KeyRefusedAt.IsZero() && now.Sub(p.KeyRefusedAt) < age {
		cause = AuthRefused // what came since the newest heartbeat was not taken for the peer's
	}
	if p.State == "" || !p.fresh(now) {
		return status, cause
	}
	switch skew := time.Duration(p.OffsetMicros) * time.Microsecond; {
	case p.State == Refused:
		return Down, AuthRefused
	case p.State == Forbidden:
		return status.Worse(LinkDegraded), AuthRefused
	case p.State == Disconnected:
		return Down, TransportDisconnected
	case p.State == Lost:
		return status.Worse(LinkDegraded), EchoLost
	case status == Healthy && p.StalledAt != nil:
		return LinkDegraded, DeliveryStalled
	case status == Healthy && (skew > MaxClockSkew || skew < -MaxClockSkew):
		return LinkDegraded, ClockSkew
	}
	return status, cause
}
