package federation

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Held is one version of an alert as two sites compare it: the id and the moment
// that its origin gave it, which are the same at every site.
type Held struct {
	ID       string    `json:"id"`
	Version  int       `json:"version"`
	RaisedAt time.Time `json:"raised_at"`
	// Refused says that the site that holds it has refused it for good: it is not to
	// be sent again.
	Refused bool `json:"-"`
	// Withheld says that its origin takes it back, or has it where it is held: whoever
	// never had it is not to hear of it, so it is in no digest.
	Withheld bool `json:"-"`
}

// Mark is a place in the order in which alerts are compared: by when they were
// raised, and within one moment by id. The zero id comes before every other.
type Mark struct {
	At time.Time `json:"at"`
	ID string    `json:"id,omitempty"`
}

// Compare orders marks.
func (m Mark) Compare(o Mark) int {
	return cmp.Or(m.At.Compare(o.At), strings.Compare(m.ID, o.ID))
}

// Mark is the place of a held alert.
func (h Held) Mark() Mark { return Mark{At: h.RaisedAt, ID: h.ID} }

// Held is a local alert as it is compared.
func (a Alert) Held() Held {
	return Held{ID: a.ID, Version: a.Version, RaisedAt: a.CreatedAt, Withheld: a.Withheld()}
}

// Span is the alerts behind a place and before a time.
type Span struct {
	After Mark      `json:"after"`
	Until time.Time `json:"until"`
}

// Digest sums up the alerts of one hour. Two that differ mean that the alerts do;
// two that are the same, that they are, but for one case in 2^64.
type Digest struct {
	Count int `json:"count"`
	// XOR is over the first eight bytes of SHA-256(id "/" version), so the order in
	// which alerts are added does not matter.
	XOR uint64 `json:"xor"`
}

// Digests are digests by hour, in hours since 1970. An hour without alerts has none.
type Digests map[int64]Digest

// HourOf is the hour in which a moment falls.
func HourOf(t time.Time) int64 { return t.Truncate(time.Hour).Unix() / 3600 }

// HourSpan is all of an hour that is not before from and not after until.
func HourSpan(hour int64, from, until time.Time) Span {
	begin := time.Unix(hour*3600, 0).UTC()
	end := begin.Add(time.Hour)
	if begin.Before(from) {
		begin = from
	}
	if end.After(until) {
		end = until
	}
	return Span{After: Mark{At: begin}, Until: end}
}

// Add takes one alert into the digest of its hour, unless it is withheld.
func (d Digests) Add(h Held) {
	if h.Withheld {
		return
	}
	hour := HourOf(h.RaisedAt)
	sum := sha256.Sum256([]byte(h.ID + "/" + strconv.Itoa(h.Version)))
	was := d[hour]
	d[hour] = Digest{Count: was.Count + 1, XOR: was.XOR ^ binary.BigEndian.Uint64(sum[:8])}
}

// Differ lists the hours in which two sites differ, the oldest first.
func (d Digests) Differ(other Digests) []int64 {
	differ := map[int64]bool{}
	for hour, digest := range d {
		if other[hour] != digest {
			differ[hour] = true
		}
	}
	for hour := range other {
		if _, both := d[hour]; !both {
			differ[hour] = true
		}
	}
	return slices.Sorted(maps.Keys(differ))
}

// HeldPage is part of what a site holds of a span, in order. It leaves nothing out
// up to Upto; a nil Upto stands for the end of the span.
type HeldPage struct {
	Held []Held `json:"held"`
	Upto *Mark  `json:"upto,omitempty"`
}

// Difference is what one page has and another has not, up to the place to which
// both are whole.
type Difference struct {
	// Missing is what should be there and is not, or only in an older version.
	Missing []Held
	// Extra counts what is there and should not be.
	Extra int
	Upto  *Mark // nil: to the end of the span
}

// Compare says what is missing in has of what should be there. Of an alert that
// stands in has more than once the newest version counts.
func Compare(should, has HeldPage) Difference {
	d := Difference{Upto: should.Upto}
	if d.Upto == nil || has.Upto != nil && has.Upto.Compare(*d.Upto) < 0 {
		d.Upto = has.Upto
	}
	within := func(h Held) bool { return d.Upto == nil || h.Mark().Compare(*d.Upto) <= 0 }
	there := map[string]int{}
	for _, h := range has.Held {
		if within(h) {
			there[h.ID] = max(there[h.ID], h.Version)
		}
	}
	for _, h := range should.Held {
		if !within(h) {
			continue
		}
		if version, held := there[h.ID]; version < h.Version && (held || !h.Withheld) {
			d.Missing = append(d.Missing, h)
		}
		delete(there, h.ID)
	}
	d.Extra = len(there)
	return d
}
