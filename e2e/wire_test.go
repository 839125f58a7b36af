package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// altered is a valid payload with one piece of its JSON replaced.
func altered(t *testing.T, payload, old, replacement string) string {
	t.Helper()
	if !strings.Contains(payload, old) {
		t.Fatalf("the payload has no %s: %s", old, payload)
	}
	return strings.Replace(payload, old, replacement, 1)
}

// deep is JSON of n lists in each other.
func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// long is nearly all that a NATS message may have.
var long = strings.Repeat("x", 1_000_000)

func TestBadGossipIsRefusedByItsReasonAndGoodGossipStillTaken(t *testing.T) {
	m := start(t, demo.Options{})
	bus := natstest.Bus(t, m.Sites[1].Server(), "site-x", "peer") // it crosses the leafnode to site-a
	good := func(id string) string {
		return fmt.Sprintf(`{"version":1,"site_id":%q,"site_name":"X","tier":"secondary","software_version":"1","sent_at":%q,"interval_seconds":15,"agents_total":2,"agents_online":1}`,
			id, time.Now().UTC().Format(time.RFC3339Nano))
	}
	with := func(old, replacement string) string { return altered(t, good("site-x"), old, replacement) }
	health := subject.Health("site-x")
	bad := []struct{ name, subject, data, reason string }{
		{"nothing", health, "", "unsupported"},
		{"null", health, "null", "unsupported"},
		{"a list", health, "[]", "invalid"},
		{"a text", health, `"text"`, "invalid"},
		{"half an object", health, "{", "invalid"},
		{"two objects", health, good("site-x") + good("site-x"), "invalid"},
		{"not UTF-8", health, "\xff\xfe", "invalid"},
		{"not UTF-8 in a name", health, with(`"site_name":"X"`, "\"site_name\":\"\xc3\x28\""), "invalid"},
		{"deep, and without an end", health, strings.Repeat("[", 20_000), "invalid"},
		{"deep", health, deep(20_000), "invalid"},
		{"deep in a field", health, with(`"X"`, deep(200_000)), "invalid"},
		{"objects without an end", health, strings.Repeat(`{"version":1,`, 1000), "invalid"},
		{"oversized", health, with(`"site_name":"X"`, `"site_name":"`+long+`"`), "invalid"},
		{"oversized and no JSON", health, long, "invalid"},
		{"of another version", health, `{"version":2}`, "unsupported"},
		{"of a version before the first", health, with(`"version":1`, `"version":-1`), "unsupported"},
		{"a version as text", health, `{"version":"1"}`, "invalid"},
		{"a version too large", health, with(`"version":1`, `"version":1e99`), "invalid"},
		{"an unknown tier", health, with("secondary", "boss"), "invalid"},
		{"more agents online than there are", health, with(`"agents_online":1`, `"agents_online":3`), "invalid"},
		{"fewer agents than none", health, with(`"agents_online":1`, `"agents_online":-1`), "invalid"},
		{"agents as a list", health, with(`"agents_total":2`, `"agents_total":[2]`), "invalid"},
		{"no interval", health, with(`"interval_seconds":15`, `"interval_seconds":0`), "invalid"},
		{"no name", health, with(`"site_name":"X"`, `"site_name":""`), "invalid"},
		{"a name with NUL", health, with(`"site_name":"X"`, `"site_name":"\u0000"`), "invalid"},
		{"a time that is none", health, with(`"sent_at":"2`, `"sent_at":"yesterday 2`), "invalid"},
		{"an ancient time", health, with(`"sent_at":"2`, `"sent_at":"0`), "invalid"},
		{"a time out of JSON's range", health, with(`"sent_at":"2`, `"sent_at":"12`), "invalid"},
		{"under another's name", health, good("site-y"), "invalid"},
		{"without an id", health, good(""), "invalid"},
		{"a path as id", health, good("../etc/passwd"), "invalid"},
		{"a statement as id", health, good("site-x; DROP TABLE sites"), "invalid"},
		{"a wildcard as id", health, good(">"), "invalid"},
		{"an id too long", health, good(strings.Repeat("x", 64)), "invalid"},
		{"an id in capitals", health, good("SITE-X"), "invalid"},
		{"under a subject that is no site", subject.Health("SITE-X"), good("site-x"), "invalid"},
	}
	want := map[string]int{}
	for _, b := range bad {
		want[b.reason]++
		if err := bus.Conn().PublishMsg(function.Said(natstest.Key(t, "site-x"), "site-x", b.subject, []byte(b.data))); err != nil {
			t.Fatalf("%s: %v", b.name, err)
		}
	}
	// The neighbour behind them. It comes after them, and they cost it nothing.
	if err := bus.Conn().PublishMsg(function.Said(natstest.Key(t, "site-x"), "site-x", health, []byte(good("site-x")))); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the good one is taken", func() bool {
		return m.status(t, 0, "site-x") == federation.Online && m.status(t, 1, "site-x") == federation.Online
	})
	for i := range m.Sites {
		for reason, n := range want {
			line := fmt.Sprintf(`aurora_function_messages_refused_total{function="healthsink",reason=%q,site=%q,trigger="gossip"} %d`+"\n", reason, demo.SiteID(i), n)
			// It is counted once those that came with it are taken.
			natstest.Eventually(t, "the metrics say "+line, func() bool { return strings.Contains(metrics(t, m.Sites[i].API), line) })
		}
		if got := m.topology(t, i); len(got.Sites) != 3 {
			t.Errorf("site %d knows %+v", i, got.Sites)
		}
		if status, body := get(t, m.Sites[i].API+"/health"); status != 200 {
			t.Errorf("site %d is not well: %s", i, body)
		}
	}
}

