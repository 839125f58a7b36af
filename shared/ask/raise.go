package ask

import (
	"encoding/json"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
)

// RaiseAlerts stores several alerts at once. One that is bad fails alone.
var RaiseAlerts = function.Endpoint[AlertsRaising, AlertsRaised]{Function: "alertintake", Name: "raiseall", Doc: "store several new alerts in one transaction, each with its record in the audit log"}

// Bounds of one [AlertsRaising], and with it of its answer.
const (
	// MaxRaising is how many alerts there may be.
	MaxRaising = 256
	// MaxRaisingBytes is how large they may be together, as JSON; one alone may be larger.
	MaxRaisingBytes = 384 << 10
)

// AlertsRaising is new alerts of several requests that came together.
type AlertsRaising struct {
	Items []AlertRaising `json:"items"`
}

// AlertRaising is one new alert.
type AlertRaising struct {
	Alert federation.NewAlert `json:"alert"`
	// Audit, where set, is the record of the request. What became of the alert is added to
	// it: result 201 and the alert's id behind the target where it is new, else 200.
	Audit *access.Entry `json:"audit,omitempty"`
	// Trace is that of the request; see package tracing.
	Trace string `json:"trace,omitempty"`
}

// Validate refuses too many alerts, and none.
func (r AlertsRaising) Validate() error {
	var wrong fault.Fields
	if n := len(r.Items); n == 0 || n > MaxRaising {
		wrong.Add("items", itoa(n)+" alerts", "1 to "+itoa(MaxRaising))
	}
	return wrong.Err("the alerts are not valid")
}

// AlertsRaised is what became of each, in their order.
type AlertsRaised struct {
	Items []AlertRaised `json:"items"`
}

// AlertRaised is what became of one alert. Where Problem is set it is not stored.
type AlertRaised struct {
	// Alert is a [federation.Alert] as JSON, which most who ask only pass on; nil where the
	// alert is too large for this answer. ID and TLP are of it.
	Alert json.RawMessage `json:"alert,omitempty"`
	ID    string          `json:"id,omitempty"`
	TLP   federation.TLP  `json:"tlp,omitempty"`
	// Created and Unreadable are as in [Raised].
	Created    bool         `json:"created,omitempty"`
	Unreadable []string     `json:"unreadable,omitempty"`
	Problem    *fault.Error `json:"problem,omitempty"`
}
