// Package meshmap lays the mesh out as a picture and draws it as SVG, and as a
// matrix of latencies. It is pure: a topology goes in, a [Map] and its text come
// out, so the console, a report and a test all see the same. Where a site stands
// depends on which sites there are alone, so a map that is drawn again moves nothing.
//
// A link is drawn in both directions, for each site measures its own. What cannot be
// known is drawn as unknown: what a peer said of a link last is no news once the link
// is down.
package meshmap

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// Unknown is the status of a direction of which nothing is known.
const Unknown federation.LinkStatus = "unknown"

// sparse is up to how many sites are drawn as cards with the primary in the middle.
// With more they are dots on rings around the site that answers, for its links are
// the ones that are drawn.
const sparse = 13

// Map is a topology with a place for everything.
type Map struct {
	Width, Height float64
	// Dense says that the sites are dots, and that a healthy link has no text.
	Dense bool
	Nodes []Node
	Edges []Edge
}

// Node is a site and the middle of its place.
type Node struct {
	federation.Site
	X, Y float64
}

// Edge is a link, from the local site to the peer.
type Edge struct {
	ID             string
	From, To       federation.SiteID
	X1, Y1, X2, Y2 float64
	// At is where between its ends what is written on it stands, from 0 to 1.
	At float64
	// Out is what the local site measured, Back what the peer says.
	Out, Back Half
}

// Half is one direction of a link, as the site that sends its echoes sees it.
type Half struct {
	Status  federation.LinkStatus
	Cause   federation.Cause
	Latency *federation.Latency
}

// Status is the worse of both directions. One that is unknown is no better than the other.
func (e Edge) Status() federation.LinkStatus {
	switch {
	case e.Back.Status == Unknown:
		return e.Out.Status
	case e.Out.Status == Unknown:
		return e.Back.Status
	}
	return e.Out.Status.Worse(e.Back.Status)
}

// Cause is why the link is not healthy, as its own half says or else the other.
func (e Edge) Cause() federation.Cause { return cmp.Or(e.Out.Cause, e.Back.Cause) }

// Halves are the two directions of a link: what is measured here, and what the peer says.
func Halves(l federation.Link) (out, back Half) {
	out = Half{l.Status, l.Cause, l.Latency}
	back = Half{Status: Unknown}
	if v := l.PeerView; v != nil && (l.Status != federation.Down || v.Status != federation.Healthy) {
		back = Half{v.Status, v.Cause, v.Latency}
	}
	return out, back
}

// New lays a topology out for a screen that is wider than high.
func New(t federation.Topology) Map { return lay(t, false) }

// Upright lays one of two sites out for a screen that is higher than wide. Of more
// there is no such picture: ok is false.
func Upright(t federation.Topology) (m Map, ok bool) {
	if len(t.Sites) != 2 {
		return Map{}, false
	}
	return lay(t, true), true
}

func lay(t federation.Topology, upright bool) Map {
	m := Map{Dense: len(t.Sites) > sparse}
	sites := slices.Clone(t.Sites)
	slices.SortFunc(sites, func(a, b federation.Site) int { return cmp.Compare(a.ID, b.ID) })
	middle := slices.IndexFunc(sites, func(s federation.Site) bool { return s.Tier == federation.Primary })
	if m.Dense || middle < 0 {
		middle = max(slices.IndexFunc(sites, func(s federation.Site) bool { return s.ID == t.SiteID }), 0)
	}
	if len(sites) > 0 { // the one in the middle goes first
		first := sites[middle]
		sites = slices.Insert(slices.Delete(sites, middle, middle+1), 0, first)
	}
	m.place(sites, upright)
	at := make(map[federation.SiteID]Node, len(m.Nodes))
	for _, n := range m.Nodes {
		at[n.ID] = n
	}
	for _, l := range t.Links {
		from, known := at[t.SiteID]
		to, also := at[l.Peer(t.SiteID)]
		if !known || !also {
			continue
		}
		e := Edge{ID: l.ID, From: from.ID, To: to.ID}
		e.X1, e.Y1 = m.border(from, to)
		e.X2, e.Y2 = m.border(to, from)
		e.Out, e.Back = Halves(l)
		m.Edges = append(m.Edges, e)
	}
	m.placeLabels()
	// What is worse is drawn over what is not.
	slices.SortStableFunc(m.Edges, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(badness(a.Status()), badness(b.Status())), cmp.Compare(a.ID, b.ID))
	})
	return m
}

// border is where the line from a site to another leaves its place.
func (m Map) border(from, to Node) (x, y float64) {
	dx, dy := to.X-from.X, to.Y-from.Y
	length := math.Max(math.Hypot(dx, dy), 1)
	share := (radius(from) + 5) / length
	if !m.Dense {
		share = math.Min((cardWidth/2+2)/math.Max(math.Abs(dx), 0.01), (cardHeight/2+2)/math.Max(math.Abs(dy), 0.01))
	}
	share = math.Min(share, 0.5)
	return from.X + dx*share, from.Y + dy*share
}

// radius is that of a site which is a dot.
func radius(n Node) float64 {
	if n.Local {
		return 26
	}
	return dot
}

func badness(s federation.LinkStatus) int {
	return slices.Index([]federation.LinkStatus{federation.Healthy, Unknown, federation.LinkDegraded, federation.Down}, s)
}

// The measures of the picture.
const (
	cardWidth, cardHeight = 176, 94
	dot                   = 9
	margin                = 16
)

