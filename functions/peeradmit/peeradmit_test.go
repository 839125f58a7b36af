package peeradmit_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/peeradmit"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	own  federation.SiteID = "site-a"
	peer federation.SiteID = "site-b"
)

// admit runs peeradmit with a gate, until it has put the peer's consumers right.
func admit(t *testing.T, s *server.Server, lowest federation.Severity) {
	t.Helper()
	now := time.Now()
	st := storetest.Open(t)
	storetest.Knows(t, st, own, peer, now)
	gate := federation.Gate{MinSeverity: lowest}
	bus := natstest.Bus(t, s, own, "peeradmit")
	r, err := function.Start(peeradmit.New(gate, 0, stream.Limits{}, st, bus, time.Now), bus, function.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	asker := natstest.Bus(t, s, own, "test")
	natstest.Eventually(t, "the peer is admitted", func() bool {
		// Its event, too, admits the peer; the sweep comes only every 15 s.
		if err := asker.Publish(t.Context(), subject.Event(own, federation.SiteSeen), federation.Event{Kind: federation.SiteSeen, SiteID: peer, At: now}); err != nil {
			t.Fatal(err)
		}
		for _, lane := range subject.AlertConsumers(peer) {
			c, err := asker.JetStream().Consumer(t.Context(), subject.AlertStream(own), lane.Consumer)
			if err != nil || !cmp.Equal(stream.Filter(c.CachedInfo().Config), filter(gate, lane)) {
				return false
			}
		}
		return true
	})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func filter(gate federation.Gate, lane subject.Lane) []string {
	var all []string
	for _, s := range lane.Severities {
		all = append(all, subject.AlertTo(s, peer))
		if gate.Decide(s, federation.TLPClear, "test").Admitted {
			all = append(all, subject.Alert(s))
		}
	}
	return all
}

// origin is the alert stream of the own site with one alert for each given severity.
func origin(t *testing.T, js jetstream.JetStream, severities ...federation.Severity) {
	t.Helper()
	if _, err := js.CreateOrUpdateStream(t.Context(), stream.Alerts(own, stream.Limits{})); err != nil {
		t.Fatal(err)
	}
	for _, s := range severities {
		if _, err := js.Publish(t.Context(), subject.Alert(s), nil); err != nil {
			t.Fatal(err)
		}
	}
}

// given are the sequences of the n alerts that a consumer gives; it has no more.
func given(t *testing.T, js jetstream.JetStream, consumer string, n int) []uint64 {
	t.Helper()
	c, err := js.Consumer(t.Context(), subject.AlertStream(own), consumer)
	if err != nil {
		t.Fatal(err)
	}
	var sequences []uint64
	for range n {
		m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatalf("after %v: %v", sequences, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
		sequences = append(sequences, meta.Sequence.Stream)
	}
	info, err := c.Info(t.Context())
	if err != nil || info.NumPending+uint64(info.NumAckPending) > 0 {
		t.Errorf("%s has %d more: %v", consumer, info.NumPending, err)
	}
	return sequences
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestANewPeerGetsEveryAlertThatTheGateAdmitsInItsLane(t *testing.T) {
	s := natstest.Start(t, own)
	js := natstest.Bus(t, s, own, "origin").JetStream()
	origin(t, js, federation.Critical, federation.Low, federation.High, federation.Critical)
	admit(t, s, federation.High)
	equal(t, "critical", given(t, js, "site-b_critical", 2), []uint64{1, 4})
	equal(t, "the others", given(t, js, "site-b", 1), []uint64{3})

	// A gate that is narrowed and widened again: nothing comes twice, nothing is left out.
	admit(t, s, federation.Critical)
	origin(t, js, federation.Critical, federation.High)
	equal(t, "critical under a narrow gate", given(t, js, "site-b_critical", 1), []uint64{5})
	equal(t, "the others under a narrow gate", given(t, js, "site-b", 0), []uint64(nil))
	admit(t, s, federation.High)
	equal(t, "the others under a wide gate", given(t, js, "site-b", 1), []uint64{6})
}

func TestAPeerFromBeforeTheLanesLosesNothingAndGetsNothingAnew(t *testing.T) {
	s := natstest.Start(t, own)
	js := natstest.Bus(t, s, own, "origin").JetStream()
	origin(t, js, federation.Critical, federation.High, federation.Critical, federation.High)
	if _, err := js.CreateConsumer(t.Context(), subject.AlertStream(own), jetstream.ConsumerConfig{
		Durable: "site-b", AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: []string{subject.Alert(federation.Critical), subject.Alert(federation.High)},
		AckWait: 15 * time.Second, MaxAckPending: 10_000, MaxDeliver: -1,
	}); err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), subject.AlertStream(own), "site-b")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	admit(t, s, federation.High)
	equal(t, "critical", given(t, js, "site-b_critical", 1), []uint64{3})
	equal(t, "the others", given(t, js, "site-b", 1), []uint64{4})
}

// How far the other lane has come says nothing of the critical alerts any more.
func TestALostCriticalLaneBeginsAgainAtTheStart(t *testing.T) {
	s := natstest.Start(t, own)
	js := natstest.Bus(t, s, own, "origin").JetStream()
	origin(t, js, federation.Critical, federation.High)
	admit(t, s, federation.High)
	equal(t, "the others", given(t, js, "site-b", 1), []uint64{2})
	if err := js.DeleteConsumer(t.Context(), subject.AlertStream(own), "site-b_critical"); err != nil {
		t.Fatal(err)
	}
	admit(t, s, federation.High)
	equal(t, "critical", given(t, js, "site-b_critical", 1), []uint64{1})
}
