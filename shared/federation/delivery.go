package federation

import "time"

// Direction is which way alerts cross, seen from the site that answers.
type Direction string

// The directions: from this site to the peer, and from the peer to this site.
const (
	Outbound Direction = "outbound"
	Inbound  Direction = "inbound"
)

// Delivery is how far the alerts of one direction have come. The figures are
// those of the consumers that the origin keeps for the other site; one that cannot
// be had is nil, never guessed.
//
// Where the hub passes the alerts on, the origin keeps none, and what the hub has
// acknowledged proves nothing of the other site. There the figures are those of the last
// comparison of the two: alerts, those that were raised in the time that it looked at and since.
type Delivery struct {
	Peer      SiteID    `json:"peer"`
	Direction Direction `json:"direction"`
	// PassedBy is the hub that passes the alerts on; empty where the receiver pulls from
	// the origin itself.
	PassedBy SiteID `json:"passed_by,omitempty"`
	// ProvedUntil is up to when, by the origin's clock, the receiver has proved by a
	// comparison what it has of the alerts that the hub passes on: what was raised before
	// that and is not among Pending is stored, or refused. Nil where none is passed, and
	// before the first comparison.
	ProvedUntil *time.Time `json:"proved_until,omitempty"`
	// Reachable says whether the origin's JetStream answered, or that of the hub that passes on. That of this site
	// does, or there is no answer at all; so it is false for inbound alone.
	Reachable bool `json:"reachable"`
	// Detail says in words why figures are missing.
	Detail string `json:"detail,omitempty"`
	// Shared counts the messages that the origin's stream holds at this moment and
	// that the consumer's filter, the gate, admits. What the stream has let go of,
	// by age or size, is no longer in it. Nil for inbound: a peer lets this site
	// read its consumer, not its stream. A version of an alert is a message, and so is
	// each time it was sent again: how many alerts there are, Reconciliation says.
	Shared *int `json:"shared"`
	// Acknowledged is Shared less Pending: what the stream holds and the peer has
	// acknowledged, after its commit or after it put a bad one among its dead
	// letters. Nil for inbound.
	Acknowledged *int `json:"acknowledged"`
	// Refused counts those of Acknowledged that the peer refused, by its inbound gate or
	// into its dead letters.
	// One that it stored later counts until the next comparison. Nil for inbound.
	Refused *int `json:"refused"`
	// Stored counts what has arrived. Outbound it is Acknowledged less Refused.
	// Inbound it is every alert of the peer in this site's queue.
	Stored *int `json:"stored"`
	// Pending counts the alerts that are not acknowledged: those not yet sent and
	// those under way. Passed by a hub, it counts those that are not proved: what the last
	// comparison found missing, and what was raised since.
	Pending *int `json:"pending"`
	// OldestPendingAt is when the first alert after the acknowledgement floor came
	// into the stream, on the origin's clock; OldestPendingSeconds is its age. Nil
	// where none is pending, and for inbound, whose stream cannot be read from here. Passed
	// by a hub, it is up to when was compared as something was first missing, if that has
	// been so ever since; with nothing missing, when the first was raised since the last comparison.
	OldestPendingAt      *time.Time `json:"oldest_pending_at"`
	OldestPendingSeconds *float64   `json:"oldest_pending_seconds"`
	// Redelivered counts the pending alerts that have been sent more than once. It
	// falls back to 0; it is no total, for JetStream counts deliveries and not how
	// many alerts they were of. The total is a metric of the receiver.
	Redelivered *int `json:"redelivered"`
	// Reconciliation is what came of it when the two sites last compared; nil where
	// they have not yet.
	Reconciliation *Reconciliation `json:"reconciliation"`
}

// Deliveries is the delivery ledger of one site: two directions for each peer.
type Deliveries struct {
	SiteID      SiteID     `json:"site_id"`
	GeneratedAt time.Time  `json:"generated_at"`
	Deliveries  []Delivery `json:"deliveries"`
	Backlog     Backlog    `json:"backlog"`
}

// DeliveryState is how far one alert has come on its way to one peer.
type DeliveryState string

// The states of an alert on its way to a peer.
const (
	// DeliveryKept: the own gate does not admit its severity or its label, so it does not leave.
	DeliveryKept DeliveryState = "kept"
	// DeliveryQueued: it is in the outbox or in the stream, and the peer's
	// acknowledgement floor has not passed it. An acknowledgement above the floor
	// cannot be seen by itself, so an alert that the peer stored out of turn is
	// queued until all before it are acknowledged too.
	DeliveryQueued DeliveryState = "queued"
	// DeliveryStored: the stream holds it, and the peer has acknowledged it and all
	// before it, which it does after its commit. Where the hub passes it on, the peer has
	// said that it has it: asked for this one, or in a comparison.
	DeliveryStored DeliveryState = "stored"
	// DeliveryRefused: the peer refused it, by its inbound gate or into its dead letters.
	DeliveryRefused DeliveryState = "refused"
	// DeliveryUnknown: nothing proves the one or the other any more, e.g. because
	// the stream, whose floor passes what it lets go of, no longer holds the alert.
	DeliveryUnknown DeliveryState = "unknown"
)

// DeliveryStates lists every state.
func DeliveryStates() []DeliveryState {
	return []DeliveryState{DeliveryKept, DeliveryQueued, DeliveryStored, DeliveryRefused, DeliveryUnknown}
}

// AlertDelivery is how far one alert has come on its way to a peer.
type AlertDelivery struct {
	Peer   SiteID        `json:"peer"`
	State  DeliveryState `json:"state"`
	Detail string        `json:"detail,omitempty"` // why, in words
}

// AlertDeliveries is how far one alert has come on its way to every peer.
type AlertDeliveries struct {
	AlertID  string   `json:"alert_id"`
	Severity Severity `json:"severity"`
	// OriginSite is where the alert was raised. Only there is it delivered from: at
	// any other site Deliveries is empty.
	OriginSite SiteID          `json:"origin_site"`
	Deliveries []AlertDelivery `json:"deliveries"`
}
