package function

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// Every calls the handler once an interval, at one of the replicas. The clock is
// the server's: a JetStream message schedule sends the ticks, so there is no
// leader to elect, one tick an interval however many replicas live, and one tick,
// not a storm, after a pause. The shortest interval is one second.
func Every(interval time.Duration, handler func(context.Context) error, opts ...Option) Trigger {
	return &everyTrigger{options: build("every", opts), interval: interval, handler: handler}
}

type everyTrigger struct {
	options
	interval time.Duration
	handler  func(context.Context) error
}

func (t *everyTrigger) describe(*Running) (name, kind, detail string) {
	return t.name, "every", t.interval.String()
}

func (t *everyTrigger) start(r *Running, m *meter) error {
	if t.interval < time.Second {
		return fmt.Errorf("the interval of %s is %s: the shortest is 1s", t.name, t.interval)
	}
	r.supervise(m, func(ctx context.Context) error {
		c, err := t.provision(ctx, r)
		if err != nil {
			return err
		}
		return r.pull(ctx, m, pulling{
			origin: r.bus.site.ID, consumer: c, pace: flowing, batch: 1, answered: func() {}, missing: func() {},
			open: func(msgs []*delivery) func() { return func() { t.tick(r, m, msgs[0]) } },
		})
	})
	return nil
}

// tick runs the handler once. A tick whose handler fails is not tried again: the
// next one comes, and a handler that is called on a schedule looks at the present.
func (t *everyTrigger) tick(r *Running, m *meter, msg *delivery) {
	base, over := t.under(r)
	defer over()
	if err := m.call(base, t.timeout, t.handler); err != nil {
		r.log.Error("a scheduled call failed", "trigger", t.name, "error", err, "stack", stack(err))
	}
	if err := msg.ack(); err != nil {
		r.log.Debug("a tick could not be acknowledged", "trigger", t.name, "error", err)
	}
}

// tickWait is how long the server waits for a sign of life of the replica that
// has a tick. When it is over, another replica gets the tick.
const tickWait = 5 * time.Second

// provision makes the stream, the schedule and the replicas' shared consumer.
func (t *everyTrigger) provision(ctx context.Context, r *Running) (jetstream.Consumer, error) {
	site := r.bus.site.ID
	if err := r.provision(ctx, stream.Ticks(site)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := r.bus.js.CreateOrUpdateConsumer(ctx, subject.TickStream(site), jetstream.ConsumerConfig{
		Durable:       subject.TickConsumer(r.fn.Name, t.name),
		Description:   "ticks of " + r.fn.Name + ", shared by its replicas",
		FilterSubject: subject.Tick(site, r.fn.Name, t.name),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       tickWait,
		MaxAckPending: 1, // a call that takes longer than the interval is not overtaken by the next
		MaxDeliver:    3, // a replica that dies in the middle leaves the tick to another
		DeliverPolicy: jetstream.DeliverNewPolicy,
	})
	if err != nil {
		return nil, fmt.Errorf("creating the consumer of the ticks: %w", err)
	}
	return c, t.schedule(ctx, r)
}

// schedule publishes the schedule where it is absent or of another interval.
// Publishing restarts the interval, so it must not happen at every start of a
// replica; the expected sequence lets only one of several replicas do it.
func (t *everyTrigger) schedule(ctx context.Context, r *Running) error {
	site := r.bus.site.ID
	s, err := r.bus.js.Stream(ctx, subject.TickStream(site))
	if err != nil {
		return fmt.Errorf("reading the stream of ticks: %w", err)
	}
	subj := subject.Schedule(site, r.fn.Name, t.name)
	var last uint64
	switch msg, err := s.GetLastMsgForSubject(ctx, subj); {
	case err == nil && msg.Header.Get("Nats-Schedule") == "@every "+t.interval.String():
		return nil
	case err == nil:
		last = msg.Sequence
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return fmt.Errorf("reading the schedule: %w", err)
	}
	_, err = r.bus.js.Publish(ctx, subj, nil,
		jetstream.WithScheduleEvery(t.interval),
		jetstream.WithScheduleTarget(subject.Tick(site, r.fn.Name, t.name)),
		jetstream.WithExpectLastSequencePerSubject(last))
	var wrong *jetstream.APIError
	if errors.As(err, &wrong) && wrong.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return nil // another replica was first
	}
	if err != nil {
		return fmt.Errorf("publishing the schedule: %w", err)
	}
	// The first tick of a new schedule would come only after one interval.
	if _, err := r.bus.js.Publish(ctx, subject.Tick(site, r.fn.Name, t.name), nil); err != nil {
		return fmt.Errorf("publishing the first tick: %w", err)
	}
	return nil
}
