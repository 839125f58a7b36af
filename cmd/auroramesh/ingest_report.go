package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/fault"
)

// maxRefusals is how many refusals are told one by one.
const maxRefusals = 20

// summary is what a run of ingest did.
type summary struct {
	Read           int            `json:"read"`
	New            int            `json:"new"`
	Duplicates     int            `json:"duplicates"`
	Skipped        map[string]int `json:"skipped"` // by kind
	Refused        int            `json:"refused"`
	Refusals       []refusal      `json:"refusals"` // the first of them
	UnreadableIOCs int            `json:"unreadable_iocs"`
	KeptLabels     int            `json:"kept_labels"` // duplicates that asked in vain for a stricter label
	Kept           []refusal      `json:"kept"`        // the first of them
	Seconds        float64        `json:"seconds"`
}

// refusal is one record that was not taken.
type refusal struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

func (s *summary) refuse(file string, line int, reason error) {
	s.Refused++
	if len(s.Refusals) < maxRefusals {
		s.Refusals = append(s.Refusals, refusal{file, line, reason.Error()})
	}
}

// keepLabel notes a duplicate whose first row has a freer label than it asks for.
func (s *summary) keepLabel(file string, line int, w fault.Field) {
	s.KeptLabels++
	if len(s.Kept) < maxRefusals {
		s.Kept = append(s.Kept, refusal{file, line, w.Name + " " + w.Value + " was not taken: the label is " + w.Allowed})
	}
}

// report writes the summary.
func (in *ingestion) report(io *stdio, asJSON bool, base string) error {
	s := in.summary
	s.Seconds = float64(time.Since(in.begun).Milliseconds()) / 1000
	if asJSON {
		if s.Refusals == nil {
			s.Refusals = []refusal{}
		}
		if s.Kept == nil {
			s.Kept = []refusal{}
		}
		return writeJSON(io.out, s)
	}
	skipped := 0
	for _, n := range s.Skipped {
		skipped += n
	}
	rate := ""
	if s.Seconds > 0 {
		rate = fmt.Sprintf(", %.0f a second", float64(s.Read)/s.Seconds)
	}
	fmt.Fprintf(io.out, "%d records read in %.1f s%s; to %s\n", s.Read, s.Seconds, rate, base)
	fmt.Fprintf(io.out, "  new         %d\n  duplicates  %d\n  skipped     %d\n", s.New, s.Duplicates, skipped)
	for _, kind := range slices.Sorted(maps.Keys(s.Skipped)) {
		fmt.Fprintf(io.out, "    %s: %d\n", plain(kind), s.Skipped[kind])
	}
	fmt.Fprintf(io.out, "  refused     %d\n", s.Refused)
	for _, r := range s.Refusals {
		fmt.Fprintf(io.out, "    %s, line %d: %s\n", plain(r.File), r.Line, short(r.Reason, 300))
	}
	if more := s.Refused - len(s.Refusals); more > 0 {
		fmt.Fprintf(io.out, "    and %d more\n", more)
	}
	if s.KeptLabels > 0 {
		fmt.Fprintf(io.out, "%d duplicates asked for a stricter label than they keep\n", s.KeptLabels)
	}
	for _, r := range s.Kept {
		fmt.Fprintf(io.out, "    %s, line %d: %s\n", plain(r.File), r.Line, short(r.Reason, 300))
	}
	if s.UnreadableIOCs > 0 {
		fmt.Fprintf(io.out, "%d IOCs could not be read and were left out\n", s.UnreadableIOCs)
	}
	return nil
}

// outage tells once that the site is away, and once that it is back, however
// many requests wait for it.
type outage struct {
	printf func(string, ...any)
	mu     sync.Mutex
	since  time.Time // zero: it is there
}

// persistent is the attempt from which a failure is worth a word.
const persistent = 3

func newOutage(printf func(string, ...any)) *outage { return &outage{printf: printf} }

// retry notes a failed attempt.
func (o *outage) retry(r apiclient.Retry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.Attempt < persistent || !o.since.IsZero() {
		return
	}
	o.since = time.Now()
	o.printf("auroramesh: %s; waiting for it", plain(r.Err.Error()))
}

// over notes an answer.
func (o *outage) over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return
	}
	o.printf("auroramesh: the site answers again, after %s", time.Since(o.since).Round(time.Second))
	o.since = time.Time{}
}
