package meshmap

import (
	"fmt"
	"math"
	"strings"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// The measures of a chart.
const (
	chartWidth, chartHeight = 900, 220
	chartLeft, chartBottom  = 64, 190
	chartTop                = 14
)

// Chart draws the latency of a link over a time: the median as a line, the slowest
// echoes as the ground behind it, and a mark where echoes were lost. Where there are no
// points there is no line: nothing is drawn over what was not measured.
func Chart(h federation.LatencyHistory) string {
	top := 1.0
	for _, p := range h.Points {
		if p.MaxMs != nil {
			top = math.Max(top, *p.MaxMs)
		}
	}
	top = nice(top)
	span := math.Max(h.To.Sub(h.From).Seconds(), 1)
	x := func(p federation.LatencyPoint) float64 {
		return chartLeft + math.Max(p.At.Sub(h.From).Seconds(), 0)/span*(chartWidth-chartLeft-8)
	}
	right := func(p federation.LatencyPoint, wide float64) float64 {
		return math.Max(math.Min(wide, chartWidth-8-x(p)), 0.5)
	}
	y := func(ms float64) float64 { return chartBottom - ms/top*(chartBottom-chartTop) }
	wide := math.Max(float64(h.StepMinutes)*60/span*(chartWidth-chartLeft-8), 2)

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 %d %d" role="img" aria-label="Latency, at most %s" font-family="system-ui, sans-serif" font-size="12">`, chartWidth, chartHeight, Milliseconds(&top))
	for _, share := range []float64{0, 0.5, 1} {
		at, v := y(top*share), top*share
		fmt.Fprintf(&b, `<path class="grid" d="M%d %sH%d" stroke="#ccd6db"/><text class="soft" x="%d" y="%s" text-anchor="end" fill="#4a5b65">%s</text>`,
			chartLeft, number(at), chartWidth-8, chartLeft-8, number(at+4), Milliseconds(&v))
	}
	fmt.Fprintf(&b, `<text class="soft" x="%d" y="%d" fill="#4a5b65">%s</text><text class="soft" x="%d" y="%d" text-anchor="end" fill="#4a5b65">%s</text>`,
		chartLeft, chartHeight-8, h.From.UTC().Format("2006-01-02 15:04"), chartWidth-8, chartHeight-8, h.To.UTC().Format("2006-01-02 15:04"))
	var line strings.Builder
	for i, p := range h.Points {
		if p.MaxMs != nil {
			fmt.Fprintf(&b, `<rect class="slowest" x="%s" y="%s" width="%s" height="%s" fill="#0b6271" fill-opacity="0.22"/>`, number(x(p)), number(y(*p.MaxMs)), number(right(p, wide)), number(chartBottom-y(*p.MaxMs)))
		}
		if p.Lost > 0 {
			fmt.Fprintf(&b, `<rect class="lost" x="%s" y="%d" width="%s" height="6" fill="#c0243a"/>`, number(x(p)), chartBottom, number(right(p, wide)))
		}
		if p.MedianMs == nil {
			continue
		}
		word := "L"
		if gap := i == 0 || h.Points[i-1].MedianMs == nil || p.At.Sub(h.Points[i-1].At).Minutes() > 2*float64(h.StepMinutes); gap {
			word = "M"
		}
		fmt.Fprintf(&line, "%s%s %s h%s", word, number(x(p)), number(y(*p.MedianMs)), number(right(p, wide)))
	}
	fmt.Fprintf(&b, `<path class="median" d="%s" fill="none" stroke="#0b6271" stroke-width="2"/></svg>`, line.String())
	return b.String()
}

// nice is the next round figure.
func nice(v float64) float64 {
	for unit := math.Pow(10, math.Floor(math.Log10(v))); ; unit *= 10 {
		for _, f := range []float64{1, 2, 5} {
			if f*unit >= v {
				return f * unit
			}
		}
	}
}

// Bar draws for how much of a history, and when, a link had each status.
func Bar(h federation.History, now federation.LinkStatus) string {
	span := h.To.Sub(h.From).Seconds()
	var b strings.Builder
	about := fmt.Sprintf("Available %s of the time", Percent(h.Availability))
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="availability" viewBox="0 0 600 26" preserveAspectRatio="none" role="img" aria-label="%s">`, about)
	if span > 0 {
		// From the end back, for the newest stand first and the last status is known.
		until, status := h.To, now
		draw := func(t federation.LinkStatus, from, to float64) {
			top, high := 0, 26 // how bad it was is seen by its height too
			if t == federation.Healthy {
				top, high = 10, 16
			}
			fmt.Fprintf(&b, `<rect class="%s" x="%s" y="%d" width="%s" height="%d" fill="%s"/>`, t, number(from*600), top, number(math.Max((to-from)*600, 0.8)), high, colours[t])
		}
		for _, t := range h.Transitions {
			draw(status, t.At.Sub(h.From).Seconds()/span, until.Sub(h.From).Seconds()/span)
			until, status = t.At, federation.LinkStatus(t.From)
		}
		draw(status, 0, until.Sub(h.From).Seconds()/span)
	}
	b.WriteString("</svg>")
	return b.String()
}
