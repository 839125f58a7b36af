package function

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pace is how a pull asks: for how long, and how often it is to be told meanwhile that
// it is not forgotten.
type pace struct{ expiry, heartbeat time.Duration }

var (
	// brisk finds a lost pull within two seconds.
	brisk = pace{5 * time.Second, time.Second}
	// calm costs a fifth, and finds one that nobody tells of within ten seconds.
	calm = pace{30 * time.Second, 5 * time.Second}
)

// Calm lets a [ConsumeEach] pull from its peers at a slower pace where nothing has come
// of them, nothing was missed and nothing was told for so long. What is published under
// one of the subjects and is news is told: then every pull is renewed at once, for it
// may have been lost with a link, and is at the brisk pace again.
func Calm(after time.Duration, isNews func(subject string, data []byte) bool, subjects ...string) Option {
	return func(o *options) { o.calm, o.isNews, o.newsOn = after, isNews, subjects }
}

// news is told to all pulls of a trigger.
type news struct {
	mu   sync.Mutex
	last time.Time
	next chan struct{} // closed with the next
}

func newNews() *news { return &news{next: make(chan struct{})} }

func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = time.Now()
	close(n.next)
	n.next = make(chan struct{})
}

// look gives when the last news was told, and what is closed with the next.
func (n *news) look() (last time.Time, next <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last, n.next
}

// listen has the trigger told what happens to the links, until stop is called.
func (t *consumeTrigger[M]) listen(r *Running) (stop func(), err error) {
	var subs []*nats.Subscription
	stop = func() {
		for _, s := range subs {
			if err := s.Unsubscribe(); err != nil {
				r.log.Debug("a subscription could not be ended", "subject", s.Subject, "error", err)
			}
		}
	}
	for _, subj := range t.newsOn {
		s, err := r.bus.nc.Subscribe(subj, func(msg *nats.Msg) {
			if t.isNews(msg.Subject, msg.Data) {
				t.news.tell()
			}
		})
		if err != nil {
			return stop, err
		}
		subs = append(subs, s)
	}
	return stop, nil
}

// paced pulls from a peer until ctx ends or the consumer is lost, at the pace that fits.
// To change the pace is to ask anew.
func (t *consumeTrigger[M]) paced(ctx context.Context, r *Running, m *meter, s Source, c jetstream.Consumer) error {
	var touched atomic.Int64 // when something last came or was missed, in Unix nanoseconds
	touch := func() { touched.Store(time.Now().UnixNano()) }
	touch()
	var heard <-chan struct{} // of news that came after it was decided to be calm
	for p := brisk; ; {
		round, end := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() {
			if p == brisk {
				heard = t.quiet(round, &touched)
			} else {
				select {
				case <-heard:
				case <-round.Done():
				}
			}
			end()
		})
		err := r.pull(round, m, s.Site, c, p, t.batch, t.linger, touch, func(msgs []jetstream.Msg) func() {
			touch()
			return t.handOver(r, m, s, msgs)
		})
		changed := round.Err() != nil
		end()
		watch.Wait()
		switch {
		case ctx.Err() != nil || err != nil:
			return err
		case p == calm: // there is news, or a heartbeat was missed
			p = brisk
			touch()
		case changed:
			p = calm
		default:
			return nil
		}
	}
}

// quiet waits until nothing has come, was missed or was told for as long as it takes to
// be calm, and gives what is closed with the first news after that.
func (t *consumeTrigger[M]) quiet(ctx context.Context, touched *atomic.Int64) <-chan struct{} {
	for {
		told, next := t.news.look()
		since := min(time.Since(told), time.Since(time.Unix(0, touched.Load())))
		if since >= t.calm {
			return next
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(t.calm - since):
		}
	}
}
