package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxBatchBytes is how many bytes of messages are handled together, where they are more than one.
const maxBatchBytes = 3 << 20

// errOver ends a flow that was drained.
var errOver = errors.New("nothing more comes")

// flow is a pull at work. It asks a consumer for as many messages as its window lets come, and
// keeps those that have come, until they are settled, from being sent again. The iterator
// of the client library is not used for that: it bounds them in number or in bytes, and for good.
type flow struct {
	r        *Running
	subj     string // under which messages are asked for
	pace     pace
	to       func(reply string) string // see [Bus.acknowledger]
	answered func()                    // the server has said something
	sub      *nats.Subscription
	back     chan nats.Status // the connection is there again
	news     chan struct{}    // something has come; room for one
	ended    chan struct{}    // closed once nothing more can come

	mu      sync.Mutex
	window  window
	queue   []*delivery // have come, and wait for their turn
	queued  int         // their bytes
	asked   int         // messages that may still come of what was asked for
	left    int         // how many may still be asked for, where the pace says how many at most
	since   int         // how many have come since it was last asked
	more    bool        // the last message said that more wait
	single  bool        // the next message is larger than the window: it is asked for by itself
	heard   time.Time   // when something last came
	failed  error       // why nothing more comes
	stopped bool        // what comes now is left to be sent again
	hands   map[*hand]bool
	signs   *time.Timer // nil while there is nothing to be kept
}

// hand is what is handled together.
type hand struct{ msgs []*delivery }

// flow begins a pull. The consumer of a peer is asked in its domain.
func (r *Running) flow(api, stream, consumer string, p pace, most int, to func(reply string) string, answered func()) (*flow, error) {
	f := &flow{
		r: r, subj: fmt.Sprintf("%sCONSUMER.MSG.NEXT.%s.%s", api, stream, consumer), pace: p, to: to, answered: sync.OnceFunc(answered),
		news: make(chan struct{}, 1), ended: make(chan struct{}),
		window: newWindow(most), left: p.most, heard: time.Now(), hands: map[*hand]bool{},
	}
	sub, err := r.bus.nc.Subscribe(r.bus.nc.NewInbox(), f.receive)
	if err != nil {
		return nil, fmt.Errorf("pulling: %w", err)
	}
	f.sub = sub
	sub.SetClosedHandler(func(string) { close(f.ended) })
	f.back = r.bus.nc.StatusChanged(nats.CONNECTED)
	return f, nil
}

// drain ends the asking; what is here, or on the line from the server, can still be taken.
func (f *flow) drain() {
	if err := f.sub.Drain(); err != nil && !errors.Is(err, nats.ErrBadSubscription) && !errors.Is(err, nats.ErrConnectionClosed) {
		f.r.log.Debug("a pull could not be drained", "subject", f.subj, "error", err)
	}
}

// stop ends the flow, and gives what is still here: nobody says any more that it is.
func (f *flow) stop() (left []*delivery) {
	if err := f.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrBadSubscription) && !errors.Is(err, nats.ErrConnectionClosed) {
		f.r.log.Debug("a pull could not be ended", "subject", f.subj, "error", err)
	}
	f.r.bus.nc.RemoveStatusListener(f.back)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	if f.signs != nil {
		f.signs.Stop()
	}
	return f.queue
}

// receive takes what the server sends: a message, or how it is with what was asked for.
func (f *flow) receive(msg *nats.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return // it comes again
	}
	switch status := msg.Header.Get("Status"); {
	case status == "" || len(msg.Data) > 0:
		f.take(msg)
	case !f.hear(status, msg):
		return
	}
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// take puts a message that has come into the queue.
func (f *flow) take(msg *nats.Msg) {
	now, to := time.Now(), ""
	meta, err := msg.Metadata()
	if err != nil { // whoever is between has made it up, and it is refused as such
		meta = &nats.MsgMetadata{}
	} else {
		to = f.to(msg.Reply)
	}
	f.heard = now
	f.answered()
	f.asked = max(f.asked-1, 0)
	f.since++
	f.more = meta.NumPending > 0
	f.window.take(msg.Size(), f.more, now)
	f.queue = append(f.queue, &delivery{msg: msg, meta: *meta, at: now, nc: f.r.bus.nc, to: to})
	f.queued += msg.Size()
	if f.signs == nil {
		f.signs = time.AfterFunc(alive, f.keep)
	}
}

