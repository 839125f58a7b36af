package bench

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
)

const (
	// kept is how many alerts a site holds that is asked about its queue, over so many days.
	kept, keptDays = 1_000_000, 30
	// looks is how often it is asked in a round, whatever it holds.
	looks = 200
	// longLooks is the same for what takes long.
	longLooks = 20
	// storedAtOnce are the alerts of one transaction that fills it.
	storedAtOnce = 1000
)

// full is a site with very many alerts in its PostgreSQL.
type full struct {
	*deployed
	url    string // of its API
	db     *pgxpool.Pool
	dsn    string
	client *http.Client
	origin []federation.Identity
}

// queues ask the site, one question at a time.
var queues = []Workload{
	lookAt("newest", looks, "GET /api/v1/alerts: the newest 50", func(ctx context.Context, f *full, _ int) error {
		return f.get(ctx, "/api/v1/alerts?limit=50")
	}),
	lookAt("filtered", looks, "GET /api/v1/alerts: the newest 50 critical ones, one in a hundred", func(ctx context.Context, f *full, _ int) error {
		return f.get(ctx, "/api/v1/alerts?limit=50&severity=critical")
	}),
	lookAt("search", looks, "the first answer about the alerts that have a word in their title or begin an IOC with it, of which there are few", func(ctx context.Context, f *full, _ int) error {
		_, err := f.search(ctx, ask.Place{})
		return err
	}),
	lookAt("search-all", longLooks, "the same, asked on until the whole queue has been looked at", func(ctx context.Context, f *full, _ int) error {
		for from, more := (ask.Place{}), true; more; {
			page, err := f.search(ctx, from)
			if err != nil {
				return err
			}
			from, more = page.LookedTo, !page.LookedTo.IsZero()
		}
		return nil
	}),
	lookAt("campaigns", looks, "the campaigns of the last 24 hours or little more, each time others, for an answer is given again for a while", func(ctx context.Context, f *full, i int) error {
		return question(ctx, f, ask.Campaigns, ask.CampaignQuery{Hours: 24 + i/ask.MaxCampaigns, Limit: ask.MaxCampaigns - i%ask.MaxCampaigns})
	}),
}

func lookAt(name string, times int, does string, look func(ctx context.Context, f *full, i int) error) Workload {
	return Workload{
		Name: "queue-" + name, Unit: milliseconds, NoGoal: "(it says what the number of alerts costs)",
		Does:   does + ", at a site that holds 1,000,000",
		Beside: "a bare SELECT of one of them by its primary key",
		prepare: func(ctx context.Context, b *bed) (pair, error) {
			f, err := b.fill(ctx, b.size(kept))
			if err != nil {
				return pair{}, err
			}
			var id string
			if err := f.db.QueryRow(ctx, "SELECT id FROM alerts LIMIT 1").Scan(&id); err != nil {
				return pair{}, fmt.Errorf("choosing an alert: %w", err)
			}
			return pair{
				own: func(ctx context.Context) (Sample, error) {
					return timed(times, func(i int) error { return look(ctx, f, i) })
				},
				beside: func(ctx context.Context) (Sample, error) {
					return timed(times, func(int) error {
						rows, err := f.db.Query(ctx, "SELECT * FROM alerts WHERE id = $1", id)
						if err != nil {
							return err
						}
						rows.Close()
						return rows.Err()
					})
				},
			}, nil
		},
	}
}

// timed is what each of so many looks takes.
func timed(times int, look func(i int) error) (Sample, error) {
	took := make([]time.Duration, times)
	for i := range took {
		begun := time.Now()
		if err := look(i); err != nil {
			return Sample{}, err
		}
		took[i] = time.Since(begun)
	}
	return latencies(took), nil
}

func (f *full) get(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+path, http.NoBody)
	if err != nil {
		return err
	}
	_, err = do(f.client, req, http.StatusOK)
	return err
}

