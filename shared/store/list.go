package store

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// ListAlerts returns a page of the alerts that f chooses, newest first, and how
// many it chooses, of which at most [ask.MaxCounted] are counted. A list of several filters
// looks at as many alerts; see docs/adr/0014-a-search-looks-so-far.md.
func (s *Store) ListAlerts(ctx context.Context, f ask.AlertFilter) (ask.List[federation.Alert], error) {
	f.Page = f.Page.WithDefaults()
	page := ask.List[federation.Alert]{Skip: f.Skip, Limit: f.Limit}
	var rows []alertRow
	err := s.read(ctx, "listing alerts", func(ctx context.Context, tx bun.Tx) error {
		chosen, end, err := s.reach.choose(ctx, tx, f)
		if err != nil {
			return err
		}
		// In two steps: which, from an index alone, and then these as they are.
		if err := newest(tx.NewSelect().Model(&rows).Where("id IN (?)", pageOf(chosen(), f))).Scan(ctx); err != nil {
			return err
		}
		n := len(rows)
		if n < f.Limit {
			page.LookedTo = end.String()
		}
		if end.IsZero() && n < f.Limit && (n > 0 || f.Skip == 0) { // the last page tells how many there are
			page.Total = f.Skip + n
			return nil
		}
		if err := s.reach.count(tx, chosen()).Scan(ctx, &page.Total); err != nil {
			return err
		}
		page.More = !end.IsZero()
		if page.Total > s.reach.counted {
			page.More, page.Total = true, s.reach.counted
			if n > 0 {
				page.Total = max(page.Total, f.Skip+n)
			}
		}
		return nil
	})
	if err != nil {
		return ask.List[federation.Alert]{}, err
	}
	page.Items = make([]federation.Alert, len(rows))
	for i, r := range rows {
		page.Items[i] = r.alert()
	}
	return page, nil
}

// choose begins a query of the alerts of a list. Of several filters, for which there is no index
// in the order of the queue, it chooses among the next alerts of the rarest, as many as are
// counted; end is the last of these, zero where there are no more.
func (r reach) choose(ctx context.Context, tx bun.IDB, f ask.AlertFilter) (chosen func() *bun.SelectQuery, end ask.Place, err error) {
	from := ask.AlertQuery{After: f.After}
	filters := filtersOf(f)
	among := func() *bun.SelectQuery { return beside(tx.NewSelect().Model((*alertRow)(nil)), from) }
	if len(filters) > 1 {
		var candidates *bun.SelectQuery
		if candidates, end, err = rarest(ctx, tx, from, filters, r.counted); err != nil {
			return nil, ask.Place{}, err
		}
		among = func() *bun.SelectQuery { return tx.NewSelect().TableExpr("(?) AS c", candidates) }
	}
	return func() *bun.SelectQuery {
		q := among()
		for _, each := range filters {
			q = each(q)
		}
		return q
	}, end, nil
}

// filtersOf are the conditions of a list.
func filtersOf(f ask.AlertFilter) []condition {
	var all []condition
	for _, c := range []struct{ column, value string }{
		{"severity", string(f.Severity)}, {"status", string(f.Status)}, {"tlp", string(f.TLP)}, {"source", f.Source},
	} {
		if c.value != "" {
			all = append(all, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("? = ?", bun.Ident(c.column), c.value) })
		}
	}
	return all
}

func newest(q *bun.SelectQuery) *bun.SelectQuery {
	return q.OrderExpr("created_at DESC, id DESC")
}

// pageOf are the ids of a page of what was chosen.
func pageOf(chosen *bun.SelectQuery, f ask.AlertFilter) *bun.SelectQuery {
	return newest(chosen).Column("id").Limit(int64(f.Limit)).Offset(int64(f.Skip))
}

// count is how many alerts were chosen, or one more than are counted.
func (r reach) count(tx bun.IDB, chosen *bun.SelectQuery) *bun.SelectQuery {
	return tx.NewSelect().ColumnExpr("count(*)").TableExpr("(?) AS c", chosen.ColumnExpr("1").Limit(int64(r.counted+1)))
}