// hear notes what the server says of what it was asked for, and reports whether that changes anything.
func (f *flow) hear(status string, msg *nats.Msg) bool {
	if status == "503" {
		return false // nobody knows the consumer; whether that lasts shows in the silence
	}
	now := time.Now()
	f.heard = now
	f.answered()
	if status != "400" && status != "408" && status != "409" {
		return false // a heartbeat
	}
	says := msg.Header.Get("Description")
	unsent, err := strconv.Atoi(msg.Header.Get("Nats-Pending-Messages"))
	is := func(what string) bool { return strings.Contains(strings.ToLower(says), what) }
	switch {
	case status == "400":
		f.failed = fmt.Errorf("pulling: %w: %s", jetstream.ErrBadRequest, says)
	case is("consumer deleted"):
		f.failed = fmt.Errorf("pulling: %w", jetstream.ErrConsumerDeleted)
	case is("leadership change"):
		f.lose()
	case err != nil:
		return false // it is at its bounds; the silence shows that
	case is("exceeds maxbytes") && f.since > 0:
		f.window.forgo(unsent, now)
	case is("exceeds maxbytes"):
		f.single = true
		f.window.lose()
	case status == "408": // the time of the request is over
		f.window.lose()
	}
	unsent = min(unsent, f.asked)
	f.asked -= unsent
	f.left += unsent
	return true
}

// lose forgets what was asked for: nothing comes of it any more.
func (f *flow) lose() {
	f.left += f.asked
	f.asked = 0
	f.window.lose()
}

// ask asks for what the window has room for, once that is half of it.
func (f *flow) ask() {
	if f.failed != nil || !f.sub.IsValid() || !f.r.bus.nc.IsConnected() {
		return
	}
	most := f.window.messages()
	req := struct {
		Expires   time.Duration `json:"expires"`
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes,omitempty"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{f.pace.expiry, most - f.asked - len(f.queue), 0, f.pace.heartbeat}
	if f.pace.most > 0 {
		req.Batch = min(req.Batch, f.left)
	}
	room := f.window.bytes - f.queued - f.asked*f.window.size
	switch {
	case req.Batch <= 0:
		return
	case f.single:
		if f.asked > 0 {
			return
		}
		req.Batch, f.single = 1, false
	case most > 1:
		if f.pace.most == 0 && 2*req.Batch < most || 2*room < f.window.bytes {
			return
		}
		req.MaxBytes = room
	}
	data, err := json.Marshal(req)
	if err == nil {
		err = f.r.bus.nc.PublishRequest(f.subj, f.sub.Subject, data)
	}
	if err != nil {
		f.r.log.Debug("a pull could not be asked for", "subject", f.subj, "error", err)
		return
	}
	now := time.Now()
	if f.asked == 0 {
		f.heard = now
	}
	f.asked += req.Batch
	f.left -= req.Batch
	f.since = 0
	f.window.ask(f.asked, f.more, now)
}

// wait waits until a message is here, but not past the end of until, nor the time at where that is
// not zero. With [jetstream.ErrNoHeartbeat] the server was silent, and is asked anew with the next call.
func (f *flow) wait(until context.Context, at time.Time) error {
	for {
		f.mu.Lock()
		f.ask()
		here, failed, silent := len(f.queue) > 0, f.failed, f.heard.Add(2*f.pace.heartbeat)
		spent := f.pace.most > 0 && f.left <= 0 && f.asked == 0
		f.mu.Unlock()
		switch {
		case here:
			return nil
		case failed != nil:
			return failed
		case spent:
			return errMore
		}
		wake := silent
		if !at.IsZero() && at.Before(silent) {
			wake = at
		}
		timer := time.NewTimer(time.Until(wake))
		select {
		case <-f.news:
		case <-f.ended:
			f.mu.Lock()
			if len(f.queue) == 0 && f.failed == nil {
				f.failed = errOver
			}
			f.mu.Unlock()
		case <-f.back:
			f.mu.Lock()
			f.lose()
			f.heard = time.Now()
			f.mu.Unlock()
		case <-until.Done():
			timer.Stop()
			return until.Err()
		case <-timer.C:
			if !at.IsZero() && !time.Now().Before(at) {
				return context.DeadlineExceeded
			}
			if f.silent() {
				return jetstream.ErrNoHeartbeat
			}
		}
		timer.Stop()
	}
}

// silent reports whether nothing has come for two heartbeats, though it was asked for. Then
// what was on the way is lost, and the next is asked for carefully.
func (f *flow) silent() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.heard) < 2*f.pace.heartbeat {
		return false
	}
	f.heard = time.Now()
	if !f.r.bus.nc.IsConnected() {
		return false
	}
	f.lose()
	f.window = newWindow(f.window.most)
	return true
}

