package store

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// sharedRow is what the index alerts_shared has of a local alert.
type sharedRow struct {
	bun.BaseModel  `bun:"table:alerts,alias:a"`
	ID             string              `bun:"id,pk"`
	Version        int                 `bun:"version"`
	CreatedAt      timestamp           `bun:"created_at"`
	Severity       federation.Severity `bun:"severity"`
	SharedSeverity federation.Severity `bun:"shared_severity"`
	TLP            federation.TLP      `bun:"tlp"`
	Source         string              `bun:"source"`
	RetractedAt    timestamp           `bun:"retracted_at"`
}

// receivedRow is what the index alerts_received has of an alert from a peer.
type receivedRow struct {
	bun.BaseModel `bun:"table:alerts,alias:a"`
	ID            string    `bun:"origin_alert_id"`
	Version       int       `bun:"version"`
	RaisedAt      timestamp `bun:"raised_at"`
	RetractedAt   timestamp `bun:"retracted_at"`
}

// EachShared hands over the local alerts of a span that may have left, in order,
// each with no more than a gate asks for. A limit of 0 is none.
func (s *Store) EachShared(ctx context.Context, span federation.Span, limit int, f func(federation.Alert)) error {
	return each(ctx, s, "reading what was shared", sharedIn(s.reader.NewSelect(), span, limit), func(r sharedRow) {
		a := federation.Alert{ID: r.ID, Version: r.Version, CreatedAt: r.CreatedAt.Time, Severity: r.Severity, SharedSeverity: r.SharedSeverity, TLP: r.TLP, Source: r.Source}
		if !r.RetractedAt.IsZero() {
			a.Retraction = &federation.Retraction{At: r.RetractedAt.Time}
		}
		f(a)
	})
}

func sharedIn(q *bun.SelectQuery, span federation.Span, limit int) *bun.SelectQuery {
	return within(q.Model((*sharedRow)(nil)).Where("shared_severity <> ''"), "created_at", "id", span, limit)
}

// EachReceived hands over what this site holds of an origin's alerts of a span, in
// order: what is stored, and what is refused for good. A limit of 0 is none. It is
// the one place that says what counts as held.
func (s *Store) EachReceived(ctx context.Context, origin federation.SiteID, span federation.Span, limit int, f func(federation.Held)) error {
	var refused []refusedRow // few, or somebody has work to do
	q := within(s.reader.NewSelect().Model(&refused).Where("origin_site = ?", origin), "raised_at", "origin_alert_id", span, limit)
	if err := q.Scan(ctx); err != nil {
		return failed("reading what was refused", err)
	}
	left := limit
	give := func(h federation.Held) {
		if limit == 0 || left > 0 {
			left--
			f(h)
		}
	}
	// before gives what was refused up to a place, and what was refused at it.
	before := func(m federation.Mark) (at refusedRow) {
		for len(refused) > 0 && refused[0].held().Mark().Compare(m) <= 0 {
			r := refused[0]
			refused = refused[1:]
			if r.held().Mark() == m {
				return r
			}
			give(r.held())
		}
		return refusedRow{}
	}
	err := each(ctx, s, "reading what was received", receivedIn(s.reader.NewSelect(), origin, span, limit), func(r receivedRow) {
		h := federation.Held{ID: r.ID, Version: r.Version, RaisedAt: r.RaisedAt.Time, Withheld: !r.RetractedAt.IsZero()}
		if r := before(h.Mark()); r.stands(h.Version) {
			h = r.held()
		}
		give(h)
	})
	if err != nil {
		return err
	}
	for _, r := range refused {
		give(r.held())
	}
	return nil
}

func (r refusedRow) held() federation.Held {
	return federation.Held{ID: r.OriginAlertID, Version: r.Version, RaisedAt: r.RaisedAt.Time, Refused: true}
}

