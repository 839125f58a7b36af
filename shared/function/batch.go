package function

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The headers of an atomic batch: messages that follow each other on one connection, of which a
// stream takes all or none. The last says that it is the last, and its confirmation is that of all.
const (
	headerBatch    = "Nats-Batch-Id"
	headerInBatch  = "Nats-Batch-Sequence" // from 1
	headerComplete = "Nats-Batch-Commit"
)

const (
	// minBatch is how many messages go as a batch at least. The server makes and syncs a store for each
	// batch, which takes as long as to sync some twenty messages one by one, and 3 ms of a processor: one
	// that syncs later should not pay that for a few. Where more come than are synced one by one, more
	// wait at the next time, and so become a batch. docs/adr/0012 has the figures.
	minBatch = 50
	// maxBatch is how many a server takes in one.
	maxBatch = 1000
	// batchlessFor is for how long a stream that allows no batches is offered none.
	batchlessFor = time.Minute
)

var (
	// errBatchRefused is that of a batch of which the stream has stored nothing.
	errBatchRefused = errors.New("the batch was refused")
	// errBatchless is that of a stream, or a server, that knows no batches.
	errBatchless = fmt.Errorf("%w: the stream takes none", errBatchRefused)
)

// batchesDisabled is the server's code for a stream that does not allow them.
const batchesDisabled jetstream.ErrorCode = 10174

// storeBatch stores messages of one stream as an atomic batch, and returns the sequence of the
// first; the others follow it without a gap. With any other error than [errBatchRefused] it is
// not known whether they are stored.
func (b *Bus) storeBatch(ctx context.Context, msgs []*nats.Msg) (first uint64, err error) {
	ctx, done := b.whileConnected(ctx)
	defer done()
	id, last := uuid.NewString(), len(msgs)-1
	defer func() {
		for _, m := range msgs { // which may be published once more, by itself
			for _, h := range []string{headerBatch, headerInBatch, headerComplete} {
				m.Header.Del(h)
			}
		}
	}()
	for i, m := range msgs {
		m.Header.Set(headerBatch, id)
		m.Header.Set(headerInBatch, strconv.Itoa(i+1))
		if i == last {
			break
		}
		if err := b.nc.PublishMsg(m); err != nil { // a batch that is not complete is given up by the server
			return 0, fmt.Errorf("%w: %w", errBatchRefused, err)
		}
	}
	msgs[last].Header.Set(headerComplete, "1")
	answer, err := b.nc.RequestMsgWithContext(ctx, msgs[last])
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrMaxPayload):
		return 0, fmt.Errorf("%w: %w", errBatchRefused, err)
	case err != nil:
		return 0, cmp.Or(context.Cause(ctx), err)
	}
	var ack struct {
		Sequence uint64              `json:"seq"` // of the last
		Batch    string              `json:"batch"`
		Count    int                 `json:"count"`
		Error    *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("reading the confirmation of a batch: %w", err)
	}
	switch {
	case ack.Error != nil && ack.Error.ErrorCode == batchesDisabled:
		return 0, errBatchless
	case ack.Error != nil:
		return 0, fmt.Errorf("%w: %w", errBatchRefused, ack.Error)
	case ack.Batch != id || ack.Count != len(msgs): // a server that knows no batches has taken each message by itself
		return 0, errBatchless
	}
	return ack.Sequence - uint64(last), nil
}

// whileConnected is ctx until the connection is lost, for with it goes the answer to a
// request that was sent. done is called when nobody waits any more.
func (b *Bus) whileConnected(ctx context.Context) (inner context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	lost := b.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	go func() {
		select {
		case <-lost:
			cancel(nats.ErrDisconnected)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); b.nc.RemoveStatusListener(lost) }
}

// batchable reports whether a stream is to be offered batches.
func (b *Bus) batchable(stream string) bool {
	found, _ := b.batchless.Load(stream)
	at, batchless := found.(time.Time)
	return !batchless || time.Since(at) > batchlessFor
}

// foundBatchless notes that a stream takes no batches, and tells it the first time.
func (b *Bus) foundBatchless(stream string) {
	if _, told := b.batchless.Swap(stream, time.Now()); !told {
		b.log.Warn("the stream takes no atomic batches, so its server syncs each message by itself; is the server older than 2.12?", "stream", stream)
	}
}
