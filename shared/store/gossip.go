package store

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// Change is a transition of a link or a site, as Kind says.
type Change struct {
	Kind federation.EventKind // LinkTransition or SiteTransition
	federation.Transition
}

// GossipResult is what became of a peer's gossip.
type GossipResult struct {
	// Stale: a newer heartbeat of the peer is known, so nothing was changed.
	Stale bool
	// FirstSeen: the peer was not known before.
	FirstSeen bool
	// Exchanged: the peer exchanges alerts in another way than before.
	Exchanged bool
	// Transitions are the site and the link that came back, or left.
	Transitions []Change
}

// RecordGossips notes peers' heartbeats that arrived at the time given, one after the
// other, and gives what became of each. The site of each
// is online, and the link to it healthy unless its echoes say otherwise. With
// a goodbye the site is offline and the link down, until it is heard again. An older
// heartbeat never overwrites a newer one, by the rule of [federation.Supersedes],
// also where two replicas record at once. The events of what changed go into the outbox.
func (s *Store) RecordGossips(ctx context.Context, own federation.SiteID, gossips []federation.Gossip, at time.Time, t federation.Thresholds) (results []GossipResult, err error) {
	heard := map[federation.SiteID]bool{}
	for _, g := range gossips {
		if g.SiteID == own {
			return nil, fault.New(fault.Conflict, "the gossip of %s is this site's own", own)
		}
		heard[g.SiteID] = true
	}
	if len(heard) == 0 {
		return nil, nil
	}
	peers := slices.Sorted(maps.Keys(heard))
	err = s.write(ctx, "recording gossip", func(ctx context.Context, tx bun.Tx) error {
		known, err := s.knownPeers(ctx, tx, own, peers, at)
		if err != nil {
			return err
		}
		results = make([]GossipResult, len(gossips))
		var out []Outgoing
		var changes []Change
		for i, g := range gossips {
			results[i] = known[g.SiteID].hear(g, own, at, t)
			if results[i].FirstSeen {
				out = append(out, seen(own, g.SiteID, at))
			}
			changes = append(changes, results[i].Transitions...)
		}
		var sites []siteRow
		var links []linkRow
		for _, p := range peers {
			if k := known[p]; k.news {
				sites, links = append(sites, k.site), append(links, k.link)
			}
		}
		if err := updateAll(ctx, tx, sites); err != nil {
			return err
		}
		if err := updateAll(ctx, tx, links, "status", "cause", "last_heartbeat_at", "peer_view", "peer_keeps"); err != nil {
			return err
		}
		for _, p := range peers {
			if known[p].lacks {
				if err := forgetTold(ctx, tx, p); err != nil {
					return err
				}
			}
		}
		if err := enqueue(ctx, tx, at, out...); err != nil {
			return err
		}
		return tell(ctx, tx, own, at, changes)
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// knownPeer is the rows of a peer and of the link to it, while its heartbeats are heard.
type knownPeer struct {
	site siteRow
	link linkRow
	// newSite and newLink: the row was made just now, and nothing is heard yet.
	newSite, newLink bool
	// news: the rows are no longer what the database has.
	news bool
	// lacks: the peer does not know how this site sees the link.
	lacks bool
}

// knownPeers gives the rows of peers, which are in order, and of the links to them, locked;
// those that are not there are made. Sites come before links, each by id, as for everyone
// who locks several.
func (s *Store) knownPeers(ctx context.Context, tx bun.Tx, own federation.SiteID, peers []federation.SiteID, at time.Time) (map[federation.SiteID]*knownPeer, error) {
	made, err := makeSites(ctx, tx, peers, at)
	if err != nil {
		return nil, err
	}
	var sites []siteRow
	if err := s.dialect.forUpdate(tx.NewSelect().Model(&sites).Where("id IN ?", bun.Tuple(peers)).Order("id")).Scan(ctx); err != nil {
		return nil, err
	}
	known, ids := map[federation.SiteID]*knownPeer{}, make([]string, len(sites))
	for i, site := range sites {
		l := federation.NewLink(own, site.ID, at)
		known[site.ID] = &knownPeer{
			site: site, newSite: slices.Contains(made, string(site.ID)),
			link: linkRow{ID: l.ID, SiteA: l.SiteA, SiteB: l.SiteB, Status: l.Status, LastHeartbeatAt: stamp(at)}, newLink: true,
		}
		ids[i] = l.ID
	}
	var links []linkRow
	if err := s.dialect.forUpdate(tx.NewSelect().Model(&links).Where("id IN ?", bun.Tuple(ids)).Order("id")).Scan(ctx); err != nil {
		return nil, err
	}
	for _, l := range links {
		k := known[l.link().Peer(own)]
		k.link, k.newLink = l, false
	}
	// Nobody else makes one of them meanwhile: who would waits for the row of its site.
	var missing []linkRow
	for _, p := range peers {
		if k := known[p]; k.newLink {
			missing = append(missing, k.link)
		}
	}
	return known, insertAll(ctx, tx, missing, false, "", nil)
}

// makeSites makes the rows of those peers that have none, with nothing heard in them, and
// gives their ids. It does so before any row is locked and in their order, so that two
// who make the same wait for each other in no circle.
func makeSites(ctx context.Context, tx bun.Tx, peers []federation.SiteID, at time.Time) (made []string, err error) {
	var there []federation.SiteID
	if err := tx.NewSelect().Model((*siteRow)(nil)).Column("id").Where("id IN ?", bun.Tuple(peers)).Scan(ctx, &there); err != nil {
		return nil, err
	}
	var missing []siteRow
	for _, p := range peers {
		if !slices.Contains(there, p) {
			missing = append(missing, siteRow{ID: p, FirstSeenAt: stamp(at)})
		}
	}
	err = insertAll(ctx, tx, missing, true, "id", &made)
	return made, err
}

// hear brings the rows up to date with one heartbeat.
func (k *knownPeer) hear(g federation.Gossip, own federation.SiteID, at time.Time, t federation.Thresholds) (result GossipResult) {
	row := siteRow{
		ID: g.SiteID, Name: g.SiteName, Tier: g.Tier, Status: federation.Online, AgentsTotal: g.AgentsTotal, AgentsOnline: g.AgentsOnline,
		Version: g.SoftwareVersion, LastHeartbeatAt: stamp(at), HeartbeatSentAt: stamp(g.SentAt), FirstSeenAt: k.site.FirstSeenAt,
		Exchange: g.Exchange.OrDefault(), PassesFor: g.PassesFor, SharedAt: stamp(g.SharedAt),
	}
	var cause federation.Cause
	if g.Leaving {
		row.Status, row.Reason, cause = federation.Offline, federation.Leaving, federation.PeerLeaving
		row.PassesFor = k.site.PassesFor // of which a goodbye says nothing
	}
	if result.FirstSeen = k.newSite; !result.FirstSeen {
		silence := at.Sub(k.site.LastHeartbeatAt.Time)
		// Both times to the microsecond, else a replay would be newer than its first by what was cut off.
		if !federation.Supersedes(k.site.HeartbeatSentAt.Time, row.HeartbeatSentAt.Time, silence, t.Degraded) {
			return GossipResult{Stale: true}
		}
		result.Exchanged = row.Exchange != k.site.Exchange || row.Tier != k.site.Tier || !slices.Equal(row.PassesFor, k.site.PassesFor)
		if k.site.Status != row.Status {
			c := siteChange(row.ID, k.site.Status, row.Status, at, 0)
			c.Cause = cause
			result.Transitions = append(result.Transitions, c)
		}
	}
	k.link.LastHeartbeatAt, k.link.PeerView.V = stamp(at), g.View(own, k.link.PeerView.V, k.site.HeartbeatSentAt.Time)
	if !g.Leaving {
		k.link.PeerKeeps, k.lacks = !g.LinksSince.IsZero(), k.lacks || slices.Contains(g.Lacks, own)
	}
	if c, changed := k.link.judge(g.Leaving, at, t); changed && !k.newLink {
		result.Transitions = append(result.Transitions, c)
	}
	k.site, k.newSite, k.newLink, k.news = row, false, false, true
	return result
}

// Age makes worse the status of every site and link, own and peers', that its
// heartbeat's age at the time given no longer bears, and tells the cause of a link
// anew where that is another. It makes none better. Of
// several callers at once exactly one gets each change; its event goes into the
// outbox.
func (s *Store) Age(ctx context.Context, own federation.SiteID, at time.Time, t federation.Thresholds) ([]Change, error) {
	if err := s.heardByNow(ctx, at); err != nil {
		return nil, err
	}
	// What is old enough to be degraded and is not yet at the worst can only get
	// worse. Asked without a transaction, because mostly there is none; the updates
	// hold only where what was asked is still so.
	old := stamp(at.Add(-t.Degraded))
	var sites []siteRow
	if err := s.reader.NewSelect().Model(&sites).Where("last_heartbeat_at <= ?", old).Where("status <> ?", federation.Offline).Order("id").Scan(ctx); err != nil {
		return nil, failed("looking for silent sites", err)
	}
	var links []linkRow
	if err := s.reader.NewSelect().Model(&links).Where("last_heartbeat_at <= ?", old).Where("status <> ?", federation.Down).Order("id").Scan(ctx); err != nil {
		return nil, failed("looking for silent links", err)
	}

	// Sites before links, each by id: RecordGossips locks in the same order, so
	// neither ever waits for the other in a circle.
	var due []ageing
	for _, r := range sites {
		age := at.Sub(r.LastHeartbeatAt.Time)
		if to := t.Site(age); to != r.Status {
			due = append(due, ageing{"sites", r.LastHeartbeatAt, "", siteChange(r.ID, r.Status, to, at, age)})
		}
	}
	for _, r := range links {
		cause := r.Cause
		if c, changed := r.judge(r.leaving(), at, t); changed && r.Status.Worse(federation.LinkStatus(c.From)) == r.Status {
			due = append(due, ageing{"links", r.LastHeartbeatAt, cause, c})
		}
	}
	if len(due) == 0 {
		return nil, nil
	}
	var changes []Change
	err := s.write(ctx, "ageing sites and links", func(ctx context.Context, tx bun.Tx) error {
		for _, d := range due {
			q := tx.NewUpdate().Table(d.table).Set("status = ?", d.To)
			if d.Kind == federation.LinkTransition {
				q = q.Set("cause = ?", d.Cause).Where("cause = ?", d.was)
			}
			won, err := changed(q.Where("id = ?", d.ID).Where("status = ?", d.From).Where("last_heartbeat_at = ?", d.heard).Exec(ctx))
			if err != nil {
				return err
			}
			if won {
				changes = append(changes, d.Change)
			}
		}
		return tell(ctx, tx, own, at, changes)
	})
	if err != nil {
		return nil, err
	}
	return changes, nil
}

// heardByNow takes back to the time given every heartbeat that lies in the future,
// because the clock was set back: it came by now at the latest. Else what has
// died meanwhile would look alive until the clock had caught up. Replicas whose
// clocks differ a little leave each other's alone.
func (s *Store) heardByNow(ctx context.Context, at time.Time) error {
	late := stamp(at.Add(federation.FreshEcho))
	for _, table := range []string{"sites", "links"} {
		var ids []string
		if err := s.reader.NewSelect().Table(table).Column("id").Where("last_heartbeat_at > ?", late).Scan(ctx, &ids); err != nil {
			return failed("looking for heartbeats of the future", err)
		}
		for _, id := range ids {
			// One at a time, so that it never waits for two who wait for each other.
			if _, err := s.writer.NewUpdate().Table(table).Set("last_heartbeat_at = ?", stamp(at)).Where("id = ?", id).Where("last_heartbeat_at > ?", late).Exec(ctx); err != nil {
				return failed("taking back a heartbeat of the future", err)
			}
		}
	}
	return nil
}

// ageing is one change that is due, unless a heartbeat newer than heard came, or
// a link has another cause by now than it was.
type ageing struct {
	table string
	heard timestamp
	was   federation.Cause
	Change
}

func siteChange(id federation.SiteID, from, to federation.SiteStatus, at time.Time, age time.Duration) Change {
	return Change{federation.SiteTransition, transition(string(id), string(from), string(to), at, age)}
}

func linkChange(id string, from, to federation.LinkStatus, cause federation.Cause, at time.Time, age time.Duration) Change {
	t := transition(id, string(from), string(to), at, age)
	t.Cause = cause
	return Change{federation.LinkTransition, t}
}

func transition(id, from, to string, at time.Time, age time.Duration) federation.Transition {
	return federation.Transition{ID: id, From: from, To: to, At: stamp(at).Time, HeartbeatAgeSeconds: age.Seconds()}
}

// outgoing is the event of a change, for the outbox of own.
func (c Change) outgoing(own federation.SiteID) Outgoing {
	return EventMessage(own, federation.Event{Kind: c.Kind, At: c.At, Transition: &c.Transition}, c.ID, c.To)
}

// seen is the event of a peer's first gossip.
func seen(own, peer federation.SiteID, at time.Time) Outgoing {
	return EventMessage(own, federation.Event{Kind: federation.SiteSeen, At: stamp(at).Time, SiteID: peer}, string(peer))
}
