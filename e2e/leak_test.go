package e2e_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/settings"
)

func TestADemoLeavesNothingRunningBehind(t *testing.T) {
	running := goleak.IgnoreCurrent()
	var proxy *linkproxy.Proxy
	o := demo.Options{
		Version: "0.0.1", Log: slog.New(slog.DiscardHandler), Configure: quick,
		LeafURL: func(_ int, listener string) string {
			p, err := linkproxy.Listen("127.0.0.1:0", listener)
			if err != nil {
				t.Fatal(err)
			}
			proxy = p
			return p.Addr()
		},
	}
	for _, link := range []linkproxy.Mode{linkproxy.Pass, linkproxy.Cut} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		d, err := demo.Start(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		proxy.Set(link)
		for _, s := range d.Sites { // something is under way
			if _, _, _, err := client(t, s.API).Raise(ctx, alert("the last word", federation.Critical)); err != nil {
				t.Error(err)
			}
		}
		begun := time.Now()
		for range 2 { // a second stop is nothing
			if err := d.Stop(ctx); err != nil {
				t.Errorf("stopping: %v", err)
			}
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		// What the NATS servers started is gone too: the demo waits for their shutdown.
		goleak.VerifyNone(t, running)
	}
}

func TestADemoThatCannotStartLeavesNothingRunningBehind(t *testing.T) {
	running := goleak.IgnoreCurrent()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	d, err := demo.Start(ctx, demo.Options{
		Version: "0.0.1", Log: slog.New(slog.DiscardHandler),
		Configure: func(i int, s *settings.Settings) {
			if i == 1 { // the first site is at work when the second finds out
				s.HTTPListen = taken.Addr().String()
			}
		},
	})
	if err == nil {
		t.Fatalf("it started: %v", d.Sites)
	}
	if !strings.Contains(err.Error(), "starting site-b") || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("the error is %v", err)
	}
	goleak.VerifyNone(t, running)
}
