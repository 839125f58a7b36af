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

// endedMinute is the minute of a link that is over with an echo, where one is.
func endedMinute(link string, was federation.Probe, next time.Time) (row minuteRow, ended bool) {
	if was.At.IsZero() || minuteOf(next) <= minuteOf(was.At) {
		return row, false
	}
	p := was.Minute()
	return minuteRow{LinkID: link, Minute: minuteOf(was.At), MedianMs: p.MedianMs, MaxMs: p.MaxMs, Echoes: p.Echoes, Lost: p.Lost}, true
}

// keepMinutes keeps minutes that are over, and lets go of the oldest of the same links.
// Most echoes end none, so it has mostly nothing to do.
func keepMinutes(ctx context.Context, tx bun.Tx, over []minuteRow, at time.Time) error {
	if len(over) == 0 {
		return nil
	}
	if err := insertAll(ctx, tx, over, true, "", nil); err != nil {
		return err
	}
	links := make([]string, len(over))
	for i, m := range over {
		links[i] = m.LinkID
	}
	_, err := tx.NewDelete().Model((*minuteRow)(nil)).Where("link_id IN ?", bun.Tuple(links)).Where("minute < ?", minuteOf(at.Add(-latencyAge))).Exec(ctx)
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
