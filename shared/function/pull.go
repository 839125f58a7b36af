package function

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// pulling is what a pull is to do with a consumer.
type pulling struct {
	origin   federation.SiteID // whose consumer it is
	consumer jetstream.Consumer
	pace     pace
	batch    int           // how many messages are handed over together at most
	linger   time.Duration // how long the first of them waits for more
	answered func()        // called once, when the server has said something
	missing  func()        // called for each heartbeat that does not come
	open     func([]*delivery) (handle func())
}

// pull hands over messages of a consumer until ctx ends and the batch in hand is done, or the
// consumer is lost; what else was fetched is given back. A batch is opened while the one before
// it is handled; they are handled in their order, one at a time. The heartbeat of the pace finds
// a pull that was lost with a link; it is renewed as soon as the link is back. A calm pull ends
// with the first heartbeat that does not come. Where as many messages have come as the pace asks
// for, it ends with errMore.
func (r *Running) pull(ctx context.Context, m *meter, p pulling) error {
	to, err := r.bus.acknowledger(ctx, p.origin)
	if err != nil {
		return err
	}
	info := p.consumer.CachedInfo()
	f, err := r.flow(r.bus.api(p.origin), info.Stream, info.Name, p.pace, ahead*p.batch, to, p.answered)
	if err != nil {
		return err
	}
	// Only once the server knows that nobody listens here: else they would come straight back.
	var left []*delivery
	defer func() { giveBack(r, append(f.stop(), left...)) }()
	defer context.AfterFunc(ctx, f.drain)()
	m.setTrouble(nil)
	var mu sync.Mutex // of left
	leave := func(msgs []*delivery) {
		mu.Lock()
		defer mu.Unlock()
		left = append(left, msgs...)
	}
	var inHand sync.WaitGroup
	defer inHand.Wait()
	previous, none := context.WithCancel(context.Background()) // ends when the batch before is handled
	none()
	beforeThat, missed := previous, 0
	for {
		<-beforeThat.Done() // no more than two are in hand
		switch err := f.wait(context.Background(), time.Time{}); {
		case errors.Is(err, errOver):
			return nil
		case errors.Is(err, jetstream.ErrNoHeartbeat) && p.pace == calm:
			return nil
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			p.missing()
			// It is asked again. But a consumer that is gone, alone or with all that its
			// server kept, never answers: look it up anew.
			if missed++; missed >= 5 || gone(ctx, p.consumer) {
				return fmt.Errorf("the consumer is silent: %w", err)
			}
			continue
		case err != nil:
			return err
		}
		missed = 0
		if ctx.Err() != nil {
			leave(f.rest())
			continue
		}
		batch := f.gather(previous, p.batch, p.linger)
		before := previous
		this, done := context.WithCancel(context.Background())
		beforeThat, previous = before, this
		inHand.Go(func() {
			defer done()
			defer f.release(batch)
			msgs := batch.msgs
			handle := p.open(msgs)
			<-before.Done()
			if ctx.Err() != nil {
				leave(msgs)
				return
			}
			handle()
		})
	}
}

// ahead is how many batches of messages, however small they are, are on their way or wait for their turn.
const ahead = 3

// api is what the requests begin with that go to the JetStream of a site.
func (b *Bus) api(site federation.SiteID) string {
	if site == b.site.ID {
		return jetstream.DefaultAPIPrefix
	}
	return "$JS." + subject.Domain(site) + ".API."
}

// gone reports whether the server knows the consumer, or its stream, no more.
func gone(ctx context.Context, c jetstream.Consumer) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := c.Info(ctx)
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// giveBack lets another replica have messages at once.
func giveBack(r *Running, msgs []*delivery) {
	for _, msg := range msgs {
		if err := msg.nak(0); err != nil {
			r.log.Debug("a message could not be given back", "subject", msg.msg.Subject, "error", err)
		}
	}
}
