package ask

import (
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// AnyPeer stands for the peer where an origin answers a step of every one.
const AnyPeer federation.SiteID = "*"

// The steps of a reconciliation, in their order, which a peer asks of an origin.

// ReconcileDigest is the first: in which hours do we differ.
func ReconcileDigest(peer federation.SiteID) function.Endpoint[DigestQuestion, DigestAnswer] {
	return step[DigestQuestion, DigestAnswer](peer, "digest", "in which hours a peer has not what this site has shared")
}

// ReconcileCompare is the second, for each such hour page by page: what have I not.
func ReconcileCompare(peer federation.SiteID) function.Endpoint[CompareQuestion, CompareAnswer] {
	return step[CompareQuestion, CompareAnswer](peer, "compare", "what a peer lacks of a page of alerts")
}

// ReconcileResend is the third, for what the peer still has not then: send it again.
func ReconcileResend(peer federation.SiteID) function.Endpoint[AlertIDs, Resent] {
	return step[AlertIDs, Resent](peer, "resend", "send alerts to a peer again")
}

// ReconcileConclude is the last: this is what came of it.
func ReconcileConclude(peer federation.SiteID) function.Endpoint[federation.Reconciliation, None] {
	return step[federation.Reconciliation, None](peer, "conclude", "keep what a peer has found")
}

// ReconcileHeld goes the other way: an origin asks a peer how far that has some alerts
// of it. It is for a peer from whose acknowledgements the origin cannot tell.
func ReconcileHeld(origin federation.SiteID) function.Endpoint[AlertIDs, Receptions] {
	return step[AlertIDs, Receptions](origin, "held", "how far this site has some alerts of the one that asks")
}

func step[Req, Res any](peer federation.SiteID, name, doc string) function.Endpoint[Req, Res] {
	return function.Endpoint[Req, Res]{
		Function: "reconcile", Name: name, Doc: doc,
		Subject: func(origin federation.SiteID) string { return subject.Reconcile(origin, peer, name) },
		Asker:   subject.ReconcilePeer,
	}
}

// DigestQuestion is what a peer has of an origin, hour by hour.
type DigestQuestion struct {
	From    time.Time          `json:"from"`
	Until   time.Time          `json:"until"`
	Digests federation.Digests `json:"digests"`
}

// MaxHours is how many hours one comparison may span: both ends may be within one.
const MaxHours = federation.MaxBackfillHours + 2

// Validate refuses a window that is too long.
func (q DigestQuestion) Validate() error {
	var wrong fault.Fields
	if !sound(q.From) || !sound(q.Until) || q.Until.Sub(q.From) > MaxHours*time.Hour {
		wrong.Add("from, until", q.From.String()+", "+q.Until.String(), "at most "+itoa(MaxHours)+" hours")
	}
	if len(q.Digests) > MaxHours {
		wrong.Add("digests", itoa(len(q.Digests))+" hours", "at most "+itoa(MaxHours))
	}
	return wrong.Err("the question is not valid")
}

// DigestAnswer says in which hours origin and peer differ.
type DigestAnswer struct {
	From     time.Time `json:"from"`     // later than asked for where the origin does not look back as far
	Until    time.Time `json:"until"`    // earlier than asked for where that is not over by the origin's clock
	Compared int       `json:"compared"` // how many alerts the peer should have
	Hours    []int64   `json:"hours"`    // since 1970, the oldest first
}

// MaxHeld is how many alerts one page of a comparison may have.
const MaxHeld = 1000

// CompareQuestion is a page of what a peer has of an origin.
type CompareQuestion struct {
	Span federation.Span     `json:"span"`
	Page federation.HeldPage `json:"page"`
}

// Validate refuses a page that is too long.
func (q CompareQuestion) Validate() error {
	var wrong fault.Fields
	if !sound(q.Span.After.At) || !sound(q.Span.Until) {
		wrong.Add("span", q.Span.After.At.String()+", "+q.Span.Until.String(), "moments from 1970 to 9999")
	}
	if !validText(q.Span.After.ID, federation.MaxAlertID) {
		wrong.Add("span.after.id", q.Span.After.ID, "an id of at most "+itoa(federation.MaxAlertID)+" characters")
	}
	if len(q.Page.Held) > MaxHeld {
		wrong.Add("page.held", itoa(len(q.Page.Held))+" alerts", "at most "+itoa(MaxHeld))
	}
	return wrong.Err("the question is not valid")
}

// CompareAnswer is what the peer lacks of a page.
type CompareAnswer struct {
	// Missing is what it lacks and what is not on its way.
	Missing []federation.Held `json:"missing"`
	Pending int               `json:"pending"`
	Extra   int               `json:"extra"`
	Upto    *federation.Mark  `json:"upto,omitempty"` // where to go on; nil: the span is done
}

// AlertIDs names alerts of the site that is asked.
type AlertIDs struct {
	IDs []string `json:"ids"`
}

// Validate refuses too many, and ids that no alert can have.
func (a AlertIDs) Validate() error {
	var wrong fault.Fields
	if len(a.IDs) > MaxHeld {
		wrong.Add("ids", itoa(len(a.IDs))+" ids", "at most "+itoa(MaxHeld))
		return wrong.Err("the question is not valid")
	}
	for i, id := range a.IDs {
		if id == "" || !validText(id, federation.MaxAlertID) {
			wrong.Add("ids["+itoa(i)+"]", id, "an id of at most "+itoa(federation.MaxAlertID)+" characters")
		}
	}
	return wrong.Err("the question is not valid")
}

// Receptions is how far a site has alerts of an origin. What it has nothing of is not in it.
type Receptions struct {
	Items []Reception `json:"items"`
}

// Reception is how far a site has one alert of an origin.
type Reception struct {
	ID      string `json:"id"` // the origin's
	Version int    `json:"version"`
	// Refused says that this version is refused for good, and Reason why.
	Refused bool   `json:"refused,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// Resent is how many alerts were sent again: not those that were shortly before.
type Resent struct {
	Resent int `json:"resent"`
}

// sound reports whether a time is one that both databases and JSON can hold.
func sound(t time.Time) bool { return t.Year() >= 1970 && t.UTC().Year() <= 9999 }
