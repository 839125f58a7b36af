package function

import (
	"context"
	"net/http"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/tracing"
)

// Follow gives the bus what makes spans. It belongs before [Start].
func (b *Bus) Follow(t trace.Tracer) { b.tracer = t }

// within is ctx within the trace that a message carries.
func within(ctx context.Context, h nats.Header) context.Context {
	return tracing.Under(ctx, h.Get(tracing.Header))
}

// span begins the span of one call of a handler, where ctx is within a trace, and ends
// it with what came of the call. Errors are told by their code alone: what they say may
// be of an alert.
func (r *Running) span(ctx context.Context, m *meter, kind trace.SpanKind, more ...attribute.KeyValue) (inner context.Context, end func(error)) {
	if !tracing.Traced(ctx) {
		return ctx, func(error) {}
	}
	ctx, s := r.bus.tracer.Start(ctx, m.function+"."+m.trigger, trace.WithSpanKind(kind), trace.WithAttributes(append(more,
		attribute.String("aurora.function", m.function), attribute.String("aurora.trigger", m.kind),
		attribute.String("aurora.request_id", RequestID(ctx)))...))
	return ctx, func(err error) { finish(s, err) }
}

func finish(s trace.Span, err error) {
	if err != nil {
		s.SetStatus(codes.Error, string(fault.Of(err).Code))
	}
	s.End()
}

// publishing begins the span of one message on its way into a stream, and puts it on
// the message, so that whoever reads that goes on with it.
func (b *Bus) publishing(ctx context.Context, m Message, msg *nats.Msg) (end func()) {
	if m.Trace == "" {
		return func() {}
	}
	ctx, s := b.tracer.Start(tracing.Under(ctx, m.Trace), "publish", trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("messaging.system", "nats"), attribute.String("messaging.destination.name", m.Subject), attribute.String("messaging.message.id", m.ID)))
	if msg.Header == nil {
		msg.Header = nats.Header{}
	}
	tracing.Carry(ctx, msg.Header)
	return func() { s.End() }
}

// spans begins a span for each message of a batch, in the trace of that message. The
// handler goes on with one of them only where it is alone: what it does for a batch is
// of no single trace.
func (r *Running) spans(base context.Context, m *meter, msgs []*delivery) (inner context.Context, end func(error)) {
	var ends []func(error)
	for _, msg := range msgs {
		of := within(base, msg.msg.Header)
		if tracing.Traced(of) {
			var end func(error)
			of, end = r.span(of, m, trace.SpanKindConsumer,
				attribute.String("messaging.system", "nats"), attribute.String("messaging.destination.name", msg.msg.Subject))
			ends = append(ends, end)
		}
		if len(msgs) == 1 {
			base = of
		}
	}
	return base, func(err error) {
		for _, e := range ends {
			e(err)
		}
	}
}

// served begins the trace of each request of people, or goes on with theirs.
func (r *Running) served(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx, s := r.bus.tracer.Start(tracing.Under(req.Context(), req.Header.Get(tracing.Header)), r.fn.Name+" "+req.Method, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("http.request.method", req.Method), attribute.String("url.path", req.URL.Path), attribute.String("aurora.function", r.fn.Name)))
		answer := &answered{ResponseWriter: w}
		defer func() {
			s.SetAttributes(attribute.Int("http.response.status_code", answer.status), attribute.String("aurora.request_id", w.Header().Get("X-Request-Id")))
			if answer.status >= http.StatusInternalServerError {
				s.SetStatus(codes.Error, "")
			}
			s.End()
		}()
		next.ServeHTTP(answer, req.WithContext(ctx))
	})
}

// answered notes the status of an answer.
type answered struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (a *answered) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK { // what is below is no answer yet
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (a *answered) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets [http.ResponseController] reach the connection.
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }
