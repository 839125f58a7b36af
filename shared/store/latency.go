package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// latencyAge is how long the minutes of a link are kept.
const latencyAge = 31 * 24 * time.Hour

type minuteRow struct {
	bun.BaseModel `bun:"table:link_minutes,alias:lm"`
	LinkID        string   `bun:"link_id,pk"`
	Minute        int64    `bun:"minute,pk"`
	MedianMs      *float64 `bun:"median_ms"`
	MaxMs         *float64 `bun:"max_ms"`
	Echoes        int      `bun:"echoes"`
	Lost          int      `bun:"lost"`
}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// keepMinute keeps the minute that is over with an echo, and lets go of the oldest of
// the same link. Most echoes end none, so nearly all of them write nothing here.
func keepMinute(ctx context.Context, tx bun.Tx, link string, was federation.Probe, next time.Time) error {
	if was.At.IsZero() || minuteOf(next) <= minuteOf(was.At) {
		return nil
	}
	p := was.Minute()
	row := minuteRow{LinkID: link, Minute: minuteOf(was.At), MedianMs: p.MedianMs, MaxMs: p.MaxMs, Echoes: p.Echoes, Lost: p.Lost}
	if _, err := tx.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx); err != nil {
		return err
	}
	_, err := tx.NewDelete().Model((*minuteRow)(nil)).Where("link_id = ?", link).Where("minute < ?", minuteOf(next.Add(-latencyAge))).Exec(ctx)
	return err
}

// LinkMinutes returns the echoes of a link from one moment to another, a point for
// each step of so many minutes in which there were any, the oldest first.
func (s *Store) LinkMinutes(ctx context.Context, link string, from, to time.Time, step int) ([]federation.LatencyPoint, error) {
	var rows []struct {
		Minute   int64    `bun:"minute"`
		MedianMs *float64 `bun:"median_ms"`
		MaxMs    *float64 `bun:"max_ms"`
		Echoes   int      `bun:"echoes"`
		Lost     int      `bun:"lost"`
	}
	err := s.reader.NewSelect().Model((*minuteRow)(nil)).ColumnExpr("minute / ? * ? AS minute", step, step).
		ColumnExpr("avg(median_ms) AS median_ms").ColumnExpr("max(max_ms) AS max_ms").
		ColumnExpr("sum(echoes) AS echoes").ColumnExpr("sum(lost) AS lost").
		Where("link_id = ?", link).Where("minute >= ?", minuteOf(from)).Where("minute <= ?", minuteOf(to)).
		GroupExpr("1").OrderExpr("1").Scan(ctx, &rows)
	if err != nil {
		return nil, failed("reading the latency of "+link, err)
	}
	points := make([]federation.LatencyPoint, len(rows))
	for i, r := range rows {
		points[i] = federation.LatencyPoint{At: time.Unix(r.Minute*60, 0).UTC(), MedianMs: r.MedianMs, MaxMs: r.MaxMs, Echoes: r.Echoes, Lost: r.Lost}
	}
	return points, nil
}
