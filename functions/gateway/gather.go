package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// gatherer sends what requests have for a function as it comes, and what comes
// meanwhile together: so a thousand requests at once are a few messages and a few
// transactions, and one that is alone waits for nobody.
type gatherer[T, R any] struct {
	// late is what to tell who has not had an answer in time.
	late func() error
	// send gets the answers to items, one for each; the context is that of the first, [detached]:
	// what is sent is done whether or not anybody waits for it.
	send func(ctx context.Context, items []T) ([]R, error)
	// most is how many items go together, and mostBytes how large they may be in all; one alone may be larger.
	most, mostBytes int
	size            func(T) int
	// second is how many must wait for a second message to go while one is on its way: so
	// many are worth a transaction of their own. 0: it never does.
	second int
	// patience is how long what waits does so for the answer to one message: that may be lost.
	patience time.Duration

	mu      sync.Mutex
	waiting []*gathered[T, R]
	flying  int // messages on their way, each counted for no longer than its patience
}

type gathered[T, R any] struct {
	ctx    context.Context // of who waits
	item   T
	bytes  int
	answer R
	err    error
	done   chan struct{} // closed when there is an answer
}

// put returns the answer to item, or that there was none before ctx ended. What was sent
// is done all the same; what was not never is.
func (g *gatherer[T, R]) put(ctx context.Context, item T) (R, error) {
	w := &gathered[T, R]{ctx: ctx, item: item, bytes: g.size(item), done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	if g.flying == 0 || g.flying == 1 && g.worthSecond() {
		g.flying++
		go g.sendWaiting()
	}
	g.mu.Unlock()
	select {
	case <-w.done:
		return w.answer, w.err
	case <-ctx.Done():
		var none R
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return none, g.late()
		}
		return none, ctx.Err()
	}
}

// worthSecond reports whether enough wait for a second message.
func (g *gatherer[T, R]) worthSecond() bool { return g.second > 0 && len(g.waiting) >= g.second }

// sendWaiting sends what waits until nothing does, or too little beside another message.
func (g *gatherer[T, R]) sendWaiting() {
	for batch := g.take(); len(batch) > 0; batch = g.take() {
		items := make([]T, len(batch))
		for i, w := range batch {
			items[i] = w.item
		}
		overdue := time.AfterFunc(g.patience, g.sendWaiting)
		answers, err := g.send(detached(batch[0].ctx), items)
		for i, w := range batch {
			if w.err = err; err == nil {
				w.answer = answers[i]
			}
			close(w.done)
		}
		if !overdue.Stop() { // others have not waited
			return
		}
	}
}

// detached is ctx without its end and without the request that it serves: what is done
// for many has a time of its own.
func detached(ctx context.Context) context.Context {
	return context.WithValue(context.WithoutCancel(ctx), exchangeKey{}, nil)
}

// take is what goes next, the oldest first, of what somebody still waits for.
func (g *gatherer[T, R]) take() []*gathered[T, R] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, bytes := 0, 0
	if g.flying > 1 && !g.worthSecond() { // the other takes it
		g.flying--
		return nil
	}
	g.waiting = slices.DeleteFunc(g.waiting, func(w *gathered[T, R]) bool { return w.ctx.Err() != nil })
	for n < min(len(g.waiting), g.most) {
		if bytes += g.waiting[n].bytes; n > 0 && bytes > g.mostBytes {
			break
		}
		n++
	}
	batch := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	if n == 0 {
		g.flying--
	}
	return batch
}
