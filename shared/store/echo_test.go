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
	return must(s.RecordEchoes(t.Context(), own.ID, map[string]federation.Echo{linkAB: e, "link-site-a-unknown": e}, at, ages))(t)
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
	if l.Latency == nil || l.Latency.Echoes != 7 || *l.Latency.MedianMs != 3 {
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

func oldHistoryGoes(t *testing.T, f fixture) {
	s := f.migrated(t)
	record(t, s, gossipOf("site-b", t0), t0)
	down := t0.Add(time.Hour)
	must(s.Age(t.Context(), own.ID, down, ages))(t)
	back := down.Add(HistoryAge)
	record(t, s, gossipOf("site-b", back), back)
	if _, _, ts, err := s.LinkHistory(t.Context(), own.ID, linkAB, t0, 10); err != nil || len(ts) != 2 {
		t.Errorf("at the bound the history is %+v: %v", ts, err)
	}
	must(s.Age(t.Context(), own.ID, back.Add(time.Hour), ages))(t)
	_, _, ts, err := s.LinkHistory(t.Context(), own.ID, linkAB, t0, 10)
	if err != nil || len(ts) != 2 || !ts[0].At.Equal(back) {
		t.Errorf("past the bound the history is %+v: %v", ts, err)
	}
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
