// Package alertrelay is the function that empties the outbox: what other
// functions committed to be published, it publishes to the site's own streams,
// and takes out of the outbox what the server has confirmed. Alerts for the
// peers go worst severity first. A message id derived from what is published
// makes a second attempt, after a crash in between, a no-op.
package alertrelay

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/stream"
)

const (
	// sweep is how often it looks without being nudged.
	sweep = 2 * time.Second
	// batch is how many messages are published before their rows are taken out.
	batch = 500
)

// New is the function for one site.
func New(limits stream.Limits, st *store.Store, bus *function.Bus, now func() time.Time) function.Function {
	r := relay{st, bus, now}
	site := bus.Site().ID
	return function.Function{
		Name:        "alertrelay",
		Description: "Empties the outbox: publishes shared alerts and events to the site's streams.",
		Triggers: []function.Trigger{
			function.Nudged(r.relay),
			function.Every(sweep, r.relay, function.Named("sweep")),
		},
		Streams: []jetstream.StreamConfig{stream.Alerts(site, limits), stream.Events(site)},
		Checks:  []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type relay struct {
	store *store.Store
	bus   *function.Bus
	now   func() time.Time
}

func (r relay) relay(ctx context.Context) error {
	for ctx.Err() == nil {
		queued, err := r.store.Outbox(ctx, batch)
		if err != nil {
			return fmt.Errorf("reading the outbox: %w", err)
		}
		if len(queued) == 0 {
			return nil
		}
		msgs := make([]function.Message, len(queued))
		for i, q := range queued {
			msgs[i] = function.Message{Subject: q.Subject, ID: q.MsgID, Payload: q.Payload}
		}
		sequences, failed := r.bus.Store(ctx, msgs)
		var done []store.Confirmed
		for i, q := range queued {
			if sequences[i] > 0 {
				done = append(done, store.Confirmed{ID: q.ID, AlertID: q.AlertID, Sequence: sequences[i]})
			}
		}
		if err := r.store.Published(ctx, r.now(), done); err != nil {
			return fmt.Errorf("clearing the outbox: %w", err)
		}
		if failed != nil {
			return failed
		}
	}
	return ctx.Err()
}
