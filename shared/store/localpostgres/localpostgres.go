// Package localpostgres makes a PostgreSQL of its own from the binaries of this
// machine: its data, and the command that serves them. It is for what needs a server
// for a while, a benchmark or a test, and for nothing that must be kept.
package localpostgres

import (
	"context"
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
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNone is that there is no PostgreSQL on this machine.
var ErrNone = errors.New("PostgreSQL is not here: initdb and postgres must be on PATH or in /usr/lib/postgresql/*/bin")

// Cluster is the data of a server that does not run by itself.
type Cluster struct {
	bin, dir string
	process  *syscall.SysProcAttr
}

// Make makes a cluster, or says why it cannot: [ErrNone] where there is no PostgreSQL.
func Make() (Cluster, error) {
	bin, err := binaries()
	if err != nil {
		return Cluster{}, err
	}
	dir, err := os.MkdirTemp("", "pg") // short: a socket's path has 107 bytes at most
	if err != nil {
		return Cluster{}, err
	}
	process := &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 { // postgres refuses to run as root
		uid, gid, err := unprivileged()
		if err != nil {
			return Cluster{}, err
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			return Cluster{}, err
		}
		process.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	c := Cluster{bin, dir, process}
	//nolint:gosec // the PostgreSQL that this machine has
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", c.Data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, process
	if out, err := initdb.CombinedOutput(); err != nil {
		return Cluster{}, errors.Join(fmt.Errorf("initdb: %w: %s", err, out), os.RemoveAll(dir))
	}
	return c, nil
}

// Server is the server, not started, with settings such as "fsync=off". It listens
// on a socket in the cluster's directory alone. SIGINT stops it.
func (c Cluster) Server(settings ...string) *exec.Cmd {
	args := []string{"-D", c.Data(), "-k", c.dir, "-c", "listen_addresses="}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	//nolint:gosec // the PostgreSQL that this machine has
	cmd := exec.Command(c.Binary(), args...)
	cmd.Dir, cmd.SysProcAttr = c.dir, c.Process()
	return cmd
}

// Binary is the path of the server.
func (c Cluster) Binary() string { return filepath.Join(c.bin, "postgres") }

// Process is how a process of the server is started: in a group of its own, and never as root.
func (c Cluster) Process() *syscall.SysProcAttr {
	process := *c.process
	return &process
}

// Dir is the directory of the cluster, and of the server's socket.
func (c Cluster) Dir() string { return c.dir }

// Data is the directory of the server's data.
func (c Cluster) Data() string { return filepath.Join(c.dir, "data") }

// DSN is that of the server's superuser.
func (c Cluster) DSN() string { return "postgres://postgres@/postgres?host=" + url.QueryEscape(c.dir) }

// Await waits until the server answers, or ctx ends.
func (c Cluster) Await(ctx context.Context) error {
	for {
		conn, err := pgx.Connect(ctx, c.DSN())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Remove removes the cluster. Its server must have ended.
func (c Cluster) Remove() error { return os.RemoveAll(c.dir) }

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
	return "", ErrNone
}

// Version is that of the PostgreSQL of this machine, or [ErrNone].
func Version() (string, error) {
	bin, err := binaries()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output() //nolint:gosec // the PostgreSQL that this machine has
	if err != nil {
		return "", fmt.Errorf("postgres --version: %w", err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "postgres (PostgreSQL) "), nil
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
