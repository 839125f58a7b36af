package meshmap

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// Colours stand as attributes, so that the picture is whole without a style sheet.
// A page's style sheet goes before them by the classes.
var colours = map[federation.LinkStatus]string{
	federation.Healthy: "#1a7f4b", federation.LinkDegraded: "#8a5a00", federation.Down: "#c0243a", Unknown: "#5f6f78",
}

// dashes tell the statuses apart without colour.
var dashes = map[federation.LinkStatus]string{federation.LinkDegraded: "10 6", federation.Down: "2 7", Unknown: "1 5"}

// widths make the worse the wider.
var widths = map[federation.LinkStatus]float64{federation.Healthy: 2, federation.LinkDegraded: 3.5, federation.Down: 4.5, Unknown: 2}

// glyphs are shapes of their own for each status of a site.
var glyphs = map[federation.SiteStatus]string{federation.Online: "●", federation.SiteDegraded: "▲", federation.Offline: "✕"}

// SVG draws the map. Sites and links lead to /sites/{id} and /links/{id}.
func (m Map) SVG() string {
	var b strings.Builder
	class := "mesh"
	if m.Dense {
		class += " dense"
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="%s" viewBox="0 0 %s %s" role="group" aria-label="Map of the mesh: %s, %s" font-family="system-ui, sans-serif" font-size="14">`,
		class, number(m.Width), number(m.Height), count(len(m.Nodes), "site"), count(len(m.Edges), "link"))
	bad := slices.IndexFunc(m.Edges, func(e Edge) bool { return e.Status() != federation.Healthy })
	if bad < 0 {
		bad = len(m.Edges)
	}
	for _, e := range m.Edges[:bad] {
		m.edge(&b, e)
	}
	for _, n := range m.Nodes {
		if m.Dense {
			drawDot(&b, n)
		} else {
			drawCard(&b, n)
		}
	}
	for _, e := range m.Edges[bad:] { // what is wrong with these is never hidden
		m.edge(&b, e)
	}
	b.WriteString("</svg>")
	return b.String()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func number(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

// edge draws both directions of a link, side by side.
func (m Map) edge(b *strings.Builder, e Edge) {
	status := e.Status()
	// What it is called has in it what is written on it, for those who speak to the page.
	lines := m.lines(e, status)
	about := fmt.Sprintf("Link %s to %s, %s: %s", e.From, e.To, status, strings.Join(lines, " "))
	if m.Dense {
		about += fmt.Sprintf("; from %s %s, from %s %s", e.From, e.Out.Figures(), e.To, e.Back.Figures())
	}
	fmt.Fprintf(b, `<a href="/links/%s" class="edge %s" data-link="%s" data-peer="%s" aria-label="%s"><title>%s</title>`,
		html.EscapeString(e.ID), status, html.EscapeString(e.ID), html.EscapeString(string(e.To)), html.EscapeString(about), html.EscapeString(about))
	length := math.Max(math.Hypot(e.X2-e.X1, e.Y2-e.Y1), 1)
	apart := 3.5
	if m.Dense {
		apart = 1.5
	}
	dx, dy := -(e.Y2-e.Y1)/length*apart, (e.X2-e.X1)/length*apart
	fmt.Fprintf(b, `<path class="hit" d="M%s %sL%s %s" stroke="#000" stroke-opacity="0" stroke-width="18"/>`, number(e.X1), number(e.Y1), number(e.X2), number(e.Y2))
	drawHalf(b, e.Out, e.X1+dx, e.Y1+dy, e.X2+dx, e.Y2+dy)
	drawHalf(b, e.Back, e.X2-dx, e.Y2-dy, e.X1-dx, e.Y1-dy)
	// Along this an alert is seen to cross, towards the site that shows the map.
	fmt.Fprintf(b, `<path class="flow" d="M%s %sL%s %s" stroke="#7b3fc4" stroke-width="6" stroke-dasharray="14 400" stroke-linecap="round" fill="none" opacity="0"/>`, number(e.X2), number(e.Y2), number(e.X1), number(e.Y1))
	m.label(b, e, status, lines)
	b.WriteString("</a>")
}

func drawHalf(b *strings.Builder, h Half, x1, y1, x2, y2 float64) {
	dash := ""
	if d := dashes[h.Status]; d != "" {
		dash = ` stroke-dasharray="` + d + `"`
	}
	fmt.Fprintf(b, `<path class="half %s" d="M%s %sL%s %s" stroke="%s" stroke-width="%s"%s fill="none"/>`,
		h.Status, number(x1), number(y1), number(x2), number(y2), colours[h.Status], number(widths[h.Status]), dash)
}

// lines are what is written on a link.
func (m Map) lines(e Edge, status federation.LinkStatus) []string {
	var lines []string
	switch {
	case status == federation.Healthy:
	case m.Dense:
		lines = append(lines, Why(e.Cause()))
	case len(m.Nodes) > 3: // the line and its colour say the status, and there is little room
		lines = append(lines, Why(e.Cause()))
	default:
		lines = append(lines, strings.ToUpper(string(status)[:1])+string(status)[1:]+": "+Why(e.Cause()))
	}
	if !m.Dense {
		lines = append(lines, "→ "+e.Out.Figures(), "← "+e.Back.Figures())
	}
	return lines
}

// What text of a label takes, in units of the picture.
const (
	textLine = 17
	plain    = 6.9 // a character
	bold     = 7.7
)

// label writes them at the place of the edge's text.
func (m Map) label(b *strings.Builder, e Edge, status federation.LinkStatus, lines []string) {
	if len(lines) == 0 {
		return
	}
	longest := 0
	for _, l := range lines {
		longest = max(longest, len([]rune(l)))
	}
	glyph := plain
	if status != federation.Healthy {
		glyph = bold
	}
	w, h := float64(longest)*glyph+16, float64(len(lines)*textLine)+8
	x, y := e.point(e.At)
	fmt.Fprintf(b, `<rect class="plate" x="%s" y="%s" width="%s" height="%s" rx="6" fill="#fff" stroke="%s"/>`,
		number(x-w/2), number(y-h/2), number(w), number(h), colours[status])
	for i, l := range lines {
		weight := ""
		if i == 0 && status != federation.Healthy {
			weight = ` font-weight="600"`
		}
		fmt.Fprintf(b, `<text class="figures" x="%s" y="%s" text-anchor="middle" font-size="13" fill="#16232a"%s>%s</text>`,
			number(x), number(y-h/2+16+float64(i*textLine)), weight, html.EscapeString(l))
	}
}

// openNode begins a site. What it is called is what is written on it, or about where
// that is too short.
func openNode(b *strings.Builder, n Node, about string) {
	class := "node " + string(n.Status)
	if n.Local {
		class += " local"
	}
	fmt.Fprintf(b, `<a href="/sites/%s" class="%s"`, html.EscapeString(string(n.ID)), class)
	if about != "" {
		fmt.Fprintf(b, ` aria-label="%s"><title>%[1]s</title>`, html.EscapeString(about))
		return
	}
	b.WriteString(">")
}

func siteColour(s federation.SiteStatus) string {
	return map[federation.SiteStatus]string{
		federation.Online: colours[federation.Healthy], federation.SiteDegraded: colours[federation.LinkDegraded], federation.Offline: colours[federation.Down],
	}[s]
}

// drawCard draws a site with all that is known of it at a glance.
func drawCard(b *strings.Builder, n Node) {
	place, status := string(n.Tier), glyphs[n.Status]+" "+string(n.Status)
	if n.Local {
		place += " · this site"
	}
	if n.Reason != "" {
		status += ", " + string(n.Reason)
	}
	name, agents := short(n.Name, 19), fmt.Sprintf("%d/%d agents", n.AgentsOnline, n.AgentsTotal)
	openNode(b, n, "")
	x, y := n.X-cardWidth/2, n.Y-cardHeight/2
	fmt.Fprintf(b, `<rect class="card" x="%s" y="%s" width="%d" height="%d" rx="10" fill="#fff" stroke="%s" stroke-width="2"/>`, number(x), number(y), cardWidth, cardHeight, siteColour(n.Status))
	if n.Tier == federation.Primary { // a second line around it
		fmt.Fprintf(b, `<rect class="card ring" x="%s" y="%s" width="%d" height="%d" rx="7" fill="none" stroke="%s"/>`, number(x+4), number(y+4), cardWidth-8, cardHeight-8, siteColour(n.Status))
	}
	for _, t := range []struct {
		class      string
		dx, dy     float64
		more, text string
	}{
		{"name", 14, 24, `font-weight="600" font-size="15" fill="#16232a"`, name},
		{"soft", 14, 41, `font-size="12" fill="#4a5b65"`, place},
		{"status", 14, 61, `font-size="13" fill="` + siteColour(n.Status) + `"`, status},
		{"soft", 14, 79, `font-size="12" fill="#4a5b65"`, agents},
	} {
		fmt.Fprintf(b, `<text class="%s" x="%s" y="%s" %s>%s </text>`, t.class, number(x+t.dx), number(y+t.dy), t.more, html.EscapeString(t.text))
	}
	b.WriteString("</a>")
}

// drawDot draws a site where there is no room for a card.
func drawDot(b *strings.Builder, n Node) {
	id := short(string(n.ID), 14)
	openNode(b, n, fmt.Sprintf("%s %s: %s, %s, %s, %d of %d agents online", glyphs[n.Status], id, n.Name, n.Tier, n.Status, n.AgentsOnline, n.AgentsTotal))
	r := radius(n)
	fmt.Fprintf(b, `<circle class="card" cx="%s" cy="%s" r="%s" fill="#fff" stroke="%s" stroke-width="2"/>`, number(n.X), number(n.Y), number(r), siteColour(n.Status))
	if n.Tier == federation.Primary {
		fmt.Fprintf(b, `<circle class="card ring" cx="%s" cy="%s" r="%s" fill="none" stroke="%s"/>`, number(n.X), number(n.Y), number(r+4), siteColour(n.Status))
	}
	fmt.Fprintf(b, `<text class="status" x="%s" y="%s" font-size="10" text-anchor="middle" fill="%s">%s</text>`, number(n.X), number(n.Y+3.5), siteColour(n.Status), glyphs[n.Status]+" ")
	fmt.Fprintf(b, `<text class="name halo" x="%s" y="%s" font-size="11" text-anchor="middle" fill="#16232a">%s</text></a>`, number(n.X), number(n.Y+r+13), html.EscapeString(id))
}

// short is text of at most n characters.
func short(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
