package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

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

// Received is what became of alerts that came from peers together.
type Received struct {
	Arrivals []Arrival // of each, in their order
	Queued   []Queued  // what was put into the outbox
}

// ReceiveAlerts stores alerts from peers: the new ones together, and a
// newer version of one that is here by the rules of [federation.Alert.Supersede].
// tell makes what must be published with it, given those two, and may be nil.
// Of doubles within as the newest counts, and every other one is a replay. In the transaction of the alert one which is here
// now is refused no longer; those that were refused are noted too.
func (s *Store) ReceiveAlerts(ctx context.Context, as []federation.Alert, tell func([]Arrived) []Outgoing, refused ...RefusedAlert) (got Received, err error) {
	if len(as)+len(refused) == 0 {
		return Received{Arrivals: []Arrival{}}, nil
	}
	const doing = "storing alerts from peers"
	var at time.Time
	if len(as) > 0 {
		at = as[0].UpdatedAt
	} else {
		at = refused[0].At
	}
	var rows []outboxRow
	receive := func(fresh storeFresh) error {
		rows = nil
		return s.piped(ctx, doing, func(ctx context.Context, p *pipe) (err error) {
			if len(refused) > 0 {
				tx, err := p.see(ctx)
				if err == nil {
					err = noteRefused(ctx, tx, refused)
				}
				if err != nil {
					return err
				}
			}
			var arrived []Arrived
			if got.Arrivals, arrived, err = s.receive(ctx, p, as, fresh); err != nil || tell == nil {
				return err
			}
			out := tell(arrived)
			if err := overtake(ctx, p, out); err != nil {
				return err
			}
			rows = outboxRows(ctx, at, out)
			return putOut(p, rows)
		})
	}
	if err := s.copyingOrNot(len(as), receive); err != nil {
		return Received{}, err
	}
	got.Queued = queuedOf(rows) // with the ids that they have got
	return got, nil
}

// StoresBeside reports whether two transactions that write can be under way at a time.
func (s *Store) StoresBeside() bool { return s.dialect.copies }

// copyingOrNot has n alerts received, by COPY where that is worth it and nothing conflicts.
func (s *Store) copyingOrNot(n int, receive func(storeFresh) error) error {
	if s.dialect.copies && n >= worthCopying {
		if err := receive(copyFresh); err == nil || !isConflict(err) {
			return err
		}
	}
	return receive(insertFresh)
}

// receive is what ReceiveAlerts stores, within its transaction; arrived is in the order of as.
func (s *Store) receive(ctx context.Context, p *pipe, as []federation.Alert, fresh storeFresh) (arrivals []Arrival, arrived []Arrived, err error) {
	arrivals = make([]Arrival, len(as))
	if len(as) == 0 {
		return arrivals, nil, nil
	}
	newest := make(map[string]int, len(as)) // index in as by dedup hash
	for i, a := range as {
		if j, double := newest[a.DedupHash]; !double || a.Version > as[j].Version {
			newest[a.DedupHash] = i
		}
	}
	rows := make([]alertRow, 0, len(newest))
	for i, a := range as {
		if newest[a.DedupHash] == i {
			rows = append(rows, rowOf(a))
		}
	}
	sortByOrigin(rows)
	var later []int // in as; a first version is newer than none
	for _, r := range rows {
		if r.Version > 1 {
			later = append(later, newest[r.DedupHash])
		}
	}
	readmit(p, as)
	// Of a retracted alert that is not here there is nothing to store.
	stored, err := fresh(ctx, p, slices.DeleteFunc(rows, func(r alertRow) bool { return !r.RetractedAt.IsZero() }))
	if err != nil {
		return nil, nil, err
	}
	for _, r := range stored {
		arrivals[newest[r.DedupHash]] = Stored
	}
	kept := map[int]federation.Alert{} // what was here, as it stands now
	for _, i := range later {
		if arrivals[i] == Stored {
			continue
		}
		a := as[i]
		updated, err := s.supersede(ctx, p, &a)
		if err != nil {
			return nil, nil, err
		}
		if updated {
			arrivals[i], kept[i] = Updated, a
		}
	}
	arrived = make([]Arrived, 0, len(as))
	for i, arrival := range arrivals {
		switch arrival {
		case Stored:
			arrived = append(arrived, Arrived{as[i], arrival})
		case Updated:
			arrived = append(arrived, Arrived{kept[i], arrival})
		case Replayed:
		}
	}
	return arrivals, arrived, nil
}

