package meshmap_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/meshmap"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// mesh is n sites as site-000, the primary, sees them.
func mesh(n int) federation.Topology {
	t := federation.Topology{SiteID: "site-000", GeneratedAt: noon}
	median := 12.3
	for i := range n {
		id := federation.SiteID(fmt.Sprintf("site-%03d", i))
		s := federation.Site{ID: id, Name: fmt.Sprintf("Site <%d>", i), Tier: federation.Secondary, Status: federation.Online, AgentsTotal: 10, AgentsOnline: 9}
		if i == 0 {
			s.Tier, s.Local = federation.Primary, true
		} else {
			l := federation.NewLink("site-000", id, noon)
			l.Latency = &federation.Latency{MedianMs: &median, Echoes: 120}
			l.PeerView = &federation.LinkView{Peer: "site-000", Status: federation.Healthy, Latency: l.Latency, At: noon}
			t.Links = append(t.Links, l)
		}
		t.Sites = append(t.Sites, s)
	}
	return t
}

// wellFormed fails the test where a picture is no XML.
func wellFormed(t *testing.T, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
	}
}

func TestAMeshOfTwoAlsoStandsUpright(t *testing.T) {
	m, ok := meshmap.Upright(mesh(2))
	if !ok || m.Height <= m.Width || len(m.Edges) != 1 || m.Edges[0].X1 != m.Edges[0].X2 || m.Nodes[1].Y-m.Nodes[0].Y < 200 {
		t.Errorf("%v, %+v", ok, m)
	}
	wellFormed(t, m.SVG())
	if _, ok := meshmap.Upright(mesh(3)); ok {
		t.Error("so does one of three")
	}
}

func TestEverySiteAndLinkIsDrawnApartFromTheOthers(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 5, 10, 13, 14, 30, 100} {
		t.Run(fmt.Sprint(n, " sites"), func(t *testing.T) {
			m := meshmap.New(mesh(n))
			if len(m.Nodes) != n || len(m.Edges) != max(n-1, 0) {
				t.Fatalf("%d nodes and %d edges", len(m.Nodes), len(m.Edges))
			}
			wellFormed(t, m.SVG())
			for i, a := range m.Nodes {
				if a.X < 0 || a.Y < 0 || a.X > m.Width || a.Y > m.Height {
					t.Errorf("%s is outside, at %v, %v", a.ID, a.X, a.Y)
				}
				for _, b := range m.Nodes[i+1:] {
					dx, dy := math.Abs(a.X-b.X), math.Abs(a.Y-b.Y)
					if m.Dense && math.Hypot(dx, dy) < 22 || !m.Dense && dx < 176 && dy < 94 {
						t.Errorf("%s and %s stand on each other", a.ID, b.ID)
					}
				}
			}
		})
	}
}

func TestThePrimaryIsInTheMiddle(t *testing.T) {
	m := meshmap.New(mesh(7))
	if n := m.Nodes[0]; n.ID != "site-000" || n.X != m.Width/2 || n.Y != m.Height/2 {
		t.Errorf("in the middle is %s at %v, %v of %v × %v", n.ID, n.X, n.Y, m.Width, m.Height)
	}
}

func TestNothingMovesWhenAStatusChanges(t *testing.T) {
	before := mesh(9)
	after := mesh(9)
	after.Links[3].Status, after.Links[3].Cause = federation.Down, federation.TransportDisconnected
	after.Sites[4].Status = federation.Offline
	after.Sites[2], after.Sites[5] = after.Sites[5], after.Sites[2] // nor when they are told in another order
	places := func(m meshmap.Map) map[federation.SiteID][2]float64 {
		all := map[federation.SiteID][2]float64{}
		for _, n := range m.Nodes {
			all[n.ID] = [2]float64{n.X, n.Y}
		}
		return all
	}
	if diff := cmp.Diff(places(meshmap.New(before)), places(meshmap.New(after))); diff != "" {
		t.Error(diff)
	}
}

func TestALinkThatIsDownSaysWhyAndNothingOldIsGreen(t *testing.T) {
	top := mesh(2)
	top.Links[0].Status, top.Links[0].Cause = federation.Down, federation.TransportDisconnected
	m := meshmap.New(top)
	e := m.Edges[0]
	if e.Status() != federation.Down || e.Back.Status != meshmap.Unknown {
		t.Errorf("the link is %s, and from the peer %s", e.Status(), e.Back.Status)
	}
	svg := m.SVG()
	if strings.Index(svg, "edge down") < strings.LastIndex(svg, `class="node`) {
		t.Error("a site is drawn over the link that is down")
	}
	if !strings.Contains(svg, "Down: the line is cut") || strings.Contains(svg, "half healthy") {
		t.Errorf("the picture is %s", svg)
	}
}

func TestTheWorseHalfIsThatOfTheLink(t *testing.T) {
	top := mesh(2)
	top.Links[0].PeerView.Status, top.Links[0].PeerView.Cause = federation.LinkDegraded, federation.EchoLost
	e := meshmap.New(top).Edges[0]
	if e.Status() != federation.LinkDegraded || e.Cause() != federation.EchoLost || e.Out.Status != federation.Healthy {
		t.Errorf("%+v", e)
	}
}

