package store

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

type alertRow struct {
	bun.BaseModel   `bun:"table:alerts,alias:a"`
	ID              string                 `bun:"id,pk"`
	Version         int                    `bun:"version"`
	Title           string                 `bun:"title"`
	Description     string                 `bun:"description"`
	Severity        federation.Severity    `bun:"severity"`
	TLP             federation.TLP         `bun:"tlp"`
	Status          federation.AlertStatus `bun:"status"`
	Source          string                 `bun:"source"`
	AssetType       string                 `bun:"asset_type"`
	AffectedAssets  list[string]           `bun:"affected_assets"`
	IOCs            list[federation.IOC]   `bun:"iocs"`
	MitreTechniques list[string]           `bun:"mitre_techniques"`
	RawLog          string                 `bun:"raw_log"`
	DedupHash       string                 `bun:"dedup_hash"`
	ObservedAt      timestamp              `bun:"observed_at"`
	CreatedAt       timestamp              `bun:"created_at"`
	UpdatedAt       timestamp              `bun:"updated_at"`
	SharedSeverity  federation.Severity    `bun:"shared_severity"`
	Retraction      string                 `bun:"retraction"`
	RetractedAt     timestamp              `bun:"retracted_at"` // NULL: not retracted

	OriginSite      *federation.SiteID      `bun:"origin_site"` // nil: a local alert, and so for all of the origin
	OriginName      *string                 `bun:"origin_name"`
	OriginAlertID   *string                 `bun:"origin_alert_id"`
	OriginStatus    *federation.AlertStatus `bun:"origin_status"`
	OriginUpdatedAt timestamp               `bun:"origin_updated_at"`
	RaisedAt        timestamp               `bun:"raised_at"`
	ReceivedAt      timestamp               `bun:"received_at"`
}

func rowOf(a federation.Alert) alertRow {
	r := alertRow{
		ID: a.ID, Version: a.Version, SharedSeverity: a.SharedSeverity, Title: a.Title, Description: a.Description, Severity: a.Severity, TLP: a.TLP.OrDefault(), Status: a.Status, Source: a.Source, AssetType: a.AssetType,
		AffectedAssets: a.AffectedAssets, IOCs: a.IOCs, MitreTechniques: a.MitreTechniques, RawLog: a.RawLog, DedupHash: a.DedupHash,
		ObservedAt: stampOf(a.ObservedAt), CreatedAt: stamp(a.CreatedAt), UpdatedAt: stamp(a.UpdatedAt),
	}
	if a.Retraction != nil {
		r.Retraction, r.RetractedAt = a.Retraction.Reason, stamp(a.Retraction.At)
	}
	if o := a.Origin; o != nil {
		r.OriginSite, r.OriginName, r.OriginAlertID, r.OriginStatus = &o.SiteID, &o.SiteName, &o.AlertID, &o.Status
		r.RaisedAt, r.ReceivedAt, r.OriginUpdatedAt = stamp(o.RaisedAt), stamp(o.ReceivedAt), stamp(o.UpdatedAt)
	}
	return r
}

func (r alertRow) alert() federation.Alert {
	a := federation.Alert{
		ID: r.ID, Version: r.Version, SharedSeverity: r.SharedSeverity, Title: r.Title, Description: r.Description, Severity: r.Severity, TLP: r.TLP, Status: r.Status, Source: r.Source, AssetType: r.AssetType,
		AffectedAssets: orEmpty(r.AffectedAssets), IOCs: orEmpty(r.IOCs), MitreTechniques: orEmpty(r.MitreTechniques), RawLog: r.RawLog, DedupHash: r.DedupHash,
		ObservedAt: r.ObservedAt.pointer(), CreatedAt: r.CreatedAt.Time, UpdatedAt: r.UpdatedAt.Time,
	}
	if !r.RetractedAt.IsZero() {
		a.Retraction = &federation.Retraction{At: r.RetractedAt.Time, Reason: r.Retraction}
	}
	if r.OriginSite != nil {
		a.Origin = &federation.Origin{
			SiteID: *r.OriginSite, SiteName: *r.OriginName, AlertID: *r.OriginAlertID, Status: *r.OriginStatus,
			RaisedAt: r.RaisedAt.Time, ReceivedAt: r.ReceivedAt.Time, UpdatedAt: r.OriginUpdatedAt.Time,
		}
	}
	return a
}

func orEmpty[T any](l list[T]) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// Raising is a local alert to be stored with all that belongs to it.
type Raising struct {
	Alert federation.Alert
	// Out makes what must be published about it alone, where it is new, by the gates of
	// the peers; nil: nothing.
	Out func(federation.Gates) ([]Outgoing, error)
	// Audit, where not nil, gives the record of what became of it, which is written in
	// the same transaction.
	Audit func(stored federation.Alert, created bool) access.Entry
}

