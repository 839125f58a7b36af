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
	Name: "ingest", Unit: alerts, Goal: "at least 0.62",
	Does:    "100,000 alerts of 1 KB that wait in the hub's stream are in the leaf's database, acknowledged after the commit",
	Beside:  "the same rows by COPY into a temporary table and INSERT … SELECT … ON CONFLICT, on two connections",
	prepare: prepareIngest,
}

const (
	waitingAlerts = 100_000
	published     = 500  // what a site publishes at once at most, when it has so much
	copied        = 1000 // rows in a transaction of what stands beside
)

func prepareIngest(ctx context.Context, b *bed) (pair, error) {
	m, err := b.mesh(ctx, false)
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
	js, err := jetstream.New(m.conn[hub], jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		return Sample{}, fmt.Errorf("opening JetStream: %w", err)
	}
	stream, err := js.Stream(ctx, subject.AlertStream(hub))
	if err != nil {
		return Sample{}, fmt.Errorf("finding the stream: %w", err)
	}
	if err := errors.Join(empty(ctx, m.db[leaf]), stream.Purge(ctx)); err != nil {
		return Sample{}, fmt.Errorf("beginning with nothing: %w", err)
	}
	name := subject.AlertConsumer(leaf)
	if _, err := stream.PauseConsumer(ctx, name, time.Now().Add(time.Hour)); err != nil {
		return Sample{}, fmt.Errorf("holding the leaf's consumer back: %w", err)
	}
	own, err := identity.Open(m.Sites[0].Settings.IdentityDir)
	if err != nil {
		return Sample{}, err
	}
	if err := fill(ctx, js, own, n); err != nil {
		return Sample{}, err
	}
	left := func() (int, error) {
		c, err := stream.Consumer(ctx, name)
		if err != nil {
			return 0, fmt.Errorf("asking what waits: %w", err)
		}
		return int(c.CachedInfo().NumPending) + c.CachedInfo().NumAckPending, nil
	}
	// The server counts what waits a moment after it confirmed that it is stored.
	for end := time.Now().Add(10 * time.Second); ; {
		waiting, err := left()
		if err == nil && waiting == n {
			break
		}
		if err != nil || time.Now().After(end) {
			return Sample{}, errors.Join(err, fmt.Errorf("%d alerts wait, where %d should", waiting, n))
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return Sample{}, err
		}
	}
	before, begun := b.spent(), time.Now()
	if _, err := stream.ResumeConsumer(ctx, name); err != nil {
		return Sample{}, fmt.Errorf("letting the leaf have them: %w", err)
	}
	for waiting := n; waiting > 0; {
		if waiting, err = left(); err == nil && waiting > 0 {
			err = pause(ctx, 5*time.Millisecond)
		}
		if err != nil {
			return Sample{}, err
		}
	}
	took, spent := time.Since(begun), b.spent()-before
	var stored int
	if err := m.db[leaf].QueryRow(ctx, "SELECT count(*) FROM alerts WHERE origin_site = $1", string(hub)).Scan(&stored); err != nil || stored != n {
		return Sample{}, errors.Join(err, fmt.Errorf("%d alerts are stored, where %d should be", stored, n))
	}
	return Sample{Value: float64(n) / took.Seconds(), CPU: per(n, spent)}, nil
}

// fill publishes n alerts to the hub's stream, as the hub with its key.
func fill(ctx context.Context, js jetstream.JetStream, own *identity.Identity, n int) error {
	payloads, err := sharedPayloads(n)
	if err != nil {
		return err
	}
	msgs := make([]*nats.Msg, n)
	for i, p := range payloads {
		msgs[i] = &nats.Msg{Subject: subject.Alert(federation.High), Data: p}
	}
	for together := range slices.Chunk(msgs, published) {
		function.SaidTogether(own, hub, together)
	}
	acks := make([]jetstream.PubAckFuture, n)
	for i, msg := range msgs {
		if acks[i], err = js.PublishMsgAsync(msg, jetstream.WithStallWait(10*time.Second)); err != nil {
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
		r, err := row(shared(now), now)
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
