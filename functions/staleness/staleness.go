// Package staleness is the function that notices silence: every interval it ages
// the links to degraded and then down, and the sites to degraded and offline, by
// the age of their newest heartbeat. Each transition is published once, however
// many replicas look at the same time.
package staleness

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
)

// MaxInterval is how often it looks where the heartbeats are rarer.
const MaxInterval = 5 * time.Second

// New is the function for one site, whose heartbeats come every interval.
func New(interval time.Duration, t federation.Thresholds, st *store.Store, bus *function.Bus, log *slog.Logger, now func() time.Time) function.Function {
	s := staleness{t, st, bus, log, now}
	return function.Function{
		Name:        "staleness",
		Description: "Ages links and sites whose heartbeats have stopped, and publishes each transition.",
		Triggers:    []function.Trigger{function.Every(min(interval, MaxInterval), s.age, function.Named("age"))},
		Checks:      []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type staleness struct {
	thresholds federation.Thresholds
	store      *store.Store
	bus        *function.Bus
	log        *slog.Logger
	now        func() time.Time
}

func (s staleness) age(ctx context.Context) error {
	changes, err := s.store.Age(ctx, s.bus.Site().ID, s.now(), s.thresholds)
	if err != nil {
		return fmt.Errorf("ageing links and sites: %w", err)
	}
	if len(changes) == 0 {
		return nil
	}
	for _, c := range changes {
		s.log.WarnContext(ctx, "a heartbeat is late", "what", c.Kind, "id", c.ID, "from", c.From, "to", c.To, "cause", c.Cause, "heartbeat_age_seconds", c.HeartbeatAgeSeconds)
	}
	// The transitions' events were committed with them; alertrelay publishes them.
	return s.bus.Nudge("alertrelay")
}
