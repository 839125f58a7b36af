package federation

import (
	"math"
	"slices"
	"time"
)

// What a reader of a view would not see as a change: a median that is off by less than a
// quarter, 5 ms or the jitter, whichever is the most, and a loss that is by less than 5 of 100 echoes.
const (
	sameTrip   = 0.25
	sameTripMs = 5
	sameLoss   = 0.05
)

// Differs reports whether a peer that was told a view is to be told this one.
func (l LinkView) Differs(told LinkView) bool {
	if l.Status != told.Status || l.Cause != told.Cause || l.Relayed != told.Relayed {
		return true
	}
	now, then := l.Latency, told.Latency
	if now == nil || then == nil {
		return now != then
	}
	if math.Abs(now.Loss-then.Loss) >= sameLoss {
		return true
	}
	if now.MedianMs == nil || then.MedianMs == nil {
		return now.MedianMs != then.MedianMs
	}
	off := math.Abs(*now.MedianMs - *then.MedianMs)
	return off >= max(*then.MedianMs*sameTrip, sameTripMs, jitter(now), jitter(then))
}

func jitter(l *Latency) float64 {
	if l.JitterMs == nil {
		return 0
	}
	return *l.JitterMs
}

// View is how the sender sees its link to the site own, once that has heard the gossip; the
// zero value where that is not known. held is what was known before, and heard when the
// sender's last gossip before this one was sent.
func (g Gossip) View(own SiteID, held LinkView, heard time.Time) LinkView {
	if i := slices.IndexFunc(g.Links, func(v LinkView) bool { return v.Peer == own }); i >= 0 {
		return g.Links[i]
	}
	if g.Leaving { // a goodbye says nothing of it
		return held
	}
	if held.Peer == "" || g.LinksSince.IsZero() || heard.Before(g.LinksSince) || heard.After(g.SentAt) {
		return LinkView{}
	}
	held.At = g.SentAt
	return held
}