func receivedIn(q *bun.SelectQuery, origin federation.SiteID, span federation.Span, limit int) *bun.SelectQuery {
	return within(q.Model((*receivedRow)(nil)).Where("origin_site = ?", origin), "raised_at", "origin_alert_id", span, limit)
}

// Reception is how far this site has an alert of an origin.
type Reception struct {
	Version int
	// Refused says that this version is refused for good, and Reason why.
	Refused bool
	Reason  string
}

// Receptions says how far this site has alerts of an origin, by the origin's id. What
// it has nothing of is not in it.
func (s *Store) Receptions(ctx context.Context, origin federation.SiteID, ids []string) (map[string]Reception, error) {
	found := make(map[string]Reception, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	hashes := make([]string, len(ids))
	for i, id := range ids {
		hashes[i] = federation.ReplayHash(origin, id)
	}
	var rows []receivedRow
	if err := s.reader.NewSelect().Model(&rows).Where("dedup_hash IN ?", bun.Tuple(hashes)).Scan(ctx); err != nil {
		return nil, failed("looking for alerts of "+string(origin), err)
	}
	for _, r := range rows {
		found[r.ID] = Reception{Version: r.Version}
	}
	var refused []refusedRow
	if err := s.reader.NewSelect().Model(&refused).Where("origin_site = ?", origin).Where("origin_alert_id IN ?", bun.Tuple(ids)).Scan(ctx); err != nil {
		return nil, failed("looking for refused alerts of "+string(origin), err)
	}
	for _, r := range refused {
		if r.stands(found[r.OriginAlertID].Version) {
			found[r.OriginAlertID] = Reception{r.Version, true, r.Reason}
		}
	}
	return found, nil
}

// SharedSince counts the local alerts that were raised at a time or later and may have
// left under one of the severities, and says when the first of them was. What is taken
// back does not count.
func (s *Store) SharedSince(ctx context.Context, at time.Time, severities []federation.Severity) (n int, first *time.Time, err error) {
	if len(severities) == 0 {
		return 0, nil, nil
	}
	var oldest timestamp
	err = sharedSince(s.reader.NewSelect(), at, severities).ColumnExpr("count(*), min(created_at)").Scan(ctx, &n, &oldest)
	if err != nil {
		return 0, nil, failed("counting what was shared", err)
	}
	return n, oldest.pointer(), nil
}

// NewestShared is when the newest of these alerts was raised; the zero time where there is none.
func (s *Store) NewestShared(ctx context.Context, since time.Time, severities []federation.Severity) (time.Time, error) {
	if len(severities) == 0 {
		return time.Time{}, nil
	}
	var newest timestamp
	err := sharedSince(s.reader.NewSelect(), since, severities).ColumnExpr("max(created_at)").Scan(ctx, &newest)
	return newest.Time, failed("looking for the newest shared alert", err)
}

func sharedSince(q *bun.SelectQuery, at time.Time, severities []federation.Severity) *bun.SelectQuery {
	return q.Model((*sharedRow)(nil)).Where("shared_severity <> ''").Where("created_at >= ?", stamp(at)).Where("retracted_at IS NULL").
		Where("shared_severity IN ?", bun.Tuple(severities)).Where("tlp IN ?", bun.Tuple(federation.ShareableTLPs()))
}

func within(q *bun.SelectQuery, at, id string, span federation.Span, limit int) *bun.SelectQuery {
	q = q.Where("(?, ?) > (?, ?)", bun.Ident(at), bun.Ident(id), stamp(span.After.At), span.After.ID).
		Where("? < ?", bun.Ident(at), stamp(span.Until)).OrderExpr("?, ?", bun.Ident(at), bun.Ident(id))
	if limit > 0 {
		q = q.Limit(int64(limit))
	}
	return q
}

// each hands over the rows of q one by one: a long span is not held in memory.
func each[R any](ctx context.Context, s *Store, doing string, q *bun.SelectQuery, f func(R)) error {
	rows, err := q.Rows(ctx)
	if err != nil {
		return failed(doing, err)
	}
	for rows.Next() {
		var r R
		if err := s.reader.ScanRow(ctx, rows, &r); err != nil {
			_ = rows.Close() // the first error says more
			return failed(doing, err)
		}
		f(r)
	}
	if err := rows.Err(); err != nil {
		_ = rows.Close()
		return failed(doing, err)
	}
	return failed(doing, rows.Close())
}

type resendRow struct {
	bun.BaseModel `bun:"table:resends,alias:r"`
	Peer          federation.SiteID `bun:"peer,pk"`
	AlertID       string            `bun:"alert_id,pk"`
	Version       int               `bun:"version"`
	Times         int               `bun:"times"`
	At            timestamp         `bun:"at"`
}

// due reports whether the version of next may be sent again, and notes that it is.
func (r *resendRow) due(next resendRow) bool {
	if r.Version == next.Version && next.At.Before(r.At.Add(federation.ResendAfter(r.Times))) {
		return false
	}
	if r.Version != next.Version {
		r.Times = 0
	}
	r.Version, r.Times, r.At = next.Version, r.Times+1, next.At
	return true
}

// Resend puts local alerts once more into the outbox, for one peer, and returns how
// many. An alert whose version was sent again shortly before, by the rule of
// [federation.ResendAfter], is left out, and so is one that out makes no message of.
func (s *Store) Resend(ctx context.Context, peer federation.SiteID, ids []string, at time.Time, out func(federation.Alert) (m Outgoing, admitted bool, err error)) (sent int, err error) {
	if len(ids) == 0 {
		return 0, nil
	}
	err = s.write(ctx, "sending alerts again", func(ctx context.Context, tx bun.Tx) error {
		var alerts []alertRow
		if err := tx.NewSelect().Model(&alerts).Where("id IN ?", bun.Tuple(ids)).Where("origin_site IS NULL").Order("id").Scan(ctx); err != nil {
			return err
		}
		ready := make([]Outgoing, 0, len(alerts))
		for _, r := range alerts {
			m, admitted, err := out(r.alert())
			if err != nil {
				return err
			}
			if admitted {
				ready = append(ready, m)
			}
		}
		claimed, err := s.claim(ctx, tx, peer, ready, at)
		if err != nil {
			return err
		}
		var messages []Outgoing
		for _, m := range ready {
			if claimed[m.AlertID] {
				messages = append(messages, m)
			}
		}
		sent = len(messages)
		return enqueue(ctx, tx, at, messages...)
	})
	if err != nil {
		return 0, err
	}
	return sent, nil
}

// claim notes that alerts are sent again, and says of which that may be. Of two
// replicas that want the same one at once, one gets it.
func (s *Store) claim(ctx context.Context, tx bun.Tx, peer federation.SiteID, ready []Outgoing, at time.Time) (map[string]bool, error) {
	claimed := map[string]bool{}
	if len(ready) == 0 {
		return claimed, nil
	}
	wanted := make([]resendRow, len(ready)) // in the order of their ids
	ids := make([]string, len(ready))
	for i, m := range ready {
		wanted[i] = resendRow{Peer: peer, AlertID: m.AlertID, Version: m.Version, Times: 1, At: stamp(at)}
		ids[i] = m.AlertID
	}
	var first []string
	if err := tx.NewInsert().Model(&wanted).On("CONFLICT DO NOTHING").Returning("alert_id").Scan(ctx, &first); err != nil {
		return nil, err
	}
	for _, id := range first {
		claimed[id] = true
	}
	var before []resendRow
	q := tx.NewSelect().Model(&before).Where("peer = ?", peer).Where("alert_id IN ?", bun.Tuple(ids)).Order("alert_id")
	if err := s.dialect.forUpdate(q).Scan(ctx); err != nil {
		return nil, err
	}
	for _, r := range before {
		i, _ := slices.BinarySearchFunc(wanted, r.AlertID, func(w resendRow, id string) int { return strings.Compare(w.AlertID, id) })
		if !r.due(wanted[i]) { // nor is one that was claimed just now
			continue
		}
		claimed[r.AlertID] = true
		if err := update(ctx, tx, &r); err != nil {
			return nil, err
		}
	}
	return claimed, nil
}

// ForgetResends lets go of what was sent again before a time.
func (s *Store) ForgetResends(ctx context.Context, before time.Time) error {
	_, err := s.writer.NewDelete().Model((*resendRow)(nil)).Where("at < ?", stamp(before)).Exec(ctx)
	return failed("forgetting what was sent again", err)
}

type reconciliationRow struct {
	bun.BaseModel `bun:"table:reconciliations,alias:rc"`
	Peer          federation.SiteID    `bun:"peer,pk"`
	Direction     federation.Direction `bun:"direction,pk"`
	At            timestamp            `bun:"at"`
	From          timestamp            `bun:"window_from"`
	Until         timestamp            `bun:"window_until"`
	Compared      int                  `bun:"compared"`
	Lost          int                  `bun:"lost"`
	Resent        int                  `bun:"resent"`
	Pending       int                  `bun:"pending"`
	Duplicated    int                  `bun:"duplicated"`
	Refused       int                  `bun:"refused"`
	Extra         int                  `bun:"extra"`
	MissingSince  timestamp            `bun:"missing_since"`
}

func (r reconciliationRow) reconciliation() federation.Reconciliation {
	return federation.Reconciliation{
		At: r.At.Time, From: r.From.Time, Until: r.Until.Time, Compared: r.Compared, Lost: r.Lost, Resent: r.Resent,
		Pending: r.Pending, Duplicated: r.Duplicated, Refused: r.Refused, Extra: r.Extra, MissingSince: r.MissingSince.Time,
	}
}

// RecordReconciliation keeps what a reconciliation with a peer found, in place of
// what the one before it did. Since when something is missing goes on from that one.
func (s *Store) RecordReconciliation(ctx context.Context, peer federation.SiteID, d federation.Direction, r federation.Reconciliation) error {
	row := reconciliationRow{
		Peer: peer, Direction: d, At: stamp(r.At), From: stamp(r.From), Until: stamp(r.Until), Compared: r.Compared, Lost: r.Lost, Resent: r.Resent,
		Pending: r.Pending, Duplicated: r.Duplicated, Refused: r.Refused, Extra: r.Extra,
	}
	if r.Lost+r.Pending > 0 {
		row.MissingSince = row.Until
	}
	q := s.writer.NewInsert().Model(&row).On("CONFLICT (peer, direction) DO UPDATE").Where("EXCLUDED.at >= rc.at")
	for _, column := range []string{"at", "window_from", "window_until", "compared", "lost", "resent", "pending", "duplicated", "refused", "extra"} {
		q = q.Set("? = EXCLUDED.?", bun.Ident(column), bun.Ident(column))
	}
	q = q.Set("missing_since = CASE WHEN EXCLUDED.missing_since IS NOT NULL THEN coalesce(rc.missing_since, EXCLUDED.missing_since) END")
	_, err := q.Exec(ctx)
	return failed("keeping a reconciliation", err)
}

// Way is one direction between this site and a peer.
type Way struct {
	Peer      federation.SiteID
	Direction federation.Direction
}

// Reconciliations is what was last found, by way.
func (s *Store) Reconciliations(ctx context.Context) (map[Way]federation.Reconciliation, error) {
	var rows []reconciliationRow
	if err := s.reader.NewSelect().Model(&rows).Scan(ctx); err != nil {
		return nil, failed("reading the reconciliations", err)
	}
	found := make(map[Way]federation.Reconciliation, len(rows))
	for _, r := range rows {
		found[Way{r.Peer, r.Direction}] = r.reconciliation()
	}
	return found, nil
}
