// Package alertrelay is the function that empties the outbox: what other
// functions committed to be published, it publishes to the site's own streams,
// and takes out of the outbox what the server has confirmed. Alerts for the
// peers go worst severity first. A message id derived from what is published
// makes a second attempt, after a crash in between, a no-op.
package alertrelay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/metric"
	"github.com/auroramesh/auroramesh/shared/outbox"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	// sweep is how often it looks without being nudged.
	sweep = 2 * time.Second
	// lookout is how long a nudge waits for others before it looks, telling how long what
	// only the site's own watchers are told does, and confirming how long what was handed
	// over and published waits in the outbox for its removal with others.
	lookout    = 5 * time.Millisecond
	telling    = 20 * time.Millisecond
	confirming = 20 * time.Millisecond
	// batch is how many messages are published before their rows are taken out.
	batch = 500
)

// New is the function for one site.
func New(limits stream.Limits, st *store.Store, bus *function.Bus, reg prometheus.Registerer, now func() time.Time) function.Function {
	r := relay{st, bus, now}
	site := bus.Site().ID
	reg.MustRegister(r.figures())
	return function.Function{
		Name:        outbox.Function,
		Description: "Empties the outbox: publishes shared alerts and events to the site's streams.",
		Triggers: []function.Trigger{
			function.Handed(outbox.Shared, r.handed),
			function.Handed(outbox.Told, r.told, function.Lingering(telling)),
			function.Handed("confirmed", r.confirmed, function.Lingering(confirming)),
			function.Nudged(r.relay, function.Lingering(lookout)),
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

// figures are how much waits in the outbox at the moment of the scrape.
func (r relay) figures() prometheus.Collector {
	return metric.Read(func(ctx context.Context, put metric.Put) error {
		n, oldest, err := r.store.OutboxDepth(ctx)
		if err != nil {
			return err
		}
		age := 0.0
		if oldest != nil {
			age = max(r.now().Sub(*oldest).Seconds(), 0)
		}
		put("aurora_outbox_messages", float64(n))
		put("aurora_outbox_oldest_seconds", age)
		return nil
	},
		metric.Figure{Name: "aurora_outbox_messages", Help: "Messages in the outbox that the streams of the site have not confirmed yet."},
		metric.Figure{Name: "aurora_outbox_oldest_seconds", Help: "Age of the oldest of them; 0 where there is none."},
	)
}

// handed publishes what was committed a moment ago and handed over with it. What fails
// here waits in the outbox.
func (r relay) handed(ctx context.Context, all [][]store.Queued) error {
	fresh := slices.Concat(all...)
	slices.SortStableFunc(fresh, func(a, b store.Queued) int { return b.Priority - a.Priority })
	for next := range slices.Chunk(fresh, batch) {
		done, failed := r.publish(ctx, next)
		if err := errors.Join(failed, r.confirm(done)); err != nil {
			return err
		}
	}
	return nil
}

// told publishes what the site's own watchers are told, of all that was committed within
// a moment.
func (r relay) told(ctx context.Context, all [][]store.Queued) error {
	for next := range slices.Chunk(slices.Concat(all...), batch) {
		done, failed := r.publish(ctx, next)
		if err := errors.Join(failed, r.takeOut(ctx, done)); err != nil {
			return err
		}
	}
	return nil
}

// confirm takes out of the outbox what was published when it was handed over, together with
// what comes next. An alert that may not leave any more since is found then: it is in the
// outbox no longer.
func (r relay) confirm(done []store.Confirmed) error {
	if len(done) == 0 {
		return nil
	}
	for i := range done {
		done[i].Payload = nil // nobody reads it any more
	}
	return r.bus.HandOver(outbox.Function, "confirmed", done)
}

// confirmed takes out of the outbox what [relay.confirm] has left for later.
func (r relay) confirmed(ctx context.Context, all [][]store.Confirmed) error {
	return r.takeOut(ctx, slices.Concat(all...))
}

// relay publishes what waits in the outbox.
func (r relay) relay(ctx context.Context) error {
	for ctx.Err() == nil {
		queued, err := r.store.Outbox(ctx, batch)
		if err != nil {
			return fmt.Errorf("reading the outbox: %w", err)
		}
		if len(queued) == 0 {
			return nil
		}
		done, failed := r.publish(ctx, queued)
		if err := r.takeOut(ctx, done); err != nil {
			return err
		}
		if len(queued) < batch || len(done) == 0 { // whoever has put more there since has nudged
			return failed
		}
	}
	return ctx.Err()
}

// publish publishes messages of the outbox, and returns those that the server has confirmed.
// An alert of which earlier versions cannot be withdrawn waits with all of its messages,
// and holds no other up.
func (r relay) publish(ctx context.Context, queued []store.Queued) (done []store.Confirmed, err error) {
	waits := map[string]bool{} // by alert
	var failed error
	for _, q := range queued {
		if !q.Withdraws || waits[q.AlertID] {
			continue
		}
		if err := r.withdraw(ctx, q.AlertID, q.Version); err != nil {
			if ctx.Err() != nil { // none of the others could be either
				return nil, err
			}
			waits[q.AlertID] = true
			failed = errors.Join(failed, err)
		}
	}
	msgs, sent := make([]function.Message, 0, len(queued)), make([]store.Queued, 0, len(queued))
	for _, q := range queued {
		switch {
		case q.AlertID != "" && waits[q.AlertID]:
			continue
		case q.Subject == "": // it only withdraws
			done = append(done, store.Confirmed{Queued: q})
			continue
		}
		msgs = append(msgs, function.Message{Subject: q.Subject, ID: q.MsgID, Payload: q.Payload, Trace: q.Trace, Proof: q.Proof})
		sent = append(sent, q)
	}
	sequences, err := r.bus.Store(ctx, msgs)
	for i, q := range sent {
		if sequences[i] > 0 {
			done = append(done, store.Confirmed{Queued: q, Sequence: sequences[i]})
		}
	}
	return done, errors.Join(failed, err)
}

// takeOut takes out of the outbox what the server has confirmed.
func (r relay) takeOut(ctx context.Context, done []store.Confirmed) error {
	gone, err := r.store.Published(ctx, r.now(), done)
	if err != nil {
		return fmt.Errorf("clearing the outbox: %w", err)
	}
	for _, g := range gone {
		if err := r.recall(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// recall takes an alert out of the stream that was changed between its way out of the
// outbox and into the stream so that it may not leave any more. The withdrawal that came
// with the change may have been before it.
func (r relay) recall(ctx context.Context, gone store.Confirmed) error {
	if gone.AlertID == "" {
		return nil
	}
	a, err := r.alertOf(ctx, gone)
	switch {
	case fault.Is(err, fault.NotFound):
		return nil
	case err != nil:
		return err
	case a.Withheld():
		return r.withdraw(ctx, gone.AlertID, a.Version)
	}
	return nil
}

// alertOf is the alert that a message shares, or passes on, as it is here.
func (r relay) alertOf(ctx context.Context, m store.Confirmed) (federation.Alert, error) {
	if m.Proof == nil {
		return r.store.Alert(ctx, m.AlertID)
	}
	return r.store.AlertOf(ctx, m.Proof.Site, federation.PassedID(m.Proof.Site, m.AlertID))
}

// withdraw takes out of the stream what was published before a version of an alert that
// may not leave any more, so that no peer that is behind, or is yet to come, reads it there.
func (r relay) withdraw(ctx context.Context, alertID string, version int) error {
	places, err := r.store.Places(ctx, alertID, version)
	if err != nil || len(places) == 0 {
		return err
	}
	alerts, err := r.bus.JetStream().Stream(ctx, subject.AlertStream(r.bus.Site().ID))
	if err != nil {
		return fmt.Errorf("reading the stream of shared alerts: %w", err)
	}
	for _, p := range places {
		msg, err := alerts.GetMsg(ctx, p.Sequence)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			continue
		case err != nil:
			return fmt.Errorf("reading what is to be withdrawn: %w", err)
		}
		var of struct {
			Site    federation.SiteID `json:"origin_site"`
			AlertID string            `json:"origin_alert_id"`
		}
		err = json.Unmarshal(msg.Data, &of)
		if of.Site != r.bus.Site().ID {
			of.AlertID = federation.PassedAlertID(of.Site, of.AlertID)
		}
		if err != nil || of.AlertID != alertID { // a stream that was made anew counts from 1 again
			continue
		}
		if err := alerts.DeleteMsg(ctx, p.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("withdrawing an alert: %w", err)
		}
	}
	return nil
}
