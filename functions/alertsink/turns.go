package alertsink

import (
	"context"
	"slices"
	"sync"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// turns says which batches of a peer may be stored beside each other: all but those of which
// the gate refuses something. That may be a further version of an alert that is being stored
// with another, and so it is decided once nothing is.
type turns struct {
	mu sync.Mutex
	by map[federation.SiteID]*sync.RWMutex
}

// of is what those hold who store what comes from a peer.
func (t *turns) of(from federation.SiteID) *sync.RWMutex {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = map[federation.SiteID]*sync.RWMutex{}
	}
	if t.by[from] == nil {
		t.by[from] = &sync.RWMutex{}
	}
	return t.by[from]
}

// decideInTurn is [sink.decide] in the turn of the batch, which lasts until done is called.
func (s sink) decideInTurn(ctx context.Context, turn *sync.RWMutex, gates federation.Gates, all []signed) (decisions []federation.Decision, done func(), err error) {
	turn.RLock()
	done = turn.RUnlock
	decisions, err = s.decide(ctx, gates, all)
	if err == nil && refuses(decisions) {
		done()
		turn.Lock()
		done = turn.Unlock
		decisions, err = s.decide(ctx, gates, all)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return decisions, done, nil
}

// refuses reports whether one of the decisions is against an alert.
func refuses(decisions []federation.Decision) bool {
	return slices.ContainsFunc(decisions, func(d federation.Decision) bool { return !d.Admitted })
}
