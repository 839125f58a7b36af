package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// Arrival is what became of an alert that came from a peer.
type Arrival int

// The arrivals.
const (
	Replayed Arrival = iota // this version, or a newer one, was there
	Stored                  // the alert is new here
	Updated                 // the alert was here in an older version
)

// Arrived is an alert from a peer as it stands here now, and what it is here.
type Arrived struct {
	Alert   federation.Alert
	Arrival Arrival // Stored or Updated
}

// ReceiveAlerts stores alerts from peers: the new ones all in one statement, and a
// newer version of one that is here by the rules of [federation.Alert.Supersede].
// tell makes what must be published with it, given those two, and may be nil.
// arrivals[i] says what became of as[i]; of doubles within as the newest counts,
// and every other one is a replay. In the same transaction it notes the alerts that
// were refused, and that one which is here now is refused no longer.
func (s *Store) ReceiveAlerts(ctx context.Context, as []federation.Alert, tell func([]Arrived) []Outgoing, refused ...RefusedAlert) (arrivals []Arrival, err error) {
	arrivals = make([]Arrival, len(as))
	if len(as)+len(refused) == 0 {
		return arrivals, nil
	}
	var at time.Time
	if len(as) > 0 {
		at = as[0].UpdatedAt
	} else {
		at = refused[0].At
	}
	newest := make(map[string]int, len(as)) // index in as by dedup hash
	for i, a := range as {
		if j, double := newest[a.DedupHash]; !double || a.Version > as[j].Version {
			newest[a.DedupHash] = i
		}
	}
	rows := make([]alertRow, 0, len(newest))
	for _, i := range newest {
		rows = append(rows, rowOf(as[i]))
	}
	sortByHash(rows)
	kept := slices.Clone(as) // as they stand in the database, where they arrived
	err = s.write(ctx, "storing alerts from peers", func(ctx context.Context, tx bun.Tx) error {
		if err := noteRefused(ctx, tx, refused); err != nil {
			return err
		}
		if err := readmit(ctx, tx, as); err != nil {
			return err
		}
		// Of a retracted alert that is not here there is nothing to store.
		fresh := slices.DeleteFunc(slices.Clone(rows), func(r alertRow) bool { return !r.RetractedAt.IsZero() })
		var hashes []string
		if err := insertAll(ctx, tx, fresh, true, "dedup_hash", &hashes); err != nil {
			return err
		}
		for _, h := range hashes {
			arrivals[newest[h]] = Stored
		}
		if err := mark(ctx, tx, slices.DeleteFunc(fresh, func(r alertRow) bool { return arrivals[newest[r.DedupHash]] != Stored })...); err != nil {
			return err
		}
		for _, r := range rows {
			i := newest[r.DedupHash]
			if arrivals[i] == Stored || r.Version == 1 { // a first version is newer than none
				continue
			}
			updated, err := s.supersede(ctx, tx, &kept[i])
			if err != nil {
				return err
			}
			if updated {
				arrivals[i] = Updated
			}
		}
		if tell == nil {
			return nil
		}
		var arrived []Arrived // in the order of as
		for i, arrival := range arrivals {
			if arrival != Replayed {
				arrived = append(arrived, Arrived{kept[i], arrival})
			}
		}
		out := tell(arrived)
		if err := overtake(ctx, tx, out); err != nil {
			return err
		}
		return enqueue(ctx, tx, at, out...)
	})
	if err != nil {
		return nil, err
	}
	return arrivals, nil
}

// supersede brings the row of an alert from a peer up to the version of next,
// where that is newer; next is then the alert as it stands.
func (s *Store) supersede(ctx context.Context, tx bun.Tx, next *federation.Alert) (bool, error) {
	var row alertRow
	if err := s.dialect.forUpdate(tx.NewSelect().Model(&row).Where("dedup_hash = ?", next.DedupHash)).Scan(ctx); errors.Is(err, sql.ErrNoRows) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	a, newer := row.alert().Supersede(*next)
	if !newer {
		return false, nil
	}
	before := row
	*next, row = a, rowOf(a)
	if err := update(ctx, tx, &row); err != nil {
		return false, err
	}
	return true, remark(ctx, tx, before, row)
}
