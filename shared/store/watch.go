package store

import (
	"context"
	"maps"
	"slices"
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

// RecordWatches keeps one look at the deliveries of own, in place of the last one, which
// saw before; of that it writes what is another now.
// It judges each link anew by whether a delivery over it stands still. The events
// of what changed go into the outbox.
func (s *Store) RecordWatches(ctx context.Context, own federation.SiteID, before map[string]federation.DeliveryWatch, watches []federation.DeliveryWatch, at time.Time, t federation.Thresholds) ([]Change, error) {
	look := compared(own, before, watches)
	var changes []Change
	err := s.write(ctx, "recording the watch over the deliveries", func(ctx context.Context, tx bun.Tx) error {
		changes = nil
		if len(look.old) > 0 {
			if _, err := tx.NewDelete().Model((*watchRow)(nil)).Where("consumer IN ?", bun.Tuple(look.old)).Exec(ctx); err != nil {
				return err
			}
		}
		if err := insertAll(ctx, tx, look.rows, true, "", nil); err != nil {
			return err
		}
		if len(look.links) == 0 {
			return nil
		}
		var links []linkRow
		// Locked in the order of their ids, as everyone who locks several does.
		if err := s.dialect.forUpdate(tx.NewSelect().Model(&links).Where("id IN ?", bun.Tuple(look.links)).Order("id")).Scan(ctx); err != nil {
			return err
		}
		for i := range links {
			c, changed, err := markStalled(ctx, tx, &links[i], look.stalled[links[i].link().Peer(own)], at, t)
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

// look is what is to be written of one look at the deliveries.
type look struct {
	old   []string   // the consumers whose rows are gone, or another
	rows  []watchRow // in place of these, and of new ones
	links []string   // over which a delivery stands still, or did
	// stalled is since when, by peer.
	stalled map[federation.SiteID]*time.Time
}

func compared(own federation.SiteID, before map[string]federation.DeliveryWatch, watches []federation.DeliveryWatch) look {
	l := look{stalled: map[federation.SiteID]*time.Time{}}
	gone := maps.Clone(before)
	for _, w := range watches {
		delete(gone, w.Consumer)
		if b, known := before[w.Consumer]; !known || !w.Same(b) {
			l.old, l.rows = append(l.old, w.Consumer), append(l.rows, watchRowOf(w))
		}
		if was := l.stalled[w.Peer]; w.StalledAt != nil && (was == nil || w.StalledAt.Before(*was)) {
			l.stalled[w.Peer] = stampOf(w.StalledAt).pointer()
		}
	}
	l.old = slices.AppendSeq(l.old, maps.Keys(gone))
	for peer := range l.stalled {
		l.links = append(l.links, federation.LinkID(own, peer))
	}
	for _, b := range before {
		if b.StalledAt != nil {
			l.links = append(l.links, federation.LinkID(own, b.Peer))
		}
	}
	return l
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
