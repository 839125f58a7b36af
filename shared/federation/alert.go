package federation

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// Severity is how bad an alert is.
type Severity string

// The severities, worst first.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
	Info     Severity = "info"
)

// Severities lists every severity, worst first.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low, Info} }

// SeverityForm says in words what a severity may be.
const SeverityForm = "critical, high, medium, low or info"

// Valid reports whether s is one of the severities.
func (s Severity) Valid() bool { return s.Rank() > 0 }

// Rank orders severities: 5 for critical down to 1 for info, 0 for anything else.
func (s Severity) Rank() int {
	for i, known := range Severities() {
		if s == known {
			return 5 - i
		}
	}
	return 0
}

// AlertStatus is where an alert stands in triage.
type AlertStatus string

// The states of an alert.
const (
	New           AlertStatus = "new"
	Triaged       AlertStatus = "triaged"
	Investigating AlertStatus = "investigating"
	Escalated     AlertStatus = "escalated"
	Resolved      AlertStatus = "resolved"
	FalsePositive AlertStatus = "false_positive"
)

// AlertStatuses lists every status in the order of triage.
func AlertStatuses() []AlertStatus {
	return []AlertStatus{New, Triaged, Investigating, Escalated, Resolved, FalsePositive}
}

// AlertStatusForm says in words what a status may be.
const AlertStatusForm = "new, triaged, investigating, escalated, resolved or false_positive"

// Valid reports whether s is one of the states.
func (s AlertStatus) Valid() bool {
	for _, known := range AlertStatuses() {
		if s == known {
			return true
		}
	}
	return false
}

// FederatedSource is the prefix of the source of every alert that came from a
// peer; the origin's site id follows it. No local alert may claim it.
const FederatedSource = "federation:"

// Limits of an alert, in characters or entries. They keep an alert, with
// everything in it, under the maximum payload of a NATS message (1 MiB).
const (
	MaxTitle       = 300
	MaxDescription = 16_384
	MaxSource      = 128
	MaxAssetType   = 64
	MaxAssets      = 100
	MaxAsset       = 255
	MaxIOCs        = 500
	MaxIOCValue    = 1024
	MaxTechniques  = 50
	MaxRawLog      = 131_072
)

// RawLog is the log line behind an alert. JSON input may be a string or any
// other JSON value, which is kept as its compact text.
type RawLog string

// UnmarshalJSON implements json.Unmarshaler.
func (r *RawLog) UnmarshalJSON(data []byte) error {
	data = bytes.TrimSpace(data)
	switch {
	case bytes.Equal(data, []byte("null")):
		*r = ""
		return nil
	case len(data) > 0 && data[0] == '"':
		if text, plain := unescaped(data); plain {
			*r = RawLog(text)
			return nil
		}
		return json.Unmarshal(data, (*string)(r))
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return err
	}
	*r = RawLog(compact.String())
	return nil
}

