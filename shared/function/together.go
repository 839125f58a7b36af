package function

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/shared/identity"
)

// Came is a message with the subject under which it came.
type Came[M any] struct {
	Subject string
	Value   M
}

// Each is what the handler of an [OnTogether] returns where it is done with all of its
// messages, but not with each alike: by index, the [Drop] or the fault of those that it
// leaves aside. Joined with another error, that is logged and counted as well.
type Each map[int]error

// Error implements error.
func (e Each) Error() string { return fmt.Sprintf("%d messages are left aside", len(e)) }

// OnTogether is [On] for what comes in numbers: the handler gets together the messages
// that wait, up to [Batch] of them. It is called at most once in the time that Batch lets
// them linger, and a message after a pause at once. What cannot be decoded is counted
// and left out.
func OnTogether[M any](subj string, handler func(context.Context, []Came[M]) error, opts ...Option) Trigger {
	return &togetherTrigger[M]{onTrigger[M]{options: build("on", opts), subject: subj}, handler}
}

type togetherTrigger[M any] struct {
	onTrigger[M]
	handler func(context.Context, []Came[M]) error
}

func (t *togetherTrigger[M]) start(r *Running, m *meter) error {
	if err := t.verifying(r); err != nil {
		return err
	}
	return r.gathering(m, t.subject, t.options, func(all []*nats.Msg) { t.handle(r, m, all) })
}

// handle calls the handler once for all of the messages that say something.
func (t *togetherTrigger[M]) handle(r *Running, m *meter, all []*nats.Msg) {
	batch := make([]Came[M], 0, len(all))
	refusals := t.refusals(r, all)
	for i, msg := range all {
		v, err := decodeUnless[M](refusals[i], msg.Data)
		if err != nil {
			t.leave(r, m, msg.Subject, err)
			continue
		}
		batch = append(batch, Came[M]{msg.Subject, v})
	}
	if len(batch) == 0 {
		return
	}
	base, over := t.under(r)
	defer over()
	var left Each
	err := m.call(base, t.timeout, func(ctx context.Context) error {
		err := t.handler(ctx, batch)
		if alone, ok := err.(Each); ok { //nolint:errorlint // what it is joined with has failed
			left = alone
			return nil
		}
		errors.As(err, &left)
		return err
	})
	if err != nil {
		r.log.ErrorContext(base, "messages could not be handled", "trigger", t.name, "subject", t.subject, "messages", len(batch), "error", err, "stack", stack(err))
	}
	for i, err := range left {
		t.leave(r, m, batch[i].Subject, err)
	}
}

// refusals is, for each message, why it is not of whom it must be; nil where it is.
func (t *togetherTrigger[M]) refusals(r *Running, all []*nats.Msg) []error {
	if t.from == nil {
		return make([]error, len(all))
	}
	claims := make([]identity.Claim, len(all))
	for i, msg := range all {
		in := messageOf(msg)
		claims[i] = identity.Claim{Key: in.header.Get(HeaderKey), Proof: proofIn(in.header), Statement: in.said(t.from(in.subject))}
	}
	return r.bus.peers.VerifyAll(r.base, claims, true)
}

func decodeUnless[M any](refused error, data []byte) (msg M, err error) {
	if refused != nil {
		return msg, refused
	}
	return decode[M](data)
}

// leave counts a message that was left aside, and tells why where that is not on purpose.
func (t *togetherTrigger[M]) leave(r *Running, m *meter, subj string, err error) {
	if drop := dropped(""); errors.As(err, &drop) {
		m.metrics.refused.WithLabelValues(m.function, m.trigger, string(drop)).Inc()
		return
	}
	m.refuse(err)
	r.log.Warn("a message was refused", "trigger", t.name, "subject", subj, "error", discreet(err))
}

// gathering hands over the messages of a subject together: those that wait, up to the
// batch of the options, and not before the linger since the last; or, where they are
// coalesced, all that wait once the linger after the first is over. It is a plain
// queue subscription: an endpoint of the micro service would be called once a message.
func (r *Running) gathering(m *meter, subj string, o options, handle func([]*nats.Msg)) error {
	sub, err := r.bus.nc.QueueSubscribeSync(subj, r.queue())
	if err != nil {
		return fmt.Errorf("subscribing to %s: %w", subj, err)
	}
	// What is lost past them is looked for, as what comes while nobody listens.
	if err := sub.SetPendingLimits(maxWaiting, maxGatheredBytes); err != nil {
		return fmt.Errorf("subscribing to %s: %w", subj, err)
	}
	var lost overflow
	waiting := func(all []*nats.Msg) []*nats.Msg {
		for len(all) < o.batch || o.coalesce {
			msg, err := lost.over(m, sub, func() (*nats.Msg, error) { return sub.NextMsg(0) })
			if err != nil {
				break
			}
			all = append(all, msg)
		}
		return all
	}
	wait, stop := r.untilDraining()
	r.loops.Go(func() {
		defer stop()
		for {
			msg, err := lost.over(m, sub, func() (*nats.Msg, error) { return sub.NextMsgWithContext(wait) })
			if err != nil {
				if wait.Err() != nil || !sub.IsValid() {
					break
				}
				m.setTrouble(err)
				if !r.pause(time.Second) {
					break
				}
				continue
			}
			m.setTrouble(nil)
			if o.coalesce && o.linger > 0 {
				r.pause(o.linger) // what is here is handled also where the function is to stop
			}
			begun := time.Now()
			handle(waiting([]*nats.Msg{msg}))
			if left := o.linger - time.Since(begun); left > 0 && !o.coalesce && !r.pause(left) {
				break
			}
		}
		for all := waiting(nil); len(all) > 0; all = waiting(nil) {
			handle(all)
		}
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			r.log.Warn("leaving a subject failed", "subject", subj, "error", err)
		}
	})
	return nil
}

// overflow is how many messages of a subscription were dropped because too many waited.
type overflow struct{ counted int }

// over gives the next message, also where before it some were dropped: these are counted.
func (o *overflow) over(m *meter, sub *nats.Subscription, next func() (*nats.Msg, error)) (*nats.Msg, error) {
	for {
		msg, err := next()
		if !errors.Is(err, nats.ErrSlowConsumer) {
			return msg, err
		}
		if dropped, err := sub.Dropped(); err == nil {
			m.metrics.refused.WithLabelValues(m.function, m.trigger, "overflow").Add(float64(dropped - o.counted))
			o.counted = dropped
		}
	}
}
