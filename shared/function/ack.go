package function

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// delivery is a message as a consumer sent it. It is settled once.
type delivery struct {
	msg  *nats.Msg
	meta nats.MsgMetadata // what the server said of it
	at   time.Time        // when it came
	nc   *nats.Conn
	to   string // where it is acknowledged; empty where no stream has sent it

	mu   sync.Mutex
	done bool
}

// waiting reports whether the consumer had more when it sent the message.
func (d *delivery) waiting() bool { return d.meta.NumPending > 0 }

// streamed reports whether it comes from a stream, as anything honest does.
func (d *delivery) streamed() bool { return d.to != "" }

// end says the last thing about the message, once.
func (d *delivery) end(body string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done {
		return jetstream.ErrMsgAlreadyAckd
	}
	if d.streamed() {
		if err := d.nc.Publish(d.to, []byte(body)); err != nil {
			return err
		}
	}
	d.done = true
	return nil
}

func (d *delivery) ack() error { return d.end("+ACK") }

// nak has the server send it again after a while, to whoever asks then.
func (d *delivery) nak(after time.Duration) error {
	if after == 0 {
		return d.end("-NAK")
	}
	return d.end(fmt.Sprintf(`-NAK {"delay": %d}`, after.Nanoseconds()))
}

// term ends it without its having been handled.
func (d *delivery) term(reason string) error { return d.end("+TERM " + oneLine(reason)) }

// inProgress has the server wait anew for its acknowledgement.
func (d *delivery) inProgress() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done || !d.streamed() {
		return nil
	}
	return d.nc.Publish(d.to, []byte("+WPI"))
}

// acknowledger gives where this site's server takes the acknowledgement of what comes from
// a consumer at origin with the given reply: under the names of the site, to which the
// permissions of a leafnode bind (see infra/nats), or under the server's own. The server is
// asked, for it alone knows.
func (b *Bus) acknowledger(ctx context.Context, origin federation.SiteID) (func(reply string) string, error) {
	if !b.scoped.Load() { // what is so once stays so
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := b.nc.RequestWithContext(ctx, subject.AckProbe(b.site.ID), nil)
		if errors.Is(err, nats.ErrNoResponders) {
			return func(reply string) string { return reply }, nil
		}
		if err != nil {
			return nil, fmt.Errorf("asking the server how it is acknowledged to: %w", err)
		}
		b.scoped.Store(true)
	}
	return func(reply string) string { return subject.Ack(b.site.ID, origin, reply) }, nil
}
