package function

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/auroramesh/auroramesh/shared/certfile"
)

// HTTP serves requests of people at an address, e.g. "127.0.0.1:8000". It is the
// one trigger that is no message. The runtime owns the listener and the server;
// see [Draining] for what a long answer must watch.
func HTTP(listen string, handler http.Handler, opts ...Option) Trigger {
	return &httpTrigger{listen: listen, handler: handler, options: build("http", opts)}
}

type httpTrigger struct {
	options
	listen  string
	handler http.Handler
}

func (t *httpTrigger) describe(*Running) (name, kind, detail string) {
	return t.name, "http", t.listen
}

func (t *httpTrigger) start(r *Running, m *meter) error {
	var secure *tls.Config
	if t.certFile != "" {
		files, err := certfile.Open(t.certFile, t.keyFile, r.log)
		if err != nil {
			return err
		}
		secure = files.Config()
	}
	l, err := net.Listen("tcp", t.listen)
	if err != nil {
		return fmt.Errorf("listening for HTTP: %w", err)
	}
	r.addr = l.Addr().String()
	m.detail = r.addr
	srv := &http.Server{
		Handler:           r.served(t.handler),
		TLSConfig:         secure,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(r.base, drainingKey{}, (<-chan struct{})(r.draining))
		},
	}
	r.loops.Go(func() {
		serve := srv.Serve
		if secure != nil {
			serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
		}
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			m.setTrouble(fmt.Errorf("serving HTTP: %w", err))
			r.log.Error("HTTP stopped", "listen", t.listen, "error", err)
		}
	})
	r.loops.Go(func() {
		<-r.draining
		// r.base ends when the time for draining is over; then the rest is cut.
		if err := srv.Shutdown(r.base); err != nil {
			r.log.Warn("HTTP requests are cut at the end of the drain", "error", errors.Join(err, srv.Close()))
		}
	})
	return nil
}

type drainingKey struct{}

// Draining is closed when the function that serves the request of ctx is to
// stop. An answer that has no end of its own, such as an event stream, ends then.
// It is nil, and never closes, for any other context.
func Draining(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(drainingKey{}).(<-chan struct{})
	return c
}
