package function

import (
	"sync"
	"time"
)

// troubles are why nothing can be had of single sources of a trigger.
type troubles struct {
	mu  sync.Mutex
	now map[Source]trouble
}

type trouble struct {
	why   error
	since time.Time
	told  bool
}

// tellAfter is how long a trouble lasts before it is logged: short ones are of every start.
const tellAfter = 2 * time.Second

// note notes that nothing can be had of a source now. It is logged once.
func (t *troubles) note(r *Running, trigger string, s Source, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now == nil {
		t.now = map[Source]trouble{}
	}
	of, known := t.now[s]
	if !known {
		of.since = time.Now()
	}
	of.why = why
	if !of.told && time.Since(of.since) > tellAfter {
		of.told = true
		r.log.Warn("nothing can be had of a source; trying on", "trigger", trigger, "source", s.String(), "error", why)
	}
	t.now[s] = of
}

// over notes that the source is there, or is none any more.
func (t *troubles) over(r *Running, trigger string, s Source) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of := t.now[s]; of.told {
		r.log.Info("the trouble with a source is over", "trigger", trigger, "source", s.String(), "seconds", time.Since(of.since).Seconds())
	}
	delete(t.now, s)
}

// all is the troubles by source, nil where there are none.
func (t *troubles) all() map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all map[string]string
	for s, of := range t.now {
		if all == nil {
			all = map[string]string{}
		}
		all[s.String()] = of.why.Error()
	}
	return all
}