// AlertOf is the alert of an origin that has the id given there: NotFound where it is not here.
func (s *Store) AlertOf(ctx context.Context, origin federation.SiteID, id string) (federation.Alert, error) {
	var row alertRow
	err := s.reader.NewSelect().Model(&row).Where("dedup_hash = ?", federation.ReplayHash(origin, id)).Scan(ctx)
	if err != nil {
		return federation.Alert{}, failed("reading an alert of "+string(origin), named(err, id))
	}
	return row.alert(), nil
}

// sortByOrigin gives alerts from peers the one order in which all store them, so that
// two who store the same wait for each other one way only. It is nearly the order in
// which they were raised, and so that of most indexes.
func sortByOrigin(rows []alertRow) {
	slices.SortFunc(rows, func(a, b alertRow) int {
		return cmp.Or(cmp.Compare(*a.OriginSite, *b.OriginSite), strings.Compare(*a.OriginAlertID, *b.OriginAlertID))
	})
}

// storeFresh stores alerts that are not here yet, with their marks, and returns them.
// Those that are here it passes over. rows are its own from then on.
type storeFresh func(ctx context.Context, p *pipe, rows []alertRow) (stored []alertRow, err error)

func insertFresh(ctx context.Context, p *pipe, rows []alertRow) ([]alertRow, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	var inserted []string
	alerts, err := inserting(p, rows, passOver, "dedup_hash", appendTo(&inserted))
	if err != nil {
		return nil, err
	}
	p.add(alerts)
	if _, err := p.see(ctx); err != nil {
		return nil, err
	}
	stored := withHashes(rows, inserted, true)
	return stored, mark(p, stored...)
}

// worthCopying is from how many alerts on COPY takes less than an INSERT of as many.
const worthCopying = 50

// copyFresh is insertFresh by COPY on the connection of the transaction. COPY cannot
// pass over what is here, so that is asked before; where another transaction stores
// one of the same alerts meanwhile, it fails with what [isConflict] tells.
func copyFresh(ctx context.Context, p *pipe, rows []alertRow) ([]alertRow, error) {
	hashes := make([]string, len(rows))
	for i, r := range rows {
		hashes[i] = r.DedupHash
	}
	// One by one, by the index: the planner would rather read a table that is not large yet as a whole.
	var here []string
	p.add(statement{
		query: "SELECT h FROM unnest($1::text[]) AS h, LATERAL (SELECT FROM alerts WHERE dedup_hash = h LIMIT 1) AS a", args: []any{hashes}, anew: true,
		row: appendTo(&here),
	})
	if _, err := p.see(ctx); err != nil {
		return nil, err
	}
	stored := withHashes(rows, here, false)
	if err := copyAll(ctx, p.conn, stored); err != nil {
		return nil, err
	}
	return stored, copyAll(ctx, p.conn, allMarksOf(stored))
}

// withHashes are the rows whose dedup hash is among the given, or those where it is not. They
// are where all the rows were.
func withHashes(rows []alertRow, hashes []string, among bool) []alertRow {
	given := make(map[string]bool, len(hashes))
	for _, h := range hashes {
		given[h] = true
	}
	return slices.DeleteFunc(rows, func(r alertRow) bool { return given[r.DedupHash] != among })
}

// supersede brings the row of an alert from a peer up to the version of next,
// where that is newer; next is then the alert as it stands.
func (s *Store) supersede(ctx context.Context, p *pipe, next *federation.Alert) (bool, error) {
	tx, err := p.see(ctx)
	if err != nil {
		return false, err
	}
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
	return true, remark(ctx, p, before, row)
}
