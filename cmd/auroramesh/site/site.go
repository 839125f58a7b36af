// Package site is one process of a site as a value: it opens what the chosen
// functions need, starts them, and takes everything down again in the reverse
// order. The command, the demo and the tests all start sites through it.
package site

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/auroramesh/auroramesh/functions"
	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/shared/certificate"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/metric"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/tracing"
	"github.com/auroramesh/auroramesh/shared/trust"
)

// Config says which process of which site to start.
type Config struct {
	Settings settings.Settings
	Version  string
	// Functions names what runs in this process; empty means all.
	Functions []string
	Log       *slog.Logger
	// Now is the clock; nil means the system's.
	Now func() time.Time
}

// Site is a process of a site at work.
type Site struct {
	id      federation.Identity
	figures *prometheus.Registry
	running []*function.Running
	started atomic.Pointer[[]*function.Running] // once all of them are
	cleanup cleanups
}

// Start opens NATS and the database and starts the functions. What was started
// before an error is taken down again. The NATS server must be there before ctx
// ends; see [Site.Ready] for when the functions are at work.
func Start(ctx context.Context, c Config) (s *Site, err error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	id := c.Settings.Identity(c.Version)
	chosen, err := functions.Choose(c.Settings, c.Functions...)
	if err != nil {
		return nil, err
	}
	log := slog.New(function.Logged(c.Log.Handler())).With("site", id.ID)
	s = &Site{id: id}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
			s = nil
		}
	}()

	registry := prometheus.NewRegistry()
	s.figures = registry
	labelled := prometheus.WrapRegistererWith(prometheus.Labels{"site": string(id.ID)}, registry)
	buildInfo := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "aurora_build_info", Help: "Always 1; the labels say which build runs.",
		ConstLabels: prometheus.Labels{"version": c.Version, "go_version": runtime.Version()},
	}, func() float64 { return 1 })
	labelled.MustRegister(buildInfo)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := function.NewMetrics(labelled)

	var st *store.Store
	for _, e := range chosen {
		if !e.Stateless && st == nil {
			if st, err = OpenStore(ctx, c.Settings); err != nil {
				return s, err
			}
			s.cleanup.add("closing the database", func(context.Context) error { return st.Close() })
			if err := st.Ready(ctx); err != nil {
				return s, err
			}
			labelled.MustRegister(pool(st))
		}
	}
	tracer, sendSpans, err := tracing.Open(ctx, c.Settings.TracesEndpoint, id, log)
	if err != nil {
		return s, err
	}
	s.cleanup.add("sending the last spans", sendSpans)
	own, peers, err := identities(ctx, c, chosen, st, log)
	if err != nil {
		return s, err
	}
	if c.Settings.MetricsListen != "" {
		if err := s.serveMetrics(c.Settings.MetricsListen, registry, log); err != nil {
			return s, err
		}
	}

	opts, err := NATSOptions(c.Settings)
	if err != nil {
		return s, err
	}
	certs := c.Settings.CertFiles
	if slices.ContainsFunc(chosen, func(e functions.Entry) bool { return e.Name == gateway.Name }) {
		certs += "," + c.Settings.HTTPCert // which only the machine of the gateway need have
		if cert, key := c.Settings.HTTPCert, c.Settings.HTTPKey; cert != "" {
			if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
				return s, unusable("HTTP_TLS_CERT_FILE", cert, "the path of a certificate in PEM that fits the key in HTTP_TLS_KEY_FILE", err)
			}
		}
	}
	labelled.MustRegister(certificate.Split(certs))
	for _, e := range chosen {
		bus, err := function.Connect(ctx, id, e.Name, c.Settings.NATSURL, log, opts...)
		if err != nil {
			return s, err
		}
		bus.Follow(tracer)
		bus.Replicate(c.Settings.Replicas)
		if st != nil {
			bus.Identify(nil, peers)
		}
		if e.Signs {
			bus.Identify(own, peers)
		}
		env := functions.Env{Settings: c.Settings, Store: st, Registry: registry, Registerer: labelled, Log: log.With("function", e.Name), Now: c.Now}
		r, err := function.Start(e.New(env, bus), bus, metrics, log)
		if err != nil {
			bus.Conn().Close()
			return s, err
		}
		s.running = append(s.running, r)
		log.Debug("a function has started", "function", e.Name)
	}
	s.started.Store(&s.running)
	return s, nil
}

