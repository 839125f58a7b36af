package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/bench"
)

type benchCmd struct {
	Names      []string `arg:"" optional:"" name:"name" help:"What to measure. An exact name means that workload; any other text means all whose names begin with it at a hyphen, such as detect or intake. Without a name: everything but those marked * above."`
	Without    []string `placeholder:"NAME,…" help:"What to leave out, named in the same way."`
	Rounds     int      `default:"5" placeholder:"N" help:"How often each side is measured, in turns, 1 to 100 (default ${default})."`
	Scale      float64  `default:"1" placeholder:"N" help:"The size of each workload, 0.001 to 100 (with --growth 0.01 to 10), where 1 is that of the documentation (default ${default})."`
	SyncAlways bool     `name:"sync-always" help:"Have the NATS servers of the two sites sync before they confirm, as the shipped files do: for ingest, intake, endtoend, query and backlog. In publish they always do."`
	Growth     bool     `help:"Measure each workload at a tenth of the scale, at it and at ten times of it, and print the exponents of what it costs."`
	JSON       bool     `name:"json" help:"Print the report as JSON instead of a table."`
	Profiles   string   `type:"path" placeholder:"DIR" help:"Write a CPU and an allocation profile of each workload to a directory, for go tool pprof."`
	Verbose    bool     `short:"v" help:"Log what the sites warn of."`
}

// Help is the long help.
func (*benchCmd) Help() string {
	var b strings.Builder
	b.WriteString(`Measures the mesh beside its limits: each workload and what stands beside it run
in turns, on two sites and a PostgreSQL of their own, which this makes from the
binaries of this machine. What counts is the ratio; a machine that is busy slows
both sides. A rate is the better the higher it is, a time the lower.

Workloads, each with its goal, of the ratio where nothing else is said: P99, CPU
and memory are the ratios of the 99th percentiles, of the processor time and of
the memory. Those marked * run only where they are named in full: not by what
they begin with, nor where nothing is named.
`)
	for _, w := range bench.Workloads() {
		name := w.Name
		if w.Marked() {
			name += " *"
		}
		for _, text := range []string{w.Does + ";", "beside " + w.Beside + ".", "Goal: " + w.Goal() + "."} {
			for _, line := range wrapped(text, helpWidth) {
				fmt.Fprintf(&b, "  %-18s %s\n", name, line)
				name = ""
			}
		}
	}
	b.WriteString(`
All of it at its whole size takes hours: detect-alarms alone is ten minutes in
each of five rounds. One round at a hundredth of the size, as in the first
example, takes about five minutes on two cores. Ctrl-C prints what was complete
by then.

Examples:
  auroramesh bench --rounds 1 --scale 0.01
  auroramesh bench
  auroramesh bench ingest query-64 --rounds 9
  auroramesh bench detect intake --rounds 3
  auroramesh bench --without detect,pull
  auroramesh bench --growth ingest queue --rounds 1 --scale 0.01
  auroramesh bench --scale 0.1 --json | jq '.results[] | {name, goals}'
  auroramesh bench intake-32 --sync-always
  auroramesh bench ingest --profiles /tmp/profiles
  go tool pprof -top /tmp/profiles/ingest.cpu`)
	return b.String()
}

// helpWidth is that of what the help says of a workload, beside its name.
const helpWidth = 57