func TestTheMatrixJoinsWhatEachSiteMeasured(t *testing.T) {
	own := mesh(3)
	own.Links[1].PeerView = nil // site-002 has gossiped nothing
	other := federation.Topology{SiteID: "site-001", Links: []federation.Link{{ID: "link-site-001-site-002", SiteA: "site-001", SiteB: "site-002", Status: federation.LinkDegraded}}}
	m := meshmap.NewMatrix(own, other)
	var got [][]federation.LinkStatus
	for _, row := range m.Rows {
		var line []federation.LinkStatus
		for _, c := range row {
			line = append(line, c.Status)
		}
		got = append(got, line)
	}
	const u, h, d = meshmap.Unknown, federation.Healthy, federation.LinkDegraded
	if diff := cmp.Diff([][]federation.LinkStatus{{u, h, h}, {h, u, d}, {u, u, u}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestFiguresAreNeverRoundedToTheBetter(t *testing.T) {
	for share, want := range map[float64]string{0: "0 %", 0.0004: "< 0.1 %", 0.05: "5.0 %", 0.5: "50 %", 0.9999: "> 99.9 %", 1: "100 %", 0.995: "99.5 %"} {
		if got := meshmap.Percent(share); got != want {
			t.Errorf("%v is %s, want %s", share, got, want)
		}
	}
	for ms, want := range map[float64]string{0.04: "0.0 ms", 9.94: "9.9 ms", 41.2: "41 ms", 1500: "1.5 s"} {
		if got := meshmap.Milliseconds(&ms); got != want {
			t.Errorf("%v is %s, want %s", ms, got, want)
		}
	}
	for c := range federation.Causes() {
		if cause := federation.Causes()[c]; meshmap.Why(cause) == string(cause) {
			t.Errorf("the cause %s has no words", cause)
		}
	}
}

func TestAChartHasAGapWhereNothingWasMeasured(t *testing.T) {
	v := 3.0
	point := func(minute int) federation.LatencyPoint {
		return federation.LatencyPoint{At: noon.Add(time.Duration(minute) * time.Minute), MedianMs: &v, MaxMs: &v, Echoes: 60}
	}
	h := federation.LatencyHistory{From: noon, To: noon.Add(time.Hour), StepMinutes: 1, Points: []federation.LatencyPoint{point(1), point(2), point(30)}}
	svg := meshmap.Chart(h)
	wellFormed(t, svg)
	_, line, _ := strings.Cut(svg, `class="median" d="`)
	line, _, _ = strings.Cut(line, `"`)
	if strings.Count(line, "M") != 2 || strings.Count(line, "L") != 1 {
		t.Errorf("the line is %s", line)
	}
	wellFormed(t, meshmap.Chart(federation.LatencyHistory{From: noon, To: noon}))
}

func TestTheBarShowsEachStatusForAsLongAsItWas(t *testing.T) {
	ts := []federation.Transition{{From: "healthy", To: "down", At: noon.Add(30 * time.Minute)}, {From: "down", To: "healthy", At: noon.Add(45 * time.Minute)}}
	svg := meshmap.Bar(federation.NewHistory("l", noon, noon.Add(time.Hour), federation.Healthy, ts), federation.Healthy)
	wellFormed(t, svg)
	for _, want := range []string{`class="healthy" x="0" y="10" width="300"`, `class="down" x="300" y="0" width="150"`, `class="healthy" x="450" y="10" width="150"`, "75 % of the time"} {
		if !strings.Contains(svg, want) {
			t.Errorf("the bar lacks %s: %s", want, svg)
		}
	}
}

// BenchmarkMap lays 100 sites out and draws them.
func BenchmarkMap(b *testing.B) {
	top := mesh(100)
	for b.Loop() {
		_ = meshmap.New(top).SVG()
	}
}

func TestAPartOfAMeshIsTheWorstOfIt(t *testing.T) {
	whole := mesh(50)
	whole.SiteID = "site-040" // which is not among the first by id
	for i := range whole.Links {
		peer := whole.Links[i].Peer("site-000")
		whole.Links[i] = federation.NewLink("site-040", peer, noon)
	}
	whole.Links = slices.DeleteFunc(whole.Links, func(l federation.Link) bool { return l.SiteA == l.SiteB })
	for i, l := range whole.Links {
		switch l.Peer("site-040") {
		case "site-030":
			whole.Links[i].Status = federation.LinkDegraded
		case "site-020":
			whole.Links[i].Status = federation.Down
		case "site-049": // as the peer alone says
			whole.Links[i].PeerView = &federation.LinkView{Peer: "site-040", Status: federation.Down}
		}
	}
	before := slices.Clone(whole.Sites)
	part := meshmap.Part(whole, 6)
	var shown []string
	for _, s := range part.Sites {
		shown = append(shown, string(s.ID))
	}
	if want := []string{"site-040", "site-020", "site-049", "site-030", "site-000", "site-001"}; !slices.Equal(shown, want) {
		t.Errorf("it shows %v, want %v", shown, want)
	}
	for _, l := range part.Links {
		if !slices.Contains(shown, string(l.Peer("site-040"))) {
			t.Errorf("it shows %s without its site", l.ID)
		}
	}
	if diff := cmp.Diff(before, whole.Sites); diff != "" {
		t.Errorf("the whole is another now: %s", diff)
	}
	if diff := cmp.Diff(whole, meshmap.Part(whole, 50)); diff != "" {
		t.Errorf("where all have room: %s", diff)
	}
}
