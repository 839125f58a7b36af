package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/localpostgres"
)

const (
	startTime  = time.Minute      // at most, for the sites and their PostgreSQL
	stopTime   = 30 * time.Second // at most, for stopping them
	settleTime = 5 * time.Minute  // at most, for what a round has left to be published
)

// The two sites: the first is the hub.
var hub, leaf = demo.SiteID(0), demo.SiteID(1)

// bed is what the workloads stand on: a PostgreSQL with a database for each site and
// one for what stands beside, and two sites with all their functions, which gossip,
// echo and compare as ever while they are measured.
type bed struct {
	Options
	postgres *localpostgres.Running
	plain    *pgxpool.Pool // the schema of a site, without one
	meshes   map[kind]*mesh
	full     *full             // nil: nobody has asked for it
	peers    map[string]string // programs of others that were built, by name: their paths
	peersDir string            // where they are; empty: none was
}

// kind is what two sites have that others have not.
type kind struct {
	line   bool // between them, which can be delayed: a proxy in the path costs what no site pays
	always bool // their NATS servers sync before they confirm, as those of the shipped files do
}

// mesh is the two sites at work.
type mesh struct {
	*demo.Demo
	db   map[federation.SiteID]*pgxpool.Pool
	conn map[federation.SiteID]*nats.Conn
	// client asks the sites over HTTP, over as many connections as a workload needs at most.
	client *http.Client
}

// mesh starts the sites of a kind the first time.
func (b *bed) mesh(ctx context.Context, of kind) (*mesh, error) {
	of.always = of.always || b.SyncAlways
	if m := b.meshes[of]; m != nil {
		return m, nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := b.database(ctx); err != nil {
		return nil, err
	}
	dsns := map[federation.SiteID]string{}
	for _, id := range []federation.SiteID{hub, leaf} {
		dsn, err := b.create(ctx, fmt.Sprintf("%s_%t_%t", id, of.line, of.always))
		if err != nil {
			return nil, err
		}
		dsns[id] = dsn
	}
	m := &mesh{db: map[federation.SiteID]*pgxpool.Pool{}, conn: map[federation.SiteID]*nats.Conn{}, client: clientFor(128)}
	var err error
	if m.Demo, err = demo.Start(ctx, demo.Options{
		Sites: 2, Version: b.Version, Log: b.Log, Lines: of.line,
		Server: func(_ int, o *server.Options) { o.SyncAlways = of.always },
		Configure: func(i int, s *settings.Settings) {
			s.Enabled, s.MinSeverity = true, string(federation.High)
			s.DatabaseURL = dsns[demo.SiteID(i)]
			s.HTTPRate = 0                                    // one client asks for all
			s.ReconcileSeconds, s.StalledSeconds = 3600, 3600 // a consumer that is held back stands still on purpose
		},
	}); err != nil {
		return nil, err
	}
	if b.meshes == nil {
		b.meshes = map[kind]*mesh{}
	}
	b.meshes[of] = m // whatever goes wrong from here is closed with it
	for _, s := range m.Sites {
		if m.db[s.ID().ID], err = pgxpool.New(ctx, dsns[s.ID().ID]); err != nil {
			return nil, err
		}
		bus, err := function.Connect(ctx, s.ID(), "bench", s.NATS, b.Log)
		if err != nil {
			return nil, err
		}
		m.conn[s.ID().ID] = bus.Conn()
	}
	return m, nil
}

// database starts PostgreSQL the first time. It syncs as any does: a commit is on the disk.
func (b *bed) database(ctx context.Context) (err error) {
	if b.postgres != nil {
		return nil
	}
	if b.postgres, err = localpostgres.Run(ctx, "max_connections=300", "shared_buffers=256MB", "max_wal_size=4GB"); err != nil {
		return err
	}
	dsn, err := b.create(ctx, "plain")
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return err
	}
	config.MaxConns = int32(store.DefaultLimits.MaxOpen) // as many as a site has
	b.plain, err = pgxpool.NewWithConfig(ctx, config)
	return err
}

// create makes a database with the tables of a site.
func (b *bed) create(ctx context.Context, name string) (dsn string, err error) {
	admin, err := pgx.Connect(ctx, b.postgres.DSN())
	if err != nil {
		return "", err
	}
	quoted := pgx.Identifier{name}.Sanitize()
	_, err = admin.Exec(ctx, "DROP DATABASE IF EXISTS "+quoted+" WITH (FORCE)") // of the size before
	if err == nil {
		_, err = admin.Exec(ctx, "CREATE DATABASE "+quoted)
	}
	if err := errors.Join(err, admin.Close(ctx)); err != nil {
		return "", fmt.Errorf("creating a database: %w", err)
	}
	u, err := url.Parse(b.postgres.DSN())
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), migrated(ctx, u.String())
}

// migrated makes the tables of a site.
func migrated(ctx context.Context, dsn string) error {
	st, err := store.Open(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = st.Migrate(ctx)
	return errors.Join(err, st.Close())
}

// settle waits until no site has anything left to publish, so that what one side has
// put off is not done at the expense of the other.
func (b *bed) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for _, m := range b.meshes {
		for id, db := range m.db {
			for {
				var waiting int
				if err := db.QueryRow(ctx, "SELECT count(*) FROM outbox").Scan(&waiting); err != nil {
					return fmt.Errorf("waiting until %s has published everything: %w", id, err)
				}
				if waiting == 0 {
					break
				}
				if err := pause(ctx, 20*time.Millisecond); err != nil {
					return fmt.Errorf("%s still has %d messages to publish: %w", id, waiting, err)
				}
			}
		}
	}
	return nil
}

// delay makes the line between the sites longer, by d for a round trip.
func (m *mesh) delay(ctx context.Context, d time.Duration) error {
	o := linkproxy.Order{Mode: linkproxy.WordDelay, DelayMs: float64(d.Milliseconds()) / 2}
	if d == 0 {
		o = linkproxy.Order{Mode: linkproxy.WordPass}
	}
	_, err := m.Lines.Set(ctx, federation.LinkID(hub, leaf), o)
	return err
}

func (b *bed) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	var failed []error
	for _, m := range b.meshes {
		for _, nc := range m.conn {
			nc.Close()
		}
		failed = append(failed, m.Stop(ctx))
		for _, db := range m.db {
			if db != nil {
				db.Close()
			}
		}
	}
	failed = append(failed, b.full.close())
	if b.plain != nil {
		b.plain.Close()
	}
	if b.postgres != nil {
		failed = append(failed, b.postgres.Stop())
	}
	if b.peersDir != "" {
		failed = append(failed, os.RemoveAll(b.peersDir))
	}
	return errors.Join(failed...)
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
