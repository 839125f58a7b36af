//go:build linux

package faults_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/linkproxy"
)

// kind is a fault as the schedule sees it.
type kind struct {
	name        string
	part        string   // of a site, which no other fault touches meanwhile
	sites       []string // where it can be
	least, most time.Duration
}

// planned is one fault of a schedule.
type planned struct {
	kind, part, site string
	at, lasts        time.Duration
	draw             uint64 // for what the fault itself leaves to chance
}

func (p planned) String() string {
	return fmt.Sprintf("%6.1f s to %6.1f s  %-18s %s", p.at.Seconds(), (p.at + p.lasts).Seconds(), p.kind, p.site)
}

// disturbs reports whether two faults are of one part of one site at one time, or follow each other too closely.
func (p planned) disturbs(q planned) bool {
	const rest = 3 * time.Second
	return p.site == q.site && p.part == q.part && p.at < q.at+q.lasts+rest && q.at < p.at+p.lasts+rest
}

// schedule draws count faults within length: each kind at least once, in an order
// that the seed alone decides, never two of one part at a time.
func schedule(seed uint64, kinds []kind, count int, length time.Duration) ([]planned, error) {
	r := rand.New(rand.NewPCG(seed, 2))
	var order []kind
	for len(order) < count || len(order) < len(kinds) {
		round := slices.Clone(kinds)
		r.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		order = append(order, round...)
	}
	order = order[:max(count, len(kinds))]
	// The long ones first: they would find no room later.
	slices.SortStableFunc(order, func(a, b kind) int { return cmp.Compare(b.most, a.most) })
	var all []planned
	for _, k := range order {
		p, ok := place(r, k, all, length)
		if !ok {
			return nil, fmt.Errorf("no room for %s beside %d faults in %v", k.name, len(all), length)
		}
		all = append(all, p)
	}
	slices.SortStableFunc(all, func(a, b planned) int { return cmp.Compare(a.at, b.at) })
	return all, nil
}

// place finds a time and a site for one more fault.
func place(r *rand.Rand, k kind, beside []planned, length time.Duration) (planned, bool) {
	for range 500 {
		p := planned{kind: k.name, part: k.part, site: k.sites[r.IntN(len(k.sites))], draw: r.Uint64()}
		p.lasts = k.least + time.Duration(r.Int64N(int64(k.most-k.least)+1))
		if p.lasts >= length {
			return planned{}, false
		}
		p.at = time.Duration(r.Int64N(int64(length - p.lasts)))
		if !slices.ContainsFunc(beside, p.disturbs) {
			return p, true
		}
	}
	return planned{}, false
}

func TestAScheduleIsDecidedByItsSeed(t *testing.T) {
	kinds := kindsOf(catalogue, []*node{
		{id: "site-a", ballast: "file", database: &program{}},
		{id: "site-b", ballast: "file", line: &linkproxy.Proxy{}},
		{id: "site-c", ballast: "file", line: &linkproxy.Proxy{}},
	})
	if len(kinds) != len(catalogue) {
		t.Fatalf("%d of %d faults are possible", len(kinds), len(catalogue))
	}
	const length, count = 5 * time.Minute, 30
	var before []planned
	for seed := range uint64(300) {
		all, err := schedule(seed, kinds, count, length)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		again, err := schedule(seed, kinds, count, length)
		if err != nil || !slices.Equal(all, again) {
			t.Fatalf("seed %d has two schedules: %v and %v", seed, all, again)
		}
		if slices.Equal(all, before) {
			t.Errorf("seed %d has the schedule of the seed before", seed)
		}
		before = all
		if len(all) != count {
			t.Errorf("seed %d has %d faults, want %d", seed, len(all), count)
		}
		for _, k := range kinds {
			if !slices.ContainsFunc(all, func(p planned) bool { return p.kind == k.name }) {
				t.Errorf("seed %d has no %s", seed, k.name)
			}
		}
		for i, p := range all {
			if p.at < 0 || p.at+p.lasts > length {
				t.Errorf("seed %d: %v is not within %v", seed, p, length)
			}
			if j := slices.IndexFunc(all[i+1:], p.disturbs); j >= 0 {
				t.Errorf("seed %d: %v and %v are at one time", seed, p, all[i+1+j])
			}
		}
	}
}

func TestAScheduleThatIsTooFullIsRefused(t *testing.T) {
	k := kind{name: "cut", part: "line", sites: []string{"site-b"}, least: 10 * time.Second, most: 10 * time.Second}
	if all, err := schedule(1, []kind{k}, 5, 30*time.Second); err == nil {
		t.Errorf("it has room for %v", all)
	}
	if all, err := schedule(1, []kind{k}, 1, 5*time.Second); err == nil {
		t.Errorf("it has room for %v", all)
	}
}
