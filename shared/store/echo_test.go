package store

import (
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

const linkAB = "link-site-a-site-b"

// echoed records one echo over the link to site-b.
func echoed(t *testing.T, s *Store, o federation.EchoOutcome, at time.Time) []Change {
	t.Helper()
	e := federation.Echo{At: at, Outcome: o}
	if o == federation.Answered {
		e.Trip, e.PeerAt = 3*time.Millisecond, at
	}
	return must(s.RecordEchoes(t.Context(), own.ID, map[string]federation.Echo{linkAB: e, "link-site-a-unknown": e}, at, ages))(t).Changes
}

func onlyLink(t *testing.T, s *Store) federation.Link {
	t.Helper()
	links := must(s.Links(t.Context()))(t)
	if len(links) != 1 {
		t.Fatalf("there are %d links", len(links))
	}
	return links[0]
}

func echoesMarkALink(t *testing.T, f fixture) {
	s := f.migrated(t)
	record(t, s, gossipOf("site-b", t0), t0)
	at := t0
	step := func(o federation.EchoOutcome, want federation.LinkStatus, cause federation.Cause, changes int) {
		t.Helper()
		at = at.Add(time.Second)
		if got := echoed(t, s, o, at); len(got) != changes {
			t.Errorf("after %s there are the changes %+v, want %d", o, got, changes)
		}
		if l := onlyLink(t, s); l.Status != want || l.Cause != cause {
			t.Errorf("after %s the link is %s (%s), want %s (%s)", o, l.Status, l.Cause, want, cause)
		}
	}
	step(federation.Answered, federation.Healthy, "", 0)
	step(federation.Lost, federation.Healthy, "", 0)
	step(federation.Lost, federation.LinkDegraded, federation.EchoLost, 1)

	// A heartbeat still comes: one direction works, and the link says which does not.
	if got := record(t, s, gossipOf("site-b", at), at.Add(time.Millisecond)); len(got.Transitions) != 0 {
		t.Errorf("a heartbeat alone healed the link: %+v", got.Transitions)
	}
	step(federation.Disconnected, federation.Down, federation.TransportDisconnected, 1)
	step(federation.Answered, federation.Down, federation.TransportDisconnected, 0)
	step(federation.Answered, federation.Down, federation.TransportDisconnected, 0)
	step(federation.Answered, federation.Healthy, "", 1)

	l := onlyLink(t, s).At(at, ages)
	if l.Latency == nil || l.Latency.Echoes != 3 || *l.Latency.MedianMs != 3 || len(l.Probe.Trips) != 7 { // of the seven those since it can be reached again
		t.Errorf("the latency is %+v", l.Latency)
	}
	before, known, ts, err := s.LinkHistory(t.Context(), own.ID, linkAB, t0.Add(4*time.Second), 10)
	if err != nil || before != federation.LinkDegraded || !known.Equal(t0) || len(ts) != 2 {
		t.Errorf("from the second change on the history is %s, %v, %+v: %v", before, known, ts, err)
	}
	before, _, ts, err = s.LinkHistory(t.Context(), own.ID, linkAB, t0, 1)
	if err != nil || before != federation.Down || len(ts) != 1 || ts[0].To != string(federation.Healthy) {
		t.Errorf("the newest change is %s, %+v: %v", before, ts, err)
	}
	before, _, ts, err = s.LinkHistory(t.Context(), own.ID, linkAB, at.Add(time.Hour), 10)
	if err != nil || before != federation.Healthy || len(ts) != 0 {
		t.Errorf("after every change the history is %s, %+v: %v", before, ts, err)
	}
	_, _, _, err = s.LinkHistory(t.Context(), own.ID, "link-site-a-unknown", t0, 10)
	isFault(t, err, fault.NotFound, "there is no link")

	var causes []federation.Cause
	for _, e := range events(t, s) {
		if e.Transition != nil && e.Transition.ID == linkAB {
			causes = append(causes, e.Transition.Cause)
		}
	}
	if len(causes) != 3 {
		t.Errorf("the events tell of the causes %v", causes)
	}

	// Nothing probes any more: the heartbeat alone counts again.
	step(federation.Disconnected, federation.Down, federation.TransportDisconnected, 1)
	later := at.Add(20 * time.Second)
	record(t, s, gossipOf("site-b", later), later)
	if l := onlyLink(t, s); l.Status != federation.Healthy || l.Cause != "" {
		t.Errorf("with an old echo the link is %s (%s)", l.Status, l.Cause)
	}
}

// A new cause is a change like a new status, whatever finds it; the same cause again is none.
func aNewCauseIsATransition(t *testing.T, f fixture) {
	const d, down = string(federation.LinkDegraded), string(federation.Down)
	s := f.migrated(t)
	record(t, s, gossipOf("site-b", t0), t0)
	at := t0
	var told []federation.Transition
	found := func(changes []Change) {
		for _, c := range changes {
			if c.Kind == federation.LinkTransition {
				told = append(told, federation.Transition{From: c.From, To: c.To, Cause: c.Cause})
			}
		}
	}
	echo := func(outcomes ...federation.EchoOutcome) {
		t.Helper()
		for _, o := range outcomes {
			at = at.Add(time.Second)
			found(echoed(t, s, o, at))
		}
	}
	echo(federation.Disconnected, federation.Disconnected, federation.Refused, federation.Refused, federation.Disconnected)
	found(record(t, s, federation.Gossip{SiteID: "site-b", SiteName: "B", Tier: "secondary", SentAt: at, Leaving: true}, at).Transitions)
	echo(federation.Disconnected, federation.Lost)
	at = at.Add(time.Second)
	found(record(t, s, gossipOf("site-b", at), at).Transitions) // is back, and its leafnode is not
	echo(federation.Answered, federation.Answered, federation.Answered)
	at = at.Add(ages.Degraded)
	echo(federation.Lost, federation.Lost, federation.Lost)
	at = at.Add(federation.FreshEcho + time.Second) // nothing probes any more
	for range 2 {
		found(must(s.Age(t.Context(), own.ID, at, ages))(t))
	}
	want := []federation.Transition{
		{From: "healthy", To: down, Cause: federation.TransportDisconnected},
		{From: down, To: down, Cause: federation.AuthRefused},
		{From: down, To: down, Cause: federation.PeerLeaving},
		{From: down, To: down, Cause: federation.AuthRefused},
		{From: down, To: "healthy"},
		{From: "healthy", To: d, Cause: federation.HeartbeatLate},
		{From: d, To: d, Cause: federation.EchoLost},
		{From: d, To: d, Cause: federation.HeartbeatLate},
	}
	equal(t, "what was told", told, want)
	_, _, ts, err := s.LinkHistory(t.Context(), own.ID, linkAB, t0, 100)
	kept := make([]federation.Transition, len(ts))
	for i, tr := range ts {
		kept[i] = federation.Transition{From: tr.From, To: tr.To, Cause: tr.Cause}
	}
	equal(t, "what is kept", kept, want)
	tellings := 0
	for _, e := range events(t, s) {
		if e.Kind == federation.LinkTransition {
			tellings++
		}
	}
	if err != nil || tellings != len(want) {
		t.Errorf("%d events, want %d: %v", tellings, len(want), err)
	}
}

// Of replicas that age at once, one tells the new cause.
func aNewCauseIsToldOnce(t *testing.T, f fixture) {
	stores := f.replicas(t, 2)
	record(t, stores[0], gossipOf("site-b", t0), t0)
	for i := range 3 {
		echoed(t, stores[0], federation.Lost, after(ages.Degraded+time.Duration(i)*time.Second))
	}
	told := 0
	for _, changes := range atOnce(t, 8, func(i int) ([]Change, error) {
		return stores[i%2].Age(t.Context(), own.ID, after(ages.Degraded+time.Minute), ages)
	}) {
		for _, c := range changes {
			if c.Kind == federation.LinkTransition {
				told++
			}
		}
	}
	equal(t, "tellings", told, 1)
}

func aOneWayFailureIsTwoViews(t *testing.T, f fixture) {
	s := f.migrated(t)
	g := gossipOf("site-b", t0)
	lost := federation.LinkView{Peer: own.ID, Status: federation.LinkDegraded, Cause: federation.EchoLost, At: t0}
	g.Links = []federation.LinkView{{Peer: "site-c", Status: federation.Healthy, At: t0}, lost}
	record(t, s, g, t0)
	l := onlyLink(t, s)
	if l.Status != federation.Healthy || l.PeerView == nil {
		t.Fatalf("the link is %+v", l)
	}
	equal(t, "what the peer sees", *l.PeerView, lost)
}
