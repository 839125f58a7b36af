package federation

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// MaxRetraction is the longest reason for a retraction, in characters.
const MaxRetraction = 500

// Retraction says that the origin has taken an alert back. It is a notice: what a
// peer already holds stays there, and its analysts see that it no longer counts.
type Retraction struct {
	At     time.Time `json:"at"` // the origin's clock
	Reason string    `json:"reason"`
}

// AlertPatch is a change that an analyst makes to an alert. A field that is empty
// or nil stays as it is.
type AlertPatch struct {
	Status          AlertStatus `json:"status,omitempty"`
	Title           *string     `json:"title,omitempty"`
	Description     *string     `json:"description,omitempty"`
	Severity        Severity    `json:"severity,omitempty"`
	TLP             TLP         `json:"tlp,omitempty"`
	AssetType       *string     `json:"asset_type,omitempty"`
	AffectedAssets  *[]string   `json:"affected_assets,omitempty"`
	IOCs            *IOCInput   `json:"iocs,omitempty"`
	MitreTechniques *[]string   `json:"mitre_techniques,omitempty"`
	// Retraction takes the alert back for good, and says why.
	Retraction string `json:"retraction,omitempty"`
}

// onto writes what the patch has to say about the content of an alert into n.
func (p AlertPatch) onto(n NewAlert) NewAlert {
	put(&n.Title, p.Title)
	put(&n.Description, p.Description)
	put(&n.AssetType, p.AssetType)
	put(&n.AffectedAssets, p.AffectedAssets)
	put(&n.IOCs, p.IOCs)
	put(&n.MitreTechniques, p.MitreTechniques)
	if p.Severity != "" {
		n.Severity = p.Severity
	}
	if p.TLP != "" {
		n.TLP = p.TLP
	}
	return n
}

func put[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Edits reports whether the patch changes more than the status, which only the
// origin of an alert may.
func (p AlertPatch) Edits() bool {
	p.Status = ""
	return !reflect.ValueOf(p).IsZero()
}

// Validate refuses a patch that changes nothing, one that breaks a limit or the
// vocabulary, and IOCs that cannot be read.
func (p AlertPatch) Validate() error {
	var wrong fault.Fields
	if p.Status == "" && !p.Edits() {
		wrong.Add("body", "", "at least one of status, title, description, severity, tlp, asset_type, affected_assets, iocs, mitre_techniques and retraction")
	}
	if p.Status != "" && !p.Status.Valid() {
		wrong.Add("status", string(p.Status), AlertStatusForm)
	}
	// What the patch leaves alone is sound already.
	p.onto(NewAlert{Title: "-", Severity: Info, Source: "-"}).check(&wrong)
	if p.IOCs != nil {
		for _, v := range first(p.IOCs.Unreadable, MaxIOCs) {
			wrong.Add("iocs", v, IOCAllowed(v))
		}
	}
	checkText(&wrong, "retraction", p.Retraction, 0, MaxRetraction)
	if p.Retraction != "" && strings.TrimSpace(p.Retraction) == "" {
		wrong.Add("retraction", p.Retraction, "at least one character that is no space")
	}
	return wrong.Err("the change is not valid")
}

// Apply is the alert after a change at its site. Where that changes what the origin
// tells of the alert, it is a further version; of an alert that its label or a
// retraction keeps at home, nothing is told that was not told before. The error is Conflict where
// the alert came from a peer and more than its status here is to change, or where
// it has been retracted.
func (a Alert) Apply(p AlertPatch, at time.Time) (Alert, error) {
	switch {
	case !p.Edits():
	case a.Origin != nil:
		return a, fault.New(fault.Conflict, "the alert was raised at %s: only there can it be edited or retracted; here only its status can change", a.Origin.SiteID)
	case a.Retraction != nil:
		return a, fault.New(fault.Conflict, "the alert was retracted: only its status can change")
	}
	at = at.UTC().Truncate(time.Microsecond)
	was := a
	if p.Status != "" {
		a.Status = p.Status
	}
	if p.Edits() {
		n := p.onto(a.content())
		a.Title, a.Description, a.Severity, a.TLP, a.AssetType = strings.TrimSpace(n.Title), n.Description, n.Severity, n.TLP, n.AssetType
		a.AffectedAssets, a.MitreTechniques = orEmpty(n.AffectedAssets), orEmpty(n.MitreTechniques)
		a.IOCs = orEmpty(CanonicalIOCs(slices.Clone(n.IOCs.Items)))
		if p.Retraction != "" {
			a.Retraction = &Retraction{At: at, Reason: strings.TrimSpace(p.Retraction)}
		}
	}
	if reflect.DeepEqual(a, was) {
		return was, nil
	}
	a.UpdatedAt = at
	if a.Origin == nil && (!was.Withheld() || !a.Withheld()) {
		a.Version++
		a.release()
	}
	return a, nil
}

// content is what an analyst at the origin may edit, as it would be raised.
func (a Alert) content() NewAlert {
	return NewAlert{
		Title: a.Title, Description: a.Description, Severity: a.Severity, TLP: a.TLP, Source: a.Source, AssetType: a.AssetType,
		AffectedAssets: a.AffectedAssets, IOCs: IOCInput{Items: a.IOCs}, MitreTechniques: a.MitreTechniques,
		RawLog: RawLog(a.RawLog), ObservedAt: a.ObservedAt,
	}
}

// release notes the worst severity under which the alert may have left its site.
// Later versions follow the way of the first, else a peer would keep an alert as
// it was before it became harmless.
func (a *Alert) release() {
	if a.withheld() == nil && a.Severity.Rank() > a.SharedSeverity.Rank() {
		a.SharedSeverity = a.Severity
	}
}

// Withheld reports whether the content of a local alert may not leave, or no longer.
func (a Alert) Withheld() bool { return a.withheld() != nil }

// withheld is why the content of a local alert may not leave, or no longer: nil where it may.
func (a Alert) withheld() *Retraction {
	switch {
	case a.Retraction != nil:
		return a.Retraction
	case !a.TLP.OrDefault().Shareable():
		return &Retraction{At: a.UpdatedAt, Reason: "its label no longer lets it leave its site"}
	}
	return nil
}

// Supersede is an alert from a peer after a further version of it, and whether
// that is newer; an older version changes nothing. What this site made of the
// alert, its id and its status here, stays. A retraction brings no content, so
// that what it takes back can still be seen.
func (a Alert) Supersede(next Alert) (Alert, bool) {
	if next.Version <= a.Version {
		return a, false
	}
	was := a
	if next.Retraction == nil {
		a = next
	}
	a.ID, a.Status, a.CreatedAt, a.DedupHash = was.ID, was.Status, was.CreatedAt, was.DedupHash
	a.Version, a.Retraction, a.UpdatedAt = next.Version, next.Retraction, next.UpdatedAt
	origin := *next.Origin
	origin.ReceivedAt = was.Origin.ReceivedAt
	a.Origin = &origin
	return a, true
}
