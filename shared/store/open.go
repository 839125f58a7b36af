package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// badDSN refuses a DSN. Of what was given it shows the scheme alone, because
// anything after it may hold a password.
func badDSN(dsn, allowed string) error {
	scheme, rest, ok := strings.Cut(dsn, ":")
	shown := scheme + ":"
	switch {
	case !ok || strings.ContainsAny(scheme, "@=/ "):
		shown = "" // no scheme at all
	case strings.HasPrefix(rest, "//"):
		shown += "//…"
	case rest != "":
		shown += "…"
	}
	var wrong fault.Fields
	wrong.Add("database", shown, allowed)
	return wrong.Err("the database cannot be opened")
}

// Limits bound what one process takes of a PostgreSQL server: its pool, and what
// one statement may take before it is a fault rather than patience. SQLite has no
// server to spare, so it knows none of them.
type Limits struct {
	MaxOpen     int           // connections at once
	MaxIdle     int           // of these, kept for the next statement
	MaxLifetime time.Duration // of a connection, so that a failover or a new address is noticed
	MaxIdleTime time.Duration // of a connection that nobody uses
	Statement   time.Duration // one statement
	Lock        time.Duration // the wait for a lock
}

// DefaultLimits are those of [Open].
var DefaultLimits = Limits{
	MaxOpen: 10, MaxIdle: 5, MaxLifetime: 30 * time.Minute, MaxIdleTime: 5 * time.Minute,
	Statement: 30 * time.Second, Lock: 10 * time.Second,
}

const (
	connectTimeout = 5 * time.Second
	// idleInTransaction frees the locks of a process that hangs within a transaction.
	idleInTransaction = 60 * time.Second
)

// milliseconds is d as PostgreSQL takes it in a setting.
func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + "ms" }

func openPostgres(dsn string, limits Limits) (*Store, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil { // its text may quote the DSN
		return nil, badDSN(dsn, "postgres://USER:PASSWORD@HOST:PORT/DATABASE with options such as ?sslmode=verify-full, each in the form that PostgreSQL knows, special characters in %XX form")
	}
	// Every query but those of a pipe comes with its values in it, so a cache of
	// prepared statements would fill with statements that are never seen again.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	for name, value := range map[string]string{
		"application_name": "auroramesh", "TimeZone": "UTC", "statement_timeout": milliseconds(limits.Statement),
		"lock_timeout": milliseconds(limits.Lock), "idle_in_transaction_session_timeout": milliseconds(idleInTransaction),
	} { // the DSN may say otherwise, e.g. "?statement_timeout=60s"
		if _, set := config.RuntimeParams[name]; !set {
			config.RuntimeParams[name] = value
		}
	}
	return overPostgres(config, limits), nil
}

// overPostgres is the store over connections as config says.
func overPostgres(config *pgx.ConnConfig, limits Limits) *Store {
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(limits.MaxOpen)
	pool.SetMaxIdleConns(limits.MaxIdle)
	pool.SetConnMaxIdleTime(limits.MaxIdleTime)
	pool.SetConnMaxLifetime(limits.MaxLifetime)
	db := bun.NewDB(pool, postgres.bun())
	return &Store{reach: defaultReach, dialect: postgres, reader: db, writer: db}
}

// Settings of every SQLite connection. An alert that was acknowledged must
// survive a loss of power, hence synchronous FULL. A transaction that may write
// takes its lock at once: one that began to read could not wait for it later.
const sqliteSettings = "?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)&_pragma=synchronous(FULL)"

func openSQLite(ctx context.Context, path string) (*Store, error) {
	if path == ":memory:" {
		// The database lives as long as its one connection.
		pool, err := sql.Open("sqlite", "file::memory:"+sqliteSettings)
		if err != nil {
			return nil, fmt.Errorf("opening a database in memory: %w", err)
		}
		pool.SetMaxOpenConns(1)
		db := bun.NewDB(pool, sqlite.bun())
		return &Store{reach: defaultReach, dialect: sqlite, reader: db, writer: db}, nil
	}
	if path == "" || strings.HasPrefix(path, "//") || strings.ContainsRune(path, 0) {
		return nil, badDSN("sqlite:"+path, "sqlite:PATH with the path of a file, e.g. sqlite:data/site.db or sqlite:/var/lib/auroramesh/site.db")
	}
	path, err := createFile(path)
	if err != nil {
		return nil, fmt.Errorf("creating the database: %w", err)
	}
	name := "file://" + (&url.URL{Path: path}).EscapedPath() + sqliteSettings
	// Only the writer changes the journal, and it does so before anyone reads.
	writers, err := sql.Open("sqlite", name+"&_pragma=journal_mode(WAL)&_pragma=journal_size_limit(67108864)")
	if err != nil {
		return nil, fmt.Errorf("opening the database %s: %w", path, err)
	}
	// Writers wait in line for the one connection, which is fair and quick;
	// SQLite's own wait, by polling, is left for other processes.
	writers.SetMaxOpenConns(1)
	if err := pingSQLite(ctx, writers); err != nil {
		return nil, errors.Join(failed("opening the database "+path, err), writers.Close())
	}
	readers, err := sql.Open("sqlite", name+"&_query_only=1")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database %s: %w", path, err), writers.Close())
	}
	conns := max(4, runtime.GOMAXPROCS(0))
	readers.SetMaxOpenConns(conns)
	readers.SetMaxIdleConns(conns)
	return &Store{reach: defaultReach, dialect: sqlite, reader: bun.NewDB(readers, sqlite.bun()), writer: bun.NewDB(writers, sqlite.bun())}, nil
}

// pingSQLite opens the first connection. Two programs that open a new file at once
// both turn its journal to WAL, for which SQLite refuses one of them without a wait.
func pingSQLite(ctx context.Context, pool *sql.DB) error {
	patience := time.Now().Add(5 * time.Second)
	for {
		err := pool.PingContext(ctx)
		if !isBusy(err) || time.Now().After(patience) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// createFile makes the file of a database and its directory where absent, for
// its owner alone, and returns its absolute path.
func createFile(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return path, nil
	}
	if err != nil {
		return "", err
	}
	return path, f.Close()
}
