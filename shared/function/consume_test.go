package function_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// seen collects what a handler was given.
type seen struct {
	mu sync.Mutex
	ns []int
}

func (s *seen) add(ns ...number) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range ns {
		s.ns = append(s.ns, n.N)
	}
}

func (s *seen) sorted() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.ns)
	slices.Sort(out)
	return out
}

var source = function.Source{Site: site, Stream: "NUMBERS", Consumer: "reader"}

// numbers makes a stream with a durable consumer and returns what publishes to it.
func numbers(t *testing.T, b *function.Bus) (publish func(data string)) {
	t.Helper()
	if _, err := b.JetStream().CreateStream(ctx(t), jetstream.StreamConfig{Name: "NUMBERS", Subjects: []string{"n"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.JetStream().CreateConsumer(ctx(t), "NUMBERS", jetstream.ConsumerConfig{Durable: "reader", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	return func(data string) {
		t.Helper()
		if _, err := b.JetStream().Publish(ctx(t), "n", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
}

func reader(handle func(context.Context, []number) error, opts ...function.Option) function.Function {
	return function.Function{Name: "reader", Triggers: []function.Trigger{function.Consume(source, handle, opts...)}}
}

// settled waits until the consumer has nothing pending and nothing unacknowledged.
func settled(t *testing.T, b *function.Bus) {
	t.Helper()
	natstest.Within(t, 20*time.Second, "everything is acknowledged", func() bool {
		c, err := b.JetStream().Consumer(ctx(t), "NUMBERS", "reader")
		if err != nil {
			return false
		}
		s, err := b.JetStream().Stream(ctx(t), "NUMBERS")
		if err != nil {
			return false
		}
		// Not by what is pending: a consumer counts a new message only a moment after the stream has it.
		return c.CachedInfo().AckFloor.Stream >= s.CachedInfo().State.LastSeq
	})
}

// letters are the payloads and reasons among the dead letters.
func letters(t *testing.T, b *function.Bus) map[string]string {
	t.Helper()
	st, err := b.JetStream().Stream(ctx(t), subject.DeadLetterStream(site))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	if st.CachedInfo().State.Msgs == 0 {
		return out
	}
	for seq := st.CachedInfo().State.FirstSeq; seq <= st.CachedInfo().State.LastSeq; seq++ {
		m, err := st.GetMsg(ctx(t), seq)
		if err != nil {
			t.Fatal(err)
		}
		out[string(m.Data)] = m.Header.Get(function.HeaderReason)
	}
	return out
}

func TestConsumeHandsOverInBatchesAndAcknowledgesAfterwards(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "sender")
	publish := numbers(t, b)
	for i := range 100 {
		data, err := json.Marshal(number{i})
		if err != nil {
			t.Fatal(err)
		}
		publish(string(data))
	}
	var got seen
	most := 0
	_, reg := start(t, s, reader(func(c context.Context, ns []number) error {
		if function.SourceOf(c) != source {
			t.Errorf("the source is %v", function.SourceOf(c))
		}
		most = max(most, len(ns))
		got.add(ns...)
		return nil
	}, function.Batch(40, time.Second)))
	settled(t, b)
	if ns := got.sorted(); len(ns) != 100 || ns[99] != 99 {
		t.Errorf("got %v", ns)
	}
	if most != 40 {
		t.Errorf("the largest batch had %d", most)
	}
	if n := counter(t, reg, "aurora_function_messages_redelivered_total", "function", "reader"); n != 0 {
		t.Errorf("%v came again", n)
	}
}

func TestOnePoisonousMessageDoesNotHoldUpItsNeighbours(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		poison string
		reason string
	}{
		{"one that cannot be decoded", `{"n":`, "the payload is not the JSON expected: unexpected end of JSON input"},
		{"one that its Validate refuses", `{"n":-5}`, `the number is not valid: n: "-5" is not allowed: a number from 0 on`},
		{"one that the handler refuses for good", `{"n":666}`, "no 666 here"},
		{"one at which the handler fails each time", `{"n":667}`, "out of luck"},
		{"one at which the handler panics", `{"n":668}`, "the handler panicked: boom"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := natstest.Start(t, site)
			b := natstest.Bus(t, s, site, "sender")
			publish := numbers(t, b)
			publish(`{"n":1}`)
			publish(c.poison)
			publish(`{"n":2}`)
			publish(`{"n":3}`)
			var got seen
			start(t, s, reader(func(_ context.Context, ns []number) error {
				for _, n := range ns {
					switch n.N {
					case 666:
						return fault.New(fault.Invalid, "no 666 here")
					case 667:
						return errors.New("out of luck")
					case 668:
						panic("boom")
					}
				}
				got.add(ns...)
				return nil
			}, function.Batch(10, time.Second), function.Attempts(3)))
			settled(t, b)
			if ns := got.sorted(); !slices.Equal(ns, []int{1, 2, 3}) {
				t.Errorf("its neighbours: %v", ns)
			}
			if l := letters(t, b); len(l) != 1 || l[c.poison] != c.reason {
				t.Errorf("the dead letters are %q", l)
			}
			// The function lives on.
			publish(`{"n":4}`)
			settled(t, b)
			if ns := got.sorted(); !slices.Equal(ns, []int{1, 2, 3, 4}) {
				t.Errorf("afterwards: %v", ns)
			}
		})
	}
}

func TestWhatIsRefusedEndsWithoutADeadLetter(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]error{
		"in the batch":                     nil,
		"each by itself, after a failure":  errors.New("out of luck"),
		"each by itself, after a poisoned": fault.New(fault.Invalid, "the batch cannot be had as one"),
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.Start(t, site)
			b := natstest.Bus(t, s, site, "sender")
			publish := numbers(t, b)
			ended, err := b.Conn().SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.NUMBERS.reader")
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []string{"1", "666", "2"} {
				publish(`{"n":` + n + `}`)
			}
			var got seen
			_, reg := start(t, s, reader(func(_ context.Context, ns []number) error {
				if len(ns) > 1 && first != nil {
					return first
				}
				refused := function.Refused{}
				for i, n := range ns {
					if n.N == 666 {
						refused[i] = "no 666\nhere"
						continue
					}
					got.add(n)
				}
				if len(refused) == 0 {
					return nil
				}
				return fmt.Errorf("some: %w", refused)
			}, function.Batch(10, time.Second)))
			settled(t, b)
			if ns := got.sorted(); !slices.Equal(ns, []int{1, 2}) {
				t.Errorf("handled: %v", ns)
			}
			if l := letters(t, b); len(l) != 0 {
				t.Errorf("the dead letters are %q", l)
			}
			advisory, err := ended.NextMsg(5 * time.Second)
			if err != nil {
				t.Fatalf("nothing was ended: %v", err)
			}
			var end struct {
				Sequence uint64 `json:"stream_seq"`
				Reason   string `json:"reason"`
			}
			if err := json.Unmarshal(advisory.Data, &end); err != nil || end.Sequence != 2 || end.Reason != "no 666 here" {
				t.Errorf("ended was %+v, %v", end, err)
			}
			if n := counter(t, reg, "aurora_function_messages_redelivered_total", "function", "reader"); n != 0 {
				t.Errorf("%v came again", n)
			}
		})
	}
}

func TestAnOutageIsNoReasonToGiveAMessageUp(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "sender")
	publish := numbers(t, b)
	publish(`{"n":1}`)
	publish(`{"n":2}`)
	var mu sync.Mutex
	left := 6 // more than the attempts
	var got seen
	start(t, s, reader(func(_ context.Context, ns []number) error {
		mu.Lock()
		defer mu.Unlock()
		if left--; left >= 0 {
			return fault.New(fault.Unavailable, "the database is away")
		}
		got.add(ns...)
		return nil
	}, function.Batch(10, time.Second), function.Attempts(2)))
	settled(t, b)
	if ns := got.sorted(); !slices.Equal(ns, []int{1, 2}) {
		t.Errorf("got %v", ns)
	}
	if l := letters(t, b); len(l) != 0 {
		t.Errorf("the dead letters are %q", l)
	}
}

