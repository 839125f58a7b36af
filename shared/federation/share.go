package federation

import (
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// SharedAlertVersion is the version of the payload in which alerts cross.
const SharedAlertVersion = 1

// SharedAlert is one version of an alert on the wire between sites.
type SharedAlert struct {
	Version    int       `json:"version"` // of the payload
	OriginSite SiteID    `json:"origin_site"`
	OriginName string    `json:"origin_name"`
	OriginID   string    `json:"origin_alert_id"`
	RaisedAt   time.Time `json:"raised_at"`
	// AlertVersion is the version of the alert; 0, from a site that knows of none, is 1.
	AlertVersion int         `json:"alert_version,omitempty"`
	Status       AlertStatus `json:"status,omitempty"` // at the origin; empty: new
	UpdatedAt    *time.Time  `json:"updated_at,omitempty"`
	// Retraction is set where the content may no longer leave: then there is none.
	Retraction *Retraction `json:"retraction,omitempty"`
	// Relay is the leave for the hub to pass it on; nil where it may not.
	Relay *Relay `json:"relay,omitempty"`
	NewAlert
}

// retractedTitle and retractedSource stand in for the content of a retracted alert,
// which no peer stores: one that never held the alert drops the retraction.
const (
	retractedTitle  = "Retracted by its origin"
	retractedSource = "retracted"
)

// Share makes the payload in which a local alert crosses to the peers.
func Share(a Alert, origin Identity) SharedAlert {
	s := SharedAlert{
		Version: SharedAlertVersion, OriginSite: origin.ID, OriginName: origin.Name, OriginID: a.ID, RaisedAt: a.CreatedAt,
		AlertVersion: a.Version, Status: a.Status, UpdatedAt: &a.UpdatedAt, NewAlert: a.content(),
	}
	if s.Retraction = a.withheld(); s.Retraction != nil {
		s.NewAlert = NewAlert{Title: retractedTitle, Severity: a.SharedSeverity, Source: retractedSource}
	}
	return s
}

// MaxAlertID is the longest alert id that a peer may send, in characters.
const MaxAlertID = 64

// MaxVersion is the highest version of an alert.
const MaxVersion = 1_000_000_000

// Validate refuses a payload of another version (Unsupported), and one whose fields
// break the vocabulary or whose label should have kept it at its site (Invalid): no
// honest peer sends that.
func (s SharedAlert) Validate() error {
	if s.Version != SharedAlertVersion {
		return fault.New(fault.Unsupported, "shared alert version %d is not understood: this site speaks version %d", s.Version, SharedAlertVersion)
	}
	var wrong fault.Fields
	if !s.OriginSite.Valid() {
		wrong.Add("origin_site", string(s.OriginSite), SiteIDForm)
	}
	checkText(&wrong, "origin_name", s.OriginName, 0, MaxSiteName)
	checkText(&wrong, "origin_alert_id", s.OriginID, 1, MaxAlertID)
	if !validTime(s.RaisedAt) {
		wrong.Add("raised_at", s.RaisedAt.String(), timeForm)
	}
	if s.AlertVersion < 0 || s.AlertVersion > MaxVersion {
		wrong.Add("alert_version", itoa(s.AlertVersion), "a whole number from 1 to "+itoa(MaxVersion))
	}
	if s.Status != "" && !s.Status.Valid() {
		wrong.Add("status", string(s.Status), AlertStatusForm)
	}
	if s.UpdatedAt != nil && !validTime(*s.UpdatedAt) {
		wrong.Add("updated_at", s.UpdatedAt.String(), timeForm)
	}
	if r := s.Retraction; r != nil {
		checkText(&wrong, "retraction.reason", r.Reason, 0, MaxRetraction)
		if !validTime(r.At) {
			wrong.Add("retraction.at", r.At.String(), timeForm)
		}
	}
	if r := s.Relay; r != nil {
		if len(r.Except) > MaxPassesFor {
			wrong.Add("relay.except", itoa(len(r.Except))+" entries", "at most "+itoa(MaxPassesFor)+" entries")
		}
		for i, id := range first(r.Except, MaxPassesFor) {
			if !id.Valid() {
				wrong.Add("relay.except["+itoa(i)+"]", string(id), SiteIDForm)
			}
		}
	}
	s.check(&wrong)
	if t := s.TLP.OrDefault(); t.Valid() && !t.Shareable() {
		wrong.Add("tlp", string(t), sharedTLPForm+": anything else never leaves its site")
	}
	return wrong.Err("the shared alert is not valid")
}

// Received makes the row of the receiving site's queue. id is a UUIDv7 of that
// site. The row's dedup hash is the replay key, so a replay meets the same
// unique index as a duplicate.
func (s SharedAlert) Received(id string, at time.Time) Alert {
	a := s.row(id, at)
	a.Version = max(s.AlertVersion, 1)
	if r := s.Retraction; r != nil {
		a.Retraction = &Retraction{At: r.At.UTC().Truncate(time.Microsecond), Reason: r.Reason}
	}
	a.Source = FederatedSource + string(s.OriginSite)
	a.DedupHash = ReplayHash(s.OriginSite, s.OriginID)
	a.Origin = &Origin{
		SiteID: s.OriginSite, SiteName: s.OriginName, AlertID: s.OriginID,
		RaisedAt: s.RaisedAt.UTC().Truncate(time.Microsecond), ReceivedAt: a.CreatedAt, Status: s.Status,
	}
	a.Origin.UpdatedAt = a.Origin.RaisedAt
	if s.UpdatedAt != nil {
		a.Origin.UpdatedAt = s.UpdatedAt.UTC().Truncate(time.Microsecond)
	}
	if a.Origin.SiteName == "" {
		a.Origin.SiteName = string(s.OriginSite)
	}
	if a.Origin.Status == "" {
		a.Origin.Status = New
	}
	return a
}