// search looks for a word of which there are fewer than a page, from a place on.
func (f *full) search(ctx context.Context, from ask.Place) (ask.AlertPage, error) {
	return function.Ask(ctx, f.sites[0].bus, f.sites[0].ID, ask.PageAlerts, ask.AlertQuery{Text: "a1b2c", After: from, Limit: ask.MaxLimit})
}

// question asks what the console asks.
func question[Req, Res any](ctx context.Context, f *full, e function.Endpoint[Req, Res], q Req) error {
	_, err := function.AskEncoded(ctx, f.sites[0].bus, f.sites[0].ID, e, q)
	return err
}

// fill has a site hold n alerts from four peers, and starts it the first time.
func (b *bed) fill(ctx context.Context, n int) (*full, error) {
	if b.full == nil {
		if err := b.database(ctx); err != nil {
			return nil, err
		}
		dsn, err := b.create(ctx, "full")
		if err != nil {
			return nil, err
		}
		f := &full{dsn: dsn, client: clientFor(1)}
		for i := range 4 {
			f.origin = append(f.origin, federation.Identity{ID: starSite(i), Name: string(starSite(i)), Tier: federation.Secondary})
		}
		if f.db, err = pgxpool.New(ctx, dsn); err != nil {
			return nil, err
		}
		b.full = f
		listen, err := freeAddress()
		if err != nil {
			return nil, err
		}
		f.url = "http://" + listen
		if f.deployed, err = b.deploy(ctx, 1, map[federation.SiteID]string{hub: dsn}, "HTTP_LISTEN="+listen, "HTTP_RATE_LIMIT_PER_SECOND=0"); err != nil {
			return nil, err
		}
	}
	return b.full, b.full.hold(ctx, n, b.Progress)
}

// hold brings the site to n alerts.
func (f *full) hold(ctx context.Context, n int, progress func(string)) error {
	var has int
	if err := f.db.QueryRow(ctx, "SELECT count(*) FROM alerts").Scan(&has); err != nil {
		return fmt.Errorf("counting the alerts: %w", err)
	}
	if has > n {
		if err := empty(ctx, f.db); err != nil {
			return fmt.Errorf("beginning with nothing: %w", err)
		}
		has = 0
	}
	if has == n {
		return nil
	}
	progress(fmt.Sprintf("storing %d alerts ...", n-has))
	st, err := store.Open(ctx, f.dsn)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }() // what it has stored it has committed
	begun, missing := time.Now(), n-has
	var next atomic.Int64
	var failed error
	var once sync.Once
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for {
				from := int(next.Add(storedAtOnce)) - storedAtOnce
				if from >= missing || ctx.Err() != nil {
					return
				}
				batch := make([]federation.Alert, 0, storedAtOnce)
				for i := from; i < min(from+storedAtOnce, missing); i++ {
					batch = append(batch, f.old(begun, i, missing))
				}
				if _, err := st.ReceiveAlerts(ctx, batch, nil); err != nil {
					once.Do(func() { failed = err })
					return
				}
			}
		})
	}
	all.Wait()
	if err := cmp.Or(failed, ctx.Err()); err != nil {
		return fmt.Errorf("storing alerts: %w", err)
	}
	if _, err := f.db.Exec(ctx, "VACUUM ANALYZE"); err != nil {
		return fmt.Errorf("counting what the planner must know: %w", err)
	}
	return nil
}

// old is the alert i of n, which came evenly over the days that are kept.
func (f *full) old(now time.Time, i, n int) federation.Alert {
	severity := federation.High
	if i%100 == 0 {
		severity = federation.Critical
	}
	at := now.Add(-time.Duration(float64(i) / float64(n) * keptDays * 24 * float64(time.Hour))).UTC()
	a := draft(severity).Alert(uuid.Must(uuid.NewV7()).String(), at)
	return federation.Share(a, f.origin[i%len(f.origin)]).Received(uuid.Must(uuid.NewV7()).String(), at)
}

func (f *full) close() error {
	if f == nil {
		return nil
	}
	f.client.CloseIdleConnections()
	f.db.Close()
	if f.deployed == nil {
		return nil
	}
	return f.deployed.close()
}

// freeAddress is an address of the loopback at which nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
