package function_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const site federation.SiteID = "site-a"

// number is a message that refuses what is negative.
type number struct {
	N int `json:"n"`
}

func (n number) Validate() error {
	var wrong fault.Fields
	if n.N < 0 {
		wrong.Add("n", strconv.Itoa(n.N), "a number from 0 on")
	}
	return wrong.Err("the number is not valid")
}

var double = function.Endpoint[number, number]{Function: "double", Name: "do", Doc: "twice the number"}

// start runs one replica of a function until the test ends.
func start(t *testing.T, s *server.Server, fn function.Function) (*function.Running, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	r, err := function.Start(fn, natstest.Bus(t, s, site, fn.Name), function.NewMetrics(reg), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, r) })
	return r, reg
}

func stop(t *testing.T, r *function.Running) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func ready(t *testing.T, r *function.Running) {
	t.Helper()
	natstest.Eventually(t, "the function is ready", func() bool { return r.NotReady(context.Background()) == nil })
}

func ctx(t *testing.T) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return c
}

func doubler(handle func(context.Context, number) (number, error), opts ...function.Option) function.Function {
	return function.Function{Name: "double", Description: "Doubles.", Triggers: []function.Trigger{function.Reply(double, handle, opts...)}}
}

func TestReplyAnswersAndTurnsEveryErrorIntoItsCode(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	calls := 0
	start(t, s, doubler(func(ctx context.Context, n number) (number, error) {
		calls++
		switch n.N {
		case 404:
			return n, fmt.Errorf("looking: %w", fault.New(fault.NotFound, "there is no %d", n.N))
		case 500:
			return n, errors.New("the secret of the database")
		case 13:
			panic("thirteen")
		case 1_000_000:
			<-ctx.Done()
			return n, ctx.Err()
		}
		return number{2 * n.N}, nil
	}, function.Parallel(1), function.Timeout(50*time.Millisecond)))
	asker := natstest.Bus(t, s, site, "asker")

	for _, c := range []struct {
		name string
		n    int
		code fault.Code
		text string
	}{
		{"an answer", 21, "", ""},
		{"a fault keeps its code and message", 404, fault.NotFound, "there is no 404"},
		{"an internal error gives nothing away", 500, fault.Internal, "an internal error; its detail is in the log of the function"},
		{"a panic is an internal error", 13, fault.Internal, "an internal error; its detail is in the log of the function"},
		{"a handler that takes too long", 1_000_000, fault.Timeout, "the time for this ran out"},
		{"a message that its Validate refuses", -1, fault.Invalid, `the number is not valid: n: "-1" is not allowed: a number from 0 on`},
		{"the function lives on after all that", 4, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := function.Ask(ctx(t), asker, site, double, number{c.n})
			if c.code == "" {
				if err != nil || got.N != 2*c.n {
					t.Fatalf("got %d, %v", got.N, err)
				}
				return
			}
			if f := fault.Of(err); f == nil || f.Code != c.code || f.Error() != c.text {
				t.Fatalf("got %v", err)
			}
		})
	}
	if calls != 6 {
		t.Errorf("the handler was called %d times: what is refused must not reach it", calls)
	}
	for name, data := range map[string]string{"no JSON": "{", "not UTF-8": "{\"n\":\"\xff\"}", "a field of the wrong type": `{"n":"one"}`} {
		t.Run(name, func(t *testing.T) {
			msg, err := asker.Conn().Request(subject.Function(site, "double", "do"), []byte(data), time.Second)
			if err != nil || msg.Header.Get(micro.ErrorCodeHeader) != string(fault.Invalid) {
				t.Fatalf("got %v %v", msg, err)
			}
		})
	}
}

func TestAskSaysThatNobodyAnswers(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	_, err := function.Ask(ctx(t), natstest.Bus(t, s, site, "asker"), site, double, number{1})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "double") {
		t.Fatalf("got %v", err)
	}
}

func TestParallelRequestsAreHandledAtTheSameTime(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	const n = 4
	var inFlight atomic.Int64
	release := make(chan struct{})
	start(t, s, doubler(func(_ context.Context, m number) (number, error) {
		inFlight.Add(1)
		<-release
		return m, nil
	}, function.Parallel(n)))
	asker := natstest.Bus(t, s, site, "asker")
	var wg sync.WaitGroup
	for i := range 16 * n { // spread by chance: each of the n instances gets some
		wg.Go(func() {
			if _, err := function.Ask(ctx(t), asker, site, double, number{i}); err != nil {
				t.Error(err)
			}
		})
	}
	natstest.Eventually(t, "as many are in their handlers as it says", func() bool { return inFlight.Load() == n })
	close(release)
	wg.Wait()
}

