package function

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// pace is how a pull asks: for how long, and how often it is to be told meanwhile that
// it is not forgotten. most is how many messages it takes before it ends; 0: any number.
type pace struct {
	expiry, heartbeat time.Duration
	most              int
}

var (
	// flowing finds a lost pull within two seconds.
	flowing = pace{5 * time.Second, time.Second, 0}
	// calm costs a fifth, finds one that nobody tells of within ten seconds, and ends with the
	// first messages that come in numbers.
	calm = pace{30 * time.Second, 5 * time.Second, 32}
)

// errMore ends a pull that has had as many messages as it asked for.
var errMore = errors.New("as many messages as were asked for have come")

// Calm lets a [ConsumeEach] pull from its peers at a slower pace where nothing has come
// of them, nothing was missed and nothing was told for so long. What is published under
// one of the subjects and is news is told: then every pull is renewed at once, for it
// may have been lost with a link, and flows again.
func Calm(after time.Duration, isNews func(subject string, data []byte) bool, subjects ...string) Option {
	return func(o *options) { o.calm, o.isNews, o.newsOn = after, isNews, subjects }
}

// news is told to all pulls of a trigger. There are thousands, so none of them waits for it
// in a goroutine of its own.
type news struct {
	mu      sync.Mutex
	last    time.Time
	told    int // how often
	waiting map[*context.CancelFunc]bool
}

func newNews() *news { return &news{waiting: map[*context.CancelFunc]bool{}} }

func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = time.Now()
	n.told++
	for end := range n.waiting {
		(*end)()
	}
	clear(n.waiting)
}

// look gives when the last news was told, and how many were.
func (n *news) look() (last time.Time, told int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last, n.told
}

// ends has end called with the first news after those that were told, or at once where
// that was told meanwhile, until stop is called.
func (n *news) ends(end context.CancelFunc, told int) (stop func() int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.told != told {
		end()
	} else {
		n.waiting[&end] = true
	}
	return func() int {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.waiting, &end)
		return told
	}
}

// quiet ends a pull once nothing has come, was missed or was told for so long.
type quiet struct {
	long    time.Duration
	news    *news
	touched *atomic.Int64
	end     context.CancelFunc

	mu    sync.Mutex
	timer *time.Timer
	over  bool
	told  int // of the news, when it was quiet
}

func (t *consumeTrigger[M]) quiet(end context.CancelFunc, touched *atomic.Int64) *quiet {
	q := &quiet{long: t.calm, news: t.news, touched: touched, end: end}
	q.look()
	return q
}

// look ends the pull, or sees to it that it is looked again.
func (q *quiet) look() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over {
		return
	}
	last, told := q.news.look()
	since := min(time.Since(last), time.Since(time.Unix(0, q.touched.Load())))
	if since >= q.long {
		q.over, q.told = true, told
		q.end()
		return
	}
	q.timer = time.AfterFunc(q.long-since, q.look)
}

// stop ends the looking, and says how many news were told when it was quiet.
func (q *quiet) stop() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over = true
	if q.timer != nil {
		q.timer.Stop()
	}
	return q.told
}

// listen has the trigger told what happens to the links and which sources are new, until stop is called.
func (t *consumeTrigger[M]) listen(r *Running) (stop func(), err error) {
	var subs []*nats.Subscription
	stop = func() {
		for _, s := range subs {
			if err := s.Unsubscribe(); err != nil {
				r.log.Debug("a subscription could not be ended", "subject", s.Subject, "error", err)
			}
		}
	}
	on := func(subjects []string, do nats.MsgHandler) error {
		for _, subj := range subjects {
			s, err := r.bus.nc.Subscribe(subj, do)
			if err != nil {
				return err
			}
			subs = append(subs, s)
		}
		return nil
	}
	err = on(t.newsOn, func(msg *nats.Msg) {
		if t.isNews(msg.Subject, msg.Data) {
			t.news.tell()
		}
	})
	if err != nil {
		return stop, err
	}
	return stop, on(t.listOn, func(*nats.Msg) {
		select {
		case t.relist <- struct{}{}:
		default: // it is to be done already
		}
	})
}

// paced pulls from a peer until ctx ends or the consumer is lost, at the pace that fits.
// To change the pace is to ask anew.
func (t *consumeTrigger[M]) paced(ctx context.Context, r *Running, m *meter, p pulling) error {
	open := p.open
	var touched atomic.Int64 // when something last came or was missed, in Unix nanoseconds
	touch := func() { touched.Store(time.Now().UnixNano()) }
	touch()
	told := 0 // of the news, when it was decided to be calm
	p.missing = touch
	p.open = func(msgs []*delivery) func() { touch(); return open(msgs) }
	for {
		round, end := context.WithCancel(ctx)
		var stop func() int
		if p.pace == calm {
			stop = t.news.ends(end, told)
		} else {
			stop = t.quiet(end, &touched).stop
		}
		err := r.pull(round, m, p)
		changed := round.Err() != nil
		told = stop()
		end()
		switch {
		case ctx.Err() == nil && errors.Is(err, errMore):
			p.pace = flowing
		case ctx.Err() != nil || err != nil:
			return err
		case p.pace == calm: // there is news, or a heartbeat was missed
			p.pace = flowing
			touch()
		case changed:
			p.pace = calm
		default:
			return nil
		}
	}
}