// NATSOptions are those with which the functions of a site connect.
func NATSOptions(s settings.Settings) ([]nats.Option, error) {
	var opts []nats.Option
	if s.NATSCreds != "" {
		if _, err := os.Stat(s.NATSCreds); err != nil {
			return nil, unusable("NATS_CREDS", s.NATSCreds, "the path of a credentials file", err)
		}
		opts = append(opts, nats.UserCredentials(s.NATSCreds))
	}
	if s.NATSNkey != "" {
		key, err := nats.NkeyOptionFromSeed(s.NATSNkey)
		if err != nil {
			return nil, unusable("NATS_NKEY", s.NATSNkey, "the path of a file with the seed of an nkey", err)
		}
		opts = append(opts, key)
	}
	if s.NATSCA != "" {
		if _, err := certificate.Expiry(s.NATSCA); err != nil {
			return nil, unusable("NATS_CA", s.NATSCA, "the path of a file with certificates in PEM", err)
		}
		opts = append(opts, nats.RootCAs(s.NATSCA))
	}
	return opts, nil
}

// unusable refuses the file that a setting names.
func unusable(setting, path, allowed string, err error) error {
	var wrong fault.Fields
	wrong.Add(setting, path, allowed+": "+err.Error())
	return wrong.Err("the settings are not valid")
}

// OpenStore opens the database of a site, within the limits that it is given.
func OpenStore(ctx context.Context, s settings.Settings) (*store.Store, error) {
	return store.OpenWithin(ctx, s.DatabaseURL, Limits(s))
}

// Limits are those of the database, as the settings have them.
func Limits(s settings.Settings) store.Limits {
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	return store.Limits{
		MaxOpen: s.DatabaseMaxOpen, MaxIdle: s.DatabaseMaxIdle,
		MaxLifetime: seconds(s.DatabaseLifetimeSeconds), MaxIdleTime: seconds(s.DatabaseIdleSeconds),
		Statement: seconds(s.DatabaseStatementSeconds), Lock: seconds(s.DatabaseLockSeconds),
	}
}

// pool are the figures of the connections to the database.
func pool(st *store.Store) prometheus.Collector {
	return metric.Read(func(_ context.Context, put metric.Put) error {
		s := st.Stats()
		put("aurora_database_connections", float64(s.InUse), "in_use")
		put("aurora_database_connections", float64(s.Idle), "idle")
		put("aurora_database_max_connections", float64(s.MaxOpenConnections))
		put("aurora_database_waits_total", float64(s.WaitCount))
		put("aurora_database_wait_seconds_total", s.WaitDuration.Seconds())
		return nil
	},
		metric.Figure{Name: "aurora_database_connections", Help: "Connections of this process to the database, in use or idle.", Labels: []string{"state"}},
		metric.Figure{Name: "aurora_database_max_connections", Help: "How many connections this process may have."},
		metric.Figure{Name: "aurora_database_waits_total", Help: "Times that a statement had to wait for a free connection.", Counter: true},
		metric.Figure{Name: "aurora_database_wait_seconds_total", Help: "Time that statements have waited for a free connection.", Counter: true},
	)
}

