package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
)

const day = 24 * time.Hour

// put stores a local alert that was raised at a time, with a status that it has had since.
func put(t *testing.T, s *Store, title string, at time.Time, status federation.AlertStatus, out ...Outgoing) federation.Alert {
	t.Helper()
	a := alertOf(t, title, at)
	a.Status = status
	for i := range out {
		out[i].AlertID, out[i].Version = a.ID, a.Version
	}
	if _, _, err := s.RaiseAlert(t.Context(), a, out); err != nil {
		t.Fatal(err)
	}
	return a
}

// titles are those of the queue, in order.
func titles(t *testing.T, s *Store) []string {
	t.Helper()
	found := []string{}
	for _, a := range must(s.ListAlerts(t.Context(), ask.AlertFilter{}))(t).Items {
		found = append(found, a.Title)
	}
	slices.Sort(found)
	return found
}

func closedAlertsGo(t *testing.T, f fixture) {
	s := f.migrated(t)
	old, cut := t0, after(10*day)
	resolved := put(t, s, "resolved", old, federation.Resolved, Outgoing{MsgID: "m"})
	put(t, s, "false positive", old.Add(time.Second), federation.FalsePositive)
	put(t, s, "open", old, federation.Investigating)
	put(t, s, "closed lately", cut, federation.Resolved)
	put(t, s, "waits", old, federation.Resolved, Outgoing{MsgID: "w"})
	gone := received(t, "1")
	gone.Retraction = &federation.Retraction{At: t0, Reason: "a test"}
	gone.Title = "retracted"
	here := received(t, "1")
	must(s.ReceiveAlerts(t.Context(), []federation.Alert{here}, nil))(t)
	gone.Version = 2
	must(s.ReceiveAlerts(t.Context(), []federation.Alert{gone}, nil))(t)
	first := must(s.Outbox(t.Context(), 1))(t)
	if _, err := s.Published(t.Context(), t0, []Confirmed{{Queued: first[0], Sequence: 7}}); err != nil {
		t.Fatal(err)
	}

	forget := func(limit int) int {
		t.Helper()
		return must(s.ForgetClosedAlerts(t.Context(), cut, cut, limit))(t)
	}
	if n := forget(1); n != 1 {
		t.Errorf("with a limit of 1 it lets go of %d", n)
	}
	if n := forget(100); n != 2 {
		t.Errorf("then it lets go of %d", n)
	}
	if n := forget(100); n != 0 {
		t.Errorf("at last it lets go of %d", n)
	}
	equal(t, "what stays", titles(t, s), []string{"closed lately", "open", "waits"})
	if places := must(s.Places(t.Context(), resolved.ID, 9))(t); len(places) != 0 {
		t.Errorf("it still knows where one that is gone was published: %v", places)
	}
	again := alertOf(t, "resolved", after(11*day))
	if _, created, err := s.RaiseAlert(t.Context(), again, nil); err != nil || !created {
		t.Errorf("raised again it is new: %t, %v", created, err)
	}
}

func whatIsComparedStays(t *testing.T, f fixture) {
	s := f.migrated(t)
	put(t, s, "mine", after(2*day), federation.Resolved)
	put(t, s, "mine, older", t0, federation.Resolved)
	theirs, older := received(t, "1"), received(t, "2")
	theirs.Origin.RaisedAt, theirs.Status, theirs.Title = after(2*day), federation.Resolved, "theirs" // it came before, by the clock of this site
	older.Status, older.Title = federation.Resolved, "theirs, older"
	must(s.ReceiveAlerts(t.Context(), []federation.Alert{theirs, older}, nil))(t)
	if n := must(s.ForgetClosedAlerts(t.Context(), after(30*day), after(day), 100))(t); n != 2 {
		t.Errorf("it lets go of %d", n)
	}
	equal(t, "what stays", titles(t, s), []string{"mine", "theirs"})
}

func historyGoes(t *testing.T, f fixture) {
	s := f.migrated(t)
	record(t, s, gossipOf("site-b", t0), t0)
	must(s.Age(t.Context(), own.ID, after(time.Hour), ages))(t) // a link and a site
	record(t, s, gossipOf("site-b", after(90*day)), after(90*day))
	if n := must(s.ForgetHistory(t.Context(), after(day), 1))(t); n != 1 {
		t.Errorf("with a limit of 1 it lets go of %d", n)
	}
	if n := must(s.ForgetHistory(t.Context(), after(day), 100))(t); n != 1 {
		t.Errorf("then it lets go of %d", n)
	}
	_, _, ts, err := s.LinkHistory(t.Context(), own.ID, linkAB, t0, 10)
	if err != nil || len(ts) != 1 || !ts[0].At.Equal(after(90*day)) {
		t.Errorf("the history is %+v: %v", ts, err)
	}
}

func notesAboutRefusedAlertsGo(t *testing.T, f fixture) {
	s := f.migrated(t)
	note := func(id string, raised time.Time) RefusedAlert {
		return RefusedAlert{OriginSite: "site-b", OriginID: id, Version: 1, Rule: federation.RuleSource, RaisedAt: raised, At: t0}
	}
	if err := s.NoteRefused(t.Context(), note("compared", after(2*day)), note("a", t0), note("b", t0)); err != nil {
		t.Fatal(err)
	}
	if n := must(s.ForgetRefusedAlerts(t.Context(), t0, after(day), 100))(t); n != 0 {
		t.Errorf("before its time it lets go of %d", n)
	}
	for _, want := range []int{1, 1, 0} {
		if n := must(s.ForgetRefusedAlerts(t.Context(), after(day), after(day), 1))(t); n != want {
			t.Errorf("it lets go of %d, want %d", n, want)
		}
	}
	if left := must(s.RefusedAlerts(t.Context(), "site-b"))(t); len(left) != 1 || left[0].OriginID != "compared" {
		t.Errorf("left are %+v", left)
	}
}

func twoThatForgetAtOnceShareTheWork(t *testing.T, f fixture) {
	stores := f.replicas(t, 3)
	for i := range 30 {
		put(t, stores[0], fmt.Sprint(i), after(time.Duration(i)*time.Second), federation.Resolved)
	}
	total := 0
	for _, n := range atOnce(t, len(stores), func(i int) (int, error) { return stores[i].ForgetClosedAlerts(t.Context(), after(day), after(day), 15) }) {
		total += n
	}
	left := must(stores[0].ListAlerts(t.Context(), ask.AlertFilter{}))(t).Total
	if total+left != 30 || total < 15 {
		t.Errorf("together they let go of %d, and %d are left", total, left)
	}
}
