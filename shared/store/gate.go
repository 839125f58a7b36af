package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// PeerGate is what the site has set for one peer and one direction.
type PeerGate struct {
	Peer      federation.SiteID
	Direction federation.Direction
	federation.GateSetting
	UpdatedAt time.Time
}

type gateRow struct {
	bun.BaseModel `bun:"table:sharing_gates,alias:g"`
	Peer          federation.SiteID        `bun:"peer,pk"`
	Direction     federation.Direction     `bun:"direction,pk"`
	MinSeverity   federation.Severity      `bun:"min_severity"`
	Sources       list[string]             `bun:"sources"`
	ExceptSources list[string]             `bun:"except_sources"`
	StripIOCs     list[federation.IOCType] `bun:"strip_iocs"`
	UpdatedAt     timestamp                `bun:"updated_at"`
}

func (r gateRow) setting() federation.GateSetting {
	return federation.GateSetting{MinSeverity: r.MinSeverity, Sources: r.Sources, ExceptSources: r.ExceptSources, StripIOCs: r.StripIOCs}
}

// PeerGates lists what is set, or was, by peer and direction. A peer may have a gate before
// it is known.
func (s *Store) PeerGates(ctx context.Context) ([]PeerGate, error) {
	var rows []gateRow
	if err := s.reader.NewSelect().Model(&rows).Order("peer", "direction").Scan(ctx); err != nil {
		return nil, failed("listing the gates", err)
	}
	gates := make([]PeerGate, len(rows))
	for i, r := range rows {
		gates[i] = PeerGate{Peer: r.Peer, Direction: r.Direction, GateSetting: r.setting(), UpdatedAt: r.UpdatedAt.Time}
	}
	return gates, nil
}

// Gates returns the gates of one direction, where def is that of a peer for which
// nothing is set. Every peer that is known or has a gate is among their Peers.
func (s *Store) Gates(ctx context.Context, own federation.SiteID, d federation.Direction, def federation.Gate) (federation.Gates, error) {
	var rows []gateRow
	if err := gatesOf(s.reader, own, d).Scan(ctx, &rows); err != nil {
		return federation.Gates{}, failed("reading the gates", err)
	}
	return gatesIn(rows, d, def), nil
}

// Inbound is what a site goes by when alerts come from peers: its gates for what comes in,
// where def is that of a peer for which none is set, and the peers between which it passes
// alerts on, in order. It is asked for every batch, so in one message.
func (s *Store) Inbound(ctx context.Context, own federation.SiteID, def federation.Gate) (gates federation.Gates, passed []federation.SiteID, err error) {
	var rows *[]gateRow
	err = s.asked(ctx, "reading the gates", func(p *pipe) {
		rows = s.askGates(p, own, federation.Inbound)
		p.add(s.asking("passed peers", func() *bun.SelectQuery { return peersPassed(s.reader) }, func(scan func(...any) error) error {
			var peer federation.SiteID
			err := scan(&peer)
			passed = append(passed, peer)
			return err
		}))
	})
	if err != nil {
		return federation.Gates{}, nil, err
	}
	return gatesIn(*rows, federation.Inbound, def), passed, nil
}

// gatesOf asks for a row of each peer that is known, and one of each gate that is set in
// one direction. In one statement: it is asked for every alert.
func gatesOf(db bun.IDB, own federation.SiteID, d federation.Direction) *bun.SelectQuery {
	known := db.NewSelect().Model((*siteRow)(nil)).ColumnExpr("id AS peer, '' AS direction, '' AS min_severity, '[]' AS sources, '[]' AS except_sources, '[]' AS strip_iocs").Where("id <> ?", own)
	set := db.NewSelect().Model((*gateRow)(nil)).Column("peer", "direction", "min_severity", "sources", "except_sources", "strip_iocs").Where("direction = ?", d)
	return known.UnionAll(set)
}

// gatesIn are the gates that the rows of [gatesOf] say.
func gatesIn(rows []gateRow, d federation.Direction, def federation.Gate) federation.Gates {
	gates := federation.Gates{Default: def, Peers: make(map[federation.SiteID]federation.Gate, len(rows))}
	for _, r := range rows {
		if r.Direction == d {
			gates.Peers[r.Peer] = r.setting().Over(def)
		} else if _, set := gates.Peers[r.Peer]; !set { // a peer that is known, in any order
			gates.Peers[r.Peer] = def
		}
	}
	return gates
}

// askGates adds [gatesOf] to a pipe; the rows are there once it has been seen.
func (s *Store) askGates(p *pipe, own federation.SiteID, d federation.Direction) *[]gateRow {
	rows := new([]gateRow)
	build := func() *bun.SelectQuery { return gatesOf(s.writer, own, d) }
	p.add(s.asking("gates "+string(own)+" "+string(d), build, func(scan func(...any) error) error {
		var r gateRow
		err := scan(&r.Peer, &r.Direction, &r.MinSeverity, &r.Sources, &r.ExceptSources, &r.StripIOCs)
		*rows = append(*rows, r)
		return err
	}))
	return rows
}

// SetGate sets the whole gate of a peer in one direction. What an earlier inbound
// gate refused is forgotten, for this one may let it in.
func (s *Store) SetGate(ctx context.Context, peer federation.SiteID, d federation.Direction, g federation.GateSetting, at time.Time) (PeerGate, error) {
	row := gateRow{Peer: peer, Direction: d, MinSeverity: g.MinSeverity, Sources: g.Sources, ExceptSources: g.ExceptSources, StripIOCs: g.StripIOCs, UpdatedAt: stamp(at)}
	err := s.write(ctx, "setting the gate of "+string(peer), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&row).On("CONFLICT (peer, direction) DO UPDATE").
			Set("min_severity = EXCLUDED.min_severity").Set("sources = EXCLUDED.sources").Set("except_sources = EXCLUDED.except_sources").
			Set("strip_iocs = EXCLUDED.strip_iocs").Set("updated_at = EXCLUDED.updated_at").Exec(ctx)
		if err != nil {
			return err
		}
		return forgetRefused(ctx, tx, peer, d)
	})
	if err != nil {
		return PeerGate{}, err
	}
	return PeerGate{Peer: peer, Direction: d, GateSetting: g, UpdatedAt: row.UpdatedAt.Time}, nil
}

// DeleteGate gives a peer the default gate again. Where it has it already nothing
// changes. When that was stays on record: what was shared before is judged by it.
func (s *Store) DeleteGate(ctx context.Context, peer federation.SiteID, d federation.Direction, at time.Time) error {
	none := gateRow{Peer: peer, Direction: d, UpdatedAt: stamp(at)}
	return s.write(ctx, "resetting the gate of "+string(peer), func(ctx context.Context, tx bun.Tx) error {
		was, err := changed(tx.NewUpdate().Model(&none).WherePK().Exec(ctx))
		if err != nil || !was {
			return err
		}
		return forgetRefused(ctx, tx, peer, d)
	})
}
