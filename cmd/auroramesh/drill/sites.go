package drill

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/drillreport"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/settings"
)

// end is one site of the drill.
type end struct {
	id       federation.SiteID
	api      *apiclient.Client
	begun    time.Time              // when the drill came to it, by the site's clock
	ahead    time.Duration          // how far that clock is ahead of the drill's
	accepted []drillreport.Accepted // what it took from the drill
}

// start starts the drill's own sites.
func (r *run) start(ctx context.Context) (*demo.Demo, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	n := max(r.Sites, 2)
	r.Progress(fmt.Sprintf("Starting %d sites with lines between them ...", n))
	sites, err := demo.Start(ctx, demo.Options{
		Sites: n, Version: r.Version, Log: r.Log, Lines: true,
		Configure: func(_ int, s *settings.Settings) {
			s.HeartbeatSeconds, s.DegradedSeconds, s.DownSeconds = 1, 3, 6
			s.Enabled, s.MinSeverity = true, string(federation.High)
		},
	})
	if err != nil {
		return sites, err
	}
	r.lines, r.APIs = sites.Lines, nil
	for _, s := range sites.Sites {
		r.APIs = append(r.APIs, s.API)
	}
	return sites, nil
}

// join meets the sites, finds the line, and waits until all of them see each other.
func (r *run) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for _, base := range r.APIs {
		e, err := meet(ctx, base)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(r.ends, func(o *end) bool { return o.id == e.id }) {
			return fault.New(fault.Invalid, "%s is given twice: it answers at %s too", e.id, base)
		}
		r.ends = append(r.ends, e)
	}
	lines, err := r.lines.Lines(ctx)
	if err != nil {
		return err
	}
	if r.line, r.link, err = Choose(r.Link, lines.Lines, ids(r.ends)); err != nil {
		return err
	}
	for _, e := range r.ends {
		if err := e.await(ctx, ids(r.ends)); err != nil {
			return err
		}
	}
	r.severities, err = admitted(ctx, r.ends)
	return err
}

// meet asks a site who it is, and what time it has.
func meet(ctx context.Context, base string) (*end, error) {
	api, err := apiclient.New(base)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	t, err := api.Topology(ctx)
	if err != nil {
		return nil, err
	}
	half := time.Since(asked) / 2
	return &end{id: t.SiteID, api: api, begun: t.GeneratedAt, ahead: t.GeneratedAt.Sub(asked.Add(half))}, nil
}

func ids(ends []*end) []federation.SiteID {
	all := make([]federation.SiteID, len(ends))
	for i, e := range ends {
		all[i] = e.id
	}
	return all
}

// Choose finds the line to break, and the link between two of the sites that it
// carries. A line that stands alone need not bear the name of its link.
func Choose(link string, lines []linkproxy.Line, sites []federation.SiteID) (line, carries string, err error) {
	links := map[string]string{} // the id by itself and by the one with its ends the other way round
	for i, a := range sites {
		for _, b := range sites[i+1:] {
			l := federation.NewLink(a, b, time.Time{})
			links[l.ID], links[l.Reversed()] = l.ID, l.ID
		}
	}
	names := make([]string, len(lines))
	for i, l := range lines {
		names[i] = l.Link
	}
	if len(names) == 0 {
		return "", "", fault.New(fault.NotFound, "there is no line to break")
	}
	wanted := link
	if id, ok := links[link]; ok {
		wanted = id
	}
	switch {
	case link == "":
		line = names[0]
	case slices.Contains(names, wanted):
		line = wanted
	case len(names) == 1 && links[link] != "":
		line = names[0]
	default:
		var wrong fault.Fields
		wrong.Add("link", link, "one that has a line of its own: "+strings.Join(names, ", "))
		return "", "", wrong.Err("the drill cannot start")
	}
	switch {
	case links[link] != "":
		return line, links[link], nil
	case links[line] != "":
		return line, links[line], nil
	case len(sites) == 2:
		return line, federation.LinkID(sites[0], sites[1]), nil
	}
	var wrong fault.Fields
	wrong.Add("link", link, "the link that the line "+line+" carries, such as "+federation.LinkID(sites[0], sites[1]))
	return "", "", wrong.Err("the drill cannot start")
}

