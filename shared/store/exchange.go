package store

import (
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// RelayedPeer is a peer that gets what this site raises by the hub.
type RelayedPeer struct {
	Peer  federation.SiteID
	Since time.Time
	// Sequence is the last of the stream of shared alerts as that began: what is up to
	// there the peer gets, or got, from this site itself.
	Sequence uint64
	// Direct says that it still pulls that here.
	Direct bool
}

type relayedRow struct {
	bun.BaseModel `bun:"table:relayed_peers,alias:rp"`
	Peer          federation.SiteID `bun:"peer,pk"`
	Since         timestamp         `bun:"since"`
	Sequence      int64             `bun:"sequence"`
	Direct        bool              `bun:"direct"`
}

// RelayedPeers is the peers that get what this site raises by the hub.
func (s *Store) RelayedPeers(ctx context.Context) (map[federation.SiteID]RelayedPeer, error) {
	var rows []relayedRow
	if err := s.reader.NewSelect().Model(&rows).Scan(ctx); err != nil {
		return nil, failed("listing the relayed peers", err)
	}
	all := make(map[federation.SiteID]RelayedPeer, len(rows))
	for _, r := range rows {
		all[r.Peer] = RelayedPeer{Peer: r.Peer, Since: r.Since.Time, Sequence: uint64(r.Sequence), Direct: r.Direct}
	}
	return all, nil
}

// BeginRelayed notes that a peer gets what this site raises by the hub from now on.
// Where it does already nothing changes.
func (s *Store) BeginRelayed(ctx context.Context, p RelayedPeer) error {
	row := relayedRow{Peer: p.Peer, Since: stamp(p.Since), Sequence: int64(p.Sequence), Direct: p.Direct}
	_, err := s.writer.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx)
	return failed("noting a relayed peer", err)
}

// RelayedOnly notes that a relayed peer has what was before it was one.
func (s *Store) RelayedOnly(ctx context.Context, peer federation.SiteID) error {
	_, err := s.writer.NewUpdate().Model((*relayedRow)(nil)).Set("direct = ?", false).Where("peer = ?", peer).Exec(ctx)
	return failed("noting a relayed peer", err)
}

// EndRelayed notes that a peer pulls from this site itself.
func (s *Store) EndRelayed(ctx context.Context, peer federation.SiteID) error {
	_, err := s.writer.NewDelete().Model((*relayedRow)(nil)).Where("peer = ?", peer).Exec(ctx)
	return failed("noting that a peer is relayed no longer", err)
}

type passedRow struct {
	bun.BaseModel `bun:"table:passed_peers,alias:pp"`
	Peer          federation.SiteID `bun:"peer,pk"`
	Since         timestamp         `bun:"since"`
}

// PassedPeers lists the peers between which this site passes alerts on, in order.
func (s *Store) PassedPeers(ctx context.Context) ([]federation.SiteID, error) {
	var peers []federation.SiteID
	err := peersPassed(s.reader).Scan(ctx, &peers)
	return peers, failed("listing for whom alerts are passed on", err)
}

func peersPassed(db bun.IDB) *bun.SelectQuery {
	return db.NewSelect().Model((*passedRow)(nil)).Column("peer").Order("peer")
}

// SetPassed notes whether this site passes on for a peer.
func (s *Store) SetPassed(ctx context.Context, peer federation.SiteID, passed bool, at time.Time) (err error) {
	row := passedRow{Peer: peer, Since: stamp(at)}
	if passed {
		_, err = s.writer.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx)
	} else {
		_, err = s.writer.NewDelete().Model(&row).WherePK().Exec(ctx)
	}
	return failed("noting for whom alerts are passed on", err)
}

// Mesh is what this site goes by when it decides which way its alerts take. def is the
// gate of a peer for which none is set; at and patience are those of [federation.Mesh].
func (s *Store) Mesh(ctx context.Context, own federation.Identity, def federation.Gate, at time.Time, patience time.Duration) (federation.Mesh, error) {
	sites, _, err := s.Sites(ctx, own.ID, 0, 0)
	if err != nil {
		return federation.Mesh{}, err
	}
	gates, err := s.Gates(ctx, own.ID, federation.Outbound, def)
	return federation.Mesh{Own: own, Sites: sites, Gates: gates, At: at, Patience: patience}, err
}

// PullsFrom lists the peers from which a site pulls, in order: all but those that say
// that it gets by the hub what they raise.
func (s *Store) PullsFrom(ctx context.Context, own federation.Identity) ([]federation.SiteID, error) {
	peers, err := s.Peers(ctx, own.ID)
	if err != nil || own.Exchange != federation.ExchangeHub {
		return peers, err
	}
	links, err := s.Links(ctx)
	if err != nil {
		return nil, err
	}
	relayed := map[federation.SiteID]bool{}
	for _, l := range links {
		relayed[l.Peer(own.ID)] = l.RelayedHere()
	}
	return slices.DeleteFunc(peers, func(p federation.SiteID) bool { return relayed[p] }), nil
}
