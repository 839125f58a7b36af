package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/sensor"
)

func TestResultsComeInTheOrderOfTheItems(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		items := rapid.SliceOfN(rapid.Int(), 0, 50).Draw(t, "items")
		var now, most atomic.Int32
		var got []int
		err := inOrder(context.Background(), n, slices.Values(items), func(_ context.Context, i int) int {
			running := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); running > m && !most.CompareAndSwap(m, running); m = most.Load() {
			}
			return i
		}, func(i int) error { got = append(got, i); return nil })
		if err != nil || !slices.Equal(items, got) || int(most.Load()) > n {
			t.Fatalf("got %v of %v with %d at a time, %v", got, items, most.Load(), err)
		}
	})
}

func TestTheFirstErrorEndsThePipelineAndSoDoesItsContext(t *testing.T) {
	forever := func(yield func(int) bool) {
		for i := 0; yield(i); i++ {
		}
	}
	stop := errors.New("stop")
	same := func(_ context.Context, i int) int { return i }
	if err := inOrder(t.Context(), 4, forever, same, func(i int) error {
		if i == 100 {
			return stop
		}
		return nil
	}); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := inOrder(ctx, 4, forever, same, func(i int) error {
		if i == 100 {
			cancel()
		}
		return nil
	}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// queue takes alerts as a site does: once each. It tells of every new one.
type queue struct {
	mu    sync.Mutex
	seen  map[string]bool
	fresh chan string
}

func newQueue() *queue { return &queue{seen: map[string]bool{}, fresh: make(chan string, 1000)} }

func (q *queue) raise(ctx context.Context, n federation.NewAlert) raised {
	if ctx.Err() != nil {
		return raised{err: ctx.Err()}
	}
	if n.Title == "bad" {
		return raised{err: fault.New(fault.Invalid, "no")}
	}
	if n.Title == "stop" {
		return raised{err: fault.New(fault.NotFound, "no such path")}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	created := !q.seen[n.Title]
	q.seen[n.Title] = true
	if created {
		q.fresh <- n.Title
	}
	return raised{created: created}
}

func (q *queue) ingestion(t *testing.T, state string) *ingestion {
	t.Helper()
	in := &ingestion{concurrency: 4, raise: q.raise, bar: newProgress(io.Discard), summary: summary{Skipped: map[string]int{}}}
	if state != "" {
		var err error
		if in.marks, err = openMarks(state); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

func records(titles ...string) string {
	var b strings.Builder
	for _, title := range titles {
		fmt.Fprintf(&b, "{\"title\":%q,\"severity\":\"low\",\"source\":\"t\"}\n", title)
	}
	return b.String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestTheSummaryCountsWhatBecameOfEachRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.json")
	write(t, path, records("a", "a", "bad")+"broken\n{\"event_type\":\"flow\"}\n"+records("b"))
	in := newQueue().ingestion(t, "")
	in.concurrency = 1 // so that the double comes second
	if err := in.files(t.Context(), []string{path}); err != nil {
		t.Fatal(err)
	}
	want := summary{Read: 6, New: 2, Duplicates: 1, Skipped: map[string]int{"suricata flow": 1}, Refused: 2, Refusals: []refusal{
		{path, 3, "no"}, {path, 4, "no JSON: invalid character 'b' looking for beginning of value"},
	}}
	if diff := cmp.Diff(want, in.summary); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyTheFirstRefusalsAreKept(t *testing.T) {
	in := newQueue().ingestion(t, "")
	in.in = strings.NewReader(strings.Repeat("x\n", 1000))
	if err := in.files(t.Context(), []string{"-"}); err != nil {
		t.Fatal(err)
	}
	if in.summary.Refused != 1000 || len(in.summary.Refusals) != maxRefusals {
		t.Errorf("%d refused, %d kept", in.summary.Refused, len(in.summary.Refusals))
	}
	var out strings.Builder
	if err := in.report(&stdio{out: &out}, false, "http://x"); err != nil || !strings.Contains(out.String(), "    and 980 more\n") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestAFileThatCannotBeReadOnDoesNotCostTheOthers(t *testing.T) {
	dir := t.TempDir()
	broken, good := filepath.Join(dir, "broken.json"), filepath.Join(dir, "good.json")
	write(t, broken, "["+strings.TrimSpace(records("a"))+",\n{]")
	write(t, good, records("b"))
	in := newQueue().ingestion(t, "")
	err := in.files(t.Context(), []string{broken, filepath.Join(dir, "none"), good})
	if err == nil || in.summary.New != 2 {
		t.Errorf("%+v, %v", in.summary, err)
	}
}

func TestASiteThatTakesNoAlertsEndsTheRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.json")
	write(t, path, records("a", "stop", "b"))
	err := newQueue().ingestion(t, "").files(t.Context(), []string{path, path})
	if !errors.Is(err, errStop) || !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
}

func TestARunGoesOnWhereTheLastOneStopped(t *testing.T) {
	dir := t.TempDir()
	path, state := filepath.Join(dir, "in.json"), filepath.Join(dir, "state")
	read := func() int {
		t.Helper()
		in := newQueue().ingestion(t, state)
		if err := in.files(t.Context(), []string{path}); err != nil {
			t.Fatal(err)
		}
		return in.summary.Read
	}
	write(t, path, records("a", "b"))
	if n := read(); n != 2 {
		t.Errorf("first %d", n)
	}
	if n := read(); n != 0 {
		t.Errorf("nothing new: %d", n)
	}
	write(t, path, records("c"))
	if n := read(); n != 1 {
		t.Errorf("one more: %d", n)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, path, records("d", "e", "f", "g"))
	if n := read(); n != 4 {
		t.Errorf("another file at the path: %d", n)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write(t, path, records("h"))
	if n := read(); n != 1 {
		t.Errorf("a file cut short: %d", n)
	}
}

func TestAMarkNeverPassesWhatTheSiteHasNotTaken(t *testing.T) {
	dir := t.TempDir()
	path, state := filepath.Join(dir, "in.json"), filepath.Join(dir, "state")
	titles := make([]string, 40)
	for i := range titles {
		titles[i] = fmt.Sprintf("t%02d", i)
	}
	write(t, path, records(titles...))
	q := newQueue()
	ctx, cancel := context.WithCancel(t.Context())
	in := q.ingestion(t, state)
	in.raise = func(ctx context.Context, n federation.NewAlert) raised {
		if n.Title == "t20" { // the site goes away: this one and all after it stay unanswered
			cancel()
			<-ctx.Done()
			return raised{err: ctx.Err()}
		}
		return q.raise(ctx, n)
	}
	if err := in.files(ctx, []string{path}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	again := q.ingestion(t, state)
	if err := again.files(t.Context(), []string{path}); err != nil {
		t.Fatal(err)
	}
	if len(q.seen) != len(titles) {
		t.Errorf("%d of %d were taken", len(q.seen), len(titles))
	}
	if again.summary.Read < 20 {
		t.Errorf("the second run read only %d", again.summary.Read)
	}
}

func TestAFollowedFileIsTakenThroughRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "eve.json")
	q := newQueue()
	in := q.ingestion(t, filepath.Join(dir, "state"))
	in.follow = true
	ctx, cancel := context.WithCancel(t.Context())
	write(t, path, records("a"))
	done := make(chan error)
	go func() { done <- in.files(ctx, []string{path}) }()
	next := func(want string) {
		t.Helper()
		if got := <-q.fresh; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	next("a")
	write(t, path, records("b"))
	next("b")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, path, records("c"))
	next("c")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".2"); err != nil {
		t.Fatal(err)
	}
	write(t, path, records("d"))
	next("d")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestANetworkOfOnesOwnMakesAnAddressAnAsset(t *testing.T) {
	o, err := (&ingestCmd{Format: "suricata", Concurrency: 1, HomeNet: []string{"203.0.113.7/24"}, Files: []string{"-"}}).options()
	if err != nil {
		t.Fatal(err)
	}
	n, _, err := sensor.Map([]byte(`{"event_type":"alert","src_ip":"203.0.113.200","alert":{"signature":"s","severity":1}}`), o)
	if err != nil || !slices.Equal(n.AffectedAssets, []string{"203.0.113.200"}) {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestALabelThatADuplicateAskedForInVainIsTold(t *testing.T) {
	in := newQueue().ingestion(t, "")
	taking := taken{Record: sensor.Record{Line: 3, Alert: &federation.NewAlert{}}, raised: raised{warnings: []fault.Field{
		{Name: "tlp", Value: "red", Allowed: "green, with which the alert was raised first"}, {Name: "iocs", Value: "x"},
	}}}
	if err := in.count("f.json", taking); err != nil {
		t.Fatal(err)
	}
	if in.summary.Duplicates != 1 || in.summary.KeptLabels != 1 || in.summary.UnreadableIOCs != 1 {
		t.Errorf("the summary is %+v", in.summary)
	}
	var out strings.Builder
	if err := in.report(&stdio{out: &out}, false, "here"); err != nil {
		t.Fatal(err)
	}
	want := "1 duplicates asked for a stricter label than they keep\n    f.json, line 3: tlp red was not taken: the label is green, with which the alert was raised first\n"
	if !strings.Contains(out.String(), want) {
		t.Errorf("the report says %s", out.String())
	}
}
