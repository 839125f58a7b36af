package console_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/browsertest"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
)

// The peers are rows of the database alone; what is tested is that the API has all of them and
// the console does not keep a browser busy.
func TestAMeshOfTenThousandSitesIsShown(t *testing.T) {
	const peers = 9999
	browser := browsertest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	site := withRows(ctx, t)
	crowd(t, site, peers)

	api, err := apiclient.New(site.API)
	if err != nil {
		t.Fatal(err)
	}
	top, err := api.Topology(ctx)
	if err != nil || len(top.Sites) != peers+1 || len(top.Links) != peers {
		t.Fatalf("the topology has %d sites and %d links: %v", len(top.Sites), len(top.Links), err)
	}
	sites, err := apiclient.All(ctx, api.Sites)
	if err != nil || len(sites.Items) != peers+1 {
		t.Fatalf("the list has %d sites: %v", len(sites.Items), err)
	}

	p := browser.Open(t, site.API+"/", browsertest.Desk)
	p.Await("the map has the worst links", `document.querySelectorAll('#map > svg .node').length === 300 && document.querySelector('#map [data-peer="site-09998"]') !== null && document.body.classList.contains('live')`)
	p.Expect("10000 sites, 9999 links: 1 down.")
	p.Expect("9700 more sites are not shown")
	p.Accessible()
	const asked = `performance.getEntriesByType('resource').filter(e => e.name.includes('part=live')).length`
	before := browsertest.Eval[int](p, asked)
	browsertest.Eval[bool](p, `document.dispatchEvent(new Event('visibilitychange'))`)
	p.Await("the map was brought up to date", fmt.Sprintf(`%s > %d`, asked, before))
	p.Close()

	p = browser.Open(t, site.API+"/matrix", browsertest.Desk)
	p.Await("the matrix has some", `document.querySelectorAll('table.matrix tbody tr').length === 60`)
	p.Expect("9940 more sites are not shown")
	p.Close()

	p = browser.Open(t, site.API+"/links/"+top.Links[7000].ID, browsertest.Desk)
	p.Expect(string(top.Links[7000].Peer(site.ID().ID)))
}

// crowd makes a site know so many peers, one of which has said goodbye.
func crowd(t *testing.T, site *demo.Site, peers int) {
	t.Helper()
	st, closed := opened(t, site)
	defer closed()
	now, own := time.Now(), site.ID().ID
	storetest.KnowsMany(t, st, own, peers, now)
	leaving := federation.Gossip{Version: federation.GossipVersion, SiteID: storetest.SiteOf(peers - 1), SiteName: "B", Tier: federation.Secondary, SentAt: now.Add(time.Second), IntervalSeconds: 15, Leaving: true}
	if _, err := st.RecordGossips(t.Context(), own, []federation.Gossip{leaving}, now, site.Settings.Thresholds()); err != nil {
		t.Fatal(err)
	}
}
