package backlog_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/backlog"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const own federation.SiteID = "site-a"

// site is an origin whose alert stream is there, with no function at work yet.
type site struct {
	store  *store.Store
	bus    *function.Bus
	alerts jetstream.Stream
	reg    *prometheus.Registry
}

func newSite(t *testing.T) site {
	t.Helper()
	s := natstest.Start(t, own)
	st := storetest.Open(t)
	bus := natstest.Bus(t, s, own, "backlog")
	alerts, err := bus.JetStream().CreateStream(t.Context(), stream.Alerts(own, stream.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	return site{st, bus, alerts, prometheus.NewRegistry()}
}

// keep starts the function.
func (s site) keep(t *testing.T, bound federation.BacklogBound) {
	t.Helper()
	natstest.Run(t, s.bus, backlog.New(bound, s.store, s.bus, s.reg, slog.New(slog.NewTextHandler(t.Output(), nil)), time.Now))
}

// share publishes n alerts.
func (s site) share(t *testing.T, subj string, n, size int) {
	t.Helper()
	for range n {
		if _, err := s.bus.JetStream().Publish(t.Context(), subj, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
}

func (s site) admit(t *testing.T, name string, filters ...string) jetstream.Consumer {
	t.Helper()
	c, err := s.alerts.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: filters})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// take acknowledges the next n alerts of a consumer.
func take(t *testing.T, c jetstream.Consumer, n int) (subjects []string) {
	t.Helper()
	for _, m := range natstest.Fetch(t, c, n) {
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
		subjects = append(subjects, strings.TrimPrefix(m.Subject(), "aurora.alerts.federation."))
	}
	return subjects
}

// held counts what the stream holds by subject.
func (s site) held(t *testing.T) map[string]int {
	t.Helper()
	info, err := s.alerts.Info(t.Context(), jetstream.WithSubjectFilter(subject.AllAlerts))
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]int{}
	for subj, n := range info.State.Subjects {
		held[strings.TrimPrefix(subj, "aurora.alerts.federation.")] = int(n)
	}
	return held
}

func (s site) eventuallyHolds(t *testing.T, want map[string]int) {
	t.Helper()
	var got map[string]int
	natstest.Within(t, 20*time.Second, fmt.Sprintf("the backlog holds %v", want), func() bool { got = s.held(t); return cmp.Equal(want, got) })
}

func (s site) dropped(t *testing.T) map[federation.Severity]int {
	t.Helper()
	dropped, _, err := s.store.BacklogDrops(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dropped
}

// counted is what the metric says.
func (s site) counted(t *testing.T) map[federation.Severity]int {
	t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[federation.Severity]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "aurora_backlog_dropped_total" {
				counted[federation.Severity(m.GetLabel()[0].GetValue())] = int(m.GetCounter().GetValue())
			}
		}
	}
	return counted
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestTheOldestOfTheLowestSeverityGoFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.admit(t, "site-b")
	// site-c is given the critical ones only, by two consumers, and takes none.
	critical := s.admit(t, "site-c_critical", subject.AlertsOf(federation.Critical)...)
	s.share(t, subject.Alert(federation.Critical), 40, 0)
	s.share(t, subject.Alert(federation.Info), 10, 0)
	s.share(t, subject.Alert(federation.Low), 15, 0)
	s.share(t, subject.Alert(federation.Low)+".to.site-b", 10, 0)
	s.share(t, subject.Alert(federation.Low), 5, 0)
	s.share(t, subject.Alert(federation.High), 50, 0)
	s.keep(t, federation.BacklogBound{Messages: 100})
	// 30 too many: all of info, and of low the 20 that came first, whoever they are for.
	s.eventuallyHolds(t, map[string]int{"critical": 40, "low.to.site-b": 5, "low": 5, "high": 50})
	want := map[federation.Severity]int{federation.Info: 10, federation.Low: 20}
	natstest.Eventually(t, "it is counted", func() bool { return cmp.Equal(want, s.dropped(t)) })
	equal(t, "metric", s.counted(t), want)
	events := map[federation.Severity]int{}
	queued, err := s.store.Outbox(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queued {
		var e federation.Event
		if err := json.Unmarshal(q.Payload, &e); err != nil || e.Kind != federation.BacklogDropped {
			t.Fatalf("the outbox holds %s: %v", q.Payload, err)
		}
		events[e.Dropped.Severity] += e.Dropped.Dropped
	}
	equal(t, "events", events, want)

	// What is left goes on as if nothing had been.
	equal(t, "the first for site-b", take(t, b, 40)[39], "critical")
	equal(t, "the next for site-b", take(t, b, 10)[0], "low.to.site-b")
	take(t, b, 50)
	take(t, critical, 40)
	for _, c := range []jetstream.Consumer{b, critical} {
		info, err := c.Info(t.Context())
		if err != nil || info.NumPending != 0 || info.NumAckPending != 0 {
			t.Errorf("for %s %d alerts wait and %d are under way: %v", info.Name, info.NumPending, info.NumAckPending, err)
		}
	}
}

func TestWhatEveryPeerHasGoesBeforeAnythingElse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b, c := s.admit(t, "site-b"), s.admit(t, "site-c", subject.Alert(federation.High), subject.Alert(federation.Critical))
	idle := s.admit(t, "site-c_critical", subject.Alert(federation.Critical)) // nothing for it comes until the end
	s.share(t, subject.Alert(federation.High), 60, 0)
	s.share(t, subject.Alert(federation.Info), 60, 0)
	take(t, b, 30)
	take(t, c, 25)
	s.keep(t, federation.BacklogBound{Messages: 100})
	// 20 too many, and 25 that both have.
	s.eventuallyHolds(t, map[string]int{"high": 40, "info": 60})
	equal(t, "dropped", s.dropped(t), map[federation.Severity]int{})

	s.share(t, subject.Alert(federation.Critical), 15, 0)
	// 5 more that both have, then what waits.
	s.eventuallyHolds(t, map[string]int{"high": 35, "info": 50, "critical": 15})
	natstest.Eventually(t, "it is counted", func() bool { return cmp.Equal(map[federation.Severity]int{federation.Info: 10}, s.dropped(t)) })
	take(t, idle, 15)
	equal(t, "the first for site-c", take(t, c, 35+15)[0], "high")
}

func TestAllThatEveryPeerHasGoesHoweverMuch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const n = 21_000
	for range n {
		if _, err := s.bus.JetStream().PublishAsync(subject.Alert(federation.Info), nil, jetstream.WithStallWait(30*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	<-s.bus.JetStream().PublishAsyncComplete()
	s.share(t, subject.Alert(federation.Info), 100, 0)
	c, err := s.alerts.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "site-b", AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: n})
	if err != nil {
		t.Fatal(err)
	}
	take(t, c, 1)
	s.keep(t, federation.BacklogBound{Messages: 100})
	s.eventuallyHolds(t, map[string]int{"info": 100})
	equal(t, "dropped", s.dropped(t), map[federation.Severity]int{})
}

func TestWhatIsUnderWayCanGo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c, err := s.alerts.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "site-b", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s.share(t, subject.Alert(federation.Critical), 5, 0)
	s.share(t, subject.Alert(federation.Info), 200, 0)
	s.admit(t, "site-c") // holds the floor that all have in common
	take(t, c, 2)
	if _, err := c.Fetch(203, jetstream.FetchMaxWait(time.Second)); err != nil { // and nothing is acknowledged
		t.Fatal(err)
	}
	natstest.Eventually(t, "all is under way", func() bool { info, err := c.Info(t.Context()); return err == nil && info.NumAckPending == 203 })
	s.keep(t, federation.BacklogBound{Messages: 100})
	s.eventuallyHolds(t, map[string]int{"critical": 5, "info": 95})
	take(t, c, 98)
	natstest.Eventually(t, "nothing is under way", func() bool {
		info, err := c.Info(t.Context())
		return err == nil && info.NumAckPending == 0 && info.NumPending == 0
	})
}

func TestTheBacklogIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.share(t, subject.Alert(federation.Critical), 10, 100_000)
	s.share(t, subject.Alert(federation.Medium), 20, 50_000)
	s.keep(t, federation.BacklogBound{Bytes: 1_520_000})
	// Half a megabyte too much: 10 of 50 kB.
	s.eventuallyHolds(t, map[string]int{"critical": 10, "medium": 10})
	natstest.Eventually(t, "it is counted", func() bool { return cmp.Equal(map[federation.Severity]int{federation.Medium: 10}, s.dropped(t)) })
}

func TestCriticalAlertsAreSafeFromAFlood(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.admit(t, "site-b")
	s.keep(t, federation.BacklogBound{Messages: 500})
	var critical, info atomic.Int64
	publish := func(severity federation.Severity, n *atomic.Int64, more func() bool) {
		for more() && !t.Failed() {
			if _, err := s.bus.JetStream().Publish(t.Context(), subject.Alert(severity), []byte("{}")); err != nil {
				t.Error(err)
				return
			}
			n.Add(1)
		}
	}
	flood := make(chan struct{})
	go func() {
		defer close(flood)
		publish(federation.Info, &info, func() bool { return len(s.dropped(t)) == 0 || info.Load() < 3000 || critical.Load() < 400 })
	}()
	publish(federation.Critical, &critical, func() bool { return critical.Load() < 400 })
	<-flood
	natstest.Within(t, 20*time.Second, "the backlog is within its bound", func() bool { return s.held(t)["info"] <= 100 })
	held := s.held(t)
	equal(t, "critical", held["critical"], 400)
	natstest.Eventually(t, "every one that is gone is counted", func() bool {
		return cmp.Equal(map[federation.Severity]int{federation.Info: int(info.Load()) - s.held(t)["info"]}, s.dropped(t))
	})
}

func TestWithinItsBoundTheBacklogIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.admit(t, "site-b")
	s.share(t, subject.Alert(federation.Info), 100, 0)
	take(t, b, 50)
	s.keep(t, federation.BacklogBound{Messages: 100, Bytes: 1 << 20})
	natstest.Eventually(t, "it has been measured", func() bool {
		families, err := s.reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "aurora_backlog_messages" {
				return f.GetMetric()[0].GetGauge().GetValue() == 100
			}
		}
		return false
	})
	equal(t, "held", s.held(t), map[string]int{"info": 100})
}
