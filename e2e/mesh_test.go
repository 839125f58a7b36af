// Package e2e_test tests the mesh as its users meet it: whole sites on the shipped
// configuration, real leafnodes with a line that can be cut, the API over HTTP.
package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/sensor"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// mesh is the sites of a test, with a client of each one's API.
type mesh struct {
	*demo.Demo
	api []*apiclient.Client
}

// quick sets the ages so that silence shows within seconds.
func quick(_ int, s *settings.Settings) {
	s.HeartbeatSeconds, s.DegradedSeconds, s.DownSeconds = 1, 3, 6
}

func start(t *testing.T, o demo.Options) mesh {
	t.Helper()
	o.Version, o.Log = "0.0.1", slog.New(slog.DiscardHandler)
	if o.Configure == nil {
		o.Configure = quick
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	d, err := demo.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := d.Stop(ctx); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	m := mesh{Demo: d}
	for _, s := range d.Sites {
		c, err := apiclient.New(s.API)
		if err != nil {
			t.Fatal(err)
		}
		m.api = append(m.api, c)
	}
	return m
}

func alert(title string, s federation.Severity) federation.NewAlert {
	return federation.NewAlert{Title: title, Severity: s, Source: "test", IOCs: federation.IOCInput{Items: []federation.IOC{{Type: federation.IP, Value: "192.0.2.7"}}}}
}

// raise raises an alert at site i.
func (m mesh) raise(t *testing.T, i int, n federation.NewAlert) federation.Alert {
	t.Helper()
	a, _, _, err := m.api[i].Raise(t.Context(), n)
	if err != nil {
		t.Fatalf("raising at site %d: %v", i, err)
	}
	return a
}

// all lists every alert of site i.
func (m mesh) all(t *testing.T, i int) []federation.Alert {
	t.Helper()
	var all []federation.Alert
	f := ask.AlertFilter{Page: ask.Page{Limit: ask.MaxLimit}}
	for {
		page, err := m.api[i].Alerts(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Items...)
		if f.Skip += len(page.Items); f.Skip >= page.Total || len(page.Items) == 0 {
			return all
		}
	}
}

// titled lists the alerts of site i with a title.
func (m mesh) titled(t *testing.T, i int, title string) []federation.Alert {
	t.Helper()
	var found []federation.Alert
	for _, a := range m.all(t, i) {
		if a.Title == title {
			found = append(found, a)
		}
	}
	return found
}

// arrives waits until an alert is at site i, and returns its rows.
func (m mesh) arrives(t *testing.T, i int, title string) []federation.Alert {
	t.Helper()
	var rows []federation.Alert
	natstest.Within(t, 20*time.Second, fmt.Sprintf("%q is at site %d", title, i), func() bool {
		rows = m.titled(t, i, title)
		return len(rows) > 0
	})
	return rows
}

func (m mesh) link(t *testing.T, i int, id string) federation.LinkStatus {
	t.Helper()
	top, err := m.api[i].Topology(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range top.Links {
		if l.ID == id {
			return l.Status
		}
	}
	return ""
}

func (m mesh) status(t *testing.T, i int, id federation.SiteID) federation.SiteStatus {
	t.Helper()
	top, err := m.api[i].Topology(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range top.Sites {
		if s.ID == id {
			return s.Status
		}
	}
	return ""
}

func TestAnAlertRaisedAtOneSiteIsAtEveryOther(t *testing.T) {
	m := start(t, demo.Options{Sites: 3})
	raised := m.raise(t, 1, alert("beacon", federation.Critical))
	for _, i := range []int{0, 2} { // leaf to hub, and leaf to leaf through the hub
		rows := m.arrives(t, i, "beacon")
		if len(rows) != 1 {
			t.Fatalf("site %d has it %d times", i, len(rows))
		}
		got := rows[0]
		if got.Source != "federation:site-b" || got.Origin == nil || got.Origin.SiteID != "site-b" || got.Origin.SiteName != "Site B" ||
			got.Origin.AlertID != raised.ID || !got.Origin.RaisedAt.Equal(raised.CreatedAt) || got.Origin.ReceivedAt.IsZero() {
			t.Errorf("site %d has %+v with origin %+v", i, got, got.Origin)
		}
	}
	natstest.Eventually(t, "every site sees every link healthy", func() bool {
		return m.link(t, 0, "link-site-a-site-b") == federation.Healthy && m.link(t, 0, "link-site-a-site-c") == federation.Healthy &&
			m.link(t, 2, "link-site-b-site-c") == federation.Healthy
	})
}

func TestTheGateDecidesWhatLeaves(t *testing.T) {
	for _, c := range []struct {
		least   federation.Severity
		crosses []federation.Severity
	}{
		{federation.High, []federation.Severity{federation.Critical, federation.High}},
		{federation.Critical, []federation.Severity{federation.Critical}},
	} {
		t.Run(string(c.least), func(t *testing.T) {
			m := start(t, demo.Options{Configure: func(i int, s *settings.Settings) {
				quick(i, s)
				s.MinSeverity = string(c.least)
			}})
			for _, s := range federation.Severities() {
				m.raise(t, 1, alert("one of severity "+string(s), s))
			}
			// What was shared before the last one arrives before it, so what is not
			// there by then has stayed at home.
			m.raise(t, 1, alert("the last", federation.Critical))
			m.arrives(t, 0, "the last")
			for _, s := range federation.Severities() {
				want := 0
				for _, crosses := range c.crosses {
					if s == crosses {
						want = 1
					}
				}
				if want == 1 {
					m.arrives(t, 0, "one of severity "+string(s))
				}
				if got := len(m.titled(t, 0, "one of severity "+string(s))); got != want {
					t.Errorf("the one of severity %s is there %d times, want %d", s, got, want)
				}
			}
		})
	}
}

func TestNothingCrossesTwice(t *testing.T) {
	m := start(t, demo.Options{})
	n := alert("only once", federation.Critical)
	first, created, _, err := m.api[1].Raise(t.Context(), n)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	again, created, _, err := m.api[1].Raise(t.Context(), n)
	if err != nil || created || again.ID != first.ID {
		t.Errorf("the same alert again: created %v, id %s and not %s, %v", created, again.ID, first.ID, err)
	}
	m.arrives(t, 0, "only once")

	// A replay and an echo, straight into the origin's stream under message ids of their own.
	bus := natstest.Bus(t, m.Sites[1].Server(), "site-b", "intruder")
	put := func(id string, s federation.SharedAlert) {
		t.Helper()
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bus.Store(t.Context(), []function.Message{{Subject: subject.Alert(federation.Critical), ID: id, Payload: data}}); err != nil {
			t.Fatal(err)
		}
	}
	put("replay", federation.Share(first, m.Sites[1].ID()))
	echo := federation.Share(first, m.Sites[0].ID())
	echo.Title = "an echo"
	put("echo", echo)
	forged := federation.Share(first, federation.Identity{ID: "site-z", Name: "Z"})
	forged.Title = "a forgery"
	put("forgery", forged)
	m.raise(t, 1, alert("the last", federation.Critical))
	m.arrives(t, 0, "the last")
	for title, want := range map[string]int{"only once": 1, "an echo": 0, "a forgery": 0} {
		if got := len(m.titled(t, 0, title)); got != want {
			t.Errorf("%q is there %d times, want %d", title, got, want)
		}
	}
	natstest.Eventually(t, "the replay, the echo and the forgery are counted", func() bool {
		text := metrics(t, m.Sites[0].API)
		return strings.Contains(text, `aurora_alerts_received_total{origin="site-b",outcome="replay",site="site-a"} 1`) &&
			strings.Contains(text, `aurora_alerts_received_total{origin="site-b",outcome="echo",site="site-a"} 1`) &&
			strings.Contains(text, `aurora_function_dead_letters_total{function="alertsink",site="site-a",trigger="alerts"} 1`)
	})
}

func metrics(t *testing.T, api string) string {
	t.Helper()
	resp, err := http.Get(api + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// transitions collects the transitions that a site tells.
type transitions struct {
	mu  sync.Mutex
	all []string
}

func (tr *transitions) follow(t *testing.T, c *apiclient.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		err := c.Events(ctx, "", func(_ string, e federation.Event) error {
			if e.Transition != nil {
				tr.mu.Lock()
				defer tr.mu.Unlock()
				tr.all = append(tr.all, e.Transition.ID+" "+e.Transition.From+" to "+e.Transition.To)
			}
			return nil
		})
		if ctx.Err() == nil {
			t.Errorf("the event stream ended: %v", err)
		}
	}()
}

func (tr *transitions) count(what string) (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, s := range tr.all {
		if s == what {
			n++
		}
	}
	return n
}

func TestASiteWhoseLinkIsCutWorksAloneAndMissesNothing(t *testing.T) {
	var proxy *linkproxy.Proxy
	m := start(t, demo.Options{LeafURL: func(_ int, listener string) string {
		p, err := linkproxy.Listen("127.0.0.1:0", listener)
		if err != nil {
			t.Fatal(err)
		}
		proxy = p
		return p.Addr()
	}})
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	const link = "link-site-a-site-b"
	natstest.Eventually(t, "the link is healthy", func() bool {
		return m.link(t, 0, link) == federation.Healthy && m.link(t, 1, link) == federation.Healthy
	})
	var told transitions
	told.follow(t, m.api[0])

	proxy.Set(linkproxy.Cut)
	raised := 0
	for _, want := range []struct {
		link federation.LinkStatus
		site federation.SiteStatus
	}{{federation.LinkDegraded, federation.SiteDegraded}, {federation.Down, federation.Offline}} {
		natstest.Within(t, 20*time.Second, "the link is "+string(want.link), func() bool {
			for i := range 2 { // local alerts are taken the whole time
				m.raise(t, i, alert(fmt.Sprintf("alone %d", raised), federation.High))
			}
			raised++
			return m.link(t, 0, link) == want.link && m.status(t, 0, "site-b") == want.site && m.link(t, 1, link) == want.link
		})
	}
	if rows := m.titled(t, 0, "alone 0"); len(rows) != 1 {
		t.Fatalf("with the link cut site-a has the alert %d times", len(rows))
	}

	proxy.Set(linkproxy.Pass)
	natstest.Within(t, 30*time.Second, "the link is healthy again", func() bool {
		return m.link(t, 0, link) == federation.Healthy && m.link(t, 1, link) == federation.Healthy && m.status(t, 0, "site-b") == federation.Online
	})
	for i := range 2 {
		natstest.Within(t, 30*time.Second, "nothing is missing", func() bool {
			page, err := m.api[i].Alerts(t.Context(), ask.AlertFilter{Source: "federation:" + string(demo.SiteID(1-i))})
			return err == nil && page.Total == raised
		})
		times := map[string]int{}
		for _, a := range m.all(t, i) {
			times[a.Title]++
		}
		for n := range raised {
			if got := times[fmt.Sprintf("alone %d", n)]; got != 2 {
				t.Fatalf("site %d has alert %d %d times: its own and the peer's are two", i, n, got)
			}
		}
	}
	for _, what := range []string{
		link + " healthy to degraded", link + " degraded to down", link + " down to healthy",
		"site-b online to degraded", "site-b degraded to offline", "site-b offline to online",
	} {
		natstest.Eventually(t, "it is told that "+what, func() bool { return told.count(what) > 0 })
		if n := told.count(what); n != 1 {
			t.Errorf("%q was told %d times", what, n)
		}
	}
}

func TestWithFederationOffASiteWorksAlone(t *testing.T) {
	m := start(t, demo.Options{Configure: func(i int, s *settings.Settings) {
		quick(i, s)
		s.Enabled = i == 0
	}})
	bus := natstest.Bus(t, m.Sites[1].Server(), "site-b", "listener")
	sub, err := bus.Conn().SubscribeSync(subject.Health("site-b"))
	if err != nil {
		t.Fatal(err)
	}
	m.raise(t, 1, alert("kept at home", federation.Critical))
	m.raise(t, 0, alert("for nobody", federation.Critical))
	// Two heartbeats of the own row without one on the wire.
	var last time.Time
	for beats := 0; beats < 3; {
		sites, err := m.api[1].Sites(t.Context(), ask.Page{})
		if err != nil {
			t.Fatal(err)
		}
		if at := sites.Items[0].LastHeartbeatAt; at != nil && at.After(last) {
			last = *at
			beats++
		}
		if sites.Total != 1 {
			t.Fatalf("it knows %d sites", sites.Total)
		}
	}
	if n, _, err := sub.Pending(); err != nil || n != 0 {
		t.Errorf("%d heartbeats left the site, %v", n, err)
	}
	if len(m.titled(t, 0, "kept at home")) != 0 || len(m.titled(t, 1, "for nobody")) != 0 {
		t.Error("an alert crossed")
	}
}

func TestBadGossipIsRefusedByItsReasonAndGoodGossipStillTaken(t *testing.T) {
	m := start(t, demo.Options{Sites: 1})
	bus := natstest.Bus(t, m.Sites[0].Server(), "site-x", "peer")
	good := func(id string) string {
		return fmt.Sprintf(`{"version":1,"site_id":%q,"site_name":"X","tier":"secondary","software_version":"1","sent_at":%q,"interval_seconds":15,"agents_total":2,"agents_online":1}`,
			id, time.Now().UTC().Format(time.RFC3339Nano))
	}
	health := subject.Health("site-x")
	bad := []struct{ subject, data, reason string }{
		{health, "", "unsupported"},
		{health, "null", "unsupported"},
		{health, "[]", "invalid"},
		{health, "{", "invalid"},
		{health, "\xff\xfe", "invalid"},
		{health, strings.Repeat("[", 20_000), "invalid"},
		{health, `{"version":2}`, "unsupported"},
		{health, `{"version":"1"}`, "invalid"},
		{health, strings.Replace(good("site-x"), "secondary", "boss", 1), "invalid"},
		{health, strings.Replace(good("site-x"), `"agents_online":1`, `"agents_online":3`, 1), "invalid"},
		{health, strings.Replace(good("site-x"), `"agents_online":1`, `"agents_online":-1`, 1), "invalid"},
		{health, strings.Replace(good("site-x"), `"interval_seconds":15`, `"interval_seconds":0`, 1), "invalid"},
		{health, strings.Replace(good("site-x"), `"site_name":"X"`, `"site_name":""`, 1), "invalid"},
		{health, strings.Replace(good("site-x"), `"site_name":"X"`, `"site_name":"\u0000"`, 1), "invalid"},
		{health, good("site-y"), "invalid"},                        // under another's name
		{health, good("../etc/passwd"), "invalid"},                 // hostile ids
		{health, good("site-x; DROP TABLE sites"), "invalid"},      //
		{health, good(strings.Repeat("x", 64)), "invalid"},         //
		{health, good("SITE-X"), "invalid"},                        //
		{subject.Health("site-a"), good("site-a"), "own gossip"},   // the site's own, from elsewhere
		{health, strings.Repeat(`{"version":1,`, 1000), "invalid"}, //
	}
	want := map[string]int{}
	for _, b := range bad {
		want[b.reason]++
		if err := bus.Conn().Publish(b.subject, []byte(b.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := bus.Conn().Publish(health, []byte(good("site-x"))); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the good one is taken", func() bool { return m.status(t, 0, "site-x") == federation.Online })
	text := metrics(t, m.Sites[0].API)
	for reason, n := range want {
		if reason == "own gossip" {
			continue // the site's own heartbeats count here too
		}
		line := fmt.Sprintf(`aurora_function_messages_refused_total{function="healthsink",reason=%q,site="site-a",trigger="gossip"} %d`, reason, n)
		if !strings.Contains(text, line) {
			t.Errorf("the metrics do not say %s", line)
		}
	}
	sites, err := m.api[0].Sites(t.Context(), ask.Page{})
	if err != nil || sites.Total != 2 {
		t.Errorf("it knows %d sites, %v", sites.Total, err)
	}
}

func TestBadSharedAlertsBecomeDeadLettersAndTheirNeighboursPass(t *testing.T) {
	m := start(t, demo.Options{})
	m.raise(t, 1, alert("the first", federation.Critical))
	m.arrives(t, 0, "the first")
	good, err := json.Marshal(federation.Share(alert("a good one", federation.Critical).Alert("01-good", time.Now()), m.Sites[1].ID()))
	if err != nil {
		t.Fatal(err)
	}
	with := func(old, replacement string) string {
		t.Helper()
		if !strings.Contains(string(good), old) {
			t.Fatalf("the good alert has no %s: %s", old, good)
		}
		return strings.Replace(string(good), old, replacement, 1)
	}
	bad := []string{
		"", "null", "[]", "{", "\xff\xfe", strings.Repeat("[", 20_000), `"text"`, `{"version":1}`,
		with(`"version":1`, `"version":2`),
		with(`"version":1`, `"version":"1"`),
		with(`"severity":"critical"`, `"severity":"terrible"`),
		with(`"severity":"critical"`, `"severity":5`),
		with(`"severity":"critical"`, `"severity":""`),
		with(`"title":"a good one"`, `"title":""`),
		with(`"title":"a good one"`, `"title":["a"]`),
		with(`"title":"a good one"`, `"title":"a\u0000b"`),
		with(`"title":"a good one"`, `"title":"`+strings.Repeat("x", federation.MaxTitle+1)+`"`),
		with(`"origin_site":"site-b"`, `"origin_site":"site-c"`),
		with(`"origin_site":"site-b"`, `"origin_site":"../../etc"`),
		with(`"origin_site":"site-b"`, `"origin_site":""`),
		with(`"origin_alert_id":"01-good"`, `"origin_alert_id":""`),
		with(`"origin_alert_id":"01-good"`, `"origin_alert_id":"`+strings.Repeat("x", federation.MaxAlertID+1)+`"`),
		with(`"raised_at":"`, `"raised_at":"yesterday`),
		with(`"raised_at":"2`, `"raised_at":"0`),
	}
	bus := natstest.Bus(t, m.Sites[1].Server(), "site-b", "sender")
	var msgs []function.Message
	for i, data := range append(bad, string(good)) {
		msgs = append(msgs, function.Message{Subject: subject.Alert(federation.Critical), ID: fmt.Sprint("wire ", i), Payload: []byte(data)})
	}
	if _, err := bus.Store(t.Context(), msgs); err != nil {
		t.Fatal(err)
	}
	m.arrives(t, 0, "a good one")
	line := fmt.Sprintf(`aurora_function_dead_letters_total{function="alertsink",site="site-a",trigger="alerts"} %d`, len(bad))
	natstest.Eventually(t, "each bad one is a dead letter", func() bool { return strings.Contains(metrics(t, m.Sites[0].API), line) })
	if page, err := m.api[0].Alerts(t.Context(), ask.AlertFilter{}); err != nil || page.Total != 2 {
		t.Errorf("the receiver has %d alerts, %v", page.Total, err)
	}
	letters, err := natstest.Bus(t, m.Sites[0].Server(), "site-a", "reader").JetStream().Stream(t.Context(), subject.DeadLetterStream("site-a"))
	if err != nil {
		t.Fatal(err)
	}
	if n := letters.CachedInfo().State.Msgs; n != uint64(len(bad)) {
		t.Errorf("the stream of dead letters has %d", n)
	}
	m.raise(t, 1, alert("the last", federation.Critical))
	m.arrives(t, 0, "the last")
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
	beat(now.Add(-time.Second), 1)
	beat(now.Add(time.Second), 6)
	natstest.Eventually(t, "the newest is taken", func() bool {
		sites, err := m.api[0].Sites(t.Context(), ask.Page{})
		return err == nil && sites.Total == 2 && sites.Items[1].AgentsOnline == 6
	})
	natstest.Eventually(t, "the older one is counted", func() bool {
		return strings.Contains(metrics(t, m.Sites[0].API), `aurora_function_messages_refused_total{function="healthsink",reason="older than known",site="site-a",trigger="gossip"} 1`)
	})
}

func TestRealAlertsGoInAndTheHighOnesComeOutAtThePeer(t *testing.T) {
	m := start(t, demo.Options{})
	read, crossing := 0, 0
	for _, file := range []string{"first-2015", "honeypot-2018"} {
		f, err := os.Open("../shared/sensor/testdata/suricata/" + file + ".eve.json")
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range sensor.Read(f, sensor.Options{}) {
			if err != nil {
				t.Fatal(err)
			}
			a := m.raise(t, 1, *r.Alert)
			read++
			if a.Severity.Rank() >= federation.High.Rank() {
				crossing++
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if read != 180 || crossing == 0 {
		t.Fatalf("read %d alerts, %d of them high or critical", read, crossing)
	}
	total := func(i int) int {
		page, err := m.api[i].Alerts(t.Context(), ask.AlertFilter{})
		if err != nil {
			t.Fatal(err)
		}
		return page.Total
	}
	if got := total(1); got != 180 {
		t.Errorf("the origin has %d", got)
	}
	natstest.Within(t, 20*time.Second, "the high ones are at the peer", func() bool { return total(0) >= crossing })
	m.raise(t, 1, alert("the last", federation.Critical))
	m.arrives(t, 0, "the last")
	if got := total(0); got != crossing+1 {
		t.Errorf("the peer has %d, want %d", got, crossing+1)
	}
}
