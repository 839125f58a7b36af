// Package postgrestest gives a test a fresh PostgreSQL database. The server is
// the one that AURORAMESH_TEST_POSTGRES names (a DSN of a user who may create
// databases) or else a throwaway one, started from the local initdb and postgres
// binaries, that all tests of a test binary share and that ends with its process.
//
// Where there is neither the test is skipped, and the reason says so; with
// "postgres" in AURORAMESH_TEST_REQUIRE it fails instead, so that CI cannot pass
// by skipping.
package postgrestest

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/auroramesh/auroramesh/shared/store/localpostgres"
)

// The environment variables that say where PostgreSQL is and whether it must be.
const (
	EnvDSN     = "AURORAMESH_TEST_POSTGRES"
	EnvRequire = "AURORAMESH_TEST_REQUIRE"
)

// skip is why a test of PostgreSQL does not run.
func skip(t testing.TB, err error) {
	t.Helper()
	t.Skipf("SKIPPED, NOT TESTED ON POSTGRESQL: %v; or set %s to a DSN", err, EnvDSN)
}

// Start returns the DSN of a database that is empty and t's alone. It is dropped
// when t ends.
func Start(t testing.TB) (dsn string) {
	t.Helper()
	admin := os.Getenv(EnvDSN)
	if admin == "" {
		running, err := cluster()
		switch {
		case errors.Is(err, localpostgres.ErrNone) && !strings.Contains(os.Getenv(EnvRequire), "postgres"):
			skip(t, err)
		case err != nil:
			t.Fatalf("starting PostgreSQL: %v", err)
		}
		admin = running.DSN()
	}
	name := "auroramesh_test_" + strings.ToLower(rand.Text())
	if err := createDatabase(admin, name); err != nil {
		t.Fatalf("creating a database: %v", err)
	}
	t.Cleanup(func() {
		if err := execute(admin, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("dropping the database: %v", err)
		}
	})
	u, err := url.Parse(admin)
	if err != nil || u.Scheme == "" {
		t.Fatalf("%s must be a URL such as postgres://user@host/postgres", EnvDSN)
	}
	u.Path = "/" + name
	return u.String()
}

// createDatabase prefers a collation that passes over punctuation, as that of
// most servers does, to that of bytes: an order that leans on the collation shows itself.
func createDatabase(admin, name string) error {
	english := execute(admin, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US-u-ka-shifted'")
	if english == nil {
		return nil
	}
	if err := execute(admin, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
		return errors.Join(english, err)
	}
	return nil
}

func execute(dsn, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// cluster is the server of this test binary, started once.
var cluster = sync.OnceValues(func() (*localpostgres.Running, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return localpostgres.Run(ctx, "fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")
})
