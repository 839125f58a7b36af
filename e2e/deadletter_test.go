package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func TestDeadLettersAreLookedAfterWithTheCommand(t *testing.T) {
	m := start(t, demo.Options{})
	m.raise(t, 1, alert("the first", federation.Critical))
	m.arrives(t, 0, "the first")
	share := func(title string) string {
		data, err := json.Marshal(federation.Share(alert(title, federation.Critical).Alert("01-"+title, time.Now()), m.Sites[1].ID()))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}

	// One that is bad for good, and one that an outage, now over, kept from being handled.
	sender := natstest.Bus(t, m.Sites[1].Server(), "site-b", "sender")
	bad := altered(t, share("bad"), `"origin_site":"site-b"`, `"origin_site":"site-c"`)
	if _, err := sender.Store(t.Context(), []function.Message{{Subject: subject.Alert(federation.Critical), ID: "bad", Payload: []byte(bad)}}); err != nil {
		t.Fatal(err)
	}
	letters := func() ask.List[ask.DeadLetter] {
		t.Helper()
		l, err := m.api[0].DeadLetters(t.Context(), ask.Page{})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	natstest.Eventually(t, "the bad one is a dead letter", func() bool { return letters().Total == 1 })
	given := letters().Items[0]
	if given.Function != "alertsink" || given.Code != string(fault.Invalid) || given.Source != "site-b/ALERTS_site-b/site-a" || given.Size != len(bad) {
		t.Errorf("the letter is %+v", given)
	}
	late := &nats.Msg{Subject: subject.DeadLetter("site-a", "alertsink"), Data: []byte(share("late")), Header: nats.Header{
		function.HeaderReason: {"the database was away"}, function.HeaderCode: {string(fault.Internal)},
		function.HeaderTrigger: {given.Trigger}, function.HeaderSource: {given.Source}, function.HeaderSubject: {given.Subject},
	}}
	if _, err := natstest.Bus(t, m.Sites[0].Server(), "site-a", "writer").JetStream().PublishMsg(t.Context(), late); err != nil {
		t.Fatal(err)
	}

	a := "--api-base=" + m.Sites[0].API
	if l := parsed[ask.List[ask.DeadLetter]](t, "deadletters", a); l.Total != 2 || l.Items[0].ID != 2 || l.Items[1] != given {
		t.Errorf("the command lists %+v", l)
	}
	code, out := run(t, nil, "deadletters", "retry", "--all", a).finish(t)
	if code != fault.Invalid.ExitCode() || !strings.Contains(out, "2 is handled: a message to alertsink") || !strings.Contains(out, "retrying the dead letter 1: the alert stream of site-b holds an alert whose origin is site-c") {
		t.Errorf("the retry ended with %d: %s", code, out)
	}
	m.arrives(t, 0, "late")
	if l := letters(); l.Total != 1 || l.Items[0] != given {
		t.Errorf("left are %+v", l)
	}
	if out := command(t, "deadletters", a); !strings.Contains(out, "1 to 1 of 1") || !strings.Contains(out, given.Reason[:60]) {
		t.Errorf("the table is %s", out)
	}
	if out := command(t, "deadletters", "show", a, "1"); !strings.Contains(out, bad) || !strings.Contains(out, "alertsink, trigger alerts") {
		t.Errorf("the letter is shown as %s", out)
	}
	if out := command(t, "deadletters", "drop", a, "1"); !strings.Contains(out, "1 is dropped") {
		t.Errorf("the drop says %s", out)
	}
	if l := letters(); l.Total != 0 {
		t.Errorf("left are %+v", l)
	}
	if code, out := run(t, nil, "deadletters", "show", a, "1").finish(t); code != fault.NotFound.ExitCode() || !strings.Contains(out, "no dead letter with the id 1") {
		t.Errorf("showing what is gone ended with %d: %s", code, out)
	}
}
