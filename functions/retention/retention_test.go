package retention_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/reconcile"
	"github.com/auroramesh/auroramesh/functions/retention"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
)

const (
	origin federation.SiteID = "site-a"
	peer   federation.SiteID = "site-b"
)

var quiet = slog.New(slog.DiscardHandler)

// start runs a function of a site until the test ends.
func start(t *testing.T, s *server.Server, own federation.SiteID, name string, f func(*function.Bus) function.Function) {
	t.Helper()
	bus := natstest.Bus(t, s, own, name)
	natstest.Run(t, bus, f(bus))
}

// closed is an alert of the origin that was raised, and closed there, some time ago.
func closed(title string, ago time.Duration) federation.Alert {
	a := federation.NewAlert{Title: title, Severity: federation.High, Source: "test"}.Alert(title, time.Now().Add(-ago))
	a.Status = federation.Resolved
	return a
}

func total(t *testing.T, st *store.Store) int {
	t.Helper()
	page, err := st.ListAlerts(t.Context(), ask.AlertFilter{})
	if err != nil {
		t.Fatal(err)
	}
	return page.Total
}

// Both sites let go of what they no longer compare, and of no more, though they are
// told to keep it for an hour alone. Then each finds the other as it should be.
func TestWhatIsLetGoOfIsNeitherLostNorSentAgain(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, origin)
	from, to := storetest.Open(t), storetest.Open(t)
	storetest.Knows(t, from, origin, peer, time.Now())
	storetest.Knows(t, to, peer, origin, time.Now())
	for title, ago := range map[string]time.Duration{"gone": 30 * time.Hour, "compared": 90 * time.Minute} {
		a := closed(title, ago)
		if _, _, err := from.RaiseAlert(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
		here := federation.Share(a, natstest.Identity(origin)).Received("here-"+title, a.CreatedAt)
		here.Status = federation.Resolved
		if _, err := to.ReceiveAlerts(t.Context(), []federation.Alert{here}, nil); err != nil {
			t.Fatal(err)
		}
	}
	c := retention.Config{ClosedAlerts: time.Hour, Compared: 24 * time.Hour}
	for site, st := range map[federation.SiteID]*store.Store{origin: from, peer: to} {
		start(t, s, site, "retention", func(*function.Bus) function.Function {
			return retention.New(c, st, prometheus.NewRegistry(), quiet, time.Now)
		})
		natstest.Within(t, 30*time.Second, "the old alert has gone at "+string(site), func() bool { return total(t, st) == 1 })
	}
	compare := reconcile.Config{Gate: federation.Gate{MinSeverity: federation.High}, Interval: time.Hour, Backfill: 24 * time.Hour}
	comparing := func(site federation.SiteID, st *store.Store) {
		start(t, s, site, "reconcile", func(b *function.Bus) function.Function {
			return reconcile.New(compare, st, b, prometheus.NewRegistry(), quiet, time.Now)
		})
	}
	comparing(origin, from) // first: the peer asks when it starts
	comparing(peer, to)
	var got federation.Reconciliation
	natstest.Within(t, 30*time.Second, "the peer has compared", func() bool { // all, or the last two hours: whichever was later
		all, err := to.Reconciliations(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = all[store.Way{Peer: origin, Direction: federation.Inbound}]
		return !got.At.IsZero()
	})
	if got.Compared != 1 || got.Lost+got.Pending+got.Resent+got.Extra != 0 {
		t.Errorf("the peer finds %+v", got)
	}
	if at, there := total(t, from), total(t, to); at != 1 || there != 1 {
		t.Errorf("afterwards %d are at the origin and %d at the peer", at, there)
	}
}

func TestOneLookTakesManySmallBatches(t *testing.T) {
	t.Parallel()
	st := storetest.Open(t)
	as := make([]federation.Alert, 1200)
	for i := range as {
		as[i] = federation.Share(closed(fmt.Sprint(i), 100*24*time.Hour), natstest.Identity(peer)).Received(fmt.Sprint("id-", i), time.Now().Add(-100*24*time.Hour))
		as[i].Status = federation.FalsePositive
	}
	if _, err := st.ReceiveAlerts(t.Context(), as, nil); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	f := retention.New(retention.Config{ClosedAlerts: 24 * time.Hour}, st, reg, quiet, time.Now)
	if figures, err := reg.Gather(); err != nil || len(figures) != 1 || len(figures[0].GetMetric()) != 4 {
		t.Errorf("before the first look it counts %v, %v", figures, err)
	}
	start(t, natstest.Start(t, origin), origin, "retention", func(*function.Bus) function.Function { return f })
	natstest.Within(t, 30*time.Second, "all have gone after the first tick", func() bool { return total(t, st) == 0 })
}

func TestWithoutATimeEverythingIsKept(t *testing.T) {
	t.Parallel()
	st := storetest.Open(t)
	if _, _, err := st.RaiseAlert(t.Context(), closed("kept", 1000*24*time.Hour), nil); err != nil {
		t.Fatal(err)
	}
	if err := st.NoteRefused(t.Context(), store.RefusedAlert{OriginSite: peer, OriginID: "x", Version: 1, RaisedAt: time.Unix(1, 0), At: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	s := natstest.Start(t, origin)
	bus := natstest.Bus(t, s, origin, "test")
	start(t, s, origin, "retention", func(*function.Bus) function.Function {
		return retention.New(retention.Config{RefusedAlerts: time.Hour}, st, prometheus.NewRegistry(), quiet, time.Now)
	})
	natstest.Within(t, 30*time.Second, "it has looked", func() bool {
		h, err := function.Ask(t.Context(), bus, origin, function.HealthEndpoint("retention"), struct{}{})
		return err == nil && slices.ContainsFunc(h.Triggers, func(t function.TriggerHealth) bool {
			return t.Kind == "every" && t.Calls > 0 && t.InFlight == 0
		})
	})
	refused, err := st.RefusedAlerts(t.Context(), peer)
	if err != nil || len(refused) != 0 || total(t, st) != 1 {
		t.Errorf("left are %v (%v) and %d alerts", refused, err, total(t, st))
	}
}
