package store

import (
	"context"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

type watchRow struct {
	bun.BaseModel `bun:"table:delivery_watch,alias:w"`
	Consumer      string            `bun:"consumer,pk"`
	Peer          federation.SiteID `bun:"peer"`
	AckFloor      int64             `bun:"ack_floor"`
	Deliveries    int64             `bun:"deliveries"`
	Waiting       int64             `bun:"waiting"`
	UnderWay      int64             `bun:"under_way"`
	Moves         int               `bun:"moves"`
	MovedAt       timestamp         `bun:"moved_at"`
	StalledAt     timestamp         `bun:"stalled_at"`
	Repairs       int               `bun:"repairs"`
	RepairedAt    timestamp         `bun:"repaired_at"`
}

func watchRowOf(w federation.DeliveryWatch) watchRow {
	return watchRow{
		Consumer: w.Consumer, Peer: w.Peer, AckFloor: int64(w.AckFloor), Deliveries: int64(w.Deliveries),
		Waiting: int64(w.Waiting), UnderWay: int64(w.UnderWay), Moves: w.Moves,
		MovedAt: stamp(w.MovedAt), StalledAt: stampOf(w.StalledAt), Repairs: w.Repairs, RepairedAt: stampOf(w.RepairedAt),
	}
}

func (r watchRow) watch() federation.DeliveryWatch {
	return federation.DeliveryWatch{
		Progress: federation.Progress{
			Peer: r.Peer, Consumer: r.Consumer, AckFloor: uint64(r.AckFloor), Deliveries: uint64(r.Deliveries),
			Waiting: int(r.Waiting), UnderWay: int(r.UnderWay),
		},
		Moves: r.Moves, MovedAt: r.MovedAt.Time, StalledAt: r.StalledAt.pointer(), Repairs: r.Repairs, RepairedAt: r.RepairedAt.pointer(),
	}
}

// Watches returns what the last look saw of each consumer, by its name.
func (s *Store) Watches(ctx context.Context) (map[string]federation.DeliveryWatch, error) {
	var rows []watchRow
	if err := s.reader.NewSelect().Model(&rows).Scan(ctx); err != nil {
		return nil, failed("reading the watch over the deliveries", err)
	}
	watches := make(map[string]federation.DeliveryWatch, len(rows))
	for _, r := range rows {
		watches[r.Consumer] = r.watch()
	}
	return watches, nil
}

// RecordWatches keeps one look at the deliveries of own, in place of the last one,
// and judges each link anew by whether a delivery over it stands still. The events
// of what changed go into the outbox.
func (s *Store) RecordWatches(ctx context.Context, own federation.SiteID, watches []federation.DeliveryWatch, at time.Time, t federation.Thresholds) ([]Change, error) {
	rows := make([]watchRow, len(watches))
	stalled := map[federation.SiteID]*time.Time{}
	for i, w := range watches {
		rows[i] = watchRowOf(w)
		if was := stalled[w.Peer]; w.StalledAt != nil && (was == nil || w.StalledAt.Before(*was)) {
			stalled[w.Peer] = stampOf(w.StalledAt).pointer()
		}
	}
	var changes []Change
	err := s.write(ctx, "recording the watch over the deliveries", func(ctx context.Context, tx bun.Tx) error {
		changes = nil
		if _, err := tx.NewDelete().Model((*watchRow)(nil)).Where("1 = 1").Exec(ctx); err != nil {
			return err
		}
		if len(rows) > 0 {
			if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
				return err
			}
		}
		var links []linkRow
		// Locked in the order of their ids, as everyone who locks several does.
		if err := s.dialect.forUpdate(tx.NewSelect().Model(&links).Order("id")).Scan(ctx); err != nil {
			return err
		}
		for i := range links {
			c, changed, err := markStalled(ctx, tx, &links[i], stalled[links[i].link().Peer(own)], at, t)
			if err != nil {
				return err
			}
			if changed {
				changes = append(changes, c)
			}
		}
		return tell(ctx, tx, own, at, changes)
	})
	if err != nil {
		return nil, err
	}
	return changes, nil
}

// markStalled notes since when a delivery over the link stands still, and judges
// the link anew where that is news.
func markStalled(ctx context.Context, tx bun.Tx, r *linkRow, since *time.Time, at time.Time, t federation.Thresholds) (c Change, changed bool, err error) {
	was := r.Probe.V.StalledAt
	if was == since || was != nil && since != nil && was.Equal(*since) {
		return c, false, nil
	}
	r.Probe.V.StalledAt = since
	c, changed = r.judge(r.leaving(), at, t)
	_, err = tx.NewUpdate().Model(r).Column("probe", "status", "cause").WherePK().Exec(ctx)
	return c, changed, err
}

// RecordRepair keeps that a delivery of own was begun anew. The event of it goes
// into the outbox.
func (s *Store) RecordRepair(ctx context.Context, own federation.SiteID, w federation.DeliveryWatch, at time.Time) error {
	return s.write(ctx, "recording a repair", func(ctx context.Context, tx bun.Tx) error {
		row := watchRowOf(w)
		if err := update(ctx, tx, &row); err != nil {
			return err
		}
		e := federation.Event{Kind: federation.DeliveryRepaired, At: stamp(at).Time, Delivery: &w}
		return enqueue(ctx, tx, at, EventMessage(own, e, w.Consumer, strconv.Itoa(w.Repairs)))
	})
}
