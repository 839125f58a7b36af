package deadletters_test

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/deadletters"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

const site federation.SiteID = "site-a"

var source = function.Source{Site: site, Stream: "NUMBERS", Consumer: "reader"}

type number struct {
	N int `json:"n"`
}

// desk is a site with the function, and a reader that gives up every message
// until it is mended.
type desk struct {
	bus    *function.Bus
	mended atomic.Bool
	during func() // called in every call once mended
	taken  chan number
	from   atomic.Value // the source of the last call
	picky  atomic.Bool  // once mended, it refuses what it is given
}

func start(t *testing.T, s *server.Server, name string, build func(*function.Bus) function.Function) *function.Running {
	t.Helper()
	bus := natstest.Bus(t, s, site, name)
	r, err := function.Start(build(bus), bus, function.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, r) })
	natstest.Eventually(t, name+" is ready", func() bool { return r.NotReady(context.Background()) == nil })
	return r
}

func stop(t *testing.T, r *function.Running) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func newDesk(t *testing.T) (d *desk, reader *function.Running) {
	t.Helper()
	s := natstest.Start(t, site)
	d = &desk{bus: natstest.Bus(t, s, site, "asker"), taken: make(chan number, 100)}
	if _, err := d.bus.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: "NUMBERS", Subjects: []string{"n"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.bus.JetStream().CreateConsumer(t.Context(), "NUMBERS", jetstream.ConsumerConfig{Durable: "reader", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	start(t, s, "deadletters", deadletters.New)
	reader = start(t, s, "reader", func(*function.Bus) function.Function {
		return function.Function{Name: "reader", Triggers: []function.Trigger{function.Consume(source, d.take, function.Named("numbers"))}}
	})
	return d, reader
}

func (d *desk) take(ctx context.Context, ns []number) error {
	d.from.Store(function.SourceOf(ctx))
	if !d.mended.Load() {
		return fault.New(fault.Forbidden, "not yet")
	}
	if d.picky.Load() {
		return function.Refused{0: "not this one"}
	}
	if d.during != nil {
		d.during()
	}
	for _, n := range ns {
		d.taken <- n
	}
	return nil
}

// send gives the reader messages and waits until they are dead letters.
func (d *desk) send(t *testing.T, payloads ...string) {
	t.Helper()
	before := d.list(t, ask.Page{}).Total
	for i, p := range payloads { // one after the other, so that the letters have their order
		if _, err := d.bus.JetStream().Publish(t.Context(), "n", []byte(p)); err != nil {
			t.Fatal(err)
		}
		natstest.Eventually(t, "the message is a dead letter", func() bool { return d.list(t, ask.Page{}).Total == before+i+1 })
	}
}

func put[Req, Res any](t *testing.T, d *desk, e function.Endpoint[Req, Res], req Req) (Res, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return function.Ask(ctx, d.bus, site, e, req)
}

func (d *desk) list(t *testing.T, p ask.Page) ask.List[ask.DeadLetter] {
	t.Helper()
	l, err := put(t, d, ask.ListDeadLetters, p)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func ids(l ask.List[ask.DeadLetter]) []uint64 {
	var all []uint64
	for _, i := range l.Items {
		all = append(all, i.ID)
	}
	return all
}

func id(n uint64) function.LetterID { return function.LetterID{ID: n} }

func TestTheNewestLettersComeFirstPastThoseThatAreGone(t *testing.T) {
	t.Parallel()
	d, _ := newDesk(t)
	if l := d.list(t, ask.Page{}); l.Total != 0 || l.Items == nil || len(l.Items) != 0 {
		t.Errorf("without any there are %+v", l)
	}
	for i := range 8 {
		d.send(t, `{"n":`+strconv.Itoa(i)+`}`)
	}
	for _, gone := range []uint64{1, 4, 5, 8} {
		if l, err := put(t, d, ask.DropDeadLetter, id(gone)); err != nil || l.ID != gone {
			t.Fatalf("dropping %d: %+v, %v", gone, l, err)
		}
	}
	for _, c := range []struct {
		page ask.Page
		want []uint64
	}{
		{ask.Page{}, []uint64{7, 6, 3, 2}},
		{ask.Page{Limit: 3}, []uint64{7, 6, 3}},
		{ask.Page{Skip: 1, Limit: 2}, []uint64{6, 3}},
		{ask.Page{Skip: 3, Limit: 2}, []uint64{2}},
		{ask.Page{Skip: 4}, nil},
	} {
		l := d.list(t, c.page)
		if !slices.Equal(ids(l), c.want) || l.Total != 4 || l.Skip != c.page.Skip {
			t.Errorf("%+v: %v of %d, want %v", c.page, ids(l), l.Total, c.want)
		}
	}
	got := d.list(t, ask.Page{Limit: 1}).Items[0]
	if got.At.IsZero() || time.Since(got.At) > time.Minute {
		t.Errorf("at %s", got.At)
	}
	got.At = time.Time{}
	want := ask.DeadLetter{ID: 7, Function: "reader", Trigger: "numbers", Reason: "not yet", Code: "forbidden", Source: "site-a/NUMBERS/reader", Subject: "n", Sequence: 7, Size: len(`{"n":6}`)}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestALetterIsDeletedOnlyOnceItIsHandled(t *testing.T) {
	t.Parallel()
	d, reader := newDesk(t)
	d.send(t, `{"n":5}`)
	before := d.list(t, ask.Page{}).Items

	for range 2 {
		if _, err := put(t, d, ask.RetryDeadLetter, id(1)); !fault.Is(err, fault.Forbidden) || err.Error() != "not yet" {
			t.Fatalf("a retry that fails says %v", err)
		}
	}
	if after := d.list(t, ask.Page{}).Items; !slices.Equal(before, after) {
		t.Errorf("a retry that failed left %+v of %+v", after, before)
	}

	d.mended.Store(true)
	d.from.Store(function.Source{})
	if l, err := put(t, d, ask.RetryDeadLetter, id(1)); err != nil || l != before[0] {
		t.Fatalf("the retry says %+v, %v", l, err)
	}
	if n := <-d.taken; n.N != 5 || d.from.Load() != source {
		t.Errorf("the reader took %+v of %v", n, d.from.Load())
	}
	if l := d.list(t, ask.Page{}); l.Total != 0 {
		t.Errorf("the letter is still there: %+v", l)
	}
	if _, err := put(t, d, ask.RetryDeadLetter, id(1)); !fault.Is(err, fault.NotFound) {
		t.Errorf("a second retry says %v", err)
	}
	if len(d.taken) != 0 {
		t.Error("the reader was called again")
	}

	d.mended.Store(false)
	d.send(t, `{"n":6}`)
	stop(t, reader)
	if _, err := put(t, d, ask.RetryDeadLetter, id(2)); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "reader") {
		t.Errorf("without the reader a retry says %v", err)
	}
	if l := d.list(t, ask.Page{}); l.Total != 1 {
		t.Errorf("the letter is gone: %+v", l)
	}
}

func TestALetterThatIsRefusedStays(t *testing.T) {
	t.Parallel()
	d, _ := newDesk(t)
	d.send(t, `{"n":1}`)
	d.mended.Store(true)
	d.picky.Store(true)
	if _, err := put(t, d, ask.RetryDeadLetter, id(1)); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "is refused: not this one") {
		t.Errorf("the retry says %v", err)
	}
	if l := d.list(t, ask.Page{}); l.Total != 1 {
		t.Errorf("what is left is %+v", l)
	}
}

func TestALetterThatGoesWhileItIsHandledCountsAsHandled(t *testing.T) {
	t.Parallel()
	d, _ := newDesk(t)
	d.send(t, `{"n":1}`, `{"n":2}`)
	d.during = func() {
		if _, err := put(t, d, ask.DropDeadLetter, id(1)); err != nil {
			t.Error(err)
		}
	}
	d.mended.Store(true)
	if l, err := put(t, d, ask.RetryDeadLetter, id(1)); err != nil || l.ID != 1 {
		t.Errorf("the retry says %+v, %v", l, err)
	}
	if l := ids(d.list(t, ask.Page{})); !slices.Equal(l, []uint64{2}) {
		t.Errorf("left are %v", l)
	}
}

func TestALetterThatCannotBeReadStaysAndIsShown(t *testing.T) {
	t.Parallel()
	d, _ := newDesk(t)
	d.mended.Store(true)
	long := "\xff" + strings.Repeat("<", 128<<10-2) + "é" + strings.Repeat("\x00", 100)
	d.send(t, "a\xffb", "[]", long)
	for n, want := range map[uint64]string{1: "a\uFFFDb", 2: "[]"} {
		got, err := put(t, d, ask.GetDeadLetter, id(n))
		if err != nil || got.Payload != want || got.Truncated || got.Code != "invalid" {
			t.Errorf("%d: %+v, %v", n, got, err)
		}
	}
	// The worst text for JSON, cut before the character that the limit splits.
	got, err := put(t, d, ask.GetDeadLetter, id(3))
	if err != nil || !got.Truncated || got.Size != len(long) || got.Payload != "\uFFFD"+strings.Repeat("<", 128<<10-2) {
		t.Errorf("a long one has %d of %d bytes, truncated %v, %v", len(got.Payload), got.Size, got.Truncated, err)
	}
	if _, err := put(t, d, ask.RetryDeadLetter, id(1)); !fault.Is(err, fault.Invalid) {
		t.Errorf("a retry says %v", err)
	}
	if l := d.list(t, ask.Page{}); l.Total != 3 {
		t.Errorf("a retry that failed left %+v", l)
	}
}

func TestWhatIsNotThereIsNotFoundAndABadIDIsNamed(t *testing.T) {
	t.Parallel()
	d, _ := newDesk(t)
	one := func(n uint64) []error {
		_, get := put(t, d, ask.GetDeadLetter, id(n))
		_, drop := put(t, d, ask.DropDeadLetter, id(n))
		_, retry := put(t, d, ask.RetryDeadLetter, id(n))
		return []error{get, drop, retry}
	}
	for i, err := range one(7) {
		if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "7") {
			t.Errorf("%d: %v", i, err)
		}
	}
	for i, err := range one(0) {
		if f := fault.Of(err); f.Code != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Name != "id" || f.Fields[0].Value != "0" {
			t.Errorf("%d: %v", i, err)
		}
	}
}
