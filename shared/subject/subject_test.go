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
		{"shared alerts for one peer", subject.AlertTo(federation.High, "site-b"), "aurora.alerts.federation.high.to.site-b"},
		{"a step of the reconciliation", subject.Reconcile("site-a", "site-b", "digest"), "aurora.federation.reconcile.site-a.site-b.digest"},
		{"its peer", string(subject.ReconcilePeer("aurora.federation.reconcile.site-a.site-b.digest")), "site-b"},
		{"no peer", string(subject.ReconcilePeer("x")), "x"},
		{"all shared alerts", subject.AllAlerts, "aurora.alerts.federation.>"},
		{"what the server tells of who came", subject.Connected, "aurora.server.connected"},
		{"of who went", subject.Disconnected, "aurora.server.disconnected"},
		{"of whom it refused", subject.Refused, "aurora.server.refused.*"},
		{"of whom a hub refused", subject.AllRefused, "aurora.federation.refused.*"},
		{"that it refused one", subject.RefusedSite("site-b"), "aurora.federation.refused.site-b"},
		{"an endpoint", subject.Function("site-a", "alertquery", "list"), "aurora.site.site-a.alertquery.list"},
		{"a schedule", subject.Schedule("site-a", "heartbeat", "beat"), "aurora.site.site-a.schedule.heartbeat.beat"},
		{"a tick", subject.Tick("site-a", "heartbeat", "beat"), "aurora.site.site-a.tick.heartbeat.beat"},
		{"an event", subject.Event("site-a", federation.AlertStored), "aurora.site.site-a.event.alert-stored"},
		{"all events", subject.Events("site-a"), "aurora.site.site-a.event.>"},
		{"a nudge", subject.Nudge("site-a", "alertrelay"), "aurora.site.site-a.nudge.alertrelay"},
		{"work that is handed over", subject.HandOver("site-a", "alertrelay", "handed"), "aurora.site.site-a.nudge.alertrelay.handed"},
		{"a dead letter", subject.DeadLetter("site-a", "alertsink"), "aurora.site.site-a.deadletter.alertsink"},
		{"all dead letters", subject.DeadLetters("site-a"), "aurora.site.site-a.deadletter.>"},
		{"the alert stream", subject.AlertStream("site-a"), "ALERTS_site-a"},
		{"the consumer of a peer", subject.AlertConsumer("site-b"), "site-b"},
		{"refusals", subject.Refusals("site-a"), "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.ALERTS_site-a.*"},
		{"the refusal stream", subject.RefusalStream("site-a"), "REFUSALS_site-a"},
		{"the peer of a consumer", string(subject.ConsumerPeer(subject.AlertConsumer("site-b"))), "site-b"},
		{"the peer of a critical lane", string(subject.ConsumerPeer(subject.AlertConsumers("site-b")[0].Consumer)), "site-b"},
		{"the event stream", subject.EventStream("site-a"), "EVENTS_site-a"},
		{"the tick stream", subject.TickStream("site-a"), "TICKS_site-a"},
		{"the dead letter stream", subject.DeadLetterStream("site-a"), "DEADLETTERS_site-a"},
		{"the consumer of ticks", subject.TickConsumer("heartbeat", "beat"), "heartbeat_beat"},
		{"inboxes", subject.Inbox("site-a"), "_INBOX.site-a"},
		{"an acknowledgement at home", subject.Ack("site-b", "site-b", "$JS.ACK.TICKS_site-b.x.1.2.3.4.5"), "aurora.site.site-b.ack.TICKS_site-b.x.1.2.3.4.5"},
		{"one to an origin", subject.Ack("site-b", "site-a", "$JS.ACK.ALERTS_site-a.site-b.1.2.3.4.5"), "aurora.federation.ack.ALERTS_site-a.site-b.1.2.3.4.5"},
		{"the reply that is none", subject.Ack("site-b", "site-a", "_INBOX.x"), "_INBOX.x"},
		{"those of a peer", subject.PeerAcksOf("*", "site-b"), "aurora.federation.ack.*.site-b.>"},
		{"where a server says that it wants these", subject.AckProbe("site-a"), "aurora.site.site-a.ack"},
		{"the state of a consumer", subject.ConsumerInfo("site-a", "ALERTS_site-a", "site-b"), "$JS.site-a.API.CONSUMER.INFO.ALERTS_site-a.site-b"},
		{"a pull", subject.ConsumerNext("site-a", "ALERTS_site-a", "site-b"), "$JS.site-a.API.CONSUMER.MSG.NEXT.ALERTS_site-a.site-b"},
		{"the JetStream domain", subject.Domain("site-a"), "site-a"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, c.got, c.want)
		}
	}
	if diff := cmp.Diff([]string{"aurora.alerts.federation.low", "aurora.alerts.federation.low.>"}, subject.AlertsOf(federation.Low)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"aurora.site.site-a.schedule.>", "aurora.site.site-a.tick.>"}, subject.Ticks("site-a")); diff != "" {
		t.Error(diff)
	}
}

