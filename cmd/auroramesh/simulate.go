package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/scenario"
)

type simulateCmd struct {
	siteFlags
	Scenario    string  `default:"c2-beacon" placeholder:"NAME" help:"The attack to simulate; see --list (default ${default})."`
	Seed        *uint64 `placeholder:"N" help:"Tells the same story again, which the site then knows. Without it each run is a new one."`
	Rate        float64 `default:"0" placeholder:"N" help:"Alerts per second; 0 is as fast as the site takes them (default ${default})."`
	Count       int     `default:"0" placeholder:"N" help:"How many alerts to raise; 0 is the story once (default ${default})."`
	Concurrency int     `default:"1" placeholder:"N" help:"How many alerts to raise at a time, 1 to 64 (default ${default})."`
	List        bool    `help:"List the scenarios and stop."`
}

// Help is the long help.
func (*simulateCmd) Help() string {
	return `Raises the alerts of an attack, with documentation addresses and random hashes.

Examples:
  auroramesh simulate --list
  auroramesh simulate --api-base http://localhost:8002 --scenario c2-beacon
  auroramesh simulate --scenario ransomware --seed 7
  auroramesh simulate --scenario brute-force --count 10000 --rate 200 --concurrency 8`
}

func (c *simulateCmd) validate() error {
	var wrong fault.Fields
	if c.Rate < 0 || c.Rate > 1e6 || c.Rate != c.Rate {
		wrong.Add("rate", strconv.FormatFloat(c.Rate, 'g', -1, 64), "a number from 0 to 1000000")
	}
	if c.Count < 0 {
		wrong.Add("count", strconv.Itoa(c.Count), "a whole number from 0")
	}
	checkConcurrency(&wrong, c.Concurrency)
	return wrong.Err("the flags are not valid")
}

func checkConcurrency(wrong *fault.Fields, n int) {
	if n < 1 || n > 64 {
		wrong.Add("concurrency", strconv.Itoa(n), "a whole number from 1 to 64")
	}
}

// raised is what became of one alert.
type raised struct {
	alert    federation.Alert
	created  bool
	warnings []fault.Field
	err      error
}

// Run raises the alerts.
func (c *simulateCmd) Run(ctx context.Context, io *stdio) error {
	if c.List {
		return listScenarios(io.out)
	}
	if err := c.validate(); err != nil {
		return err
	}
	seed := rand.Uint64()
	if c.Seed != nil {
		seed = *c.Seed
	}
	story, err := scenario.New(c.Scenario, seed)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	count := c.Count
	if count == 0 {
		count = story.Len()
	}

	widths := []int{8, 9, 36, 0}
	colour := wantsColour(io.out)
	begun := time.Now()
	var fresh, known int
	err = inOrder(ctx, c.Concurrency, pace(ctx, count, c.Rate), func(ctx context.Context, i int) raised {
		n := story.Alert(i)
		now := time.Now()
		n.ObservedAt = &now
		var r raised
		r.alert, r.created, r.warnings, r.err = client.Raise(ctx, n)
		return r
	}, func(r raised) error {
		if r.err != nil {
			return r.err
		}
		if fresh+known == 0 {
			fmt.Fprint(io.out, line([]string{"SEVERITY", "RESULT", "ID", "TITLE"}, widths, colour))
		}
		result := "new"
		if r.created {
			fresh++
		} else {
			result = "duplicate"
			known++
		}
		_, err := fmt.Fprint(io.out, line([]string{plain(string(r.alert.Severity)), result, plain(r.alert.ID), plain(r.alert.Title)}, widths, colour))
		return err
	})
	if fresh+known > 0 {
		fmt.Fprintf(io.out, "\n%s with seed %d at %s: %d new, %d duplicates in %s\n",
			story.Name, seed, client.Base(), fresh, known, time.Since(begun).Round(time.Millisecond))
	}
	return err
}

func listScenarios(w io.Writer) error {
	t := newTable(w, "SCENARIO", "ALERTS", "STORY")
	for _, s := range scenario.All() {
		var severities []string
		for _, sev := range s.Severities() {
			severities = append(severities, string(sev))
		}
		t.row(s.Name, strconv.Itoa(s.Len())+" ("+strings.Join(severities, ", ")+")", s.Summary)
	}
	return t.write(w)
}

// pace yields 0 to count-1, rate of them a second; with rate 0 without a pause.
func pace(ctx context.Context, count int, rate float64) iter.Seq[int] {
	return func(yield func(int) bool) {
		begun := time.Now()
		for i := range count {
			if rate > 0 {
				due := begun.Add(time.Duration(float64(i) / rate * float64(time.Second)))
				timer := time.NewTimer(time.Until(due))
				select {
				case <-ctx.Done():
					timer.Stop()
					return
				case <-timer.C:
				}
			}
			if !yield(i) {
				return
			}
		}
	}
}
