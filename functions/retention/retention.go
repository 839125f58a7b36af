// Package retention is the function that lets go of what a site has kept long
// enough: closed alerts, the history of links and sites, and notes about refused
// alerts of peers. It deletes in small batches, each a transaction of its own, so
// that nobody waits for it, and never what the sites still compare: that would be
// missing here, and be sent again.
package retention

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
)

const (
	// interval is how often it looks.
	interval = time.Minute
	// batch is how many rows go in one transaction, and batches how many of these one
	// look makes of each kind: 10 000 rows a minute, and locks for milliseconds.
	batch, batches = 500, 20
	patience       = 50 * time.Second
)

// Config says how long each kind is kept; 0 keeps it for good.
type Config struct {
	ClosedAlerts  time.Duration
	History       time.Duration
	RefusedAlerts time.Duration
	// Backlog is how long the stream keeps what waits for the peers; as long it is kept
	// where this site has passed an alert of another on.
	Backlog time.Duration
	// Compared is how far back the site compares with its peers.
	Compared time.Duration
}

// margin is added to what is compared, for that begins with a whole hour.
const margin = 2 * time.Hour

// New is the function for one site.
func New(c Config, st *store.Store, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) function.Function {
	k := keeper{Config: c, store: st, log: log, now: now,
		deleted: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_retention_deleted_total",
			Help: "Rows that were let go of because they were kept long enough, by kind: closed_alerts, history, refused_alerts or passed_alerts (the places of alerts of other sites that were passed on)."}, []string{"kind"}),
	}
	reg.MustRegister(k.deleted)
	for _, kind := range k.kinds() { // so that nothing is told from not looked
		k.deleted.WithLabelValues(kind.name)
	}
	return function.Function{
		Name:        "retention",
		Description: "Lets go of closed alerts, history and notes that the site has kept long enough.",
		Triggers:    []function.Trigger{function.Every(interval, k.look, function.Named("look"), function.Timeout(patience), function.CutShort())},
		Checks:      []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type keeper struct {
	Config
	store   *store.Store
	log     *slog.Logger
	now     func() time.Time
	deleted *prometheus.CounterVec
}

// kind is one kind of rows: how long it is kept, and how up to limit that are older are let go of.
type kind struct {
	name   string
	keep   time.Duration
	forget func(ctx context.Context, before time.Time, limit int) (int, error)
}

func (k keeper) kinds() []kind {
	compared := func() time.Time { return k.now().Add(-k.Compared - margin) }
	return []kind{
		{"closed_alerts", k.ClosedAlerts, func(ctx context.Context, before time.Time, limit int) (int, error) {
			return k.store.ForgetClosedAlerts(ctx, before, compared(), limit)
		}},
		{"history", k.History, k.store.ForgetHistory},
		{"refused_alerts", k.RefusedAlerts, func(ctx context.Context, before time.Time, limit int) (int, error) {
			return k.store.ForgetRefusedAlerts(ctx, before, compared(), limit)
		}},
		{"passed_alerts", k.Backlog, k.store.ForgetPassed},
	}
}

// look lets go of what is due, up to the bound of one look of each kind.
func (k keeper) look(ctx context.Context) error {
	for _, kind := range k.kinds() {
		if kind.keep == 0 {
			continue
		}
		before, total := k.now().Add(-kind.keep), 0
		for range batches {
			n, err := kind.forget(ctx, before, batch)
			if err != nil {
				return err
			}
			total += n
			k.deleted.WithLabelValues(kind.name).Add(float64(n))
			if n < batch {
				break
			}
		}
		if total > 0 {
			k.log.InfoContext(ctx, "what was kept long enough is let go of", "kind", kind.name, "rows", total, "older_than", before.UTC().Format(time.RFC3339))
		}
	}
	return nil
}
