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

// scopedMsg acknowledges under the names of its site, to which the permissions of a
// leafnode bind: the server's own names pass every leafnode (see infra/nats).
type scopedMsg struct {
	jetstream.Msg
	nc   *nats.Conn
	subj string

	mu   sync.Mutex
	done bool
}

// acknowledger gives what comes from a consumer at origin the way in which this
// site's server takes acknowledgements. The server is asked, for it alone knows.
func (b *Bus) acknowledger(ctx context.Context, origin federation.SiteID) (func(jetstream.Msg) jetstream.Msg, error) {
	if !b.scoped.Load() { // what is so once stays so
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := b.nc.RequestWithContext(ctx, subject.AckProbe(b.site.ID), nil)
		if errors.Is(err, nats.ErrNoResponders) {
			return func(msg jetstream.Msg) jetstream.Msg { return msg }, nil
		}
		if err != nil {
			return nil, fmt.Errorf("asking the server how it is acknowledged to: %w", err)
		}
		b.scoped.Store(true)
	}
	return func(msg jetstream.Msg) jetstream.Msg {
		return &scopedMsg{Msg: msg, nc: b.nc, subj: subject.Ack(b.site.ID, origin, msg.Reply())}
	}, nil
}

// end says the last thing about the message, once.
func (m *scopedMsg) end(body string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done {
		return jetstream.ErrMsgAlreadyAckd
	}
	if err := m.nc.Publish(m.subj, []byte(body)); err != nil {
		return err
	}
	m.done = true
	return nil
}

// Ack implements [jetstream.Msg], as all that follow.
func (m *scopedMsg) Ack() error { return m.end("+ACK") }

func (m *scopedMsg) DoubleAck(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done {
		return jetstream.ErrMsgAlreadyAckd
	}
	if _, err := m.nc.RequestWithContext(ctx, m.subj, []byte("+ACK")); err != nil {
		return err
	}
	m.done = true
	return nil
}

func (m *scopedMsg) Nak() error { return m.end("-NAK") }

func (m *scopedMsg) NakWithDelay(d time.Duration) error {
	return m.end(fmt.Sprintf(`-NAK {"delay": %d}`, d.Nanoseconds()))
}

func (m *scopedMsg) Term() error { return m.end("+TERM") }

func (m *scopedMsg) TermWithReason(reason string) error { return m.end("+TERM " + reason) }

func (m *scopedMsg) InProgress() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done {
		return jetstream.ErrMsgAlreadyAckd
	}
	return m.nc.Publish(m.subj, []byte("+WPI"))
}
