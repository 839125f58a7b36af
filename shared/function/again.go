package function

import (
	"bytes"
	"sync"
	"time"
)

// Again lets the answer of a [Reply] be given again, for so long, to whoever asks the
// same: for a question that many ask at once. In the last fifth of that time the next
// answer is found on the side. It is a shortcut, no state: a replica
// without it answers the same, later.
func Again(d time.Duration) Option { return func(o *options) { o.again = d } }

// lastAnswer is the last answer of an endpoint, to the question that it answered.
type lastAnswer struct {
	finding sync.Mutex // held while one looks, so that who asks meanwhile waits for the answer

	mu       sync.Mutex
	question []byte
	answer   []byte
	until    time.Time
	due      time.Time // from when on the next is to be found; zero while it is
}

// good is the answer to a question, where there is one that may be given again. One of
// those who get it is told that the next is due.
func (l *lastAnswer) good(question []byte) (answer []byte, ok, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !now.Before(l.until) || !bytes.Equal(question, l.question) {
		return nil, false, false
	}
	if due = !l.due.IsZero() && now.After(l.due); due {
		l.due = time.Time{}
	}
	return l.answer, true, due
}

// or is the answer that is still good, else what find finds.
func (l *lastAnswer) or(question []byte, again time.Duration, find func() ([]byte, error)) ([]byte, error) {
	if again == 0 {
		return find()
	}
	l.finding.Lock()
	defer l.finding.Unlock()
	if answer, ok, _ := l.good(question); ok { // somebody has found it meanwhile
		return answer, nil
	}
	return l.find(question, again, find)
}

// next finds the answer anew, while the last one is still given.
func (l *lastAnswer) next(question []byte, again time.Duration, find func() ([]byte, error)) error {
	l.finding.Lock()
	defer l.finding.Unlock()
	_, err := l.find(question, again, find)
	return err
}

// find keeps what is found, which is good for so long from when it was begun to be found.
func (l *lastAnswer) find(question []byte, again time.Duration, find func() ([]byte, error)) ([]byte, error) {
	begun := time.Now()
	answer, err := find()
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.question, l.answer, l.until, l.due = bytes.Clone(question), answer, begun.Add(again), begun.Add(again-again/5)
	}
	return answer, err
}
