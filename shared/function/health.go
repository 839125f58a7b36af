package function

import (
	"context"
	"fmt"
	"time"
)

// Health is how one replica of a function is. Every function answers with it at
// its endpoint "health".
type Health struct {
	Name     string          `json:"name"`
	Version  string          `json:"version"`
	Checks   []CheckResult   `json:"checks"`
	Triggers []TriggerHealth `json:"triggers"`
}

// CheckResult is what one [Check] said; Error is empty where it holds.
type CheckResult struct {
	Part  string `json:"part"`
	Error string `json:"error,omitempty"`
}

// TriggerHealth is what one trigger has done since the replica started.
type TriggerHealth struct {
	Name      string     `json:"name"`
	Kind      string     `json:"kind"`   // reply, on, consume, every or http
	Detail    string     `json:"detail"` // the subject, consumer, interval or address
	Calls     uint64     `json:"calls"`
	Errors    uint64     `json:"errors"`
	LastError string     `json:"last_error,omitempty"`
	LastAt    *time.Time `json:"last_at,omitempty"`
	InFlight  int        `json:"in_flight"`
	// Trouble says why the trigger cannot work now, empty where it can.
	Trouble string `json:"trouble,omitempty"`
	// Sources says of which source of a [Consume] nothing can be had, and why. That is no
	// trouble of the trigger: the others are pulled from.
	Sources map[string]string `json:"sources,omitempty"`
}

// HealthEndpoint is where a function is asked how it is.
func HealthEndpoint(function string) Endpoint[struct{}, Health] {
	return Endpoint[struct{}, Health]{Function: function, Name: "health", Doc: "how this replica is: its checks and its triggers"}
}

// checkTimeout bounds one check, so that a health answer comes within the second that a prober waits.
const checkTimeout = 800 * time.Millisecond

func (r *Running) health(ctx context.Context, _ struct{}) (Health, error) {
	h := Health{Name: r.fn.Name, Version: r.bus.site.Version, Checks: []CheckResult{}, Triggers: []TriggerHealth{}}
	for _, c := range r.fn.Checks {
		result := CheckResult{Part: c.Part}
		if err := c.run(ctx); err != nil {
			result.Error = err.Error()
		}
		h.Checks = append(h.Checks, result)
	}
	for _, m := range r.meters {
		h.Triggers = append(h.Triggers, m.health())
	}
	return h, nil
}

// run runs a check, bounded in time.
func (c Check) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return c.Run(ctx)
}

// check is the first check of the function that does not hold, nil where all do.
func (r *Running) check(ctx context.Context) error {
	for _, c := range r.fn.Checks {
		if err := c.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.Part, err)
		}
	}
	return nil
}
