package function

import (
	"context"
	"sync"
	"time"
)

// outage is a time in which what the function needs, as its database, is away. It is one of
// all sources of a trigger: what is in hand is given back, and nothing more is asked for until the
// checks of the function hold again.
type outage struct {
	mu   sync.Mutex
	ends map[*context.CancelFunc]bool // of what goes on only while there is none
	over chan struct{}                // closed when it is over; nil while there is none
}

// begins reports whether a failure is that of what the function needs. The first that is
// begins the outage.
func (o *outage) begins(r *Running, trigger string, failure error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over != nil {
		return true
	}
	away := r.check(r.base)
	if away == nil || r.base.Err() != nil { // where it is cut, nothing says that anything is away
		return false
	}
	r.log.Warn("what the function needs is away; nothing more is pulled until it answers", "trigger", trigger, "error", away, "failure", discreet(failure))
	o.over = make(chan struct{})
	for end := range o.ends {
		(*end)()
	}
	clear(o.ends)
	r.loops.Go(func() { o.watch(r, trigger) })
	return true
}

// watch ends the outage once the checks hold, or the function drains.
func (o *outage) watch(r *Running, trigger string) {
	begun := time.Now()
	for wait := 250 * time.Millisecond; r.pause(wait); wait = min(2*wait, lateAgain) {
		if r.check(r.base) == nil {
			r.log.Info("what the function needs answers again; it pulls on", "trigger", trigger, "seconds", time.Since(begun).Seconds())
			break
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.over)
	o.over = nil
}

// during is ctx until an outage begins. stop is called where it is not needed any more.
func (o *outage) during(ctx context.Context) (up context.Context, stop func()) {
	up, end := context.WithCancel(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over != nil {
		end()
		return up, func() {}
	}
	if o.ends == nil {
		o.ends = map[*context.CancelFunc]bool{}
	}
	o.ends[&end] = true
	return up, func() {
		end()
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.ends, &end)
	}
}

// wait waits until there is no outage, and reports false where ctx ends before.
func (o *outage) wait(ctx context.Context) bool {
	o.mu.Lock()
	over := o.over
	o.mu.Unlock()
	if over == nil {
		return ctx.Err() == nil
	}
	select {
	case <-over:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
