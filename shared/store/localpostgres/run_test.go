package localpostgres

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func made(t *testing.T) Cluster {
	t.Helper()
	c, err := Make()
	if errors.Is(err, ErrNone) && !strings.Contains(os.Getenv("AURORAMESH_TEST_REQUIRE"), "postgres") {
		t.Skip("SKIPPED: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A server is stopped also where it has only begun to start: then it does not hear every signal.
func TestAServerIsStoppedAtAnyMoment(t *testing.T) {
	for _, at := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond} {
		r, err := made(t).run([]string{"fsync=off"})
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(at)
		stopped := make(chan error, 1)
		go func() { stopped <- r.Stop() }()
		select {
		case err := <-stopped:
			if err != nil {
				t.Errorf("stopped after %s: %v", at, err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("after %s it does not stop", at)
		}
		if _, err := os.Stat(r.Dir()); !os.IsNotExist(err) {
			t.Errorf("stopped after %s, it has left %s: %v", at, r.Dir(), err)
		}
	}
}

func TestWhoIsGoneGetsNoServer(t *testing.T) {
	if err := made(t).Remove(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", r, err)
	}
}
