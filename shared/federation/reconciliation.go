package federation

import (
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// MaxBackfillHours bounds how far back sites compare.
const MaxBackfillHours = 8760

// Reconciliation is what came of comparing what an origin has shared with what a
// peer has stored of it. Lost and Duplicated are counted, not assumed, and hold for
// the moment At and the alerts raised from From until Until.
type Reconciliation struct {
	At    time.Time `json:"at"` // the clock of the site that answers
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	// Compared counts the alerts that the peer should have.
	Compared int `json:"compared"`
	// Lost counts those that the peer had not in their newest version, and that were
	// neither on their way nor refused. What was sent again is no longer lost at the next look.
	Lost int `json:"lost"`
	// Resent counts those of the lost that were sent again at this look. The rest was
	// sent again shortly before.
	Resent int `json:"resent"`
	// Pending counts those that were on their way: in the outbox, or in the stream and not yet acknowledged.
	Pending int `json:"pending"`
	// Duplicated counts the rows at the peer beyond the first of one alert.
	Duplicated int `json:"duplicated"`
	// Refused counts those that the peer has refused for good.
	Refused int `json:"refused"`
	// Extra counts what the peer has though the origin would not share it now: its
	// gate was narrowed, or it no longer has the alert. That is no fault.
	Extra int `json:"extra"`
	// MissingSince is the Until of the first of the comparisons in a row, this one the last,
	// that each found something lost or pending; zero where this one found nothing. A site
	// reckons it itself.
	MissingSince time.Time `json:"-"`
}

// Proves reports whether the peer had stored an alert that was raised and last shared at
// the moments given, by the origin's clock. What was not compared is not proved, and where
// some were missing or refused the reconciliation does not say which.
func (r Reconciliation) Proves(raised, shared time.Time) bool {
	return !raised.Before(r.From) && raised.Before(r.Until) && shared.Before(r.Until) && r.Lost+r.Pending+r.Refused == 0
}

// Validate refuses what no honest peer concludes.
func (r Reconciliation) Validate() error {
	var wrong fault.Fields
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"at", r.At}, {"from", r.From}, {"until", r.Until}} {
		if !validTime(t.at) {
			wrong.Add(t.name, t.at.String(), timeForm)
		}
	}
	for _, n := range []struct {
		name  string
		count int
	}{{"compared", r.Compared}, {"lost", r.Lost}, {"resent", r.Resent}, {"pending", r.Pending}, {"duplicated", r.Duplicated}, {"refused", r.Refused}, {"extra", r.Extra}} {
		if n.count < 0 || n.count > MaxVersion {
			wrong.Add(n.name, itoa(n.count), "a whole number from 0 to "+itoa(MaxVersion))
		}
	}
	return wrong.Err("the reconciliation is not valid")
}

// ResendAfter is how long a version waits, after it was sent again a number of
// times, before it may be once more: 30 s, 2 min, 8 min, … at most a day. A peer
// that cannot take an alert is so not sent it without end.
func ResendAfter(times int) time.Duration {
	const most = 24 * time.Hour
	wait := 30 * time.Second
	for range times - 1 {
		if wait >= most {
			break
		}
		wait *= 4
	}
	return min(wait, most)
}

// SharedMsgID is the id of the message that shares a version of an alert with all
// peers. The stream drops a second message of the same id.
func SharedMsgID(origin SiteID, alertID string, version int) string {
	return string(origin) + "/" + alertID + "/" + itoa(version)
}

// ResentMsgID is the id of the message that sends a version again to one peer. It is
// another at each time, or the stream would drop it.
func ResentMsgID(origin SiteID, alertID string, version int, peer SiteID, at time.Time) string {
	return SharedMsgID(origin, alertID, version) + "/" + string(peer) + "/" + itoa(int(at.UnixMicro()))
}

// PassedAlertID is how a hub names an alert of an origin that it passes on. No alert of
// its own has such an id.
func PassedAlertID(origin SiteID, alertID string) string { return string(origin) + "/" + alertID }

// PassedID is what the origin calls the alert that has the id given here.
func PassedID(origin SiteID, passedAlertID string) string {
	return strings.TrimPrefix(passedAlertID, string(origin)+"/")
}

// PassedMsgID is the id of the message in which a hub passes on a version of an alert, to
// all or to one peer. again tells one apart in which the origin sends it once more from
// every other; it is empty for the first.
func PassedMsgID(hub, origin SiteID, alertID string, version int, peer SiteID, again string) string {
	return hash("passed", string(hub), string(origin), alertID, itoa(version), string(peer), again)
}