// unescaped is the text of a JSON string that is written as it is, as most are; plain is false for any other.
func unescaped(data []byte) (text []byte, plain bool) {
	if len(data) < 2 || data[len(data)-1] != '"' {
		return nil, false
	}
	text = data[1 : len(data)-1]
	return text, !bytes.ContainsAny(text, `"\`) && utf8.Valid(text)
}

// NewAlert is what a caller raises at its own site.
type NewAlert struct {
	Title       string   `json:"title"`
	Description string   `json:"description,omitempty"`
	Severity    Severity `json:"severity"`
	// TLP is empty where the caller sets none: see [DefaultTLP].
	TLP             TLP      `json:"tlp,omitempty"`
	Source          string   `json:"source"`
	AssetType       string   `json:"asset_type,omitempty"`
	AffectedAssets  []string `json:"affected_assets,omitempty"`
	IOCs            IOCInput `json:"iocs,omitzero"`
	MitreTechniques []string `json:"mitre_techniques,omitempty"`
	RawLog          RawLog   `json:"raw_log,omitempty"`
	// ObservedAt is when the sensor saw it; nil where the sensor does not say.
	ObservedAt *time.Time `json:"observed_at,omitempty"`
}

var techniquePattern = regexp.MustCompile(`^T[0-9]{4}(\.[0-9]{3})?$`)

// Validate refuses an alert that breaks a limit or the vocabulary, and names
// every field that does. Unreadable IOCs do not refuse an alert: see [IOCInput].
func (n NewAlert) Validate() error {
	var wrong fault.Fields
	n.check(&wrong)
	if strings.HasPrefix(n.Source, FederatedSource) {
		wrong.Add("source", n.Source, "anything that does not begin with \"federation:\", which marks alerts from peers")
	}
	return wrong.Err("the alert is not valid")
}

func (n NewAlert) check(wrong *fault.Fields) {
	checkText(wrong, "title", n.Title, 1, MaxTitle)
	if n.Title != "" && strings.TrimSpace(n.Title) == "" {
		wrong.Add("title", n.Title, "at least one character that is no space")
	}
	checkText(wrong, "description", n.Description, 0, MaxDescription)
	switch {
	case n.Severity == "":
		wrong.Add("severity", "", "is required: "+SeverityForm)
	case !n.Severity.Valid():
		wrong.Add("severity", string(n.Severity), SeverityForm)
	}
	if n.TLP != "" && !n.TLP.Valid() {
		wrong.Add("tlp", string(n.TLP), TLPForm)
	}
	checkText(wrong, "source", n.Source, 1, MaxSource)
	checkText(wrong, "asset_type", n.AssetType, 0, MaxAssetType)
	if len(n.AffectedAssets) > MaxAssets {
		wrong.Add("affected_assets", itoa(len(n.AffectedAssets))+" entries", "at most "+itoa(MaxAssets)+" entries")
	}
	// Past a limit the entries are not looked at: a fault on each would be an
	// answer larger than a message may be.
	for i, a := range first(n.AffectedAssets, MaxAssets) {
		checkText(wrong, "affected_assets["+itoa(i)+"]", a, 1, MaxAsset)
	}
	if n.IOCs.Malformed != "" {
		wrong.Add("iocs", n.IOCs.Malformed, IOCForm)
	}
	if got := len(n.IOCs.Items) + len(n.IOCs.Unreadable); got > MaxIOCs {
		wrong.Add("iocs", itoa(got)+" entries", "at most "+itoa(MaxIOCs)+" entries")
	}
	if len(n.MitreTechniques) > MaxTechniques {
		wrong.Add("mitre_techniques", itoa(len(n.MitreTechniques))+" entries", "at most "+itoa(MaxTechniques)+" entries")
	}
	for i, t := range first(n.MitreTechniques, MaxTechniques) {
		if !techniquePattern.MatchString(t) {
			wrong.Add("mitre_techniques["+itoa(i)+"]", t, "an ATT&CK technique id such as T1071 or T1071.001")
		}
	}
	checkText(wrong, "raw_log", string(n.RawLog), 0, MaxRawLog)
	if n.ObservedAt != nil && !validTime(*n.ObservedAt) {
		wrong.Add("observed_at", n.ObservedAt.String(), timeForm)
	}
}

// Alert is a row of a site's queue.
type Alert struct {
	ID string `json:"id"`
	// Version counts what the origin has said of the alert: 1 as it was raised. Here
	// and at every peer the same number is the same content.
	Version         int         `json:"version"`
	Title           string      `json:"title"`
	Description     string      `json:"description"`
	Severity        Severity    `json:"severity"`
	TLP             TLP         `json:"tlp"`
	Status          AlertStatus `json:"status"`
	Source          string      `json:"source"`
	AssetType       string      `json:"asset_type"`
	AffectedAssets  []string    `json:"affected_assets"`
	IOCs            []IOC       `json:"iocs"`
	MitreTechniques []string    `json:"mitre_techniques"`
	RawLog          string      `json:"raw_log"`
	DedupHash       string      `json:"dedup_hash"`
	ObservedAt      *time.Time  `json:"observed_at,omitempty"`
	CreatedAt       time.Time   `json:"created_at"`
	UpdatedAt       time.Time   `json:"updated_at"`
	// Retraction is set where the origin has taken the alert back.
	Retraction *Retraction `json:"retraction,omitempty"`
	// Origin is set on an alert that came from a peer, nil on a local one.
	Origin *Origin `json:"origin,omitempty"`
	// SharedSeverity is the worst severity under which a local alert may have left
	// its site; empty where it never might.
	SharedSeverity Severity `json:"-"`
}

// Origin says where an alert was raised.
type Origin struct {
	SiteID     SiteID    `json:"site_id"`
	SiteName   string    `json:"site_name"`
	AlertID    string    `json:"alert_id"`
	RaisedAt   time.Time `json:"raised_at"`   // the origin's clock
	ReceivedAt time.Time `json:"received_at"` // the clock of the site that answers
	// Status is where the alert stands in triage at its origin; the alert's own
	// status is where it stands here.
	Status AlertStatus `json:"status"`
	// UpdatedAt is when the origin last changed it, on the origin's clock.
	UpdatedAt time.Time `json:"updated_at"`
}

// Alert makes the row of the local queue from what was raised. id is a UUIDv7.
func (n NewAlert) Alert(id string, at time.Time) Alert {
	a := n.row(id, at)
	a.DedupHash = DedupHash(a.Title, a.Source, a.IOCs)
	a.release()
	return a
}

// row is an alert of a queue, but for what tells it from others.
func (n NewAlert) row(id string, at time.Time) Alert {
	at = at.UTC().Truncate(time.Microsecond)
	return Alert{
		ID: id, Version: 1, Title: strings.TrimSpace(n.Title), Description: n.Description, Severity: n.Severity, TLP: n.TLP.OrDefault(), Status: New,
		Source: n.Source, AssetType: n.AssetType,
		AffectedAssets:  orEmpty(n.AffectedAssets),
		IOCs:            orEmpty(CanonicalIOCs(slices.Clone(n.IOCs.Items))),
		MitreTechniques: orEmpty(n.MitreTechniques),
		RawLog:          string(n.RawLog), ObservedAt: utc(n.ObservedAt), CreatedAt: at, UpdatedAt: at,
	}
}

func first[T any](s []T, n int) []T { return s[:min(n, len(s))] }

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC().Truncate(time.Microsecond)
	return &u
}

// Size is how many bytes of text the alert has, with what JSON puts around them.
func (a Alert) Size() int {
	n := 1000 + len(a.Title) + len(a.Description) + len(a.RawLog) + len(a.Source) + len(a.AssetType)
	if a.Retraction != nil {
		n += len(a.Retraction.Reason)
	}
	for _, v := range a.AffectedAssets {
		n += len(v) + 3
	}
	for _, v := range a.IOCs {
		n += len(v.Value) + len(v.Type) + 25
	}
	for _, v := range a.MitreTechniques {
		n += len(v) + 3
	}
	return n
}

// Brief is the alert with its raw log and the end of a long description left out.
func (a Alert) Brief() Alert {
	a.RawLog = ""
	if r := []rune(a.Description); len(r) > 500 {
		a.Description = string(r[:497]) + "..."
	}
	return a
}
