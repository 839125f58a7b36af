package backlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
)

const (
	// atOnce bounds the alerts that go in one step, and page those of one request.
	atOnce, page = 10_000, 2_000
	// overhead is more than a stream needs for an alert beside subject, headers and payload.
	overhead = 40
)

// cut is a place in the stream, and how many alerts of a step are before it.
type cut struct {
	before   uint64
	messages int
}

// oldest finds the oldest alerts of a step that together are the excess, or as many
// of them as there are. It reads their headers only.
func oldest(ctx context.Context, alerts jetstream.Stream, s step, over federation.Excess) (c cut, err error) {
	reader, err := alerts.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Description: "what can leave the backlog", FilterSubjects: s.filters, HeadersOnly: true,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return cut{}, fmt.Errorf("reading what is oldest: %w", err)
	}
	defer func() {
		if gone := alerts.DeleteConsumer(context.WithoutCancel(ctx), reader.CachedInfo().Name); !errors.Is(gone, jetstream.ErrConsumerNotFound) {
			err = errors.Join(err, gone)
		}
	}()
	for ctx.Err() == nil {
		batch, err := reader.FetchNoWait(page)
		if err != nil {
			return cut{}, fmt.Errorf("reading what is oldest: %w", err)
		}
		came := 0
		for msg := range batch.Messages() {
			came++
			meta, err := msg.Metadata()
			if err != nil {
				return cut{}, fmt.Errorf("reading the place of an alert: %w", err)
			}
			if over.None() || meta.Sequence.Stream >= s.below || c.messages >= atOnce {
				return c, nil
			}
			size, err := sizeOf(msg)
			if err != nil {
				return cut{}, err
			}
			over.Messages, over.Bytes = over.Messages-1, over.Bytes-size
			c.before, c.messages = meta.Sequence.Stream+1, c.messages+1
		}
		if err := batch.Error(); err != nil {
			return cut{}, fmt.Errorf("reading what is oldest: %w", err)
		}
		if came == 0 {
			return c, nil
		}
	}
	return cut{}, ctx.Err()
}

// sizeOf is about how much room an alert takes in the stream, rather more than
// less: so never one goes too many, and what is left over goes at the next step.
func sizeOf(msg jetstream.Msg) (int64, error) {
	payload, err := strconv.ParseInt(msg.Headers().Get("Nats-Msg-Size"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading the size of an alert: %w", err)
	}
	size := payload + int64(len(msg.Subject())) + overhead
	for name, values := range msg.Headers() {
		for _, v := range values {
			size += int64(len(name) + len(v) + len(": \r\n"))
		}
	}
	return size, nil
}
