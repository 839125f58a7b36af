package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

type toldRow struct {
	bun.BaseModel `bun:"table:told_views,alias:tv"`
	Peer          federation.SiteID             `bun:"peer,pk"`
	View          document[federation.LinkView] `bun:"view"`
}

// Told is what this site has told its peers of the link to each, by the peer. One that is not
// there is to be told.
func (s *Store) Told(ctx context.Context) (map[federation.SiteID]federation.LinkView, error) {
	var rows []toldRow
	if err := s.reader.NewSelect().Model(&rows).Scan(ctx); err != nil {
		return nil, failed("reading what the peers were told of their links", err)
	}
	told := make(map[federation.SiteID]federation.LinkView, len(rows))
	for _, r := range rows {
		told[r.Peer] = r.View.V
	}
	return told, nil
}

// NoteTold notes what this site tells its peers of the links to them.
func (s *Store) NoteTold(ctx context.Context, views []federation.LinkView) error {
	if len(views) == 0 {
		return nil
	}
	rows := make([]toldRow, len(views))
	for i, v := range views {
		rows[i] = toldRow{Peer: v.Peer, View: document[federation.LinkView]{V: v}}
	}
	// In the order in which RecordGossips locks them.
	slices.SortFunc(rows, func(a, b toldRow) int { return cmp.Compare(a.Peer, b.Peer) })
	_, err := s.writer.NewInsert().Model(&rows).On("CONFLICT (peer) DO UPDATE").Set("view = EXCLUDED.view").Exec(ctx)
	return failed("noting what the peers are told of their links", err)
}

// forgetTold has a peer told anew.
func forgetTold(ctx context.Context, tx bun.Tx, peer federation.SiteID) error {
	_, err := tx.NewDelete().Model((*toldRow)(nil)).Where("peer = ?", peer).Exec(ctx)
	return err
}
