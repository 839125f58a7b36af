// Package outbox has alertrelay publish what a function has just put into the outbox.
// Whatever fails here waits in the outbox, where alertrelay looks by itself: it only
// comes later.
package outbox

import (
	"context"
	"errors"
	"log/slog"

	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
)

// Function is the name of the function that empties the outbox.
const Function = "alertrelay"

// The names under which it is handed what was put there.
const (
	// Shared is what peers wait for. It is published at once.
	Shared = "handed"
	// Told is what the watchers of the site itself are told. It is published with all that
	// comes within a moment that nobody sees.
	Told = "told"
)

// maxHanded is how many bytes of payloads are handed over at most; more are read from
// the outbox with less work.
const maxHanded = 64 << 10

// Publish has published what was put into the outbox and committed. That it could not be
// handed over is logged, and is no failure of who committed it.
func Publish(ctx context.Context, bus *function.Bus, log *slog.Logger, queued []store.Queued) {
	var shared, told []store.Queued
	bytes := 0
	for _, q := range queued {
		bytes += len(q.Payload)
		if q.AlertID == "" {
			told = append(told, q)
		} else {
			shared = append(shared, q)
		}
	}
	if bytes > maxHanded {
		Nudge(ctx, bus, log)
		return
	}
	warn(ctx, log, errors.Join(handOver(bus, Shared, shared), handOver(bus, Told, told)))
}

// Nudge has the outbox emptied, of what was put there without being handed over. It fails as [Publish] does.
func Nudge(ctx context.Context, bus *function.Bus, log *slog.Logger) {
	warn(ctx, log, bus.Nudge(Function))
}

func warn(ctx context.Context, log *slog.Logger, err error) {
	if err != nil {
		log.WarnContext(ctx, "alertrelay could not be nudged", "error", err)
	}
}

func handOver(bus *function.Bus, as string, queued []store.Queued) error {
	if len(queued) == 0 {
		return nil
	}
	return bus.HandOver(Function, as, queued)
}
