package store

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

type trustRow struct {
	bun.BaseModel `bun:"table:trusted_keys,alias:k"`
	Site          federation.SiteID   `bun:"site,pk"`
	Key           string              `bun:"key"`
	PinnedBy      federation.PinnedBy `bun:"pinned_by"`
	PinnedAt      timestamp           `bun:"pinned_at"`
	RefusedReason string              `bun:"refused_reason"`
	RefusedKey    string              `bun:"refused_key"`
	RefusedAt     timestamp           `bun:"refused_at"`
}

func (r trustRow) trusted(own federation.SiteID) federation.TrustedKey {
	t := federation.TrustedKey{Site: r.Site, Local: r.Site == own, Key: r.Key, PinnedBy: r.PinnedBy, PinnedAt: r.PinnedAt.Time}
	if !r.RefusedAt.IsZero() {
		t.Refused = &federation.KeyRefusal{Reason: r.RefusedReason, Key: r.RefusedKey, At: r.RefusedAt.Time}
	}
	return t
}

// TrustedKeys lists the keys that are pinned, by site.
func (s *Store) TrustedKeys(ctx context.Context, own federation.SiteID) ([]federation.TrustedKey, error) {
	var rows []trustRow
	if err := s.reader.NewSelect().Model(&rows).Order("site").Scan(ctx); err != nil {
		return nil, failed("listing the pinned keys", err)
	}
	keys := make([]federation.TrustedKey, len(rows))
	for i, r := range rows {
		keys[i] = r.trusted(own)
	}
	return keys, nil
}

// TrustedKey is the key that is pinned for a site, NotFound where none is.
func (s *Store) TrustedKey(ctx context.Context, site federation.SiteID) (string, error) {
	var key string
	err := s.reader.NewSelect().Model((*trustRow)(nil)).Column("key").Where("site = ?", site).Scan(ctx, &key)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fault.New(fault.NotFound, "no key is pinned for %s", site)
	}
	return key, failed("reading the pinned key of "+string(site), err)
}

// TrustedKeysOf is the keys that are pinned for sites, without those for which none is.
func (s *Store) TrustedKeysOf(ctx context.Context, sites []federation.SiteID) (map[federation.SiteID]string, error) {
	keys := make(map[federation.SiteID]string, len(sites))
	if len(sites) == 0 {
		return keys, nil
	}
	var rows []trustRow
	if err := s.reader.NewSelect().Model(&rows).Column("site", "key").Where("site IN ?", bun.Tuple(sites)).Scan(ctx); err != nil {
		return nil, failed("reading pinned keys", err)
	}
	for _, r := range rows {
		keys[r.Site] = r.Key
	}
	return keys, nil
}

// PinFirstSeen pins the key with which each site was heard for the first time, unless
// one is pinned, and returns those that are then: of several at once one is first.
func (s *Store) PinFirstSeen(ctx context.Context, heard map[federation.SiteID]string, at time.Time) (map[federation.SiteID]string, error) {
	sites := slices.Sorted(maps.Keys(heard)) // in one order, so that two who pin the same wait for each other in no circle
	rows := make([]trustRow, len(sites))
	for i, site := range sites {
		rows[i] = trustRow{Site: site, Key: heard[site], PinnedBy: federation.FirstSeen, PinnedAt: stamp(at)}
	}
	err := s.write(ctx, "pinning the keys of sites", func(ctx context.Context, tx bun.Tx) error {
		return insertAll(ctx, tx, rows, true, "", nil)
	})
	if err != nil {
		return nil, err
	}
	return s.TrustedKeysOf(ctx, sites)
}

// PinKey pins the key of a site because an administrator says so, in place of
// whatever was pinned. What was refused before is forgotten.
func (s *Store) PinKey(ctx context.Context, own, site federation.SiteID, key string, at time.Time) (federation.TrustedKey, error) {
	row := trustRow{Site: site, Key: key, PinnedBy: federation.Administrator, PinnedAt: stamp(at)}
	err := s.write(ctx, "pinning the key of "+string(site), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&row).On("CONFLICT (site) DO UPDATE").
			Set("key = EXCLUDED.key").Set("pinned_by = EXCLUDED.pinned_by").Set("pinned_at = EXCLUDED.pinned_at").
			Set("refused_reason = EXCLUDED.refused_reason").Set("refused_key = EXCLUDED.refused_key").Set("refused_at = EXCLUDED.refused_at").Exec(ctx)
		return err
	})
	return row.trusted(own), err
}

// UnpinKey lets go of the key of a site, so that the next with which it is heard is
// pinned: NotFound where none is.
func (s *Store) UnpinKey(ctx context.Context, own, site federation.SiteID) (federation.TrustedKey, error) {
	var row trustRow
	err := s.write(ctx, "unpinning the key of "+string(site), func(ctx context.Context, tx bun.Tx) error {
		err := tx.NewDelete().Model(&row).Where("site = ?", site).Returning("*").Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.New(fault.NotFound, "no key is pinned for %s", site)
		}
		return err
	})
	return row.trusted(own), err
}

// NoteKeyRefused notes what came in the name of a site with a pinned key and was not
// taken, also at the link to it, where it explains why no heartbeat comes.
func (s *Store) NoteKeyRefused(ctx context.Context, own, site federation.SiteID, r federation.KeyRefusal) error {
	return s.write(ctx, "noting what was refused in the name of "+string(site), func(ctx context.Context, tx bun.Tx) error {
		known, err := changed(tx.NewUpdate().Model((*trustRow)(nil)).Set("refused_reason = ?", r.Reason).Set("refused_key = ?", r.Key).Set("refused_at = ?", stamp(r.At)).
			Where("site = ?", site).Exec(ctx))
		if err != nil || !known || site == own {
			return err
		}
		link := linkRow{ID: federation.LinkID(own, site)}
		err = s.dialect.forUpdate(tx.NewSelect().Model(&link).WherePK()).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		link.Probe.V.KeyRefusedAt = stamp(r.At).Time
		_, err = tx.NewUpdate().Model(&link).Column("probe").WherePK().Exec(ctx)
		return err
	})
}
