package function_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

func TestAnAnswerIsGivenAgainToWhoAsksTheSame(t *testing.T) {
	s := natstest.Start(t, site)
	var calls atomic.Int64
	broken := true
	start(t, s, doubler(func(_ context.Context, n number) (number, error) {
		calls.Add(1)
		if n.N == 7 && broken {
			broken = false
			return n, fault.New(fault.Unavailable, "not now")
		}
		return number{2 * n.N}, nil
	}, function.Again(time.Hour)))
	asker := natstest.Bus(t, s, site, "asker")
	for _, c := range []struct {
		what      string
		n, answer int
		calls     int64
	}{
		{"the first", 1, 2, 1}, {"the same", 1, 2, 1}, {"once more", 1, 2, 1}, {"another", 2, 4, 2},
		{"an error", 7, 0, 3}, {"what follows an error", 7, 14, 4}, {"the same again", 7, 14, 4}, {"what is not valid", -1, 0, 4},
	} {
		got, err := function.Ask(ctx(t), asker, site, double, number{c.n})
		if (err != nil) != (c.answer == 0) || err == nil && got.N != c.answer || calls.Load() != c.calls {
			t.Errorf("%s: %d, %v after %d calls of the handler", c.what, got.N, err, calls.Load())
		}
	}
}

func TestAnAnswerThatIsOldIsNotGivenAgain(t *testing.T) {
	s := natstest.Start(t, site)
	var calls atomic.Int64
	start(t, s, doubler(func(context.Context, number) (number, error) { return number{int(calls.Add(1))}, nil }, function.Again(time.Millisecond)))
	asker := natstest.Bus(t, s, site, "asker")
	natstest.Eventually(t, "it is asked anew", func() bool {
		got, err := function.Ask(ctx(t), asker, site, double, number{1})
		return err == nil && got.N > 1
	})
}

func TestTheNextAnswerIsFoundBeforeTheLastIsOver(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	var calls atomic.Int64
	hold := make(chan struct{})
	start(t, s, doubler(func(ctx context.Context, n number) (number, error) {
		if calls.Add(1) > 1 {
			select {
			case <-hold:
			case <-ctx.Done():
			}
		}
		return number{2 * n.N}, nil
	}, function.Again(20*time.Second), function.Parallel(1)))
	asker := natstest.Bus(t, s, site, "asker")
	natstest.Within(t, time.Minute, "the next answer is being found", func() bool {
		if _, err := function.Ask(ctx(t), asker, site, double, number{1}); err != nil {
			t.Fatal(err)
		}
		return calls.Load() == 2
	})
	for range 3 {
		if got, err := function.Ask(ctx(t), asker, site, double, number{1}); err != nil || got.N != 2 {
			t.Errorf("the last answer is not given meanwhile: %d, %v", got.N, err)
		}
	}
	close(hold)
	if n := calls.Load(); n != 2 {
		t.Errorf("it is looked for %d times", n)
	}
}
