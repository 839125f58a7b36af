package gateway

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/auroramesh/auroramesh/shared/access"
)

// maxRates bounds how many principals are told apart.
const maxRates = 10_000

// rates bounds how many requests one principal has taken, in this replica of the
// gateway: a token bucket each, filled at perSecond, that holds twice as many.
type rates struct {
	perSecond int // 0: no bound
	now       func() time.Time
	mu        sync.Mutex
	buckets   map[string]*rate.Limiter
}

func newRates(perSecond int, now func() time.Time) *rates {
	return &rates{perSecond: perSecond, now: now, buckets: map[string]*rate.Limiter{}}
}

// take is zero where p may go on, else how long it has to wait.
func (r *rates) take(p access.Principal) time.Duration {
	if r.perSecond == 0 || p.Kind == access.KindLocal {
		return 0
	}
	at, who := r.now(), string(p.Kind)+" "+p.ID
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buckets[who]
	if b == nil {
		r.makeRoom(at)
		b = rate.NewLimiter(rate.Limit(r.perSecond), 2*r.perSecond)
		r.buckets[who] = b
	}
	if b.AllowN(at, 1) {
		return 0
	}
	return time.Duration((1 - b.TokensAt(at)) / float64(r.perSecond) * float64(time.Second))
}

// makeRoom lets go of the buckets that are full, which a new one would be too.
func (r *rates) makeRoom(at time.Time) {
	if len(r.buckets) < maxRates {
		return
	}
	for who, b := range r.buckets {
		if b.TokensAt(at) >= float64(b.Burst()) {
			delete(r.buckets, who)
		}
	}
}
