package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

type transitionRow struct {
	bun.BaseModel `bun:"table:transitions,alias:t"`
	ID            int64                `bun:"id,pk,autoincrement"`
	What          string               `bun:"what"`
	Kind          federation.EventKind `bun:"kind"`
	Was           string               `bun:"was"`
	Became        string               `bun:"became"`
	Cause         federation.Cause     `bun:"cause"`
	AgeMicros     int64                `bun:"age_us"`
	At            timestamp            `bun:"at"`
}

func (r transitionRow) transition() federation.Transition {
	return federation.Transition{
		ID: r.What, From: r.Was, To: r.Became, At: r.At.Time, Cause: r.Cause,
		HeartbeatAgeSeconds: (time.Duration(r.AgeMicros) * time.Microsecond).Seconds(),
	}
}

// tell keeps changes as history and puts their events into the outbox. How long the
// history stays is retention's matter.
func tell(ctx context.Context, tx bun.Tx, own federation.SiteID, at time.Time, changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	rows := make([]transitionRow, len(changes))
	out := make([]Outgoing, len(changes))
	for i, c := range changes {
		rows[i] = transitionRow{
			What: c.ID, Kind: c.Kind, Was: c.From, Became: c.To, Cause: c.Cause,
			AgeMicros: int64(c.HeartbeatAgeSeconds * 1e6), At: stamp(c.At),
		}
		out[i] = c.outgoing(own)
	}
	if _, err := tx.NewInsert().Model(&rows).ExcludeColumn("id").Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	return enqueue(ctx, tx, at, out...)
}

// LinkHistory returns the transitions of a link from since on, the oldest first,
// at most limit of them and of those the newest; the status that it had before
// the first of them; and since when it is known. NotFound where no such link is.
func (s *Store) LinkHistory(ctx context.Context, own federation.SiteID, id string, since time.Time, limit int) (before federation.LinkStatus, known time.Time, ts []federation.Transition, err error) {
	err = s.read(ctx, "reading the history of "+id, func(ctx context.Context, tx bun.Tx) error {
		link := linkRow{ID: id}
		err := tx.NewSelect().Model(&link).WherePK().Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.New(fault.NotFound, "there is no link %q at this site", id)
		}
		if err != nil {
			return err
		}
		peer := siteRow{ID: link.link().Peer(own)}
		if err := tx.NewSelect().Model(&peer).WherePK().Scan(ctx); err != nil {
			return err
		}
		var rows []transitionRow
		if err := tx.NewSelect().Model(&rows).Where("what = ?", id).Where("at >= ?", stamp(since)).OrderExpr("at DESC, id DESC").Limit(int64(limit)).Scan(ctx); err != nil {
			return err
		}
		known, ts = peer.FirstSeenAt.Time, make([]federation.Transition, len(rows))
		for i, r := range rows {
			ts[len(rows)-1-i] = r.transition()
		}
		before = link.Status
		if len(ts) > 0 {
			before = federation.LinkStatus(ts[0].From)
		}
		return nil
	})
	return before, known, ts, err
}
