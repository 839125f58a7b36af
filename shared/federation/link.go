package federation

import (
	"slices"
	"strings"
	"time"
)

// LinkStatus is how good a link is.
type LinkStatus string

// The states of a link, from best to worst.
const (
	Healthy      LinkStatus = "healthy"
	LinkDegraded LinkStatus = "degraded"
	Down         LinkStatus = "down"
)

// LinkStatuses lists every status, the best first.
func LinkStatuses() []LinkStatus { return []LinkStatus{Healthy, LinkDegraded, Down} }

// Worse is the worse of two states.
func (s LinkStatus) Worse(t LinkStatus) LinkStatus {
	if s.rank() >= t.rank() {
		return s
	}
	return t
}

func (s LinkStatus) rank() int {
	switch s {
	case Healthy:
		return 0
	case LinkDegraded:
		return 1
	}
	return 2
}

// LinkID is the id of the undirected pair of sites a and b, in either order.
func LinkID(a, b SiteID) string {
	if b < a {
		a, b = b, a
	}
	return "link-" + string(a) + "-" + string(b)
}

// Link is the pair of two sites. SiteA sorts before SiteB.
type Link struct {
	ID     string     `json:"id"`
	SiteA  SiteID     `json:"site_a"`
	SiteB  SiteID     `json:"site_b"`
	Status LinkStatus `json:"status"`
	// Cause says why the link is not healthy; empty where it is.
	Cause Cause `json:"cause,omitempty"`
	// LastHeartbeatAt is when the newest heartbeat came over this link, on the
	// clock of the site that answers.
	LastHeartbeatAt *time.Time `json:"last_heartbeat_at"`
	// HeartbeatAgeSeconds is the age of that heartbeat when the answer was made.
	// It is not a latency.
	HeartbeatAgeSeconds *float64 `json:"heartbeat_age_seconds"`
	// Latency is what this site's echoes to the peer say; nil where none has been sent.
	Latency *Latency `json:"latency,omitempty"`
	// PeerView is the link as the peer last gossiped that it sees it. A failure of
	// one direction shows as two views that differ.
	PeerView *LinkView `json:"peer_view,omitempty"`
	// PeerKeeps says that the peer keeps what it is told of the link, and itself names links
	// only where it has something to tell. Any other peer is told each time.
	PeerKeeps bool `json:"-"`
	// Probe is what Latency is made of.
	Probe Probe `json:"-"`
}

// Peer is the other end of the link, seen from local.
func (l Link) Peer(local SiteID) SiteID {
	if l.SiteA == local {
		return l.SiteB
	}
	return l.SiteA
}

// RelayedHere reports whether the peer says that this site gets by the hub what it raises.
func (l Link) RelayedHere() bool { return l.PeerView != nil && l.PeerView.Relayed }

// Reversed is the id that the link would have with its ends the other way round,
// which is how somebody at the other end may write it.
func (l Link) Reversed() string { return "link-" + string(l.SiteB) + "-" + string(l.SiteA) }

// FindLink finds a link by its id, with its ends in either order. Ids hold hyphens,
// so the reversed id of one link may be the id of another, which then goes first.
func FindLink(links []Link, id string) (Link, bool) {
	i := slices.IndexFunc(links, func(l Link) bool { return l.ID == id })
	if i < 0 {
		i = slices.IndexFunc(links, func(l Link) bool { return l.Reversed() == id })
	}
	if i < 0 {
		return Link{}, false
	}
	return links[i], true
}

// ReversedIDs reports whether one text is the id of a link and the other that of the same with its
// ends the other way round, as far as can be told without knowing the sites.
func ReversedIDs(a, b string) bool { return slices.Contains(reversed(a), b) }

// LinkIDs are the ids by which [FindLink] finds a link that somebody calls by an id: that one, and
// all that it may be with its ends the other way round.
func LinkIDs(id string) []string { return append(reversed(id), id) }

// reversed are the ids that a link may have whose id with its ends the other way round is given, one for
// each hyphen in it; none where it is not the id of a link.
func reversed(id string) (ids []string) {
	ends, isLink := strings.CutPrefix(id, "link-")
	for i, r := range ends {
		if isLink && r == '-' {
			ids = append(ids, "link-"+ends[i+1:]+"-"+ends[:i])
		}
	}
	return ids
}

// NewLink is the healthy link between two sites over which a heartbeat came at the time given.
func NewLink(a, b SiteID, at time.Time) Link {
	if b < a {
		a, b = b, a
	}
	return Link{ID: LinkID(a, b), SiteA: a, SiteB: b, Status: Healthy, LastHeartbeatAt: &at}
}

// Thresholds are the heartbeat ages from which a link is degraded and down.
type Thresholds struct {
	Degraded time.Duration
	Down     time.Duration
}

// Link is the status of a link whose newest heartbeat is of the given age.
func (t Thresholds) Link(age time.Duration) LinkStatus {
	switch {
	case age >= t.Down:
		return Down
	case age >= t.Degraded:
		return LinkDegraded
	}
	return Healthy
}

// Site is the status of a site whose newest heartbeat is of the given age.
func (t Thresholds) Site(age time.Duration) SiteStatus {
	switch t.Link(age) {
	case Down:
		return Offline
	case LinkDegraded:
		return SiteDegraded
	}
	return Online
}

// Topology is the mesh as one site sees it.
type Topology struct {
	SiteID      SiteID    `json:"site_id"`
	GeneratedAt time.Time `json:"generated_at"`
	Sites       []Site    `json:"sites"`
	Links       []Link    `json:"links"`
}

// At is the link as it is at a moment: with the age of its heartbeat, the figures
// of its echoes, and the worse of its stored status and the one that these give.
func (l Link) At(now time.Time, t Thresholds) Link {
	l.Latency = l.Probe.Latency()
	if l.LastHeartbeatAt == nil {
		l.Status, l.Cause = Down, HeartbeatLate
		return l
	}
	age := max(now.Sub(*l.LastHeartbeatAt), 0)
	seconds := age.Seconds()
	l.HeartbeatAgeSeconds = &seconds
	if l.Cause == PeerLeaving { // until the peer is heard again
		return l
	}
	if status, cause := t.Judge(age, l.Probe, now); status.rank() >= l.Status.rank() {
		l.Status, l.Cause = status, cause
	}
	return l
}

// At is the site as it is at a moment: with the worse of its stored status and
// the one that the age of its heartbeat gives.
func (s Site) At(now time.Time, t Thresholds) Site {
	if s.LastHeartbeatAt == nil {
		s.Status = Offline
		return s
	}
	s.Status = s.Status.Worse(t.Site(max(now.Sub(*s.LastHeartbeatAt), 0)))
	return s
}
