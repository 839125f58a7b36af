package federation_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// view is how site-b sees the link to site-a: healthy, with a round trip of 40 ms.
func view(changes ...func(*federation.LinkView)) federation.LinkView {
	ms := func(v float64) *float64 { return &v }
	v := federation.LinkView{Peer: "site-a", Status: federation.Healthy, At: noon, Latency: &federation.Latency{
		LastMs: ms(41), MedianMs: ms(40), P99Ms: ms(50), JitterMs: ms(1), ClockOffsetMs: ms(2), Loss: 0.01, Echoes: 120, MeasuredAt: noon,
	}}
	for _, change := range changes {
		change(&v)
	}
	return v
}

func median(ms float64) func(*federation.LinkView) {
	return func(v *federation.LinkView) { v.Latency.MedianMs = &ms }
}

func jitter(ms float64) func(*federation.LinkView) {
	return func(v *federation.LinkView) { v.Latency.JitterMs = &ms }
}

func loss(share float64) func(*federation.LinkView) {
	return func(v *federation.LinkView) { v.Latency.Loss = share }
}

func unmeasured(v *federation.LinkView) { v.Latency = nil }

func allLost(v *federation.LinkView) {
	v.Latency.LastMs, v.Latency.MedianMs, v.Latency.P99Ms, v.Latency.JitterMs, v.Latency.Loss = nil, nil, nil, nil, 1
}

func TestAViewIsToldAnewWhereAReaderWouldSeeAChange(t *testing.T) {
	for name, c := range map[string]struct {
		told, now federation.LinkView
		want      bool
	}{
		"nothing is another": {view(), view(), false},
		"what changes with each echo": {view(), view(func(v *federation.LinkView) {
			last, p99 := 90.0, 99.0
			v.At, v.Latency.MeasuredAt, v.Latency.LastMs, v.Latency.P99Ms = noon.Add(time.Hour), noon.Add(time.Hour), &last, &p99
		}), false},
		"another status":                         {view(), view(func(v *federation.LinkView) { v.Status = federation.LinkDegraded }), true},
		"another cause":                          {view(), view(func(v *federation.LinkView) { v.Cause = federation.EchoLost }), true},
		"another way of alerts":                  {view(), view(func(v *federation.LinkView) { v.Relayed = true }), true},
		"a median within a quarter":              {view(), view(median(49)), false},
		"a median that is a quarter more":        {view(), view(median(50)), true},
		"a median that is a quarter less":        {view(), view(median(30)), true},
		"a short median within 5 ms":             {view(median(1)), view(median(5.9)), false},
		"a short median that is 5 ms more":       {view(median(1)), view(median(6)), true},
		"a median within the jitter":             {view(), view(median(80), jitter(45)), false},
		"a median within the jitter before":      {view(jitter(45)), view(median(80)), false},
		"a median beyond the jitter":             {view(), view(median(90), jitter(45)), true},
		"a loss within 5 of 100":                 {view(), view(loss(0.059)), false},
		"a loss of 5 of 100 more":                {view(), view(loss(0.07)), true},
		"a loss of 5 of 100 less":                {view(loss(0.07)), view(loss(0.01)), true},
		"the first echoes":                       {view(unmeasured), view(), true},
		"no echoes yet, as before":               {view(unmeasured), view(unmeasured), false},
		"no echoes any more":                     {view(), view(unmeasured), true},
		"all echoes are lost":                    {view(), view(allLost), true},
		"all echoes are lost, as before":         {view(allLost), view(allLost), false},
		"the first that come back of all others": {view(allLost, loss(0.99)), view(loss(0.99)), true},
	} {
		if got := c.now.Differs(c.told); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestAViewThatIsNotNamedStandsWhereNothingWasMissed(t *testing.T) {
	sent := noon.Add(time.Hour)
	kept := view()
	kept.At = sent
	since := func(ago time.Duration) federation.Gossip {
		g := goodGossip()
		g.SentAt, g.LinksSince = sent, sent.Add(-ago)
		return g
	}
	naming := func(g federation.Gossip, views ...federation.LinkView) federation.Gossip {
		g.Links = views
		return g
	}
	other := view(func(v *federation.LinkView) { v.Peer, v.Status = "site-c", federation.Down })
	degraded := view(func(v *federation.LinkView) { v.Status, v.At = federation.LinkDegraded, sent })
	leaving := goodGossip()
	leaving.SentAt, leaving.Leaving = sent, true
	never := time.Time{}
	for name, c := range map[string]struct {
		g           federation.Gossip
		held, wants federation.LinkView
		heard       time.Time
	}{
		"the last gossip was heard":                          {since(time.Minute), view(), kept, sent.Add(-15 * time.Second)},
		"the last that was heard is the oldest that will do": {since(time.Minute), view(), kept, sent.Add(-time.Minute)},
		"too many were missed":                               {since(time.Minute), view(), federation.LinkView{}, sent.Add(-time.Minute - time.Microsecond)},
		"the sender is heard for the first time":             {since(time.Minute), federation.LinkView{}, federation.LinkView{}, never},
		"nothing was known before":                           {since(time.Minute), federation.LinkView{}, federation.LinkView{}, sent.Add(-15 * time.Second)},
		"the clock of the sender was set back":               {since(time.Minute), view(), federation.LinkView{}, sent.Add(time.Microsecond)},
		"other links are named":                              {naming(since(time.Minute), other), view(), kept, sent.Add(-15 * time.Second)},
		"it is named":                                        {naming(since(time.Minute), other, degraded), view(), degraded, sent.Add(-15 * time.Second)},
		"it is named after many were missed":                 {naming(since(time.Minute), degraded), view(), degraded, sent.Add(-time.Hour)},
		"a sender that names all does not name it":           {naming(goodGossip(), other), view(), federation.LinkView{}, noon.Add(-15 * time.Second)},
		"a goodbye": {leaving, view(), view(), sent.Add(-15 * time.Second)},
	} {
		if diff := cmp.Diff(c.wants, c.g.View("site-a", c.held, c.heard)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
