package federation

import (
	"slices"
	"time"
)

// LatencyHistory is the round trips of one direction of a link over a time.
type LatencyHistory struct {
	LinkID string    `json:"link_id"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	// StepMinutes is how long a time each point stands for.
	StepMinutes int `json:"step_minutes"`
	// Points are those times in which echoes were sent, the oldest first.
	Points []LatencyPoint `json:"points"`
}

// LatencyPoint is the echoes of some minutes.
type LatencyPoint struct {
	At time.Time `json:"at"` // when the minutes began
	// MedianMs is the median of a minute, or the mean of those of several; MaxMs the
	// slowest. Nil where every echo was lost.
	MedianMs *float64 `json:"median_ms"`
	MaxMs    *float64 `json:"max_ms"`
	Echoes   int      `json:"echoes"`
	Lost     int      `json:"lost"`
}

// maxLatencyPoints is how many points a history has at most: more than a chart is wide help nobody.
const maxLatencyPoints = 240

// LatencyStep is how many minutes a point of a history of this length stands for.
func LatencyStep(d time.Duration) int {
	return max(1, int((d+maxLatencyPoints*time.Minute-1)/(maxLatencyPoints*time.Minute)))
}

// Minute is the figures of the newest minute of echoes.
func (p Probe) Minute() LatencyPoint {
	trips := p.Trips[max(len(p.Trips)-max(int(time.Minute/p.every()), 1), 0):]
	came := slices.DeleteFunc(slices.Clone(trips), func(t int64) bool { return t < 0 })
	point := LatencyPoint{At: p.At.Truncate(time.Minute), Echoes: len(trips), Lost: len(trips) - len(came)}
	if len(came) > 0 {
		slices.Sort(came)
		point.MedianMs, point.MaxMs = ms(float64(quantile(came, 0.5))), ms(float64(came[len(came)-1]))
	}
	return point
}
