package function

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/trace"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// Logged adds to each line that is logged under a context the id of the request that
// the context serves, and that of its trace.
func Logged(h slog.Handler) slog.Handler { return contextual{h} }

type contextual struct{ slog.Handler }

// Handle implements [slog.Handler].
func (c contextual) Handle(ctx context.Context, r slog.Record) error {
	said := false
	r.Attrs(func(a slog.Attr) bool {
		said = said || a.Key == "request_id"
		return !said
	})
	if id := RequestID(ctx); id != "" && !said {
		r.AddAttrs(slog.String("request_id", id))
	}
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		r.AddAttrs(slog.String("trace_id", s.TraceID().String()))
	}
	return c.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (c contextual) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextual{c.Handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (c contextual) WithGroup(name string) slog.Handler { return contextual{c.Handler.WithGroup(name)} }

// discreet is an error as a log has it: which fields are wrong, but not with what value,
// for that is a part of what somebody sent, such as an alert.
func discreet(err error) string {
	var f *fault.Error
	if !errors.As(err, &f) || len(f.Fields) == 0 {
		return err.Error()
	}
	names := make([]string, len(f.Fields))
	for i, field := range f.Fields {
		names[i] = field.Name
	}
	return f.Message + ": " + strings.Join(names, ", ")
}
