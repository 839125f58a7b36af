package function

import "time"

const (
	// minWindow is how many bytes a pull has on the way at first, and at least: a quarter of a
	// second of a line of 1 Mbit/s.
	minWindow = 32 << 10
	// maxWindow is how many at most: what comes in 40 ms at 100 MB/s.
	maxWindow = 4 << 20
	// quickly and slowly are how long what is on the way may take, beyond what the line needs for
	// one message, for the window to grow and to shrink.
	quickly, slowly = 200 * time.Millisecond, time.Second
)

// window is how much a pull may have on the way and waiting for its turn. What is on the way
// queues on a narrow line, in front of the pings of the leafnode and the echoes, and its
// acknowledgement is waited for all the time. So the window is timed: where what it lets come
// is here quickly it is twice as large next, and where that is slow half as large.
type window struct {
	bytes int
	most  int // messages, however small they are
	size  int // bytes of a message, by those that came

	came   int           // messages, ever
	best   time.Duration // the shortest time that a window took, which is how far the origin is; 0: not known
	timing bool
	until  int       // came, when all that was asked for is here
	since  time.Time // when it was asked for or, where nothing waited for that, when the first came; zero until then
	asked  bool      // since is when it was asked for
	full   bool      // the origin has had more with each message
}

func newWindow(most int) window { return window{bytes: minWindow, most: most, size: 1 << 10} }

// messages is how many fit into the window.
func (w *window) messages() int { return min(max(w.bytes/w.size, 1), w.most) }

// ask notes that with what is asked for now so many messages are on the way; more says that they waited for that.
func (w *window) ask(onTheWay int, more bool, now time.Time) {
	if w.timing {
		return
	}
	w.timing, w.until, w.asked, w.full = true, w.came+onTheWay, more, true
	w.since = time.Time{}
	if more {
		w.since = now
	}
}

// take notes a message that has come.
func (w *window) take(size int, more bool, now time.Time) {
	w.came++
	w.size = max(size, w.size-(w.size-size)/8)
	w.full = w.full && more
	if w.since.IsZero() {
		w.since = now
	}
	w.judge(now)
}

// forgo notes that so many of those that were asked for do not come, because they would be
// too many bytes.
func (w *window) forgo(n int, now time.Time) {
	w.until -= n
	w.judge(now)
}

// lose notes that what was asked for is not timed any more: too little was there, or it is lost.
func (w *window) lose() { w.timing = false }

// judge sets the window by how long what it let come has taken.
func (w *window) judge(now time.Time) {
	if !w.timing || w.came < w.until || w.since.IsZero() {
		return
	}
	w.timing = false
	took := now.Sub(w.since)
	if w.asked && (w.best == 0 || took < w.best) {
		w.best = took
	}
	switch beyond := took - w.best; {
	case beyond < quickly:
		w.bytes = min(2*w.bytes, maxWindow)
	case beyond > slowly && w.full && w.asked:
		w.bytes = max(w.bytes/2, minWindow)
	}
}