func lines(text, with string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, with) && !strings.HasPrefix(line, "#") {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

func TestGossipOfOneselfFromElsewhereChangesNothing(t *testing.T) {
	m := start(t, demo.Options{Sites: 1})
	bus := natstest.Bus(t, m.Sites[0].Server(), "site-x", "peer")
	err := bus.Publish(t.Context(), subject.Health("site-a"), federation.Gossip{
		Version: 1, SiteID: "site-a", SiteName: "Not A", Tier: federation.Secondary, SentAt: time.Now().Add(time.Hour), IntervalSeconds: 1, AgentsTotal: 9, AgentsOnline: 9,
	})
	if err != nil {
		t.Fatal(err)
	}
	marker := federation.Gossip{Version: 1, SiteID: "site-x", SiteName: "X", Tier: federation.Secondary, SentAt: time.Now(), IntervalSeconds: 1}
	if err := bus.Publish(t.Context(), subject.Health("site-x"), marker); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the gossip behind it is taken", func() bool { return m.status(t, 0, "site-x") == federation.Online })
	own := m.topology(t, 0).Sites[0]
	if !own.Local || own.Name != "Site A" || own.Tier != federation.Primary || own.AgentsTotal != 0 {
		t.Errorf("the own site is now %+v", own)
	}
}

func TestBadSharedAlertsBecomeDeadLettersAndTheirNeighboursPass(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{})
	m.raise(t, 1, alert("the first", federation.Critical))
	m.arrives(t, 0, "the first")
	share := func(id, title string) string {
		data, err := json.Marshal(federation.Share(alert(title, federation.Critical).Alert(id, time.Now()), m.Sites[1].ID()))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	good := share("01-good", "a good one")
	with := func(old, replacement string) string { return altered(t, good, old, replacement) }
	bad := []string{
		"", "null", "[]", "{", `"text"`, `{"version":1}`, long,
		"\xff\xfe",
		with(`"title":"a good one"`, "\"title\":\"a\xc3\x28b\""),
		strings.Repeat("[", 20_000), deep(20_000),
		with(`"title":"a good one"`, `"title":`+deep(20_000)),
		with(`"version":1`, `"version":2`),
		with(`"version":1`, `"version":"1"`),
		with(`"severity":"critical"`, `"severity":"terrible"`),
		with(`"severity":"critical"`, `"severity":5`),
		with(`"tlp":"amber"`, `"tlp":"red"`), // what an honest peer never sends
		with(`"tlp":"amber"`, `"tlp":"amber+strict"`),
		with(`"tlp":"amber"`, `"tlp":"white"`),
		with(`"severity":"critical"`, `"severity":""`),
		with(`"title":"a good one"`, `"title":""`),
		with(`"title":"a good one"`, `"title":["a"]`),
		with(`"title":"a good one"`, `"title":"a\u0000b"`),
		with(`"title":"a good one"`, `"title":"`+strings.Repeat("x", federation.MaxTitle+1)+`"`),
		with(`"title":"a good one"`, `"title":"`+long[:900_000]+`"`),
		with(`"origin_site":"site-b"`, `"origin_site":"site-c"`), // another's, from this one's stream
		with(`"origin_site":"site-b"`, `"origin_site":"../../etc"`),
		with(`"origin_site":"site-b"`, `"origin_site":"site-b' OR 1=1"`),
		with(`"origin_site":"site-b"`, `"origin_site":"*"`),
		with(`"origin_site":"site-b"`, `"origin_site":""`),
		with(`"origin_name":"`, `"origin_name":"\u0000`),
		with(`"origin_alert_id":"01-good"`, `"origin_alert_id":""`),
		with(`"origin_alert_id":"01-good"`, `"origin_alert_id":"a\u0000"`),
		with(`"origin_alert_id":"01-good"`, `"origin_alert_id":"`+strings.Repeat("x", federation.MaxAlertID+1)+`"`),
		with(`"raised_at":"`, `"raised_at":"yesterday`),
		with(`"raised_at":"2`, `"raised_at":"0`),
		with(`"raised_at":"2`, `"raised_at":"12`),
	}
	// A good one at each side of each bad one, so that a batch lost shows.
	bus := m.speaker(t, 1)
	var msgs []function.Message
	put := func(data string) {
		msgs = append(msgs, function.Message{Subject: subject.Alert(federation.Critical), ID: fmt.Sprint("wire ", len(msgs)), Payload: []byte(data)})
	}
	put(good)
	for i, data := range bad {
		put(data)
		put(share(fmt.Sprint("good ", i), fmt.Sprint("neighbour ", i)))
	}
	if _, err := bus.Store(t.Context(), msgs); err != nil {
		t.Fatal(err)
	}
	want := 2 + len(bad)
	natstest.Within(t, 20*time.Second, "every good one is stored", func() bool { return m.total(t, 0, "") >= want })
	line := fmt.Sprintf(`aurora_function_dead_letters_total{function="alertsink",site="site-a",trigger="alerts"} %d`+"\n", len(bad))
	natstest.Eventually(t, "each bad one is a dead letter", func() bool { return strings.Contains(metrics(t, m.Sites[0].API), line) })
	m.raise(t, 1, alert("the marker", federation.Critical))
	m.arrives(t, 0, "the marker")
	if got := m.total(t, 0, ""); got != want+1 {
		t.Errorf("the receiver has %d alerts, want %d", got, want+1)
	}

	natstest.Within(t, 20*time.Second, "the origin knows what was refused, and does not call it stored", func() bool {
		out, _ := deliveries(t, m.api[1])
		return are(out.Refused, len(bad)) && are(out.Stored, want+1) && are(out.Acknowledged, want+1+len(bad))
	})

	reader := natstest.Bus(t, m.Sites[0].Server(), "site-a", "reader")
	if n := messages(t, reader, subject.DeadLetterStream("site-a")); n != len(bad) {
		t.Errorf("the stream of dead letters has %d", n)
	}
	letters, err := reader.JetStream().Stream(t.Context(), subject.DeadLetterStream("site-a"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range bad {
		letter, err := letters.GetMsg(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		for _, header := range []string{function.HeaderReason, function.HeaderCode, function.HeaderSource, function.HeaderSequence} {
			if letter.Header.Get(header) == "" {
				t.Errorf("dead letter %d has no %s", i+1, header)
			}
		}
	}
}

func TestAnOlderHeartbeatNeverOverwritesANewerOne(t *testing.T) {
	m := start(t, demo.Options{Sites: 1})
	bus := natstest.Bus(t, m.Sites[0].Server(), "site-x", "peer")
	now := time.Now().UTC()
	beat := func(at time.Time, online int) {
		t.Helper()
		err := bus.Publish(t.Context(), subject.Health("site-x"), federation.Gossip{
			Version: 1, SiteID: "site-x", SiteName: "X", Tier: federation.Secondary, SentAt: at, IntervalSeconds: 1, AgentsTotal: 9, AgentsOnline: online,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	beat(now, 5)
	beat(now.Add(-time.Second), 1) // late
	beat(now, 2)                   // again
	beat(now.Add(time.Second), 6)
	natstest.Eventually(t, "the newest is taken", func() bool {
		sites, err := m.api[0].Sites(t.Context(), ask.Page{})
		return err == nil && sites.Total == 2 && sites.Items[1].AgentsOnline == 6
	})
	natstest.Eventually(t, "the older ones are counted", func() bool {
		return strings.Contains(metrics(t, m.Sites[0].API), `aurora_function_messages_refused_total{function="healthsink",reason="older than known",site="site-a",trigger="gossip"} 2`)
	})
}
