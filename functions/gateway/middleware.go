package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
)

const requestIDHeader = "X-Request-Id"

var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// exchange is what is learnt about one request while it is served.
type exchange struct {
	http.ResponseWriter
	arrival
	status int
	bytes  int
	// principal is who it comes from, where that is known.
	principal access.Principal
	request   *http.Request
	// asksUntil is when the time for its questions is over, counted from when its body was
	// there: how long that takes is up to the client. Zero: each question has a time of its own.
	asksUntil time.Time
	noted     bool  // its record in the audit log was written with what it did
	cause     error // of an internal error: for the log, never for the client
}

func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && status >= 200 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	n, err := x.ResponseWriter.Write(b)
	x.bytes += n
	return n, err
}

// Unwrap lets [http.ResponseController] reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

type exchangeKey struct{}

// noteCause keeps the cause of an internal error for the log of the request that ctx serves.
func noteCause(ctx context.Context, err error) {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		x.cause = err
	}
}

// setAsksUntil says until when the request that ctx serves may ask.
func setAsksUntil(ctx context.Context, until time.Time) {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		x.asksUntil = until
	}
}

// setPrincipal notes who the request that ctx serves comes from, for its log line and its audit record.
func setPrincipal(ctx context.Context, p access.Principal) {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		x.principal = p
	}
}

// observe gives every request its id, every answer the headers that all have, and
// counts, times and logs both. A handler that panics costs its own request only.
func (g *gateway) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get(requestIDHeader)
		if !requestIDPattern.MatchString(id) {
			id = newRequestID()
		}
		x := &exchange{ResponseWriter: w, arrival: arrivalOf(r, g.Proxies), asksUntil: start.Add(AskTimeout)}
		r = r.WithContext(context.WithValue(function.WithRequestID(r.Context(), id), exchangeKey{}, x))
		x.request = r
		h := w.Header()
		h.Set(requestIDHeader, id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		if x.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				x.cause = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				if x.status == 0 {
					writeProblem(x, r, fault.Of(x.cause))
				}
			}
			g.record(r, x, time.Since(start), id)
		}()
		next.ServeHTTP(x, r)
	})
}

// record counts, times and logs a request that has been served.
func (g *gateway) record(r *http.Request, x *exchange, took time.Duration, id string) {
	if x.status == 0 { // the handler wrote nothing: net/http sends 200
		x.status = http.StatusOK
	}
	route := r.Pattern
	if route == "" {
		route = "unmatched"
	}
	g.metrics.record(route, r.Method, x.status, took)
	level := slog.LevelDebug
	if x.status >= 500 {
		level = slog.LevelInfo
	}
	if x.cause != nil {
		level = slog.LevelError
	}
	if !g.log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("route", route), slog.Int("status", x.status),
		slog.Duration("duration", took), slog.Int("bytes", x.bytes), slog.String("request_id", id),
	}
	if x.principal.ID != "" {
		attrs = append(attrs, slog.String("principal", string(x.principal.Kind)+" "+x.principal.ID))
	}
	if x.cause != nil {
		attrs = append(attrs, slog.Any("error", x.cause))
	}
	g.log.LogAttrs(r.Context(), level, "request", attrs...)
}

func newRequestID() string {
	id, err := uuid.NewV7()
	if err != nil { // the system has no randomness: any id is better than none
		return uuid.Nil.String()
	}
	return id.String()
}

// guard refuses what a page from elsewhere would make a browser send: writes
// across origins and, where the site listens on loopback only, a name of another
// host that was made to point here.
func (g *gateway) guard(next http.Handler, loopback bool) http.Handler {
	var origins http.CrossOriginProtection
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := hostOnly(r.Host); loopback && host != "" && !isLoopback(host) {
			f := fault.New(fault.Forbidden, "this site listens on loopback only and takes no request for another host")
			f.Fields = append(f.Fields, fieldOf("Host", r.Host, "localhost, 127.0.0.1 or [::1]"))
			writeProblem(w, r, f)
			return
		}
		if err := origins.Check(r); err != nil {
			f := fault.New(fault.Forbidden, "a page of another origin may not change anything here")
			f.Fields = append(f.Fields, fieldOf("Origin", r.Header.Get("Origin"), "the origin of this site, or none"))
			writeProblem(w, r, f)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return hostport
}

// limitBody ends the reading of a body at [MaxBody].
func (g *gateway) limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		next.ServeHTTP(w, r)
	})
}

// route gives the request to mux, and makes problems of what mux would answer in
// plain text: an unknown path, and a method that a path does not have.
func (g *gateway) route(mux *routes) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			r.Pattern = pattern // for the log and the figures, also of what is refused
			g.authorise(needs[pattern], mux).ServeHTTP(w, r)
			return
		}
		answer := &headersOnly{header: http.Header{}}
		h.ServeHTTP(answer, r)
		if answer.status == http.StatusMethodNotAllowed {
			allow := answer.header.Get("Allow")
			w.Header().Set("Allow", allow)
			f := fault.New(fault.NotAllowed, "this path does not have the method")
			f.Fields = append(f.Fields, fieldOf("method", r.Method, allow))
			writeProblem(w, r, f)
			return
		}
		f := fault.New(fault.NotFound, "there is nothing at this path; /docs lists what there is")
		writeProblem(w, r, f)
	})
}

// headersOnly is a response of which only status and headers are of interest.
type headersOnly struct {
	header http.Header
	status int
}

func (h *headersOnly) Header() http.Header         { return h.header }
func (h *headersOnly) Write(b []byte) (int, error) { return len(b), nil }
func (h *headersOnly) WriteHeader(status int)      { h.status = status }
