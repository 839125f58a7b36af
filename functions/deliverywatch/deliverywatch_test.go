package deliverywatch_test

import (
	"encoding/json"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/alertsink"
	"github.com/auroramesh/auroramesh/functions/deliverywatch"
	"github.com/auroramesh/auroramesh/functions/peeradmit"
	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	own  federation.SiteID = "site-a"
	peer federation.SiteID = "site-b"
)

var ages = federation.Thresholds{Degraded: 24 * time.Hour, Down: 48 * time.Hour}

// allAlerts chooses the whole queue.
var allAlerts = ask.AlertFilter{Page: ask.Page{Limit: 1}}

// site is one site with a clock of its own, which knows the other.
type site struct {
	id    federation.SiteID
	srv   *server.Server
	store *store.Store
	bus   *function.Bus
	reg   *prometheus.Registry
	clock *atomic.Pointer[time.Time]
}

func (s site) now() time.Time { return *s.clock.Load() }

func newSite(t *testing.T, srv *server.Server, id, other federation.SiteID) site {
	t.Helper()
	st := storetest.Open(t)
	s := site{id, srv, st, natstest.Bus(t, srv, id, "test"), prometheus.NewRegistry(), &atomic.Pointer[time.Time]{}}
	s.clock.Store(new(time.Now().UTC()))
	storetest.Knows(t, st, id, other, s.now())
	return s
}

// run runs a function at the site.
func (s site) run(t *testing.T, fn func(*function.Bus) function.Function) {
	t.Helper()
	bus := natstest.Bus(t, s.srv, s.id, "function")
	natstest.Run(t, bus, fn(bus))
}

// watch runs the function, for which a delivery stands still after 30 s.
func (s site) watch(t *testing.T) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s.run(t, func(b *function.Bus) function.Function {
		return deliverywatch.New(30*time.Second, ages, stream.Limits{}, s.store, b, s.reg, log, s.now)
	})
}

// look lets ten seconds pass, with echoes that are answered or not, and makes the function look.
func (s site) look(t *testing.T, echo federation.EchoOutcome) {
	t.Helper()
	at := s.now().Add(10 * time.Second)
	s.clock.Store(&at)
	e := federation.Echo{At: at, Outcome: echo, PeerAt: at}
	if _, err := s.store.RecordEchoes(t.Context(), s.id, map[string]federation.Echo{federation.LinkID(own, peer): e}, at, ages); err != nil {
		t.Fatal(err)
	}
	ack, err := s.bus.JetStream().Publish(t.Context(), subject.Tick(s.id, "deliverywatch", "look"), nil)
	if err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "it has looked", func() bool {
		c, err := s.bus.JetStream().Consumer(t.Context(), subject.TickStream(s.id), subject.TickConsumer("deliverywatch", "look"))
		return err == nil && c.CachedInfo().AckFloor.Stream >= ack.Sequence
	})
}

