package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/subject"
)

var ingest = Workload{
	Name: "ingest", Unit: alerts, Goals: []Goal{atLeast(0.62)},
	Does:    "100,000 alerts of 1 KB that wait in the hub's stream are in the leaf's database, acknowledged after the commit",
	Beside:  "the same rows by COPY into a temporary table and INSERT … SELECT … ON CONFLICT, on two connections",
	prepare: prepareIngest,
}

const (
	waitingAlerts = 100_000
	published     = 500         // what a site publishes at once at most, when it has so much
	copied        = 1000        // rows in a transaction of what stands beside
	stillTime     = time.Minute // at most, from one acknowledgement to the next
)

func prepareIngest(ctx context.Context, b *bed) (pair, error) {
	m, err := b.mesh(ctx, kind{})
	if err != nil {
		return pair{}, err
	}
	n := b.size(waitingAlerts)
	return pair{
		own:    func(ctx context.Context) (Sample, error) { return b.drain(ctx, m, n) },
		beside: func(ctx context.Context) (Sample, error) { return b.copyRows(ctx, n) },
	}, nil
}

// drain lets n alerts wait for the leaf in the hub's stream, and measures how fast they
// are stored once the leaf may have them.
func (b *bed) drain(ctx context.Context, m *mesh, n int) (Sample, error) {
	if err := empty(ctx, m.db[leaf]); err != nil {
		return Sample{}, fmt.Errorf("beginning with nothing: %w", err)
	}
	q, err := queueOf(ctx, hub, m.conn[hub], m.Sites[0].Settings.IdentityDir, subject.AlertConsumer(leaf))
	if err != nil {
		return Sample{}, err
	}
	s, err := q.released(ctx, n, b.spent)
	if err != nil {
		return s, err
	}
	return s, stored(ctx, m.db[leaf], hub, n)
}

// stored refuses a database that does not hold n alerts of an origin.
func stored(ctx context.Context, db rows, origin federation.SiteID, n int) error {
	var found int
	if err := db.QueryRow(ctx, "SELECT count(*) FROM alerts WHERE origin_site = $1", string(origin)).Scan(&found); err != nil || found != n {
		return errors.Join(err, fmt.Errorf("%d alerts are stored, where %d should be", found, n))
	}
	return nil
}

// rows is a database, or one connection to it.
type rows interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// queue is what waits in the stream of its origin for one of its durable consumers.
type queue struct {
	origin   federation.SiteID
	js       jetstream.JetStream
	stream   jetstream.Stream
	consumer string
	own      *identity.Identity                 // of the origin
	ahead    func(context.Context) (int, error) // how many of them are not where they are to go; nil: the consumer knows
}

func queueOf(ctx context.Context, origin federation.SiteID, nc *nats.Conn, identityDir, consumer string) (q queue, err error) {
	q.origin, q.consumer = origin, consumer
	if q.js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4000)); err != nil {
		return q, fmt.Errorf("opening JetStream: %w", err)
	}
	if q.stream, err = q.js.Stream(ctx, subject.AlertStream(origin)); err != nil {
		return q, fmt.Errorf("finding the stream: %w", err)
	}
	q.own, err = identity.Open(identityDir)
	return q, err
}

// hold empties the stream and holds a consumer back, which a peer that has just appeared gets
// in a moment.
func (q queue) hold(ctx context.Context, consumer string) error {
	if err := q.stream.Purge(ctx); err != nil {
		return fmt.Errorf("beginning with nothing: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		_, err := q.stream.PauseConsumer(waiting, consumer, time.Now().Add(time.Hour))
		if errors.Is(err, jetstream.ErrConsumerNotFound) && pause(waiting, 20*time.Millisecond) == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("holding the consumer %s back: %w", consumer, err)
		}
		return nil
	}
}

// left is how many messages wait for the consumer or for its acknowledgement.
func (q queue) left(ctx context.Context) (int, error) {
	c, err := q.stream.Consumer(ctx, q.consumer)
	if err != nil {
		return 0, fmt.Errorf("asking what waits: %w", err)
	}
	return int(c.CachedInfo().NumPending) + c.CachedInfo().NumAckPending, nil
}

