package store

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// A question with one condition has an index in the order of the queue, so its page costs
// the same however many alerts there are. One with a text or with several conditions has
// none. Its page is looked for among the next so many alerts, and ends early where these do.
// See docs/adr/0014-a-search-looks-so-far.md.

// reach is how far one question looks.
type reach struct {
	titles int // alerts, where one index is enough to judge them
	rows   int // alerts, where each must be read from its table or looked up in another
	marks  int // marks that may begin with a text for its alerts to be found by them, wherever in the queue they are
	common int // marks among which campaigns are looked for
	// counted is how many alerts are counted for the total of a list, and among how many a list of several filters is chosen.
	counted int
}

var defaultReach = reach{titles: 30_000, rows: 2_000, marks: 1_000, common: 60_000, counted: ask.MaxCounted}

// spot is where an alert stands in the queue.
type spot struct {
	ID        string    `bun:"id"`
	CreatedAt timestamp `bun:"created_at"`
}

func (s spot) place() ask.Place { return ask.Place{At: s.CreatedAt.Time, ID: s.ID} }

// judged are the columns by which conditions and texts judge.
var judged = []string{"title", "severity", "status", "source", "origin_site", "tlp"}

// condition is one that an index has in the order of the queue.
type condition func(*bun.SelectQuery) *bun.SelectQuery

func conditionsOf(of ask.AlertQuery) []condition {
	var all []condition
	where := func(query string, args ...any) {
		all = append(all, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where(query, args...) })
	}
	if of.Severity != "" {
		where("severity = ?", of.Severity)
	}
	if of.Status != "" {
		where("status = ?", of.Status)
	}
	site, one := strings.CutPrefix(of.Origin, ask.OriginSitePrefix)
	switch {
	case one:
		where("source = ?", federation.FederatedSource+site)
	case of.Origin == ask.OriginLocal:
		where("origin_site IS NULL")
	case of.Origin == ask.OriginPeers:
		where("origin_site IS NOT NULL")
	}
	return all
}

// lookFor chooses the alerts of a page from its place on, in that order, and one more where
// there is one. end is where it has stopped before it had so many; zero: it has not. What
// is beyond the end begins an IOC or a technique with the text.
func (r reach) lookFor(ctx context.Context, tx bun.Tx, of ask.AlertQuery) (found []spot, end ask.Place, err error) {
	all := conditionsOf(of)
	text := strings.ToLower(strings.TrimSpace(of.Text))
	if text == "" && len(all) <= 1 {
		q := inTurn(beside(spots(tx), of), of)
		for _, only := range all {
			q = only(q)
		}
		err = q.Limit(int64(of.Limit+1)).Scan(ctx, &found)
		return found, ask.Place{}, err
	}
	var marked []spot
	few := true // marks begin with the text
	if text != "" {
		if few, err = r.fewMarks(ctx, tx, text); err == nil && few {
			marked, err = r.byMarks(ctx, tx, of, text, all)
		}
		if err != nil {
			return nil, ask.Place{}, err
		}
	}
	most := r.rows
	if len(all) == 0 && few {
		most = r.titles
	}
	candidates, end, err := rarest(ctx, tx, of, all, most)
	if err != nil {
		return nil, ask.Place{}, err
	}
	q := tx.NewSelect().Column("id", "created_at").TableExpr("(?) AS c", candidates)
	for _, each := range all {
		q = each(q)
	}
	if text != "" {
		q = q.WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
			q = q.Where(`lower(title) LIKE ? ESCAPE '\'`, "%"+likeEscaper.Replace(text)+"%")
			if few {
				return q
			}
			return q.WhereOr("EXISTS (?)", begun(tx, text).Where("m.created_at = c.created_at").Where("m.alert_id = c.id"))
		})
	}
	if err := inTurn(q, of).Limit(int64(of.Limit+1)).Scan(ctx, &found); err != nil {
		return nil, ask.Place{}, err
	}
	found = merged(of, found, marked)
	if len(found) > of.Limit && !end.IsZero() && turn(of, found[of.Limit].place(), end) <= 0 {
		end = ask.Place{} // the page is full before it
	}
	return found, end, nil
}

