package function

import (
	"context"
	"time"
)

// relistAfter is how long after the first word of a new source all that are new by then are asked for.
const relistAfter = 100 * time.Millisecond

// Relisted has a [ConsumeEach] ask for its sources at once, and not only at its next rescan, where something
// is published under one of the subjects.
func Relisted(subjects ...string) Option {
	return func(o *options) { o.listOn = subjects }
}

// gather waits a moment for more that has the sources asked for, so that a crowd of new peers
// is one question in that time; false: ctx ended.
func (t *consumeTrigger[M]) gather(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(relistAfter):
	}
	select {
	case <-t.relist:
	default:
	}
	return true
}
