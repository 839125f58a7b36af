package function

import (
	"context"
	"errors"
	"fmt"
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
// hold up its neighbours; it becomes a dead letter after [Attempts] calls for it alone.
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
	tries   tries
	outage  outage
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
	listed := true // or it was told that they are not
	for {
		sources, err := t.sources(ctx)
		if err != nil && ctx.Err() == nil {
			m.setTrouble(fmt.Errorf("listing the sources: %w", err))
			if away := mendable(err) && t.outage.begins(r, t.name, err); listed && !away {
				// What runs goes on; only news is missed.
				r.log.Warn("the sources cannot be listed; trying on", "trigger", t.name, "error", err)
				listed = false
			}
		}
		if err == nil {
			if !listed {
				r.log.Info("the sources can be listed again", "trigger", t.name)
			}
			listed = true
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
	if !t.outage.wait(ctx) {
		return
	}
	c, err := t.find(ctx, r, s)
	for ; err != nil; c, err = t.find(ctx, r, s) {
		if !t.rest(ctx, r, m, s, wait, err) {
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
		if t.rest(ctx, r, m, s, wait, err) {
			r.loops.Go(func() { t.consume(ctx, r, m, s, min(2*wait, lateAgain)) })
		}
	})
}

// rest waits before a source is tried again, and reports whether it is to be.
func (t *consumeTrigger[M]) rest(ctx context.Context, r *Running, m *meter, s Source, wait time.Duration, err error) bool {
	if ctx.Err() != nil {
		m.sources.over(r, t.name, s)
		return false
	}
	if err != nil {
		m.metrics.restarts.WithLabelValues(m.function, m.trigger).Inc()
		m.sources.note(r, t.name, s, err)
	}
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

// attach pulls from the consumer of a source until ctx ends, it is lost, or what the function
// needs is away.
func (t *consumeTrigger[M]) attach(ctx context.Context, r *Running, m *meter, s Source, c jetstream.Consumer) error {
	ctx, stop := t.outage.during(ctx)
	defer stop()
	p := pulling{
		origin: s.Site, consumer: c, pace: flowing, batch: t.batch, linger: t.linger,
		answered: func() { m.sources.over(r, t.name, s) }, missing: func() {},
		open: func(msgs []*delivery) func() { return t.handOver(r, m, s, msgs) },
	}
	if t.calm > 0 && s.Site != r.bus.site.ID {
		return t.paced(ctx, r, m, p)
	}
	return r.pull(ctx, m, p)
}

// handOver notes how far behind the source is, and opens a batch of it.
func (t *consumeTrigger[M]) handOver(r *Running, m *meter, s Source, msgs []*delivery) (handle func()) {
	m.metrics.lag.note(m, s, msgs[len(msgs)-1])
	return t.open(r, m, s, msgs)
}

// open decodes a batch, and ends what cannot be. What it returns has the others handled.
func (t *consumeTrigger[M]) open(r *Running, m *meter, s Source, msgs []*delivery) (handle func()) {
	batch := make([]M, 0, len(msgs))
	kept := make([]*delivery, 0, len(msgs))
	unknown := map[federation.SiteID]bool{} // of whom it cannot be said yet what is theirs
	for i, msg := range msgs {
		if msg.meta.NumDelivered > 1 {
			m.metrics.redelivered.WithLabelValues(m.function, m.trigger).Inc()
		}
		in := messageOf(msg.msg)
		if len(unknown) > 0 && unknown[proofOf(s.Site, in).Site] {
			retry(r, msgs[i:i+1])
			continue
		}
		v, err := t.read(r.base, r, s, in)
		switch {
		case err == nil:
		case mendable(err):
			if t.outage.begins(r, t.name, err) {
				retry(r, kept)
				retry(r, msgs[i:])
				return func() {}
			}
			unknown[proofOf(s.Site, in).Site] = true
			m.sources.note(r, t.name, s, fmt.Errorf("it cannot be said yet whose a message is: %w", err))
			retry(r, msgs[i:i+1])
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
func (t *consumeTrigger[M]) deliver(r *Running, m *meter, s Source, kept []*delivery, batch []M) {
	base := context.WithValue(r.base, sourceKey{}, s)
	refused, err := t.call(base, r, m, kept, batch)
	if err == nil {
		m.sources.over(r, t.name, s)
		for i, msg := range kept {
			t.tries.over(s, msg)
			settle(r, msg, refused[i])
		}
		return
	}
	if mendable(err) {
		t.mend(r, m, s, kept, err)
		return
	}
	r.log.Error("a batch could not be handled", "source", s.String(), "messages", len(batch), "error", discreet(err), "stack", stack(err))
	for i := range batch {
		err := err
		if len(batch) > 1 {
			refused, err = t.call(base, r, m, kept[i:i+1], batch[i:i+1])
		}
		switch {
		case err == nil:
			t.tries.over(s, kept[i])
			settle(r, kept[i], refused[0])
		case mendable(err):
			t.mend(r, m, s, kept[i:], err)
			return
		case fault.Of(err).Code.Permanent() || t.tries.failed(s, kept[i]) >= t.attempts:
			t.tries.over(s, kept[i])
			m.refuse(err)
			r.bury(m, t.options, s, kept[i], err)
		default:
			retry(r, kept[i:i+1])
		}
	}
}

// mend has messages come again at which the handler failed by no fault of theirs.
func (t *consumeTrigger[M]) mend(r *Running, m *meter, s Source, msgs []*delivery, err error) {
	retry(r, msgs)
	if !t.outage.begins(r, t.name, err) {
		m.sources.note(r, t.name, s, fmt.Errorf("a batch could not be handled: %s", discreet(err)))
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
func (t *consumeTrigger[M]) call(base context.Context, r *Running, m *meter, msgs []*delivery, batch []M) (refused Refused, err error) {
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
func settle(r *Running, msg *delivery, reason string) {
	if reason == "" {
		ack(r, msg)
		return
	}
	if err := msg.term(reason); err != nil {
		r.log.Debug("a delivery could not be ended", "subject", msg.msg.Subject, "error", err)
	}
}

// mendable reports whether time alone may mend a failure: then the fault is not the message's.
func mendable(err error) bool {
	return fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout) || errors.Is(err, context.Canceled)
}

func ack(r *Running, msg *delivery) {
	// An acknowledgement that is lost costs a redelivery, which the database drops.
	if err := msg.ack(); err != nil {
		r.log.Debug("a message could not be acknowledged", "subject", msg.msg.Subject, "error", err)
	}
}

// retry asks for another delivery, later with each one: 0.25 s, 0.5 s, … at most 15 s.
func retry(r *Running, msgs []*delivery) {
	for _, msg := range msgs {
		wait := 15 * time.Second
		if n := max(msg.meta.NumDelivered, 1); n < 7 {
			wait = 250 * time.Millisecond << (n - 1)
		}
		if err := msg.nak(wait); err != nil {
			r.log.Debug("a redelivery could not be asked for", "subject", msg.msg.Subject, "error", err)
		}
	}
}
