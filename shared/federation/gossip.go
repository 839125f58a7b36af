package federation

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// GossipVersion is the version of the gossip payload that this program speaks.
const GossipVersion = 1

// Gossip is the health payload that a site publishes once every heartbeat interval.
type Gossip struct {
	Version         int       `json:"version"`
	SiteID          SiteID    `json:"site_id"`
	SiteName        string    `json:"site_name"`
	Tier            Tier      `json:"tier"`
	SoftwareVersion string    `json:"software_version"`
	SentAt          time.Time `json:"sent_at"` // the sender's clock
	IntervalSeconds int       `json:"interval_seconds"`
	AgentsTotal     int       `json:"agents_total"`
	AgentsOnline    int       `json:"agents_online"`
	// Leaving says that this is the site's last gossip before it stops on purpose. A
	// later one takes it back. Who does not know the field takes it for a heartbeat.
	Leaving bool `json:"leaving,omitempty"`
	// Exchange is how the site exchanges alerts. Who does not know the field does so
	// directly, and so does a site that leaves it out.
	Exchange Exchange `json:"exchange,omitempty"`
	// PassesFor are the sites between which the sender, as their hub, passes alerts on.
	PassesFor []SiteID `json:"passes_for,omitempty"`
	// SharedAt is when the newest alert of the last hour was raised that leaves the site, on
	// the sender's clock: who gets them by the hub knows by it that there is something to compare.
	SharedAt time.Time `json:"shared_at,omitzero"`
	// Links are links of the site as it sees them: those of which it has something to tell.
	Links []LinkView `json:"links,omitempty"`
	// LinksSince says that Links names each link of which the site has told something else since then,
	// on its clock. Who has heard it since then knows of the others what it was told. Zero: what is
	// not named is not known, as of a site that names all its links each time.
	LinksSince time.Time `json:"links_since,omitzero"`
	// Lacks are peers of whose view of their link to it the site knows nothing: it asks them to name it.
	Lacks []SiteID `json:"lacks,omitempty"`
}

// MaxGossipLinks is how many links one gossip may tell of.
const MaxGossipLinks = 2000

// MaxLacks is how many peers one gossip may ask for their views.
const MaxLacks = 500

// MaxPassesFor is for how many sites one hub may pass alerts on.
const MaxPassesFor = 2000

// Validate refuses a payload of another version (Unsupported) and one whose fields break the vocabulary (Invalid).
func (g Gossip) Validate() error {
	if g.Version != GossipVersion {
		return fault.New(fault.Unsupported, "gossip version %d is not understood: this site speaks version %d", g.Version, GossipVersion)
	}
	var wrong fault.Fields
	if !g.SiteID.Valid() {
		wrong.Add("site_id", string(g.SiteID), SiteIDForm)
	}
	checkText(&wrong, "site_name", g.SiteName, 1, MaxSiteName)
	if !g.Tier.Valid() {
		wrong.Add("tier", string(g.Tier), TierForm)
	}
	checkText(&wrong, "software_version", g.SoftwareVersion, 0, 64)
	if !validTime(g.SentAt) {
		wrong.Add("sent_at", g.SentAt.String(), timeForm)
	}
	if g.IntervalSeconds < 1 || g.IntervalSeconds > 86_400 {
		wrong.Add("interval_seconds", itoa(g.IntervalSeconds), "a whole number from 1 to 86400")
	}
	if (Agents{Total: g.AgentsTotal, Online: g.AgentsOnline}).Validate() != nil {
		wrong.Add("agents_total, agents_online", itoa(g.AgentsTotal)+", "+itoa(g.AgentsOnline), "0 <= online <= total <= 100000000")
	}
	// A way that a newer site may know is no fault of its heartbeat.
	if e := string(g.Exchange); e != "" && !causePattern.MatchString(e) {
		wrong.Add("exchange", e, "1 to 40 of a-z and '_'")
	}
	if len(g.PassesFor) > MaxPassesFor {
		wrong.Add("passes_for", itoa(len(g.PassesFor))+" entries", "at most "+itoa(MaxPassesFor)+" entries")
	}
	for i, id := range first(g.PassesFor, MaxPassesFor) {
		if !id.Valid() {
			wrong.Add("passes_for["+itoa(i)+"]", string(id), SiteIDForm)
		}
	}
	if !g.SharedAt.IsZero() && !validTime(g.SharedAt) {
		wrong.Add("shared_at", g.SharedAt.String(), timeForm)
	}
	if len(g.Links) > MaxGossipLinks {
		wrong.Add("links", itoa(len(g.Links))+" entries", "at most "+itoa(MaxGossipLinks)+" entries")
	}
	for i, l := range first(g.Links, MaxGossipLinks) {
		l.check(&wrong, "links["+itoa(i)+"].")
	}
	if !g.LinksSince.IsZero() && !validTime(g.LinksSince) {
		wrong.Add("links_since", g.LinksSince.String(), timeForm)
	}
	if len(g.Lacks) > MaxLacks {
		wrong.Add("lacks", itoa(len(g.Lacks))+" entries", "at most "+itoa(MaxLacks)+" entries")
	}
	for i, id := range first(g.Lacks, MaxLacks) {
		if !id.Valid() {
			wrong.Add("lacks["+itoa(i)+"]", string(id), SiteIDForm)
		}
	}
	return wrong.Err("the gossip is not valid")
}

