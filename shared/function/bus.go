package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/subject"
	"github.com/auroramesh/auroramesh/shared/tracing"
)

// Bus is how a function sends: one NATS connection of a site, with its JetStream.
type Bus struct {
	site federation.Identity
	nc   *nats.Conn
	js   jetstream.JetStream
	// scoped is set once the server has said that it takes acknowledgements under the
	// site's names only.
	scoped atomic.Bool
	// replicas is on how many servers each stream is kept; see [Bus.Replicate].
	replicas int
	// own signs what goes to the peers, and peers are their keys; see [Bus.Identify].
	own   *identity.Identity
	peers Keyring
	// large is which questions are put in parts.
	large largeAnswers
	// tracer makes the spans of what runs on this bus; see [Bus.Follow].
	tracer trace.Tracer
	// batchless is the streams that allow no batches, by name, with when they last said so.
	batchless sync.Map
	log       *slog.Logger
}

// firstWait is between the first two tries to connect; it doubles from there.
const firstWait = 50 * time.Millisecond

// toldAgain is after how long it is logged once more that the server refuses a function.
const toldAgain = 30 * time.Second

// maxRefused is for how long a function that starts is refused before it ends. A server that reads
// its configuration anew refuses for a moment who connects just then; a wrong credential it refuses for good.
const maxRefused = 10 * time.Second

// Connect opens the connection of one function of a site. The connection never
// gives up: a server that goes away, or refuses the function for a while, is waited for,
// at most a second between tries. The first connection must succeed before ctx ends, and not be
// refused for ten seconds, else the error says which servers were tried.
func Connect(ctx context.Context, site federation.Identity, function, url string, log *slog.Logger, opts ...nats.Option) (*Bus, error) {
	log = log.With("function", function)
	var refused atomic.Int64 // when it was last told, in nanoseconds since 1970
	all := append([]nats.Option{
		nats.Name(string(site.ID) + "/" + function),
		nats.CustomInboxPrefix(subject.Inbox(site.ID)),
		nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.IgnoreAuthErrorAbort(), // else the second refusal closes the connection for good
		nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(4 * time.Second),
		nats.SyncQueueLen(maxWaiting),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if isRefusal(err) {
				if now, last := time.Now().UnixNano(), refused.Load(); now-last > int64(toldAgain) && refused.CompareAndSwap(last, now) {
					log.Warn("the NATS server refuses the function, which tries again; where its key was changed, start it anew", "error", err)
				}
				return
			}
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
	var refusedSince time.Time // zero where the last try was not refused
	for wait := firstWait; ; wait = min(2*wait, time.Second) {
		nc, err := nats.Connect(url, all...)
		if err == nil {
			b, err := NewBus(nc, site)
			if b != nil {
				b.log = log
			}
			return b, err
		}
		where := settings.Redact(url)
		var failed error
		if isRefusal(err) {
			if refusedSince.IsZero() {
				refusedSince = time.Now()
				log.Warn("the NATS server refuses the function; trying again, for it may only be reading its configuration anew", "error", err, "for", maxRefused)
			}
			failed = fmt.Errorf("connecting the function %s to NATS at %s: %w", function, where, err)
			if time.Since(refusedSince) > maxRefused {
				return nil, failed
			}
		} else {
			refusedSince = time.Time{}
			if wait == firstWait {
				log.Warn("NATS cannot be reached yet; trying again", "error", err)
			}
			failed = fault.New(fault.Unavailable, "NATS cannot be reached at %s: %v", where, err)
		}
		select {
		case <-ctx.Done():
			return nil, failed
		case <-time.After(wait):
		}
	}
}

// isRefusal reports whether the server does not let the function in with what it shows.
func isRefusal(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired)
}

// NewBus is the bus over a connection that exists. The bus does not close it;
// stopping the function that runs on it does.
func NewBus(nc *nats.Conn, site federation.Identity) (*Bus, error) {
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(5*time.Second))
	if err != nil {
		return nil, fmt.Errorf("opening JetStream of %s: %w", site.ID, err)
	}
	return &Bus{site: site, nc: nc, js: js, tracer: tracing.Off(), log: slog.New(slog.DiscardHandler)}, nil
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

// Replicate says on how many servers of the site's cluster the streams are kept that a
// function on this bus makes; 0, as without it, leaves that to the operator. It is called
// before the function starts.
func (b *Bus) Replicate(n int) { b.replicas = n }

// Publish sends v as JSON to whoever listens now, signed where that is a peer. Nobody
// listening is no error.
func (b *Bus) Publish(ctx context.Context, subj string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a message for %s: %w", subj, err)
	}
	msg := &nats.Msg{Subject: subj, Data: data}
	if err := b.sealTogether([]*nats.Msg{msg}); err != nil {
		return err
	}
	if tracing.Traced(ctx) {
		if msg.Header == nil {
			msg.Header = nats.Header{}
		}
		tracing.Carry(ctx, msg.Header)
	}
	if err := b.nc.PublishMsg(msg); err != nil {
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

// refused reports whether the server has refused a message for the subject since
// before was the last error. It tells so on the side, and the asker waits in vain.
func (b *Bus) refused(before error, subj string) bool {
	err := b.nc.LastError()
	if err == before { //nolint:errorlint // the same refusal again is another value
		return false
	}
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), strconv.Quote(subj))
}

// Nudge tells the replicas of a function of the own site that there is work. It
// may be lost; the function also looks by itself.
func (b *Bus) Nudge(function string) error {
	return b.nc.Publish(subject.Nudge(b.site.ID, function), nil)
}

// maxHandedOver is how large work that is handed over may be, in bytes.
const maxHandedOver = 512 << 10

// HandOver gives a [Handed] trigger of a function of the own site its work, so that it
// need not look for it. It is only quicker than [Bus.Nudge], which takes its place where
// the work is too large for a message: it may be lost.
func (b *Bus) HandOver(function, trigger string, work any) error {
	data, err := json.Marshal(work)
	if err != nil {
		return fmt.Errorf("encoding what is handed over to %s: %w", function, err)
	}
	if len(data) > maxHandedOver {
		return b.Nudge(function)
	}
	return b.nc.Publish(subject.HandOver(b.site.ID, function, trigger), data)
}
