package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/natstest"
)

// held is a gatherer whose messages wait until they are let go.
type held struct {
	gatherer[string, string]
	sent chan []string
	let  chan error
}

func hold(patience time.Duration) *held {
	h := &held{sent: make(chan []string, 10), let: make(chan error)}
	h.gatherer = gatherer[string, string]{most: 3, mostBytes: 10, size: func(s string) int { return len(s) }, patience: patience}
	h.send = func(_ context.Context, items []string) ([]string, error) {
		h.sent <- slices.Clone(items)
		err := <-h.let
		answers := slices.Clone(items)
		for i := range answers {
			answers[i] += "!"
		}
		return answers, err
	}
	return h
}

// ask puts items, each behind the one before it, and returns what awaits the answers.
func (h *held) ask(t *testing.T, items ...string) (wait func() []string) {
	var wg sync.WaitGroup
	got := make([]string, len(items))
	for i, item := range items {
		before := h.pending()
		wg.Go(func() {
			answer, err := h.put(t.Context(), item)
			if got[i] = answer; err != nil {
				got[i] = err.Error()
			}
		})
		natstest.Eventually(t, item+" waits", func() bool { return h.pending() == before+1 || len(h.sent) > 0 })
	}
	return func() []string { wg.Wait(); return got }
}

func (h *held) pending() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting)
}

func TestWhatComesMeanwhileGoesTogether(t *testing.T) {
	h := hold(time.Hour)
	first := h.ask(t, "a")
	if diff := cmp.Diff([]string{"a"}, <-h.sent); diff != "" { // at once, and alone
		t.Error(diff)
	}
	rest := h.ask(t, "b", "c", "d", "e", "0123456789", "f")
	for _, want := range [][]string{{"b", "c", "d"}, {"e"}, {"0123456789"}, {"f"}} { // at most three, and at most ten bytes
		h.let <- nil
		if diff := cmp.Diff(want, <-h.sent); diff != "" {
			t.Error(diff)
		}
	}
	h.let <- nil
	if diff := cmp.Diff([]string{"a!", "b!", "c!", "d!", "e!", "0123456789!", "f!"}, append(first(), rest()...)); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	again := h.ask(t, "g") // at once again
	h.let <- errors.New("no")
	if diff := cmp.Diff([]string{"no"}, again()); diff != "" {
		t.Error(diff)
	}
}

func TestASecondMessageGoesWhereManyWait(t *testing.T) {
	h := hold(time.Hour)
	h.second, h.most = 3, 4
	first := h.ask(t, "a")
	<-h.sent
	rest := h.ask(t, "b", "c", "d")
	if diff := cmp.Diff([]string{"b", "c", "d"}, <-h.sent); diff != "" { // beside the first
		t.Error(diff)
	}
	later := h.ask(t, "e", "f", "g", "h", "i") // no third
	h.let <- nil
	if diff := cmp.Diff([]string{"e", "f", "g", "h"}, <-h.sent); diff != "" {
		t.Error(diff)
	}
	h.let <- nil // too few wait for a second one
	natstest.Eventually(t, "one message is on its way", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.flying == 1 })
	h.let <- nil
	if diff := cmp.Diff([]string{"i"}, <-h.sent); diff != "" {
		t.Error(diff)
	}
	h.let <- nil
	if diff := cmp.Diff([]string{"a!", "b!", "c!", "d!", "e!", "f!", "g!", "h!", "i!"}, append(append(first(), rest()...), later()...)); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	natstest.Eventually(t, "nothing is on its way", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.flying == 0 })
}

// What is on its way when a server is killed is lost, and is waited for in vain.
func TestAMessageThatIsLostHoldsNoOtherUp(t *testing.T) {
	h := hold(10 * time.Millisecond)
	lost := h.ask(t, "lost")
	<-h.sent
	next := h.ask(t, "next")
	if diff := cmp.Diff([]string{"next"}, <-h.sent); diff != "" {
		t.Error(diff)
	}
	h.let <- nil
	h.let <- nil
	if diff := cmp.Diff([]string{"lost!", "next!"}, append(lost(), next()...)); diff != "" {
		t.Error(diff)
	}
	again := h.ask(t, "again")
	h.let <- nil
	if diff := cmp.Diff([]string{"again!"}, again()); diff != "" {
		t.Error(diff)
	}
}
