package store

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// echoesTogether is how many echoes go into one transaction: their links are locked and in
// memory all at once.
const echoesTogether = 200

// RecordEchoes adds one echo to each of the links given by id, and judges each
// anew by its echoes and its heartbeat. The events of what changed go into the
// outbox. A link that is not known, because its site was just removed, is left out.
// With an error comes what had changed before.
func (s *Store) RecordEchoes(ctx context.Context, own federation.SiteID, echoes map[string]federation.Echo, at time.Time, t federation.Thresholds) (done Echoed, err error) {
	done.Doubted = map[string]bool{}
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(echoes)), echoesTogether) {
		some, err := s.recordEchoes(ctx, own, ids, echoes, at, t)
		if err != nil {
			return done, err
		}
		done.Changes = append(done.Changes, some.Changes...)
		maps.Copy(done.Doubted, some.Doubted)
	}
	return done, nil
}

// Echoed is what echoes have changed.
type Echoed struct {
	Changes []Change
	Doubted map[string]bool // the ids of the links that are [federation.Probe.Doubted] now
}

// recordEchoes is RecordEchoes for some of the links.
func (s *Store) recordEchoes(ctx context.Context, own federation.SiteID, ids []string, echoes map[string]federation.Echo, at time.Time, t federation.Thresholds) (done Echoed, err error) {
	err = s.write(ctx, "recording echoes", func(ctx context.Context, tx bun.Tx) error {
		done = Echoed{Doubted: map[string]bool{}}
		var rows []linkRow
		var over []minuteRow
		// Locked in the order of their ids, as everyone who locks several does.
		if err := s.dialect.forUpdate(tx.NewSelect().Model(&rows).Where("id IN ?", bun.Tuple(ids)).Order("id")).Scan(ctx); err != nil {
			return err
		}
		for i := range rows {
			r := &rows[i]
			e := echoes[r.ID]
			if m, ended := endedMinute(r.ID, r.Probe.V, e.At); ended {
				over = append(over, m)
			}
			r.Probe.V = r.Probe.V.Next(e)
			if c, changed := r.judge(r.leaving(), at, t); changed {
				done.Changes = append(done.Changes, c)
			}
			if r.Probe.V.Doubted() {
				done.Doubted[r.ID] = true
			}
		}
		if err := updateAll(ctx, tx, rows, "probe", "status", "cause"); err != nil {
			return err
		}
		if err := keepMinutes(ctx, tx, over, at); err != nil {
			return err
		}
		return tell(ctx, tx, own, at, done.Changes)
	})
	if err != nil {
		return Echoed{}, err
	}
	return done, nil
}

// leaving reports whether the peer has said goodbye, which holds until it is heard again.
func (r *linkRow) leaving() bool { return r.Cause == federation.PeerLeaving }

// judge sets the status of the link and its cause to what its heartbeat and its
// echoes bear, or the peer's goodbye, and returns the change where either is
// another. A new cause alone matters as much: it says whom to call. It comes no
// more often than a status, for what an echo says of a link has its thresholds.
func (r *linkRow) judge(leaving bool, at time.Time, t federation.Thresholds) (Change, bool) {
	age := max(at.Sub(r.LastHeartbeatAt.Time), 0)
	from, cause := r.Status, r.Cause
	r.Status, r.Cause = federation.Down, federation.PeerLeaving
	if !leaving {
		r.Status, r.Cause = t.Judge(age, r.Probe.V, at)
	}
	return linkChange(r.ID, from, r.Status, r.Cause, at, age), r.Status != from || r.Cause != cause
}
