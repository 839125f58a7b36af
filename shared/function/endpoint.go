package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/subject"
	"github.com/auroramesh/auroramesh/shared/tracing"
)

// Endpoint is one question that a function answers, with the types of question
// and answer. It is declared once (package ask) and used at both ends: the
// function answers it with [Reply], a caller asks it with [Ask].
type Endpoint[Req, Res any] struct {
	Function string // the function that answers, e.g. "alertquery"
	Name     string // the endpoint within it, e.g. "get"
	Doc      string // one sentence for `nats micro info`
	// Subject, where set, is where the endpoint is asked at a site, in place of the
	// function's own subject: for questions that sites ask each other.
	Subject func(federation.SiteID) string
	// Asker, where set, is the peer that asks, by the subject. Then question and answer
	// are signed, and neither is heard that is not.
	Asker func(subject string) federation.SiteID
}

func (e Endpoint[Req, Res]) at(site federation.SiteID) string {
	if e.Subject != nil {
		return e.Subject(site)
	}
	return subject.Function(site, e.Function, e.Name)
}

// DefaultAskTimeout bounds an [Ask] whose context has no deadline.
const DefaultAskTimeout = 5 * time.Second

// Ask puts a question to a function of a site and waits for the answer. The
// error is a [fault.Error]: the one that the function gave, Unavailable where no
// replica of it lives or the connection to NATS is lost, Timeout where none answered before ctx ended, Forbidden where the server let no
// question through.
func Ask[Req, Res any](ctx context.Context, b *Bus, site federation.SiteID, e Endpoint[Req, Res], req Req) (Res, error) {
	var res Res
	answer, err := AskEncoded(ctx, b, site, e, req)
	if err != nil {
		return res, err
	}
	if err := json.Unmarshal(answer, &res); err != nil {
		return res, fmt.Errorf("decoding the answer of %s.%s at %s: %w", e.Function, e.Name, site, err)
	}
	return res, nil
}

// AskEncoded is [Ask] for who passes the answer on as it is: JSON.
func AskEncoded[Req, Res any](ctx context.Context, b *Bus, site federation.SiteID, e Endpoint[Req, Res], req Req) ([]byte, error) {
	data, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encoding the request to %s.%s: %w", e.Function, e.Name, err)
	}
	return Pass(ctx, b, site, e, data)
}

// Pass is [AskEncoded] for who has the question as JSON too.
func Pass[Req, Res any](ctx context.Context, b *Bus, site federation.SiteID, e Endpoint[Req, Res], data []byte) (_ []byte, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultAskTimeout)
		defer cancel()
	}
	msg := &nats.Msg{Subject: e.at(site), Data: data, Header: nats.Header{}}
	if id := RequestID(ctx); id != "" {
		msg.Header.Set(HeaderRequestID, id)
	}
	tracing.Carry(ctx, msg.Header)
	var question string
	if e.Asker != nil {
		if question, err = b.ask(msg); err != nil {
			return nil, err
		}
	}
	before, connected := b.nc.LastError(), b.nc.IsConnected()
	request, inParts := b.nc.RequestMsgWithContext, b.large.has(msg.Subject)
	if inParts {
		request = b.askInParts
	}
	answer, err := request(ctx, msg)
	connected = connected && b.nc.IsConnected()
	silent := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
	switch {
	case (silent || errors.Is(err, nats.ErrNoResponders)) && !connected: // it says nothing of the function
		return nil, noNATS()
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fault.New(fault.Unavailable, "no replica of the function %s runs at %s", e.Function, site)
	case errors.Is(err, context.DeadlineExceeded) && b.refused(before, msg.Subject):
		return nil, fault.New(fault.Forbidden, "the NATS server does not let this site ask %s", msg.Subject)
	case silent:
		return nil, late(e.Function, site)
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, fault.New(fault.TooLarge, "the request of %d bytes is over the %d bytes that a message may have", len(data), b.nc.MaxPayload())
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrDisconnected):
		return nil, noNATS()
	case err != nil:
		return nil, fmt.Errorf("asking %s.%s at %s: %w", e.Function, e.Name, site, err)
	}
	if e.Asker != nil {
		said := identity.Statement{Kind: identity.Answer, Site: string(site), Subject: msg.Subject, Regarding: question, Body: answer.Data}
		if err := b.proved(ctx, answer.Header, said, false); err != nil {
			return nil, fmt.Errorf("the answer of %s.%s at %s: %w", e.Function, e.Name, site, err)
		}
	}
	if b.large.note(msg.Subject, answer.Header) && !inParts {
		return Pass(ctx, b, site, e, data)
	}
	if code := answer.Header.Get(micro.ErrorCodeHeader); code != "" {
		if f, ok := fault.Parse(answer.Data); ok {
			return nil, f
		}
		return nil, fault.New(fault.Code(code), "%s", answer.Header.Get(micro.ErrorHeader))
	}
	return answer.Data, nil
}

// Late is the error of [Ask] where the time to ask a function is over, for who waits no longer
// for an answer that it shares with others.
func Late(b *Bus, site federation.SiteID, function string) error {
	if !b.nc.IsConnected() {
		return noNATS()
	}
	return late(function, site)
}

func noNATS() error { return fault.New(fault.Unavailable, "NATS cannot be reached") }

func late(function string, site federation.SiteID) error {
	return fault.New(fault.Timeout, "the function %s at %s did not answer in time", function, site)
}

// HeaderRequestID carries the id of the HTTP request behind a message, so that
// one request can be followed through every function's log.
const HeaderRequestID = "Aurora-Request-Id"

type requestIDKey struct{}

// WithRequestID is ctx with the id of the request that is being served.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID is the id of the request that ctx serves, empty where it has none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