func TestAMessageIsNotAcknowledgedBeforeItsHandlerIsDone(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "sender")
	publish := numbers(t, b)
	publish(`{"n":1}`)
	entered, release := make(chan struct{}), make(chan struct{})
	start(t, s, reader(func(context.Context, []number) error { close(entered); <-release; return nil }))
	<-entered
	c, err := b.JetStream().Consumer(ctx(t), "NUMBERS", "reader")
	if err != nil {
		t.Fatal(err)
	}
	if n := c.CachedInfo().NumAckPending; n != 1 {
		t.Errorf("%d wait for their acknowledgement", n)
	}
	close(release)
	settled(t, b)
}

// What was fetched and not begun must not wait for the consumer's AckWait, here a minute.
func TestStopFinishesTheBatchInHandAndGivesTheRestBack(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "sender")
	publish := numbers(t, b)
	if _, err := b.JetStream().UpdateConsumer(ctx(t), "NUMBERS", jetstream.ConsumerConfig{Durable: "reader", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute}); err != nil {
		t.Fatal(err)
	}
	for n := range 6 {
		publish(fmt.Sprintf(`{"n":%d}`, n))
	}
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var got seen
	r, reg := start(t, s, reader(func(_ context.Context, ns []number) error {
		once.Do(func() { close(entered); <-release })
		got.add(ns...)
		return nil
	}, function.Batch(3, time.Second)))
	<-entered
	natstest.Eventually(t, "the rest is fetched", func() bool {
		c, err := b.JetStream().Consumer(ctx(t), "NUMBERS", "reader")
		return err == nil && c.CachedInfo().NumAckPending == 6
	})
	stopped := make(chan struct{})
	go func() { stop(t, r); close(stopped) }()
	natstest.Eventually(t, "the reader takes no more", func() bool {
		conns, err := s.Connz(nil)
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(conns.Conns, func(c *server.ConnInfo) bool { return c.Name == string(site)+"/reader" && c.NumSubs > 1 })
	})
	close(release)
	<-stopped
	if ns := got.sorted(); !slices.Equal(ns, []int{0, 1, 2}) {
		t.Errorf("handled at the stop: %v", ns)
	}
	if n := counter(t, reg, "aurora_function_messages_redelivered_total", "function", "reader"); n != 0 {
		t.Errorf("%v came again", n)
	}

	start(t, s, reader(func(_ context.Context, ns []number) error { got.add(ns...); return nil }))
	natstest.Eventually(t, "the next replica has the rest", func() bool { return slices.Equal(got.sorted(), []int{0, 1, 2, 3, 4, 5}) })
}

