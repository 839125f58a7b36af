package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// block is one block of an event stream.
type block struct{ id, event, data string }

// client reads an event stream.
type client struct {
	t      *testing.T
	lines  *bufio.Scanner
	cancel context.CancelFunc
	lastID string
}

func (s *site) follow(t *testing.T, path string, headers ...string) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("status %d, content type %q", res.StatusCode, res.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	c := &client{t: t, lines: lines, cancel: cancel}
	if first := c.next(); first.event != "" || first.id == "" {
		t.Fatalf("the first block is %+v", first)
	}
	return c
}

// next is the next block.
func (c *client) next() block {
	c.t.Helper()
	var b block
	for c.lines.Scan() {
		line := c.lines.Text()
		if line == "" {
			if b.id != "" {
				c.lastID = b.id
			}
			return b
		}
		switch name, value, _ := strings.Cut(line, ": "); name {
		case "id":
			b.id = value
		case "event":
			b.event = value
		case "data":
			b.data = value
		}
	}
	c.t.Fatalf("the stream ended: %v", c.lines.Err())
	return b
}

// publish stores an event of an alert with the given id.
func (s *site) publish(t *testing.T, id string) {
	t.Helper()
	data, err := json.Marshal(federation.Event{Kind: federation.AlertStored, At: noon, Alert: &federation.Alert{ID: id}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.bus.JetStream().Publish(t.Context(), subject.Event(identity.ID, federation.AlertStored), data); err != nil {
		t.Fatal(err)
	}
}

// publishTogether stores one event of several alerts.
func (s *site) publishTogether(t *testing.T, ids ...string) {
	t.Helper()
	m := store.StoredMessages(identity.ID, noon, alertsOf(ids))[0]
	if _, err := s.bus.JetStream().Publish(t.Context(), m.Subject, m.Payload); err != nil {
		t.Fatal(err)
	}
}

func alertsOf(ids []string) (alerts []federation.Alert) {
	for _, id := range ids {
		alerts = append(alerts, federation.Alert{ID: id})
	}
	return alerts
}

// expect reads as many events as there are ids, and checks that they are of these alerts.
func (c *client) expect(ids ...string) {
	c.t.Helper()
	var got []string
	for range ids {
		b := c.next()
		var e federation.Event
		if err := json.Unmarshal([]byte(b.data), &e); err != nil || b.event != string(federation.AlertStored) || e.Alert == nil {
			c.t.Fatalf("block %+v: %v", b, err)
		}
		got = append(got, e.Alert.ID)
	}
	if diff := cmp.Diff(ids, got); diff != "" {
		c.t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestOfAlertsThatWereStoredTogetherEachIsTold(t *testing.T) {
	s := newSite(t, ":8000")
	answers(t, s, ask.GetAlerts, func(of ask.AlertsByID) (ask.AlertsFound, error) {
		if of.IDs[0] == "gone" {
			return ask.AlertsFound{Looked: 1}, nil
		}
		return ask.AlertsFound{Items: alertsOf(of.IDs[:1]), Looked: 1}, nil // there is room for one
	})
	c := s.follow(t, "/api/v1/events")
	s.publish(t, "1")
	s.publishTogether(t, "2", "gone", "3")
	s.publish(t, "4")
	c.expect("1", "2", "3")
	if b := c.next(); b.id != "2" || b.event != "" { // the place, once all are told
		t.Errorf("behind them comes %+v", b)
	}
	c.expect("4")
	again := s.follow(t, "/api/v1/events", "Last-Event-ID", "1") // cut off among them
	again.expect("2", "3")
}

func TestAClientThatReconnectsMissesNothing(t *testing.T) {
	s := newSite(t, ":8000")
	s.publish(t, "before")
	c := s.follow(t, "/api/v1/events")
	s.publish(t, "1")
	s.publish(t, "2")
	c.expect("1", "2")
	c.cancel()
	for i := 3; i <= 40; i++ {
		s.publish(t, fmt.Sprint(i))
	}
	want := []string{}
	for i := 3; i <= 41; i++ {
		want = append(want, fmt.Sprint(i))
	}
	byHeader := s.follow(t, "/api/v1/events?last_event_id=0", "Last-Event-ID", c.lastID)
	byQuery := s.follow(t, "/api/v1/events?last_event_id="+c.lastID)
	s.publish(t, "41")
	byHeader.expect(want...)
	byQuery.expect(want...)
}

func TestAClientThatSawNoEventCanReconnectToo(t *testing.T) {
	s := newSite(t, ":8000")
	c := s.follow(t, "/api/v1/events")
	c.cancel()
	s.publish(t, "1")
	s.follow(t, "/api/v1/events", "Last-Event-ID", c.lastID).expect("1")
}

func TestAGapIsToldWhereTheStreamNoLongerHoldsTheEvents(t *testing.T) {
	s := newSite(t, ":8000")
	for i := 1; i <= 10; i++ {
		s.publish(t, fmt.Sprint(i))
	}
	events, err := s.bus.JetStream().Stream(t.Context(), subject.EventStream(identity.ID))
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Purge(t.Context(), jetstream.WithPurgeSequence(7)); err != nil {
		t.Fatal(err)
	}
	c := s.follow(t, "/api/v1/events", "Last-Event-ID", "2")
	if b := c.next(); b.event != "gap" || b.id != "6" || !strings.HasPrefix(b.data, `{"from":3,"to":6,`) {
		t.Errorf("gap %+v", b)
	}
	c.expect("7", "8", "9", "10")
}

func TestAnIDOfAStreamThatWasMadeAnewStartsWithNewEvents(t *testing.T) {
	s := newSite(t, ":8000")
	s.publish(t, "old")
	c := s.follow(t, "/api/v1/events", "Last-Event-ID", "99")
	if b := c.next(); b.event != "gap" || b.id != "1" || !strings.HasPrefix(b.data, `{"from":1,"to":1,`) {
		t.Errorf("gap %+v", b)
	}
	s.publish(t, "new")
	c.expect("new")
}

func TestAClientThatLeavesLeavesNoConsumer(t *testing.T) {
	s := newSite(t, ":8000")
	consumers := func() int {
		events, err := s.bus.JetStream().Stream(t.Context(), subject.EventStream(identity.ID))
		if err != nil {
			t.Fatal(err)
		}
		return events.CachedInfo().State.Consumers
	}
	var clients []*client
	for range 5 {
		clients = append(clients, s.follow(t, "/api/v1/events"))
	}
	natstest.Eventually(t, "each client has a consumer", func() bool { return consumers() == 5 })
	for _, c := range clients {
		c.cancel()
	}
	// A removal that the server does not answer in time leaves it to the idle time, of 30 s.
	natstest.Within(t, time.Minute, "no consumer is left", func() bool { return consumers() == 0 })
}

func TestTheEventStreamSaysWhereThereIsNone(t *testing.T) {
	s := newSite(t, ":8000")
	if err := s.bus.JetStream().DeleteStream(t.Context(), subject.EventStream(identity.ID)); err != nil {
		t.Fatal(err)
	}
	if r := s.do(t, "GET", "/api/v1/events", ""); r.status != http.StatusServiceUnavailable {
		t.Errorf("status %d: %s", r.status, r.body)
	}
	if _, err := s.bus.JetStream().CreateStream(t.Context(), stream.Events(identity.ID)); err != nil {
		t.Fatal(err)
	}
	if r := s.do(t, "HEAD", "/api/v1/events", ""); r.status != http.StatusOK {
		t.Errorf("status %d of HEAD", r.status)
	}
}

func TestAnOpenEventStreamDoesNotHoldUpTheStop(t *testing.T) {
	s := newSite(t, ":8000")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := l.Addr().String()
	l.Close()
	running, err := function.Start(
		gateway.New(s.config(listen)),
		s.bus, function.NewMetrics(s.reg), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + listen
	natstest.Eventually(t, "the gateway listens", func() bool {
		c, err := net.Dial("tcp", listen)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	c := s.follow(t, "/api/v1/events")
	s.publish(t, "1")
	c.expect("1")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	start := time.Now()
	if err := running.Stop(ctx); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if c.lines.Scan() && c.lines.Text() != "" {
		t.Errorf("the stream went on with %q", c.lines.Text())
	}
}
