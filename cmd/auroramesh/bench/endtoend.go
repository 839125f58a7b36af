package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// endToEnds are the same with one alert on its way, and with many.
var endToEnds = []Workload{
	endToEnd("endtoend", "one alert at a time", func(ctx context.Context, b *bed, w *watched) (Sample, error) {
		all := make([]raised, b.size(500))
		for i := range all {
			var err error
			if all[i], err = w.raise(ctx, time.Now()); err != nil {
				return Sample{}, err
			}
			if err := w.await(ctx); err != nil {
				return Sample{}, err
			}
		}
		return w.took(ctx, all)
	}),
	endToEnd("endtoend-500", "500 alerts a second", func(ctx context.Context, b *bed, w *watched) (Sample, error) {
		return w.raiseAt(ctx, 500, b.size(5000))
	}),
}

func endToEnd(name, how string, own func(context.Context, *bed, *watched) (Sample, error)) Workload {
	return Workload{
		Name: name, Unit: milliseconds, Goals: []Goal{atMost(ofRatio, 1.5), atMost(ofP99Ratio, 3), atMost(ofValue, 10)},
		Does:   "from the POST at the leaf until the hub acknowledges it after its commit, " + how,
		Beside: "its parts alone, one after the other: commit, publish with acknowledgement, hop over the leafnode, commit",
		prepare: func(ctx context.Context, b *bed) (pair, error) {
			m, err := b.mesh(ctx, kind{})
			if err != nil {
				return pair{}, err
			}
			w, err := m.watch()
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

// watched is what the hub acknowledges of the leaf's alerts, each after its commit. To
// listen costs the hub next to nothing, which a trigger in its database would not.
type watched struct {
	mesh *mesh
	sub  *nats.Subscription
	next chan struct{} // has one for each that is stored

	mu     sync.Mutex
	stored map[uint64]time.Time // by sequence in the leaf's stream
}

// most is how many alerts may be on their way while nobody waits for the next.
const most = 1 << 20

func (m *mesh) watch() (*watched, error) {
	w := &watched{mesh: m, next: make(chan struct{}, most), stored: map[uint64]time.Time{}}
	var err error
	w.sub, err = m.conn[hub].Subscribe("$JS.ACK."+subject.AlertStream(leaf)+".>", func(msg *nats.Msg) { w.acknowledged(msg, time.Now()) })
	if err == nil {
		err = m.conn[hub].Flush()
	}
	if err != nil {
		return nil, fmt.Errorf("listening to what the hub acknowledges: %w", err)
	}
	return w, nil
}

// acknowledged notes when what a message acknowledges was.
func (w *watched) acknowledged(msg *nats.Msg, at time.Time) {
	words := strings.Split(msg.Subject, ".")
	sequence, err := strconv.ParseUint(words[len(words)-4], 10, 64) // …<deliveries>.<sequence>.<of the consumer>.<time>.<pending>
	if err != nil || string(msg.Data) != "+ACK" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, again := w.stored[sequence]; !again {
		w.stored[sequence] = at
		w.next <- struct{}{}
	}
}

// raised is an alert of the leaf, and from when on it counts.
type raised struct {
	id   string
	from time.Time
}

func (w *watched) raise(ctx context.Context, from time.Time) (raised, error) {
	id, err := raise(ctx, w.mesh.client, w.mesh.Sites[1].API, federation.High)
	return raised{id, from}, err
}

// await waits until one more is stored.
func (w *watched) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("an alert is not at the hub a minute later"))
	defer cancel()
	select {
	case <-w.next:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// storedAt is when an alert was stored at the hub, which may be later than now. One that
// was published twice is acknowledged twice, so they are not counted.
func (w *watched) storedAt(ctx context.Context, sequence uint64) (time.Time, error) {
	for {
		w.mu.Lock()
		at, ok := w.stored[sequence]
		w.mu.Unlock()
		if ok {
			return at, nil
		}
		if err := w.await(ctx); err != nil {
			return at, err
		}
	}
}

// took is how long after its moment each alert was stored at the hub.
func (w *watched) took(ctx context.Context, all []raised) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	places, err := w.places(ctx, len(all))
	if err != nil {
		return Sample{}, fmt.Errorf("asking the leaf where it has published its alerts: %w", err)
	}
	times := make([]time.Duration, len(all))
	for i, r := range all {
		place, ok := places[r.id]
		if !ok {
			return Sample{}, fmt.Errorf("the leaf has not noted where it has published the alert %s", r.id)
		}
		at, err := w.storedAt(ctx, place)
		if err != nil {
			return Sample{}, fmt.Errorf("the alert %s: %w", r.id, err)
		}
		times[i] = at.Sub(r.from)
	}
	return latencies(times), nil
}

// places is where in the leaf's stream each of its newest n alerts is, by id, once its outbox
// is empty: a place is noted as the alert leaves that.
func (w *watched) places(ctx context.Context, n int) (map[string]uint64, error) {
	db := w.mesh.db[leaf]
	for waiting := 1; waiting > 0; {
		if err := db.QueryRow(ctx, "SELECT count(*) FROM outbox").Scan(&waiting); err != nil {
			return nil, err
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return nil, err
		}
	}
	found, err := db.Query(ctx, "SELECT alert_id, sequence FROM published_alerts ORDER BY published_at DESC, sequence DESC LIMIT $1", n)
	if err != nil {
		return nil, err
	}
	places := make(map[string]uint64, n)
	var id string
	var sequence int64
	_, err = pgx.ForEachRow(found, []any{&id, &sequence}, func() error {
		places[id] = uint64(sequence)
		return nil
	})
	return places, err
}

// raiseAt raises n alerts at a rate, whatever becomes of those before. Each counts from
// the moment at which it was to be raised.
func (w *watched) raiseAt(ctx context.Context, rate float64, n int) (Sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	all := make([]raised, n)
	var wg sync.WaitGroup
	begun := time.Now()
	for i := range all {
		at := begun.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if pause(ctx, time.Until(at)) != nil {
			break
		}
		wg.Go(func() {
			var err error
			if all[i], err = w.raise(ctx, at); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return Sample{}, err
	}
	return w.took(ctx, all)
}

func (w *watched) close() error { return w.sub.Unsubscribe() }

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
	payloads, err := sharedPayloads(hub, 1)
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
