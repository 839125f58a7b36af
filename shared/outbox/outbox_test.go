package outbox_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/outbox"
	"github.com/auroramesh/auroramesh/shared/store"
)

// It is committed by then: a batch that failed would come again, one by one, for nothing.
func TestWhatCannotBeHandedOverIsLoggedAndNoFailure(t *testing.T) {
	log := &strings.Builder{}
	bus := natstest.Bus(t, natstest.Start(t, "site-a"), "site-a", "alertsink")
	bus.Conn().Close()
	outbox.Publish(t.Context(), bus, slog.New(slog.NewTextHandler(log, nil)),
		[]store.Queued{{ID: 1, Outgoing: store.EventMessage("site-a", federation.Event{Kind: federation.AlertStored, At: time.Now()}, "1")}})
	if !strings.Contains(log.String(), `level=WARN msg="alertrelay could not be nudged" error="nats: connection closed"`) {
		t.Errorf("the log says %q", log)
	}
}
