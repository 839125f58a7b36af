package federation

import (
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// Gate is the rule that decides whether an alert leaves its site. A gate without
// a valid MinSeverity lets nothing leave.
type Gate struct {
	// MinSeverity is the lowest severity that leaves.
	MinSeverity Severity
	// Closed lets nothing leave: federation is off.
	Closed bool
}

// Admits reports whether a local alert of the given severity leaves.
func (g Gate) Admits(s Severity) bool {
	return !g.Closed && g.MinSeverity.Valid() && s.Valid() && s.Rank() >= g.MinSeverity.Rank()
}

// Severities lists what the gate admits, worst first.
func (g Gate) Severities() []Severity {
	var admitted []Severity
	for _, s := range Severities() {
		if g.Admits(s) {
			admitted = append(admitted, s)
		}
	}
	return admitted
}

// SharedAlertVersion is the version of the payload in which alerts cross.
const SharedAlertVersion = 1

// SharedAlert is an alert on the wire between sites.
type SharedAlert struct {
	Version    int       `json:"version"`
	OriginSite SiteID    `json:"origin_site"`
	OriginName string    `json:"origin_name"`
	OriginID   string    `json:"origin_alert_id"`
	RaisedAt   time.Time `json:"raised_at"`
	NewAlert
}

// Share makes the payload in which a local alert crosses to the peers.
func Share(a Alert, origin Identity) SharedAlert {
	return SharedAlert{
		Version: SharedAlertVersion, OriginSite: origin.ID, OriginName: origin.Name, OriginID: a.ID, RaisedAt: a.CreatedAt,
		NewAlert: NewAlert{
			Title: a.Title, Description: a.Description, Severity: a.Severity, Source: a.Source, AssetType: a.AssetType,
			AffectedAssets: a.AffectedAssets, IOCs: IOCInput{Items: a.IOCs}, MitreTechniques: a.MitreTechniques,
			RawLog: RawLog(a.RawLog), ObservedAt: a.ObservedAt,
		},
	}
}

// MaxAlertID is the longest alert id that a peer may send, in characters.
const MaxAlertID = 64

// Validate refuses a payload of another version (Unsupported) and one whose fields break the vocabulary (Invalid).
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
	s.check(&wrong)
	return wrong.Err("the shared alert is not valid")
}

// Received makes the row of the receiving site's queue. id is a UUIDv7 of that
// site. The row's dedup hash is the replay key, so a replay meets the same
// unique index as a duplicate.
func (s SharedAlert) Received(id string, at time.Time) Alert {
	a := s.Alert(id, at)
	a.Source = FederatedSource + string(s.OriginSite)
	a.DedupHash = ReplayHash(s.OriginSite, s.OriginID)
	a.Origin = &Origin{
		SiteID: s.OriginSite, SiteName: s.OriginName, AlertID: s.OriginID,
		RaisedAt: s.RaisedAt.UTC().Truncate(time.Microsecond), ReceivedAt: a.CreatedAt,
	}
	if a.Origin.SiteName == "" {
		a.Origin.SiteName = string(s.OriginSite)
	}
	return a
}
