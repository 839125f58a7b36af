package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// Bus is how a function sends: one NATS connection of a site, with its JetStream.
type Bus struct {
	site federation.Identity
	nc   *nats.Conn
	js   jetstream.JetStream
}

// Connect opens the connection of one function of a site. The connection never
// gives up: a server that goes away is waited for, at most a second between tries.
// The first connection must succeed before ctx ends, else the error says which
// servers were tried.
func Connect(ctx context.Context, site federation.Identity, function, url string, log *slog.Logger, opts ...nats.Option) (*Bus, error) {
	log = log.With("function", function)
	all := append([]nats.Option{
		nats.Name(string(site.ID) + "/" + function),
		nats.CustomInboxPrefix(subject.Inbox(site.ID)),
		nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(4 * time.Second),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			where := ""
			if sub != nil {
				where = sub.Subject
			}
			log.Warn("NATS reports an error", "subject", where, "error", err)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("disconnected from NATS", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("reconnected to NATS", "server", nc.ConnectedServerName()) }),
	}, opts...)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		nc, err := nats.Connect(url, all...)
		if err == nil {
			return NewBus(nc, site)
		}
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
			return nil, fmt.Errorf("connecting the function %s to NATS at %s: %w", function, url, err)
		}
		select {
		case <-ctx.Done():
			return nil, fault.New(fault.Unavailable, "NATS cannot be reached at %s: %v", url, err)
		case <-time.After(wait):
		}
	}
}

// NewBus is the bus over a connection that exists. The bus does not close it;
// stopping the function that runs on it does.
func NewBus(nc *nats.Conn, site federation.Identity) (*Bus, error) {
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(5*time.Second))
	if err != nil {
		return nil, fmt.Errorf("opening JetStream of %s: %w", site.ID, err)
	}
	return &Bus{site: site, nc: nc, js: js}, nil
}

// Site is who this side of the bus is.
func (b *Bus) Site() federation.Identity { return b.site }

// Conn is the connection under the bus.
func (b *Bus) Conn() *nats.Conn { return b.nc }

// JetStream is the JetStream of the own site.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// JetStreamOf is the JetStream of a site, across the leafnode where it is a peer.
func (b *Bus) JetStreamOf(site federation.SiteID) (jetstream.JetStream, error) {
	if site == b.site.ID {
		return b.js, nil
	}
	return jetstream.NewWithDomain(b.nc, subject.Domain(site), jetstream.WithDefaultTimeout(5*time.Second))
}

// Publish sends v as JSON to whoever listens now. Nobody listening is no error.
func (b *Bus) Publish(_ context.Context, subj string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a message for %s: %w", subj, err)
	}
	if err := b.nc.Publish(subj, data); err != nil {
		return fmt.Errorf("publishing to %s: %w", subj, err)
	}
	return nil
}

// Reaches reports whether the NATS server of a peer can be reached across the
// leafnode, whether or not functions run at the peer. The error is for a question
// that found no end in time: then nobody knows.
func (b *Bus) Reaches(ctx context.Context, peer federation.SiteID) (bool, error) {
	_, err := b.nc.RequestWithContext(ctx, subject.AlertConsumerInfo(peer, b.site.ID), nil)
	if errors.Is(err, nats.ErrNoResponders) {
		return false, nil
	}
	return err == nil, err
}

// Nudge tells the replicas of a function of the own site that there is work. It
// may be lost; the function also looks by itself.
func (b *Bus) Nudge(function string) error {
	return b.nc.Publish(subject.Nudge(b.site.ID, function), nil)
}

// Message is something for a local stream. ID makes a second publish of the same
// message, within the stream's dedup window, a no-op.
type Message struct {
	Subject string
	ID      string
	Payload []byte
}

// Store publishes messages to the local streams that capture their subjects and
// waits for the server to have them. It reports, for each, its sequence in its
// stream, 0 where it is not stored; a message that was there already has the
// sequence that it got then. err is the first failure, Unavailable where JetStream
// did not answer.
func (b *Bus) Store(ctx context.Context, msgs []Message) (sequences []uint64, err error) {
	sequences = make([]uint64, len(msgs))
	acks := make([]jetstream.PubAckFuture, len(msgs))
	for i, m := range msgs {
		acks[i], err = b.js.PublishMsgAsync(&nats.Msg{Subject: m.Subject, Data: m.Payload}, jetstream.WithMsgID(m.ID))
		if err != nil {
			err = fault.New(fault.Unavailable, "publishing to %s: %v", m.Subject, err)
			break
		}
	}
	for i, ack := range acks {
		if ack == nil {
			break
		}
		select {
		case stored := <-ack.Ok():
			sequences[i] = stored.Sequence
		case e := <-ack.Err():
			if err == nil {
				err = fault.New(fault.Unavailable, "the stream for %s did not take a message: %v", msgs[i].Subject, e)
			}
		case <-ctx.Done():
			if err == nil {
				err = fault.New(fault.Timeout, "the stream for %s did not answer in time", msgs[i].Subject)
			}
		}
	}
	return sequences, err
}
