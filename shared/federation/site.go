package federation

import (
	"regexp"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// SiteID names one site. It stands in subjects, stream names and link ids, so
// its form is narrow: see [SiteID.Valid].
type SiteID string

// SiteIDForm says in words what a site id looks like.
const SiteIDForm = "1 to 63 of a-z, 0-9 and '-', the first not '-'"

var siteIDPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Valid reports whether id has the form [a-z0-9][a-z0-9-]{0,62}.
func (id SiteID) Valid() bool { return siteIDPattern.MatchString(string(id)) }

// Tier is the place of a site in the mesh.
type Tier string

// The tiers: the hub of the mesh, and everyone else.
const (
	Primary   Tier = "primary"
	Secondary Tier = "secondary"
)

// TierForm says in words what a tier may be.
const TierForm = "primary or secondary"

// Valid reports whether t is one of the tiers.
func (t Tier) Valid() bool { return t == Primary || t == Secondary }

// Identity is who a site is, as its settings say.
type Identity struct {
	ID      SiteID
	Name    string
	Tier    Tier
	Version string // of the software, e.g. "0.3.0"
	// Exchange is how the site exchanges alerts; empty stands for direct.
	Exchange Exchange
}

// SiteStatus is how alive a site is, judged by the age of its last heartbeat.
type SiteStatus string

// The states of a site.
const (
	Online       SiteStatus = "online"
	SiteDegraded SiteStatus = "degraded"
	Offline      SiteStatus = "offline"
)

// SiteStatuses lists every status, the best first.
func SiteStatuses() []SiteStatus { return []SiteStatus{Online, SiteDegraded, Offline} }

// SiteReason says why a site is offline where more is known than its silence.
type SiteReason string

// Leaving is the reason of a site that said goodbye.
const Leaving SiteReason = "leaving"

// Worse is the worse of two states.
func (s SiteStatus) Worse(t SiteStatus) SiteStatus {
	for _, status := range []SiteStatus{Offline, SiteDegraded} {
		if s == status || t == status {
			return status
		}
	}
	return Online
}

// Agents counts the endpoint agents that report to a site.
type Agents struct {
	Total  int `json:"total"`
	Online int `json:"online"`
}

// MaxAgents bounds an agent count: more than any SOC has, small enough for a 32-bit column.
const MaxAgents = 100_000_000

// Validate refuses negative counts and more agents online than there are.
func (a Agents) Validate() error {
	var wrong fault.Fields
	if a.Total < 0 || a.Total > MaxAgents {
		wrong.Add("total", itoa(a.Total), "a whole number from 0 to 100000000")
	}
	if a.Online < 0 || a.Online > a.Total {
		wrong.Add("online", itoa(a.Online), "a whole number from 0 to total ("+itoa(a.Total)+")")
	}
	return wrong.Err("the agent counts are not valid")
}

// Site is what this site knows of a site, itself included.
type Site struct {
	ID     SiteID     `json:"id"`
	Name   string     `json:"name"`
	Tier   Tier       `json:"tier"`
	Status SiteStatus `json:"status"`
	// Reason is set where the site is offline and said so itself.
	Reason       SiteReason `json:"reason,omitempty"`
	Local        bool       `json:"local"` // this is the site that answers
	AgentsTotal  int        `json:"agents_total"`
	AgentsOnline int        `json:"agents_online"`
	Version      string     `json:"version"`
	// Exchange is how the site says that it exchanges alerts with its peers.
	Exchange Exchange `json:"exchange"`
	// PassesFor are the sites between which it says that it passes alerts on, as their hub.
	PassesFor []SiteID `json:"-"`
	// SharedAt is when the newest alert was raised that may have left it, as it last said, on
	// its clock; zero where it says nothing of that.
	SharedAt time.Time `json:"-"`
	// LastHeartbeatAt is when the newest heartbeat arrived, on the clock of the
	// site that answers. Nil: none has.
	LastHeartbeatAt *time.Time `json:"last_heartbeat_at"`
	FirstSeenAt     time.Time  `json:"first_seen_at"`
	// HeartbeatSentAt is what the sender's clock said; it orders heartbeats and
	// is never compared with the local clock.
	HeartbeatSentAt time.Time `json:"-"`
}
