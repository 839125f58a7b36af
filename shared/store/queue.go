package store

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// PageAlerts returns the alerts beside a place in the queue, newest first, and
// whether there are more on either side.
func (s *Store) PageAlerts(ctx context.Context, q ask.AlertQuery) (ask.AlertPage, error) {
	if q.Limit == 0 {
		q.Limit = ask.DefaultLimit
	}
	page := ask.AlertPage{Items: []federation.Alert{}}
	err := s.read(ctx, "reading a page of the queue", func(ctx context.Context, tx bun.Tx) error {
		// In two steps: which, from an index alone, and then these as they are.
		var ids []string
		if err := s.beside(tx.NewSelect().Model((*alertRow)(nil)), q, q.Limit+1).Scan(ctx, &ids); err != nil {
			return err
		}
		more := len(ids) > q.Limit
		ids = ids[:min(len(ids), q.Limit)]
		if !q.Before.IsZero() {
			page.Newer, page.Older = more, true
		} else {
			page.Older, page.Newer = more, !q.After.IsZero()
		}
		if len(ids) == 0 {
			return nil
		}
		var rows []alertRow
		// A raw log is what takes the most room, and no line of the queue shows it.
		if err := tx.NewSelect().Model(&rows).ExcludeColumn("raw_log").Where("id IN ?", bun.Tuple(ids)).OrderExpr("created_at DESC, id DESC").Scan(ctx); err != nil {
			return err
		}
		for _, r := range rows {
			page.Items = append(page.Items, r.alert().Brief())
		}
		return nil
	})
	if err != nil {
		return ask.AlertPage{}, err
	}
	return page, nil
}

// beside chooses the ids of a page, from its place on.
func (s *Store) beside(q *bun.SelectQuery, of ask.AlertQuery, limit int) *bun.SelectQuery {
	q = q.Column("id")
	if of.Severity != "" {
		q = q.Where("severity = ?", of.Severity)
	}
	if of.Status != "" {
		q = q.Where("status = ?", of.Status)
	}
	site, one := strings.CutPrefix(of.Origin, ask.OriginSitePrefix)
	switch {
	case one:
		q = q.Where("source = ?", federation.FederatedSource+site)
	case of.Origin == ask.OriginLocal:
		q = q.Where("origin_site IS NULL")
	case of.Origin == ask.OriginPeers:
		q = q.Where("origin_site IS NOT NULL")
	}
	if text := strings.ToLower(strings.TrimSpace(of.Text)); text != "" {
		from, until := prefixed(text)
		q = q.WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where(`lower(title) LIKE ? ESCAPE '\'`, "%"+likeEscaper.Replace(text)+"%").
				WhereOr("id IN (SELECT alert_id FROM alert_marks WHERE head >= ? AND head < ?)", from, until)
		})
	}
	if !of.Since.IsZero() {
		q = q.Where("created_at >= ?", stamp(of.Since))
	}
	if !of.Until.IsZero() {
		q = q.Where("created_at < ?", stamp(of.Until))
	}
	switch {
	case !of.Before.IsZero():
		q = q.Where("(created_at, id) > (?, ?)", stamp(of.Before.At), of.Before.ID).OrderExpr("created_at ASC, id ASC")
	case !of.After.IsZero():
		q = q.Where("(created_at, id) < (?, ?)", stamp(of.After.At), of.After.ID).OrderExpr("created_at DESC, id DESC")
	default:
		q = q.OrderExpr("created_at DESC, id DESC")
	}
	return q.Limit(int64(limit))
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// prefixed are the bounds of the heads that begin with text.
func prefixed(text string) (from, until string) {
	text = head(text)
	return text, text + "\U0010FFFF"
}

// head is the part of a mark's value that is indexed.
func head(value string) string {
	if len(value) > 128 { // bytes, of which a character has at least one
		r := []rune(value)
		value = string(r[:min(len(r), 128)])
	}
	return strings.ToLower(value)
}

type markRow struct {
	bun.BaseModel `bun:"table:alert_marks,alias:m"`
	AlertID       string            `bun:"alert_id"`
	Site          federation.SiteID `bun:"site"`
	Kind          string            `bun:"kind"`
	Value         string            `bun:"value"`
	Head          string            `bun:"head"`
	CreatedAt     timestamp         `bun:"created_at"`
}

