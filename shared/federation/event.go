package federation

import "time"

// EventKind names what happened at a site. It is the last token of the event's subject.
type EventKind string

// The kinds of event.
const (
	AlertStored    EventKind = "alert-stored"    // an alert, local or from a peer, is in the queue
	AlertUpdated   EventKind = "alert-updated"   // an analyst changed an alert
	LinkTransition EventKind = "link-transition" // a link changed its status, or the cause of it
	SiteTransition EventKind = "site-transition" // a site changed its status
	SiteSeen       EventKind = "site-seen"       // a peer's gossip arrived for the first time

	BacklogDropped   EventKind = "backlog-dropped"   // the backlog was over its bound, and alerts had to go
	DeliveryRepaired EventKind = "delivery-repaired" // a delivery that stood still was begun anew
)

// EventKinds lists every kind of event.
func EventKinds() []EventKind {
	return []EventKind{AlertStored, AlertUpdated, LinkTransition, SiteTransition, SiteSeen, BacklogDropped, DeliveryRepaired}
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
	// Dropped is set for BacklogDropped.
	Dropped *BacklogDrop `json:"dropped,omitempty"`
	// Delivery is set for DeliveryRepaired: the consumer as it was begun anew.
	Delivery *DeliveryWatch `json:"delivery,omitempty"`
}

// AlertsStored is the kind of a [StoredTogether]. It stays within the site: whoever
// follows the events is told of each alert by itself, as [AlertStored].
const AlertsStored EventKind = "alerts-stored"

// StoredTogether says that several alerts are in the queue, which came together.
type StoredTogether struct {
	Kind EventKind `json:"kind"`
	At   time.Time `json:"at"`
	IDs  []string  `json:"ids"`
}

// Transition is the change of one link's or one site's status. Where From is To,
// the cause alone is another.
type Transition struct {
	ID   string    `json:"id"` // of the link or site
	From string    `json:"from"`
	To   string    `json:"to"`
	At   time.Time `json:"at"`
	// HeartbeatAgeSeconds is the age of the newest heartbeat at that moment.
	HeartbeatAgeSeconds float64 `json:"heartbeat_age_seconds"`
	// Cause says why a link is not healthy any more, and that a site is offline because it said goodbye.
	Cause Cause `json:"cause,omitempty"`
}
