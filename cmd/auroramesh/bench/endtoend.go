package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// endToEnds are the same with one alert on its way, and with many.
var endToEnds = []Workload{
	endToEnd("endtoend", "one alert at a time", func(ctx context.Context, b *bed, w *watched) (Sample, error) {
		took := make([]time.Duration, b.size(500))
		for i := range took {
			var err error
			if took[i], err = w.raise(ctx, time.Now()); err != nil {
				return Sample{}, err
			}
		}
		return latencies(took), nil
	}),
	endToEnd("endtoend-500", "500 alerts a second", func(ctx context.Context, b *bed, w *watched) (Sample, error) {
		return w.raiseAt(ctx, 500, b.size(5000))
	}),
}

func endToEnd(name, how string, own func(context.Context, *bed, *watched) (Sample, error)) Workload {
	return Workload{
		Name: name, Unit: milliseconds, Goal: "at most 1.5, the 99th percentile at most 3 times, the median under 10 ms",
		Does:   "from the POST at the leaf to the commit at the hub, " + how,
		Beside: "its parts alone, one after the other: commit, publish with acknowledgement, hop over the leafnode, commit",
		prepare: func(ctx context.Context, b *bed) (pair, error) {
			m, err := b.mesh(ctx, false)
			if err != nil {
				return pair{}, err
			}
			w, err := m.watch(ctx)
			if err != nil {
				return pair{}, err
			}
			parts, end, err := b.parts(ctx, m)
			return pair{
				own:    func(ctx context.Context) (Sample, error) { return own(ctx, b, w) },
				beside: parts,
				end:    func() error { return errors.Join(end(), w.close()) },
			}, err
		},
	}
}

// watched is the hub's database, which tells of each alert when it is committed.
type watched struct {
	mesh *mesh
	stop context.CancelFunc
	done chan error

	mu      sync.Mutex
	arrived map[string]time.Time // by dedup hash
	waiting map[string]chan time.Time
}

func (m *mesh) watch(ctx context.Context) (*watched, error) {
	_, err := m.db[hub].Exec(ctx, `
CREATE OR REPLACE FUNCTION bench_stored() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('bench_stored', NEW.dedup_hash); RETURN NULL; END $$;
CREATE TRIGGER bench_stored AFTER INSERT ON alerts FOR EACH ROW EXECUTE FUNCTION bench_stored()`)
	if err != nil {
		return nil, fmt.Errorf("watching the hub's database: %w", err)
	}
	conn, err := pgx.ConnectConfig(ctx, m.db[hub].Config().ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("watching the hub's database: %w", err)
	}
	if _, err := conn.Exec(ctx, "LISTEN bench_stored"); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	listening, stop := context.WithCancel(context.WithoutCancel(ctx))
	w := &watched{mesh: m, stop: stop, done: make(chan error, 1), arrived: map[string]time.Time{}, waiting: map[string]chan time.Time{}}
	go func() {
		defer func() { w.done <- conn.Close(context.WithoutCancel(ctx)) }()
		for {
			n, err := conn.WaitForNotification(listening)
			if err != nil {
				return
			}
			w.tell(n.Payload, time.Now())
		}
	}()
	return w, nil
}

func (w *watched) tell(hash string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.waiting[hash]; c != nil {
		c <- at
		return
	}
	w.arrived[hash] = at // the client does not have its answer yet
}

// raise raises an alert at the leaf and returns how long after a moment it was committed at the hub.
func (w *watched) raise(ctx context.Context, from time.Time) (time.Duration, error) {
	id, err := raise(ctx, w.mesh.client, w.mesh.Sites[1].API, federation.High)
	if err != nil {
		return 0, err
	}
	hash := federation.ReplayHash(leaf, id)
	c := make(chan time.Time, 1)
	w.mu.Lock()
	if at, ok := w.arrived[hash]; ok {
		c <- at
	}
	delete(w.arrived, hash)
	w.waiting[hash] = c
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.waiting, hash)
		w.mu.Unlock()
	}()
	select {
	case at := <-c:
		return at.Sub(from), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(time.Minute):
		return 0, fmt.Errorf("the alert %s is not at the hub a minute later", id)
	}
}

// raiseAt raises n alerts at a rate, whatever becomes of those before. Each counts from
// the moment at which it was to be raised.
func (w *watched) raiseAt(ctx context.Context, rate float64, n int) (Sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	took := make([]time.Duration, n)
	var wg sync.WaitGroup
	begun := time.Now()
	for i := range took {
		at := begun.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if pause(ctx, time.Until(at)) != nil {
			break
		}
		wg.Go(func() {
			var err error
			if took[i], err = w.raise(ctx, at); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return latencies(took), context.Cause(ctx)
}

func (w *watched) close() error {
	w.stop()
	err := <-w.done
	_, dropped := w.mesh.db[hub].Exec(context.Background(), "DROP TRIGGER bench_stored ON alerts")
	return errors.Join(err, dropped)
}

// parts measures what no way from a POST to a row at another site can do without.
func (b *bed) parts(ctx context.Context, m *mesh) (run func(context.Context) (Sample, error), end func() error, err error) {
	const stream, published, hop = "BENCH", "bench.published", "bench.hop"
	end = func() error { return nil }
	js, err := jetstream.New(m.conn[leaf])
	if err != nil {
		return nil, end, fmt.Errorf("opening JetStream: %w", err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: stream, Subjects: []string{published}, MaxBytes: 64 << 20}); err != nil {
		return nil, end, fmt.Errorf("making a stream: %w", err)
	}
	sub, err := m.conn[hub].Subscribe(hop, func(msg *nats.Msg) { _ = msg.Respond(nil) }) // the asker notices
	end = func() error {
		if sub != nil {
			err = sub.Unsubscribe()
		}
		return errors.Join(err, js.DeleteStream(context.Background(), stream))
	}
	if err != nil {
		return nil, end, fmt.Errorf("subscribing: %w", err)
	}
	if err := m.reached(ctx, hop); err != nil {
		return nil, end, err
	}
	payloads, err := sharedPayloads(1)
	return func(ctx context.Context) (Sample, error) {
		took := make([]time.Duration, b.size(500))
		for i := range took {
			begun := time.Now()
			if err := b.commitOne(ctx); err != nil {
				return Sample{}, err
			}
			if _, err := js.Publish(ctx, published, payloads[0]); err != nil {
				return Sample{}, fmt.Errorf("publishing: %w", err)
			}
			asked := time.Now()
			if _, err := m.conn[leaf].RequestWithContext(ctx, hop, payloads[0]); err != nil {
				return Sample{}, fmt.Errorf("asking over the leafnode: %w", err)
			}
			back := time.Since(asked) / 2 // the alert goes one way
			if err := b.commitOne(ctx); err != nil {
				return Sample{}, err
			}
			took[i] = time.Since(begun) - back
		}
		return latencies(took), nil
	}, end, err
}

// reached waits until a subject of the hub is known at the leaf.
func (m *mesh) reached(ctx context.Context, subj string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		_, err := m.conn[leaf].RequestWithContext(ctx, subj, nil)
		if err == nil || !errors.Is(err, nats.ErrNoResponders) {
			return err
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}
