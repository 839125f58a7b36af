package store

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/auroramesh/auroramesh/shared/fault"
)

func TestBadDSNIsRefusedWithoutItsPassword(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dsn := range []string{
		"", "hunter2", "mysql://u:hunter2@h/d", "postgres:hunter2", "postgres//u:hunter2@h/d", "host=h password=hunter2",
		"sqlite:", "sqlite://u:hunter2@h/d", "sqlite:a\x00b", "sqlite", "SQLITE:x",
		"postgres://u:hunter2@h:port/d", "postgres://u:hunter2@h/d?sslmode=hunter2", "postgres://u:hunter2@h/%zz", "postgresql://u:hunter2%@h/d",
		"u:hunter2@h/d", "hunter2:x",
	} {
		s, err := Open(t.Context(), dsn)
		if s != nil || !fault.Is(err, fault.Invalid) {
			t.Errorf("%q gives %v, %v", dsn, s, err)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") && dsn != "hunter2:x" {
			t.Errorf("%q gives away its password: %v", dsn, err)
		}
		if !strings.Contains(err.Error(), "sqlite:PATH") && !strings.Contains(err.Error(), "postgres://USER") {
			t.Errorf("%q: the error does not say what is allowed: %v", dsn, err)
		}
	}
}

func TestSQLiteFileIsItsOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "deep", "er", "site.db")
	s := fixture{"sqlite:" + path}.migrated(t)
	for path, want := range map[string]fs.FileMode{filepath.Join(dir, "deep"): 0o700, filepath.Dir(path): 0o700, path: 0o600, path + "-wal": 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, error %v, want %v", path, info.Mode(), err, want)
		}
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"} {
		for name, db := range map[string]interface {
			scan(string) (string, error)
		}{"reader": pragmas{t, s, false}, "writer": pragmas{t, s, true}} {
			if got, err := db.scan(pragma); err != nil || got != want {
				t.Errorf("%s of the %s is %q, error %v, want %q", pragma, name, got, err, want)
			}
		}
	}
}

type pragmas struct {
	t      *testing.T
	s      *Store
	writer bool
}

func (p pragmas) scan(name string) (value string, err error) {
	db := p.s.reader
	if p.writer {
		db = p.s.writer
	}
	return value, db.QueryRowContext(p.t.Context(), "PRAGMA "+name).Scan(&value)
}

func TestMemoryDatabaseServesReadersAndWriters(t *testing.T) {
	s := fixture{"sqlite::memory:"}.migrated(t)
	a := alertOf(t, "in memory", t0)
	if _, _, err := s.RaiseAlert(t.Context(), a, nil); err != nil {
		t.Fatal(err)
	}
	equal(t, "the row", must(s.Alert(t.Context(), a.ID))(t), a)
}

func TestUnopenablePathIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("this is no database, though it is longer than a header would be, which SQLite reads first"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below.db"), t.TempDir()} {
		if _, err := Open(t.Context(), "sqlite:"+path); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(path, "/below.db")) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestUnreachablePostgresIsUnavailable(t *testing.T) {
	s := fixture{"postgres://u:hunter2@127.0.0.1:1/d?sslmode=disable"}.open(t)
	err := s.Ready(t.Context())
	isFault(t, err, fault.Unavailable, "the database does not answer")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error gives away the password: %v", err)
	}
}

// Another process that keeps the database to itself makes a write Unavailable, not Internal.
func TestBusySQLiteIsUnavailable(t *testing.T) {
	f := fixture{"sqlite:" + filepath.Join(t.TempDir(), "x.db")}
	s, other := f.migrated(t), f.open(t)
	if _, err := s.writer.ExecContext(t.Context(), "PRAGMA busy_timeout = 1"); err != nil {
		t.Fatal(err)
	}
	tx, err := other.writer.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.RaiseAlert(t.Context(), alertOf(t, "a", t0), nil)
	isFault(t, err, fault.Unavailable, "storing the alert")
	if _, err := s.Links(t.Context()); err != nil {
		t.Errorf("a reader waits for the writer: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
}

// A full disk is somebody's to mend: what waits is tried again, and is no dead letter.
func TestFullSQLiteIsUnavailableAndRecovers(t *testing.T) {
	s := fixture{"sqlite:" + filepath.Join(t.TempDir(), "x.db")}.migrated(t)
	var pages int
	if err := s.writer.QueryRowContext(t.Context(), "PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	allow := func(n int) {
		t.Helper()
		if _, err := s.writer.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	allow(pages)
	a := alertOf(t, "a", t0)
	a.RawLog = strings.Repeat("x", 100_000)
	_, _, err := s.RaiseAlert(t.Context(), a, nil)
	isFault(t, err, fault.Unavailable, "storing the alert")
	allow(pages + 1000)
	if _, created, err := s.RaiseAlert(t.Context(), a, nil); err != nil || !created {
		t.Errorf("with room again the alert is stored: %v, %v", created, err)
	}
}

func TestDialectsHaveTheSameMigrations(t *testing.T) {
	names := func(d dialect) (names []string) {
		for _, m := range must(d.migrations())(t) {
			names = append(names, m.name)
		}
		return names
	}
	equal(t, "migrations of sqlite", names(sqlite), names(postgres))
}
