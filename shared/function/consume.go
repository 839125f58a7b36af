package function

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// Source is a durable consumer of a stream, at the own site or at a peer.
type Source struct {
	Site     federation.SiteID
	Stream   string
	Consumer string
}

// String is the source as metrics and logs name it.
func (s Source) String() string { return string(s.Site) + "/" + s.Stream + "/" + s.Consumer }

type sourceKey struct{}

type originKey struct{}

// OriginOf is the site that said a message of which [Buried] is told.
func OriginOf(ctx context.Context) federation.SiteID {
	s, _ := ctx.Value(originKey{}).(federation.SiteID)
	return s
}

// SourceOf is the source of the messages that a [Consume] handler was given.
func SourceOf(ctx context.Context) Source {
	s, _ := ctx.Value(sourceKey{}).(Source)
	return s
}

// ConsumeEach hands over the messages of several durable consumers, which others
// create. sources says which; it is asked again every rescan, so that a new peer
// is pulled from within that time. The handler gets up to [Batch] messages of one
// source at a time and returns nil when all of them are done, which is when they
// are acknowledged.
//
// A payload that cannot be decoded becomes a dead letter at once. Where a batch
// fails, its messages are tried one by one, so that one poisonous message does not
// hold up its neighbours; it becomes a dead letter after [Attempts] deliveries.
// A failure that time may mend (Unavailable, Timeout) is retried without end.
// The handler is called once more for a dead letter where [RetryEndpoint] is asked.
func ConsumeEach[M any](sources func(context.Context) ([]Source, error), rescan time.Duration, handler func(context.Context, []M) error, opts ...Option) Trigger {
	return &consumeTrigger[M]{options: build("consume", opts), sources: sources, rescan: rescan, handler: handler, news: newNews(), relist: make(chan struct{}, 1)}
}

// Refused is what a [Consume] handler returns where it is done with the whole batch,
// but will not have some of its messages: their reasons by index. Those end at their
// source, with the reason and without a dead letter; the others are acknowledged.
type Refused map[int]string

// Error implements error.
func (r Refused) Error() string { return fmt.Sprintf("%d messages of the batch are refused", len(r)) }

// Consume is [ConsumeEach] for one source.
func Consume[M any](source Source, handler func(context.Context, []M) error, opts ...Option) Trigger {
	return ConsumeEach(func(context.Context) ([]Source, error) { return []Source{source}, nil }, time.Minute, handler, opts...)
}

type consumeTrigger[M any] struct {
	options
	sources func(context.Context) ([]Source, error)
	rescan  time.Duration
	handler func(context.Context, []M) error
	news    *news
	relist  chan struct{} // has a value where the sources are to be asked for at once
}

func (t *consumeTrigger[M]) describe(*Running) (name, kind, detail string) {
	return t.name, "consume", fmt.Sprintf("in batches of %d", t.batch)
}

func (t *consumeTrigger[M]) start(r *Running, m *meter) error {
	if err := t.verifying(r); err != nil {
		return err
	}
	r.supervise(m, func(ctx context.Context) error {
		if err := r.ensureDeadLetters(ctx); err != nil {
			return err
		}
		stop, err := t.listen(r)
		defer stop()
		if err != nil {
			return fmt.Errorf("listening to what happens to the peers: %w", err)
		}
		return t.follow(ctx, r, m)
	})
	return nil
}

