package store

import (
	"context"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

type dropRow struct {
	bun.BaseModel `bun:"table:backlog_drops,alias:d"`
	Severity      federation.Severity `bun:"severity,pk"`
	Dropped       int64               `bun:"dropped"`
	DroppedAt     timestamp           `bun:"dropped_at"`
}

// RecordDrop counts n alerts of a severity that had to leave the backlog of own.
// The event of it goes into the outbox.
func (s *Store) RecordDrop(ctx context.Context, own federation.SiteID, severity federation.Severity, n int, at time.Time) error {
	return s.write(ctx, "counting what the backlog has dropped", func(ctx context.Context, tx bun.Tx) error {
		row := dropRow{Severity: severity, Dropped: int64(n), DroppedAt: stamp(at)}
		_, err := tx.NewInsert().Model(&row).On("CONFLICT (severity) DO UPDATE").
			Set("dropped = d.dropped + EXCLUDED.dropped").Set("dropped_at = EXCLUDED.dropped_at").Returning("dropped").Exec(ctx)
		if err != nil {
			return err
		}
		drop := federation.BacklogDrop{Severity: severity, Dropped: n, Total: int(row.Dropped)}
		e := federation.Event{Kind: federation.BacklogDropped, At: stamp(at).Time, Dropped: &drop}
		return enqueue(ctx, tx, at, EventMessage(own, e, string(severity), strconv.Itoa(drop.Total)))
	})
}

// BacklogDrops returns how many alerts of each severity the backlog has dropped in
// all, and when it last did; nil where it never has.
func (s *Store) BacklogDrops(ctx context.Context) (dropped map[federation.Severity]int, last *time.Time, err error) {
	var rows []dropRow
	if err := s.reader.NewSelect().Model(&rows).Order("dropped_at").Scan(ctx); err != nil {
		return nil, nil, failed("reading what the backlog has dropped", err)
	}
	dropped = map[federation.Severity]int{}
	for _, r := range rows {
		dropped[r.Severity], last = int(r.Dropped), r.DroppedAt.pointer()
	}
	return dropped, last, nil
}
