package alertrelay_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/alertrelay"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/outbox"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const own federation.SiteID = "site-a"

// relaying is a site at which alertrelay works.
type relaying struct {
	*testing.T
	store *store.Store
	bus   *function.Bus // of who hands over
}

func start(t *testing.T) relaying {
	t.Helper()
	s, st := natstest.Start(t, own), storetest.Open(t)
	bus := natstest.Bus(t, s, own, "alertrelay")
	natstest.Run(t, bus, alertrelay.New(stream.Limits{}, st, bus, prometheus.NewRegistry(), time.Now))
	return relaying{t, st, natstest.Bus(t, s, own, "test")}
}

// committed is an alert that was raised and has not been published yet.
func (r relaying) committed(title string, s federation.Severity) (federation.Alert, []store.Queued) {
	r.Helper()
	a := federation.NewAlert{Title: title, Severity: s, Source: "edr"}.Alert(title, time.Now())
	payload, err := json.Marshal(federation.Share(a, federation.Identity{ID: own}))
	if err != nil {
		r.Fatal(err)
	}
	raised, err := r.store.RaiseAlerts(r.Context(), own, federation.Gate{}, []store.Raising{{Alert: a, Out: func(federation.Gates) ([]store.Outgoing, error) {
		return []store.Outgoing{{
			Subject: subject.Alert(s), MsgID: federation.SharedMsgID(own, a.ID, 1), Priority: s.Rank(), AlertID: a.ID, Version: 1, Payload: payload,
		}}, nil
	}}}, nil)
	if err != nil {
		r.Fatal(err)
	}
	return a, raised.Queued
}

func (r relaying) handOver(work any) {
	r.Helper()
	if err := r.bus.HandOver(outbox.Function, outbox.Shared, work); err != nil {
		r.Fatal(err)
	}
}

// putOut has published what was put into the outbox, as those do who put it there.
func (r relaying) putOut(queued []store.Queued) {
	r.Helper()
	var log strings.Builder
	outbox.Publish(r.Context(), r.bus, slog.New(slog.NewTextHandler(&log, nil)), queued)
	if log.Len() > 0 {
		r.Fatal(log.String())
	}
}

// published is the ids of the alerts in the stream.
func (r relaying) published() []string {
	r.Helper()
	s, err := r.bus.JetStream().Stream(r.Context(), subject.AlertStream(own))
	if err != nil {
		r.Fatal(err)
	}
	ids := []string{}
	state := s.CachedInfo().State
	for seq := max(state.FirstSeq, 1); seq <= state.LastSeq; seq++ {
		msg, err := s.GetMsg(r.Context(), seq)
		if err == jetstream.ErrMsgNotFound { //nolint:errorlint // it was withdrawn
			continue
		}
		if err != nil {
			r.Fatal(err)
		}
		var of struct {
			ID string `json:"origin_alert_id"`
		}
		if err := json.Unmarshal(msg.Data, &of); err != nil {
			r.Fatal(err)
		}
		ids = append(ids, of.ID)
	}
	return ids
}

// until waits until the stream holds these alerts, and the outbox nothing.
func (r relaying) until(want ...string) {
	r.Helper()
	natstest.Eventually(r.T, fmt.Sprintf("%s are published", want), func() bool {
		waiting, _, err := r.store.OutboxDepth(r.Context())
		return err == nil && waiting == 0 && slices.Equal(r.published(), want)
	})
}

func TestWhatIsHandedOverIsPublishedOnce(t *testing.T) {
	t.Parallel()
	r := start(t)
	_, low := r.committed("low", federation.Low)
	_, critical := r.committed("critical", federation.Critical)
	r.handOver(append(low, critical...))
	r.until("critical", "low") // the worst first
	sharing, err := r.store.Sharing(t.Context(), "critical", "site-b")
	if err != nil || sharing.Sequence != 1 || sharing.Waiting {
		t.Errorf("its place is %+v, %v", sharing, err)
	}
	r.handOver(low)
	r.handOver(low) // as after a restart of who handed it over
	_, high := r.committed("high", federation.High)
	r.handOver(high)
	r.until("critical", "low", "high")

	// It is not read from the outbox again: this is in none.
	high[0].ID, high[0].MsgID, high[0].AlertID, high[0].Payload = 4711, "elsewhere", "elsewhere", []byte(`{"origin_alert_id":"elsewhere"}`)
	r.handOver(high)
	r.until("critical", "low", "high", "elsewhere")
}

