package function_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// many is more messages than go one by one.
const many = 100

// syncing is a server that syncs what it confirms, as deployed ones do, with the two streams
// to which many messages go, and a bus of the site.
func syncing(t *testing.T) *function.Bus {
	t.Helper()
	s := natstest.StartOptions(t, &server.Options{ServerName: string(site), JetStreamDomain: subject.Domain(site), StoreDir: t.TempDir(), SyncAlways: true})
	b := natstest.Bus(t, s, site, "sender")
	for _, c := range []jetstream.StreamConfig{stream.Alerts(site, stream.Limits{}), stream.Events(site)} {
		if _, err := b.JetStream().CreateStream(ctx(t), c); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func alertsNumbered(from, to int) (msgs []function.Message) {
	for i := from; i < to; i++ {
		msgs = append(msgs, function.Message{Subject: subject.Alert(federation.High), ID: fmt.Sprint("alert ", i), Payload: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	return msgs
}

func eventsNumbered(from, to int) (msgs []function.Message) {
	for i := from; i < to; i++ {
		msgs = append(msgs, function.Message{Subject: subject.Event(site, federation.AlertStored), ID: fmt.Sprint("event ", i), Payload: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	return msgs
}

// at is what a stream holds under a sequence.
func at(t *testing.T, b *function.Bus, name string, sequence uint64) *jetstream.RawStreamMsg {
	t.Helper()
	s, err := b.JetStream().Stream(ctx(t), name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(ctx(t), sequence)
	if err != nil {
		t.Fatalf("%s at %d: %v", name, sequence, err)
	}
	return m
}

// batchOf is the id of the atomic batch with which a message came; empty where it came alone.
func batchOf(m *jetstream.RawStreamMsg) string { return m.Header.Get("Nats-Batch-Id") }

func held(t *testing.T, b *function.Bus, name string) uint64 {
	t.Helper()
	s, err := b.JetStream().Stream(ctx(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func store(t *testing.T, b *function.Bus, msgs []function.Message) []uint64 {
	t.Helper()
	sequences, err := b.Store(ctx(t), msgs)
	if err != nil || slices.Contains(sequences, 0) {
		t.Fatalf("stored as %v: %v", sequences, err)
	}
	return sequences
}

// The sequence that is reported for a message is that under which the stream holds it, also
// where others publish to the stream at the same time.
func TestManyMessagesGoInBatchesAndEachIsWhereItIsSaidToBe(t *testing.T) {
	t.Parallel()
	b := syncing(t)
	done := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { // as another replica: one message alone and a batch in turns
		for i := 1_000_000; ; i += many {
			select {
			case <-done:
				return
			default:
			}
			if _, err := b.Store(context.Background(), alertsNumbered(i, i+1+i/many%2*(many-1))); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var msgs []function.Message
	for i := range 1200 { // of the first more than one batch can have
		msgs = append(msgs, alertsNumbered(i, i+1)...)
		if i < many {
			msgs = append(msgs, eventsNumbered(i, i+1)...)
		}
	}
	const rounds = 3
	said := map[string]map[uint64]function.Message{subject.AlertStream(site): {}, subject.EventStream(site): {}}
	for round := range rounds {
		fresh := slices.Clone(msgs)
		for i := range fresh {
			fresh[i].ID += fmt.Sprint(" of round ", round)
		}
		for i, sequence := range store(t, b, fresh) {
			said[subject.CapturedBy(site, fresh[i].Subject)][sequence] = fresh[i]
		}
	}
	close(done)
	others.Wait()
	for name, want := range map[string][]int{subject.AlertStream(site): {200, 200, 200, 1000, 1000, 1000}, subject.EventStream(site): {many, many, many}} {
		batches := map[string]int{}
		for sequence, m := range all(t, b, name) {
			is, own := said[name][sequence]
			if own && (m.Headers().Get(jetstream.MsgIDHeader) != is.ID || !bytes.Equal(m.Data(), is.Payload) || m.Subject() != is.Subject) {
				t.Fatalf("%s is said to be at %d, where %s is", is.ID, sequence, m.Headers().Get(jetstream.MsgIDHeader))
			}
			if own {
				batches[m.Headers().Get("Nats-Batch-Id")]++
			}
		}
		if sizes := counts(batches); !slices.Equal(sizes, want) {
			t.Errorf("those of %s went in batches of %v, where they should in %v", name, sizes, want)
		}
	}
}

// all is what a stream holds, by its sequences.
func all(t *testing.T, b *function.Bus, name string) map[uint64]jetstream.Msg {
	t.Helper()
	c, err := b.JetStream().CreateConsumer(ctx(t), name, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		t.Fatal(err)
	}
	msgs := map[uint64]jetstream.Msg{}
	for _, m := range natstest.Fetch(t, c, int(held(t, b, name))) {
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		msgs[meta.Sequence.Stream] = m
	}
	return msgs
}

func counts(batches map[string]int) (sizes []int) {
	for _, n := range batches {
		sizes = append(sizes, n)
	}
	slices.Sort(sizes)
	return sizes
}

func TestFewMessagesGoOneByOne(t *testing.T) {
	t.Parallel()
	b := syncing(t)
	msgs := append(alertsNumbered(0, 10), eventsNumbered(0, 10)...)
	for i, sequence := range store(t, b, msgs) {
		if id := batchOf(at(t, b, subject.CapturedBy(site, msgs[i].Subject), sequence)); id != "" {
			t.Errorf("message %d went in the batch %s", i, id)
		}
	}
}

// As after a crash between the publish and its mark: the stream refuses a batch in which it knows a message.
func TestWhatIsKnownAlreadyIsStoredOnceAlsoInABatch(t *testing.T) {
	t.Parallel()
	b := syncing(t)
	for _, c := range []struct {
		name string
		msgs []function.Message
		add  uint64 // how many are new
	}{
		{"all new", alertsNumbered(0, many), many},
		{"all known", alertsNumbered(0, many), 0},
		{"one known", alertsNumbered(many-1, 2*many), many},
		{"one twice", append(alertsNumbered(2*many, 3*many), alertsNumbered(2*many, 2*many+1)...), many},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := held(t, b, subject.AlertStream(site))
			for i, sequence := range store(t, b, c.msgs) {
				if m := at(t, b, subject.AlertStream(site), sequence); m.Header.Get(jetstream.MsgIDHeader) != c.msgs[i].ID {
					t.Errorf("%s is said to be at %d, where %s is", c.msgs[i].ID, sequence, m.Header.Get(jetstream.MsgIDHeader))
				}
			}
			if n := held(t, b, subject.AlertStream(site)) - before; n != c.add {
				t.Errorf("%d are new in the stream, where %d should be", n, c.add)
			}
		})
	}
}

func TestAStreamThatAllowsNoBatchesGetsItsMessagesOneByOne(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	var log lines
	b, err := function.Connect(ctx(t), natstest.Identity(site), "sender", s.ClientURL(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Conn().Close)
	b.Identify(natstest.Key(t, site), nil)
	alerts := stream.Alerts(site, stream.Limits{})
	alerts.AllowAtomicPublish = false
	if _, err := b.JetStream().CreateStream(ctx(t), alerts); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		msgs := alertsNumbered(round*many, (round+1)*many)
		for i, sequence := range store(t, b, msgs) {
			if m := at(t, b, subject.AlertStream(site), sequence); !bytes.Equal(m.Data, msgs[i].Payload) || batchOf(m) != "" {
				t.Errorf("message %d is said to be at %d, where %s of the batch %q is", i, sequence, m.Data, batchOf(m))
			}
		}
	}
	if n := log.count("takes no atomic batches"); n != 1 {
		t.Errorf("it is told %d times", n)
	}
}

// A server that is asked to hold fewer of them in a batch refuses those that are larger.
func TestABatchThatTheServerRefusesGoesOneByOne(t *testing.T) {
	t.Parallel()
	o := &server.Options{ServerName: string(site), JetStreamDomain: subject.Domain(site), StoreDir: t.TempDir()}
	o.JetStreamLimits.MaxBatchSize = many - 1
	b := natstest.Bus(t, natstest.StartOptions(t, o), site, "sender")
	if _, err := b.JetStream().CreateStream(ctx(t), stream.Alerts(site, stream.Limits{})); err != nil {
		t.Fatal(err)
	}
	for i, sequence := range store(t, b, alertsNumbered(0, many)) {
		if m := at(t, b, subject.AlertStream(site), sequence); sequence != uint64(i+1) || batchOf(m) != "" {
			t.Errorf("message %d is at %d, in the batch %q", i, sequence, batchOf(m))
		}
	}
	if m := at(t, b, subject.AlertStream(site), store(t, b, alertsNumbered(many, 2*many-1))[0]); batchOf(m) == "" {
		t.Error("a batch that is as large as may be did not go as one")
	}
}

// What is before a message that no server takes is stored, as where it goes by itself.
func TestAMessageThatIsTooLargeHoldsNothingBackThatIsBeforeIt(t *testing.T) {
	t.Parallel()
	b := syncing(t)
	for name, large := range map[string]int{"in the midst": 60, "at the end": many - 1} {
		t.Run(name, func(t *testing.T) {
			msgs := alertsNumbered(large*many, large*many+many)
			msgs[large].Payload = make([]byte, 2<<20)
			sequences, err := b.Store(ctx(t), msgs)
			if !fault.Is(err, fault.Unavailable) || slices.Contains(sequences[:large], 0) || sequences[large] != 0 {
				t.Errorf("stored as %v: %v", sequences, err)
			}
		})
	}
}

func TestABatchWhoseAnswerIsLostWithTheConnectionFailsAtOnce(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	line := natstest.Line(t, strings.TrimPrefix(s.ClientURL(), "nats://"))
	b, err := function.Connect(ctx(t), natstest.Identity(site), "sender", "nats://"+line.Addr(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Conn().Close)
	b.Identify(natstest.Key(t, site), nil)
	if _, err := b.JetStream().CreateStream(ctx(t), stream.Alerts(site, stream.Limits{})); err != nil {
		t.Fatal(err)
	}
	line.Set(linkproxy.BlackHole)
	failed := make(chan error, 1)
	before := b.Conn().Stats().OutMsgs
	long, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	go func() {
		_, err := b.Store(long, alertsNumbered(0, many))
		failed <- err
	}()
	natstest.Eventually(t, "the batch is on its way", func() bool { return b.Conn().Stats().OutMsgs >= before+many })
	line.Set(linkproxy.Cut)
	select {
	case err := <-failed:
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("it failed with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it still waits for the answer")
	}
	line.Set(linkproxy.Pass)
	natstest.Eventually(t, "it is stored at the next try", func() bool {
		sequences, err := b.Store(ctx(t), alertsNumbered(0, many))
		return err == nil && !slices.Contains(sequences, 0) && held(t, b, subject.AlertStream(site)) == many
	})
}

// A stream that an older version made allows batches as soon as a function of this one has
// started, and keeps what it holds and who reads it.
func TestAStreamThatIsInUseLearnsToTakeBatches(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "sender")
	old := stream.Alerts(site, stream.Limits{})
	old.AllowAtomicPublish = false
	st, err := b.JetStream().CreateStream(ctx(t), old)
	if err != nil {
		t.Fatal(err)
	}
	c, err := st.CreateConsumer(ctx(t), jetstream.ConsumerConfig{Durable: "site-b", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	store(t, b, alertsNumbered(0, many))
	for _, m := range natstest.Fetch(t, c, 10) {
		if err := m.DoubleAck(ctx(t)); err != nil {
			t.Fatal(err)
		}
	}
	r, _ := start(t, s, function.Function{Name: "alertrelay", Streams: []jetstream.StreamConfig{stream.Alerts(site, stream.Limits{})}})
	ready(t, r)
	msgs := alertsNumbered(many/2, many) // of which the first half is there
	msgs = append(msgs, alertsNumbered(many, 2*many)...)
	store(t, natstest.Bus(t, s, site, "newer"), msgs)
	if id := batchOf(at(t, b, subject.AlertStream(site), store(t, natstest.Bus(t, s, site, "newer"), alertsNumbered(2*many, 3*many))[0])); id == "" {
		t.Error("many messages do not go as a batch")
	}
	info, err := c.Info(ctx(t))
	if err != nil || info.AckFloor.Stream != 10 || info.NumPending != 3*many-10 {
		t.Errorf("the consumer has acknowledged up to %d and %d wait for it: %v", info.AckFloor.Stream, info.NumPending, err)
	}
}
