package store

import (
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func minutesOfALinkAreKept(t *testing.T, f fixture) {
	s := f.migrated(t)
	start := t0.Truncate(time.Hour).Add(time.Hour)
	record(t, s, gossipOf("site-b", start), start)
	for i := range 130 { // two minutes and ten seconds, of which the second minute loses half
		o := federation.Answered
		if i >= 60 && i%2 == 0 {
			o = federation.Lost
		}
		echoed(t, s, o, start.Add(time.Duration(i)*time.Second))
	}
	three := 3.0
	first := federation.LatencyPoint{At: start, MedianMs: &three, MaxMs: &three, Echoes: 60}
	second := federation.LatencyPoint{At: start.Add(time.Minute), MedianMs: &three, MaxMs: &three, Echoes: 60, Lost: 30}
	equal(t, "minutes", must(s.LinkMinutes(t.Context(), linkAB, start, start.Add(time.Hour), 1))(t), []federation.LatencyPoint{first, second})
	both := first
	both.Echoes, both.Lost = 120, 30
	equal(t, "two minutes a point", must(s.LinkMinutes(t.Context(), linkAB, start, start.Add(time.Hour), 2))(t), []federation.LatencyPoint{both})
	echoed(t, s, federation.Answered, start.Add(latencyAge+time.Hour))
	equal(t, "after they are old", len(must(s.LinkMinutes(t.Context(), linkAB, start, start.Add(time.Minute), 1))(t)), 0)
}
