package alertquery_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/functions/alertquery"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestCampaignsAreLookedForOnceForAllWhoAsk(t *testing.T) {
	server := natstest.Start(t, "site-a")
	st := storetest.Open(t)
	var passed atomic.Int64
	bus := natstest.Bus(t, server, "site-a", "alertquery")
	natstest.Run(t, bus, alertquery.New(st, bus, func() time.Time { return noon.Add(time.Duration(passed.Load())) }))
	asker := natstest.Bus(t, server, "site-a", "asker")
	look := func(hours int) []ask.Campaign {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		found, err := function.Ask(ctx, asker, "site-a", ask.Campaigns, ask.CampaignQuery{Hours: hours, Limit: 5})
		if err != nil {
			t.Fatal(err)
		}
		return found.Items
	}
	if found := look(24); len(found) != 0 {
		t.Fatalf("in an empty queue there are %v", found)
	}
	iocs := federation.IOCInput{Items: []federation.IOC{{Type: federation.IP, Value: "203.0.113.7"}}}
	n := federation.NewAlert{Title: "Beacon", Severity: federation.High, Source: "edr", IOCs: iocs}
	if _, _, err := st.RaiseAlert(t.Context(), n.Alert("a-1", noon), nil); err != nil {
		t.Fatal(err)
	}
	theirs := federation.SharedAlert{Version: federation.SharedAlertVersion, OriginSite: "site-b", OriginName: "B", OriginID: "b-1", RaisedAt: noon, NewAlert: n}
	if _, err := st.ReceiveAlerts(t.Context(), []federation.Alert{theirs.Received("a-2", noon)}, nil); err != nil {
		t.Fatal(err)
	}
	if found := look(24); len(found) != 0 {
		t.Errorf("the same question was looked up again at once: %v", found)
	}
	if found := look(23); len(found) != 1 {
		t.Errorf("another question has the answer %v", found)
	}
	passed.Store(int64(alertquery.CampaignsFor))
	found := look(24)
	if len(found) != 1 || found[0].Alerts != 2 || len(found[0].Sites) != 2 || found[0].Sites[0] != "site-a" {
		t.Errorf("after its time the answer is %+v", found)
	}
}
