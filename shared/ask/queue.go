package ask

import (
	"strconv"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
)

// What the queue of an analyst asks, beside the list of the API.
var (
	PageAlerts   = function.Endpoint[AlertQuery, AlertPage]{Function: "alertquery", Name: "page", Doc: "the alerts before or after a place in the queue, newest first"}
	Campaigns    = function.Endpoint[CampaignQuery, CampaignList]{Function: "alertquery", Name: "campaigns", Doc: "what the same in alerts of several sites is"}
	UpdateAlerts = function.Endpoint[AlertsUpdate, AlertsUpdated]{Function: "alertintake", Name: "updateall", Doc: "change the status of several alerts, each by itself"}
)

// Place is where in the queue an alert stands. It does not move when others come.
type Place struct {
	At time.Time `json:"at"`
	ID string    `json:"id"`
}

// PlaceOf is the place of an alert.
func PlaceOf(a federation.Alert) Place { return Place{a.CreatedAt, a.ID} }

// IsZero reports whether p is no place.
func (p Place) IsZero() bool { return p.ID == "" }

// String is the place as an address holds it.
func (p Place) String() string {
	if p.IsZero() {
		return ""
	}
	return strconv.FormatInt(p.At.UnixMicro(), 10) + "_" + p.ID
}

// ParsePlace reads what [Place.String] wrote; an error names the field that it was in.
func ParsePlace(field, s string) (Place, error) {
	if s == "" {
		return Place{}, nil
	}
	at, id, found := strings.Cut(s, "_")
	micros, err := strconv.ParseInt(at, 10, 64)
	p := Place{time.UnixMicro(micros).UTC(), id}
	if !found || err != nil || !p.sound() {
		var wrong fault.Fields
		wrong.Add(field, s, "microseconds since 1970, an underscore, and the id of an alert")
		return Place{}, wrong.Err("the place in the queue is not valid")
	}
	return p, nil
}

func (p Place) sound() bool {
	return sound(p.At) && p.ID != "" && validText(p.ID, federation.MaxAlertID)
}

// Where alerts of the queue come from: OriginLocal, OriginPeers or one site.
const (
	OriginLocal = "local"
	OriginPeers = "peers"
	// OriginSitePrefix begins the origin that is one site, whose id may be any word.
	OriginSitePrefix = "site:"
)

// MaxSearch is the longest text to search for, in characters.
const MaxSearch = 200

// AlertQuery chooses alerts, and a page of them by the place of its first or last.
type AlertQuery struct {
	Severity federation.Severity    `json:"severity,omitempty"`
	Status   federation.AlertStatus `json:"status,omitempty"`
	// Origin is OriginLocal, OriginPeers or OriginSitePrefix and a site id; empty: any.
	Origin string `json:"origin,omitempty"`
	// Text is in the title, or begins an IOC or a technique.
	Text string `json:"text,omitempty"`
	// Since and Until bound when the alert came; zero: no bound.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// After asks for what is older than a place, Before for what is newer. At most one is set.
	After  Place `json:"after,omitzero"`
	Before Place `json:"before,omitzero"`
	Limit  int   `json:"limit"` // 0: DefaultLimit
}

// Validate refuses what is outside the bounds and the vocabulary.
func (q AlertQuery) Validate() error {
	var wrong fault.Fields
	if q.Severity != "" && !q.Severity.Valid() {
		wrong.Add("severity", string(q.Severity), federation.SeverityForm)
	}
	if q.Status != "" && !q.Status.Valid() {
		wrong.Add("status", string(q.Status), federation.AlertStatusForm)
	}
	if site, one := strings.CutPrefix(q.Origin, OriginSitePrefix); q.Origin != "" && q.Origin != OriginLocal && q.Origin != OriginPeers && (!one || !federation.SiteID(site).Valid()) {
		wrong.Add("origin", q.Origin, "local, peers, or site: and the id of a site")
	}
	if !validText(q.Text, MaxSearch) {
		wrong.Add("text", q.Text, "text in UTF-8 of at most "+itoa(MaxSearch)+" characters")
	}
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"since", q.Since}, {"until", q.Until}} {
		if !t.at.IsZero() && !sound(t.at) {
			wrong.Add(t.name, t.at.String(), "a moment from 1970 to 9999")
		}
	}
	for _, p := range []struct {
		name  string
		place Place
	}{{"after", q.After}, {"before", q.Before}} {
		if !p.place.IsZero() && !p.place.sound() {
			wrong.Add(p.name, p.place.String(), "the place of an alert")
		}
	}
	if !q.After.IsZero() && !q.Before.IsZero() {
		wrong.Add("before", q.Before.String(), "not together with after")
	}
	if q.Limit < 0 || q.Limit > MaxLimit {
		wrong.Add("limit", itoa(q.Limit), "a whole number from 1 to "+itoa(MaxLimit))
	}
	return wrong.Err("the question is not valid")
}

