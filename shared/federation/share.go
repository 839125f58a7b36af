package federation

import (
	"fmt"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// Gate decides whether an alert leaves its site. A gate without a valid
// MinSeverity lets nothing leave.
type Gate struct {
	// MinSeverity is the lowest severity that leaves.
	MinSeverity Severity
	// Closed lets nothing leave: federation is off.
	Closed bool
}

// SharingRule is the rule by which a gate decided.
type SharingRule string

// The rules, in the order in which a gate asks them.
const (
	RuleFederationOff SharingRule = "federation_off" // the gate is closed
	RuleTLP           SharingRule = "tlp"            // the label keeps the alert at its site
	RuleMinSeverity   SharingRule = "min_severity"   // the alert is not severe enough
	RuleAdmitted      SharingRule = "admitted"       // no rule keeps it
)

// SharingRules lists every rule in the order in which a gate asks them.
func SharingRules() []SharingRule {
	return []SharingRule{RuleFederationOff, RuleTLP, RuleMinSeverity, RuleAdmitted}
}

// Decision is whether an alert leaves its site, and why.
type Decision struct {
	Admitted bool        `json:"admitted"`
	Rule     SharingRule `json:"rule"`
	// Reason is the rule as a sentence, with the value that met it and the limit.
	Reason string `json:"reason"`
}

// Decide says whether a local alert leaves. A severity or label that the gate
// does not know keeps it at home; no label at all is [DefaultTLP].
func (g Gate) Decide(s Severity, t TLP) Decision {
	t = t.OrDefault()
	kept := func(rule SharingRule, form string, args ...any) Decision {
		return Decision{Rule: rule, Reason: fmt.Sprintf(form, args...)}
	}
	switch {
	case g.Closed:
		return kept(RuleFederationOff, "federation is off at this site, so nothing leaves it")
	case !t.Shareable():
		return kept(RuleTLP, "tlp %s stays at its site; only %s may leave", t, sharedTLPForm)
	case !g.MinSeverity.Valid():
		return kept(RuleMinSeverity, "the gate has no lowest severity, so nothing leaves, not even %s", s)
	case s.Rank() < g.MinSeverity.Rank():
		return kept(RuleMinSeverity, "severity %s is below %s, the lowest that leaves", s, g.MinSeverity)
	}
	return Decision{Admitted: true, Rule: RuleAdmitted, Reason: fmt.Sprintf("severity %s is at least %s, and tlp %s may leave", s, g.MinSeverity, t)}
}

// Severities lists what the gate admits where the label does not forbid it, worst first.
func (g Gate) Severities() []Severity {
	var admitted []Severity
	for _, s := range Severities() {
		if g.Decide(s, TLPClear).Admitted {
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
			Title: a.Title, Description: a.Description, Severity: a.Severity, TLP: a.TLP, Source: a.Source, AssetType: a.AssetType,
			AffectedAssets: a.AffectedAssets, IOCs: IOCInput{Items: a.IOCs}, MitreTechniques: a.MitreTechniques,
			RawLog: RawLog(a.RawLog), ObservedAt: a.ObservedAt,
		},
	}
}

// MaxAlertID is the longest alert id that a peer may send, in characters.
const MaxAlertID = 64

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
