package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
)

const (
	// KnownFor is how long the gateway goes by an answer about a key, a token or a
	// session before it asks again: so long at most a key that was revoked still works.
	KnownFor = 5 * time.Second
	// maxKnown bounds how many answers are kept.
	maxKnown = 10_000
)

// known remembers the answers about who is who, those that say no among them. It
// is a shortcut, no state: without it each request would be one question more.
type known struct {
	now     func() time.Time
	mu      sync.Mutex
	answers map[string]knownAnswer // by the hash of the secret
}

type knownAnswer struct {
	ask.Known
	refused *fault.Error
	until   time.Time // from when on it is asked again
}

func newKnown(now func() time.Time) *known {
	return &known{now: now, answers: map[string]knownAnswer{}}
}

// lookUp is whose secret has the hash, as it is remembered or else as find says.
// That nobody could tell is not remembered.
func (k *known) lookUp(ctx context.Context, hash string, find func(context.Context) (ask.Known, error)) (access.Principal, error) {
	at := k.now()
	k.mu.Lock()
	a, ok := k.answers[hash]
	k.mu.Unlock()
	if !ok || !at.Before(a.until) {
		found, err := find(ctx)
		a = knownAnswer{Known: found, until: at.Add(KnownFor)}
		if err != nil {
			if a.refused = fault.Of(err); a.refused.Code != fault.Unauthorized {
				return access.Principal{}, err
			}
		}
		k.remember(hash, a, at)
	}
	switch {
	case a.refused != nil:
		return access.Principal{}, a.refused
	case a.Until != nil && !at.Before(*a.Until):
		return access.Principal{}, fault.New(fault.Unauthorized, "the key, token or session has expired")
	}
	return a.Principal, nil
}

func (k *known) remember(hash string, a knownAnswer, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.answers) >= maxKnown {
		for h, old := range k.answers {
			if !at.Before(old.until) {
				delete(k.answers, h)
			}
		}
		if len(k.answers) >= maxKnown { // somebody tries many: who is good is asked about again
			clear(k.answers)
		}
	}
	k.answers[hash] = a
}

// forget makes the gateway ask again about a secret.
func (k *known) forget(hash string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.answers, hash)
}

// forgetPrincipal makes it ask again about every secret of a key.
func (k *known) forgetPrincipal(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for h, a := range k.answers {
		if a.Principal.ID == id {
			delete(k.answers, h)
		}
	}
}