// follow keeps one pull running for each source until ctx ends.
func (t *consumeTrigger[M]) follow(ctx context.Context, r *Running, m *meter) error {
	pulls := map[Source]context.CancelFunc{}
	defer func() {
		for _, stop := range pulls {
			stop()
		}
	}()
	for {
		sources, err := t.sources(ctx)
		if err != nil && ctx.Err() == nil {
			// What runs goes on; only news is missed.
			m.setTrouble(fmt.Errorf("listing the sources: %w", err))
			r.log.Warn("the sources could not be listed", "trigger", t.name, "error", err)
		}
		if err == nil {
			m.setTrouble(nil)
			wanted := map[Source]bool{}
			for _, s := range sources {
				wanted[s] = true
				if pulls[s] == nil {
					source, stop := context.WithCancel(ctx)
					pulls[s] = stop
					r.loops.Go(func() { t.consume(source, r, m, s, soonAgain) })
				}
			}
			for s, stop := range pulls {
				if !wanted[s] {
					stop()
					delete(pulls, s)
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(t.rescan):
		case <-t.relist:
			if !t.gather(ctx) {
				return nil
			}
		}
	}
}

// How long it is waited before a source is tried again that is out of reach, first and at most.
const (
	soonAgain, lateAgain = 100 * time.Millisecond, 2 * time.Second
)

// consume pulls from one source until ctx ends, through every outage of it; wait is how long
// the next one is to take.
func (t *consumeTrigger[M]) consume(ctx context.Context, r *Running, m *meter, s Source, wait time.Duration) {
	c, err := t.find(ctx, r, s)
	for ; err != nil; c, err = t.find(ctx, r, s) {
		if !t.rest(ctx, r, s, wait, err) {
			return
		}
		wait = min(2*wait, lateAgain)
	}
	// The pull is a goroutine of its own: there are thousands that do nothing but wait, and the
	// stack of this one has grown to twice what that takes.
	r.loops.Go(func() {
		begun := time.Now()
		err := t.attach(ctx, r, m, s, c)
		if time.Since(begun) > 10*time.Second {
			wait = soonAgain
		}
		if t.rest(ctx, r, s, wait, err) {
			r.loops.Go(func() { t.consume(ctx, r, m, s, min(2*wait, lateAgain)) })
		}
	})
}

// rest waits before a source is tried again, and reports whether it is to be.
func (t *consumeTrigger[M]) rest(ctx context.Context, r *Running, s Source, wait time.Duration, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	r.log.Debug("a source is out of reach; trying again", "source", s.String(), "wait", wait, "error", err)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

func (t *consumeTrigger[M]) find(ctx context.Context, r *Running, s Source) (jetstream.Consumer, error) {
	js, err := r.bus.JetStreamOf(s.Site)
	if err != nil {
		return nil, err
	}
	look, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := js.Consumer(look, s.Stream, s.Consumer)
	if err != nil {
		return nil, fmt.Errorf("finding the consumer %s: %w", s, err)
	}
	return c, nil
}

// attach pulls from the consumer of a source until ctx ends or it is lost.
func (t *consumeTrigger[M]) attach(ctx context.Context, r *Running, m *meter, s Source, c jetstream.Consumer) error {
	if t.calm > 0 && s.Site != r.bus.site.ID {
		return t.paced(ctx, r, m, s, c)
	}
	return r.pull(ctx, m, s.Site, c, flowing, t.batch, t.linger, func() {}, func(msgs []jetstream.Msg) func() { return t.handOver(r, m, s, msgs) })
}

// handOver notes how far behind the source is, and opens a batch of it.
func (t *consumeTrigger[M]) handOver(r *Running, m *meter, s Source, msgs []jetstream.Msg) (handle func()) {
	m.metrics.lag.note(m, s, msgs[len(msgs)-1])
	return t.open(r, m, s, msgs)
}

// open decodes a batch, and ends what cannot be. What it returns has the others handled.
func (t *consumeTrigger[M]) open(r *Running, m *meter, s Source, msgs []jetstream.Msg) (handle func()) {
	batch := make([]M, 0, len(msgs))
	kept := msgs[:0:len(msgs)]
	for _, msg := range msgs {
		if deliveries(msg) > 1 {
			m.metrics.redelivered.WithLabelValues(m.function, m.trigger).Inc()
		}
		v, err := t.read(r.base, r, s, message{msg.Subject(), msg.Headers(), msg.Data()})
		switch {
		case err == nil:
		case mendable(err):
			r.log.Warn("it cannot be said yet whose a message is", "source", s.String(), "error", err)
			retry(r, []jetstream.Msg{msg})
			continue
		default:
			m.refuse(err)
			r.bury(m, t.options, s, msg, err)
			continue
		}
		batch, kept = append(batch, v), append(kept, msg)
	}
	return func() {
		if len(batch) > 0 {
			t.deliver(r, m, s, kept, batch)
		}
	}
}

// deliver calls the handler for a batch and settles every message.
func (t *consumeTrigger[M]) deliver(r *Running, m *meter, s Source, kept []jetstream.Msg, batch []M) {
	defer stayAlive(r, kept)()
	base := context.WithValue(r.base, sourceKey{}, s)
	refused, err := t.call(base, r, m, kept, batch)
	if err == nil {
		for i, msg := range kept {
			settle(r, msg, refused[i])
		}
		return
	}
	r.log.Error("a batch could not be handled", "source", s.String(), "messages", len(batch), "error", discreet(err), "stack", stack(err))
	if mendable(err) {
		retry(r, kept)
		return
	}
	for i := range batch {
		err := err
		if len(batch) > 1 {
			refused, err = t.call(base, r, m, kept[i:i+1], batch[i:i+1])
		}
		switch {
		case err == nil:
			settle(r, kept[i], refused[0])
		case mendable(err):
			retry(r, kept[i:])
			return
		case fault.Of(err).Code.Permanent() || deliveries(kept[i]) >= uint64(t.attempts):
			m.refuse(err)
			r.bury(m, t.options, s, kept[i], err)
		default:
			retry(r, kept[i:i+1])
		}
	}
}

// read gives what a message says, where it is of whom it must be.
func (t *consumeTrigger[M]) read(ctx context.Context, r *Running, s Source, in message) (v M, err error) {
	if !t.origin {
		return decode[M](in.data)
	}
	proof, err := r.proved(ctx, s.Site, in)
	if err != nil {
		return v, err
	}
	if signed, ok := any(&v).(interface {
		read(p Proof, in message) error
	}); ok {
		return v, signed.read(proof, in)
	}
	return decode[M](in.data)
}

// call calls the handler. To be done with a batch and to refuse some of it is no failure.
func (t *consumeTrigger[M]) call(base context.Context, r *Running, m *meter, msgs []jetstream.Msg, batch []M) (refused Refused, err error) {
	base, end := r.spans(base, m, msgs)
	defer func() { end(err) }()
	err = m.call(base, t.timeout, func(ctx context.Context) error {
		err := t.handler(ctx, batch)
		if errors.As(err, &refused) {
			return nil
		}
		return err
	})
	return refused, err
}

// settle ends a message that was handled: refused where there is a reason.
func settle(r *Running, msg jetstream.Msg, reason string) {
	if reason == "" {
		ack(r, msg)
		return
	}
	if err := msg.TermWithReason(oneLine(reason)); err != nil {
		r.log.Debug("a delivery could not be ended", "subject", msg.Subject(), "error", err)
	}
}

// mendable reports whether time alone may mend a failure: then the fault is not the message's.
func mendable(err error) bool {
	return fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout) || errors.Is(err, context.Canceled)
}

func ack(r *Running, msg jetstream.Msg) {
	// An acknowledgement that is lost costs a redelivery, which the database drops.
	if err := msg.Ack(); err != nil {
		r.log.Debug("a message could not be acknowledged", "subject", msg.Subject(), "error", err)
	}
}

// retry asks for another delivery, later with each one: 0.25 s, 0.5 s, … at most 15 s.
func retry(r *Running, msgs []jetstream.Msg) {
	for _, msg := range msgs {
		wait := 15 * time.Second
		if n := deliveries(msg); n < 7 {
			wait = 250 * time.Millisecond << (n - 1)
		}
		if err := msg.NakWithDelay(wait); err != nil {
			r.log.Debug("a redelivery could not be asked for", "subject", msg.Subject(), "error", err)
		}
	}
}

// fetched is a message that was pulled, with what the server said of it: that is read
// out of its reply once.
type fetched struct {
	jetstream.Msg
	meta *jetstream.MsgMetadata
	err  error
}

func fetchedAs(msg jetstream.Msg) jetstream.Msg {
	meta, err := msg.Metadata()
	return fetched{msg, meta, err}
}

// Metadata implements [jetstream.Msg].
func (f fetched) Metadata() (*jetstream.MsgMetadata, error) { return f.meta, f.err }

func deliveries(msg jetstream.Msg) uint64 {
	meta, err := msg.Metadata()
	if err != nil || meta.NumDelivered == 0 {
		return 1
	}
	return meta.NumDelivered
}

// waiting reports whether the consumer had more when it sent msg.
func waiting(msg jetstream.Msg) bool {
	meta, err := msg.Metadata()
	return err == nil && meta.NumPending > 0
}

// giveBack lets another replica have messages at once.
func giveBack(r *Running, msgs []jetstream.Msg) {
	for _, msg := range msgs {
		if err := msg.Nak(); err != nil {
			r.log.Debug("a message could not be given back", "subject", msg.Subject(), "error", err)
		}
	}
}

// pull hands over messages of a consumer at origin, up to batch at a time, until ctx ends
// and the batch in hand is done, or the consumer is lost; what else was fetched is
// given back. A batch is opened while the one before it is handled; they are handled in
// their order, one at a time. The heartbeat of the pace finds a pull that was lost with a link; it is
// renewed as soon as the link is back. missing is told of each that does not come; a calm
// pull ends with the first. Where as many have come as the pace asks for, it ends with errMore.
func (r *Running) pull(ctx context.Context, m *meter, origin federation.SiteID, c jetstream.Consumer, p pace, batch int, linger time.Duration, missing func(), open func([]jetstream.Msg) (handle func())) error {
	acknowledged, err := r.bus.acknowledger(ctx, origin)
	if err != nil {
		return err
	}
	opts := []jetstream.PullMessagesOpt{jetstream.PullMaxMessages(3 * batch), jetstream.PullExpiry(p.expiry), jetstream.PullHeartbeat(p.heartbeat)}
	if p.most > 0 {
		opts = append(opts, jetstream.PullMaxMessages(p.most), jetstream.StopAfter(p.most))
	}
	it, err := c.Messages(opts...)
	if err != nil {
		return fmt.Errorf("pulling: %w", err)
	}
	// Only once the server knows that nobody listens here: else they would come straight back.
	var left []jetstream.Msg
	defer func() { giveBack(r, left) }()
	defer it.Stop()
	defer context.AfterFunc(ctx, it.Drain)()
	m.setTrouble(nil)
	var mu sync.Mutex // of left
	leave := func(msgs ...jetstream.Msg) {
		mu.Lock()
		defer mu.Unlock()
		left = append(left, msgs...)
	}
	var inHand sync.WaitGroup
	defer inHand.Wait()
	previous, none := context.WithCancel(context.Background()) // ends when the batch before is handled
	none()
	beforeThat, missed, came := previous, 0, 0
	for {
		<-beforeThat.Done() // no more than two are in hand
		msg, err := it.Next()
		switch {
		case errors.Is(err, jetstream.ErrMsgIteratorClosed) && p.most > 0 && came >= p.most:
			return errMore
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return nil
		case errors.Is(err, jetstream.ErrNoHeartbeat) && p == calm:
			return nil
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			missing()
			// The iterator goes on and asks again by itself. But a consumer that is gone,
			// alone or with all that its server kept, never answers: look it up anew.
			if missed++; missed >= 5 || gone(ctx, c) {
				return fmt.Errorf("the consumer is silent: %w", err)
			}
			continue
		case err != nil:
			return fmt.Errorf("pulling: %w", err)
		}
		missed = 0
		msg = fetchedAs(acknowledged(msg))
		if ctx.Err() != nil {
			leave(msg)
			continue
		}
		msgs := append([]jetstream.Msg{msg}, gather(previous, it, acknowledged, waiting(msg), batch-1, linger)...)
		came += len(msgs)
		before := previous
		this, done := context.WithCancel(context.Background())
		beforeThat, previous = before, this
		inHand.Go(func() {
			defer done()
			handle := open(msgs)
			<-before.Done()
			if ctx.Err() != nil {
				leave(msgs...)
				return
			}
			handle()
		})
	}
}

// gather fetches up to n messages behind one that was fetched. A lone one is not held
// back: it waits only where the server says that more wait there, for as long as linger,
// and until the batch before it is handled, before which its own turn does not come.
func gather(before context.Context, it jetstream.MessagesContext, acknowledged func(jetstream.Msg) jetstream.Msg, more bool, n int, linger time.Duration) (msgs []jetstream.Msg) {
	deadline := time.Now().Add(linger)
	for len(msgs) < n {
		wait := jetstream.NextMaxWait(max(time.Until(deadline), time.Microsecond))
		switch {
		case more:
		case before.Err() == nil:
			wait = jetstream.NextContext(before)
		default:
			return msgs
		}
		msg, err := it.Next(wait)
		if err != nil {
			return msgs // an end or a loss shows again at the next turn
		}
		msg = fetchedAs(acknowledged(msg))
		msgs, more = append(msgs, msg), waiting(msg)
	}
	return msgs
}

// gone reports whether the server knows the consumer, or its stream, no more.
func gone(ctx context.Context, c jetstream.Consumer) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := c.Info(ctx)
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}
