package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	sqlitelib "modernc.org/sqlite/lib"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
)

// What time or the operator of the database mends is tried again. What the same message
// would meet for ever is not.
func TestWhatTheOperatorOfPostgresMendsIsUnavailable(t *testing.T) {
	t.Parallel()
	s := fixture{postgrestest.Start(t)}.open(t)
	for told, codes := range map[string][]string{
		noAnswer: {"08006", "25006", "25P03", "40001", "40P01", "55006", "55P03", "57P01", "57P03"},
		broken:   {"28000", "3D000", "3F000", "42501", "42703", "42P01", "53100", "53200", "53300", "58000", "58030", "58P01", "XX001", "XX002"},
		tooSlow:  {"57014", "25P04"},
		"":       {"22001", "22P05", "23502", "23505", "23514", "42601", "54000", "XX000"},
	} {
		for _, code := range codes {
			_, err := s.writer.ExecContext(t.Context(), fmt.Sprintf("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '%s'; END $$", code))
			if err == nil {
				t.Fatalf("%s is no error", code)
			}
			want := map[string]fault.Code{"": fault.Internal, tooSlow: fault.Timeout}[told]
			if told == noAnswer || told == broken {
				want = fault.Unavailable
			}
			err = failed("storing", err)
			isFault(t, err, want, "storing: ")
			isFault(t, err, want, code)
			if f := fault.Of(err); told != "" && f.Message != told {
				t.Errorf("of %s is told %q, want %q", code, f.Message, told)
			}
		}
	}
}

func TestWhatTheOperatorOfSQLiteMendsIsUnavailable(t *testing.T) {
	for told, codes := range map[string][]int{
		noAnswer: {sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED, sqlitelib.SQLITE_PROTOCOL, sqlitelib.SQLITE_SCHEMA},
		broken: {
			sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_NOLFS, sqlitelib.SQLITE_NOMEM, sqlitelib.SQLITE_READONLY,
			sqlitelib.SQLITE_CANTOPEN, sqlitelib.SQLITE_PERM, sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_NOTADB,
		},
		"": {sqlitelib.SQLITE_ERROR, sqlitelib.SQLITE_TOOBIG, sqlitelib.SQLITE_CONSTRAINT, sqlitelib.SQLITE_MISMATCH, sqlitelib.SQLITE_MISUSE, sqlitelib.SQLITE_RANGE},
	} {
		want := fault.Unavailable
		if told == "" {
			want = fault.Internal
		}
		for _, code := range codes {
			if kind, why := kindOfSQLite(code); kind != want || why != told {
				t.Errorf("%d is %s %q, want %s %q", code, kind, why, want, told)
			}
		}
	}
}

// A file system that is mounted read-only, as after an error of the disk, is somebody's to mend.
func TestAReadOnlySQLiteIsUnavailableAndRecovers(t *testing.T) {
	s := fixture{"sqlite:" + filepath.Join(t.TempDir(), "x.db")}.migrated(t)
	for _, readOnly := range []bool{true, false} {
		if _, err := s.writer.ExecContext(t.Context(), fmt.Sprintf("PRAGMA query_only = %v", readOnly)); err != nil {
			t.Fatal(err)
		}
		_, created, err := s.RaiseAlert(t.Context(), alertOf(t, "a", t0), nil)
		if readOnly {
			isFault(t, err, fault.Unavailable, "storing the alert: "+broken)
		} else if err != nil || !created {
			t.Errorf("when it can be written to again the alert is stored: %v, %v", created, err)
		}
	}
}

// A file that is damaged is somebody's to mend too.
func TestADamagedSQLiteIsUnavailable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("no database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), "sqlite:"+path)
	if err == nil {
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		err = s.Ready(t.Context())
	}
	isFault(t, err, fault.Unavailable, broken)
}