func TestEveryFunctionIsAMicroServiceWithItsSite(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	r, _ := start(t, s, function.Function{Name: "double", Description: "Doubles.", Triggers: []function.Trigger{
		function.Reply(double, func(_ context.Context, n number) (number, error) { return n, nil }, function.Parallel(2)),
		function.Every(time.Hour, func(context.Context) error { return nil }, function.Named("hourly")),
	}})
	ready(t, r)
	b := natstest.Bus(t, s, site, "asker")
	subj, err := micro.ControlSubject(micro.InfoVerb, "double", "")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := b.Conn().Request(subj, nil, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"name":"double"`, `"version":"0.0.1"`, `"description":"Doubles."`, `"site":"site-a"`, `"tier":"primary"`,
		`"trigger.hourly":"every 1h0m0s"`, `"queue_group":"site-a_double"`,
	} {
		if !strings.Contains(string(msg.Data), want) {
			t.Errorf("the service's info has no %s: %s", want, msg.Data)
		}
	}
	natstest.Eventually(t, "its health has every trigger, and the first tick", func() bool {
		h, err := function.Ask(ctx(t), b, site, function.HealthEndpoint("double"), struct{}{})
		if err != nil || len(h.Triggers) != 3 {
			t.Fatalf("the health answer is %+v, %v", h, err)
		}
		return h.Triggers[2].Calls > 0
	})
}

func TestStopLetsWhatIsInFlightFinish(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	entered, release := make(chan struct{}), make(chan struct{})
	r, _ := start(t, s, doubler(func(_ context.Context, n number) (number, error) {
		close(entered)
		<-release
		return number{2 * n.N}, nil
	}))
	asker := natstest.Bus(t, s, site, "asker")
	answer := make(chan error, 1)
	go func() {
		_, err := function.Ask(ctx(t), asker, site, double, number{1})
		answer <- err
	}()
	<-entered
	stopped := make(chan struct{})
	go func() { stop(t, r); close(stopped) }()
	natstest.Eventually(t, "the service takes no new requests", func() bool {
		_, err := function.Ask(ctx(t), asker, site, function.HealthEndpoint("double"), struct{}{})
		return fault.Is(err, fault.Unavailable)
	})
	select {
	case <-stopped:
		t.Fatal("it stopped with a request in flight")
	default:
	}
	close(release)
	if err := <-answer; err != nil {
		t.Fatalf("the request in flight failed: %v", err)
	}
	<-stopped
}

func TestStopCutsAHandlerThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	entered := make(chan struct{})
	fn := doubler(func(c context.Context, n number) (number, error) {
		close(entered)
		<-c.Done()
		return n, c.Err()
	}, function.Timeout(time.Minute))
	r, err := function.Start(fn, natstest.Bus(t, s, site, "double"), function.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := natstest.Bus(t, s, site, "asker").Conn().PublishRequest(subject.Function(site, "double", "do"), "nobody", []byte(`{"n":1}`)); err != nil {
		t.Fatal(err)
	}
	<-entered
	c, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := r.Stop(c); !fault.Is(err, fault.Timeout) {
		t.Fatalf("got %v", err)
	}
}

func TestOnSharesMessagesBetweenReplicasAndCountsWhatItRefuses(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	var handled atomic.Int64
	fn := function.Function{Name: "counter", Triggers: []function.Trigger{
		function.On("numbers", func(c context.Context, n number) error {
			if got := function.SubjectOf(c); got != "numbers" {
				t.Errorf("the subject is %q", got)
			}
			if n.N == 7 {
				return function.Drop("seven")
			}
			handled.Add(1)
			return nil
		}),
	}}
	_, reg1 := start(t, s, fn)
	_, reg2 := start(t, s, fn)
	b := natstest.Bus(t, s, site, "sender")
	for i := range 100 {
		if err := b.Publish(ctx(t), "numbers", number{i}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Publish(ctx(t), "numbers", number{-1}); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "99 are handled", func() bool { return handled.Load() == 99 })
	refused := func(reason string) float64 {
		return counter(t, reg1, "aurora_function_messages_refused_total", "reason", reason) + counter(t, reg2, "aurora_function_messages_refused_total", "reason", reason)
	}
	natstest.Eventually(t, "one is refused and one dropped", func() bool { return refused("invalid") == 1 && refused("seven") == 1 })
}

func TestNudgesThatWaitAreOneCall(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	var calls atomic.Int64
	block := make(chan struct{})
	start(t, s, function.Function{Name: "relay", Triggers: []function.Trigger{
		function.Nudged(func(context.Context) error { calls.Add(1); <-block; return nil }),
	}})
	b := natstest.Bus(t, s, site, "sender")
	nudge := func() {
		if err := b.Nudge("relay"); err != nil {
			t.Fatal(err)
		}
	}
	nudge()
	natstest.Eventually(t, "the first is being handled", func() bool { return calls.Load() == 1 })
	for range 1000 {
		nudge()
	}
	if err := b.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	close(block)
	natstest.Eventually(t, "the rest is handled", func() bool { return calls.Load() >= 2 })
	if n := calls.Load(); n > 20 {
		t.Errorf("1,000 nudges made %d calls", n)
	}
}

func TestWorkIsHandedOverTogether(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	got, looked, block := make(chan []int, 10), make(chan bool, 10), make(chan struct{})
	_, reg := start(t, s, function.Function{Name: "relay", Triggers: []function.Trigger{
		function.Handed("work", func(_ context.Context, all []int) error { got <- all; <-block; return nil }),
		function.Nudged(func(context.Context) error { looked <- true; return nil }),
	}})
	b := natstest.Bus(t, s, site, "sender")
	give := func(work ...any) {
		t.Helper()
		for _, w := range work {
			if err := b.HandOver("relay", "work", w); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Conn().Flush(); err != nil {
			t.Fatal(err)
		}
	}
	give(1)
	all := <-got
	give(2, "no number", 3, strings.Repeat("x", 600<<10), 4)
	<-looked // for what is too large
	close(block)
	for len(all) < 4 { // in one call, or in as many as the messages have come in
		all = append(all, <-got...)
	}
	if diff := cmp.Diff([]int{1, 2, 3, 4}, all); diff != "" {
		t.Errorf("handed over (-want +got):\n%s", diff)
	}
	if n := counter(t, reg, "aurora_function_messages_refused_total", "reason", "invalid"); n != 1 {
		t.Errorf("%v were refused", n)
	}
}

func TestWorkThatIsInNoHurryWaitsForMore(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	got := make(chan []int, 10)
	start(t, s, function.Function{Name: "relay", Triggers: []function.Trigger{
		function.Handed("work", func(_ context.Context, all []int) error { got <- all; return nil }, function.Lingering(2*time.Second)),
	}})
	b := natstest.Bus(t, s, site, "sender")
	for n := range 5 {
		if err := errors.Join(b.HandOver("relay", "work", n), b.Conn().Flush()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]int{0, 1, 2, 3, 4}, <-got); diff != "" {
		t.Errorf("in one call (-want +got):\n%s", diff)
	}
}

// counter is the sum of a counter over all series with a label of the given value.
func counter(t *testing.T, reg *prometheus.Registry, name, label, value string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == label && l.GetValue() == value {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

func TestTheScheduleTicksOnceAnIntervalForAllReplicas(t *testing.T) {
	s := natstest.Start(t, site)
	ticks := make(chan time.Time, 100)
	fn := func(d time.Duration) function.Function {
		return function.Function{Name: "clock", Triggers: []function.Trigger{
			function.Every(d, func(context.Context) error { ticks <- time.Now(); return nil }),
		}}
	}
	for range 3 {
		start(t, s, fn(time.Second))
	}
	<-ticks // comes at once, not after an interval
	from := <-ticks
	for range 3 {
		at := <-ticks
		if gap := at.Sub(from); gap < 500*time.Millisecond || gap > 3*time.Second {
			t.Errorf("a tick came %v after the one before", gap)
		}
		from = at
	}
}

func TestAChangedIntervalReplacesTheSchedule(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	fn := func(d time.Duration) function.Function {
		return function.Function{Name: "clock", Triggers: []function.Trigger{function.Every(d, func(context.Context) error { return nil })}}
	}
	b := natstest.Bus(t, s, site, "reader")
	schedule := func() *jetstream.RawStreamMsg {
		st, err := b.JetStream().Stream(ctx(t), subject.TickStream(site))
		if err != nil {
			t.Fatal(err)
		}
		m, err := st.GetLastMsgForSubject(ctx(t), subject.Schedule(site, "clock", "every"))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	r, _ := start(t, s, fn(time.Hour))
	ready(t, r)
	first := schedule()
	r, _ = start(t, s, fn(time.Hour))
	ready(t, r)
	if again := schedule(); again.Sequence != first.Sequence {
		t.Error("a second replica restarted the interval")
	}
	r, _ = start(t, s, fn(2*time.Hour))
	ready(t, r)
	if got := schedule().Header.Get("Nats-Schedule"); got != "@every 2h0m0s" {
		t.Errorf("the schedule is %q", got)
	}
}

func TestASlowSubscriberKeepsItsService(t *testing.T) {
	s := natstest.Start(t, site)
	block := make(chan struct{})
	start(t, s, doubler(func(_ context.Context, n number) (number, error) { <-block; return n, nil }, function.Parallel(1)))
	b := natstest.Bus(t, s, site, "sender")
	// Beyond the pending limit of a subscription, so that the client drops messages.
	for range 3 * 16_384 {
		if err := b.Conn().PublishRequest(subject.Function(site, "double", "do"), "nobody", []byte(`{"n":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	close(block)
	natstest.Eventually(t, "it answers again", func() bool {
		c, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := function.Ask(c, b, site, double, number{1})
		return err == nil
	})
}

func TestStreamsAreProvisionedAgainWhenTheyAreLost(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	var ticks atomic.Int64
	r, _ := start(t, s, function.Function{Name: "clock", Triggers: []function.Trigger{
		function.Every(time.Second, func(context.Context) error { ticks.Add(1); return nil }),
	}})
	ready(t, r)
	b := natstest.Bus(t, s, site, "vandal")
	if err := b.JetStream().DeleteStream(ctx(t), subject.TickStream(site)); err != nil {
		t.Fatal(err)
	}
	before := ticks.Load()
	natstest.Within(t, 20*time.Second, "it ticks again", func() bool { return ticks.Load() > before+1 })
}

func TestATickOfAKilledReplicaGoesToAnotherAndALongOneDoesNot(t *testing.T) {
	t.Parallel() // it mostly waits
	s := natstest.Start(t, site)
	begun := make(chan string, 10)
	fn := func(name string, until <-chan struct{}) function.Function {
		return function.Function{Name: "clock", Triggers: []function.Trigger{
			function.Every(time.Hour, func(ctx context.Context) error {
				begun <- name
				select {
				case <-until:
				case <-ctx.Done():
				}
				return nil
			}, function.Timeout(30*time.Second)),
		}}
	}
	// The first replica is cut from the server in the middle of a tick.
	bus := natstest.Bus(t, s, site, "clock")
	killed, err := function.Start(fn("killed", nil), bus, function.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := <-begun; got != "killed" {
		t.Fatal(got)
	}
	bus.Conn().Close()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := killed.Stop(over); err == nil {
		t.Error("a replica that was cut in the middle of a tick stopped cleanly")
	}

	release := make(chan struct{})
	for range 2 {
		start(t, s, fn("heir", release))
	}
	select {
	case <-begun:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody took the tick over")
	}
	// The heir lives, so its tick is its own, however long it takes.
	select {
	case <-begun:
		t.Error("a tick that was being worked on went to a second replica")
	case <-time.After(7 * time.Second):
	}
	close(release)
}

func TestAReplyWithAWildcardTellsWhereItWasAsked(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	at := func(who string) function.Endpoint[struct{}, string] {
		return function.Endpoint[struct{}, string]{Function: "who", Name: "asks", Doc: "says who asks", Subject: func(federation.SiteID) string { return "who." + who + ".asks" }}
	}
	r, _ := start(t, s, function.Function{Name: "who", Triggers: []function.Trigger{
		function.Reply(at("*"), func(c context.Context, _ struct{}) (string, error) { return function.SubjectOf(c), nil }),
	}})
	ready(t, r)
	got, err := function.Ask(ctx(t), natstest.Bus(t, s, site, "asker"), site, at("site-x"), struct{}{})
	if err != nil || got != "who.site-x.asks" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestWorkThatIsCutShortDoesNotHoldUpAStop(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	begun := make(chan error, 2)
	wait := func(c context.Context) error { begun <- nil; <-c.Done(); return c.Err() }
	r, _ := start(t, s, function.Function{Name: "long", Triggers: []function.Trigger{
		function.Every(time.Hour, wait, function.Named("every"), function.Timeout(time.Hour), function.CutShort()),
		function.On("begin", func(c context.Context, _ struct{}) error { return wait(c) }, function.Named("on"), function.Timeout(time.Hour), function.CutShort()),
	}})
	ready(t, r)
	if err := natstest.Bus(t, s, site, "sender").Publish(ctx(t), "begin", struct{}{}); err != nil {
		t.Fatal(err)
	}
	<-begun
	<-begun
	stop(t, r) // fails where work was still in flight after five seconds
}
