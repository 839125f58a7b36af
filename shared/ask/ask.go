// Package ask lists every question that the functions of a site answer over
// request/reply. It is all that the gateway and a function have in common: the
// one asks these endpoints, the other answers them, and neither imports the other.
package ask

import (
	"github.com/auroramesh/auroramesh/shared/drillreport"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// The endpoints.
var (
	Topology  = function.Endpoint[None, federation.Topology]{Function: "topologyquery", Name: "topology", Doc: "the mesh as this site sees it: sites and links"}
	Sites     = function.Endpoint[Page, List[federation.Site]]{Function: "topologyquery", Name: "sites", Doc: "a page of the sites that this site knows"}
	SetAgents = function.Endpoint[federation.Agents, federation.Site]{Function: "heartbeat", Name: "agents", Doc: "set the agent counts that the heartbeat carries"}
	Echo      = function.Endpoint[None, federation.EchoReply]{Function: "linkprobe", Name: "echo", Doc: "answer at once, with the clock of this site", Subject: subject.Echo}

	RaiseAlert  = function.Endpoint[federation.NewAlert, Raised]{Function: "alertintake", Name: "raise", Doc: "store a new alert, or find the one it duplicates"}
	UpdateAlert = function.Endpoint[AlertUpdate, federation.Alert]{Function: "alertintake", Name: "update", Doc: "change an alert: its status, its content, or take it back"}
	ListAlerts  = function.Endpoint[AlertFilter, List[federation.Alert]]{Function: "alertquery", Name: "list", Doc: "a page of alerts, newest first"}
	GetAlert    = function.Endpoint[AlertID, federation.Alert]{Function: "alertquery", Name: "get", Doc: "one alert"}
	GetAlerts   = function.Endpoint[AlertsByID, AlertsFound]{Function: "alertquery", Name: "several", Doc: "alerts by their ids"}

	Deliveries      = function.Endpoint[None, federation.Deliveries]{Function: "ledger", Name: "deliveries", Doc: "what each peer has stored, and what waits for it"}
	AlertDeliveries = function.Endpoint[AlertID, federation.AlertDeliveries]{Function: "ledger", Name: "alertdeliveries", Doc: "how far one alert has come on its way to each peer"}
	KeepDrill       = function.Endpoint[drillreport.Report, None]{Function: "ledger", Name: "keepdrill", Doc: "keep the report of a drill"}
	Drills          = function.Endpoint[None, DrillList]{Function: "ledger", Name: "drills", Doc: "the reports of the last drills, the newest first"}

	ListDeadLetters = function.Endpoint[Page, List[DeadLetter]]{Function: "deadletters", Name: "list", Doc: "a page of the dead letters, newest first"}
	GetDeadLetter   = function.Endpoint[function.LetterID, DeadLetterText]{Function: "deadletters", Name: "get", Doc: "one dead letter with its payload"}
	RetryDeadLetter = function.Endpoint[function.LetterID, DeadLetter]{Function: "deadletters", Name: "retry", Doc: "let its function handle a dead letter again, and delete it where that succeeds"}
	DropDeadLetter  = function.Endpoint[function.LetterID, DeadLetter]{Function: "deadletters", Name: "drop", Doc: "delete a dead letter"}
)

// None is the question without parameters.
type None struct{}

// Bounds of a page, in items.
const (
	DefaultLimit = 50
	MaxLimit     = 200
	MaxSkip      = 10_000_000
)

// Page chooses part of a list.
type Page struct {
	Skip  int `json:"skip"`
	Limit int `json:"limit"` // 0: none given, so DefaultLimit; a caller of the API or the command may not write 0
}

// Validate refuses a page outside the bounds.
func (p Page) Validate() error {
	var wrong fault.Fields
	p.check(&wrong)
	return wrong.Err("the page is not valid")
}

func (p Page) check(wrong *fault.Fields) {
	if p.Skip < 0 || p.Skip > MaxSkip {
		wrong.Add("skip", itoa(p.Skip), "a whole number from 0 to "+itoa(MaxSkip))
	}
	if p.Limit < 0 || p.Limit > MaxLimit {
		wrong.Add("limit", itoa(p.Limit), "a whole number from 1 to "+itoa(MaxLimit))
	}
}

// WithDefaults is p with DefaultLimit where it has none.
func (p Page) WithDefaults() Page {
	if p.Limit == 0 {
		p.Limit = DefaultLimit
	}
	return p
}

// MaxCounted is how many alerts are counted for the total of a list, and among how many one of several filters is chosen.
const MaxCounted = 10_000

// List is one page of a list of Total items, or of more than that.
type List[T any] struct {
	Items []T `json:"items"`
	Total int `json:"total"`
	// More says that there are more than Total, which were not counted.
	More  bool `json:"more,omitempty"`
	Skip  int  `json:"skip"`
	Limit int  `json:"limit"`
	// LookedTo is the [Place] where a list of several filters has stopped before its page was
	// full, for it looks at a bounded number of alerts. After it the list goes on, and passes over
	// Total fewer. Empty: there was no need to stop.
	LookedTo string `json:"looked_to,omitempty"`
}

// AlertFilter chooses alerts. An empty field chooses all.
type AlertFilter struct {
	Page
	Severity federation.Severity    `json:"severity,omitempty"`
	Status   federation.AlertStatus `json:"status,omitempty"`
	TLP      federation.TLP         `json:"tlp,omitempty"`
	Source   string                 `json:"source,omitempty"`
	// After asks for what is older than a place alone; zero: from the newest on.
	After Place `json:"after,omitzero"`
}

// Validate refuses a page outside the bounds and words outside the vocabulary.
func (f AlertFilter) Validate() error {
	var wrong fault.Fields
	f.check(&wrong)
	if f.Severity != "" && !f.Severity.Valid() {
		wrong.Add("severity", string(f.Severity), federation.SeverityForm)
	}
	if f.Status != "" && !f.Status.Valid() {
		wrong.Add("status", string(f.Status), federation.AlertStatusForm)
	}
	if f.TLP != "" && !f.TLP.Valid() {
		wrong.Add("tlp", string(f.TLP), federation.TLPForm)
	}
	if !validText(f.Source, federation.MaxSource) {
		wrong.Add("source", f.Source, "text in UTF-8 of at most "+itoa(federation.MaxSource)+" characters")
	}
	if !f.After.IsZero() && !f.After.sound() {
		wrong.Add("after", f.After.String(), "the place of an alert")
	}
	return wrong.Err("the filter is not valid")
}

// Raised is what became of a new alert.
type Raised struct {
	Alert federation.Alert `json:"alert"`
	// Created is false where the alert duplicates one that was there, which is then Alert.
	Created bool `json:"created"`
	// Unreadable lists the IOCs that could not be read and are not on the alert.
	Unreadable []string `json:"unreadable,omitempty"`
}

// AlertID names one alert.
type AlertID struct {
	ID string `json:"id"`
}

// Validate refuses an id that no alert can have.
func (a AlertID) Validate() error {
	if a.ID == "" || !validText(a.ID, federation.MaxAlertID) {
		return &fault.Error{Code: fault.NotFound, Message: "there is no alert with this id"}
	}
	return nil
}

// AlertUpdate changes one alert.
type AlertUpdate struct {
	ID    string                `json:"id"`
	Patch federation.AlertPatch `json:"patch"`
}

// Validate refuses what [AlertID] and [federation.AlertPatch] refuse.
func (u AlertUpdate) Validate() error {
	if err := (AlertID{u.ID}).Validate(); err != nil {
		return err
	}
	return u.Patch.Validate()
}

// DrillList is what the last drills found out, the newest first.
type DrillList struct {
	Items []drillreport.Report `json:"items"`
}
