package store

import (
	"context"
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

// RecordGossip notes a peer's heartbeat that arrived at the time given: its site
// is online, and the link to it healthy unless its echoes say otherwise. With
// a goodbye the site is offline and the link down, until it is heard again. An older
// heartbeat never overwrites a newer one, by the rule of [federation.Supersedes],
// also where two replicas record at once. The events of what changed go into the outbox.
func (s *Store) RecordGossip(ctx context.Context, own federation.SiteID, g federation.Gossip, at time.Time, t federation.Thresholds) (GossipResult, error) {
	if g.SiteID == own {
		return GossipResult{}, fault.New(fault.Conflict, "the gossip of %s is this site's own", own)
	}
	row := siteRow{
		ID: g.SiteID, Name: g.SiteName, Tier: g.Tier, Status: federation.Online, AgentsTotal: g.AgentsTotal, AgentsOnline: g.AgentsOnline,
		Version: g.SoftwareVersion, LastHeartbeatAt: stamp(at), HeartbeatSentAt: stamp(g.SentAt), FirstSeenAt: stamp(at),
		Exchange: g.Exchange.OrDefault(), PassesFor: g.PassesFor, SharedAt: stamp(g.SharedAt),
	}
	link, cause := federation.NewLink(own, g.SiteID, at), federation.Cause("")
	if g.Leaving {
		row.Status, row.Reason, link.Cause, cause = federation.Offline, federation.Leaving, federation.PeerLeaving, federation.PeerLeaving
	}
	for _, view := range g.Links {
		if view.Peer == own {
			link.PeerView = &view
		}
	}
	var result GossipResult
	err := s.write(ctx, "recording the gossip of "+string(g.SiteID), func(ctx context.Context, tx bun.Tx) error {
		var out []Outgoing
		prev, err := s.insertSite(ctx, tx, &row)
		switch {
		case err != nil:
			return err
		case prev == nil:
			result.FirstSeen = true
			out = append(out, seen(own, g.SiteID, at))
		default:
			silence := at.Sub(prev.LastHeartbeatAt.Time)
			// Both times to the microsecond, else a replay would be newer than its first by what was cut off.
			if !federation.Supersedes(prev.HeartbeatSentAt.Time, row.HeartbeatSentAt.Time, silence, t.Degraded) {
				result.Stale = true
				return nil
			}
			row.FirstSeenAt = prev.FirstSeenAt
			result.Exchanged = row.Exchange != prev.Exchange || row.Tier != prev.Tier || !slices.Equal(row.PassesFor, prev.PassesFor)
			if err := update(ctx, tx, &row); err != nil {
				return err
			}
			if prev.Status != row.Status {
				c := siteChange(row.ID, prev.Status, row.Status, at, 0)
				c.Cause = cause
				result.Transitions = append(result.Transitions, c)
			}
		}
		change, changed, err := s.hearLink(ctx, tx, link, at, t)
		if err != nil {
			return err
		}
		if changed {
			result.Transitions = append(result.Transitions, change)
		}
		if err := enqueue(ctx, tx, at, out...); err != nil {
			return err
		}
		return tell(ctx, tx, own, at, result.Transitions)
	})
	if err != nil {
		return GossipResult{}, err
	}
	return result, nil
}

// hearLink stores a link over which a heartbeat came, and judges it anew.
func (s *Store) hearLink(ctx context.Context, tx bun.Tx, l federation.Link, at time.Time, t federation.Thresholds) (c Change, changed bool, err error) {
	row := linkRow{ID: l.ID, SiteA: l.SiteA, SiteB: l.SiteB, Status: l.Status, Cause: l.Cause, LastHeartbeatAt: stampOf(l.LastHeartbeatAt)}
	if l.PeerView != nil {
		row.PeerView.V = *l.PeerView
	}
	row.judge(row.leaving(), at, t)
	inserted, err := insert(ctx, tx, &row)
	if err != nil || inserted {
		return c, false, err
	}
	now := linkRow{ID: l.ID}
	if err := s.dialect.forUpdate(tx.NewSelect().Model(&now).WherePK()).Scan(ctx); err != nil {
		return c, false, err
	}
	now.LastHeartbeatAt, now.PeerView = row.LastHeartbeatAt, row.PeerView
	c, changed = now.judge(row.leaving(), at, t)
	return c, changed, update(ctx, tx, &now)
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

	// Sites before links, each by id: RecordGossip locks in the same order, so
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
