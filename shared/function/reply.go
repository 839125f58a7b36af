package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.opentelemetry.io/otel/trace"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// Reply answers the requests to an endpoint, each to one of the replicas.
func Reply[Req, Res any](e Endpoint[Req, Res], handler func(context.Context, Req) (Res, error), opts ...Option) Trigger {
	return &replyTrigger[Req, Res]{options: build(e.Name, opts), endpoint: e, handler: handler}
}

// How many requests may wait for one instance of an endpoint. Whoever asked the
// next one would have given up before its turn came.
const (
	maxWaiting       = 16_384
	maxWaitingBytes  = 64 << 20
	maxGatheredBytes = 16 << 20 // of what is handed over together
)

type replyTrigger[Req, Res any] struct {
	options
	endpoint Endpoint[Req, Res]
	handler  func(context.Context, Req) (Res, error)
	last     lastAnswer
}

func (t *replyTrigger[Req, Res]) describe(r *Running) (name, kind, detail string) {
	return t.name, "reply", t.endpoint.at(r.bus.site.ID)
}

func (t *replyTrigger[Req, Res]) start(r *Running, m *meter) error {
	if t.endpoint.Function != r.fn.Name {
		return fmt.Errorf("the endpoint %s.%s belongs to another function than %s", t.endpoint.Function, t.endpoint.Name, r.fn.Name)
	}
	for i := range t.parallel {
		svc, err := r.service(i)
		if err != nil {
			return err
		}
		err = svc.AddEndpoint(t.name, micro.HandlerFunc(func(req micro.Request) { t.serve(r, m, req) }),
			micro.WithEndpointSubject(m.detail), micro.WithEndpointPendingLimits(maxWaiting, maxWaitingBytes),
			micro.WithEndpointMetadata(map[string]string{"trigger": "reply", "description": t.endpoint.Doc}))
		if err != nil {
			return fmt.Errorf("adding the endpoint %s: %w", t.name, err)
		}
	}
	return nil
}

func (t *replyTrigger[Req, Res]) serve(r *Running, m *meter, req micro.Request) {
	id := req.Headers().Get(HeaderRequestID)
	asked := message{req.Subject(), nats.Header(req.Headers()), req.Data()}
	signed := r.answering(asked, t.endpoint.Asker != nil)
	refuse := func(err error) {
		m.refuse(err)
		r.answerError(req, id, t.name, err, signed)
	}
	if t.endpoint.Asker != nil {
		if err := r.bus.proved(r.base, asked.header, asked.asked(t.endpoint.Asker(asked.subject)), false); err != nil {
			level := slog.LevelWarn
			if fault.Is(err, fault.Unavailable) { // the peer is too new to be known, or nobody can tell: it asks again
				level = slog.LevelInfo
			}
			r.log.Log(r.base, level, "a question of a peer was refused", "endpoint", t.name, "subject", asked.subject, "error", err)
			refuse(err)
			return
		}
	}
	answer, again, due := t.last.good(req.Data())
	if due {
		go t.renew(r, m, req.Data())
	}
	if again {
		m.repeat()
		r.give(req, id, t.name, answer, signed)
		return
	}
	q, err := decode[Req](req.Data())
	if err != nil {
		refuse(err)
		return
	}
	base, end := r.span(within(context.WithValue(WithRequestID(r.base, id), subjectKey{}, req.Subject()), asked.header), m, trace.SpanKindServer)
	defer func() { end(err) }()
	err = m.call(base, t.timeout, func(ctx context.Context) error {
		answer, err = t.last.or(req.Data(), t.again, func() ([]byte, error) { return t.find(ctx, q) })
		return err
	})
	if err != nil {
		r.answerError(req, id, t.name, err, signed)
		return
	}
	r.give(req, id, t.name, answer, signed)
}

