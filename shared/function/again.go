package function

import (
	"bytes"
	"sync"
	"time"
)

// Again lets the answer of a [Reply] be given again, for so long, to whoever asks the
// same: for a question that many ask at once. It is a shortcut, no state: a replica
// without it answers the same, later.
func Again(d time.Duration) Option { return func(o *options) { o.again = d } }

// lastAnswer is the last answer of an endpoint, to the question that it answered.
type lastAnswer struct {
	mu       sync.Mutex // held while one looks, so that who asks meanwhile waits for the answer
	question []byte
	answer   []byte
	until    time.Time
}

// good is the answer to a question, where there is one that may be given again.
func (l *lastAnswer) good(question []byte) (answer []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answer, l.isGood(question)
}

func (l *lastAnswer) isGood(question []byte) bool {
	return time.Now().Before(l.until) && bytes.Equal(question, l.question)
}

// or is the answer that is still good, else what find finds, which is then good for so
// long from when it was begun to be found.
func (l *lastAnswer) or(question []byte, again time.Duration, find func() ([]byte, error)) ([]byte, error) {
	if again == 0 {
		return find()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isGood(question) { // somebody has found it meanwhile
		return l.answer, nil
	}
	l.until = time.Time{}
	begun := time.Now()
	answer, err := find()
	if err == nil {
		l.question, l.answer, l.until = bytes.Clone(question), answer, begun.Add(again)
	}
	return answer, err
}
