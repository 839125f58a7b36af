package console

import (
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/meshmap"
)

type linkPage struct {
	Spans                   []choice
	Status                  federation.LinkStatus
	Why                     string
	Ways                    []way
	History                 federation.History
	Bar, Chart              template.HTML
	NoChart                 string
	Healthy, Degraded, Down string
	Deliveries              []federation.Delivery
	Failed                  string
}

// way is one direction of a link.
type way struct {
	From federation.SiteID
	meshmap.Half
}

// spans are the times that the page of a link looks back.
var spans = []struct {
	hours int
	name  string
}{{1, "Hour"}, {24, "Day"}, {7 * 24, "Week"}, {30 * 24, "Month"}}

func (k *Console) showLink(w http.ResponseWriter, r *http.Request) {
	title := "Link"
	hours := ask.DefaultHistoryHours
	if h := r.URL.Query().Get("hours"); h != "" {
		n, err := strconv.Atoi(h)
		if err != nil {
			n = -1 // which is refused with what is allowed
		}
		hours = n
	}
	of := ask.HistoryOf{LinkID: r.PathValue("id"), Hours: hours}
	if err := of.Validate(); err != nil {
		k.fail(w, r, "link", title, err)
		return
	}
	t, err := put(r.Context(), k, ask.Topology, ask.None{})
	if err != nil {
		k.fail(w, r, "link", title, err)
		return
	}
	l, found := federation.FindLink(t.Links, of.LinkID)
	if !found {
		k.fail(w, r, "link", title, fault.New(fault.NotFound, "there is no link %q at this site: it sees its own, not those between its peers", of.LinkID))
		return
	}
	own, peer := t.SiteID, l.Peer(t.SiteID)
	title = fmt.Sprintf("%s ⇄ %s", own, peer)
	p := linkPage{Status: l.Status, Why: meshmap.Why(l.Cause)}
	for _, s := range spans {
		p.Spans = append(p.Spans, choice{strconv.Itoa(s.hours), s.name, s.hours == hours})
	}
	out, back := meshmap.Halves(l)
	p.Ways = []way{{own, out}, {peer, back}}
	if p.History, err = put(r.Context(), k, ask.LinkHistory, ask.HistoryOf{LinkID: l.ID, Hours: hours}); err != nil {
		k.fail(w, r, "link", title, err)
		return
	}
	p.Bar = template.HTML(meshmap.Bar(p.History, l.Status)) //nolint:gosec // it writes numbers and statuses alone
	p.Healthy, p.Degraded, p.Down = seconds(p.History.HealthySeconds), seconds(p.History.DegradedSeconds), seconds(p.History.DownSeconds)
	if d, err := put(r.Context(), k, ask.Deliveries, ask.None{}); err != nil {
		p.Failed = k.said(r, err)
	} else {
		for _, way := range d.Deliveries {
			if way.Peer == peer {
				p.Deliveries = append(p.Deliveries, way)
			}
		}
	}
	k.chart(r, &p, l.ID, hours)
	k.show(w, r, http.StatusOK, "link", k.view(r, "link", title, p))
}

// chart draws the latency of a link over the time.
func (k *Console) chart(r *http.Request, p *linkPage, link string, hours int) {
	l, err := put(r.Context(), k, ask.LinkLatency, ask.HistoryOf{LinkID: link, Hours: hours})
	switch {
	case err != nil:
		p.NoChart = k.said(r, err)
	case len(l.Points) == 0:
		p.NoChart = "No round trip has been measured in this time."
	default:
		p.Chart = template.HTML(meshmap.Chart(l)) //nolint:gosec // it writes numbers and times alone
	}
}

// bytesWord is a number of bytes as people read it.
func bytesWord(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return strings.TrimSuffix(fmt.Sprintf("%d MiB", n>>20), " ")
}
