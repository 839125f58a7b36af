package topologyquery_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/topologyquery"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
)

const own = federation.SiteID("site-a")

// A crowd is twice as many sites as fit into one message.
const crowd = 3500

func TestTheTopologyOfACrowdIsWhole(t *testing.T) {
	s := natstest.Start(t, own)
	st := storetest.Open(t)
	ages := federation.Thresholds{Degraded: time.Minute, Down: time.Hour}
	storetest.KnowsMany(t, st, own, crowd, time.Now())
	bus := natstest.Bus(t, s, own, "topologyquery")
	natstest.Run(t, bus, topologyquery.New(ages, st, bus, prometheus.NewRegistry(), time.Now))
	asker := natstest.Bus(t, s, own, "asker")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	for range 2 {
		top, err := function.Ask(ctx, asker, own, ask.Topology, ask.None{})
		if err != nil {
			t.Fatal(err)
		}
		if len(top.Sites) != crowd || len(top.Links) != crowd {
			t.Fatalf("%d sites and %d links", len(top.Sites), len(top.Links))
		}
		for i, site := range top.Sites {
			if site.ID != storetest.SiteOf(i) || site.Status != federation.Online {
				t.Fatalf("site %d is %s, %s", i, site.ID, site.Status)
			}
		}
		for _, l := range top.Links {
			if l.Status != federation.Healthy {
				t.Fatalf("%s is %s", l.ID, l.Status)
			}
		}
	}

	known := map[federation.SiteID]bool{}
	for skip := 0; skip < crowd; skip += ask.MaxLimit {
		page, err := function.Ask(ctx, asker, own, ask.Sites, ask.Page{Skip: skip, Limit: ask.MaxLimit})
		if err != nil || page.Total != crowd {
			t.Fatalf("the page from %d: of %d sites, %v", skip, page.Total, err)
		}
		for _, site := range page.Items {
			known[site.ID] = true
		}
	}
	if len(known) != crowd {
		t.Errorf("the pages name %d sites", len(known))
	}
}
