package ask

import (
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
)

// LinkHistory is asked of topologyquery.
var LinkHistory = function.Endpoint[HistoryOf, federation.History]{Function: "topologyquery", Name: "history", Doc: "the transitions and the availability of a link"}

// LinkLatency is asked of topologyquery.
var LinkLatency = function.Endpoint[HistoryOf, federation.LatencyHistory]{Function: "topologyquery", Name: "latency", Doc: "the round trips of a link over a time, as this site measured them"}

// Bounds of a history, in hours; for the longest the transitions are always kept.
const (
	DefaultHistoryHours = 24
	MaxHistoryHours     = 90 * 24
)

// MaxLinkID is the longest id of a link that may be asked for, in characters.
const MaxLinkID = 200

// HistoryOf chooses a link and how far to look back.
type HistoryOf struct {
	LinkID string `json:"link_id"`
	Hours  int    `json:"hours"` // 0: none given, so DefaultHistoryHours
}

// Validate refuses an id that no link can have, and a time outside the bounds.
func (h HistoryOf) Validate() error {
	if h.LinkID == "" || !validText(h.LinkID, MaxLinkID) {
		return &fault.Error{Code: fault.NotFound, Message: "there is no link with this id"}
	}
	var wrong fault.Fields
	if h.Hours < 0 || h.Hours > MaxHistoryHours {
		wrong.Add("hours", itoa(h.Hours), "a whole number from 1 to "+itoa(MaxHistoryHours))
	}
	return wrong.Err("the question is not valid")
}
