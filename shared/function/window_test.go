package function

import (
	"testing"
	"time"
)

func TestAWindowGrowsWhileWhatItLetsComeIsHereQuickly(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	fetch := func(w *window, size int, took time.Duration) {
		n := w.messages()
		w.ask(n, true, now)
		for range n {
			now = now.Add(took / time.Duration(n))
			w.take(size, true, now)
		}
	}
	w := newWindow(3000)
	for range 10 {
		fetch(&w, 1<<10, 40*time.Millisecond)
	}
	if w.bytes != maxWindow || w.messages() != 3000 {
		t.Errorf("on a quick line it has %d bytes and %d messages", w.bytes, w.messages())
	}
	fetch(&w, 1<<10, 10*time.Second)
	if w.bytes != maxWindow/2 {
		t.Errorf("once that is slow it has %d bytes", w.bytes)
	}
	for range 20 {
		fetch(&w, 1<<10, 10*time.Second)
	}
	if w.bytes != minWindow {
		t.Errorf("where it stays slow it has %d bytes", w.bytes)
	}
	fetch(&w, 290<<10, 10*time.Second)
	if w.messages() != 1 {
		t.Errorf("of what is larger than it is it has %d messages", w.messages())
	}

	far := newWindow(3000) // where each takes a second to come, however few there are
	for range 10 {
		fetch(&far, 1<<10, time.Second)
	}
	if far.bytes != maxWindow {
		t.Errorf("of an origin that is far it has %d bytes", far.bytes)
	}
}
