package store

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// told are the events that wait in the outbox.
func told(t *testing.T, s *Store) []federation.Event {
	t.Helper()
	var events []federation.Event
	for _, q := range must(s.Outbox(t.Context(), 1000))(t) {
		var e federation.Event
		if err := json.Unmarshal(q.Payload, &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func dropsAddUp(t *testing.T, f fixture) {
	stores := f.replicas(t, 2)
	dropped, last, err := stores[0].BacklogDrops(t.Context())
	if err != nil || len(dropped) != 0 || last != nil {
		t.Errorf("before the first drop: %v, %v, %v", dropped, last, err)
	}
	for i, d := range []struct {
		severity federation.Severity
		n        int
	}{{federation.Info, 4}, {federation.Info, 3}, {federation.Low, 5}} {
		if err := stores[i%2].RecordDrop(t.Context(), own.ID, d.severity, d.n, after(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	dropped, last, err = stores[1].BacklogDrops(t.Context())
	if err != nil || last == nil || !last.Equal(after(2*time.Second)) {
		t.Fatalf("the last drop was at %v, %v", last, err)
	}
	equal(t, "dropped", dropped, map[federation.Severity]int{federation.Info: 7, federation.Low: 5})
	var drops []federation.BacklogDrop
	for _, e := range told(t, stores[0]) {
		if e.Kind != federation.BacklogDropped {
			t.Fatalf("an event of the kind %s", e.Kind)
		}
		drops = append(drops, *e.Dropped)
	}
	equal(t, "events", drops, []federation.BacklogDrop{
		{Severity: federation.Info, Dropped: 4, Total: 4}, {Severity: federation.Info, Dropped: 3, Total: 7}, {Severity: federation.Low, Dropped: 5, Total: 5},
	})
}

func watchOf(consumer string, stalledAt *time.Time) federation.DeliveryWatch {
	return federation.DeliveryWatch{
		Progress: federation.Progress{Peer: "site-b", Consumer: consumer, AckFloor: 7, Deliveries: 9, Waiting: 3, UnderWay: 2},
		Moves:    1, MovedAt: t0, StalledAt: stalledAt,
	}
}

func watchesRoundTrip(t *testing.T, f fixture) {
	stores := f.replicas(t, 2)
	look := func(ws ...federation.DeliveryWatch) map[string]federation.DeliveryWatch {
		t.Helper()
		must(stores[0].RecordWatches(t.Context(), own.ID, must(stores[0].Watches(t.Context()))(t), ws, t0, ages))(t)
		return must(stores[1].Watches(t.Context()))(t)
	}
	first, second := watchOf("site-b", nil), watchOf("site-b_critical", new(after(time.Minute)))
	equal(t, "two", look(first, second), map[string]federation.DeliveryWatch{"site-b": first, "site-b_critical": second})
	idle := watchOf("site-c", nil)
	idle.Moves, idle.Waiting, idle.UnderWay = 0, 0, 0
	later := idle.Next(idle.Progress, after(time.Hour), time.Minute, true)
	look(first, second, idle)
	moved := first.Next(federation.Progress{Peer: "site-b", Consumer: "site-b", AckFloor: 8, Deliveries: 9, Waiting: 3, UnderWay: 1}, after(time.Hour), time.Minute, true)
	equal(t, "one that moved, and one that has nothing to move", look(moved, second, later),
		map[string]federation.DeliveryWatch{"site-b": moved, "site-b_critical": second, "site-c": idle})
	equal(t, "one, whose consumer alone is left", look(second), map[string]federation.DeliveryWatch{"site-b_critical": second})
	clearOutbox(t, stores[0])

	repaired := second.Repaired(federation.Progress{Peer: "site-b", Consumer: "site-b_critical", AckFloor: 7, Waiting: 5}, after(2*time.Minute))
	if err := stores[0].RecordRepair(t.Context(), own.ID, repaired, after(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	equal(t, "repaired", must(stores[1].Watches(t.Context()))(t), map[string]federation.DeliveryWatch{"site-b_critical": repaired})
	events := told(t, stores[0])
	if len(events) != 1 || events[0].Kind != federation.DeliveryRepaired {
		t.Fatalf("the events are %+v", events)
	}
	equal(t, "event", *events[0].Delivery, repaired)
	equal(t, "none", look(), map[string]federation.DeliveryWatch{})
}

func aStalledDeliveryMarksItsLink(t *testing.T, f fixture) {
	s := f.migrated(t)
	record(t, s, gossipOf("site-b", t0), t0)
	record(t, s, gossipOf("site-c", t0), t0)
	at := t0
	look := func(want federation.LinkStatus, cause federation.Cause, changes int, ws ...federation.DeliveryWatch) {
		t.Helper()
		at = at.Add(time.Second)
		echoed(t, s, federation.Answered, at)
		if got := must(s.RecordWatches(t.Context(), own.ID, must(s.Watches(t.Context()))(t), ws, at, ages))(t); len(got) != changes {
			t.Errorf("the changes are %+v, want %d", got, changes)
		}
		for _, l := range must(s.Links(t.Context()))(t) {
			if l.ID != linkAB {
				equal(t, "the other link", l.Status, federation.Healthy)
				continue
			}
			if l.Status != want || l.Cause != cause {
				t.Errorf("the link is %s (%s), want %s (%s)", l.Status, l.Cause, want, cause)
			}
		}
	}
	moves, stands := watchOf("site-b", nil), watchOf("site-b_critical", new(t0))
	look(federation.Healthy, "", 0, moves)
	look(federation.LinkDegraded, federation.DeliveryStalled, 1, moves, stands)
	look(federation.LinkDegraded, federation.DeliveryStalled, 0, moves, stands)
	if got := record(t, s, gossipOf("site-b", at), at.Add(time.Millisecond)); len(got.Transitions) != 0 {
		t.Errorf("a heartbeat alone healed the link: %+v", got.Transitions)
	}
	look(federation.Healthy, "", 1, moves)
	look(federation.LinkDegraded, federation.DeliveryStalled, 1, stands)
	look(federation.Healthy, "", 1) // the consumer is gone
	_, _, ts, err := s.LinkHistory(t.Context(), own.ID, linkAB, t0, 10)
	if err != nil || len(ts) != 4 || ts[0].Cause != federation.DeliveryStalled {
		t.Errorf("the history is %+v, %v", ts, err)
	}
}