// spots are alerts with their places.
func spots(tx bun.IDB) *bun.SelectQuery {
	return tx.NewSelect().Model((*alertRow)(nil)).Column("id", "created_at")
}

// beside leaves the alerts on one side of the place of a page, within its time.
func beside(q *bun.SelectQuery, of ask.AlertQuery) *bun.SelectQuery {
	if !of.Since.IsZero() {
		q = q.Where("created_at >= ?", stamp(of.Since))
	}
	if !of.Until.IsZero() {
		q = q.Where("created_at < ?", stamp(of.Until))
	}
	switch {
	case !of.Before.IsZero():
		q = q.Where("(created_at, id) > (?, ?)", stamp(of.Before.At), of.Before.ID)
	case !of.After.IsZero():
		q = q.Where("(created_at, id) < (?, ?)", stamp(of.After.At), of.After.ID)
	}
	return q
}

// inTurn puts alerts in the order in which a page is filled.
func inTurn(q *bun.SelectQuery, of ask.AlertQuery) *bun.SelectQuery {
	if of.Before.IsZero() {
		return q.OrderExpr("created_at DESC, id DESC")
	}
	return q.OrderExpr("created_at ASC, id ASC")
}

// turn is below 0 where a comes before b in that order.
func turn(of ask.AlertQuery, a, b ask.Place) int {
	order := cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID))
	if of.Before.IsZero() {
		return -order
	}
	return order
}

// merged are alerts that were found in two ways, in that order, each once, and no more than a page needs.
func merged(of ask.AlertQuery, a, b []spot) []spot {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(a, b spot) int { return turn(of, a.place(), b.place()) })
	all = slices.CompactFunc(all, func(a, b spot) bool { return a.ID == b.ID })
	return all[:min(len(all), of.Limit+1)]
}

// rarest are the next alerts, so many at most, that the condition chooses of which they
// reach the furthest. end is the last of them; zero: there are fewer.
func rarest(ctx context.Context, tx bun.IDB, of ask.AlertQuery, all []condition, most int) (candidates *bun.SelectQuery, end ask.Place, err error) {
	columns := judged
	if len(all) == 0 { // one index has what is left
		all, columns = []condition{func(q *bun.SelectQuery) *bun.SelectQuery { return q }}, []string{"title"}
	}
	for _, c := range all {
		var last []spot
		if err := c(inTurn(beside(spots(tx), of), of)).Offset(int64(most-1)).Limit(1).Scan(ctx, &last); err != nil {
			return nil, ask.Place{}, err
		}
		next := c(inTurn(beside(spots(tx), of), of)).Column(columns...).Limit(int64(most))
		if len(last) == 0 {
			return next, ask.Place{}, nil
		}
		if candidates == nil || turn(of, last[0].place(), end) > 0 {
			candidates, end = next, last[0].place()
		}
	}
	return candidates, end, nil
}

// begun are the marks that begin with a text.
func begun(tx bun.IDB, text string) *bun.SelectQuery {
	from, until := prefixed(text)
	return tx.NewSelect().Model((*markRow)(nil)).ColumnExpr("alert_id").Where("head >= ?", from).Where("head < ?", until)
}

// fewMarks reports whether few marks begin with a text.
func (r reach) fewMarks(ctx context.Context, tx bun.IDB, text string) (bool, error) {
	var marks int
	err := tx.NewSelect().ColumnExpr("count(*)").TableExpr("(?) AS few", begun(tx, text).Limit(int64(r.marks+1))).Scan(ctx, &marks)
	return marks <= r.marks, err
}

// byMarks are the next alerts, one more than a page has at most, of which a mark begins
// with a text, where few do. These are looked up first: no condition leads to fewer.
func (r reach) byMarks(ctx context.Context, tx bun.IDB, of ask.AlertQuery, text string, all []condition) ([]spot, error) {
	marked := spots(tx).Column(judged...).Where("id IN (?)", begun(tx, text).Limit(int64(r.marks))).Limit(int64(r.marks))
	q := beside(tx.NewSelect().Column("id", "created_at").TableExpr("(?) AS c", marked), of)
	for _, each := range all {
		q = each(q)
	}
	var found []spot
	err := inTurn(q, of).Limit(int64(of.Limit+1)).Scan(ctx, &found)
	return found, err
}
