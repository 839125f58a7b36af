package alertintake_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/alertintake"
	"github.com/auroramesh/auroramesh/functions/alertquery"
	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
)

func TestOfSeveralAlertsEachIsChangedByItself(t *testing.T) {
	const own = federation.SiteID("site-a")
	st, srv, quiet := storetest.Open(t), natstest.Start(t, own), slog.New(slog.DiscardHandler)
	for _, name := range []string{"alertintake", "alertquery"} {
		bus := natstest.Bus(t, srv, own, name)
		f := alertquery.New(st, bus, time.Now)
		if name == "alertintake" {
			f = alertintake.New(federation.Gate{MinSeverity: federation.High}, st, bus, prometheus.NewRegistry(), quiet, time.Now)
		}
		natstest.Run(t, bus, f)
	}
	bus := natstest.Bus(t, srv, own, "test")
	var ids []string
	for _, title := range []string{"one", "two", "three"} {
		raised, err := function.Ask(t.Context(), bus, own, ask.RaiseAlert, federation.NewAlert{Title: title, Severity: federation.Low, Source: "edr"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, raised.Alert.ID)
	}
	done, err := function.Ask(t.Context(), bus, own, ask.UpdateAlerts, ask.AlertsUpdate{IDs: []string{ids[0], "nowhere", ids[2]}, Status: federation.Resolved})
	if err != nil {
		t.Fatal(err)
	}
	for i, item := range done.Items {
		if unknown := i == 1; (item.Problem != "") != unknown || unknown && !strings.Contains(item.Problem, "nowhere") {
			t.Errorf("item %d: %+v", i, item)
		}
	}
	page, err := function.Ask(t.Context(), bus, own, ask.PageAlerts, ask.AlertQuery{Status: federation.Resolved})
	if err != nil || len(page.Items) != 2 || page.Older || page.Newer {
		t.Errorf("resolved are %+v, %v", page, err)
	}
}

func TestOfAlertsThatComeTogetherABadOneFailsAlone(t *testing.T) {
	const own = federation.SiteID("site-a")
	st, srv := storetest.Open(t), natstest.Start(t, own)
	at := natstest.Bus(t, srv, own, "alertintake")
	natstest.Run(t, at, alertintake.New(federation.Gate{MinSeverity: federation.High}, st, at, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), time.Now))
	bus := natstest.Bus(t, srv, own, "test")
	item := func(title string, s federation.Severity) ask.AlertRaising {
		return ask.AlertRaising{
			Alert: federation.NewAlert{Title: title, Severity: s, Source: "edr"},
			Audit: &access.Entry{ID: uuid.NewString(), At: time.Now(), Kind: access.KindLocal, Who: "local", Action: "POST /api/v1/alerts", Target: "/api/v1/alerts"},
		}
	}
	large := item("large", federation.Low)
	large.Alert.RawLog = federation.RawLog(strings.Repeat("x", federation.MaxRawLog))
	type answer struct {
		ask.AlertRaised
		alert federation.Alert
	}
	raise := func(items ...ask.AlertRaising) []answer {
		t.Helper()
		raised, err := function.Ask(t.Context(), bus, own, ask.RaiseAlerts, ask.AlertsRaising{Items: items})
		if err != nil || len(raised.Items) != len(items) {
			t.Fatalf("%d answers to %d alerts: %v", len(raised.Items), len(items), err)
		}
		all := make([]answer, len(items))
		for i, r := range raised.Items {
			all[i].AlertRaised = r
			if r.Alert == nil {
				continue
			}
			if err := json.Unmarshal(r.Alert, &all[i].alert); err != nil || all[i].alert.ID != r.ID || all[i].alert.TLP != r.TLP {
				t.Fatalf("%s is answered for %s %s: %v", r.Alert, r.ID, r.TLP, err)
			}
		}
		return all
	}
	first := raise(large)[0]

	got := raise(item("one", federation.High), item("", federation.High), item("large", federation.Low), item("two", "awful"), item("one", federation.High))
	if !got[0].Created || got[0].alert.Title != "one" || got[0].Problem != nil {
		t.Errorf("the sound one: %+v", got[0])
	}
	for n, field := range map[int]string{1: "title", 3: "severity"} {
		if p := got[n].Problem; p == nil || p.Code != fault.Invalid || p.Fields[0].Name != field {
			t.Errorf("the one without a good %s: %+v", field, got[n])
		}
	}
	if got[4].Created || got[4].ID != got[0].ID {
		t.Errorf("the double: %+v", got[4])
	}
	if got[2].Created || got[2].ID != first.ID || got[2].alert.RawLog == "" {
		t.Errorf("the double of the large one: %d bytes", len(got[2].Alert))
	}
	var records []string
	page, err := st.Audit(t.Context(), 0, 10)
	for _, r := range page {
		records = append(records, fmt.Sprint(r.Result, " ", r.Target))
	}
	want := []string{"200 /api/v1/alerts", "200 /api/v1/alerts", "201 /api/v1/alerts/" + got[0].ID, "201 /api/v1/alerts/" + first.ID}
	if diff := cmp.Diff(want, records); diff != "" || err != nil {
		t.Errorf("records (-want +got):\n%s%v", diff, err)
	}

	// The first one of each may be far larger than its double.
	var many []ask.AlertRaising
	for n := range 8 {
		large.Alert.Title, large.Audit = fmt.Sprint("large ", n), nil
		raise(large)
		many = append(many, item(large.Alert.Title, federation.Low))
	}
	elsewhere := 0
	for _, r := range raise(many...) {
		if r.Alert == nil {
			elsewhere++
		}
		if r.Created || r.ID == "" || (r.Alert != nil) != (r.alert.RawLog != "") {
			t.Errorf("a double of a large one: created %t, id %q, %d bytes", r.Created, r.ID, len(r.Alert))
		}
	}
	if elsewhere == 0 || elsewhere == len(many) {
		t.Errorf("%d of %d do not fit", elsewhere, len(many))
	}
	if none, err := function.Ask(t.Context(), bus, own, ask.RaiseAlerts, ask.AlertsRaising{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("no alerts: %+v, %v", none, err)
	}
}