func (t *replyTrigger[Req, Res]) find(ctx context.Context, q Req) ([]byte, error) {
	res, err := t.handler(ctx, q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(res)
}

// renew finds the next answer to a question that is answered again and again. Where it
// fails, whoever asks after the last answer is over is told why.
func (t *replyTrigger[Req, Res]) renew(r *Running, m *meter, question []byte) {
	q, err := decode[Req](question)
	if err == nil {
		err = m.call(r.base, t.timeout, func(ctx context.Context) error {
			return t.last.next(question, t.again, func() ([]byte, error) { return t.find(ctx, q) })
		})
	}
	if err != nil {
		r.log.Debug("an answer was not renewed", "endpoint", t.name, "error", err)
	}
}

// answerError sends err as the micro error that its fault says. What is internal is told to the log only.
func (r *Running) answerError(req micro.Request, id, endpoint string, err error, signed func([]byte) []micro.RespondOpt) {
	f := fault.Of(err)
	if f.Code == fault.Internal || f.Code == fault.Timeout {
		r.log.Error("a request failed", "endpoint", endpoint, "request_id", id, "error", err, "stack", stack(err))
	} else {
		r.log.Debug("a request was refused", "endpoint", endpoint, "request_id", id, "code", f.Code, "error", err)
	}
	if err := req.Error(string(f.Code), f.Message, f.JSON(), signed(f.JSON())...); err != nil {
		r.log.Warn("an error answer could not be sent", "endpoint", endpoint, "request_id", id, "error", err)
	}
}

func stack(err error) string {
	var p *panicError
	if errors.As(err, &p) {
		return p.stack
	}
	return ""
}

// On handles messages of a subject, each at one of the replicas, at most once: a
// message that comes while no replica lives is lost. What cannot be decoded, or
// what the handler refuses, is counted by its reason. The queue group carries the
// site, else sites that listen on one subject would take each other's messages.
func On[M any](subj string, handler func(context.Context, M) error, opts ...Option) Trigger {
	return &onTrigger[M]{options: build("on", opts), subject: subj, handler: handler}
}

// Nudged calls the handler when a nudge for the function arrives, once for all that wait.
func Nudged(handler func(context.Context) error, opts ...Option) Trigger {
	opts = append([]Option{Named("nudged"), Coalesced()}, opts...)
	return &onTrigger[struct{}]{options: build("on", opts), handler: func(ctx context.Context, _ struct{}) error { return handler(ctx) }}
}

// Handed calls the handler with the work that others hand over under the name, see
// [Bus.HandOver]: once with all that waits, in its order. The work is in the database too,
// where the function looks for what is lost on the way, or cannot be read.
func Handed[M any](name string, handler func(context.Context, []M) error, opts ...Option) Trigger {
	opts = append([]Option{Coalesced()}, opts...)
	return &onTrigger[M]{options: build(name, opts), handed: handler}
}

type onTrigger[M any] struct {
	options
	subject string // empty: the function's nudge
	handler func(context.Context, M) error
	handed  func(context.Context, []M) error // in place of handler, for all that wait
}

func (t *onTrigger[M]) describe(r *Running) (name, kind, detail string) {
	switch {
	case t.subject != "":
	case t.handed != nil:
		t.subject = subject.HandOver(r.bus.site.ID, r.fn.Name, t.name)
	default:
		t.subject = subject.Nudge(r.bus.site.ID, r.fn.Name)
	}
	return t.name, "on", t.subject
}

func (t *onTrigger[M]) start(r *Running, m *meter) error {
	if err := t.verifying(r); err != nil {
		return err
	}
	if t.coalesce {
		return r.gathering(m, t.subject, t.options, func(all []*nats.Msg) {
			if t.handed != nil {
				t.handOver(r, m, all)
				return
			}
			t.handle(r, m, messageOf(all[0]))
		})
	}
	svc, err := r.service(0)
	if err != nil {
		return err
	}
	err = svc.AddEndpoint(t.name, micro.HandlerFunc(func(req micro.Request) {
		t.handle(r, m, message{req.Subject(), nats.Header(req.Headers()), req.Data()})
	}), micro.WithEndpointSubject(t.subject), micro.WithEndpointMetadata(map[string]string{"trigger": "on"}))
	if err != nil {
		return fmt.Errorf("subscribing to %s: %w", t.subject, err)
	}
	return nil
}

type subjectKey struct{}

// SubjectOf is the subject of the message that an [On] or [Reply] handler was given:
// where the trigger has a wildcard, it says more than the trigger.
func SubjectOf(ctx context.Context) string {
	s, _ := ctx.Value(subjectKey{}).(string)
	return s
}

// Drop is the error of a handler that leaves a message aside on purpose. It is
// counted under the reason, a short word or two, and is no trouble to anyone.
func Drop(reason string) error { return dropped(reason) }

type dropped string

func (d dropped) Error() string { return "dropped: " + string(d) }

func (t *onTrigger[M]) handle(r *Running, m *meter, in message) {
	msg, err := t.read(r, in)
	if err != nil {
		m.refuse(err)
		r.log.Warn("a message was refused", "trigger", t.name, "subject", in.subject, "error", discreet(err))
		return
	}
	var drop dropped
	base, over := t.under(r)
	defer over()
	base = context.WithValue(WithRequestID(base, in.header.Get(HeaderRequestID)), subjectKey{}, in.subject)
	base, end := r.span(within(base, in.header), m, trace.SpanKindConsumer)
	defer func() { end(err) }()
	err = m.call(base, t.timeout, func(ctx context.Context) error {
		err := t.handler(ctx, msg)
		if errors.As(err, &drop) {
			return nil
		}
		return err
	})
	switch {
	case drop != "":
		m.metrics.refused.WithLabelValues(m.function, m.trigger, string(drop)).Inc()
	case err == nil:
	case fault.Of(err).Code.Permanent():
		m.refuse(err)
		r.log.WarnContext(base, "a message was refused", "trigger", t.name, "subject", t.subject, "error", discreet(err))
	default:
		r.log.ErrorContext(base, "a message could not be handled", "trigger", t.name, "subject", t.subject, "error", err, "stack", stack(err))
	}
}

// handOver gives the handler the work that came.
func (t *onTrigger[M]) handOver(r *Running, m *meter, msgs []*nats.Msg) {
	all := make([]M, 0, len(msgs))
	for _, msg := range msgs {
		work, err := decode[M](msg.Data)
		if err != nil {
			m.refuse(err)
			r.log.Warn("work that was handed over cannot be read", "trigger", t.name, "subject", msg.Subject, "error", discreet(err))
			continue
		}
		all = append(all, work)
	}
	if len(all) == 0 {
		return
	}
	base, over := t.under(r)
	defer over()
	if err := m.call(base, t.timeout, func(ctx context.Context) error { return t.handed(ctx, all) }); err != nil {
		r.log.ErrorContext(base, "work that was handed over could not be done", "trigger", t.name, "subject", t.subject, "error", err, "stack", stack(err))
	}
}

// read gives what a message says, where it is of whom it must be.
func (t *onTrigger[M]) read(r *Running, in message) (msg M, err error) {
	if t.from != nil {
		if err := r.bus.proved(r.base, in.header, in.said(t.from(in.subject)), true); err != nil {
			return msg, err
		}
	}
	return decode[M](in.data)
}
