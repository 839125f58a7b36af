package alertintake_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/alertintake"
	"github.com/auroramesh/auroramesh/functions/alertquery"
	"github.com/auroramesh/auroramesh/shared/ask"
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
