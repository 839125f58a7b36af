package federation

import "time"

// History is the way of a link over a time.
type History struct {
	LinkID string `json:"link_id"`
	// From is the start of the time, or when the link became known where that is
	// later, or the oldest transition listed where there were too many to list.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Transitions are the changes of status and of its cause within the time, the newest first.
	Transitions []Transition `json:"transitions"`
	// Availability is the share of the time that the link was not down, 0 to 1; 1 where no time has passed.
	Availability    float64 `json:"availability"`
	HealthySeconds  float64 `json:"healthy_seconds"`
	DegradedSeconds float64 `json:"degraded_seconds"`
	DownSeconds     float64 `json:"down_seconds"`
}

// NewHistory is the history of a link from one moment to another. ts are its
// transitions within that time, the oldest first, and before is its status until the first of them.
func NewHistory(id string, from, to time.Time, before LinkStatus, ts []Transition) History {
	h := History{LinkID: id, From: from, To: to, Transitions: make([]Transition, len(ts)), Availability: 1}
	status, at := before, from
	pass := func(until time.Time) {
		spent := max(until.Sub(at), 0).Seconds()
		switch status {
		case Healthy:
			h.HealthySeconds += spent
		case LinkDegraded:
			h.DegradedSeconds += spent
		default:
			h.DownSeconds += spent
		}
		at = until
	}
	for i, t := range ts {
		pass(t.At)
		status = LinkStatus(t.To)
		h.Transitions[len(ts)-1-i] = t
	}
	pass(to)
	if all := h.HealthySeconds + h.DegradedSeconds + h.DownSeconds; all > 0 {
		h.Availability = 1 - h.DownSeconds/all
	}
	return h
}
