// Package gateway is the HTTP API and the console of a site: what people and their
// tools speak to.
//
// It holds no state and opens no database. A request goes through it so: it gets
// an id and the security headers; a request from another origin, or for another
// host where the site listens on loopback only, is refused; its principal must have the scope that the route takes (scopes.go); its parameters and
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

	"github.com/auroramesh/auroramesh/functions/gateway/console"
	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/certificate"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/oidc"
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
	// AskTimeout bounds how long a request waits for functions, all of its questions together.
	AskTimeout = 10 * time.Second
	// recordTimeout is how long its record in the audit log has where they took all that time.
	recordTimeout = 2 * time.Second
	// gatherPatience is many times what it takes to store alerts that came together.
	gatherPatience = 500 * time.Millisecond
	// worthSecond is how many alerts are worth a transaction beside another: of fewer the
	// transactions cost more than waiting does.
	worthSecond = 32
	// maxShared is how many requests one answer of a function may be for.
	maxShared = 4096
)

// Config is what a gateway is made from.
type Config struct {
	Site federation.Identity
	// Listen is where it serves: "host:port"; with an empty host, everywhere.
	Listen string
	// Functions names what is expected to run at the site, for /health.
	Functions []string
	Bus       *function.Bus
	// Certificates are those whose expiry /health warns of.
	Certificates certificate.Files
	// Registry is what /metrics shows; the gateway adds its own figures to it.
	Registry *prometheus.Registry
	Log      *slog.Logger
	Now      func() time.Time
	// Auth says whether a request must say who it comes from; the zero value is [access.None].
	Auth access.Mode
	// RatePerSecond bounds the requests of one principal; 0: it does not.
	RatePerSecond int
	// CertFile and KeyFile are those of TLS; empty: it serves without.
	CertFile, KeyFile string
	// Proxies are the networks of the proxies that are believed where a request came from.
	Proxies []netip.Prefix
	// Tokens checks access tokens; nil: none is taken.
	Tokens *oidc.Verifier
	// SignIn lets people sign in to the console at that issuer; nil: with keys alone.
	SignIn *oidc.Client
	// StyleGuide says that the console has its style guide.
	StyleGuide bool
	// Recheck is how often who reads the event stream is looked at again; 0: every [KnownFor].
	Recheck time.Duration
}

// New is the gateway of a site.
func New(c Config) function.Function {
	loopback := onlyLoopback(c.Listen)
	switch {
	case c.Auth != access.Required && loopback: // as is the default
		c.Log.Info("the API takes every request of this machine without sign-in", "listen", c.Listen, "http_auth", c.Auth)
	case c.Auth != access.Required:
		c.Log.Warn("the API takes every request without sign-in", "listen", c.Listen, "http_auth", c.Auth)
	case c.CertFile == "" && !loopback && len(c.Proxies) == 0:
		c.Log.Warn("the API takes keys without TLS: something before it must serve it, or whoever is on the way reads them", "listen", c.Listen)
	}
	return function.Function{
		Name:        Name,
		Description: "the HTTP API of the site: asks the functions and streams events",
		Triggers:    []function.Trigger{function.HTTP(c.Listen, Handler(c), function.TLS(c.CertFile, c.KeyFile))},
		Streams:     []jetstream.StreamConfig{stream.Events(c.Site.ID)},
	}
}

// Handler is the whole HTTP API as a handler; see [New].
func Handler(c Config) http.Handler { return newGateway(c).handler() }

func newGateway(c Config) *gateway {
	if c.Recheck == 0 {
		c.Recheck = KnownFor
	}
	g := &gateway{
		Config: c, site: c.Site, base: baseURL(c.Listen, c.CertFile != ""), functions: c.Functions, bus: c.Bus, log: c.Log, now: c.Now,
		metrics: newMetrics(c.Registry, c.Site.ID), streams: make(chan struct{}, maxEventStreams), routes: newRoutes(),
		known: newKnown(c.Now), rates: newRates(c.RatePerSecond, c.Now), signIns: newRates(signInRate, c.Now),
	}
	g.audit = &gatherer[access.Entry, struct{}]{late: g.late(ask.AppendAudit.Function), send: g.writeAudit, most: maxAuditBatch, mostBytes: MaxBody, size: func(access.Entry) int { return 0 }, patience: gatherPatience}
	g.intake = &gatherer[[]byte, ask.AlertRaised]{late: g.late(ask.RaiseAlerts.Function), send: g.raiseAll, most: ask.MaxRaising, mostBytes: ask.MaxRaisingBytes, size: func(item []byte) int { return len(item) }, second: worthSecond, patience: gatherPatience}
	g.topology = &gatherer[ask.None, encoded[federation.Topology]]{late: g.late(ask.Topology.Function), send: g.showTopology, most: maxShared, size: func(ask.None) int { return 0 }, patience: gatherPatience}
	g.registerSignIn(g.routes)
	g.console = console.New(console.Config{Site: c.Site, Base: g.base, Bus: c.Bus, Log: c.Log, Now: c.Now, Failed: noteCause, StyleGuide: c.StyleGuide})
	for pattern, page := range g.console.Routes() {
		g.routes.HandleFunc(pattern, page)
	}
	g.pages(g.routes, g.api(g.routes, c.Registry))
	return g
}

func (g *gateway) handler() http.Handler {
	return g.observe(g.guard(g.limitBody(g.route(g.routes)), g.Auth != access.Required && g.Auth != access.Insecure && onlyLoopback(g.Listen)))
}

// gateway is what the handlers share.
type gateway struct {
	Config
	site      federation.Identity
	base      string // how to reach this site from its own machine, for examples
	functions []string
	bus       *function.Bus
	log       *slog.Logger
	now       func() time.Time
	metrics   *metrics
	console   *console.Console
	routes    *routes
	known     *known
	rates     *rates
	signIns   *rates
	audit     *gatherer[access.Entry, struct{}]
	intake    *gatherer[[]byte, ask.AlertRaised]
	topology  *gatherer[ask.None, encoded[federation.Topology]]
	streams   chan struct{} // one place for each open event stream
}

// askingFor bounds the questions of the request that ctx serves: together they have
// [AskTimeout]. A question of an event stream, or of no request, has that for itself.
func askingFor(ctx context.Context) (context.Context, context.CancelFunc) {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok && !x.asksUntil.IsZero() {
		return context.WithDeadline(ctx, x.asksUntil)
	}
	return context.WithTimeout(ctx, AskTimeout)
}

// late is what to tell where a function has not answered in time.
func (g *gateway) late(name string) func() error {
	return func() error { return function.Late(g.bus, g.site.ID, name) }
}

// put puts a question to a function of this site, see [askingFor].
func put[Req, Res any](ctx context.Context, g *gateway, e function.Endpoint[Req, Res], req Req) (Res, error) {
	ctx, cancel := askingFor(ctx)
	defer cancel()
	return function.Ask(ctx, g.bus, g.site.ID, e, req)
}

// baseURL is where a client on the same machine finds a gateway that listens at listen.
func baseURL(listen string, tls bool) string {
	scheme := "http://"
	if tls {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return scheme + listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && (ip.IsUnspecified() || ip.IsLoopback()) {
		host = "localhost"
	}
	return scheme + net.JoinHostPort(host, port)
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