var siteID = rapid.Map(rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`), func(s string) federation.SiteID { return federation.SiteID(s) })

// own are the subjects of a site, none with a wildcard.
func own(site federation.SiteID) []string {
	all := []string{
		subject.Health(site), subject.Reconcile(site, "site-x", "digest"), subject.Function(site, "alertquery", "list"), subject.Schedule(site, "heartbeat", "beat"),
		subject.Tick(site, "heartbeat", "beat"), subject.Nudge(site, "alertrelay"), subject.DeadLetter(site, "alertsink"), subject.Inbox(site) + ".x",
	}
	for _, kind := range federation.EventKinds() {
		all = append(all, subject.Event(site, kind))
	}
	return all
}

// wide are the subjects with a wildcard that a site listens to or captures as its own.
func wide(site federation.SiteID) []string {
	return append(subject.Ticks(site), subject.Events(site), subject.DeadLetters(site), subject.Refusals(site), subject.Inbox(site)+".>", subject.Reconcile(site, "*", "digest"))
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
		for _, name := range []func(federation.SiteID) string{subject.AlertStream, subject.EventStream, subject.TickStream, subject.DeadLetterStream, subject.RefusalStream, subject.AlertConsumer, subject.Domain} {
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
		for _, s := range append(wide(site), subject.AllHealth, subject.AllAlerts, subject.Connected, subject.Disconnected, subject.Refused, subject.AllRefused) {
			if !server.IsValidSubject(s) {
				t.Fatalf("nothing can listen to %q", s)
			}
		}
		for _, lane := range subject.AlertConsumers(site) {
			if peer := subject.ConsumerPeer(lane.Consumer); peer != site || !name.MatchString(lane.Consumer) {
				t.Fatalf("the lane %q is of %q", lane.Consumer, peer)
			}
		}
		for _, n := range []string{subject.AlertStream(site), subject.EventStream(site), subject.TickStream(site), subject.DeadLetterStream(site), subject.RefusalStream(site), subject.AlertConsumer(site), subject.Domain(site)} {
			if !name.MatchString(n) {
				t.Fatalf("%q is no name of a stream, consumer or domain", n)
			}
		}
	})
	for _, s := range federation.Severities() {
		if copied := subject.AlertTo(s, "site-b"); !server.SubjectsCollide(subject.AllAlerts, copied) || !server.IsValidLiteralSubject(copied) || server.SubjectsCollide(subject.Alert(s), copied) {
			t.Errorf("%s is not among %s, or is the subject for all peers", copied, subject.AllAlerts)
		}
		if !server.SubjectsCollide(subject.AllAlerts, subject.Alert(s)) || !server.IsValidLiteralSubject(subject.Alert(s)) {
			t.Errorf("%s is not among %s", subject.Alert(s), subject.AllAlerts)
		}
		if to := subject.AlertTo(s, "site-b"); !server.SubjectsCollide(subject.AllAlerts, to) || server.SubjectsCollide(subject.Alert(s), to) {
			t.Errorf("%s is not among %s, or is for all", to, subject.AllAlerts)
		}
	}
	if !server.SubjectsCollide(subject.AllHealth, subject.Health("site-a")) {
		t.Error("gossip is not among all gossip")
	}
}

// An alert in two lanes would be sent twice, one in none never.
func TestEverySeverityHasOneLane(t *testing.T) {
	lanes := map[federation.Severity][]string{}
	for _, lane := range subject.AlertConsumers("site-b") {
		for _, s := range lane.Severities {
			lanes[s] = append(lanes[s], lane.Consumer)
		}
	}
	want := map[federation.Severity][]string{}
	for _, s := range federation.Severities() {
		want[s] = []string{"site-b"}
	}
	want[federation.Critical] = []string{"site-b_critical"}
	if diff := cmp.Diff(want, lanes); diff != "" {
		t.Error(diff)
	}
}

func TestAFilterNamesSubjects(t *testing.T) {
	for _, c := range []struct {
		filter, subj string
		want         bool
	}{
		{"a.b", "a.b", true}, {"a.b", "a.b.c", false}, {"a.b", "a", false}, {"a.b", "a.c", false},
		{"a.*", "a.b", true}, {"a.*", "a", false}, {"a.*", "a.b.c", false}, {"*.b", "a.b", true}, {"a.*.c", "a.b.c", true},
		{"a.>", "a.b", true}, {"a.>", "a.b.c", true}, {"a.>", "a", false}, {">", "a", true},
	} {
		if got := subject.Matches(c.filter, c.subj); got != c.want {
			t.Errorf("%s names %s: %t", c.filter, c.subj, got)
		}
	}
}
