package store

import (
	"context"
	"math"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

type siteRow struct {
	bun.BaseModel   `bun:"table:sites,alias:s"`
	ID              federation.SiteID     `bun:"id,pk"`
	Name            string                `bun:"name"`
	Tier            federation.Tier       `bun:"tier"`
	Status          federation.SiteStatus `bun:"status"`
	Reason          federation.SiteReason `bun:"reason"`
	AgentsTotal     int                   `bun:"agents_total"`
	AgentsOnline    int                   `bun:"agents_online"`
	Version         string                `bun:"version"`
	LastHeartbeatAt timestamp             `bun:"last_heartbeat_at"`
	HeartbeatSentAt timestamp             `bun:"heartbeat_sent_at"`
	FirstSeenAt     timestamp             `bun:"first_seen_at"`

	Exchange  federation.Exchange     `bun:"exchange"`
	PassesFor list[federation.SiteID] `bun:"passes_for"`
	SharedAt  timestamp               `bun:"shared_at"`
}

func (r siteRow) site(own federation.SiteID) federation.Site {
	s := federation.Site{
		ID: r.ID, Name: r.Name, Tier: r.Tier, Status: r.Status, Reason: r.Reason, Local: r.ID == own,
		AgentsTotal: r.AgentsTotal, AgentsOnline: r.AgentsOnline, Version: r.Version, Exchange: r.Exchange,
		LastHeartbeatAt: r.LastHeartbeatAt.pointer(), FirstSeenAt: r.FirstSeenAt.Time, HeartbeatSentAt: r.HeartbeatSentAt.Time, SharedAt: r.SharedAt.Time,
	}
	if len(r.PassesFor) > 0 {
		s.PassesFor = r.PassesFor
	}
	return s
}

type linkRow struct {
	bun.BaseModel   `bun:"table:links,alias:l"`
	ID              string                `bun:"id,pk"`
	SiteA           federation.SiteID     `bun:"site_a"`
	SiteB           federation.SiteID     `bun:"site_b"`
	Status          federation.LinkStatus `bun:"status"`
	LastHeartbeatAt timestamp             `bun:"last_heartbeat_at"`
	Cause           federation.Cause      `bun:"cause"`

	Probe    document[federation.Probe]    `bun:"probe"`
	PeerView document[federation.LinkView] `bun:"peer_view"` // the zero value: what the peer sees is not known

	PeerKeeps bool `bun:"peer_keeps"`
}

func (r linkRow) link() federation.Link {
	l := federation.Link{
		ID: r.ID, SiteA: r.SiteA, SiteB: r.SiteB, Status: r.Status, Cause: r.Cause, LastHeartbeatAt: r.LastHeartbeatAt.pointer(), Probe: r.Probe.V, PeerKeeps: r.PeerKeeps,
	}
	if r.PeerView.V.Peer != "" {
		l.PeerView = &r.PeerView.V
	}
	return l
}

// UpsertOwnSite notes the site's own heartbeat at the time given: its row is
// online and says what id says, and its agent counts stay. Where the site was
// not online, the event of that change goes into the outbox.
func (s *Store) UpsertOwnSite(ctx context.Context, id federation.Identity, at time.Time) (federation.Site, error) {
	row := ownRow(id, at)
	row.Status, row.LastHeartbeatAt, row.HeartbeatSentAt = federation.Online, stamp(at), stamp(at)
	err := s.write(ctx, "noting the own heartbeat", func(ctx context.Context, tx bun.Tx) error {
		prev, err := s.insertSite(ctx, tx, &row)
		if err != nil || prev == nil {
			return err
		}
		row.AgentsTotal, row.AgentsOnline, row.FirstSeenAt = prev.AgentsTotal, prev.AgentsOnline, prev.FirstSeenAt
		if err := update(ctx, tx, &row); err != nil {
			return err
		}
		if prev.Status == federation.Online {
			return nil
		}
		return tell(ctx, tx, id.ID, at, []Change{siteChange(row.ID, prev.Status, federation.Online, at, 0)})
	})
	if err != nil {
		return federation.Site{}, err
	}
	return row.site(id.ID), nil
}

// SetAgents sets the agent counts of the site itself. Where it has no row yet,
// one is made that is offline, because no heartbeat has been.
func (s *Store) SetAgents(ctx context.Context, id federation.Identity, a federation.Agents, at time.Time) (federation.Site, error) {
	row := ownRow(id, at)
	row.Status, row.AgentsTotal, row.AgentsOnline = federation.Offline, a.Total, a.Online
	err := s.write(ctx, "setting the agent counts", func(ctx context.Context, tx bun.Tx) error {
		prev, err := s.insertSite(ctx, tx, &row)
		if err != nil || prev == nil {
			return err
		}
		row = *prev
		row.AgentsTotal, row.AgentsOnline = a.Total, a.Online
		return update(ctx, tx, &row)
	})
	if err != nil {
		return federation.Site{}, err
	}
	return row.site(id.ID), nil
}

func ownRow(id federation.Identity, at time.Time) siteRow {
	return siteRow{ID: id.ID, Name: id.Name, Tier: id.Tier, Version: id.Version, Exchange: id.Exchange.OrDefault(), FirstSeenAt: stamp(at)}
}

// Sites returns part of the sites, this one first, the others by id, and how many
// there are. A limit of 0 is none.
func (s *Store) Sites(ctx context.Context, own federation.SiteID, skip, limit int) (sites []federation.Site, total int, err error) {
	if limit == 0 {
		limit = math.MaxInt32
	}
	var rows []siteRow
	err = s.read(ctx, "listing the sites", func(ctx context.Context, tx bun.Tx) error {
		n, err := tx.NewSelect().Model(&rows).Count(ctx)
		if err != nil {
			return err
		}
		total = int(n)
		return tx.NewSelect().Model(&rows).OrderExpr("CASE WHEN id = ? THEN 0 ELSE 1 END, id", own).Limit(int64(limit)).Offset(int64(skip)).Scan(ctx)
	})
	if err != nil {
		return nil, 0, err
	}
	sites = make([]federation.Site, len(rows))
	for i, r := range rows {
		sites[i] = r.site(own)
	}
	return sites, total, nil
}

// Peers returns the ids of every site but this one, in order.
func (s *Store) Peers(ctx context.Context, own federation.SiteID) ([]federation.SiteID, error) {
	var peers []federation.SiteID
	err := s.reader.NewSelect().Model((*siteRow)(nil)).Column("id").Where("id <> ?", own).Order("id").Scan(ctx, &peers)
	return peers, failed("listing the peers", err)
}

// Links returns every link by id. Their age is left to whoever has a clock.
func (s *Store) Links(ctx context.Context) ([]federation.Link, error) {
	var rows []linkRow
	if err := s.reader.NewSelect().Model(&rows).Order("id").Scan(ctx); err != nil {
		return nil, failed("listing the links", err)
	}
	return linksOf(rows), nil
}

// FindLink returns the link of an id, with its ends in either order, and whether there is one.
func (s *Store) FindLink(ctx context.Context, id string) (l federation.Link, found bool, err error) {
	links, err := s.linksOf(ctx, federation.LinkIDs(id))
	if err != nil {
		return federation.Link{}, false, err
	}
	l, found = federation.FindLink(links, id)
	return l, found, nil
}

// LinksTo returns the links to peers that there are, by id.
func (s *Store) LinksTo(ctx context.Context, own federation.SiteID, peers []federation.SiteID) ([]federation.Link, error) {
	if len(peers) == 0 {
		return nil, nil
	}
	ids := make([]string, len(peers))
	for i, p := range peers {
		ids[i] = federation.LinkID(own, p)
	}
	return s.linksOf(ctx, ids)
}

// linksOf returns the links that there are of some ids, by id.
func (s *Store) linksOf(ctx context.Context, ids []string) ([]federation.Link, error) {
	var rows []linkRow
	if err := s.reader.NewSelect().Model(&rows).Where("id IN ?", bun.Tuple(ids)).Order("id").Scan(ctx); err != nil {
		return nil, failed("listing links", err)
	}
	return linksOf(rows), nil
}

func linksOf(rows []linkRow) []federation.Link {
	links := make([]federation.Link, len(rows))
	for i, r := range rows {
		links[i] = r.link()
	}
	return links
}

// insertSite inserts row, or returns the row that is there, locked.
func (s *Store) insertSite(ctx context.Context, tx bun.Tx, row *siteRow) (prev *siteRow, err error) {
	inserted, err := insert(ctx, tx, row)
	if err != nil || inserted {
		return nil, err
	}
	prev = &siteRow{ID: row.ID}
	return prev, s.dialect.forUpdate(tx.NewSelect().Model(prev).WherePK()).Scan(ctx)
}

// insert inserts a row unless one with its key is there.
func insert(ctx context.Context, tx bun.Tx, row any) (inserted bool, err error) {
	return changed(tx.NewInsert().Model(row).On("CONFLICT DO NOTHING").Exec(ctx))
}

// update writes every column of a row that is there.
func update(ctx context.Context, tx bun.IDB, row any) error {
	_, err := tx.NewUpdate().Model(row).WherePK().Exec(ctx)
	return err
}