// appendMarks appends the marks of an alert.
func appendMarks(rows []markRow, a alertRow) []markRow {
	mark := markRow{AlertID: a.ID, CreatedAt: a.CreatedAt}
	if a.OriginSite != nil {
		mark.Site = *a.OriginSite
	}
	add := func(kind, value string) {
		mark.Kind, mark.Value, mark.Head = kind, value, head(value)
		rows = append(rows, mark)
	}
	for i, t := range a.MitreTechniques {
		if !slices.Contains(a.MitreTechniques[:i], t) { // IOCs are canonical, techniques as they were given
			add(ask.Technique, t)
		}
	}
	for _, i := range a.IOCs {
		add(string(i.Type), i.Value)
	}
	return rows
}

// mark adds to a pipe what notes what alerts that are new have in common with others.
func mark(p *pipe, alerts ...alertRow) error {
	for batch := range slices.Chunk(allMarksOf(alerts), 500) {
		marks, err := inserting(p, batch, "", "", nil)
		if err != nil {
			return err
		}
		p.add(marks)
	}
	return nil
}

func allMarksOf(alerts []alertRow) []markRow {
	rows := make([]markRow, 0, 4*len(alerts))
	for _, a := range alerts {
		rows = appendMarks(rows, a)
	}
	return rows
}

// remark brings the marks of an alert to what it is now.
func remark(ctx context.Context, p *pipe, was, now alertRow) error {
	if slices.Equal(was.IOCs, now.IOCs) && slices.Equal(was.MitreTechniques, now.MitreTechniques) {
		return nil
	}
	tx, err := p.see(ctx)
	if err == nil {
		err = unmark(ctx, tx, was.ID)
	}
	if err != nil {
		return err
	}
	return mark(p, now)
}

// unmark lets go of the marks of alerts that are here. They are found by the time of
// the alert too: their index begins with it.
func unmark(ctx context.Context, tx bun.IDB, ids ...string) error {
	of := tx.NewSelect().Model((*alertRow)(nil)).Column("created_at", "id").Where("id IN ?", bun.Tuple(ids))
	_, err := tx.NewDelete().Model((*markRow)(nil)).Where("(created_at, alert_id) IN (?)", of).Exec(ctx)
	return err
}

type campaignRow struct {
	Kind   string    `bun:"kind"`
	Value  string    `bun:"value"`
	Alerts int       `bun:"alerts"`
	First  timestamp `bun:"first_at"`
	Last   timestamp `bun:"last_at"`
}

// Campaigns returns what alerts of several sites that came since a moment have in
// common: IOCs before techniques, the latest first. An empty site is this one.
func (s *Store) Campaigns(ctx context.Context, q ask.CampaignQuery, since time.Time) ([]ask.Campaign, error) {
	var found []ask.Campaign
	err := s.read(ctx, "looking for campaigns", func(ctx context.Context, tx bun.Tx) error {
		var rows []campaignRow
		if err := common(tx.NewSelect(), since, q.Limit).Scan(ctx, &rows); err != nil {
			return err
		}
		for _, r := range rows {
			c := ask.Campaign{Kind: r.Kind, Value: r.Value, Alerts: r.Alerts, First: r.First.Time, Last: r.Last.Time}
			if err := tx.NewSelect().Distinct().Model((*markRow)(nil)).Column("site").Where("head = ?", head(r.Value)).
				Where("kind = ?", r.Kind).Where("value = ?", r.Value).Where("created_at >= ?", stamp(since)).Order("site").Scan(ctx, &c.Sites); err != nil {
				return err
			}
			found = append(found, c)
		}
		return nil
	})
	return found, err
}

// common chooses the values that marks of more than one site have. An alert has a
// mark once, so marks count alerts.
func common(q *bun.SelectQuery, since time.Time, limit int) *bun.SelectQuery {
	return q.Model((*markRow)(nil)).Column("kind", "value").
		ColumnExpr("count(*) AS alerts").ColumnExpr("min(created_at) AS first_at").ColumnExpr("max(created_at) AS last_at").
		Where("created_at >= ?", stamp(since)).Group("kind", "value").Having("min(site) <> max(site)").
		OrderExpr("CASE WHEN kind = ? THEN 1 ELSE 0 END, last_at DESC, value", ask.Technique).Limit(int64(limit))
}