// share publishes n alerts as the site does.
func (s site) share(t *testing.T, severity federation.Severity, n int) {
	t.Helper()
	for i := range n {
		data, err := json.Marshal(federation.SharedAlert{
			Version: federation.SharedAlertVersion, OriginSite: s.id, OriginName: "A", OriginID: string(severity) + strconv.Itoa(i), RaisedAt: s.now(),
			NewAlert: federation.NewAlert{Title: "beacon " + strconv.Itoa(i), Severity: severity, Source: "edr"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.bus.Store(t.Context(), []function.Message{{Subject: subject.Alert(severity), ID: uuid.NewString(), Payload: data}}); err != nil {
			t.Fatal(err)
		}
	}
}

func (s site) consumer(t *testing.T, name string) jetstream.Consumer {
	t.Helper()
	var c jetstream.Consumer
	natstest.Eventually(t, name+" is admitted", func() (ok bool) {
		var err error
		c, err = s.bus.JetStream().Consumer(t.Context(), subject.AlertStream(s.id), name)
		return err == nil
	})
	return c
}

func (s site) link(t *testing.T) (federation.LinkStatus, federation.Cause) {
	t.Helper()
	links, err := s.store.Links(t.Context())
	if err != nil || len(links) != 1 {
		t.Fatalf("the links are %v: %v", links, err)
	}
	l := links[0].At(s.now(), ages)
	if l.Status != links[0].Status || l.Cause != links[0].Cause {
		t.Errorf("the link is stored as %s (%s) and told as %s (%s)", links[0].Status, links[0].Cause, l.Status, l.Cause)
	}
	return l.Status, l.Cause
}

// counted is a counter for the peer.
func (s site) counted(t *testing.T, name string) int {
	t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == string(peer) {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

// told counts the events that wait in the outbox, by kind.
func (s site) told(t *testing.T) map[string]int {
	t.Helper()
	queued, err := s.store.Outbox(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]int{}
	for _, q := range queued {
		var e federation.Event
		if err := json.Unmarshal(q.Payload, &e); err != nil {
			t.Fatal(err)
		}
		kind := string(e.Kind)
		if e.Transition != nil {
			kind += " " + e.Transition.To + " " + string(e.Transition.Cause)
		}
		told[kind]++
	}
	return told
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (s site) isLink(t *testing.T, what string, status federation.LinkStatus, cause federation.Cause) {
	t.Helper()
	if gotStatus, gotCause := s.link(t); gotStatus != status || gotCause != cause {
		t.Errorf("%s: the link is %s (%s), want %s (%s)", what, gotStatus, gotCause, status, cause)
	}
}

// mesh runs the shipped servers of the two sites, joined.
func mesh(t *testing.T) (hub, leaf *server.Server) {
	t.Helper()
	hub = natstest.StartHub(t, nats.DevHub)
	leaf = natstest.StartLeaf(t, nats.DevLeaf, hub)
	natstest.Joined(t, hub, leaf)
	return hub, leaf
}

// What a process that is cut off holds is nobody's until the acknowledgement wait
// is over, here never. The peer's alertsink waits beside it and is given nothing.
func TestADeliveryThatStandsStillIsToldAndBegunAnew(t *testing.T) {
	t.Parallel()
	hub, leaf := mesh(t)
	a, b := newSite(t, hub, own, peer), newSite(t, leaf, peer, own)
	a.watch(t)
	a.run(t, func(bus *function.Bus) function.Function {
		return peeradmit.New(federation.Gate{MinSeverity: federation.High}, 0, stream.Limits{}, a.store, bus, time.Now)
	})
	a.look(t, federation.Answered)
	c := a.consumer(t, subject.AlertConsumer(peer))
	config := c.CachedInfo().Config
	config.AckWait = time.Hour
	if _, err := a.bus.JetStream().UpdateConsumer(t.Context(), subject.AlertStream(own), config); err != nil {
		t.Fatal(err)
	}
	a.share(t, federation.High, 12)
	held := natstest.Fetch(t, c, 12)
	for _, i := range []int{0, 1, 5} { // the floor is 2
		if err := held[i].DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	a.look(t, federation.Answered)
	for range 2 {
		a.look(t, federation.Answered)
		a.isLink(t, "too early", federation.Healthy, "")
	}
	equal(t, "told before", a.told(t), map[string]int{"site-seen": 1})
	first, err := c.Info(t.Context())
	if err != nil || first.AckFloor.Stream != 2 || first.NumAckPending != 9 {
		t.Fatalf("the consumer is %+v, %v", first, err)
	}

	a.look(t, federation.Answered)
	a.isLink(t, "after 30 s", federation.LinkDegraded, federation.DeliveryStalled)
	equal(t, "told", a.told(t), map[string]int{"site-seen": 1, "link-transition degraded delivery_stalled": 1, "delivery-repaired": 1})
	equal(t, "stalls", a.counted(t, "aurora_delivery_stalls_total"), 1)
	equal(t, "repairs", a.counted(t, "aurora_delivery_repairs_total"), 1)
	second, err := c.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if second.Created.Equal(first.Created) || second.AckFloor.Stream != 2 || second.NumPending != 10 || second.NumAckPending != 0 {
		t.Errorf("the new consumer is %+v", second)
	}
	equal(t, "filters", second.Config.FilterSubjects, first.Config.FilterSubjects)

	// The delivery stands still on: the link stays marked, and the second repair has its time.
	for range 11 {
		a.look(t, federation.Answered)
	}
	equal(t, "repairs within two minutes", a.counted(t, "aurora_delivery_repairs_total"), 1)
	a.look(t, federation.Answered)
	equal(t, "repairs after two minutes", a.counted(t, "aurora_delivery_repairs_total"), 2)
	a.isLink(t, "not repaired", federation.LinkDegraded, federation.DeliveryStalled)

	b.run(t, func(bus *function.Bus) function.Function {
		return alertsink.New(b.store, bus, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), time.Now)
	})
	b.eventuallyStores(t, 10)
	a.look(t, federation.Answered)
	a.isLink(t, "with all acknowledged", federation.Healthy, "")
	equal(t, "told after", a.told(t)["link-transition healthy "], 1)
	equal(t, "stalls in all", a.counted(t, "aurora_delivery_stalls_total"), 1)
}

// eventuallyStores waits until n alerts of the other site are in the queue.
func (s site) eventuallyStores(t *testing.T, n int) {
	t.Helper()
	natstest.Eventually(t, strconv.Itoa(n)+" alerts are stored", func() bool {
		page, err := s.store.ListAlerts(t.Context(), allAlerts)
		if err != nil {
			t.Fatal(err)
		}
		return page.Total == n
	})
}

func TestTheSinkFindsTheNewConsumerByItself(t *testing.T) {
	t.Parallel()
	hub, leaf := mesh(t)
	a, b := newSite(t, hub, own, peer), newSite(t, leaf, peer, own)
	a.watch(t)
	const name = "site-b"
	alerts, err := a.bus.JetStream().Stream(t.Context(), subject.AlertStream(own))
	if err != nil {
		t.Fatal(err)
	}
	c, err := alerts.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour, MaxAckPending: 5})
	if err != nil {
		t.Fatal(err)
	}
	a.share(t, federation.High, 20)
	natstest.Fetch(t, c, 5)
	b.run(t, func(bus *function.Bus) function.Function {
		return alertsink.New(b.store, bus, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), time.Now)
	})
	natstest.Eventually(t, "the sink waits", func() bool { info, err := c.Info(t.Context()); return err == nil && info.NumWaiting > 0 })
	for range 4 {
		a.look(t, federation.Answered)
	}
	equal(t, "repairs", a.counted(t, "aurora_delivery_repairs_total"), 1)
	began := time.Now()
	b.eventuallyStores(t, 20)
	t.Logf("the sink had all after %v", time.Since(began))
}

func TestALineThatDoesNotWorkExplainsItself(t *testing.T) {
	t.Parallel()
	a := newSite(t, natstest.Start(t, own), own, peer)
	a.watch(t)
	alerts, err := a.bus.JetStream().Stream(t.Context(), subject.AlertStream(own))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"site-b", "site-b_critical", "somebody-else"} {
		if _, err := alerts.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			t.Fatal(err)
		}
	}
	a.share(t, federation.High, 3)
	for range 6 {
		a.look(t, federation.Disconnected)
	}
	a.isLink(t, "cut", federation.Down, federation.TransportDisconnected)
	for range 4 { // three echoes until the line works, and less than 30 s from the second on
		a.look(t, federation.Answered)
	}
	a.isLink(t, "back", federation.Healthy, "")
	equal(t, "repairs", a.counted(t, "aurora_delivery_repairs_total"), 0)
	a.look(t, federation.Answered)
	a.isLink(t, "back for 30 s", federation.LinkDegraded, federation.DeliveryStalled)
	equal(t, "repairs of two consumers", a.counted(t, "aurora_delivery_repairs_total"), 2)

	a.look(t, federation.Disconnected)
	a.isLink(t, "cut again", federation.Down, federation.TransportDisconnected)
	for range 13 {
		a.look(t, federation.Disconnected)
	}
	equal(t, "repairs of what nobody can fetch", a.counted(t, "aurora_delivery_repairs_total"), 2)
}
