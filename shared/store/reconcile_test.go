package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func whatIsComparedComesInOrder(t *testing.T, f fixture) {
	s := f.migrated(t)
	local := func(title string, at time.Time, severity federation.Severity, tlp federation.TLP) federation.Alert {
		a := federation.NewAlert{Title: title, Severity: severity, TLP: tlp, Source: "suricata"}.Alert(title, at)
		if _, _, err := s.RaiseAlert(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
		return a
	}
	local("before", after(-time.Microsecond), federation.High, "")
	second := local("b", t0, federation.Low, federation.TLPGreen)
	first := local("Z", t0, federation.High, federation.TLPAmber) // by bytes it comes before b
	local("c", t0, federation.High, federation.TLPRed)            // may not leave
	third := local("a", after(time.Microsecond), federation.Critical, "")
	local("at the end", after(time.Second), federation.High, "")
	var held []federation.Held
	for _, h := range []federation.Held{{ID: "b", Version: 2, RaisedAt: t0}, {ID: "Z", Version: 1, RaisedAt: t0}, {ID: "a", Version: 1, RaisedAt: after(time.Second)}} {
		shared := federation.SharedAlert{Version: 1, OriginSite: "site-b", OriginID: h.ID, AlertVersion: h.Version, RaisedAt: h.RaisedAt, NewAlert: federation.NewAlert{Title: "t", Severity: federation.High, Source: "s"}}
		must(s.ReceiveAlerts(t.Context(), []federation.Alert{shared.Received(newID(t), t0)}, nil))(t)
		held = append(held, h)
	}

	shared := func(span federation.Span, limit int) []federation.Alert {
		t.Helper()
		var all []federation.Alert
		if err := s.EachShared(t.Context(), span, limit, func(a federation.Alert) { all = append(all, a) }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	brief := func(as ...federation.Alert) []federation.Alert {
		var all []federation.Alert
		for _, a := range as {
			all = append(all, federation.Alert{ID: a.ID, Version: 1, CreatedAt: a.CreatedAt, Severity: a.Severity, SharedSeverity: a.Severity, TLP: a.TLP, Source: "suricata"})
		}
		return all
	}
	span := federation.Span{After: federation.Mark{At: t0}, Until: after(time.Second)}
	equal(t, "shared", shared(span, 0), brief(first, second, third))
	equal(t, "shared, a page", shared(span, 2), brief(first, second))
	span.After = second.Held().Mark()
	equal(t, "shared, behind a place", shared(span, 2), brief(third))

	received := func(span federation.Span, limit int) []federation.Held {
		t.Helper()
		var all []federation.Held
		if err := s.EachReceived(t.Context(), "site-b", span, limit, func(h federation.Held) { all = append(all, h) }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	span = federation.Span{After: federation.Mark{At: t0}, Until: after(time.Minute)}
	equal(t, "received", received(span, 0), []federation.Held{held[1], held[0], held[2]})
	equal(t, "received, a page", received(span, 1), held[1:2])
	span.After = held[1].Mark()
	span.Until = after(time.Second)
	equal(t, "received, behind a place", received(span, 9), held[:1])
	equal(t, "by id", must(s.Receptions(t.Context(), "site-b", []string{"b", "Z", "nobody"}))(t), map[string]Reception{"b": {Version: 2}, "Z": {Version: 1}})
	equal(t, "of another site", must(s.Receptions(t.Context(), "site-c", []string{"b"}))(t), map[string]Reception{})
	equal(t, "none", must(s.Receptions(t.Context(), "site-b", nil))(t), map[string]Reception{})
	must(0, s.NoteRefused(t.Context(),
		RefusedAlert{OriginSite: "site-b", OriginID: "b", Version: 3, Rule: RuleDeadLetter, Reason: "too new", RaisedAt: held[0].RaisedAt, At: t0},
		RefusedAlert{OriginSite: "site-b", OriginID: "Z", Version: 2, Rule: federation.RuleMinSeverity, Reason: "noted while it was being stored", RaisedAt: held[1].RaisedAt, At: t0},
		RefusedAlert{OriginSite: "site-b", OriginID: "r", Version: 1, Reason: "not wanted", RaisedAt: t0, At: t0}))(t)
	equal(t, "with refused ones", must(s.Receptions(t.Context(), "site-b", []string{"b", "Z", "r"}))(t), map[string]Reception{"b": {3, true, "too new"}, "Z": {Version: 1}, "r": {1, true, "not wanted"}})
	equal(t, "received, with refused ones", received(federation.Span{After: federation.Mark{At: t0}, Until: after(time.Minute)}, 0),
		[]federation.Held{held[1], {ID: "b", Version: 3, RaisedAt: t0, Refused: true}, {ID: "r", Version: 1, RaisedAt: t0, Refused: true}, held[2]})
}

func whatWasSharedSinceIsCounted(t *testing.T, f fixture) {
	s := f.migrated(t)
	equal(t, "the newest of none", must(s.NewestShared(t.Context(), t0, federation.Severities()))(t), time.Time{})
	for i, a := range []struct {
		severity federation.Severity
		tlp      federation.TLP
	}{{federation.High, federation.TLPAmber}, {federation.Low, federation.TLPAmber}, {federation.Critical, federation.TLPGreen}, {federation.High, federation.TLPAmber}, {federation.High, federation.TLPRed}} {
		raised := federation.NewAlert{Title: fmt.Sprint(i), Severity: a.severity, TLP: a.tlp, Source: "s"}.Alert(newID(t), after(time.Duration(i)*time.Minute))
		if _, _, err := s.RaiseAlert(t.Context(), raised, nil); err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			none := func(_, _ federation.Alert) ([]Outgoing, error) { return nil, nil }
			if _, err := s.UpdateAlert(t.Context(), raised.ID, federation.AlertPatch{Retraction: "a test"}, after(time.Hour), none); err != nil {
				t.Fatal(err)
			}
		}
	}
	since := func(at time.Time, severities ...federation.Severity) (int, *time.Time) {
		t.Helper()
		n, first, err := s.SharedSince(t.Context(), at, severities)
		if err != nil {
			t.Fatal(err)
		}
		return n, first
	}
	for _, c := range []struct {
		at         time.Time
		severities []federation.Severity
		n          int
		first      *time.Time
	}{
		{t0, federation.Severities(), 3, &t0},
		{t0, []federation.Severity{federation.Critical, federation.High}, 2, &t0},
		{after(time.Microsecond), []federation.Severity{federation.Critical, federation.High}, 1, new(after(2 * time.Minute))},
		{after(time.Hour), federation.Severities(), 0, nil},
		{t0, nil, 0, nil},
	} {
		n, first := since(c.at, c.severities...)
		equal(t, fmt.Sprintf("%v since %s", c.severities, c.at), n, c.n)
		equal(t, "the first of them", first, c.first)
	}
	equal(t, "the newest", must(s.NewestShared(t.Context(), t0, federation.Severities()))(t), after(2*time.Minute))
	equal(t, "the newest of a severity", must(s.NewestShared(t.Context(), t0, []federation.Severity{federation.High}))(t), t0)
	equal(t, "the newest of none", must(s.NewestShared(t.Context(), t0, nil))(t), time.Time{})
}

func whatIsComparedIsReadFromIndexes(t *testing.T, f fixture) {
	s := f.migrated(t)
	for batch := range 10 {
		as := make([]federation.Alert, 300)
		for i := range as {
			as[i] = received(t, fmt.Sprint(batch, i))
			as[i].Origin.RaisedAt = after(time.Duration(batch*300+i) * time.Minute)
		}
		must(s.ReceiveAlerts(t.Context(), as, nil))(t)
		for i := range 30 {
			at := after(time.Duration(batch*30+i) * time.Hour)
			if _, _, err := s.RaiseAlert(t.Context(), alertOf(t, fmt.Sprint(batch, i), at), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []string{"VACUUM", "ANALYZE"} { // the first tells PostgreSQL that an index may be enough
		if _, err := s.writer.ExecContext(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	span := federation.Span{After: federation.Mark{At: after(time.Hour), ID: "x"}, Until: after(5 * time.Hour)}
	for name, query := range map[string]string{
		"alerts_shared":   sharedIn(s.reader.NewSelect(), span, 100).String(),
		"alerts_received": receivedIn(s.reader.NewSelect(), "site-b", span, 100).String(),
	} {
		text := plan(t, s, query)
		only := strings.Contains(text, "COVERING INDEX "+name) || strings.Contains(text, "Index Only Scan using "+name)
		if !only || strings.Contains(text, "Sort") || strings.Contains(text, "TEMP B-TREE") {
			t.Errorf("%s does not read %s alone and in its order:\n%s", query, name, text)
		}
	}
}

// resend sends alerts again to site-b and returns the messages that this made.
func resend(t *testing.T, s *Store, at time.Time, ids ...string) []string {
	t.Helper()
	clearOutbox(t, s)
	n := must(s.Resend(t.Context(), "site-b", ids, at, func(a federation.Alert) (Outgoing, bool, error) {
		return Outgoing{MsgID: fmt.Sprintf("%s/%d", a.Title, a.Version), AlertID: a.ID, Version: a.Version, Peer: "site-b"}, a.Title != "kept", nil
	}))(t)
	sent := messages(t, s)
	if len(sent) != n {
		t.Errorf("%d were sent, and the outbox has %v", n, sent)
	}
	return sent
}

func resendsBecomeSeldom(t *testing.T, f fixture) {
	s := f.migrated(t)
	a, b, kept, foreign := alertOf(t, "a", t0), alertOf(t, "b", t0), alertOf(t, "kept", t0), received(t, "1")
	for _, x := range []federation.Alert{a, b, kept} {
		if _, _, err := s.RaiseAlert(t.Context(), x, nil); err != nil {
			t.Fatal(err)
		}
	}
	must(s.ReceiveAlerts(t.Context(), []federation.Alert{foreign}, nil))(t)
	equal(t, "nothing", resend(t, s, t0), []string(nil))
	equal(t, "none that is this site's", resend(t, s, t0, foreign.ID, "nobody"), []string(nil))
	equal(t, "none that may leave", resend(t, s, t0, kept.ID), []string(nil))
	equal(t, "first", resend(t, s, t0, a.ID, foreign.ID), []string{"a/1"})
	equal(t, "at once", resend(t, s, after(29*time.Second), a.ID, b.ID), []string{"b/1"})
	equal(t, "after 30 s", resend(t, s, after(30*time.Second), a.ID, b.ID), []string{"a/1"})
	equal(t, "after 30 s more", resend(t, s, after(time.Minute), a.ID), []string(nil))
	equal(t, "after 2 min", resend(t, s, after(150*time.Second), a.ID), []string{"a/1"})
	must(s.UpdateAlert(t.Context(), a.ID, federation.AlertPatch{Status: federation.Triaged}, t0, nil))(t)
	equal(t, "the next version", resend(t, s, after(151*time.Second), a.ID), []string{"a/2"})
	equal(t, "and that after 30 s", resend(t, s, after(181*time.Second), a.ID), []string{"a/2"})
	n := must(s.Resend(t.Context(), "site-c", []string{a.ID}, after(181*time.Second), func(a federation.Alert) (Outgoing, bool, error) {
		return Outgoing{AlertID: a.ID, Version: a.Version}, true, nil
	}))(t)
	equal(t, "another peer", n, 1)
	if err := s.ForgetResends(t.Context(), after(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	equal(t, "what was forgotten, and what was not", resend(t, s, after(182*time.Second), a.ID, b.ID), []string{"b/1"})
}

func resendsAtOnceSendOnce(t *testing.T, f fixture) {
	stores := f.replicas(t, 2)
	var ids []string
	for i := range 20 {
		a := alertOf(t, fmt.Sprint(i), t0)
		if _, _, err := stores[0].RaiseAlert(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, a.ID)
	}
	for round := range 2 {
		total := 0
		for _, n := range atOnce(t, 6, func(i int) (int, error) {
			return stores[i%2].Resend(t.Context(), "site-b", ids, after(time.Duration(round)*time.Minute), func(a federation.Alert) (Outgoing, bool, error) {
				return Outgoing{AlertID: a.ID, Version: a.Version}, true, nil
			})
		}) {
			total += n
		}
		if total != len(ids) {
			t.Errorf("round %d: %d alerts were sent %d times", round, len(ids), total)
		}
	}
}

func theLastReconciliationIsKept(t *testing.T, f fixture) {
	s := f.migrated(t)
	found := func() map[Way]federation.Reconciliation { return must(s.Reconciliations(t.Context()))(t) }
	equal(t, "at first", found(), map[Way]federation.Reconciliation{})
	r := federation.Reconciliation{At: t0, From: after(-time.Hour), Until: after(-time.Second), Compared: 9, Lost: 1, Resent: 2, Pending: 3, Duplicated: 4, Refused: 5, Extra: 6}
	next := federation.Reconciliation{At: after(time.Minute), From: t0, Until: after(time.Second), Compared: 10}
	for _, c := range []struct {
		d federation.Direction
		r federation.Reconciliation
	}{{federation.Inbound, r}, {federation.Outbound, r}, {federation.Outbound, next}, {federation.Outbound, r}} {
		if err := s.RecordReconciliation(t.Context(), "site-b", c.d, c.r); err != nil {
			t.Fatal(err)
		}
	}
	r.MissingSince = r.Until
	if diff := cmp.Diff(map[Way]federation.Reconciliation{{"site-b", federation.Inbound}: r, {"site-b", federation.Outbound}: next}, found()); diff != "" {
		t.Error(diff)
	}
	for i, c := range []struct {
		lost, pending int
		since         time.Time
	}{{1, 0, after(2 * time.Minute)}, {0, 1, after(2 * time.Minute)}, {2, 0, after(2 * time.Minute)}, {0, 0, time.Time{}}, {0, 3, after(6 * time.Minute)}} {
		until := after(time.Duration(i+2) * time.Minute)
		if err := s.RecordReconciliation(t.Context(), "site-b", federation.Outbound, federation.Reconciliation{At: until, From: t0, Until: until, Lost: c.lost, Pending: c.pending}); err != nil {
			t.Fatal(err)
		}
		if since := found()[Way{"site-b", federation.Outbound}].MissingSince; !since.Equal(c.since) {
			t.Errorf("with %d lost and %d pending in minute %d they are missing since %s, want %s", c.lost, c.pending, i+2, since, c.since)
		}
	}
}
