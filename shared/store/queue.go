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
		found, end, err := s.reach.lookFor(ctx, tx, q)
		if err != nil {
			return err
		}
		more := len(found) > q.Limit || !end.IsZero()
		var ids []string
		for _, f := range found[:min(len(found), q.Limit)] {
			ids = append(ids, f.ID)
		}
		page.LookedTo = end
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

func (r campaignRow) mark() [2]string { return [2]string{r.Kind, r.Value} }

// Campaigns returns what alerts of several sites that came since a moment have in
// common: IOCs before techniques, the latest first. An empty site is this one. Where too
// many have come since then it looks at the newest alone, and says so.
func (s *Store) Campaigns(ctx context.Context, q ask.CampaignQuery, since time.Time) (ask.CampaignList, error) {
	var list ask.CampaignList
	err := s.read(ctx, "looking for campaigns", func(ctx context.Context, tx bun.Tx) error {
		var last []spot // of so many
		if err := tx.NewSelect().Model((*markRow)(nil)).Column("created_at").Where("created_at >= ?", stamp(since)).
			OrderExpr("created_at DESC").Offset(int64(s.reach.common)).Limit(1).Scan(ctx, &last); err != nil {
			return err
		}
		if len(last) > 0 {
			since = last[0].CreatedAt.Add(time.Microsecond) // of that moment itself not all may be among them
			list.Since = since
		}
		var rows []campaignRow
		if err := common(tx.NewSelect(), since, q.Limit).Scan(ctx, &rows); err != nil || len(rows) == 0 {
			return err
		}
		sites, err := sitesOf(ctx, tx, rows, since)
		if err != nil {
			return err
		}
		for _, r := range rows {
			list.Items = append(list.Items, ask.Campaign{Kind: r.Kind, Value: r.Value, Sites: sites[r.mark()], Alerts: r.Alerts, First: r.First.Time, Last: r.Last.Time})
		}
		return nil
	})
	return list, err
}

// sitesOf are the sites that have each of these marks, in order. They are read by their
// time: of all times there may be any number.
func sitesOf(ctx context.Context, tx bun.Tx, marks []campaignRow, since time.Time) (map[[2]string][]federation.SiteID, error) {
	var values []string
	for _, m := range marks {
		values = append(values, m.Value)
	}
	var rows []markRow
	if err := tx.NewSelect().Distinct().Model(&rows).Column("kind", "value", "site").Where("created_at >= ?", stamp(since)).
		Where("value IN ?", bun.Tuple(values)).Order("site").Scan(ctx); err != nil {
		return nil, err
	}
	sites := map[[2]string][]federation.SiteID{}
	for _, r := range rows {
		mark := [2]string{r.Kind, r.Value}
		sites[mark] = append(sites[mark], r.Site)
	}
	return sites, nil
}

// common chooses the values that marks of more than one site have. An alert has a
// mark once, so marks count alerts.
func common(q *bun.SelectQuery, since time.Time, limit int) *bun.SelectQuery {
	return q.Model((*markRow)(nil)).Column("kind", "value").
		ColumnExpr("count(*) AS alerts").ColumnExpr("min(created_at) AS first_at").ColumnExpr("max(created_at) AS last_at").
		Where("created_at >= ?", stamp(since)).Group("kind", "value").Having("min(site) <> max(site)").
		OrderExpr("CASE WHEN kind = ? THEN 1 ELSE 0 END, last_at DESC, value", ask.Technique).Limit(int64(limit))
}
