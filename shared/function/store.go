package function

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// Message is something for a local stream. ID makes a second publish of the same
// message, within the stream's dedup window, a no-op.
type Message struct {
	Subject string
	ID      string
	Payload []byte
	// Proof is set where another site said it, and this one passes it on.
	Proof *Proof
	// Trace is that within which the message came to be; empty where in none.
	Trace string
}

// Store publishes messages to the local streams that capture their subjects, those
// that peers read signed together, and waits for the server to have them. It reports, for each,
// its sequence in its stream, 0 where it is not stored; a message that was there already has the
// sequence that it got then. err is the first failure, Unavailable where JetStream
// did not answer.
//
// Many messages for one stream go as atomic batches, which a server that syncs what it
// confirms syncs once. What it refuses as a batch, it is offered one by one.
func (b *Bus) Store(ctx context.Context, msgs []Message) (sequences []uint64, err error) {
	s := storing{bus: b, msgs: msgs, out: make([]*nats.Msg, len(msgs)), sequences: make([]uint64, len(msgs)), acks: make([]jetstream.PubAckFuture, len(msgs))}
	if err := s.seal(); err != nil {
		return s.sequences, err
	}
	for i, m := range msgs {
		published := b.publishing(ctx, m, s.out[i])
		defer published() //nolint:gocritic // one for each message, until all are confirmed
	}
	batches, alone := s.split()
	s.publish(alone)
	for _, batch := range batches {
		s.together(ctx, batch)
	}
	s.await(ctx)
	return s.sequences, s.failed
}

// storing is one call of [Bus.Store].
type storing struct {
	bus       *Bus
	msgs      []Message
	out       []*nats.Msg              // as they are published
	acks      []jetstream.PubAckFuture // of those that were published one by one
	sequences []uint64
	failed    error // the first failure
}

func (s *storing) fail(err error) {
	if s.failed == nil {
		s.failed = err
	}
}

// seal makes what is published, with its proofs and signatures.
func (s *storing) seal() error {
	own := make([]*nats.Msg, 0, len(s.msgs))
	for i, m := range s.msgs {
		s.out[i] = &nats.Msg{Subject: m.Subject, Data: m.Payload, Header: nats.Header{}}
		if m.Proof != nil {
			m.Proof.onto(s.out[i])
		} else {
			own = append(own, s.out[i])
		}
		if m.ID != "" {
			s.out[i].Header.Set(jetstream.MsgIDHeader, m.ID)
		}
	}
	return s.bus.sealTogether(own)
}

// batch is messages, by their indexes, that go to a stream together.
type batch struct {
	stream string
	of     []int
}

// split says which messages go together, and which one by one, in the order that they have.
func (s *storing) split() (batches []batch, alone []int) {
	byStream := map[string][]int{}
	for i, m := range s.msgs {
		name := subject.CapturedBy(s.bus.site.ID, m.Subject)
		byStream[name] = append(byStream[name], i)
	}
	for name, all := range byStream {
		if name == "" || len(all) < minBatch || !s.bus.batchable(name) {
			alone = append(alone, all...)
			continue
		}
		for of := range slices.Chunk(all, maxBatch) {
			batches = append(batches, batch{name, of})
		}
	}
	slices.Sort(alone)
	return batches, alone
}

// publish publishes messages one by one, and waits for none.
func (s *storing) publish(of []int) {
	for _, i := range of {
		ack, err := s.bus.js.PublishMsgAsync(s.out[i])
		if err != nil {
			s.fail(fault.New(fault.Unavailable, "publishing to %s: %v", s.out[i].Subject, err))
			return
		}
		s.acks[i] = ack
	}
}

// together stores a batch. A stream that refuses it has none of its messages by that, and gets them
// one by one: a single one that it knows already has the whole batch refused.
func (s *storing) together(ctx context.Context, all batch) {
	msgs := make([]*nats.Msg, len(all.of))
	for n, i := range all.of {
		msgs[n] = s.out[i]
	}
	first, err := s.bus.storeBatch(ctx, msgs)
	switch {
	case err == nil:
		for n, i := range all.of {
			s.sequences[i] = first + uint64(n)
		}
	case errors.Is(err, errBatchRefused):
		if errors.Is(err, errBatchless) {
			s.bus.foundBatchless(all.stream)
		} else {
			s.bus.log.Debug("its messages go one by one", "stream", all.stream, "messages", len(msgs), "error", err)
		}
		s.publish(all.of)
	case ctx.Err() != nil:
		s.fail(fault.New(fault.Timeout, "the stream %s did not answer in time", all.stream))
	default:
		s.fail(fault.New(fault.Unavailable, "the stream %s did not answer: %v", all.stream, err))
	}
}

// await waits for what was published one by one.
func (s *storing) await(ctx context.Context) {
	for i, ack := range s.acks {
		if ack == nil {
			continue
		}
		select {
		case stored := <-ack.Ok():
			s.sequences[i] = stored.Sequence
		case err := <-ack.Err():
			s.fail(fault.New(fault.Unavailable, "the stream for %s did not take a message: %v", s.out[i].Subject, err))
		case <-ctx.Done():
			s.fail(fault.New(fault.Timeout, "the stream for %s did not answer in time", s.out[i].Subject))
		}
	}
}
