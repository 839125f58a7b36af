package ledger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func end(t *testing.T, m jetstream.Msg, reason string) {
	t.Helper()
	if err := m.TermWithReason(reason); err != nil {
		t.Fatal(err)
	}
}

func TestWhatAPeerRefusesIsNotStored(t *testing.T) {
	t.Parallel()
	s := hub(t)
	bus := natstest.Bus(t, s, own, "origin")
	b := start(t, s, time.Now)
	c := admit(t, bus, own, peer)
	long := strings.Repeat("é", 10_000)
	payloads := []string{`{"origin_alert_id":"one"}`, `{}`, `no JSON`, `{"origin_alert_id":"a\u0000"}`, `{"origin_alert_id":"` + long + `"}`}
	for _, p := range payloads {
		if _, err := bus.JetStream().Publish(t.Context(), subject.Alert(federation.High), []byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	share(t, bus, federation.Critical)
	msgs := natstest.Fetch(t, c, 6)
	for i, m := range msgs[:5] {
		end(t, m, []string{"it is bad", "", "with\x00NUL", "\xff", long}[i])
	}
	ack(t, msgs[5])
	var out federation.Delivery
	natstest.Eventually(t, "every refusal is noted", func() bool { out, _ = b.read(t); return *out.Refused == 5 })
	equal(t, "figures", figures(out), "reachable true, shared 6, acknowledged 6, refused 5, stored 1, pending 0, oldest -, redelivered 0 ")
	rs, err := b.store.RefusalsOf(t.Context(), "one", 1)
	if err != nil || len(rs) != 1 {
		t.Fatalf("the refusals of one: %+v, %v", rs, err)
	}
	meta, err := msgs[0].Metadata()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the refusal", rs[0], store.Refusal{
		Peer: peer, Sequence: 1, PublishedAt: meta.Timestamp.UTC().Truncate(time.Microsecond),
		Subject: subject.Alert(federation.High), AlertID: "one", Reason: "it is bad", At: rs[0].At,
	})
	for sequence, want := range map[uint64]string{2: "", 3: "withNUL", 4: "\ufffd", 5: strings.Repeat("é", 250)} {
		rs, err := b.store.RefusalsOf(t.Context(), "", sequence)
		if err != nil || len(rs) != 1 || rs[0].Reason != want {
			t.Errorf("the refusals of %d: %+v, %v", sequence, rs, err)
		}
	}

	// What the stream lets go of is in no figure any more.
	alerts, err := bus.JetStream().Stream(t.Context(), subject.AlertStream(own))
	if err != nil {
		t.Fatal(err)
	}
	if err := alerts.Purge(t.Context(), jetstream.WithPurgeSequence(5)); err != nil {
		t.Fatal(err)
	}
	out, _ = b.read(t)
	equal(t, "with four gone", figures(out), "reachable true, shared 2, acknowledged 2, refused 1, stored 1, pending 0, oldest -, redelivered 0 ")
}

// The stream may let go of an alert before its refusal is handled.
func TestARefusalOfWhatIsGoneIsNotedWithoutAnAlert(t *testing.T) {
	t.Parallel()
	s := hub(t)
	bus := natstest.Bus(t, s, own, "origin")
	b := start(t, s, time.Now)
	share(t, bus, federation.High)
	told := `{"consumer":"site-b","stream_seq":%,"reason":"it is bad","timestamp":"2026-01-01T00:00:00Z"}` // before the alert that has the sequence now
	for _, sequence := range []string{"1", "2", "2"} {
		if _, err := bus.JetStream().Publish(t.Context(), "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.ALERTS_site-a.site-b", []byte(strings.Replace(told, "%", sequence, 1))); err != nil {
			t.Fatal(err)
		}
	}
	for _, sequence := range []uint64{1, 2} {
		var rs []store.Refusal
		natstest.Eventually(t, "the refusal is noted", func() bool {
			var err error
			if rs, err = b.store.RefusalsOf(t.Context(), "", sequence); err != nil {
				t.Fatal(err)
			}
			return len(rs) > 0
		})
		equal(t, "the refusals", rs, []store.Refusal{{Peer: peer, Sequence: sequence, Reason: "it is bad", At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}})
	}
}

func TestARefusalOfNoPeerIsADeadLetter(t *testing.T) {
	t.Parallel()
	s := hub(t)
	bus := natstest.Bus(t, s, own, "origin")
	start(t, s, time.Now)
	if _, err := bus.JetStream().Publish(t.Context(), "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.ALERTS_site-a.x", []byte(`{"consumer":"no.site","stream_seq":1}`)); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "it is a dead letter", func() bool {
		letter, err := bus.DeadLetter(t.Context(), 1)
		return err == nil && letter.Header.Get(function.HeaderReason) == `the consumer "no.site" is of no peer`
	})
}
