package federation_test

import (
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestAHistoryAddsUp(t *testing.T) {
	start := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	to := func(s int, from, to federation.LinkStatus) federation.Transition {
		return federation.Transition{ID: "l", From: string(from), To: string(to), At: at(s)}
	}
	const h, d, down = federation.Healthy, federation.LinkDegraded, federation.Down
	for name, c := range map[string]struct {
		before                  federation.LinkStatus
		ts                      []federation.Transition
		end                     int
		healthy, degraded, down float64
		availability            float64
	}{
		"no time":       {h, nil, 0, 0, 0, 0, 1},
		"always good":   {h, nil, 100, 100, 0, 0, 1},
		"always down":   {down, nil, 100, 0, 0, 100, 0},
		"out and back":  {h, []federation.Transition{to(50, h, d), to(60, d, down), to(80, down, h)}, 100, 70, 10, 20, 0.8},
		"another cause": {h, []federation.Transition{to(50, h, d), to(60, d, d), to(80, d, h)}, 100, 70, 30, 0, 1},
		"still down":    {d, []federation.Transition{to(75, d, down)}, 100, 0, 75, 25, 0.75},
		"at both edges": {down, []federation.Transition{to(0, down, h), to(100, h, down)}, 100, 100, 0, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := federation.NewHistory("l", start, at(c.end), c.before, c.ts)
			if got.HealthySeconds != c.healthy || got.DegradedSeconds != c.degraded || got.DownSeconds != c.down || got.Availability != c.availability {
				t.Errorf("got %+v", got)
			}
			if n := len(c.ts); n > 0 && got.Transitions[0] != c.ts[n-1] {
				t.Errorf("the newest is not first: %+v", got.Transitions)
			}
		})
	}
}
