package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func TestDeadLettersAreLookedAfterWithTheCommand(t *testing.T) {
	t.Parallel()
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
	sender := m.speaker(t, 1)
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
	if given.Function != "alertsink" || given.Code != string(fault.Invalid) || given.Source != "site-b/ALERTS_site-b/site-a_critical" || given.Size != len(bad) {
		t.Errorf("the letter is %+v", given)
	}
	late := function.Said(m.key(t, 1), "site-b", given.Subject, []byte(share("late")))
	late.Subject = subject.DeadLetter("site-a", "alertsink")
	for name, value := range map[string]string{
		function.HeaderReason: "the database was away", function.HeaderCode: string(fault.Internal),
		function.HeaderTrigger: given.Trigger, function.HeaderSource: given.Source, function.HeaderSubject: given.Subject,
	} {
		late.Header.Set(name, value)
	}
	if _, err := natstest.Bus(t, m.Sites[0].Server(), "site-a", "writer").JetStream().PublishMsg(t.Context(), late); err != nil {
		t.Fatal(err)
	}

	a := "--api-base=" + m.Sites[0].API
	if l := parsed[ask.List[ask.DeadLetter]](t, "deadletters", a); l.Total != 2 || l.Items[0].ID != 2 || l.Items[1] != given {
		t.Errorf("the command lists %+v", l)
	}
	code, out := run(t, nil, "deadletters", "retry", "--all", a).finish(t)
	if code != fault.Invalid.ExitCode() || !strings.Contains(out, "2         handled  a message to alertsink") ||
		!strings.Contains(out, "1         failed   the alert stream of site-b holds an alert whose origin is site-c") ||
		!strings.Contains(out, "\n1 handled, 1 failed\nauroramesh: 1 of 2 dead letters were not handled\n") {
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
	code, out = run(t, nil, "deadletters", "retry", "1", a, "--json").finish(t)
	var results []struct {
		ID     uint64
		Result string
		Error  fault.Error
	}
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&results); err != nil || code != fault.Invalid.ExitCode() || len(results) != 1 ||
		results[0].ID != 1 || results[0].Result != "failed" || results[0].Error.Code != fault.Invalid {
		t.Errorf("the retry as JSON ended with %d: %s", code, out)
	}
	if out := command(t, "deadletters", "drop", a, "1"); !strings.Contains(out, "1         dropped  a message to alertsink") || !strings.Contains(out, "\n1 dropped, 0 failed\n") {
		t.Errorf("the drop says %s", out)
	}
	if l := letters(); l.Total != 0 {
		t.Errorf("left are %+v", l)
	}
	if out := command(t, "deadletters", "retry", "--all", a); out != "There are no dead letters.\n" {
		t.Errorf("the retry of none says %q", out)
	}
	if out := command(t, "deadletters", "retry", "--all", a, "--json"); out != "[]\n" {
		t.Errorf("the retry of none as JSON is %q", out)
	}
	if code, out := run(t, nil, "deadletters", "show", a, "1").finish(t); code != fault.NotFound.ExitCode() || !strings.Contains(out, "no dead letter with the id 1") {
		t.Errorf("showing what is gone ended with %d: %s", code, out)
	}
}
