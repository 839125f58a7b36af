package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
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

func TestNobodyWaitsLongerThanTheRequestHas(t *testing.T) {
	h := hold(time.Hour)
	h.late = func() error { return fault.New(fault.Timeout, "too late") }
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan error)
	go func() { _, err := h.put(ctx, "sent"); sent <- err }()
	<-h.sent
	late, over := context.WithDeadline(t.Context(), time.Now())
	defer over()
	if _, err := h.put(late, "late"); !fault.Is(err, fault.Timeout) || err.Error() != "too late" {
		t.Errorf("%v", err)
	}
	cancel()
	if err := <-sent; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	next := h.ask(t, "next")
	h.let <- nil                                                  // what was sent is done
	if diff := cmp.Diff([]string{"next"}, <-h.sent); diff != "" { // what nobody waits for is not sent
		t.Error(diff)
	}
	h.let <- nil
	if diff := cmp.Diff([]string{"next!"}, next()); diff != "" {
		t.Error(diff)
	}
}

// The questions of a request have one time together, and what is sent for many its own.
func TestARequestHasOneTimeForItsQuestions(t *testing.T) {
	x := &exchange{asksUntil: time.Now().Add(time.Second)}
	request := context.WithValue(t.Context(), exchangeKey{}, x)
	until := func(ctx context.Context) time.Time {
		ctx, cancel := askingFor(ctx)
		defer cancel()
		d, _ := ctx.Deadline()
		return d
	}
	if got := until(request); !got.Equal(x.asksUntil) {
		t.Errorf("a question has until %v, the request until %v", got, x.asksUntil)
	}
	if got := until(detached(request)); !got.After(x.asksUntil) {
		t.Errorf("what is sent for many has until %v, as its first request", got)
	}
	setAsksUntil(request, time.Time{}) // an event stream
	if got := until(request); !got.After(time.Now()) {
		t.Errorf("a question of what stays has until %v", got)
	}
}

// A request whose question took all its time is answered although nobody takes its record:
// that has a moment more.
func TestARecordThatNobodyTakesDoesNotHoldTheAnswerUp(t *testing.T) {
	log := &strings.Builder{}
	let := make(chan struct{})
	defer close(let)
	g := &gateway{log: slog.New(slog.NewTextHandler(log, nil)), now: time.Now}
	g.audit = &gatherer[access.Entry, struct{}]{late: func() error { return fault.New(fault.Timeout, "too late") }, most: 1, size: func(access.Entry) int { return 0 }, patience: time.Hour, send: func(context.Context, []access.Entry) ([]struct{}, error) {
		<-let
		return make([]struct{}, 1), nil
	}}
	x := &exchange{principal: access.Local(), asksUntil: time.Now()}
	gone, cancel := context.WithCancel(context.WithValue(t.Context(), exchangeKey{}, x))
	cancel()
	w := httptest.NewRecorder()
	g.audited(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, fault.New(fault.Timeout, "the function alertintake did not answer in time"))
	})).ServeHTTP(w, httptest.NewRequestWithContext(gone, http.MethodPost, alertsPath, http.NoBody))
	if w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), "the function alertintake") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), `error="too late"`) { // and not that the client went away
		t.Errorf("the log says %s", log)
	}
}
