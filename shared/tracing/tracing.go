// Package tracing follows one request through the functions of every site that it
// reaches, as OpenTelemetry does: each call of a handler is a span, and whatever a
// handler sends carries the trace on, over request/reply, through the outbox, and
// across the leafnode on a shared alert. It is off unless a collector is named.
//
// A trace begins with an HTTP request. What a schedule sets off begins none: most of
// that finds nothing to do, every second, at every site.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// Header carries a trace on a message, in the form of the W3C.
const Header = "traceparent"

// Off makes no spans, and carries on what it is given.
func Off() trace.Tracer { return noop.NewTracerProvider().Tracer(scope) }

const scope = "github.com/auroramesh/auroramesh"

// Open makes spans of a site, which go to the collector at endpoint, an OTLP/HTTP
// address without the path; with an empty one it is [Off]. What else there is to
// say, such as headers, a certificate or a sampler, are the OTEL_ variables of the
// standard, which the libraries read themselves. stop sends what is left.
func Open(ctx context.Context, endpoint string, site federation.Identity, log *slog.Logger) (t trace.Tracer, stop func(context.Context) error, err error) {
	if endpoint == "" {
		return Off(), func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimSuffix(endpoint, "/")+"/v1/traces"))
	if err != nil {
		return nil, nil, fmt.Errorf("opening the traces to %s: %w", endpoint, err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(
			attribute.String("service.name", "auroramesh"), attribute.String("service.version", site.Version),
			attribute.String("service.namespace", string(site.ID)), attribute.String("aurora.site.id", string(site.ID)), attribute.String("aurora.site.tier", string(site.Tier)),
		),
		resource.WithHost(), resource.WithFromEnv()) // the last wins: what the operator says
	if err != nil {
		return nil, nil, fmt.Errorf("describing the site for the traces: %w", err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithBatcher(&quiet{SpanExporter: exporter, log: log}))
	return p.Tracer(scope, trace.WithInstrumentationVersion(site.Version)), p.Shutdown, nil
}

// quiet tells in the log of the site what the SDK would print: that the collector is
// away, once until it is back.
type quiet struct {
	sdktrace.SpanExporter
	log  *slog.Logger
	away bool // the SDK exports one batch after the other
}

// ExportSpans implements [sdktrace.SpanExporter].
func (q *quiet) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := q.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !q.away:
		q.log.Warn("spans are lost: the collector does not take them", "spans", len(spans), "error", err)
	case err == nil && q.away:
		q.log.Info("the collector takes spans again")
	}
	q.away = err != nil
	return nil // it has been told
}

// Shutdown implements [sdktrace.SpanExporter]; a collector that is away must not hold up a stop.
func (q *quiet) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return q.SpanExporter.Shutdown(ctx)
}

var w3c propagation.TraceContext

// Parent is the trace of ctx as [Header] carries it; empty where it has none.
func Parent(ctx context.Context) string {
	c := propagation.MapCarrier{}
	w3c.Inject(ctx, c)
	return c[Header]
}

// Under is ctx within the trace that parent carries; ctx itself where that is none.
func Under(ctx context.Context, parent string) context.Context {
	if parent == "" {
		return ctx
	}
	return w3c.Extract(ctx, propagation.MapCarrier{Header: parent})
}

// Carry puts the trace of ctx on a message.
func Carry(ctx context.Context, h nats.Header) {
	if parent := Parent(ctx); parent != "" {
		h.Set(Header, parent)
	}
}

// Traced reports whether ctx is within a trace.
func Traced(ctx context.Context) bool { return trace.SpanContextFromContext(ctx).IsValid() }
