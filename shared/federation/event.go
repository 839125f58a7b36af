package federation

import "time"

// EventKind names what happened at a site. It is the last token of the event's subject.
type EventKind string

// The kinds of event.
const (
	AlertStored    EventKind = "alert-stored"    // an alert, local or from a peer, is in the queue
	AlertUpdated   EventKind = "alert-updated"   // an analyst changed an alert
	LinkTransition EventKind = "link-transition" // a link changed its status
	SiteTransition EventKind = "site-transition" // a site changed its status
	SiteSeen       EventKind = "site-seen"       // a peer's gossip arrived for the first time
)

// EventKinds lists every kind of event.
func EventKinds() []EventKind {
	return []EventKind{AlertStored, AlertUpdated, LinkTransition, SiteTransition, SiteSeen}
}

// Event is one thing that happened at a site, as the console and the API's event stream show it.
type Event struct {
	Kind EventKind `json:"kind"`
	At   time.Time `json:"at"`
	// Alert is set for alert events.
	Alert *Alert `json:"alert,omitempty"`
	// Transition is set for link and site transitions.
	Transition *Transition `json:"transition,omitempty"`
	// SiteID is set for SiteSeen.
	SiteID SiteID `json:"site_id,omitempty"`
}

// Transition is the change of one link's or one site's status.
type Transition struct {
	ID   string    `json:"id"` // of the link or site
	From string    `json:"from"`
	To   string    `json:"to"`
	At   time.Time `json:"at"`
	// HeartbeatAgeSeconds is the age of the newest heartbeat at that moment.
	HeartbeatAgeSeconds float64 `json:"heartbeat_age_seconds"`
	// Cause says why a link is not healthy any more.
	Cause Cause `json:"cause,omitempty"`
}
