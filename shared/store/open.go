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

// Bounds of the PostgreSQL pool of one process, and of what one statement may
// take before it is a fault rather than patience. A DSN may set the latter by
// itself, e.g. "?statement_timeout=60s".
const (
	postgresConns       = 10
	postgresIdle        = 5
	connectTimeout      = 5 * time.Second
	statementTimeout    = "30s"
	lockTimeout         = "10s"
	idleInTransactionTO = "60s"
)

func openPostgres(dsn string) (*Store, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil { // its text may quote the DSN
		return nil, badDSN(dsn, "postgres://USER:PASSWORD@HOST:PORT/DATABASE with options such as ?sslmode=verify-full, each in the form that PostgreSQL knows, special characters in %XX form")
	}
	// Every query comes with its values in it, so a cache of prepared statements
	// would fill with statements that are never seen again.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	for name, value := range map[string]string{
		"application_name": "auroramesh", "TimeZone": "UTC", "statement_timeout": statementTimeout,
		"lock_timeout": lockTimeout, "idle_in_transaction_session_timeout": idleInTransactionTO,
	} {
		if _, set := config.RuntimeParams[name]; !set {
			config.RuntimeParams[name] = value
		}
	}
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(postgresConns)
	pool.SetMaxIdleConns(postgresIdle)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	pool.SetConnMaxLifetime(30 * time.Minute) // so that a failover or a new address is noticed
	db := bun.NewDB(pool, postgres.bun())
	return &Store{dialect: postgres, reader: db, writer: db}, nil
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
		return &Store{dialect: sqlite, reader: db, writer: db}, nil
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
	if err := writers.PingContext(ctx); err != nil {
		return nil, errors.Join(failed("opening the database "+path, err), writers.Close())
	}
	readers, err := sql.Open("sqlite", name+"&_query_only=1")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database %s: %w", path, err), writers.Close())
	}
	conns := max(4, runtime.GOMAXPROCS(0))
	readers.SetMaxOpenConns(conns)
	readers.SetMaxIdleConns(conns)
	return &Store{dialect: sqlite, reader: bun.NewDB(readers, sqlite.bun()), writer: bun.NewDB(writers, sqlite.bun())}, nil
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
