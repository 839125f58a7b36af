package store

import (
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func refusalOf(peer federation.SiteID, sequence uint64, alertID string) Refusal {
	return Refusal{
		Peer: peer, Sequence: sequence, PublishedAt: after(time.Duration(sequence) * time.Second), Subject: "alerts.high",
		AlertID: alertID, Reason: "no: " + alertID, At: after(time.Minute),
	}
}

func refusalsAreNotedOnce(t *testing.T, f fixture) {
	replicas := f.replicas(t, 4)
	first, other, lost := refusalOf("site-b", 3, "one"), refusalOf("site-c", 3, "one"), Refusal{Peer: "site-b", Sequence: 4, Reason: "?", At: t0}
	atOnce(t, len(replicas), func(i int) (any, error) {
		return nil, replicas[i].RecordRefusals(t.Context(), []Refusal{first, other, lost})
	})
	s := replicas[0]
	again := first
	again.Reason, again.At = "told again", after(time.Hour)
	if err := s.RecordRefusals(t.Context(), []Refusal{again}); err != nil {
		t.Fatal(err)
	}
	equal(t, "of one", must(s.RefusalsOf(t.Context(), "one", 3))(t), []Refusal{first, other})
	equal(t, "of one, shared anew", must(s.RefusalsOf(t.Context(), "one", 5))(t), []Refusal{})
	equal(t, "of what is gone", must(s.RefusalsOf(t.Context(), "", 4))(t), []Refusal{lost})
}

func refusalsOfWhatIsHeldCount(t *testing.T, f fixture) {
	s := f.migrated(t)
	low := refusalOf("site-b", 4, "low")
	low.Subject = "alerts.low"
	if err := s.RecordRefusals(t.Context(), []Refusal{refusalOf("site-b", 2, "a"), refusalOf("site-b", 3, "b"), low, refusalOf("site-c", 3, "b"), {Peer: "site-b", Sequence: 3, Reason: "?", At: t0}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		held Held
		want int
	}{
		{"the whole stream", Held{[]string{"alerts.high", "alerts.low"}, 1, 9, t0}, 3},
		{"one subject", Held{[]string{"alerts.low"}, 1, 9, t0}, 1},
		{"no subject", Held{nil, 1, 9, t0}, 0},
		{"without the first two", Held{[]string{"alerts.high"}, 3, 9, t0}, 1},
		{"up to the second", Held{[]string{"alerts.high"}, 1, 2, t0}, 1},
		{"a new stream", Held{[]string{"alerts.high"}, 1, 9, after(time.Hour)}, 0},
	} {
		equal(t, c.what, must(s.CountRefusals(t.Context(), "site-b", c.held))(t), c.want)
	}
}

func oldRefusalsGo(t *testing.T, f fixture) {
	s := f.migrated(t)
	old, young := refusalOf("site-b", 1, "old"), refusalOf("site-b", 2, "young")
	young.At = old.At.Add(RefusalAge)
	for _, r := range []Refusal{old, young} {
		if err := s.RecordRefusals(t.Context(), []Refusal{r}); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "at the limit", len(must(s.RefusalsOf(t.Context(), "old", 1))(t)), 1)
	young.Sequence, young.At = 3, young.At.Add(time.Microsecond)
	if err := s.RecordRefusals(t.Context(), []Refusal{young}); err != nil {
		t.Fatal(err)
	}
	equal(t, "past the limit", len(must(s.RefusalsOf(t.Context(), "old", 1))(t)), 0)
	equal(t, "the young one", len(must(s.RefusalsOf(t.Context(), "young", 2))(t)), 1)
}
