package federation_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func goodGossip() federation.Gossip {
	return federation.Gossip{
		Version: federation.GossipVersion, SiteID: "site-b", SiteName: "Site B", Tier: federation.Secondary, SoftwareVersion: "0.1.0",
		SentAt: noon, IntervalSeconds: 15, AgentsTotal: 12, AgentsOnline: 10,
	}
}

// lateInZone is still the year 9999 where it was written, and 10000 in UTC, which JSON cannot hold.
var lateInZone = time.Date(9999, 12, 31, 23, 30, 0, 0, time.FixedZone("", -3600))

func TestGossipThatBreaksTheVocabularyIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*federation.Gossip)
		wrong  []string
	}{
		"a good one":                        {func(*federation.Gossip) {}, nil},
		"no software version":               {func(g *federation.Gossip) { g.SoftwareVersion = "" }, nil},
		"the longest name":                  {func(g *federation.Gossip) { g.SiteName = strings.Repeat("ü", federation.MaxSiteName) }, nil},
		"a hostile site id":                 {func(g *federation.Gossip) { g.SiteID = "site.>" }, []string{"site_id"}},
		"no site id":                        {func(g *federation.Gossip) { g.SiteID = "" }, []string{"site_id"}},
		"no name":                           {func(g *federation.Gossip) { g.SiteName = "" }, []string{"site_name"}},
		"a name that is too long":           {func(g *federation.Gossip) { g.SiteName = strings.Repeat("ü", federation.MaxSiteName+1) }, []string{"site_name"}},
		"a name that is not UTF-8":          {func(g *federation.Gossip) { g.SiteName = "\xff" }, []string{"site_name"}},
		"a NUL in the name":                 {func(g *federation.Gossip) { g.SiteName = "a\x00" }, []string{"site_name"}},
		"an unknown tier":                   {func(g *federation.Gossip) { g.Tier = "king" }, []string{"tier"}},
		"a software version that is long":   {func(g *federation.Gossip) { g.SoftwareVersion = strings.Repeat("1", 65) }, []string{"software_version"}},
		"no time":                           {func(g *federation.Gossip) { g.SentAt = time.Time{} }, []string{"sent_at"}},
		"a time that JSON cannot hold":      {func(g *federation.Gossip) { g.SentAt = lateInZone }, []string{"sent_at"}},
		"an interval of nothing":            {func(g *federation.Gossip) { g.IntervalSeconds = 0 }, []string{"interval_seconds"}},
		"an interval of more than a day":    {func(g *federation.Gossip) { g.IntervalSeconds = 86_401 }, []string{"interval_seconds"}},
		"more agents online than there are": {func(g *federation.Gossip) { g.AgentsOnline = 13 }, []string{"agents_total, agents_online"}},
		"agents below nothing":              {func(g *federation.Gossip) { g.AgentsTotal = -1 }, []string{"agents_total, agents_online"}},
		"changes since no time":             {func(g *federation.Gossip) { g.LinksSince = lateInZone }, []string{"links_since"}},
		"as many lacks as may be": {func(g *federation.Gossip) {
			g.Lacks = slices.Repeat([]federation.SiteID{"site-c"}, federation.MaxLacks)
		}, nil},
		"too many lacks": {func(g *federation.Gossip) {
			g.Lacks = slices.Repeat([]federation.SiteID{"site-c"}, federation.MaxLacks+1)
		}, []string{"lacks"}},
		"a hostile site that it lacks": {func(g *federation.Gossip) { g.Lacks = []federation.SiteID{"site-c", "*"} }, []string{"lacks[1]"}},
		"everything wrong at once": {func(g *federation.Gossip) { *g = federation.Gossip{Version: 1, AgentsOnline: 1} },
			[]string{"site_id", "site_name", "tier", "sent_at", "interval_seconds", "agents_total, agents_online"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := goodGossip()
			c.change(&g)
			expectFields(t, g.Validate(), c.wrong...)
		})
	}
}

