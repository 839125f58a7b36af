package function_test

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// asked is the heartbeats with which a consumer was pulled from, in order, and the most
// messages that were asked for at once.
type asked struct {
	mu    sync.Mutex
	beats []time.Duration
	most  int
}

func (a *asked) note(msg *nats.Msg) {
	var pull struct {
		Heartbeat time.Duration `json:"idle_heartbeat"`
		Batch     int           `json:"batch"`
	}
	if err := json.Unmarshal(msg.Data, &pull); err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.beats, a.most = append(a.beats, pull.Heartbeat), max(a.most, pull.Batch)
}

// wide reports whether more was asked for at once than a pull does of which mostly nothing comes.
func (a *asked) wide() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.most > 32
}

// last is the heartbeat of the last pull; 0 where there was none.
func (a *asked) last() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.beats) == 0 {
		return 0
	}
	return a.beats[len(a.beats)-1]
}

const (
	briskly = time.Second
	calmly  = 5 * time.Second
)

// calmPair is a site that pulls from a peer over a line, and is calm after a second.
type calmPair struct {
	leafPair
	pulls *asked
	seen  *seen
	told  chan string // what isNews was asked
}

func pullCalmly(t *testing.T) calmPair {
	t.Helper()
	p := calmPair{leafPair: joinedByALine(t), pulls: &asked{}, seen: &seen{}, told: make(chan string, 10)}
	if _, err := p.peer.Conn().Subscribe("$JS.API.CONSUMER.MSG.NEXT.NUMBERS.reader", p.pulls.note); err != nil {
		t.Fatal(err)
	}
	if err := p.peer.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	r, _ := start(t, p.near, function.Function{Name: "reader", Triggers: []function.Trigger{function.Consume(p.from,
		func(_ context.Context, ns []number) error { p.seen.add(ns...); return nil }, function.Batch(100, 10*time.Millisecond),
		function.Calm(time.Second, func(_ string, data []byte) bool { p.told <- string(data); return string(data) == "news" }, "links.>"))}})
	ready(t, r)
	natstest.Eventually(t, "it is pulled from briskly", func() bool { return p.pulls.last() == briskly })
	p.calm(t)
	return p
}

func (p calmPair) calm(t *testing.T) {
	t.Helper()
	natstest.Eventually(t, "it is pulled from calmly", func() bool { return p.pulls.last() == calmly })
}

func (p calmPair) tell(t *testing.T, what string) {
	t.Helper()
	if err := p.own.Conn().Publish("links.changed", []byte(what)); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-p.told:
		if got != what {
			t.Fatalf("%q was told", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("waited 30s in vain until somebody asks whether %q is news", what)
	}
}

func (p calmPair) comes(t *testing.T, n int) {
	t.Helper()
	natstest.Within(t, time.Minute, "what was sent has come", func() bool { return len(p.seen.sorted()) >= n })
	for i, got := range p.seen.sorted() {
		if got != i+1 {
			t.Errorf("what came is %v", p.seen.sorted())
			return
		}
	}
}

func TestAPullFromAPeerIsCalmUntilThereIsNews(t *testing.T) {
	t.Parallel()
	p := pullCalmly(t)
	p.publish(`{"n":1}`)
	p.comes(t, 1)
	p.tell(t, "nothing")
	p.publish(`{"n":2}`)
	p.comes(t, 2)
	if p.pulls.last() != calmly {
		t.Error("what is no news has renewed the pull")
	}
	p.tell(t, "news")
	natstest.Eventually(t, "the pull is renewed briskly", func() bool { return p.pulls.last() == briskly })
	p.publish(`{"n":3}`)
	p.comes(t, 3)
	p.calm(t)
}

// Nobody tells of this cut, so only the heartbeat can.
func TestACalmPullThatIsLostIsFoundWithoutNews(t *testing.T) {
	t.Parallel()
	p := pullCalmly(t)
	p.line.Set(linkproxy.Cut)
	p.publish(`{"n":1}`)
	natstest.Eventually(t, "the pull is lost", func() bool {
		c, err := p.peer.JetStream().Consumer(ctx(t), source.Stream, source.Consumer)
		return err == nil && c.CachedInfo().NumWaiting == 0
	})
	if len(p.seen.sorted()) > 0 {
		t.Fatal("it came over a line that is cut")
	}
	p.line.Set(linkproxy.Pass)
	p.comes(t, 1)
}

func TestAPullAsksForManyOnceManyCome(t *testing.T) {
	t.Parallel()
	p := pullCalmly(t)
	if p.pulls.wide() {
		t.Error("many were asked for where none came")
	}
	for n := range 1000 {
		p.publish(`{"n":` + strconv.Itoa(n+1) + `}`)
	}
	p.comes(t, 1000)
	natstest.Eventually(t, "many are asked for", p.pulls.wide)
	p.calm(t)
}
