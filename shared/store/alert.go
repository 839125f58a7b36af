package store

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/ask"
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
			if err := mark(ctx, tx, row); err != nil {
				return err
			}
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
	if f.TLP != "" {
		q = q.Where("tlp = ?", f.TLP)
	}
	if f.Source != "" {
		q = q.Where("source = ?", f.Source)
	}
	return q
}

func newest(q *bun.SelectQuery, p ask.Page) *bun.SelectQuery {
	return q.OrderExpr("created_at DESC, id DESC").Limit(int64(p.Limit)).Offset(int64(p.Skip))
}

// UpdateAlert applies a change to an alert by the rules of [federation.Alert.Apply],
// together with what must be published about it: out makes that of the alert before
// and after, and may be nil. A change to what the alert already is writes nothing. What
// of a withheld alert still waits to be published never is.
func (s *Store) UpdateAlert(ctx context.Context, id string, p federation.AlertPatch, at time.Time, out func(was, now federation.Alert) ([]Outgoing, error)) (federation.Alert, error) {
	row := alertRow{ID: id}
	err := s.write(ctx, "changing the alert "+id, func(ctx context.Context, tx bun.Tx) error {
		if err := s.dialect.forUpdate(tx.NewSelect().Model(&row).WherePK()).Scan(ctx); err != nil {
			return named(err, id)
		}
		was := row.alert()
		a, err := was.Apply(p, at)
		if err != nil || reflect.DeepEqual(a, was) {
			return err
		}
		before := row
		row = rowOf(a)
		if err := update(ctx, tx, &row); err != nil {
			return err
		}
		if err := remark(ctx, tx, before, row); err != nil || out == nil {
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
		return enqueue(ctx, tx, at, messages...)
	})
	if err != nil {
		return federation.Alert{}, err
	}
	return row.alert(), nil
}
