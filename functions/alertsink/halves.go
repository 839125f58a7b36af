package alertsink

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"

	"github.com/auroramesh/auroramesh/shared/function"
)

const (
	// half is how many alerts, or nearly, go into one transaction where twice as many wait.
	half = 1000
	// worthHalving is from how many alerts on they are stored in two halves.
	worthHalving = 1000
	// halvings is how many batches are at a time, of all peers: each takes a connection more.
	halvings = 2
)

// take stores a batch of a peer. A large one is stored in two halves at once, each in a
// transaction of its own: while the one waits for the disk the other has the processor. What
// was stored of a batch that comes again is a replay then.
func (s sink) take(ctx context.Context, all []signed) error {
	if len(all) < worthHalving || !s.store.StoresBeside() {
		return s.storeTogether(ctx, all)
	}
	select {
	case s.halving <- struct{}{}:
		defer func() { <-s.halving }()
	default:
		return s.storeTogether(ctx, all)
	}
	var parts [2]part
	for i, m := range all {
		parts[partOf(m)].add(i, m)
	}
	var done [2]error
	var both sync.WaitGroup
	for i, p := range parts {
		both.Go(func() {
			done[i] = p.refused(function.Guarded(func() error { return s.storeTogether(ctx, p.msgs) }))
		})
	}
	both.Wait()
	return together(done[0], done[1])
}

// part is some of the messages of a batch, and where each stands in it.
type part struct {
	msgs   []signed
	places []int
}

func (p *part) add(place int, m signed) {
	p.msgs, p.places = append(p.msgs, m), append(p.places, place)
}

// seed is that of [partOf], for as long as this process lives.
var seed = maphash.MakeSeed()

// partOf is in which half a message goes: all versions of an alert in the same, for they are
// stored in their order.
func partOf(m signed) int { return int(maphash.String(seed, m.Said.OriginID) & 1) }

// refused is what came of the part, as of the whole batch.
func (p part) refused(err error) error {
	var some function.Refused
	if !errors.As(err, &some) {
		return err
	}
	refused := make(function.Refused, len(some))
	for i, reason := range some {
		refused[p.places[i]] = reason
	}
	return refused
}

// together is what came of two parts: that one failed, or what both refuse.
func together(a, b error) error {
	var refused, more function.Refused
	switch {
	case a == nil:
		return b
	case b == nil || !errors.As(a, &refused):
		return a
	case !errors.As(b, &more):
		return b
	}
	for place, reason := range more {
		refused[place] = reason
	}
	return refused
}
