// Package bench measures how fast the mesh is, and says what that is worth: it runs
// each workload beside its limit or its peer, such as the same rows copied into the
// same tables by nothing else, in the same run and in turns, so that a machine that is
// slow or busy slows both. What counts is the ratio of the two. Everything stands on a
// bed of its own, two whole sites of the demo on a PostgreSQL of this machine, and
// goes with it. The command `auroramesh bench` runs it.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// small is the scale below which nothing is waited for that takes minutes.
const small = 0.1

// Bounds of a benchmark.
const (
	MinScale  = 0.001
	MaxScale  = 100
	MaxRounds = 100
)

// Options say what is measured, and how.
type Options struct {
	Names   []string // of the workloads; none: all
	Without []string // of those that are left out
	Rounds  int      // how often each is run beside its limit
	Scale   float64  // of the size of the workloads, where 1 is that of the documentation
	// SyncAlways has the NATS servers of the two sites on the bed sync before they confirm, as those of the shipped files do.
	SyncAlways bool
	Profiles   string // a directory for a CPU and an allocation profile of each; empty: none
	Version    string
	Log        *slog.Logger
	Progress   func(string) // is told of each round
}

// Workload is something that the mesh does, and what it is measured beside.
type Workload struct {
	Name   string
	Does   string // what is measured
	Beside string // what stands beside it
	Unit   string // of the value: a rate, of which more is better, or a time or share, of which less is
	Goals  []Goal // each of which it should reach
	NoGoal string // why there is none, in parentheses; may be empty
	fixed  bool   // nothing of it grows with the scale
	asked  bool   // it is run only where it is named in full: not every machine has what it takes
	// prepare makes the two sides ready on the bed. What it leaves to be undone the bed undoes.
	prepare func(context.Context, *bed) (pair, error)
}

// pair is the two sides of a workload: one call is one round.
type pair struct {
	own, beside func(context.Context) (Sample, error)
	missing     missing      // why nothing stands beside; empty where something does
	end         func() error // undoes what was prepared; may be nil
}

// Sample is what one round of one side gave.
type Sample struct {
	Value float64 `json:"value"`            // in the unit of the workload
	P99   float64 `json:"p99_ms,omitempty"` // of what each request took; 0 where there are none
	// CPU is the processor time of one alert or request, here and in PostgreSQL, in
	// microseconds: of the client and of both sites, with all that they do besides.
	CPU float64 `json:"cpu_us,omitempty"`
	// Memory is the most that this process held meanwhile, or where the workload says so another, in megabytes.
	Memory float64 `json:"memory_mb,omitempty"`
	// More are figures that go with the value, each by its name with the unit in parentheses: see [FormatMore].
	More map[string]float64 `json:"more,omitempty"`

	items int // how many alerts or requests there were
}

// Workloads are those that exist, in the order in which they run.
func Workloads() []Workload {
	all := []Workload{ingest, ingestProcessor, ingestRelayed}
	all = append(all, intakes...)
	all = append(all, publish)
	all = append(all, endToEnds...)
	all = append(all, queries...)
	all = append(all, backlogs...)
	all = append(all, queues...)
	all = append(all, pulls...)
	all = append(all, gossip, start, idle, idleOutside)
	return append(all, detections...)
}

// Marked reports whether the workload is run only where it is named in full.
func (w Workload) Marked() bool { return w.asked }

// chosen are the workloads that the options name and do not leave out, each by itself or by
// what several begin with.
func (o Options) chosen() []Workload {
	return slices.DeleteFunc(Workloads(), func(w Workload) bool {
		if slices.ContainsFunc(o.Without, func(n string) bool { return named(n, w.Name) }) {
			return true
		}
		if len(o.Names) == 0 {
			return w.asked
		}
		return !slices.ContainsFunc(o.Names, func(n string) bool { return n == w.Name || !w.asked && named(n, w.Name) })
	})
}

// named reports whether a name means the workload: the one that is called so, and where none
// is all that begin with it at a hyphen, as intake-1, intake-32 and intake-128 do with "intake".
func named(name, workload string) bool {
	return name == workload || strings.HasPrefix(workload, name+"-") && !slices.ContainsFunc(Workloads(), func(w Workload) bool { return w.Name == name })
}

// choice is what can be named, for people.
func choice(of []Workload) string {
	names, groups := nameable(of)
	return strings.Join(names, ", ") + ", or for several at once: " + strings.Join(groups, ", ")
}

