// Package site is one process of a site as a value: it opens what the chosen
// functions need, starts them, and takes everything down again in the reverse
// order. The command, the demo and the tests all start sites through it.
package site

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/auroramesh/auroramesh/functions"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
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
	running []*function.Running
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
	log := c.Log.With("site", id.ID)
	s = &Site{id: id}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
			s = nil
		}
	}()

	registry := prometheus.NewRegistry()
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
			if st, err = store.Open(ctx, c.Settings.DatabaseURL); err != nil {
				return s, err
			}
			s.cleanup.add("closing the database", func(context.Context) error { return st.Close() })
			if err := st.Ready(ctx); err != nil {
				return s, err
			}
		}
	}
	if c.Settings.MetricsListen != "" {
		if err := s.serveMetrics(c.Settings.MetricsListen, registry, log); err != nil {
			return s, err
		}
	}

	var opts []nats.Option
	if c.Settings.NATSCreds != "" {
		opts = append(opts, nats.UserCredentials(c.Settings.NATSCreds))
	}
	for _, e := range chosen {
		bus, err := function.Connect(ctx, id, e.Name, c.Settings.NATSURL, log, opts...)
		if err != nil {
			return s, err
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
	return s, nil
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

// Stop takes the site down: first what people ask, then the functions, each
// letting what is in flight finish, then the rest. It is over when ctx ends, or
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
		wg.Go(func() { results[i] = r.Stop(ctx) })
	}
	wg.Wait()
	failed = append(failed, results...)
	failed = append(failed, s.cleanup.run(ctx))
	return errors.Join(failed...)
}

// serveMetrics serves /metrics and /health/live of a process without a gateway.
func (s *Site) serveMetrics(listen string, reg prometheus.Gatherer, log *slog.Logger) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("METRICS_LISTEN: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /health/live", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
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