// gather takes up to n messages that are to be handled together. A lone one is not held
// back: it waits only where the server says that more wait there, for as long as linger,
// and until the batch before it is handled, before which its own turn does not come.
func (f *flow) gather(before context.Context, n int, linger time.Duration) *hand {
	deadline := time.Now().Add(linger)
	h := &hand{}
	f.mu.Lock()
	f.hands[h] = true
	f.mu.Unlock()
	for bytes := 0; ; {
		full := f.fill(h, n, &bytes)
		var err error
		switch {
		case full:
			return h
		case h.msgs[len(h.msgs)-1].waiting():
			err = f.wait(context.Background(), deadline)
		case before.Err() == nil:
			err = f.wait(before, time.Time{})
		default:
			return h
		}
		if err != nil {
			return h // an end or a loss shows again at the next turn
		}
	}
}

// fill moves what waits into a hand, and reports whether no more fits.
func (f *flow) fill(h *hand, n int, bytes *int) (full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := 0
	for ; i < len(f.queue) && !full; i++ {
		size := f.queue[i].msg.Size()
		if full = len(h.msgs) == n || len(h.msgs) > 0 && *bytes+size > maxBatchBytes; full {
			break
		}
		h.msgs = append(h.msgs, f.queue[i])
		*bytes += size
		f.queued -= size
	}
	clear(f.queue[:i])
	f.queue = f.queue[i:]
	return full || len(h.msgs) == n
}

// rest takes all that waits.
func (f *flow) rest() (all []*delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, f.queue, f.queued = f.queue, nil, 0
	return all
}

// release has what was handled together be kept no longer.
func (f *flow) release(h *hand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.hands, h)
}

// alive is how often it is said of a message that it is here and not yet settled. So a call may
// take long, and many may wait behind it, and yet what a killed replica or a cut line held is
// sent again after the few seconds that the consumer waits.
const alive = tickWait / 3

// keep has the server wait on for what has been here for a while.
func (f *flow) keep() {
	f.mu.Lock()
	if f.stopped {
		f.mu.Unlock()
		return
	}
	kept := append([]*delivery(nil), f.queue...)
	for h := range maps.Keys(f.hands) {
		kept = append(kept, h.msgs...)
	}
	if len(kept) == 0 {
		f.signs = nil
	} else {
		f.signs.Reset(alive)
	}
	f.mu.Unlock()
	for _, d := range kept {
		if time.Since(d.at) < alive {
			continue
		}
		if err := d.inProgress(); err != nil {
			f.r.log.Debug("a message could not be kept", "subject", d.msg.Subject, "error", err)
		}
	}
}
