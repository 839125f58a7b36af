package function

import "sync"

// tries counts how often the handler of a trigger has failed at a message. The server counts
// deliveries, also those of which no handler saw anything: what was given back, what
// waited too long behind others, or came while the database was away.
type tries struct {
	mu     sync.Mutex
	counts map[tried]int
}

type tried struct {
	source   Source
	sequence uint64
}

// mostTried bounds what is counted: what another replica was done with is never taken off.
const mostTried = 10_000

// failed counts a failure at a message, and gives how many there were.
func (t *tries) failed(s Source, d *delivery) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil || len(t.counts) >= mostTried {
		t.counts = map[tried]int{}
	}
	of := tried{s, d.meta.Sequence.Stream}
	t.counts[of]++
	return t.counts[of]
}

// over forgets a message that is settled.
func (t *tries) over(s Source, d *delivery) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.counts) > 0 {
		delete(t.counts, tried{s, d.meta.Sequence.Stream})
	}
}
