package doctor

import (
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
)

// The site looked at is site-b, and the hub of the mesh site-a.
func TestWhyTheHubPassesNothingOnIsFound(t *testing.T) {
	t.Parallel()
	const direct, hub, primary, secondary = federation.ExchangeDirect, federation.ExchangeHub, federation.Primary, federation.Secondary
	passes := []federation.SiteID{"site-b", "site-c"}
	site := func(id federation.SiteID, tier federation.Tier, e federation.Exchange, passes ...federation.SiteID) federation.Gossip {
		return federation.Gossip{SiteID: id, Tier: tier, Exchange: e, PassesFor: passes, SoftwareVersion: "0.0.9"}
	}
	left := site("site-a", primary, direct)
	left.Leaving = true
	type peers = []federation.Gossip
	for name, c := range map[string]struct {
		set   string          // FEDERATION_EXCHANGE; empty: hub
		tier  federation.Tier // empty: secondary
		peers peers
		gates []federation.SiteID // that have one of their own here
		want  string              // empty: nothing
		mend  string
	}{
		"all is well":                     {peers: peers{site("site-a", primary, hub, passes...), site("site-c", secondary, hub)}},
		"the site itself exchanges so":    {set: "direct", peers: peers{site("site-a", primary, direct)}},
		"a peer exchanges directly":       {peers: peers{site("site-a", primary, hub, "site-b"), site("site-c", secondary, direct)}},
		"a peer has a gate of its own":    {peers: peers{site("site-a", primary, hub, passes...), site("site-c", secondary, hub)}, gates: []federation.SiteID{"site-c"}},
		"no peer was ever heard":          {},
		"the primary has left":            {peers: peers{left, site("site-c", secondary, hub)}},
		"the primary says direct":         {peers: peers{site("site-a", primary, direct)}, want: `the primary site-a (version "0.0.9") exchanges directly`, mend: "At site-a set FEDERATION_EXCHANGE=hub"},
		"the primary is older":            {peers: peers{site("site-a", primary, "")}, want: `the primary site-a (version "0.0.9") exchanges directly`, mend: "does not know the setting"},
		"there is no primary":             {peers: peers{site("site-c", secondary, hub)}, want: "no peer says that it is a primary", mend: "FEDERATION_SITE_TIER=primary"},
		"there are several":               {peers: peers{site("site-a", primary, hub, passes...), site("site-c", primary, hub)}, want: "several primaries (site-a, site-c)", mend: "every other secondary"},
		"the hub has a gate of its own":   {peers: peers{site("site-a", primary, hub, passes...)}, gates: []federation.SiteID{"site-a"}, want: "site-a has an outbound gate of its own here", mend: "auroramesh sharing gate site-a --reset"},
		"the hub does not pass on yet":    {peers: peers{site("site-a", primary, hub, "site-c")}, want: "site-a does not pass on for this site yet", mend: "auroramesh doctor there"},
		"a primary among secondaries":     {tier: primary, peers: peers{site("site-c", secondary, direct)}},
		"a primary with another":          {tier: primary, peers: peers{site("site-a", primary, hub)}, want: "there are other primaries (site-a)", mend: "every other secondary"},
		"primaries that exchange so both": {set: "direct", tier: primary, peers: peers{site("site-a", primary, direct)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{"FEDERATION_SITE_ID": "site-b", "FEDERATION_SITE_TIER": "secondary", "FEDERATION_EXCHANGE": "hub"}
			if c.set != "" {
				env["FEDERATION_EXCHANGE"] = c.set
			}
			if c.tier != "" {
				env["FEDERATION_SITE_TIER"] = string(c.tier)
			}
			p, now := &patient{Config: config(load(t, env)), store: storetest.Open(t)}, time.Now()
			if _, err := p.store.UpsertOwnSite(t.Context(), p.Settings.Identity(p.Version), now); err != nil {
				t.Fatal(err)
			}
			for _, g := range c.peers {
				g.Version, g.SiteName, g.SentAt, g.IntervalSeconds = federation.GossipVersion, string(g.SiteID), now, 15
				if _, err := p.store.RecordGossips(t.Context(), "site-b", []federation.Gossip{g}, now, p.Settings.Thresholds()); err != nil {
					t.Fatal(err)
				}
			}
			for _, peer := range c.gates {
				if _, err := p.store.SetGate(t.Context(), peer, federation.Outbound, federation.GateSetting{Sources: []string{"edr"}}, now); err != nil {
					t.Fatal(err)
				}
			}
			got := exchange(t.Context(), p)
			if (c.want == "") != (len(got) == 0) || len(got) > 1 || len(got) == 1 && (!strings.Contains(got[0].Wrong, c.want) || !strings.Contains(got[0].Mend, c.mend)) {
				t.Errorf("it finds %+v, not %q", got, c.want)
			}
		})
	}
}

func TestFunctionsThatExchangeInAnotherWayThanTheSettingsAreFound(t *testing.T) {
	t.Parallel()
	for said, set := range map[federation.Exchange]string{federation.ExchangeDirect: "hub", federation.ExchangeHub: "direct"} {
		p := &patient{Config: config(load(t, map[string]string{"FEDERATION_EXCHANGE": set})), store: storetest.Open(t)}
		running := p.Settings.Identity(p.Version)
		running.Exchange = said
		if _, err := p.store.UpsertOwnSite(t.Context(), running, time.Now()); err != nil {
			t.Fatal(err)
		}
		if got := exchange(t.Context(), p); len(got) != 1 || !strings.Contains(got[0].Wrong, "FEDERATION_EXCHANGE is "+set+" by these settings, and the site tells its peers "+string(said)) {
			t.Errorf("with %s set and %s told it finds %+v", set, said, got)
		}
		p.Now = func() time.Time { return time.Now().Add(time.Hour) }
		if got := exchange(t.Context(), p); len(got) != 0 { // nobody runs, which functions tells
			t.Errorf("an hour after the last heartbeat it finds %+v", got)
		}
		p.Settings.Enabled = false
		p.Now = time.Now
		if got := exchange(t.Context(), p); len(got) != 0 {
			t.Errorf("at a site that works alone it finds %+v", got)
		}
	}
}
