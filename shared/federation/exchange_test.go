package federation_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// star is a mesh of the hub site-a and the leaves site-b, whose view it is, and site-c, all of which say hub.
func star() federation.Mesh {
	plain := federation.Gate{MinSeverity: federation.High}
	return federation.Mesh{
		Own: federation.Identity{ID: "site-b", Tier: federation.Secondary, Exchange: federation.ExchangeHub},
		Sites: []federation.Site{
			{ID: "site-b", Tier: federation.Secondary, Exchange: federation.ExchangeHub, Status: federation.Online},
			{ID: "site-a", Tier: federation.Primary, Exchange: federation.ExchangeHub, Status: federation.Online, PassesFor: []federation.SiteID{"site-b", "site-c"}},
			{ID: "site-c", Tier: federation.Secondary, Exchange: federation.ExchangeHub, Status: federation.Online},
		},
		Gates: federation.Gates{Default: plain, Peers: map[federation.SiteID]federation.Gate{"site-a": plain, "site-c": plain}},
		At:    noon, Patience: 30 * time.Second,
	}
}

// goodbye is that of the hub, so long ago.
func goodbye(ago time.Duration) func(*federation.Mesh) {
	return func(m *federation.Mesh) {
		at := noon.Add(-ago)
		m.Sites[1].Status, m.Sites[1].Reason, m.Sites[1].LastHeartbeatAt = federation.Offline, federation.Leaving, &at
	}
}

func TestAPairIsRelayedWhereAllThreeSayHubAndNoGateIsInTheWay(t *testing.T) {
	t.Parallel()
	wide, narrow := federation.Gate{MinSeverity: federation.Low}, federation.Gate{MinSeverity: federation.High, Sources: []string{"edr"}}
	for name, c := range map[string]struct {
		change func(*federation.Mesh)
		want   bool
	}{
		"all say hub":                         {func(*federation.Mesh) {}, true},
		"this site does not":                  {func(m *federation.Mesh) { m.Own.Exchange = federation.ExchangeDirect }, false},
		"this site names no way":              {func(m *federation.Mesh) { m.Own.Exchange = "" }, false},
		"the hub does not":                    {func(m *federation.Mesh) { m.Sites[1].Exchange = federation.ExchangeDirect }, false},
		"the peer does not":                   {func(m *federation.Mesh) { m.Sites[2].Exchange = federation.ExchangeDirect }, false},
		"the peer knows another way":          {func(m *federation.Mesh) { m.Sites[2].Exchange = "ring" }, false},
		"the hub does not pass for this site": {func(m *federation.Mesh) { m.Sites[1].PassesFor = []federation.SiteID{"site-c"} }, false},
		"the hub does not pass for the peer":  {func(m *federation.Mesh) { m.Sites[1].PassesFor = []federation.SiteID{"site-b"} }, false},
		"the hub is late":                     {func(m *federation.Mesh) { m.Sites[1].Status = federation.SiteDegraded }, true},
		"the hub is away":                     {func(m *federation.Mesh) { m.Sites[1].Status = federation.Offline }, false},
		"the hub has just said goodbye":       {goodbye(29 * time.Second), true},
		"the hub said goodbye a while ago":    {goodbye(30 * time.Second), false},
		"the hub fell silent just now":        {func(m *federation.Mesh) { goodbye(time.Second)(m); m.Sites[1].Reason = "" }, false},
		"the peer is away":                    {func(m *federation.Mesh) { m.Sites[2].Status = federation.Offline }, true},
		"there is no hub":                     {func(m *federation.Mesh) { m.Sites[1].Tier = federation.Secondary }, false},
		"there are two hubs":                  {func(m *federation.Mesh) { m.Sites[2].Tier = federation.Primary }, false},
		"this site is a hub too":              {func(m *federation.Mesh) { m.Own.Tier = federation.Primary }, false},
		"the peer has a narrower gate":        {func(m *federation.Mesh) { m.Gates.Peers["site-c"] = narrow }, false},
		"the peer has a wider gate":           {func(m *federation.Mesh) { m.Gates.Peers["site-c"] = wide }, false},
		"the hub has a gate of its own":       {func(m *federation.Mesh) { m.Gates.Peers["site-a"] = wide }, false},
		"another peer has one":                {func(m *federation.Mesh) { m.Gates.Peers["site-d"] = narrow }, true},
		"the peer is not known":               {func(m *federation.Mesh) { m.Sites = m.Sites[:2] }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := star()
			c.change(&m)
			if got := m.Relayed("site-c"); got != c.want {
				t.Errorf("site-c is relayed: %v", got)
			}
			if m.Relayed("site-a") || m.Relayed("site-b") {
				t.Error("the hub, or the site itself, is relayed")
			}
		})
	}
}