// Contradicts reports whether the gossip does not fit with what the site own has
// measured of its links: the sender is heard over one that seems cut, or cannot
// reach a site to which the own link is not down.
func (g Gossip) Contradicts(own SiteID, links []Link) bool {
	lost := map[SiteID]bool{} // to the sender
	for _, v := range g.Links {
		if v.Status == Down {
			lost[v.Peer] = true
		}
	}
	return slices.ContainsFunc(links, func(l Link) bool {
		peer := l.Peer(own)
		return peer == g.SiteID && l.Probe.State.Unreachable() || l.Status != Down && lost[peer]
	})
}

var causePattern = regexp.MustCompile(`^[a-z_]{1,40}$`)

func (l LinkView) check(wrong *fault.Fields, prefix string) {
	if !l.Peer.Valid() {
		wrong.Add(prefix+"peer", string(l.Peer), SiteIDForm)
	}
	if l.Status != Healthy && l.Status != LinkDegraded && l.Status != Down {
		wrong.Add(prefix+"status", string(l.Status), "healthy, degraded or down")
	}
	// Any word is a cause: a newer peer may know more of them.
	if l.Cause != "" && !causePattern.MatchString(string(l.Cause)) {
		wrong.Add(prefix+"cause", string(l.Cause), "1 to 40 of a-z and '_'")
	}
	if !validTime(l.At) {
		wrong.Add(prefix+"at", l.At.String(), timeForm)
	}
	if l.Latency != nil && !validTime(l.Latency.MeasuredAt) {
		wrong.Add(prefix+"latency.measured_at", l.Latency.MeasuredAt.String(), timeForm)
	}
}

// MaxSiteName is the longest site name, in characters.
const MaxSiteName = 128

// Supersedes reports whether a heartbeat sent at next (the sender's clock) may
// replace the one sent at prev that arrived silence ago (the receiver's clock).
//
// An older heartbeat never overwrites a newer one. The one exception is a sender
// whose clock was set back: after a silence as long as limit its word is taken
// again, else a wrong clock would make a living site look dead until the clock
// had caught up.
func Supersedes(prev, next time.Time, silence, limit time.Duration) bool {
	return next.After(prev) || silence >= limit
}

func itoa(n int) string { return strconv.Itoa(n) }

// checkText notes a text that is no valid UTF-8, holds a NUL (which PostgreSQL
// cannot store), or is not of lo to hi characters.
func checkText(wrong *fault.Fields, name, s string, lo, hi int) {
	switch n := utf8.RuneCountInString(s); {
	case !utf8.ValidString(s):
		wrong.Add(name, s, "text in UTF-8")
	case hasNUL(s):
		wrong.Add(name, s, "text without the character U+0000")
	case n < lo && lo == 1:
		wrong.Add(name, "", "is required")
	case n < lo || n > hi:
		wrong.Add(name, s, itoa(lo)+" to "+itoa(hi)+" characters, this has "+itoa(n))
	}
}

const timeForm = "a time in RFC 3339, in UTC from the year 1970 to 9999"

// validTime reports whether t, once in UTC, can be stored and written as JSON. A
// time zone can carry the last hours of 9999 into a year that JSON cannot hold.
func validTime(t time.Time) bool {
	year := t.UTC().Year()
	return 1970 <= year && year <= 9999
}

func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }
