package federation_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
)

var watched = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// look is one look at a delivery, ten seconds after the one before.
type look struct {
	floor, sent       uint64
	waiting, underWay int
	cut               bool // the line does not work
}

// after is the watch after some looks, with 30 s until a delivery stands still.
func after(looks ...look) (w federation.DeliveryWatch, at time.Time) {
	at = watched
	for _, l := range looks {
		at = at.Add(10 * time.Second)
		p := federation.Progress{Peer: "site-b", Consumer: "site-b", AckFloor: l.floor, Deliveries: l.sent, Waiting: l.waiting, UnderWay: l.underWay}
		w = w.Next(p, at, 30*time.Second, !l.cut)
	}
	return w, at
}

func TestADeliveryStandsStillWhereNothingIsAcknowledged(t *testing.T) {
	still := func(n int, l look) (ls []look) {
		for range n {
			ls = append(ls, l)
		}
		return ls
	}
	full := look{floor: 5, sent: 15, waiting: 20, underWay: 10}
	stalled := still(4, full)
	for name, c := range map[string]struct {
		looks   []look
		stalled bool
	}{
		"nothing to do":                              {still(9, look{floor: 5, sent: 5}), false},
		"20 s without an acknowledgement":            {still(3, full), false},
		"30 s":                                       {stalled, true},
		"nothing is even fetched":                    {still(4, look{waiting: 1}), true},
		"pending for 20 s, after nothing to do":      {append(still(9, look{floor: 5, sent: 5}), still(3, look{floor: 5, sent: 5, waiting: 1})...), false},
		"pending for 30 s, after nothing to do":      {append(still(9, look{floor: 5, sent: 5}), still(4, look{floor: 5, sent: 5, waiting: 1})...), true},
		"more comes and is sent, all unacknowledged": {[]look{{sent: 1, underWay: 1}, {sent: 2, underWay: 2}, {sent: 3, underWay: 3}, {sent: 4, underWay: 4}}, true},
		"one is stuck, the others pass":              {[]look{{sent: 9, waiting: 9, underWay: 9}, {sent: 12, waiting: 6, underWay: 9}, {sent: 15, waiting: 3, underWay: 9}, {sent: 18, underWay: 9}}, false},
		"the floor rises slowly":                     {[]look{{1, 9, 9, 8, false}, {1, 9, 9, 8, false}, {2, 10, 9, 8, false}, {2, 10, 9, 8, false}, {2, 10, 9, 8, false}}, false},
		"what waits leaves the stream":               {[]look{{floor: 1, sent: 1, waiting: 90}, {floor: 11, sent: 1, waiting: 80}, {floor: 21, sent: 1, waiting: 70}, {floor: 31, sent: 1, waiting: 60}}, true},
		"all was sent, and is acknowledged":          {[]look{{1, 9, 0, 8, false}, {2, 9, 0, 7, false}, {3, 9, 0, 6, false}, {4, 9, 0, 5, false}}, false},
		"a line that is cut explains it":             {still(9, look{waiting: 5, cut: true}), false},
		"time without a line does not count":         {append(still(9, look{waiting: 5, cut: true}), still(2, look{waiting: 5})...), false},
		"with the line back it must move":            {append(still(9, look{waiting: 5, cut: true}), still(3, look{waiting: 5})...), true},
		"a cut does not take it back":                {append(still(4, full), still(2, look{5, 15, 20, 10, true})...), true},
		"one move does not take it back":             {append(still(4, full), look{6, 16, 19, 10, false}), true},
		"nor two with a pause between":               {append(still(4, full), look{6, 16, 19, 10, false}, look{6, 16, 19, 10, false}, look{7, 17, 18, 10, false}), true},
		"two in a row do":                            {append(still(4, full), look{6, 16, 19, 10, false}, look{7, 17, 18, 10, false}), false},
		"nothing pending does":                       {append(still(4, full), look{35, 35, 0, 0, false}), false},
	} {
		t.Run(name, func(t *testing.T) {
			if w, _ := after(c.looks...); (w.StalledAt != nil) != c.stalled {
				t.Errorf("it stands still: %t, want %t; the watch is %+v", w.StalledAt != nil, c.stalled, w)
			}
		})
	}
}

func TestARepairHasItsTimeAndThenTwiceThat(t *testing.T) {
	w, at := after(look{waiting: 1}, look{waiting: 1}, look{waiting: 1})
	if w.Due(at) {
		t.Error("a repair is due before it stands still")
	}
	p := w.Progress
	w = w.Next(p, at.Add(10*time.Second), 30*time.Second, true)
	at = *w.StalledAt
	if !w.Due(at) {
		t.Fatal("no repair is due although it stands still")
	}
	for i, wait := range []time.Duration{2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		w = w.Repaired(p, at)
		if w.Repairs != i+1 || w.Due(at.Add(wait-time.Second)) || !w.Due(at.Add(wait)) {
			t.Errorf("after %d repairs the next is not due in %v", w.Repairs, wait)
		}
		at = at.Add(wait)
	}
	// It moved for a moment: the count begins anew, the time since the last repair does not.
	w = w.Repaired(p, at).Next(federation.Progress{Peer: "site-b", Consumer: "site-b"}, at, 30*time.Second, true)
	if w.StalledAt != nil || w.Repairs != 0 {
		t.Fatalf("with nothing pending the watch is %+v", w)
	}
	w.StalledAt = &at
	if w.Due(at.Add(2*time.Minute-time.Second)) || !w.Due(at.Add(2*time.Minute)) {
		t.Error("a delivery that stands still again is repaired at once, or not after two minutes")
	}
}

func TestTheExcessIsWhatIsOverTheBound(t *testing.T) {
	for _, c := range []struct {
		bound federation.BacklogBound
		want  federation.Excess
		none  bool
	}{
		{federation.BacklogBound{}, federation.Excess{}, true},
		{federation.BacklogBound{Messages: 10, Bytes: 100}, federation.Excess{}, true},
		{federation.BacklogBound{Messages: 7, Bytes: 100}, federation.Excess{Messages: 3}, false},
		{federation.BacklogBound{Messages: 10, Bytes: 99}, federation.Excess{Bytes: 1}, false},
	} {
		if got := c.bound.Excess(10, 100); got != c.want || got.None() != c.none {
			t.Errorf("over %+v it is %+v, want %+v", c.bound, got, c.want)
		}
	}
}

func TestWatchesThatAreTheSameLeadToTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := func(name string) int { return rapid.IntRange(0, 2).Draw(t, name) }
		progress := func() federation.Progress {
			return federation.Progress{AckFloor: uint64(small("floor")), Deliveries: uint64(small("deliveries")), Waiting: small("waiting"), UnderWay: small("under way")}
		}
		v := federation.DeliveryWatch{Progress: progress(), Moves: small("moves"), MovedAt: watched, Repairs: small("repairs")}
		if rapid.Bool().Draw(t, "stalled") {
			v.StalledAt = &watched
		}
		at := watched.Add(10 * time.Second)
		w := v.Next(progress(), at, time.Minute, rapid.Bool().Draw(t, "line"))
		if !w.Same(v) {
			return
		}
		p, line := progress(), rapid.Bool().Draw(t, "line then")
		at = at.Add(55 * time.Second)
		if a, b := v.Next(p, at, time.Minute, line), w.Next(p, at, time.Minute, line); !a.Same(b) {
			t.Errorf("%+v and %+v are the same, and lead to %+v and %+v", v, w, a, b)
		}
	})
}