// released lets n alerts wait for the consumer, and measures how fast they are
// acknowledged, or none is ahead, once it may have them. spent is the processor time that counts.
func (q queue) released(ctx context.Context, n int, spent func() time.Duration) (Sample, error) {
	if err := q.hold(ctx, q.consumer); err != nil {
		return Sample{}, err
	}
	// All but one: a consumer that may go on is woken by an alert that is new, not by those that wait.
	if err := q.fill(ctx, n-1); err != nil {
		return Sample{}, err
	}
	// The server counts what waits a moment after it confirmed that it is stored.
	for end := time.Now().Add(10 * time.Second); ; {
		waiting, err := q.left(ctx)
		if err == nil && waiting == n-1 {
			break
		}
		if err != nil || time.Now().After(end) {
			return Sample{}, errors.Join(err, fmt.Errorf("%d alerts wait, where %d should", waiting, n-1))
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return Sample{}, err
		}
	}
	before, begun := spent(), time.Now()
	if _, err := q.stream.ResumeConsumer(ctx, q.consumer); err != nil {
		return Sample{}, fmt.Errorf("letting the consumer %s have them: %w", q.consumer, err)
	}
	if err := q.fill(ctx, 1); err != nil {
		return Sample{}, err
	}
	left := q.left
	if q.ahead != nil {
		left = q.ahead
	}
	for waiting, moved := n, begun; waiting > 0; {
		before := waiting
		var err error
		if waiting, err = left(ctx); err == nil && waiting > 0 {
			err = pause(ctx, 5*time.Millisecond)
		}
		if waiting != before {
			moved = time.Now()
		}
		if err == nil && time.Since(moved) > stillTime {
			err = fmt.Errorf("%d of %d alerts wait, and none was acknowledged for %s", waiting, n, stillTime)
		}
		if err != nil {
			return Sample{}, err
		}
	}
	took := time.Since(begun)
	return Sample{Value: float64(n) / took.Seconds(), CPU: per(n, spent()-before)}, nil
}

// fill publishes n alerts to the stream of the origin, with its key.
func (q queue) fill(ctx context.Context, n int) error {
	payloads, err := sharedPayloads(q.origin, n)
	if err != nil {
		return err
	}
	msgs := make([]*nats.Msg, n)
	for i, p := range payloads {
		msgs[i] = &nats.Msg{Subject: subject.Alert(federation.High), Data: p}
	}
	for together := range slices.Chunk(msgs, published) {
		function.SaidTogether(q.own, q.origin, together)
	}
	acks := make([]jetstream.PubAckFuture, n)
	for i, msg := range msgs {
		if acks[i], err = q.js.PublishMsgAsync(msg, jetstream.WithStallWait(10*time.Second)); err != nil {
			return fmt.Errorf("filling the stream: %w", err)
		}
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return fmt.Errorf("filling the stream: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// copyRows stores n rows as fast as PostgreSQL takes them from here. Making the rows is not measured.
func (b *bed) copyRows(ctx context.Context, n int) (Sample, error) {
	if err := empty(ctx, b.plain); err != nil {
		return Sample{}, err
	}
	now := time.Now()
	rows := make([][]any, n)
	for i := range rows {
		r, err := row(shared(hub, now), now)
		if err != nil {
			return Sample{}, err
		}
		rows[i] = r
	}
	batches := (n + copied - 1) / copied
	before := b.spent()
	s, err := load(ctx, 2, batches, func(ctx context.Context, i int) error {
		return b.copyBatch(ctx, rows[i*copied:min((i+1)*copied, n)])
	})
	return Sample{Value: s.Value * float64(n) / float64(batches), CPU: per(n, b.spent()-before)}, err
}

func (b *bed) copyBatch(ctx context.Context, rows [][]any) error {
	return pgx.BeginFunc(ctx, b.plain, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "CREATE TEMPORARY TABLE IF NOT EXISTS batch (LIKE alerts INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"); err != nil {
			return err
		}
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"batch"}, columns, pgx.CopyFromRows(rows)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO alerts SELECT * FROM batch ON CONFLICT (dedup_hash) DO NOTHING")
		return err
	})
}
