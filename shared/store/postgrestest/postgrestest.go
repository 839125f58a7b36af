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
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The environment variables that say where PostgreSQL is and whether it must be.
const (
	EnvDSN     = "AURORAMESH_TEST_POSTGRES"
	EnvRequire = "AURORAMESH_TEST_REQUIRE"
)

// errNone is that there is no PostgreSQL on this machine.
var errNone = errors.New("PostgreSQL is not here: set " + EnvDSN + " to a DSN, or put initdb and postgres on PATH or in /usr/lib/postgresql/*/bin")

// Start returns the DSN of a database that is empty and t's alone. It is dropped
// when t ends.
func Start(t testing.TB) (dsn string) {
	t.Helper()
	admin := os.Getenv(EnvDSN)
	if admin == "" {
		running, err := cluster()
		switch {
		case errors.Is(err, errNone) && !strings.Contains(os.Getenv(EnvRequire), "postgres"):
			t.Skipf("SKIPPED, NOT TESTED ON POSTGRESQL: %v", err)
		case err != nil:
			t.Fatalf("starting PostgreSQL: %v", err)
		}
		admin = running.dsn
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

// server is the server of this test binary.
type server struct {
	dsn string // of its superuser
	// life is held open by being here: its end is the end of the server.
	life *os.File
}

// cluster starts the server, once.
var cluster = sync.OnceValues(func() (server, error) {
	bin, err := binaries()
	if err != nil {
		return server{}, err
	}
	dir, err := os.MkdirTemp("", "pg") // short: a socket's path has 107 bytes at most
	if err != nil {
		return server{}, err
	}
	process := &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 { // postgres refuses to run as root
		uid, gid, err := unprivileged()
		if err != nil {
			return server{}, err
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			return server{}, err
		}
		process.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	data := filepath.Join(dir, "data")
	//nolint:gosec // the PostgreSQL that this machine has
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, process
	if out, err := initdb.CombinedOutput(); err != nil {
		return server{}, errors.Join(fmt.Errorf("initdb: %w: %s", err, out), os.RemoveAll(dir))
	}
	life, err := launch(bin, dir, data, process)
	if err != nil {
		return server{}, err
	}
	dsn := "postgres://postgres@/postgres?host=" + url.QueryEscape(dir)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = execute(dsn, "SELECT 1"); err == nil {
			return server{dsn, life}, nil
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			return server{}, fmt.Errorf("the server does not answer: %w; its log: %s", err, log)
		}
	}
})

// guard runs the server until the end of its standard input, which is the end of
// the test process, however that comes; then it stops the server and leaves
// nothing behind. $1 is the server, $2 its data, $3 the directory of both.
const guard = `"$1" -D "$2" -k "$3" -c listen_addresses= -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200 >"$3/log" 2>&1 &
read -r _
kill -QUIT $!
wait $!
cd /
rm -rf "$3"`

// launch starts the server under its guard, and returns the other end of the
// guard's standard input.
func launch(bin, dir, data string, process *syscall.SysProcAttr) (life *os.File, err error) {
	input, life, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	//nolint:gosec // the PostgreSQL that this machine has
	guarded := exec.Command("/bin/sh", "-c", guard, "guard", filepath.Join(bin, "postgres"), data, dir)
	guarded.Dir, guarded.SysProcAttr, guarded.Stdin = dir, process, input
	if err := guarded.Start(); err != nil {
		return nil, err
	}
	return life, input.Close()
}

// binaries is the directory of initdb and postgres, the newest where there are several.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "postgres")); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // 0 where it is no number
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	for _, path := range found {
		_, err := os.Stat(filepath.Join(filepath.Dir(path), "initdb"))
		if err == nil {
			return filepath.Dir(path), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", errNone
}

// unprivileged is the user as whom root runs the server.
func unprivileged() (uid, gid int, err error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("finding a user other than root to run PostgreSQL: %w", err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	if gid, err = strconv.Atoi(u.Gid); err != nil {
		return 0, 0, err
	}
	return uid, gid, nil
}
