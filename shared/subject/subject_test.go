package subject_test

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func TestEveryName(t *testing.T) {
	for _, c := range []struct{ what, got, want string }{
		{"gossip", subject.Health("site-a"), "aurora.federation.health.site-a"},
		{"all gossip", subject.AllHealth, "aurora.federation.health.*"},
		{"shared alerts", subject.Alert(federation.Critical), "aurora.alerts.federation.critical"},
		{"all shared alerts", subject.AllAlerts, "aurora.alerts.federation.>"},
		{"an endpoint", subject.Function("site-a", "alertquery", "list"), "aurora.site.site-a.alertquery.list"},
		{"a schedule", subject.Schedule("site-a", "heartbeat", "beat"), "aurora.site.site-a.schedule.heartbeat.beat"},
		{"a tick", subject.Tick("site-a", "heartbeat", "beat"), "aurora.site.site-a.tick.heartbeat.beat"},
		{"an event", subject.Event("site-a", federation.AlertStored), "aurora.site.site-a.event.alert-stored"},
		{"all events", subject.Events("site-a"), "aurora.site.site-a.event.>"},
		{"a nudge", subject.Nudge("site-a", "alertrelay"), "aurora.site.site-a.nudge.alertrelay"},
		{"a dead letter", subject.DeadLetter("site-a", "alertsink"), "aurora.site.site-a.deadletter.alertsink"},
		{"all dead letters", subject.DeadLetters("site-a"), "aurora.site.site-a.deadletter.>"},
		{"the alert stream", subject.AlertStream("site-a"), "ALERTS_site-a"},
		{"the consumer of a peer", subject.AlertConsumer("site-b"), "site-b"},
		{"the event stream", subject.EventStream("site-a"), "EVENTS_site-a"},
		{"the tick stream", subject.TickStream("site-a"), "TICKS_site-a"},
		{"the dead letter stream", subject.DeadLetterStream("site-a"), "DEADLETTERS_site-a"},
		{"the consumer of ticks", subject.TickConsumer("heartbeat", "beat"), "heartbeat_beat"},
		{"inboxes", subject.Inbox("site-a"), "_INBOX_site-a"},
		{"the JetStream domain", subject.Domain("site-a"), "site-a"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, c.got, c.want)
		}
	}
	if diff := cmp.Diff([]string{"aurora.site.site-a.schedule.>", "aurora.site.site-a.tick.>"}, subject.Ticks("site-a")); diff != "" {
		t.Error(diff)
	}
}

var siteID = rapid.Map(rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`), func(s string) federation.SiteID { return federation.SiteID(s) })

// own are the subjects of a site, none with a wildcard.
func own(site federation.SiteID) []string {
	all := []string{
		subject.Health(site), subject.Function(site, "alertquery", "list"), subject.Schedule(site, "heartbeat", "beat"),
		subject.Tick(site, "heartbeat", "beat"), subject.Nudge(site, "alertrelay"), subject.DeadLetter(site, "alertsink"), subject.Inbox(site) + ".x",
	}
	for _, kind := range federation.EventKinds() {
		all = append(all, subject.Event(site, kind))
	}
	return all
}

// wide are the subjects with a wildcard that a site listens to or captures as its own.
func wide(site federation.SiteID) []string {
	return append(subject.Ticks(site), subject.Events(site), subject.DeadLetters(site), subject.Inbox(site)+".>")
}

func TestNoSiteHearsAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := siteID.Draw(t, "a"), siteID.Draw(t, "b")
		if rapid.Bool().Draw(t, "b extends a") {
			b = a + "-2"
			if !b.Valid() {
				t.Skip("too long")
			}
		}
		if a == b {
			t.Skip("one site")
		}
		for _, w := range wide(a) {
			for _, other := range append(own(b), wide(b)...) {
				if server.SubjectsCollide(w, other) {
					t.Fatalf("%s of %s matches %s of %s", w, a, other, b)
				}
			}
		}
		for i, s := range own(a) {
			if s == own(b)[i] {
				t.Fatalf("%s belongs to both %s and %s", s, a, b)
			}
		}
		for _, name := range []func(federation.SiteID) string{subject.AlertStream, subject.EventStream, subject.TickStream, subject.DeadLetterStream, subject.AlertConsumer, subject.Domain} {
			if name(a) == name(b) {
				t.Fatalf("%s is the name of two", name(a))
			}
		}
	})
}

func TestEverySubjectIsOneToTheServer(t *testing.T) {
	name := regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	rapid.Check(t, func(t *rapid.T) {
		site := siteID.Draw(t, "site")
		for _, s := range own(site) {
			if !server.IsValidLiteralSubject(s) {
				t.Fatalf("nothing can be published to %q", s)
			}
		}
		for _, s := range append(wide(site), subject.AllHealth, subject.AllAlerts) {
			if !server.IsValidSubject(s) {
				t.Fatalf("nothing can listen to %q", s)
			}
		}
		for _, n := range []string{subject.AlertStream(site), subject.EventStream(site), subject.TickStream(site), subject.DeadLetterStream(site), subject.AlertConsumer(site), subject.Domain(site)} {
			if !name.MatchString(n) {
				t.Fatalf("%q is no name of a stream, consumer or domain", n)
			}
		}
	})
	for _, s := range federation.Severities() {
		if !server.SubjectsCollide(subject.AllAlerts, subject.Alert(s)) || !server.IsValidLiteralSubject(subject.Alert(s)) {
			t.Errorf("%s is not among %s", subject.Alert(s), subject.AllAlerts)
		}
	}
	if !server.SubjectsCollide(subject.AllHealth, subject.Health("site-a")) {
		t.Error("gossip is not among all gossip")
	}
}