func TestConsumeEachFollowsItsSources(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "sender")
	publish := numbers(t, b)
	publish(`{"n":1}`)
	var mu sync.Mutex
	var sources []function.Source
	var got seen
	start(t, s, function.Function{Name: "reader", Triggers: []function.Trigger{
		function.ConsumeEach(func(context.Context) ([]function.Source, error) {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(sources), nil
		}, 10*time.Millisecond, func(_ context.Context, ns []number) error { got.add(ns...); return nil }),
	}})
	set := func(ss ...function.Source) {
		mu.Lock()
		defer mu.Unlock()
		sources = ss
	}
	set(source, function.Source{Site: site, Stream: "NUMBERS", Consumer: "nobody"})
	natstest.Eventually(t, "the source is pulled from", func() bool { return slices.Equal(got.sorted(), []int{1}) })
	set()
	natstest.Eventually(t, "the pull has ended", func() bool {
		c, err := b.JetStream().Consumer(ctx(t), "NUMBERS", "reader")
		return err == nil && c.CachedInfo().NumWaiting == 0
	})
	publish(`{"n":2}`)
	set(source)
	natstest.Eventually(t, "it is pulled from again", func() bool { return slices.Equal(got.sorted(), []int{1, 2}) })
}

// The first alert of a peer would else wait for the next rescan.
func TestASourceThatIsToldIsPulledFromBeforeTheNextRescan(t *testing.T) {
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "sender")
	publish := numbers(t, b)
	publish(`{"n":1}`)
	var known atomic.Bool
	var listed atomic.Int64
	var got seen
	r, _ := start(t, s, function.Function{Name: "reader", Triggers: []function.Trigger{
		function.ConsumeEach(func(context.Context) ([]function.Source, error) {
			listed.Add(1)
			if !known.Load() {
				return nil, nil
			}
			return []function.Source{source}, nil
		}, time.Hour, func(_ context.Context, ns []number) error { got.add(ns...); return nil }, function.Relisted("sources.new")),
	}})
	ready(t, r)
	natstest.Eventually(t, "there is none yet", func() bool { return listed.Load() == 1 })
	known.Store(true)
	for range 100 { // as many as appear at once, all of them one question or few
		if err := b.Conn().Publish("sources.new", nil); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, "it is pulled from", func() bool { return slices.Equal(got.sorted(), []int{1}) })
	if n := listed.Load(); n > 50 {
		t.Errorf("the sources were asked for %d times", n)
	}
}

// A batch is read while the one before it is handled, and takes in what comes meanwhile;
// but no two are handled at a time, and they keep their order.
func TestWhatComesWhileABatchIsHandledIsTheNext(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "test")
	publish := numbers(t, b)
	var mu sync.Mutex
	var batches [][]number
	inHand, most := 0, 0
	goOn := make(chan struct{})
	start(t, s, reader(func(ctx context.Context, ns []number) error {
		mu.Lock()
		batches = append(batches, ns)
		inHand++
		most = max(most, inHand)
		mu.Unlock()
		defer func() { mu.Lock(); inHand--; mu.Unlock() }()
		select {
		case <-goOn:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, function.Batch(10, time.Second)))
	taken := func() int { mu.Lock(); defer mu.Unlock(); return len(batches) }
	publish(`{"n":0}`)
	natstest.Eventually(t, "the first is handled alone, at once", func() bool { return taken() == 1 })
	for n := 1; n <= 20; n++ {
		publish(fmt.Sprintf(`{"n":%d}`, n))
	}
	natstest.Eventually(t, "the others are on their way", func() bool {
		c, err := b.JetStream().Consumer(ctx(t), "NUMBERS", "reader")
		return err == nil && c.CachedInfo().NumAckPending == 21
	})
	close(goOn)
	settled(t, b)
	mu.Lock()
	defer mu.Unlock()
	var order []int
	for _, batch := range batches {
		for _, n := range batch {
			order = append(order, n.N)
		}
	}
	if most != 1 || len(batches) > 10 || len(batches[0]) != 1 || !slices.IsSorted(order) || len(order) != 21 {
		t.Errorf("%d at a time at most, batches %v", most, batches)
	}
}
