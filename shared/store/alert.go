package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

type alertRow struct {
	bun.BaseModel   `bun:"table:alerts,alias:a"`
	ID              string                 `bun:"id,pk"`
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
	OriginSite      *federation.SiteID     `bun:"origin_site"` // nil: a local alert, and so for all of the origin
	OriginName      *string                `bun:"origin_name"`
	OriginAlertID   *string                `bun:"origin_alert_id"`
	RaisedAt        timestamp              `bun:"raised_at"`
	ReceivedAt      timestamp              `bun:"received_at"`
}

func rowOf(a federation.Alert) alertRow {
	r := alertRow{
		ID: a.ID, Title: a.Title, Description: a.Description, Severity: a.Severity, TLP: a.TLP.OrDefault(), Status: a.Status, Source: a.Source, AssetType: a.AssetType,
		AffectedAssets: a.AffectedAssets, IOCs: a.IOCs, MitreTechniques: a.MitreTechniques, RawLog: a.RawLog, DedupHash: a.DedupHash,
		ObservedAt: stampOf(a.ObservedAt), CreatedAt: stamp(a.CreatedAt), UpdatedAt: stamp(a.UpdatedAt),
	}
	if o := a.Origin; o != nil {
		r.OriginSite, r.OriginName, r.OriginAlertID = &o.SiteID, &o.SiteName, &o.AlertID
		r.RaisedAt, r.ReceivedAt = stamp(o.RaisedAt), stamp(o.ReceivedAt)
	}
	return r
}

