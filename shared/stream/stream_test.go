package stream_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func all(site federation.SiteID, l stream.Limits) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{stream.Alerts(site, l), stream.Events(site), stream.DeadLetters(site), stream.Refusals(site), stream.Ticks(site)}
}

func TestTheServerTakesEveryStreamAsOftenAsItIsOffered(t *testing.T) {
	js := natstest.Bus(t, natstest.Start(t, "site-a"), "site-a", "test").JetStream()
	ctx := t.Context()
	for range 2 {
		for _, c := range all("site-a", stream.Limits{MaxAge: time.Hour, MaxBytes: 1 << 20}) {
			s, err := js.CreateOrUpdateStream(ctx, c)
			if err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
			if got := s.CachedInfo().Config; got.Storage != jetstream.FileStorage || got.Discard != jetstream.DiscardOld || got.Description == "" {
				t.Errorf("%s: storage %s, discard %s, description %q", c.Name, got.Storage, got.Discard, got.Description)
			}
		}
	}
	// Wider limits, as after a change of the settings.
	if _, err := js.CreateOrUpdateStream(ctx, stream.Alerts("site-a", stream.Limits{})); err != nil {
		t.Errorf("the limits cannot be lifted: %v", err)
	}
	for s, want := range map[string]string{
		subject.Alert(federation.High):                  subject.AlertStream("site-a"),
		subject.AlertTo(federation.Low, "site-b"):       subject.AlertStream("site-a"),
		subject.Event("site-a", federation.AlertStored): subject.EventStream("site-a"),
		subject.DeadLetter("site-a", "alertsink"):       subject.DeadLetterStream("site-a"),
		"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED." + subject.AlertStream("site-a") + "." + subject.AlertConsumer("site-b"): subject.RefusalStream("site-a"),
		subject.Tick("site-a", "heartbeat", "beat"):     subject.TickStream("site-a"),
		subject.Schedule("site-a", "heartbeat", "beat"): subject.TickStream("site-a"),
	} {
		if got, err := js.StreamNameBySubject(ctx, s); err != nil || got != want {
			t.Errorf("%s is captured by %q, want %q: %v", s, got, want, err)
		}
		if name := subject.CapturedBy("site-a", s); name != want && (name != "" || want == subject.AlertStream("site-a") || want == subject.EventStream("site-a")) {
			t.Errorf("%s is said to be captured by %q, want %q", s, name, want)
		}
	}
	for _, s := range []string{subject.Health("site-a"), subject.Nudge("site-a", "alertrelay"), subject.Function("site-a", "alertquery", "list"), subject.Event("site-b", federation.AlertStored),
		"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED." + subject.AlertStream("site-b") + "." + subject.AlertConsumer("site-a")} {
		if got, err := js.StreamNameBySubject(ctx, s); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("%s is captured by %q: %v", s, got, err)
		}
	}
}

func TestASecondPublishOfTheSameAlertIsNothing(t *testing.T) {
	js := natstest.Bus(t, natstest.Start(t, "site-a"), "site-a", "test").JetStream()
	s, err := js.CreateOrUpdateStream(t.Context(), stream.Alerts("site-a", stream.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		ack, err := js.Publish(t.Context(), subject.Alert(federation.High), []byte("an alert"), jetstream.WithMsgID("site-a/1"))
		if err != nil || ack.Duplicate != (i == 1) {
			t.Fatalf("publish %d: %+v, %v", i, ack, err)
		}
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != 1 {
		t.Errorf("the stream holds %d messages", info.State.Msgs)
	}
}

func TestTheLimitsAreAboveTheBoundOfTheBacklog(t *testing.T) {
	got := stream.Above(federation.BacklogBound{Messages: 1000, Bytes: 400 << 20, Age: time.Hour})
	if want := (stream.Limits{MaxMsgs: 51_250, MaxBytes: 564 << 20, MaxAge: time.Hour}); got != want {
		t.Errorf("the limits are %+v, want %+v", got, want)
	}
	if got := stream.Above(federation.BacklogBound{}); got != (stream.Limits{}) {
		t.Errorf("without a bound the limits are %+v", got)
	}
	js := natstest.Bus(t, natstest.Start(t, "site-a"), "site-a", "test").JetStream()
	s, err := js.CreateStream(t.Context(), stream.Alerts("site-a", got))
	if err != nil {
		t.Fatal(err)
	}
	merged, changed := stream.Apply(s.CachedInfo().Config, stream.Alerts("site-a", stream.Limits{}))
	if !changed || merged.MaxMsgs != -1 {
		t.Errorf("without a bound the stream would hold %d alerts, a change: %t", merged.MaxMsgs, changed)
	}
}

func TestPastTheLimitTheOldestAlertsGoFirst(t *testing.T) {
	js := natstest.Bus(t, natstest.Start(t, "site-a"), "site-a", "test").JetStream()
	s, err := js.CreateOrUpdateStream(t.Context(), stream.Alerts("site-a", stream.Limits{MaxBytes: 10_000}))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := js.Publish(t.Context(), subject.Alert(federation.High), make([]byte, 1000)); err != nil {
			t.Fatalf("the stream took no more: %v", err)
		}
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.LastSeq != 20 || info.State.FirstSeq == 1 || info.State.Bytes > 10_000 {
		t.Errorf("the stream holds %d to %d in %d bytes", info.State.FirstSeq, info.State.LastSeq, info.State.Bytes)
	}
}
