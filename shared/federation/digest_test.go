package federation_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// someHeld draws alerts of a few hours, some of them at one moment, in order.
func someHeld(t *rapid.T, what string) []federation.Held {
	all := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) federation.Held {
		return federation.Held{
			ID: rapid.StringMatching(`[a-c]{1,4}`).Draw(t, "id"), Version: rapid.IntRange(1, 3).Draw(t, "version"),
		}
	}), 0, 40, func(h federation.Held) string { return h.ID }).Draw(t, what)
	for i, h := range all { // an alert has one moment, wherever it is
		all[i].RaisedAt = noon.Add(time.Duration(len(h.ID)*int(h.ID[0]%7)) * 20 * time.Minute)
	}
	slices.SortFunc(all, func(a, b federation.Held) int { return a.Mark().Compare(b.Mark()) })
	return all
}

func digestsOf(all []federation.Held) federation.Digests {
	d := federation.Digests{}
	for _, h := range all {
		d.Add(h)
	}
	return d
}

func TestDigestsDifferInTheHoursInWhichAlertsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := someHeld(t, "a"), someHeld(t, "b")
		key := func(h federation.Held) federation.Held { return federation.Held{ID: h.ID, Version: h.Version} }
		byHour := func(all []federation.Held) map[int64][]federation.Held {
			hours := map[int64][]federation.Held{}
			for _, h := range all {
				hours[federation.HourOf(h.RaisedAt)] = append(hours[federation.HourOf(h.RaisedAt)], key(h))
			}
			return hours
		}
		var want []int64
		for hour := federation.HourOf(noon); hour < federation.HourOf(noon)+100; hour++ {
			if !slices.Equal(byHour(a)[hour], byHour(b)[hour]) {
				want = append(want, hour)
			}
		}
		if diff := cmp.Diff(want, digestsOf(a).Differ(digestsOf(b))); diff != "" {
			t.Fatal(diff)
		}
		turned := slices.Clone(a)
		slices.Reverse(turned)
		if got := digestsOf(a).Differ(digestsOf(turned)); got != nil {
			t.Fatalf("the order matters in %v", got)
		}
	})
}

// pageOf is up to n alerts behind a mark.
func pageOf(all []federation.Held, after federation.Mark, n int) federation.HeldPage {
	var p federation.HeldPage
	for _, h := range all {
		if h.Mark().Compare(after) > 0 {
			if len(p.Held) == n {
				upto := p.Held[n-1].Mark()
				p.Upto = &upto
				return p
			}
			p.Held = append(p.Held, h)
		}
	}
	return p
}

func TestPagesOfAnySizeFindWhatTheWholeDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		should, has := someHeld(t, "should"), someHeld(t, "has")
		n, m := rapid.IntRange(1, 9).Draw(t, "page of should"), rapid.IntRange(1, 9).Draw(t, "page of has")
		there := map[string]int{}
		for _, h := range has {
			there[h.ID] = h.Version
		}
		var missing []federation.Held
		extra := len(has)
		for _, h := range should {
			v, found := there[h.ID]
			if v < h.Version {
				missing = append(missing, h)
			}
			if found {
				extra--
			}
		}
		var got federation.Difference
		after, turns := federation.Mark{}, 0
		for {
			d := federation.Compare(pageOf(should, after, n), pageOf(has, after, m))
			got.Missing, got.Extra = append(got.Missing, d.Missing...), got.Extra+d.Extra
			if d.Upto == nil {
				break
			}
			if after = *d.Upto; turns > 100 {
				t.Fatal("it does not come to an end")
			}
			turns++
		}
		if diff := cmp.Diff(missing, got.Missing); diff != "" || got.Extra != extra {
			t.Fatalf("%d extra, want %d\n%s", got.Extra, extra, diff)
		}
	})
}

func TestOfDoublesTheNewestCounts(t *testing.T) {
	at := func(v int) federation.Held { return federation.Held{ID: "a", Version: v, RaisedAt: noon} }
	d := federation.Compare(federation.HeldPage{Held: []federation.Held{at(2)}}, federation.HeldPage{Held: []federation.Held{at(2), at(1)}})
	if len(d.Missing) != 0 || d.Extra != 0 {
		t.Errorf("got %+v", d)
	}
}

func TestASpanIsTheHourWithinTheWindow(t *testing.T) {
	hour := federation.HourOf(noon)
	for name, c := range map[string]struct{ from, until, begin, end time.Time }{
		"inside":     {noon.Add(-time.Hour), noon.Add(2 * time.Hour), noon, noon.Add(time.Hour)},
		"the first":  {noon.Add(time.Minute), noon.Add(2 * time.Hour), noon.Add(time.Minute), noon.Add(time.Hour)},
		"the last":   {noon.Add(-time.Hour), noon.Add(time.Minute), noon, noon.Add(time.Minute)},
		"both edges": {noon.Add(time.Minute), noon.Add(2 * time.Minute), noon.Add(time.Minute), noon.Add(2 * time.Minute)},
	} {
		got := federation.HourSpan(hour, c.from, c.until)
		if !got.After.At.Equal(c.begin) || got.After.ID != "" || !got.Until.Equal(c.end) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestAVersionIsSentAgainEverMoreSeldom(t *testing.T) {
	want := []time.Duration{30 * time.Second, 2 * time.Minute, 8 * time.Minute, 32 * time.Minute, 128 * time.Minute, 512 * time.Minute, 24 * time.Hour, 24 * time.Hour}
	for i, w := range want {
		if got := federation.ResendAfter(i + 1); got != w {
			t.Errorf("after %d times: %v, want %v", i+1, got, w)
		}
	}
	if got := federation.ResendAfter(1_000_000); got != 24*time.Hour {
		t.Errorf("in the end: %v", got)
	}
}

func TestAResentAlertIsNoDoubleOfTheFirst(t *testing.T) {
	ids := []string{
		federation.SharedMsgID("site-a", "1", 2), federation.ResentMsgID("site-a", "1", 2, "site-b", noon),
		federation.ResentMsgID("site-a", "1", 2, "site-c", noon), federation.ResentMsgID("site-a", "1", 2, "site-b", noon.Add(time.Second)),
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 4 {
		t.Errorf("two are the same: %v", ids)
	}
}

func TestAReconciliationThatCannotBeIsRefused(t *testing.T) {
	good := federation.Reconciliation{At: noon, From: noon, Until: noon, Compared: 3, Lost: 1}
	for name, c := range map[string]struct {
		change func(*federation.Reconciliation)
		wrong  []string
	}{
		"a good one":       {func(*federation.Reconciliation) {}, nil},
		"below nothing":    {func(r *federation.Reconciliation) { r.Lost, r.Extra = -1, -1 }, []string{"lost", "extra"}},
		"more than can be": {func(r *federation.Reconciliation) { r.Compared = federation.MaxVersion + 1 }, []string{"compared"}},
		"no time":          {func(r *federation.Reconciliation) { r.At, r.Until = time.Time{}, lateInZone }, []string{"at", "until"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			c.change(&r)
			expectFields(t, r.Validate(), c.wrong...)
		})
	}
}