func TestGossipOfAnotherVersionIsUnsupported(t *testing.T) {
	for _, version := range []int{0, 2, -1} {
		g := goodGossip()
		g.Version = version
		g.SiteID = "what else is wrong does not matter"
		if err := g.Validate(); !fault.Is(err, fault.Unsupported) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// readGossip is what a receiver makes of bytes.
func readGossip(data []byte) (federation.Gossip, error) {
	var g federation.Gossip
	if err := json.Unmarshal(data, &g); err != nil {
		return g, err
	}
	return g, g.Validate()
}

func FuzzGossip(f *testing.F) {
	good, err := json.Marshal(goodGossip())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for _, seed := range []string{
		``, `null`, `[]`, `{}`, `{"version":1}`, `{"version":2,"site_id":"site-b"}`, `{"version":1e9}`, `{"version":"1"}`,
		`{"version":1,"site_id":"site-b","site_name":"B","tier":"primary","sent_at":"9999-12-31T23:30:00-01:00","interval_seconds":15}`,
		`{"version":1,"site_id":"site-b","site_name":"\u0000","tier":"primary","sent_at":"2026-02-01T12:00:00Z","interval_seconds":15}`,
		`{"version":1,"site_id":"aurora.>","site_name":"B","tier":"primary","sent_at":"2026-02-01T12:00:00Z","interval_seconds":15}`,
		`{"VERSION":1,"SITE_ID":"site-b","agents_total":9223372036854775807,"agents_online":9223372036854775807}`,
		"{\"version\":1,\"site_name\":\"\xff\"}", strings.Repeat(`[`, 20_000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := readGossip(data)
		if err != nil {
			if wrong := (*fault.Error)(nil); errors.As(err, &wrong) && !wrong.Code.Permanent() {
				t.Fatalf("bad gossip would be tried again: %v", err)
			}
			return
		}
		// What is taken is stored and shown: it must survive both.
		wire, err := json.Marshal(g)
		if err != nil {
			t.Fatalf("gossip that was taken cannot be written: %v", err)
		}
		again, err := readGossip(wire)
		if err != nil {
			t.Fatalf("gossip that was taken is refused after a round trip: %v", err)
		}
		if diff := cmp.Diff(g, again); diff != "" {
			t.Fatalf("gossip changed on a round trip:\n%s", diff)
		}
		if _, err := g.SentAt.UTC().MarshalJSON(); err != nil {
			t.Fatalf("the time cannot be written in UTC: %v", err)
		}
	})
}

func TestAGossipContradictsWhatWasMeasured(t *testing.T) {
	link := func(peer federation.SiteID, s federation.LinkStatus, state federation.EchoOutcome) federation.Link {
		l := federation.NewLink("site-a", peer, time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC))
		l.Status, l.Probe.State = s, state
		return l
	}
	healthy := []federation.Link{link("site-b", federation.Healthy, federation.Answered), link("site-c", federation.Healthy, federation.Answered)}
	lost := []federation.Link{link("site-b", federation.Healthy, federation.Answered), link("site-c", federation.Down, federation.Disconnected)}
	for name, c := range map[string]struct {
		from  federation.SiteID
		view  federation.LinkView
		links []federation.Link
		want  bool
	}{
		"all agree": {"site-b", federation.LinkView{Peer: "site-c", Status: federation.Healthy}, healthy, false},
		"the hub has lost a site that seems well here": {"site-b", federation.LinkView{Peer: "site-c", Status: federation.Down}, healthy, true},
		"the hub has lost a site that is lost here":    {"site-b", federation.LinkView{Peer: "site-c", Status: federation.Down}, lost, false},
		"a site that seems cut is heard":               {"site-c", federation.LinkView{Peer: "site-b", Status: federation.Healthy}, lost, true},
		"the hub has lost a site that nobody knows":    {"site-b", federation.LinkView{Peer: "site-d", Status: federation.Down}, healthy, false},
	} {
		if got := (federation.Gossip{SiteID: c.from, Links: []federation.LinkView{c.view}}).Contradicts("site-a", c.links); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// A hub of many sites says the most that a gossip may; what is over the megabyte that NATS
// takes would not be said at all, and the hub be held for dead.
func TestTheLargestGossipFitsIntoAMessage(t *testing.T) {
	long := federation.SiteID(strings.Repeat("a", 63))
	ms, loss := 123456.789, 1.0/3
	at := noon.Add(123456789 * time.Nanosecond)
	view := federation.LinkView{Peer: long, Status: federation.LinkDegraded, Cause: federation.TransportDisconnected, At: at, Relayed: true, Latency: &federation.Latency{
		LastMs: &ms, MedianMs: &ms, P99Ms: &ms, JitterMs: &ms, ClockOffsetMs: &ms, Loss: loss, Echoes: 120, EverySeconds: 3600, MeasuredAt: at,
	}}
	g := goodGossip()
	g.SiteName, g.SharedAt, g.LinksSince = strings.Repeat("ü", federation.MaxSiteName), at, at
	g.Lacks = slices.Repeat([]federation.SiteID{long}, federation.MaxLacks)
	for range federation.MaxGossipLinks {
		g.Links = append(g.Links, view)
	}
	for range federation.MaxPassesFor {
		g.PassesFor = append(g.PassesFor, long)
	}
	data, err := json.Marshal(g)
	if err != nil || g.Validate() != nil {
		t.Fatal(err, g.Validate())
	}
	t.Logf("it has %d bytes", len(data))
	if most := 1<<20 - 4<<10; len(data) > most { // what is left is for the signature
		t.Errorf("it has %d bytes, and may have %d", len(data), most)
	}
}