// identities opens the key of the site, where one of the functions signs with it, and
// the keys of its peers.
func identities(ctx context.Context, c Config, chosen []functions.Entry, st *store.Store, log *slog.Logger) (*identity.Identity, *trust.Keyring, error) {
	if st == nil {
		return nil, nil, nil
	}
	peers := trust.New(federation.SiteID(c.Settings.SiteID), st, log, c.Now)
	if !slices.ContainsFunc(chosen, func(e functions.Entry) bool { return e.Signs }) {
		return nil, peers, nil
	}
	own, err := identity.Open(c.Settings.IdentityDir)
	if err != nil {
		return nil, nil, fmt.Errorf("FEDERATION_IDENTITY_DIR: %w", err)
	}
	return own, peers, peers.Own(ctx, own.Key())
}

// ID is who the site is.
func (s *Site) ID() federation.Identity { return s.id }

// Addr is the address at which the gateway serves, empty where it does not run in this process.
func (s *Site) Addr() string {
	for _, r := range s.running {
		if a := r.Addr(); a != "" {
			return a
		}
	}
	return ""
}

// Metrics is every figure of the process, as /metrics has them.
func (s *Site) Metrics() *prometheus.Registry { return s.figures }

// Ready waits until every function of the process is at work: its triggers set up
// and its checks passed. When ctx ends first, the error says what is missing.
func (s *Site) Ready(ctx context.Context) error {
	for _, r := range s.running {
		for {
			why := r.NotReady(ctx)
			if why == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fault.New(fault.Unavailable, "the function %s of %s is not ready: %v", r.Name(), s.id.ID, why)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}

// NotReady says which function of the process is not at work, and why; nil where all are.
func (s *Site) NotReady(ctx context.Context) error {
	started := s.started.Load()
	if started == nil {
		return fault.New(fault.Unavailable, "the functions are being started")
	}
	for _, r := range *started {
		if why := r.NotReady(ctx); why != nil {
			return fault.New(fault.Unavailable, "the function %s is not at work: %v", r.Name(), why)
		}
	}
	return nil
}

// Stop takes the site down: first what people ask, then the functions, each
// letting what is in flight finish, the heartbeat last, for it says goodbye where
// nothing else is left, then the rest. It is over when ctx ends, or
// after ten seconds. It may be called more than once.
func (s *Site) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var failed []error
	n := len(s.running)
	if n > 0 && s.running[n-1].Addr() != "" { // asks the others, so it goes before them
		n--
		failed = append(failed, s.running[n].Stop(ctx))
	}
	results := make([]error, n)
	var wg sync.WaitGroup
	for i, r := range s.running[:n] {
		if r.Name() != "heartbeat" {
			wg.Go(func() { results[i] = r.Stop(ctx) })
		}
	}
	wg.Wait()
	for i, r := range s.running[:n] {
		if r.Name() == "heartbeat" {
			results[i] = r.Stop(ctx)
		}
	}
	failed = append(failed, results...)
	failed = append(failed, s.cleanup.run(ctx))
	return errors.Join(failed...)
}

// serveMetrics serves /metrics of a process, whether it lives, and whether it is at work.
func (s *Site) serveMetrics(listen string, reg prometheus.Gatherer, log *slog.Logger) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("METRICS_LISTEN: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /health/live", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /health/ready", func(w http.ResponseWriter, r *http.Request) {
		if err := s.NotReady(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the metrics are not served any more", "error", err)
		}
	}()
	s.cleanup.add("closing the metrics", func(ctx context.Context) error {
		err := srv.Shutdown(ctx)
		<-done
		return err
	})
	return nil
}

// cleanups undo a set-up, last first, each named in its error.
type cleanups struct {
	mu  sync.Mutex
	all []cleanup
}

type cleanup struct {
	what string
	do   func(context.Context) error
}

func (c *cleanups) add(what string, do func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, cleanup{what, do})
}

func (c *cleanups) run(ctx context.Context) error {
	c.mu.Lock()
	all := c.all
	c.all = nil
	c.mu.Unlock()
	var failed []error
	for i := len(all) - 1; i >= 0; i-- {
		if err := all[i].do(ctx); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", all[i].what, err))
		}
	}
	return errors.Join(failed...)
}
