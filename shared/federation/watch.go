package federation

import "time"

const (
	// movedFrom is how many looks in a row must see a delivery move before it is no
	// longer said to stand still; one look is not enough.
	movedFrom = 2
	// repairEvery is how long a repair has before the next one; that doubles with
	// each repair that did not help, up to repairAtMost.
	repairEvery, repairAtMost = 2 * time.Minute, time.Hour
)

// Progress is how far a durable consumer of the alert stream has come.
type Progress struct {
	Peer     SiteID `json:"peer"`
	Consumer string `json:"consumer"`
	AckFloor uint64 `json:"ack_floor"` // place in the stream up to which all is acknowledged
	// Deliveries counts what was sent, repeats among it. It begins anew with the consumer.
	Deliveries uint64 `json:"deliveries"`
	Waiting    int    `json:"waiting"`   // never sent
	UnderWay   int    `json:"under_way"` // sent, not acknowledged
}

// Pending counts the alerts that are not acknowledged.
func (p Progress) Pending() int { return p.Waiting + p.UnderWay }

// movedSince reports whether the peer has acknowledged something since before. The
// floor also rises, and what is pending also falls, where the stream lets go of
// alerts; so while some wait unsent, that counts only where something was sent too.
func (p Progress) movedSince(before Progress) bool {
	acknowledged := p.AckFloor != before.AckFloor || p.Pending() < before.Pending()
	return acknowledged && (p.Waiting == 0 || p.Deliveries != before.Deliveries)
}

// DeliveryWatch is what is remembered of one consumer from look to look.
type DeliveryWatch struct {
	Progress
	Moves int `json:"moves"` // looks in a row that saw it move
	// MovedAt is the last look that saw it move, or at which nothing had to.
	MovedAt time.Time `json:"moved_at"`
	// StalledAt is since when it is known to stand still; nil where it does not.
	StalledAt  *time.Time `json:"stalled_at"`
	Repairs    int        `json:"repairs"` // since StalledAt
	RepairedAt *time.Time `json:"repaired_at"`
}

// Next is the watch after one more look. The delivery stands still where something
// is pending and nothing has moved for as long as after, over a line that works: time
// without one does not count.
func (w DeliveryWatch) Next(p Progress, at time.Time, after time.Duration, line bool) DeliveryWatch {
	first := w.MovedAt.IsZero()
	moved := !first && p.movedSince(w.Progress)
	idle := p.Pending() == 0 || w.Pending() == 0 // what came since the last look has not waited yet
	w.Moves++
	if !moved {
		w.Moves = 0
	}
	if moved || idle || !line {
		w.MovedAt = at
	}
	switch {
	case p.Pending() == 0, w.Moves >= movedFrom:
		w.StalledAt, w.Repairs = nil, 0
	case w.StalledAt == nil && at.Sub(w.MovedAt) >= after:
		w.StalledAt = &at
	}
	w.Progress = p
	return w
}

// Same reports whether the next look would find the same out of either watch: when nothing
// has had to move, it is of no matter when that was seen.
func (w DeliveryWatch) Same(v DeliveryWatch) bool {
	if w.Pending() == 0 && v.Pending() == 0 && w.MovedAt.IsZero() == v.MovedAt.IsZero() {
		v.MovedAt = w.MovedAt
	}
	same := func(a, b *time.Time) bool { return a == b || a != nil && b != nil && a.Equal(*b) }
	return w.Progress == v.Progress && w.Moves == v.Moves && w.MovedAt.Equal(v.MovedAt) && w.Repairs == v.Repairs &&
		same(w.StalledAt, v.StalledAt) && same(w.RepairedAt, v.RepairedAt)
}

// Due reports whether a delivery that stands still should be repaired now.
func (w DeliveryWatch) Due(at time.Time) bool {
	if w.StalledAt == nil || w.RepairedAt == nil {
		return w.StalledAt != nil
	}
	wait := repairEvery
	for range w.Repairs - 1 {
		wait = min(2*wait, repairAtMost)
	}
	return at.Sub(*w.RepairedAt) >= wait
}

// Repaired is the watch after a repair, which left the consumer at p.
func (w DeliveryWatch) Repaired(p Progress, at time.Time) DeliveryWatch {
	w.Progress, w.Moves, w.RepairedAt = p, 0, &at
	w.Repairs++
	return w
}
