package function_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// page is a message of some size.
type page struct {
	N    int    `json:"n"`
	Text string `json:"text"`
}

// leafPair is a site that pulls from a peer over a line.
type leafPair struct {
	line      *linkproxy.Proxy
	near, far *server.Server
	own, peer *function.Bus
	publish   func(string)
	from      function.Source
}

func joinedByALine(t *testing.T) leafPair {
	t.Helper()
	var p leafPair
	p.far = natstest.StartOptions(t, &server.Options{
		ServerName: "site-b", JetStreamDomain: "site-b", StoreDir: t.TempDir(), PingInterval: time.Second, MaxPingsOut: 2,
		LeafNode: server.LeafNodeOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoAdvertise: true},
	})
	vars, err := p.far.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	p.line = natstest.Line(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(vars.LeafNode.Port)))
	p.near = natstest.StartOptions(t, &server.Options{
		ServerName: string(site), JetStreamDomain: string(site), StoreDir: t.TempDir(), PingInterval: time.Second, MaxPingsOut: 2,
		LeafNode: server.LeafNodeOpts{ReconnectInterval: 100 * time.Millisecond, Remotes: []*server.RemoteLeafOpts{{URLs: []*url.URL{{Scheme: "nats-leaf", Host: p.line.Addr()}}}}},
	})
	natstest.Joined(t, p.far, p.near)
	p.own, p.peer = natstest.Bus(t, p.near, site, "observer"), natstest.Bus(t, p.far, "site-b", "origin")
	p.publish = numbers(t, p.peer)
	p.from = source
	p.from.Site = "site-b"
	return p
}

// waitFor sets how long the consumer waits for an acknowledgement.
func waitFor(t *testing.T, b *function.Bus, d time.Duration) {
	t.Helper()
	if _, err := b.JetStream().UpdateConsumer(ctx(t), "NUMBERS", jetstream.ConsumerConfig{Durable: "reader", AckPolicy: jetstream.AckExplicitPolicy, AckWait: d}); err != nil {
		t.Fatal(err)
	}
}

// pages publishes n messages of a size.
func (p leafPair) pages(t *testing.T, n, size int) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{})
	for i := range n {
		raw := make([]byte, size/2)
		if _, err := random.Read(raw); err != nil { // what repeats itself is made small on a leafnode
			t.Fatal(err)
		}
		data, err := json.Marshal(page{i, hex.EncodeToString(raw)})
		if err != nil {
			t.Fatal(err)
		}
		p.publish(string(data))
	}
}

// leafnode is the connection between the sites.
func (p leafPair) leafnode(t *testing.T) uint64 {
	t.Helper()
	l, err := p.far.Leafz(nil)
	if err != nil || len(l.Leafs) != 1 {
		t.Fatalf("the leafnodes are %+v, %v", l, err)
	}
	return l.Leafs[0].ID
}

func (p leafPair) underWay(t *testing.T) int {
	t.Helper()
	c, err := p.peer.JetStream().Consumer(ctx(t), "NUMBERS", "reader")
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo().NumAckPending
}

func TestLargeMessagesAreUnderWayAFewAtATime(t *testing.T) {
	t.Parallel()
	const n, size = 90, 290 << 10
	p := joinedByALine(t)
	waitFor(t, p.peer, 5*time.Second)
	p.pages(t, n, size)
	var mu sync.Mutex
	came, most, batch := 0, 0, 0
	_, reg := start(t, p.near, function.Function{Name: "reader", Triggers: []function.Trigger{function.Consume(p.from, func(_ context.Context, pages []page) error {
		under := p.underWay(t)
		mu.Lock()
		defer mu.Unlock()
		came += len(pages)
		most, batch = max(most, under), max(batch, len(pages))
		return nil
	}, function.Batch(100, 50*time.Millisecond))}})
	natstest.Within(t, 2*time.Minute, "all have come", func() bool { mu.Lock(); defer mu.Unlock(); return came >= n })
	settled(t, p.peer)
	if batch*size > 3<<20 || most*size > 12<<20 {
		t.Errorf("%d were handled together, and %d were under way, of %d KiB each", batch, most, size>>10)
	}
	if again := counter(t, reg, "aurora_function_messages_redelivered_total", "function", "reader"); came != n || again != 0 {
		t.Errorf("%d came, %v of them again", came, again)
	}
}

