package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// closed is the condition of the index alerts_closed, letter by letter.
const closed = "status IN ('resolved', 'false_positive') OR retracted_at IS NOT NULL"

// ForgetClosedAlerts lets go of up to limit alerts that are closed here, or were
// taken back by their origin, and have not changed since a time, the longest
// unchanged first; with them goes where they were published. What was raised after
// comparedFrom stays whatever its state, for the sites still compare it: it would be
// missing here and be sent again. So does what still waits in the outbox.
func (s *Store) ForgetClosedAlerts(ctx context.Context, before, comparedFrom time.Time, limit int) (n int, err error) {
	err = s.write(ctx, "letting go of closed alerts", func(ctx context.Context, tx bun.Tx) error {
		var ids []string
		q := tx.NewSelect().Model((*alertRow)(nil)).Column("id").Where("("+closed+")").Where("updated_at < ?", stamp(before)).
			Where("COALESCE(raised_at, created_at) < ?", stamp(comparedFrom)).
			Where("NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.alert_id = a.id)").
			OrderExpr("updated_at, id").Limit(int64(limit))
		if err := s.dialect.forUpdateSkipping(q).Scan(ctx, &ids); err != nil || len(ids) == 0 {
			return err
		}
		if _, err := tx.NewDelete().Model((*publishedRow)(nil)).Where("alert_id IN ?", bun.Tuple(ids)).Exec(ctx); err != nil {
			return err
		}
		if err := unmark(ctx, tx, ids...); err != nil {
			return err
		}
		n = len(ids)
		_, err := tx.NewDelete().Model((*alertRow)(nil)).Where("id IN ?", bun.Tuple(ids)).Exec(ctx)
		return err
	})
	return n, err
}

// ForgetHistory lets go of up to limit transitions of links and sites from before a time.
func (s *Store) ForgetHistory(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = s.write(ctx, "letting go of old history", func(ctx context.Context, tx bun.Tx) error {
		oldest := s.dialect.forUpdateSkipping(tx.NewSelect().Model((*transitionRow)(nil)).Column("id").Where("at < ?", stamp(before)).Order("at").Limit(int64(limit)))
		res, err := tx.NewDelete().Model((*transitionRow)(nil)).Where("id IN (?)", oldest).Exec(ctx)
		n, err = affected(res, err)
		return err
	})
	return n, err
}

// ForgetRefusedAlerts lets go of up to limit notes about alerts of peers that were
// refused before a time. What was raised after comparedFrom stays: see [Store.ForgetClosedAlerts].
func (s *Store) ForgetRefusedAlerts(ctx context.Context, before, comparedFrom time.Time, limit int) (n int, err error) {
	err = s.write(ctx, "letting go of old notes about refused alerts", func(ctx context.Context, tx bun.Tx) error {
		oldest := s.dialect.forUpdateSkipping(tx.NewSelect().Model((*refusedRow)(nil)).ColumnExpr(s.dialect.place).
			Where("at < ?", stamp(before)).Where("raised_at < ?", stamp(comparedFrom)).Order("at").Limit(int64(limit)))
		res, err := tx.NewDelete().Model((*refusedRow)(nil)).Where(s.dialect.at, oldest).Exec(ctx)
		n, err = affected(res, err)
		return err
	})
	return n, err
}

// ForgetPassed lets go of up to limit places at which alerts of other sites were passed
// on before a time. The stream must keep nothing that is older.
func (s *Store) ForgetPassed(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = s.write(ctx, "letting go of what was passed on", func(ctx context.Context, tx bun.Tx) error {
		oldest := s.dialect.forUpdateSkipping(tx.NewSelect().Model((*publishedRow)(nil)).ColumnExpr(s.dialect.place).
			Where("passed").Where("published_at < ?", stamp(before)).Order("published_at").Limit(int64(limit)))
		res, err := tx.NewDelete().Model((*publishedRow)(nil)).Where(s.dialect.at, oldest).Exec(ctx)
		n, err = affected(res, err)
		return err
	})
	return n, err
}