// wrapped is the text in lines of at most so many characters, where its words allow it.
func wrapped(text string, width int) (lines []string) {
	for word := range strings.FieldsSeq(text) {
		last := len(lines) - 1
		if last >= 0 && utf8.RuneCountInString(lines[last]+" "+word) <= width {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// Run measures.
func (c *benchCmd) Run(ctx context.Context, io *stdio) error {
	log := slog.New(slog.DiscardHandler)
	if c.Verbose {
		log = slog.New(slog.NewTextHandler(io.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	o := bench.Options{
		Names: c.Names, Without: c.Without, Rounds: c.Rounds, Scale: c.Scale, SyncAlways: c.SyncAlways, Profiles: c.Profiles, Version: version, Log: log,
		Progress: func(line string) { fmt.Fprintln(io.err, line) },
	}
	if c.Growth {
		growth, err := bench.RunGrowth(ctx, o)
		return printed(io.out, c.JSON, growth, growth.Interrupted, writeGrowth, err)
	}
	report, err := bench.Run(ctx, o)
	return printed(io.out, c.JSON, report, report.Interrupted, writeBench, err)
}

// printed prints what was measured, to its end or until it was interrupted; err is that of the benchmark.
func printed[T any](w io.Writer, asJSON bool, v T, interrupted string, table func(io.Writer, T) error, err error) error {
	if err != nil && interrupted == "" {
		return err
	}
	if asJSON {
		table = func(w io.Writer, v T) error { return writeJSON(w, v) }
	}
	return cmp.Or(table(w, v), err)
}

// ended tells on a line of its own that a benchmark was interrupted, where it was, and
// whether anything was complete by then.
func ended(interrupted string, complete int) string {
	switch {
	case interrupted == "":
		return ""
	case complete == 0:
		return "INTERRUPTED " + interrupted + ": nothing was complete.\n"
	}
	return "INTERRUPTED " + interrupted + ": only what was complete is here.\n"
}

// figure is v for a cell, where it was measured.
func figure(v float64, format string) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

func writeGrowth(w io.Writer, g bench.Growth) error {
	t := newTable(w, "WORKLOAD", "SCALE", "VALUE", "P99", "CPU/ITEM", "MEMORY", "COST^", "CPU^", "MEMORY^")
	exponent := func(e *float64) string {
		if e == nil {
			return "-"
		}
		return fmt.Sprintf("%.2f", *e)
	}
	for _, x := range g.Grown {
		for i, p := range x.Points {
			cells := []string{x.Name, fmt.Sprintf("%g", p.Scale), bench.Format(p.Value, x.Unit), figure(p.P99, "%.1f ms"), figure(p.CPU, "%.0f µs"), figure(p.Memory, "%.0f MB"), "", "", ""}
			if i == len(x.Points)-1 {
				copy(cells[6:], []string{exponent(x.Cost), exponent(x.CPU), exponent(x.Memory)})
			}
			t.row(cells...)
		}
	}
	if err := t.write(w); err != nil {
		return err
	}
	for _, x := range g.Grown {
		for _, p := range x.Points {
			for _, name := range slices.Sorted(maps.Keys(p.More)) {
				if _, err := fmt.Fprintf(w, "%s at %g: %s\n", x.Name, p.Scale, bench.FormatMore(name, p.More[name])); err != nil {
					return err
				}
			}
		}
	}
	_, err := fmt.Fprintf(w, "\n%sThe exponents (^) are of what one alert or request takes, of its processor time, and of the memory; of a value that is no rate, of the value. 0 is what the size does not matter to, 1 what ten times the size makes ten times as dear.\nMedians of %s. %s.\n",
		ended(g.Interrupted, len(g.Grown)), bench.Counted(g.Rounds, "round"), g.Conditions.Text())
	return err
}

func writeBench(w io.Writer, r bench.Report) error {
	t := newTable(w, "WORKLOAD", "MESH", "P99", "CPU/ITEM", "MEMORY", "BESIDE", "P99", "CPU/ITEM", "MEMORY", "RATIO", "P99 RATIO", "GOAL")
	ratio := func(s bench.Spread) string {
		if s == (bench.Spread{}) {
			return "-"
		}
		return bench.FormatSpread(s, bench.NoUnit)
	}
	for _, x := range r.Results {
		side := func(s bench.Series) []string {
			return []string{bench.FormatSpread(s.Spread, x.Unit), figure(s.P99, "%.1f ms"), figure(s.CPU, "%.0f µs"), figure(s.Memory, "%.0f MB")}
		}
		beside := []string{"not run", "-", "-", "-"}
		if x.NotRun == "" {
			beside = side(x.Beside)
		}
		t.row(slices.Concat([]string{x.Name}, side(x.Own), beside, []string{ratio(x.Ratio), ratio(x.P99Ratio), x.Verdict()})...)
	}
	t.leaveOutEmpty()
	if err := t.write(w); err != nil {
		return err
	}
	for _, x := range r.Results {
		if x.NotRun != "" {
			if _, err := fmt.Fprintf(w, "%s: NOT RUN beside it: %s\n", x.Name, x.NotRun); err != nil {
				return err
			}
		}
		for _, side := range []struct {
			name   string
			series bench.Series
		}{{"", x.Own}, {", beside", x.Beside}} {
			var more map[string]float64
			if n := len(side.series.Samples); n > 0 {
				more = side.series.Samples[n-1].More
			}
			for _, name := range slices.Sorted(maps.Keys(more)) {
				if _, err := fmt.Fprintf(w, "%s%s: %s\n", x.Name, side.name, bench.FormatMore(name, more[name])); err != nil {
					return err
				}
			}
		}
	}
	synced := ""
	if r.SyncAlways {
		synced = ", servers that sync before they confirm"
	}
	spread := ""
	if r.Rounds > 1 {
		spread = ", in parentheses the least and the most"
	}
	meant := ""
	if r.Scale != 1 {
		meant = "; the goals are meant for scale 1"
	}
	if r.Scale < 0.1 {
		meant += ", and so small a run says that it works, not how fast it is"
	}
	_, err := fmt.Fprintf(w, "\n%sMedians of %s at scale %g%s%s%s. %s.\n", ended(r.Interrupted, len(r.Results)), bench.Counted(r.Rounds, "round"), r.Scale, synced, spread, meant, r.Conditions.Text())
	return err
}

// benchPartCmd is what a workload runs in a process of its own; nobody else has use for it.
type benchPartCmd struct {
	Kind string `arg:""`
	Of   string `arg:""`
}

// Run runs the part until its input ends.
func (c *benchPartCmd) Run(io *stdio) error { return bench.Part(c.Kind, c.Of, io.in, io.out) }