func TestAHubPassesOnForThoseThatSaySo(t *testing.T) {
	t.Parallel()
	hub := func() federation.Mesh {
		m := star()
		m.Own = federation.Identity{ID: "site-a", Tier: federation.Primary, Exchange: federation.ExchangeHub}
		return m
	}
	for name, c := range map[string]struct {
		change func(*federation.Mesh)
		want   bool
	}{
		"both say hub":           {func(*federation.Mesh) {}, true},
		"the peer does not":      {func(m *federation.Mesh) { m.Sites[2].Exchange = federation.ExchangeDirect }, false},
		"the hub does not":       {func(m *federation.Mesh) { m.Own.Exchange = federation.ExchangeDirect }, false},
		"this site is no hub":    {func(m *federation.Mesh) { m.Own.Tier = federation.Secondary }, false},
		"there is another hub":   {func(m *federation.Mesh) { m.Sites[0].Tier = federation.Primary }, false},
		"the peer is not known":  {func(m *federation.Mesh) { m.Sites = m.Sites[:2] }, false},
		"the own row says other": {func(m *federation.Mesh) { m.Sites[1].Exchange = federation.ExchangeDirect }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := hub()
			c.change(&m)
			if got := m.Passes("site-c"); got != c.want {
				t.Errorf("passes for site-c: %v", got)
			}
			if m.Passes("site-a") {
				t.Error("it passes for itself")
			}
		})
	}
}

// A hub that is not told may pass on nothing: what a gate refuses must not be on a peer's wire.
func TestTheHubMayPassOnWhatEveryPeerMayHave(t *testing.T) {
	t.Parallel()
	m := star()
	high := federation.NewAlert{Title: "x", Severity: federation.High, Source: "edr", TLP: federation.TLPClear}.Alert("1", noon)
	low := federation.NewAlert{Title: "x", Severity: federation.Low, Source: "edr", TLP: federation.TLPClear}.Alert("1", noon)
	if r := m.Gates.Relay(high); !r.Admits("site-a", "site-c") || r.Except != nil {
		t.Errorf("with the same gate for all: %+v", r)
	}
	m.Gates.Peers["site-d"] = federation.Gate{MinSeverity: federation.Low}
	m.Gates.Peers["site-0"] = federation.Gate{MinSeverity: federation.Critical}
	r := m.Gates.Relay(high)
	if diff := cmp.Diff(&federation.Relay{Except: []federation.SiteID{"site-0", "site-d"}}, r); diff != "" {
		t.Errorf("peers with a gate of their own (-want +got):\n%s", diff)
	}
	if !r.Admits("site-a", "site-c") || r.Admits("site-a", "site-d") {
		t.Errorf("it is passed to %v", r)
	}
	if got := m.Gates.Relay(low); got != nil || got.Admits("site-a", "site-c") {
		t.Errorf("what the gate of every peer refuses is passed on: %+v", got)
	}
	m.Gates.Peers["site-a"] = federation.Gate{MinSeverity: federation.Info}
	if r := m.Gates.Relay(high); r.Admits("site-a", "site-c") {
		t.Errorf("what the hub has by a gate of its own is passed on: %+v", r)
	}
}