func TestANarrowLineStaysAndWhatCrossesItComesOnce(t *testing.T) {
	t.Parallel()
	const n = 500
	p := joinedByALine(t)
	waitFor(t, p.peer, 5*time.Second)
	leafnode := p.leafnode(t)
	p.line.Narrow(125_000)
	p.pages(t, n, 2<<10)
	var mu sync.Mutex
	came := 0
	_, reg := start(t, p.near, function.Function{Name: "reader", Triggers: []function.Trigger{function.Consume(p.from, func(_ context.Context, pages []page) error {
		mu.Lock()
		defer mu.Unlock()
		came += len(pages)
		return nil
	}, function.Batch(1000, 50*time.Millisecond), function.Calm(30*time.Second, func(string, []byte) bool { return false }))}})
	natstest.Within(t, 2*time.Minute, "all have come", func() bool { mu.Lock(); defer mu.Unlock(); return came >= n })
	settled(t, p.peer)
	if p.leafnode(t) != leafnode {
		t.Error("the leafnode was lost")
	}
	if again := counter(t, reg, "aurora_function_messages_redelivered_total", "function", "reader"); again > n/50 {
		t.Errorf("%v came again", again)
	}
}

// What has come waits here as long as the one before it is handled, which is longer than the
// server waits for a message of which it hears nothing.
func TestWhatWaitsForItsTurnIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "test")
	publish := numbers(t, b)
	waitFor(t, b, 5*time.Second)
	kept := map[string]bool{}
	var mu sync.Mutex
	if _, err := b.Conn().Subscribe("$JS.ACK.>", func(msg *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if string(msg.Data) == "+WPI" {
			kept[msg.Subject] = true
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	var got seen
	_, reg := start(t, s, reader(func(_ context.Context, ns []number) error {
		<-release
		got.add(ns...)
		return nil
	}, function.Batch(2, time.Second), function.Timeout(time.Minute)))
	for n := range 6 {
		publish(fmt.Sprintf(`{"n":%d}`, n))
	}
	natstest.Within(t, time.Minute, "each of them is said to be here", func() bool { mu.Lock(); defer mu.Unlock(); return len(kept) == 6 })
	close(release)
	settled(t, b)
	if again := counter(t, reg, "aurora_function_messages_redelivered_total", "function", "reader"); again != 0 || len(got.sorted()) != 6 {
		t.Errorf("%v came, %v of them again", got.sorted(), again)
	}
}

// A delivery that ended because the database was away says nothing against the message.
func TestOnlyWhatAHandlerTriedCountsAsAnAttempt(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "test")
	publish := numbers(t, b)
	publish(`{"n":1}`)
	var mu sync.Mutex
	calls := 0
	var got seen
	start(t, s, reader(func(_ context.Context, ns []number) error {
		mu.Lock()
		defer mu.Unlock()
		switch calls++; {
		case calls <= 2:
			return fault.New(fault.Unavailable, "the database is away")
		case calls == 3:
			return errors.New("out of luck")
		}
		got.add(ns...)
		return nil
	}, function.Attempts(2)))
	natstest.Within(t, time.Minute, "it is handled", func() bool { return len(got.sorted()) == 1 })
	settled(t, b)
	if l := letters(t, b); len(l) != 0 {
		t.Errorf("the dead letters are %q", l)
	}
}

// The server says once a second that there is nothing. None of that takes the room of messages.
func TestHeartbeatsDoNotFillAPullWhoseHandlerIsSlow(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	b := natstest.Bus(t, s, site, "test")
	publish := numbers(t, b)
	waitFor(t, b, time.Minute)
	publish(`{"n":1}`)
	publish(`{"n":2}`) // read and waiting for its turn, so nobody looks for a third
	own := natstest.Bus(t, s, site, "reader")
	inboxes, _, _ := strings.Cut(own.Conn().NewInbox(), ".")
	beats := make(chan *nats.Msg, 100)
	if _, err := b.Conn().ChanSubscribe(inboxes+".>", beats); err != nil {
		t.Fatal(err)
	}
	if err := b.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	r, err := function.Start(reader(func(context.Context, []number) error { <-release; return nil }, function.Timeout(time.Minute)), own, function.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, r) })
	heard := 0
	natstest.Within(t, time.Minute, "there were more heartbeats than a pull of one message has room", func() bool {
		for {
			select {
			case msg := <-beats:
				if msg.Header.Get("Status") != "" {
					heard++
				}
			default:
				return heard > 3
			}
		}
	})
	if err := own.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	if err := own.Conn().LastError(); err != nil {
		t.Errorf("NATS reports %v", err)
	}
	close(release)
	settled(t, b)
}