func (r alertRow) alert() federation.Alert {
	a := federation.Alert{
		ID: r.ID, Title: r.Title, Description: r.Description, Severity: r.Severity, TLP: r.TLP, Status: r.Status, Source: r.Source, AssetType: r.AssetType,
		AffectedAssets: orEmpty(r.AffectedAssets), IOCs: orEmpty(r.IOCs), MitreTechniques: orEmpty(r.MitreTechniques), RawLog: r.RawLog, DedupHash: r.DedupHash,
		ObservedAt: r.ObservedAt.pointer(), CreatedAt: r.CreatedAt.Time, UpdatedAt: r.UpdatedAt.Time,
	}
	if r.OriginSite != nil {
		a.Origin = &federation.Origin{
			SiteID: *r.OriginSite, SiteName: *r.OriginName, AlertID: *r.OriginAlertID,
			RaisedAt: r.RaisedAt.Time, ReceivedAt: r.ReceivedAt.Time,
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

// RaiseAlert stores a local alert together with what must be published about it.
// Where an alert with the same dedup hash is there, that first one is returned,
// created is false, and nothing is written.
func (s *Store) RaiseAlert(ctx context.Context, a federation.Alert, out []Outgoing) (stored federation.Alert, created bool, err error) {
	row := rowOf(a)
	err = s.write(ctx, "storing the alert", func(ctx context.Context, tx bun.Tx) error {
		if created, err = insert(ctx, tx, &row); err != nil {
			return err
		}
		if created {
			return enqueue(ctx, tx, a.CreatedAt, out...)
		}
		first := new(alertRow)
		if err := tx.NewSelect().Model(first).Where("dedup_hash = ?", row.DedupHash).Scan(ctx); err != nil {
			return err
		}
		row = *first
		return nil
	})
	if err != nil {
		return federation.Alert{}, false, err
	}
	return row.alert(), created, nil
}

// ReceiveAlerts stores alerts from peers, all in one statement, together with
// what must be published about each new one: event makes that, and may be nil.
// stored[i] says whether as[i] was new; a replay, and a double within as, is not.
func (s *Store) ReceiveAlerts(ctx context.Context, as []federation.Alert, event func(federation.Alert) Outgoing) (stored []bool, err error) {
	stored = make([]bool, len(as))
	if len(as) == 0 {
		return stored, nil
	}
	rows := make([]alertRow, 0, len(as))
	first := make(map[string]int, len(as)) // index in as by dedup hash
	for i, a := range as {
		if _, double := first[a.DedupHash]; !double {
			first[a.DedupHash] = i
			rows = append(rows, rowOf(a))
		}
	}
	// In one order, so that two replicas with overlapping batches wait for each
	// other one way only.
	slices.SortFunc(rows, func(a, b alertRow) int { return strings.Compare(a.DedupHash, b.DedupHash) })
	err = s.write(ctx, "storing alerts from peers", func(ctx context.Context, tx bun.Tx) error {
		var hashes []string
		if err := tx.NewInsert().Model(&rows).On("CONFLICT DO NOTHING").Returning("dedup_hash").Scan(ctx, &hashes); err != nil {
			return err
		}
		for _, h := range hashes {
			stored[first[h]] = true
		}
		if event == nil {
			return nil
		}
		var out []Outgoing // in the order of as
		for i, isNew := range stored {
			if isNew {
				out = append(out, event(as[i]))
			}
		}
		return enqueue(ctx, tx, as[0].CreatedAt, out...)
	})
	if err != nil {
		return nil, err
	}
	return stored, nil
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

// named makes of a row that is not there the fault that names it.
func named(err error, id string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.NotFound, "there is no alert %q at this site", id)
	}
	return err
}

// ListAlerts returns a page of the alerts that f chooses, newest first, and how
// many it chooses.
func (s *Store) ListAlerts(ctx context.Context, f ask.AlertFilter) (ask.List[federation.Alert], error) {
	f.Page = f.Page.WithDefaults()
	page := ask.List[federation.Alert]{Skip: f.Skip, Limit: f.Limit}
	var rows []alertRow
	err := s.read(ctx, "listing alerts", func(ctx context.Context, tx bun.Tx) error {
		total, err := chosen(tx.NewSelect().Model((*alertRow)(nil)), f).Count(ctx)
		if err != nil {
			return err
		}
		page.Total = int(total)
		return newest(chosen(tx.NewSelect().Model(&rows), f), f.Page).Scan(ctx)
	})
	if err != nil {
		return ask.List[federation.Alert]{}, err
	}
	page.Items = make([]federation.Alert, len(rows))
	for i, r := range rows {
		page.Items[i] = r.alert()
	}
	return page, nil
}

func chosen(q *bun.SelectQuery, f ask.AlertFilter) *bun.SelectQuery {
	if f.Severity != "" {
		q = q.Where("severity = ?", f.Severity)
	}
	if f.Status != "" {
		q = q.Where("status = ?", f.Status)
	}
	if f.Source != "" {
		q = q.Where("source = ?", f.Source)
	}
	return q
}

func newest(q *bun.SelectQuery, p ask.Page) *bun.SelectQuery {
	return q.OrderExpr("created_at DESC, id DESC").Limit(int64(p.Limit)).Offset(int64(p.Skip))
}

// UpdateAlert applies a change to an alert, together with what must be published
// about it: event makes that of the changed alert, and may be nil. A change to
// what the alert already is writes nothing.
func (s *Store) UpdateAlert(ctx context.Context, id string, p federation.AlertPatch, at time.Time, event func(federation.Alert) []Outgoing) (federation.Alert, error) {
	row := alertRow{ID: id}
	err := s.write(ctx, "changing the alert "+id, func(ctx context.Context, tx bun.Tx) error {
		if err := s.dialect.forUpdate(tx.NewSelect().Model(&row).WherePK()).Scan(ctx); err != nil {
			return named(err, id)
		}
		if row.Status == p.Status {
			return nil
		}
		row.Status, row.UpdatedAt = p.Status, stamp(at)
		if _, err := tx.NewUpdate().Model(&row).Column("status", "updated_at").WherePK().Exec(ctx); err != nil {
			return err
		}
		if event == nil {
			return nil
		}
		return enqueue(ctx, tx, at, event(row.alert())...)
	})
	if err != nil {
		return federation.Alert{}, err
	}
	return row.alert(), nil
}
