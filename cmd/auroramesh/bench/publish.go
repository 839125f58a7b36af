package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/subject"
)

var publish = Workload{
	Name: "publish", Unit: alerts,
	Does:    "20,000 shared alerts of 1 KB that are committed in the outbox of a site are in its stream and confirmed, where its NATS server syncs before it confirms",
	Beside:  "the same messages, signed before, in atomic batches of 500 to the same server, one after the other, from no database",
	prepare: preparePublish,
}

const committedAlerts = 20_000

func preparePublish(ctx context.Context, b *bed) (pair, error) {
	m, err := b.mesh(ctx, kind{always: true})
	if err != nil {
		return pair{}, err
	}
	const raw, published = "BENCH_PUBLISH", "bench.publish"
	js, err := jetstream.New(m.conn[hub])
	if err != nil {
		return pair{}, fmt.Errorf("opening JetStream: %w", err)
	}
	own, err := identity.Open(m.Sites[0].Settings.IdentityDir)
	if err != nil {
		return pair{}, err
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: raw, Subjects: []string{published}, Duplicates: 10 * time.Minute, AllowAtomicPublish: true}); err != nil {
		return pair{}, fmt.Errorf("making a stream: %w", err)
	}
	n := b.size(committedAlerts)
	return pair{
		own: func(ctx context.Context) (Sample, error) { return b.relayed(ctx, m, js, n) },
		beside: func(ctx context.Context) (Sample, error) {
			if err := purge(ctx, js, raw); err != nil {
				return Sample{}, err
			}
			return b.inBatches(ctx, m.conn[hub], own, published, n)
		},
		end: func() error { return js.DeleteStream(context.Background(), raw) },
	}, nil
}

// relayed commits n alerts in the outbox of the hub, and measures how fast it is empty. No peer
// is to have them: they are less severe than what the gate lets out.
func (b *bed) relayed(ctx context.Context, m *mesh, js jetstream.JetStream, n int) (Sample, error) {
	db := m.db[hub]
	if err := purge(ctx, js, subject.AlertStream(hub)); err != nil {
		return Sample{}, err
	}
	if _, err := db.Exec(ctx, "TRUNCATE published_alerts"); err != nil {
		return Sample{}, fmt.Errorf("beginning with nothing: %w", err)
	}
	payloads, err := sharedPayloads(hub, n)
	if err != nil {
		return Sample{}, err
	}
	now := time.Now()
	rows := make([][]any, n)
	for i, p := range payloads {
		id := uuid.NewString()
		rows[i] = []any{subject.Alert(federation.Medium), federation.SharedMsgID(hub, id, 1), federation.Medium.Rank(), id, p, now}
	}
	if _, err := db.CopyFrom(ctx, pgx.Identifier{"outbox"}, []string{"subject", "msg_id", "priority", "alert_id", "payload", "queued_at"}, pgx.CopyFromRows(rows)); err != nil {
		return Sample{}, fmt.Errorf("filling the outbox: %w", err)
	}
	before, begun := b.spent(), time.Now()
	if err := m.conn[hub].Publish(subject.Nudge(hub, "alertrelay"), nil); err != nil {
		return Sample{}, fmt.Errorf("waking alertrelay: %w", err)
	}
	if err := b.settle(ctx); err != nil {
		return Sample{}, err
	}
	s := Sample{Value: float64(n) / time.Since(begun).Seconds(), CPU: per(n, b.spent()-before)}
	return s, holds(ctx, js, subject.AlertStream(hub), n)
}

// inBatches publishes n such alerts to a stream that nothing else goes to. Making and signing them is not measured.
func (b *bed) inBatches(ctx context.Context, nc *nats.Conn, own *identity.Identity, subj string, n int) (Sample, error) {
	payloads, err := sharedPayloads(hub, n)
	if err != nil {
		return Sample{}, err
	}
	msgs := make([]*nats.Msg, n)
	for i, p := range payloads {
		msgs[i] = &nats.Msg{Subject: subj, Data: p, Header: nats.Header{jetstream.MsgIDHeader: {uuid.NewString()}}}
	}
	for together := range slices.Chunk(msgs, published) {
		function.SaidTogether(own, hub, together)
	}
	before, begun := b.spent(), time.Now()
	for together := range slices.Chunk(msgs, published) {
		if err := batch(ctx, nc, together); err != nil {
			return Sample{}, err
		}
	}
	return Sample{Value: float64(n) / time.Since(begun).Seconds(), CPU: per(n, b.spent()-before)}, nil
}

// batch publishes messages as one atomic batch, as plainly as it can be.
func batch(ctx context.Context, nc *nats.Conn, msgs []*nats.Msg) error {
	id := uuid.NewString()
	for i, msg := range msgs {
		msg.Header.Set("Nats-Batch-Id", id)
		msg.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if i < len(msgs)-1 {
			if err := nc.PublishMsg(msg); err != nil {
				return fmt.Errorf("publishing: %w", err)
			}
			continue
		}
		msg.Header.Set("Nats-Batch-Commit", "1")
		answer, err := nc.RequestMsgWithContext(ctx, msg)
		if err != nil {
			return fmt.Errorf("publishing: %w", err)
		}
		if !strings.Contains(string(answer.Data), `"seq"`) {
			return fmt.Errorf("a batch was refused: %s", answer.Data)
		}
	}
	return nil
}

// purge empties a stream.
func purge(ctx context.Context, js jetstream.JetStream, name string) error {
	s, err := js.Stream(ctx, name)
	if err == nil {
		err = s.Purge(ctx)
	}
	if err != nil {
		return fmt.Errorf("emptying the stream %s: %w", name, err)
	}
	return nil
}

// holds refuses a stream that does not hold n messages.
func holds(ctx context.Context, js jetstream.JetStream, name string, n int) error {
	s, err := js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("asking what the stream %s holds: %w", name, err)
	}
	if got := s.CachedInfo().State.Msgs; got != uint64(n) {
		return errors.New("the stream " + name + " holds " + strconv.FormatUint(got, 10) + " messages, where " + strconv.Itoa(n) + " should be")
	}
	return nil
}