// RaisedAlert is what became of a [Raising]: the alert as it is stored. Where one with
// the same dedup hash was there, it is that first one, and Created is false.
type RaisedAlert struct {
	Alert   federation.Alert
	Created bool
	Shared  bool // something is published about it alone
}

// Raised is what became of alerts that were raised together.
type Raised struct {
	Alerts []RaisedAlert    // in their order
	Gates  federation.Gates // by which they were shared
	Queued []Queued         // what was put into the outbox
}

// RaiseAlert is [Store.RaiseAlerts] for one alert, without a record, with what must be
// published about it whatever the gates say.
func (s *Store) RaiseAlert(ctx context.Context, a federation.Alert, out []Outgoing) (stored federation.Alert, created bool, err error) {
	all := []Raising{{Alert: a, Out: func(federation.Gates) ([]Outgoing, error) { return out, nil }}}
	raised, err := s.RaiseAlerts(ctx, "", federation.Gate{}, all, nil)
	if err != nil {
		return federation.Alert{}, false, err
	}
	return raised.Alerts[0].Alert, raised.Alerts[0].Created, nil
}

// RaiseAlerts stores local alerts of the site own, all in one transaction, each with what
// must be published about it and its record. gate is that of a peer for which none is
// set. Of doubles among the alerts the first counts. Of an alert that duplicates one
// nothing is written but the record. tell makes what must be published about those that
// are new together, and may be nil.
func (s *Store) RaiseAlerts(ctx context.Context, own federation.SiteID, gate federation.Gate, all []Raising, tell func(created []federation.Alert) []Outgoing) (raised Raised, err error) {
	if len(all) == 0 {
		return Raised{}, nil
	}
	rows := make([]alertRow, 0, len(all))
	first := make(map[string]int, len(all)) // index in all by dedup hash
	audited := false
	for i, r := range all {
		if _, double := first[r.Alert.DedupHash]; !double {
			first[r.Alert.DedupHash] = i
			rows = append(rows, rowOf(r.Alert))
		}
		audited = audited || r.Audit != nil
	}
	sortByHash(rows)
	var out []outboxRow
	err = s.piped(ctx, "storing "+alertsWord(len(all)), func(ctx context.Context, p *pipe) error {
		raised = Raised{Alerts: make([]RaisedAlert, len(all))}
		gates := s.askGates(p, own, federation.Outbound)
		var hashes []string
		alerts, err := inserting(p, rows, passOver, "dedup_hash", appendTo(&hashes))
		if err != nil {
			return err
		}
		p.add(alerts)
		var head *access.Head
		if audited {
			head = s.lockAudit(p) // last, for it holds up every other who writes a record
		}
		tx, err := p.see(ctx)
		if err != nil {
			return err
		}
		raised.Gates = gatesIn(*gates, federation.Outbound, gate)
		stored := make(map[string]alertRow, len(rows))
		for _, r := range rows {
			stored[r.DedupHash] = r
		}
		created := make(map[string]bool, len(hashes))
		for _, h := range hashes {
			created[h] = true
		}
		if len(created) < len(rows) {
			if err := theFirst(ctx, tx, stored, created); err != nil {
				return err
			}
		}
		fresh := slices.DeleteFunc(slices.Clone(rows), func(r alertRow) bool { return !created[r.DedupHash] })
		if err := mark(p, fresh...); err != nil {
			return err
		}
		var records []access.Entry
		var told []federation.Alert
		for i, r := range all {
			hash := r.Alert.DedupHash
			raised.Alerts[i] = RaisedAlert{Alert: stored[hash].alert(), Created: created[hash] && first[hash] == i}
			if raised.Alerts[i].Created {
				told = append(told, raised.Alerts[i].Alert)
				if r.Out != nil {
					messages, err := r.Out(raised.Gates)
					if err != nil {
						return err
					}
					raised.Alerts[i].Shared = len(messages) > 0
					out = append(out, outboxRows(ctx, r.Alert.CreatedAt, messages)...)
				}
			}
			if r.Audit != nil {
				records = append(records, r.Audit(raised.Alerts[i].Alert, raised.Alerts[i].Created))
			}
		}
		if tell != nil && len(told) > 0 {
			out = append(out, outboxRows(ctx, told[0].CreatedAt, tell(told))...)
		}
		if err := putOut(p, out); err != nil {
			return err
		}
		if !audited {
			return nil
		}
		return s.appendRecords(p, *head, records)
	})
	if err != nil {
		return Raised{}, err
	}
	raised.Queued = queuedOf(out) // with the ids that they have got
	return raised, nil
}

