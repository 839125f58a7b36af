package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	// rescan is how often the consumer of the refusals is seen to.
	rescan = time.Second
	// batch and linger are how many refusals are noted in one transaction, and how
	// long the first of them waits for more that are there.
	batch  = 100
	linger = 50 * time.Millisecond
	// longestReason bounds, in bytes, what a peer may have written here.
	longestReason = 500
)

// termination is what the server says of a delivery that a peer ended.
type termination struct {
	Consumer string    `json:"consumer"`
	Sequence uint64    `json:"stream_seq"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"timestamp"`
}

// told is the consumer of the refusals, which is made where it is missing; none as
// long as the runtime is still making the stream.
func (l ledger) told(ctx context.Context) ([]function.Source, error) {
	s := function.Source{Site: l.bus.Site().ID, Stream: subject.RefusalStream(l.bus.Site().ID), Consumer: subject.RefusalConsumer}
	_, err := l.bus.JetStream().Consumer(ctx, s.Stream, s.Consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		_, err = l.bus.JetStream().CreateOrUpdateConsumer(ctx, s.Stream, jetstream.ConsumerConfig{
			Durable:     s.Consumer,
			Description: "what peers refused, for the database",
			AckPolicy:   jetstream.AckExplicitPolicy,
			AckWait:     15 * time.Second,
			MaxDeliver:  -1, // ledger ends what it cannot note
		})
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("making the consumer of the refusals: %w", err)
	}
	return []function.Source{s}, nil
}

func (l ledger) note(ctx context.Context, ended []termination) error {
	alerts, err := l.bus.JetStream().Stream(ctx, subject.AlertStream(l.bus.Site().ID))
	if err != nil {
		return unavailable(err)
	}
	rs := make([]store.Refusal, len(ended))
	for i, e := range ended {
		if rs[i], err = refusal(ctx, alerts, e); err != nil {
			return err
		}
	}
	return l.store.RecordRefusals(ctx, rs)
}

// refusal adds to a termination what the message was, where the stream still holds it.
func refusal(ctx context.Context, alerts jetstream.Stream, e termination) (store.Refusal, error) {
	peer := subject.ConsumerPeer(e.Consumer)
	if !peer.Valid() {
		return store.Refusal{}, fault.New(fault.Invalid, "the consumer %q is of no peer", e.Consumer)
	}
	r := store.Refusal{Peer: peer, Sequence: e.Sequence, Reason: readable(e.Reason), At: e.At}
	msg, err := alerts.GetMsg(ctx, e.Sequence)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return r, nil
	case err != nil:
		return store.Refusal{}, unavailable(err)
	case msg.Time.After(e.At): // the stream was made anew and counts from 1 again
		return r, nil
	}
	r.PublishedAt, r.Subject, r.AlertID = msg.Time, msg.Subject, alertID(msg.Data)
	return r, nil
}

// alertID is the alert that a payload claims to be of, empty where there is no
// telling: a payload that a peer refused may be anything.
func alertID(payload []byte) string {
	var of struct {
		AlertID string `json:"origin_alert_id"`
	}
	if json.Unmarshal(payload, &of) != nil || (ask.AlertID{ID: of.AlertID}).Validate() != nil {
		return ""
	}
	return of.AlertID
}

// readable is a peer's reason as the databases take it: PostgreSQL has no NUL.
func readable(reason string) string {
	reason = strings.ReplaceAll(reason, "\x00", "")
	return strings.ToValidUTF8(reason[:min(len(reason), longestReason)], "")
}