// Events are taken out of the outbox many at a time, and each is published once.
func TestEventsThatAreHandedOverLeaveTheOutbox(t *testing.T) {
	t.Parallel()
	r := start(t)
	const events = 50
	for n := range events {
		raised, err := r.store.RaiseAlerts(t.Context(), own, federation.Gate{}, []store.Raising{{
			Alert: federation.NewAlert{Title: fmt.Sprint(n), Severity: federation.Low, Source: "edr"}.Alert(fmt.Sprint(n), time.Now()),
		}}, func(created []federation.Alert) []store.Outgoing {
			return store.StoredMessages(own, time.Now(), created)
		})
		if err != nil {
			t.Fatal(err)
		}
		r.putOut(raised.Queued)
	}
	r.until() // no alerts
	s, err := r.bus.JetStream().Stream(t.Context(), subject.EventStream(own))
	if err != nil || s.CachedInfo().State.Msgs != events {
		t.Fatalf("%d events are published: %v", s.CachedInfo().State.Msgs, err)
	}

	// They are not read from the outbox again: this is in none.
	elsewhere := store.EventMessage(own, federation.Event{Kind: federation.AlertStored, At: time.Now()}, "elsewhere")
	r.putOut([]store.Queued{{ID: 4711, Outgoing: elsewhere}})
	natstest.Eventually(t, "an event that is in no outbox is published", func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.State.Msgs == events+1
	})
}

func TestWhatIsNotHandedOverIsLookedFor(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.committed("lost", federation.High)
	r.handOver("not what is handed over")
	r.until("lost")
	_, large := r.committed("large", federation.High)
	large[0].Payload = make([]byte, 1<<20) // too large to be handed over: what is in the outbox counts
	r.handOver(large)
	r.until("lost", "large")
}

// An alert that is taken back while it is on its way to the stream does not stay there,
// although its withdrawal was before it.
func TestAnAlertThatMayNotLeaveAnyMoreIsTakenOutOfTheStream(t *testing.T) {
	t.Parallel()
	r := start(t)
	a, queued := r.committed("secret", federation.High)
	if _, err := r.store.UpdateAlert(t.Context(), a.ID, federation.AlertPatch{TLP: federation.TLPRed}, time.Now(), func(_, _ federation.Alert) ([]store.Outgoing, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	_, next := r.committed("next", federation.Low)
	r.handOver(append(queued, next...))
	r.until("next")
}

// An alert that cannot be withdrawn is not told of again before it is, and the others do not wait for it.
func TestAnAlertThatCannotBeWithdrawnHoldsNoOtherUp(t *testing.T) {
	r := start(t)
	a, queued := r.committed("secret", federation.Critical)
	r.handOver(queued)
	r.until("secret")
	config := stream.Alerts(own, stream.Limits{})
	config.DenyDelete = true
	if _, err := r.bus.JetStream().UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	takenBack := store.Outgoing{
		Subject: subject.Alert(federation.Critical), MsgID: federation.SharedMsgID(own, a.ID, 2), Priority: federation.Critical.Rank(), AlertID: a.ID, Version: 2, Withdraws: true, Payload: []byte(`{"origin_alert_id":"taken back"}`),
	}
	if _, err := r.store.UpdateAlert(t.Context(), a.ID, federation.AlertPatch{Retraction: "a test"}, time.Now(), func(_, _ federation.Alert) ([]store.Outgoing, error) {
		return []store.Outgoing{takenBack}, nil
	}); err != nil {
		t.Fatal(err)
	}
	r.committed("next", federation.Low) // not handed over: the sweep finds both, that which fails first
	natstest.Eventually(t, "the next alert is published", func() bool { return slices.Equal(r.published(), []string{"secret", "next"}) })
	natstest.Eventually(t, "what cannot be withdrawn alone waits", func() bool {
		waiting, err := r.store.Outbox(t.Context(), 10)
		return err == nil && len(waiting) == 1 && waiting[0].MsgID == takenBack.MsgID
	})
}

// As after a kill between the publish and its removal: what the stream knows already comes
// again, with what is new, and more than go one by one.
func TestManyOfWhichSomeArePublishedAlreadyArePublishedOnce(t *testing.T) {
	t.Parallel()
	r := start(t)
	const n = 120
	want := make([]string, n)
	var published []function.Message
	var queued []store.Queued
	for i := range want {
		want[i] = fmt.Sprintf("%03d", i)
		_, q := r.committed(want[i], federation.High)
		queued = append(queued, q...)
		if i < n/2 {
			published = append(published, function.Message{Subject: q[0].Subject, ID: q[0].MsgID, Payload: q[0].Payload})
		}
	}
	if _, err := r.bus.Store(t.Context(), published); err != nil {
		t.Fatal(err)
	}
	r.handOver(queued)
	r.until(want...)
	for i, id := range want {
		sharing, err := r.store.Sharing(t.Context(), id, "site-b")
		if err != nil || sharing.Sequence != uint64(i+1) || sharing.Waiting {
			t.Errorf("the place of %s is %+v, %v", id, sharing, err)
		}
	}
}