func alertsWord(n int) string {
	if n == 1 {
		return "the alert"
	}
	return strconv.Itoa(n) + " alerts"
}

// sortByHash gives rows that are inserted together the one order in which all insert,
// so that two who insert the same wait for each other one way only.
func sortByHash(rows []alertRow) {
	slices.SortFunc(rows, func(a, b alertRow) int { return strings.Compare(a.DedupHash, b.DedupHash) })
}

// theFirst puts in place of each row that was not created the one that was there.
func theFirst(ctx context.Context, tx bun.IDB, stored map[string]alertRow, created map[string]bool) error {
	var doubles []string
	for hash := range stored {
		if !created[hash] {
			doubles = append(doubles, hash)
		}
	}
	var there []alertRow
	if err := tx.NewSelect().Model(&there).Where("dedup_hash IN ?", bun.Tuple(doubles)).Scan(ctx); err != nil {
		return err
	}
	if len(there) != len(doubles) {
		return sql.ErrNoRows // it was there, and has been deleted meanwhile
	}
	for _, r := range there {
		stored[r.DedupHash] = r
	}
	return nil
}

// Alert returns one alert, or NotFound.
func (s *Store) Alert(ctx context.Context, id string) (federation.Alert, error) {
	row := alertRow{ID: id}
	err := s.reader.NewSelect().Model(&row).WherePK().Scan(ctx)
	if err := named(err, id); err != nil {
		return federation.Alert{}, failed("reading the alert "+id, err)
	}
	return row.alert(), nil
}

// AlertsOf returns alerts by their ids; one that is not here is left out.
func (s *Store) AlertsOf(ctx context.Context, ids []string) (map[string]federation.Alert, error) {
	var rows []alertRow
	if err := s.reader.NewSelect().Model(&rows).Where("id IN ?", bun.Tuple(ids)).Scan(ctx); err != nil {
		return nil, failed("reading alerts", err)
	}
	found := make(map[string]federation.Alert, len(rows))
	for _, r := range rows {
		found[r.ID] = r.alert()
	}
	return found, nil
}

// named makes of a row that is not there the fault that names it.
func named(err error, id string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.NotFound, "there is no alert %q at this site", id)
	}
	return err
}

// CountAlertsOf counts all alerts of some origins, which reads the place of each. One of which there
// is none has 0.
func (s *Store) CountAlertsOf(ctx context.Context, origins []federation.SiteID) (map[federation.SiteID]int, error) {
	counts := make(map[federation.SiteID]int, len(origins))
	if len(origins) == 0 {
		return counts, nil
	}
	var rows []struct {
		OriginSite federation.SiteID `bun:"origin_site"`
		Alerts     int               `bun:"alerts"`
	}
	err := s.reader.NewSelect().Model((*alertRow)(nil)).Column("origin_site").ColumnExpr("count(*) AS alerts").
		Where("origin_site IN ?", bun.Tuple(origins)).Group("origin_site").Scan(ctx, &rows)
	for _, r := range rows {
		counts[r.OriginSite] = r.Alerts
	}
	return counts, failed("counting alerts", err)
}

// UpdateAlert applies a change to an alert by the rules of [federation.Alert.Apply],
// together with what must be published about it: out makes that of the alert before
// and after, and may be nil. A change to what the alert already is writes nothing. What
// of a withheld alert still waits to be published never is.
func (s *Store) UpdateAlert(ctx context.Context, id string, patch federation.AlertPatch, at time.Time, out func(was, now federation.Alert) ([]Outgoing, error)) (federation.Alert, error) {
	row := alertRow{ID: id}
	err := s.piped(ctx, "changing the alert "+id, func(ctx context.Context, p *pipe) error {
		tx, err := p.see(ctx)
		if err != nil {
			return err
		}
		if err := s.dialect.forUpdate(tx.NewSelect().Model(&row).WherePK()).Scan(ctx); err != nil {
			return named(err, id)
		}
		was := row.alert()
		a, err := was.Apply(patch, at)
		if err != nil || reflect.DeepEqual(a, was) {
			return err
		}
		before := row
		row = rowOf(a)
		if err := update(ctx, tx, &row); err != nil {
			return err
		}
		if err := remark(ctx, p, before, row); err != nil || out == nil {
			return err
		}
		if a.Origin == nil && a.Withheld() {
			if _, err := tx.NewDelete().Model((*outboxRow)(nil)).Where("alert_id = ?", a.ID).Where("version < ?", a.Version).Exec(ctx); err != nil {
				return err
			}
		}
		messages, err := out(was, a)
		if err != nil {
			return err
		}
		return putOut(p, outboxRows(ctx, at, messages))
	})
	if err != nil {
		return federation.Alert{}, err
	}
	return row.alert(), nil
}