// AlertPage is a page of the queue. Its alerts are without raw logs and the ends of long descriptions.
type AlertPage struct {
	Items []federation.Alert `json:"items"`
	// Older and Newer say whether there is more on that side of the page, or may be.
	Older bool `json:"older"`
	Newer bool `json:"newer"`
	// LookedTo is where the search for what fills the page has stopped, for it looks at a
	// bounded number of alerts; it goes on from there. Zero: there was no need to stop.
	// Beyond it the page has only what begins an IOC or a technique with the text.
	LookedTo Place `json:"looked_to,omitzero"`
}

// CampaignQuery asks for what came within a time.
type CampaignQuery struct {
	Hours int `json:"hours"`
	Limit int `json:"limit"`
}

// Bounds of a [CampaignQuery].
const (
	MaxCampaignHours = 7 * 24
	MaxCampaigns     = 50
)

// Validate refuses what is outside the bounds.
func (q CampaignQuery) Validate() error {
	var wrong fault.Fields
	if q.Hours < 1 || q.Hours > MaxCampaignHours {
		wrong.Add("hours", itoa(q.Hours), "a whole number from 1 to "+itoa(MaxCampaignHours))
	}
	if q.Limit < 1 || q.Limit > MaxCampaigns {
		wrong.Add("limit", itoa(q.Limit), "a whole number from 1 to "+itoa(MaxCampaigns))
	}
	return wrong.Err("the question is not valid")
}

// AlertsByID names several alerts.
type AlertsByID struct {
	IDs []string `json:"ids"`
}

// Validate refuses too many alerts, none, and ids that none can have.
func (a AlertsByID) Validate() error {
	var wrong fault.Fields
	checkIDs(&wrong, a.IDs)
	return wrong.Err("the question is not valid")
}

// AlertsFound is alerts in the order of their ids, without those that are not there.
// Looked is how many of the ids it is about: for the others there was no room.
type AlertsFound struct {
	Items  []federation.Alert `json:"items"`
	Looked int                `json:"looked"`
}

// Technique is the kind of a [Campaign] whose alerts have a technique in common; any other is a type of IOC.
const Technique = "technique"

// Campaign is one IOC or technique that alerts of several sites have.
type Campaign struct {
	Kind   string              `json:"kind"`
	Value  string              `json:"value"`
	Sites  []federation.SiteID `json:"sites"`
	Alerts int                 `json:"alerts"`
	First  time.Time           `json:"first"` // when the first of the alerts came, and the last
	Last   time.Time           `json:"last"`
}

// CampaignList is the campaigns of a time, IOCs before techniques and the latest first.
type CampaignList struct {
	Items []Campaign `json:"items"`
	// Since is from when on alerts were looked at, where so many have come within the time
	// that it is only the newest. Zero: all of the time.
	Since time.Time `json:"since,omitzero"`
}

// MaxUpdates is how many alerts one [AlertsUpdate] may change.
const MaxUpdates = MaxLimit

// AlertsUpdate changes the status of several alerts.
type AlertsUpdate struct {
	IDs    []string               `json:"ids"`
	Status federation.AlertStatus `json:"status"`
}

// Validate refuses too many alerts, none, ids that none can have, and an unknown status.
func (u AlertsUpdate) Validate() error {
	var wrong fault.Fields
	checkIDs(&wrong, u.IDs)
	if !u.Status.Valid() {
		wrong.Add("status", string(u.Status), federation.AlertStatusForm)
	}
	return wrong.Err("the change is not valid")
}

func checkIDs(wrong *fault.Fields, ids []string) {
	if len(ids) == 0 || len(ids) > MaxUpdates {
		wrong.Add("ids", itoa(len(ids))+" ids", "1 to "+itoa(MaxUpdates))
		return
	}
	for i, id := range ids {
		if id == "" || !validText(id, federation.MaxAlertID) {
			wrong.Add("ids["+itoa(i)+"]", id, "an id of at most "+itoa(federation.MaxAlertID)+" characters")
		}
	}
}

// AlertsUpdated is what became of each, in the order of the ids.
type AlertsUpdated struct {
	Items []AlertUpdated `json:"items"`
}

// AlertUpdated is what became of the change of one alert.
type AlertUpdated struct {
	ID string `json:"id"`
	// Problem says why the alert is as it was; empty: it was changed, or was so already.
	Problem string `json:"problem,omitempty"`
}
