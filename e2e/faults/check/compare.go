package main

import (
	"maps"
	"slices"
)

// row is what the check reads of an alert.
type row struct {
	ID, Severity, TLP, Source, Title, DedupHash string
	OriginSite, OriginID                        string // empty for an alert of the site's own
}

// queue is the alerts that one site has.
type queue struct {
	Site string
	Rows []row
	// Answered are the ids that the site gave to whoever raised an alert, where that is known.
	Answered []string
}

// gate is what may leave a site, told to the check and not asked of the sites.
type gate struct{ Severities, TLPs []string }

func (g gate) admits(r row) bool {
	return slices.Contains(g.Severities, r.Severity) && slices.Contains(g.TLPs, r.TLP)
}

// report is what the check found.
type report struct {
	Right bool   `json:"right"`
	Sites []own  `json:"sites"`
	Pairs []pair `json:"pairs"`
}

// own is what a site has of its own alerts. Each list holds ids.
type own struct {
	Site      string   `json:"site"`
	Accepted  int      `json:"accepted"`
	Forgotten []string `json:"forgotten"` // answered, and not in the database
	Doubled   []string `json:"doubled"`   // stored under an identity that another one has
	Echoed    []string `json:"echoed"`    // came back as if they were a peer's
}

// pair is what one site has of another one's alerts. Each list holds ids of the origin.
type pair struct {
	From       string   `json:"from"`
	To         string   `json:"to"`
	Accepted   int      `json:"accepted"`
	Admitted   int      `json:"admitted"`
	Present    int      `json:"present"`
	Lost       []string `json:"lost"`
	Duplicated []string `json:"duplicated"`
	Forbidden  []string `json:"forbidden"`
	Changed    []string `json:"changed"` // another title, severity, label or source than at the origin
	Unknown    []string `json:"unknown"` // the origin has no such alert
}

// compare holds every site against every other one.
func compare(g gate, queues []queue) report {
	r := report{Right: true}
	for _, q := range queues {
		o := q.own()
		r.Right = r.Right && len(o.Forgotten)+len(o.Doubled)+len(o.Echoed) == 0
		r.Sites = append(r.Sites, o)
	}
	for _, from := range queues {
		for _, to := range queues {
			if from.Site == to.Site {
				continue
			}
			p := between(g, from, to)
			r.Right = r.Right && len(p.Lost)+len(p.Duplicated)+len(p.Forbidden)+len(p.Changed)+len(p.Unknown) == 0
			r.Pairs = append(r.Pairs, p)
		}
	}
	return r
}

// local is a site's own alerts by id.
func (q queue) local() map[string]row {
	rows := map[string]row{}
	for _, r := range q.Rows {
		if r.OriginSite == "" {
			rows[r.ID] = r
		}
	}
	return rows
}

func (q queue) own() own {
	o := own{Site: q.Site, Forgotten: []string{}, Doubled: []string{}, Echoed: []string{}}
	local := q.local()
	o.Accepted = len(local)
	for _, id := range q.Answered {
		if _, stored := local[id]; !stored && !slices.Contains(o.Forgotten, id) {
			o.Forgotten = append(o.Forgotten, id)
		}
	}
	identities := map[string]bool{}
	for _, r := range q.Rows {
		switch {
		case r.OriginSite == q.Site:
			o.Echoed = append(o.Echoed, r.OriginID)
		case r.OriginSite == "" && identities[r.DedupHash]:
			o.Doubled = append(o.Doubled, r.ID)
		case r.OriginSite == "":
			identities[r.DedupHash] = true
		}
	}
	return o
}

func between(g gate, from, to queue) pair {
	p := pair{From: from.Site, To: to.Site, Lost: []string{}, Duplicated: []string{}, Forbidden: []string{}, Changed: []string{}, Unknown: []string{}}
	local, arrived := from.local(), map[string][]row{}
	for _, r := range to.Rows {
		if r.OriginSite == from.Site {
			arrived[r.OriginID] = append(arrived[r.OriginID], r)
		}
	}
	p.Accepted = len(local)
	for _, id := range slices.Sorted(maps.Keys(local)) {
		sent, got := local[id], arrived[id]
		if len(got) > 1 {
			p.Duplicated = append(p.Duplicated, id)
		}
		if slices.ContainsFunc(got, func(r row) bool { return !same(sent, r, from.Site) }) {
			p.Changed = append(p.Changed, id)
		}
		switch admitted := g.admits(sent); {
		case admitted && len(got) == 0:
			p.Admitted++
			p.Lost = append(p.Lost, id)
		case admitted:
			p.Admitted++
			p.Present++
		case len(got) > 0:
			p.Forbidden = append(p.Forbidden, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(arrived)) {
		if _, known := local[id]; !known {
			p.Unknown = append(p.Unknown, id)
		}
	}
	return p
}

// same reports whether a peer stored what the origin sent.
func same(sent, got row, from string) bool {
	return got.Title == sent.Title && got.Severity == sent.Severity && got.TLP == sent.TLP && got.Source == "federation:"+from
}
