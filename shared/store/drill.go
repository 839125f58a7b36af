package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/drillreport"
)

// keptDrills is how many drills the site remembers.
const keptDrills = 20

type drillRow struct {
	bun.BaseModel `bun:"table:drills,alias:d"`
	Run           string    `bun:"run,pk"`
	KeptAt        timestamp `bun:"kept_at"`
	Report        string    `bun:"report"`
}

// KeepDrill stores the report of a drill, and lets go of the oldest where there are
// over 20. A second report of the same drill changes nothing.
func (s *Store) KeepDrill(ctx context.Context, r drillreport.Report, at time.Time) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding the report of a drill: %w", err)
	}
	row := drillRow{Run: r.Run, KeptAt: stamp(at), Report: string(data)}
	return s.write(ctx, "keeping the report of a drill", func(ctx context.Context, tx bun.Tx) error {
		if _, err := insert(ctx, tx, &row); err != nil {
			return err
		}
		newest := tx.NewSelect().Model((*drillRow)(nil)).Column("run").OrderExpr("kept_at DESC, run DESC").Limit(keptDrills)
		_, err := tx.NewDelete().Model((*drillRow)(nil)).Where("run NOT IN (?)", newest).Exec(ctx)
		return err
	})
}

// Drills returns the reports of the last drills, the newest first.
func (s *Store) Drills(ctx context.Context) ([]drillreport.Report, error) {
	var rows []drillRow
	if err := s.reader.NewSelect().Model(&rows).OrderExpr("kept_at DESC, run DESC").Scan(ctx); err != nil {
		return nil, failed("reading the reports of the drills", err)
	}
	all := make([]drillreport.Report, len(rows))
	for i, r := range rows {
		if err := json.Unmarshal([]byte(r.Report), &all[i]); err != nil {
			return nil, fmt.Errorf("reading the report of the drill %s: %w", r.Run, err)
		}
	}
	return all, nil
}
