// Package gateway is the HTTP API of a site: what people and their tools speak to.
//
// It holds no state and opens no database. A request goes through it so: it gets
// an id and the security headers; a request from another origin, or for another
// host where the site listens on loopback only, is refused; its parameters and
// body are checked against the very schemas that the OpenAPI document shows; the
// question goes to a function over request/reply; the answer, or a problem in the
// form of RFC 9457, goes back. /api/v1/events is the exception: it reads the
// site's event stream, so that a client that reconnects misses nothing.
package gateway

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/stream"
)

// Name is the name of the function.
const Name = "gateway"

// Limits of a request.
const (
	// MaxBody is the largest body in bytes. It leaves headroom under the 1 MiB of
	// a NATS message, in which the body travels on.
	MaxBody = 768 << 10
	// MaxDepth is how deep the arrays and objects of a body may nest.
	MaxDepth = 32
	// AskTimeout bounds how long a request waits for a function.
	AskTimeout = 10 * time.Second
)

// New is the gateway of a site. It listens at listen ("host:port"; with an empty
// host, everywhere). functions names what is expected to run at the site, for
// /health. reg is what /metrics shows; the gateway adds its own figures to it.
func New(site federation.Identity, listen string, functions []string, bus *function.Bus, reg *prometheus.Registry, log *slog.Logger, now func() time.Time) function.Function {
	return function.Function{
		Name:        Name,
		Description: "the HTTP API of the site: asks the functions and streams events",
		Triggers:    []function.Trigger{function.HTTP(listen, Handler(site, listen, functions, bus, reg, log, now))},
		Streams:     []jetstream.StreamConfig{stream.Events(site.ID)},
	}
}

// Handler is the whole HTTP API as a handler; see [New].
func Handler(site federation.Identity, listen string, functions []string, bus *function.Bus, reg *prometheus.Registry, log *slog.Logger, now func() time.Time) http.Handler {
	g := &gateway{
		site: site, base: baseURL(listen), functions: functions, bus: bus, log: log, now: now,
		metrics: newMetrics(reg), streams: make(chan struct{}, maxEventStreams),
	}
	mux := http.NewServeMux()
	g.pages(mux, g.api(mux, reg))
	return g.observe(g.guard(g.limitBody(g.route(mux)), onlyLoopback(listen)))
}

// gateway is what the handlers share.
type gateway struct {
	site      federation.Identity
	base      string // how to reach this site from its own machine, for examples
	functions []string
	bus       *function.Bus
	log       *slog.Logger
	now       func() time.Time
	metrics   *metrics
	streams   chan struct{} // one place for each open event stream
}

// put puts a question to a function of this site, for no longer than [AskTimeout].
func put[Req, Res any](ctx context.Context, g *gateway, e function.Endpoint[Req, Res], req Req) (Res, error) {
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	return function.Ask(ctx, g.bus, g.site.ID, e, req)
}

// baseURL is where a client on the same machine finds a gateway that listens at listen.
func baseURL(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "http://" + listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && (ip.IsUnspecified() || ip.IsLoopback()) {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// onlyLoopback reports whether listen can be reached from this machine alone.
func onlyLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	return err == nil && isLoopback(host)
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}