// nameable is the names of workloads, and the first parts that mean several of them.
func nameable(of []Workload) (names, groups []string) {
	for _, w := range of {
		names = append(names, w.Name)
		if group, _, _ := strings.Cut(w.Name, "-"); named(group, w.Name) && group != w.Name && !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	return names, groups
}

// Validate refuses options with which nothing can be measured, and names each that is wrong.
func (o Options) Validate() error {
	var wrong fault.Fields
	all := Workloads()
	names := func(field string, given []string) {
		for _, n := range given {
			switch {
			case slices.ContainsFunc(all, func(w Workload) bool { return named(n, w.Name) }):
			case n == "": // which a field does not show
				wrong.Add(field, "", `"" is not allowed: there are `+choice(all))
			default:
				wrong.Add(field, n, suggestion(n, all)+choice(all))
			}
		}
	}
	names("name", o.Names)
	names("without", o.Without)
	if len(o.chosen()) == 0 && wrong.Err("") == nil {
		wrong.Add("without", strings.Join(o.Without, ","), "something that leaves a workload to be measured")
	}
	if o.Rounds < 1 || o.Rounds > MaxRounds {
		wrong.Add("rounds", strconv.Itoa(o.Rounds), "a whole number from 1 to "+strconv.Itoa(MaxRounds))
	}
	if !(o.Scale >= MinScale && o.Scale <= MaxScale) {
		wrong.Add("scale", strconv.FormatFloat(o.Scale, 'g', -1, 64), fmt.Sprintf("a number from %g to %d", MinScale, MaxScale))
	}
	return wrong.Err("the benchmark cannot start")
}

// Run measures the chosen workloads one after the other. What it started has stopped
// when it returns, and its data is gone. Where ctx ends first the report has the rounds that
// were complete, and says that it was interrupted.
func Run(ctx context.Context, o Options) (report Report, err error) {
	if err := o.Validate(); err != nil {
		return Report{}, err
	}
	report = Report{Conditions: conditions(o.Version), Rounds: o.Rounds, Scale: o.Scale, SyncAlways: o.SyncAlways, Results: []Result{}}
	b := &bed{Options: o}
	defer func() { err = errors.Join(err, b.close(context.WithoutCancel(ctx))) }()
	for _, w := range o.chosen() {
		r, err := b.measure(ctx, w)
		rounds := len(r.Own.Samples)
		if err == nil || ctx.Err() != nil && rounds > 0 {
			report.Results = append(report.Results, r)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			report.Interrupted = fmt.Sprintf("in %s after %d of %s", w.Name, rounds, Counted(o.Rounds, "round"))
			return report, ctx.Err()
		default:
			return report, fmt.Errorf("measuring %s: %w", w.Name, err)
		}
	}
	return report, nil
}

// measure runs the rounds of one workload, the two sides in turns: each begins every
// other round, so that neither always finds what the other has left behind. With an error
// comes what the rounds gave that were complete.
func (b *bed) measure(ctx context.Context, w Workload) (result Result, err error) {
	b.Progress(fmt.Sprintf("%s: preparing ...", w.Name))
	p, err := w.prepare(ctx, b)
	if p.end != nil {
		defer func() { err = errors.Join(err, p.end()) }()
	}
	if err != nil {
		return Result{}, err
	}
	result = Result{Name: w.Name, Does: w.Does, BesideDoes: w.Beside, Unit: w.Unit, Goal: w.Goal(), Goals: slices.Clone(w.Goals), NotRun: string(p.missing)}
	own := func() error {
		s, err := b.profiled(w.Name, func() (Sample, error) { return b.weighed(ctx, p.own) })
		result.Own.add(s)
		return cmp.Or(err, ctx.Err())
	}
	beside := func() error {
		if p.missing != "" {
			return nil
		}
		s, err := b.weighed(ctx, p.beside)
		result.Beside.add(s)
		return cmp.Or(err, ctx.Err())
	}
	settled := func(turn func() error) error {
		if err := b.settle(ctx); err != nil {
			return err
		}
		return turn()
	}
	for round := range b.Rounds {
		turns := []func() error{own, beside}
		if round%2 == 1 {
			slices.Reverse(turns)
		}
		for _, turn := range turns {
			if err := settled(turn); err != nil {
				result.keep(round)
				return result, err
			}
		}
		stands := "" // or, at the end, why not
		if p.missing == "" {
			stands = ", beside " + Format(result.Beside.Samples[round].Value, w.Unit)
		}
		b.Progress(fmt.Sprintf("%s: round %d of %d: %s%s", w.Name, round+1, b.Rounds, Format(result.Own.Samples[round].Value, w.Unit), stands))
	}
	result.compare()
	return result, nil
}

// weighed runs one round, and says what it took of the machine, where the round itself,
// which may have prepared something first, has not.
func (b *bed) weighed(ctx context.Context, round func(context.Context) (Sample, error)) (Sample, error) {
	forgetPeak("self")
	before := b.spent()
	s, err := round(ctx)
	if s.CPU == 0 && s.items > 0 {
		s.CPU = per(s.items, b.spent()-before)
	}
	if s.Memory == 0 {
		s.Memory = peak("self")
	}
	return s, err
}

// size is n at the scale of the benchmark, and at least 1.
func (b *bed) size(n int) int { return max(int(float64(n)*b.Scale), 1) }