// await waits until a site sees a healthy link to each of the others.
func (e *end) await(ctx context.Context, sites []federation.SiteID) error {
	for {
		t, err := e.api.Topology(ctx)
		if err != nil {
			return err
		}
		missing := slices.IndexFunc(sites, func(s federation.SiteID) bool {
			return s != e.id && !slices.ContainsFunc(t.Links, func(l federation.Link) bool {
				return l.ID == federation.LinkID(s, e.id) && l.Status == federation.Healthy
			})
		})
		if missing < 0 {
			return nil
		}
		if err := pause(ctx, look); err != nil {
			return fmt.Errorf("waiting until %s sees a healthy link to %s: %w", e.id, sites[missing], err)
		}
	}
}

// admitted are the severities that the gate of every site lets through to every other.
func admitted(ctx context.Context, ends []*end) ([]federation.Severity, error) {
	var all []federation.Severity
	for _, s := range []federation.Severity{federation.Critical, federation.High} {
		passes := true
		for _, e := range ends {
			p, err := e.api.PreviewSharing(ctx, federation.NewAlert{Title: "drill", Severity: s, Source: drillreport.Source})
			if err != nil {
				return nil, err
			}
			for _, other := range ends {
				passes = passes && (other == e || slices.ContainsFunc(p.Peers, func(d ask.PeerDecision) bool { return d.Peer == other.id && d.Admitted }))
			}
		}
		if passes {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil, fault.New(fault.Conflict, "the sites do not share critical alerts with each other, so there is nothing to compare: see auroramesh sharing preview")
	}
	return all, nil
}

// idle reports whether nothing waits for a site of the drill, at any of them.
func (r *run) idle(ctx context.Context) (bool, error) {
	for _, e := range r.ends {
		ledger, err := e.api.Deliveries(ctx)
		if err != nil {
			return false, err
		}
		for _, to := range r.ends {
			if to != e && !slices.ContainsFunc(ledger.Deliveries, func(d federation.Delivery) bool {
				return d.Peer == to.id && d.Direction == federation.Outbound && d.Pending != nil && *d.Pending == 0
			}) {
				return false, nil
			}
		}
	}
	return true, nil
}

// detect reads in the history of both ends of the link when each told of the fault.
func (r *run) detect(ctx context.Context, report *drillreport.Report) error {
	report.Detections = []drillreport.Detection{}
	for _, e := range r.ends {
		if !slices.ContainsFunc(r.ends, func(o *end) bool { return o != e && federation.LinkID(o.id, e.id) == r.link }) {
			continue
		}
		h, err := e.api.LinkHistory(ctx, r.link, int(r.For.Hours())+1)
		if err != nil {
			return err
		}
		report.Detections = append(report.Detections, drillreport.Detect(e.id, h.Transitions, report.FaultAt.Add(e.ahead), report.HealedAt.Add(e.ahead)))
	}
	return nil
}

// queue reads, newest first, what has come into the queue of a site since the drill
// came to it. What comes in meanwhile moves the pages: a row that is read twice is
// one row.
func (e *end) queue(ctx context.Context) ([]federation.Alert, error) {
	var rows []federation.Alert
	seen := map[string]bool{}
	for skip := 0; ; {
		page, err := e.api.Alerts(ctx, ask.AlertFilter{Page: ask.Page{Skip: skip, Limit: ask.MaxLimit}})
		if err != nil {
			return nil, err
		}
		for _, a := range page.Items {
			if a.CreatedAt.Before(e.begun) {
				return rows, nil
			}
			if !seen[a.ID] {
				seen[a.ID] = true
				rows = append(rows, a)
			}
		}
		if skip += len(page.Items); len(page.Items) == 0 || skip >= page.Total && !page.More {
			return rows, nil
		}
	}
}