// place gives each site its place; the first is in the middle.
func (m *Map) place(sites []federation.Site, upright bool) {
	others := max(len(sites)-1, 0)
	put := func(i int, x, y float64) { m.Nodes = append(m.Nodes, Node{sites[i], math.Round(x), math.Round(y)}) }
	switch {
	case len(sites) == 0:
		m.Width, m.Height = 480, 160
	case others == 0:
		m.Width, m.Height = 480, 160
		put(0, 240, 80)
	case upright:
		m.Width, m.Height = 320, 380
		put(0, m.Width/2, margin+cardHeight/2)
		put(1, m.Width/2, m.Height-margin-cardHeight/2)
	case others == 1: // side by side, for a middle with one neighbour leaves half of the picture empty
		m.Width, m.Height = 720, 190
		put(0, margin+cardWidth/2, 95)
		put(1, m.Width-margin-cardWidth/2, 95)
	case !m.Dense:
		// An ellipse that is wide enough for its cards not to touch.
		rx := math.Max(420, float64(others)*56)
		ry := math.Max(260, float64(others)*44)
		if others == 2 {
			ry = 20
		}
		m.Width, m.Height = 2*(rx+cardWidth/2+margin), 2*(ry+cardHeight/2+margin)+28
		put(0, m.Width/2, m.Height/2)
		for i := range others {
			angle := math.Pi + 2*math.Pi*float64(i)/float64(others)
			put(i+1, m.Width/2+rx*math.Cos(angle), m.Height/2+ry*math.Sin(angle))
		}
	default:
		// Each site has an angle of its own, and neighbours stand on different rings: no
		// line runs through a site, and no name over another.
		rings := 2 + others/30
		inner, step := math.Max(150, float64(others)*2.6), 72.0
		outer := inner + step*float64(rings-1)
		m.Width, m.Height = 2*(outer+70), 2*(outer+44)
		put(0, m.Width/2, m.Height/2)
		for i := range others {
			angle := -math.Pi/2 + 2*math.Pi*float64(i)/float64(others)
			r := inner + step*float64(i%rings)
			put(i+1, m.Width/2+r*math.Cos(angle), m.Height/2+r*math.Sin(angle))
		}
	}
}

// The most room that what is written on a link takes.
const labelWidth, labelHeight = 23*bold + 16, 3*textLine + 8

// placeLabels finds a place on each link that no site and no other label has. It goes
// by the largest label that there may be, so that none moves when a link changes.
func (m *Map) placeLabels() {
	slices.SortFunc(m.Edges, func(a, b Edge) int { return cmp.Compare(a.ID, b.ID) })
	var taken [][2]float64
	free := func(x, y float64) bool {
		for _, t := range taken {
			if math.Abs(x-t[0]) < labelWidth+4 && math.Abs(y-t[1]) < labelHeight+4 {
				return false
			}
		}
		for _, n := range m.Nodes {
			if math.Abs(x-n.X) < (labelWidth+cardWidth)/2 && math.Abs(y-n.Y) < (labelHeight+cardHeight)/2 {
				return false
			}
		}
		return true
	}
	for i := range m.Edges {
		e := &m.Edges[i]
		e.At = 0.5
		if m.Dense { // where the lines are further apart
			e.At = 0.72
			continue
		}
		for _, off := range []float64{0, 0.06, -0.06, 0.12, -0.12, 0.18, -0.18, 0.24, -0.24, 0.3, -0.3} {
			if x, y := e.point(0.5 + off); free(x, y) {
				e.At = 0.5 + off
				break
			}
		}
		x, y := e.point(e.At)
		taken = append(taken, [2]float64{x, y})
	}
}

// point is the place at a share of the way from one end to the other.
func (e Edge) point(at float64) (x, y float64) { return e.X1 + (e.X2-e.X1)*at, e.Y1 + (e.Y2-e.Y1)*at }

// Why says a cause in words.
func Why(c federation.Cause) string {
	switch c {
	case "":
		return ""
	case federation.PeerLeaving:
		return "the peer was stopped"
	case federation.AuthRefused:
		return "the peer was refused"
	case federation.TransportDisconnected:
		return "the line is cut"
	case federation.EchoLost:
		return "echoes are lost"
	case federation.HeartbeatLate:
		return "no heartbeat"
	case federation.DeliveryStalled:
		return "a delivery stands still"
	case federation.ClockSkew:
		return "the clocks differ"
	}
	return string(c)
}

// Milliseconds is a latency as people read it.
func Milliseconds(ms *float64) string {
	if ms == nil {
		return "–"
	}
	switch v := *ms; {
	case v < 10:
		return strconv.FormatFloat(v, 'f', 1, 64) + " ms"
	case v < 1000:
		return strconv.FormatFloat(v, 'f', 0, 64) + " ms"
	default:
		return strconv.FormatFloat(v/1000, 'f', 1, 64) + " s"
	}
}

// Percent is a share as people read it. One that is not nothing is never shown as nothing,
// and one that is not all never as all.
func Percent(share float64) string {
	switch p := share * 100; {
	case share > 0 && p < 0.1:
		return "< 0.1 %"
	case share < 1 && p > 99.9:
		return "> 99.9 %"
	case p < 10 && p > 0 || p > 99 && p < 100:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	default:
		return strconv.FormatFloat(p, 'f', 0, 64) + " %"
	}
}

// Figures is the latency and the loss of a direction in words.
func (h Half) Figures() string {
	if h.Latency == nil {
		return "not measured"
	}
	return Milliseconds(h.Latency.MedianMs) + " · " + Percent(h.Latency.Loss) + " lost"
}
