package store

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// RuleDeadLetter is the rule of a refusal that no gate made: the alert is among the dead letters.
const RuleDeadLetter federation.SharingRule = "dead_letter"

// RefusedAlert is an alert of a peer that this site will not have, and why.
type RefusedAlert struct {
	OriginSite federation.SiteID
	OriginID   string
	Version    int // of the alert
	Rule       federation.SharingRule
	Reason     string
	RaisedAt   time.Time // the origin's clock
	At         time.Time
}

type refusedRow struct {
	bun.BaseModel `bun:"table:refused_alerts,alias:r"`
	OriginSite    federation.SiteID      `bun:"origin_site,pk"`
	OriginAlertID string                 `bun:"origin_alert_id,pk"`
	Version       int                    `bun:"version"`
	Rule          federation.SharingRule `bun:"rule"`
	Reason        string                 `bun:"reason"`
	RaisedAt      timestamp              `bun:"raised_at"`
	At            timestamp              `bun:"at"`
}

// stands reports whether the refusal counts where the alert is here in a version, 0 where it is
// not. A gate refuses no further version of one that is here: what was noted while that was
// being stored is asked for again.
func (r refusedRow) stands(here int) bool {
	return r.Version > here && (here == 0 || r.Rule == RuleDeadLetter)
}

// forgetRefused lets go of what the inbound gate of a peer has refused.
func forgetRefused(ctx context.Context, tx bun.Tx, origin federation.SiteID, d federation.Direction) error {
	if d != federation.Inbound {
		return nil
	}
	_, err := tx.NewDelete().Model((*refusedRow)(nil)).Where("origin_site = ?", origin).Where("rule <> ?", RuleDeadLetter).Exec(ctx)
	return err
}

// noteRefused notes alerts that are refused; of several versions the newest counts.
func noteRefused(ctx context.Context, tx bun.IDB, refused []RefusedAlert) error {
	if len(refused) == 0 {
		return nil
	}
	type key struct {
		site federation.SiteID
		id   string
	}
	newest := map[key]refusedRow{} // one statement must not write a row twice
	for _, r := range refused {
		k := key{r.OriginSite, r.OriginID}
		if was, double := newest[k]; !double || r.Version > was.Version {
			newest[k] = refusedRow{
				OriginSite: r.OriginSite, OriginAlertID: r.OriginID, Version: r.Version, Rule: r.Rule, Reason: r.Reason,
				RaisedAt: stamp(r.RaisedAt), At: stamp(r.At),
			}
		}
	}
	// In one order, so that two replicas wait for each other one way only.
	rows := slices.SortedFunc(maps.Values(newest), func(a, b refusedRow) int {
		return cmp.Or(cmp.Compare(a.OriginSite, b.OriginSite), strings.Compare(a.OriginAlertID, b.OriginAlertID))
	})
	_, err := tx.NewInsert().Model(&rows).On("CONFLICT (origin_site, origin_alert_id) DO UPDATE").
		Set("version = EXCLUDED.version").Set("rule = EXCLUDED.rule").Set("reason = EXCLUDED.reason").Set("at = EXCLUDED.at").
		Where("EXCLUDED.version >= r.version").Exec(ctx)
	return err
}

// NoteRefused notes alerts that this site will not have, where nothing is stored with them.
func (s *Store) NoteRefused(ctx context.Context, refused ...RefusedAlert) error {
	return s.write(ctx, "noting refused alerts", func(ctx context.Context, tx bun.Tx) error { return noteRefused(ctx, tx, refused) })
}

// readmit adds to a pipe what lets go of the notes about alerts that are here from now on.
func readmit(p *pipe, as []federation.Alert) {
	ids := map[federation.SiteID][]string{}
	for _, a := range as {
		if o := a.Origin; o != nil {
			ids[o.SiteID] = append(ids[o.SiteID], o.AlertID)
		}
	}
	for _, site := range slices.Sorted(maps.Keys(ids)) {
		p.add(statement{
			query: "DELETE FROM refused_alerts WHERE origin_site = $1 AND origin_alert_id = ANY($2)", args: []any{string(site), ids[site]}, anew: true,
			alone: func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.NewDelete().Model((*refusedRow)(nil)).Where("origin_site = ?", site).Where("origin_alert_id IN ?", bun.Tuple(ids[site])).Exec(ctx)
				return err
			},
		})
	}
}

// RefusedAlerts lists the alerts of an origin that this site will not have, by id.
func (s *Store) RefusedAlerts(ctx context.Context, origin federation.SiteID) ([]RefusedAlert, error) {
	var rows []refusedRow
	if err := s.reader.NewSelect().Model(&rows).Where("origin_site = ?", origin).Order("origin_alert_id").Scan(ctx); err != nil {
		return nil, failed("listing the refused alerts of "+string(origin), err)
	}
	refused := make([]RefusedAlert, len(rows))
	for i, r := range rows {
		refused[i] = RefusedAlert{
			OriginSite: r.OriginSite, OriginID: r.OriginAlertID, Version: r.Version, Rule: r.Rule, Reason: r.Reason, RaisedAt: r.RaisedAt.Time, At: r.At.Time,
		}
	}
	return refused, nil
}

// Received says which of the alerts with the given dedup hashes are here.
func (s *Store) Received(ctx context.Context, hashes []string) (map[string]bool, error) {
	here := map[string]bool{}
	if len(hashes) == 0 {
		return here, nil
	}
	var found []string
	err := s.reader.NewSelect().Model((*alertRow)(nil)).Column("dedup_hash").Where("dedup_hash IN ?", bun.Tuple(hashes)).Scan(ctx, &found)
	for _, h := range found {
		here[h] = true
	}
	return here, failed("asking which alerts are here", err)
}
