// Package store keeps what a site knows: its sites and links, its queue of
// alerts, and the outbox of what must still be published. One set of queries
// serves PostgreSQL, for a site of several machines, and SQLite, for one machine
// and the demo; where the two differ stands in dialect.go and in the migrations.
//
// A function hands in domain values and times and gets domain values back; rows
// and SQL stay inside. The store has no clock: every time is an argument, kept
// in UTC to the microsecond.
//
// What a write must tell the rest of the site is committed with the write. An
// alert and the messages about it, a status and the event of its change stand or
// fall together in one transaction; a relay later takes the messages from
// [Store.Outbox], publishes them, and reports them with [Store.Published]. So a
// crash at any moment loses nothing, and at worst publishes a message twice
// under the same message id.
//
// Any number of replicas may use one database. Two that do the same thing at
// once are told apart by the database, never by luck: one of them creates the
// alert, one of them sees the link go down.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// Store is a database of one site. It is safe for use by many goroutines.
type Store struct {
	dialect dialect
	reader  *bun.DB
	writer  *bun.DB  // the same as reader, but in SQLite, which takes one writer at a time
	texts   sync.Map // of the queries of [Store.asking], by their names
	reach   reach
}

// Open opens the database that dsn names: "sqlite:PATH", "sqlite::memory:",
// "postgres://…" or "postgresql://…". A SQLite file and its directory are made
// where absent. A PostgreSQL server need not answer yet: see [Store.Ready].
func Open(ctx context.Context, dsn string) (*Store, error) {
	return OpenWithin(ctx, dsn, DefaultLimits)
}

// OpenWithin is [Open] with other limits than the default ones.
func OpenWithin(ctx context.Context, dsn string, limits Limits) (*Store, error) {
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch {
	case scheme == "sqlite":
		return openSQLite(ctx, rest)
	case (scheme == "postgres" || scheme == "postgresql") && strings.HasPrefix(rest, "//"):
		return openPostgres(dsn, limits)
	}
	return nil, badDSN(dsn, "sqlite:PATH, sqlite::memory:, postgres://… or postgresql://…")
}

// Exists is NotFound where dsn names a SQLite file that is not there, which [Open] would
// make: for those who only look. Of a server it says nothing; see [Store.Ready].
func Exists(dsn string) error {
	path, isFile := strings.CutPrefix(dsn, "sqlite:")
	if !isFile || path == ":memory:" {
		return nil
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.NotFound, "there is no database %s: run auroramesh migrate, which makes it, or set DATABASE_URL to where it is", path)
	}
	return nil
}

// Close ends every connection. The store cannot be used after it.
func (s *Store) Close() error {
	err := s.writer.Close()
	if s.reader != s.writer {
		if readerErr := s.reader.Close(); err == nil {
			err = readerErr
		}
	}
	if err != nil {
		return fmt.Errorf("closing the database: %w", err)
	}
	return nil
}

// Stats counts the connections to the database.
func (s *Store) Stats() sql.DBStats {
	total := s.writer.DB.Stats()
	if s.reader == s.writer {
		return total
	}
	r := s.reader.DB.Stats()
	total.MaxOpenConnections += r.MaxOpenConnections
	total.OpenConnections += r.OpenConnections
	total.InUse += r.InUse
	total.Idle += r.Idle
	total.WaitCount += r.WaitCount
	total.WaitDuration += r.WaitDuration
	total.MaxIdleClosed += r.MaxIdleClosed
	total.MaxIdleTimeClosed += r.MaxIdleTimeClosed
	total.MaxLifetimeClosed += r.MaxLifetimeClosed
	return total
}

// Ready is nil where the database answers and has every migration of this
// program. Else it is Unavailable and says what to do.
func (s *Store) Ready(ctx context.Context) error {
	states, err := s.Migrations(ctx)
	if err != nil {
		return err
	}
	var missing []string
	for _, m := range states {
		if m.AppliedAt == nil {
			missing = append(missing, m.Name)
		}
	}
	if len(missing) > 0 {
		return fault.New(fault.Unavailable, "the database lacks the migrations %s: run auroramesh migrate", strings.Join(missing, ", "))
	}
	return nil
}

// write runs f in a transaction that may write. doing says what for, for the error.
func (s *Store) write(ctx context.Context, doing string, f func(context.Context, bun.Tx) error) error {
	return failed(doing, s.writer.RunInTx(ctx, nil, f))
}

// read runs f in a transaction that sees one state of the database throughout.
func (s *Store) read(ctx context.Context, doing string, f func(context.Context, bun.Tx) error) error {
	return failed(doing, s.reader.RunInTx(ctx, &s.dialect.snapshot, f))
}
