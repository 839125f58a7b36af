package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
	sqlitedriver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// failed says what was being done when err came, and makes a fault of what a
// caller can do something about: Unavailable where the same thing may work in a
// moment, or once the operator of the database has done something; Timeout where
// the database gave up. A fault stays as it is.
func failed(doing string, err error) error {
	var known *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	}
	switch kind, why := kindOf(err); kind {
	case fault.Unavailable, fault.Timeout:
		return fmt.Errorf("%s: %w: %w", doing, fault.New(kind, "%s", why), err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// What a caller is told of a failure that is not its own.
const (
	noAnswer = "the database does not answer"
	tooSlow  = "the database did not do this in time"
	broken   = "the database cannot do this until its operator has mended it"
)

// isBusy reports whether another connection holds a SQLite database.
func isBusy(err error) bool {
	var lite *sqlitedriver.Error
	return errors.As(err, &lite) && lite.Code()&0xff == sqlitelib.SQLITE_BUSY
}

// isConflict reports whether a row was there that was to be stored, in PostgreSQL.
func isConflict(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505" // unique_violation
}

// kindOf is the code of an error of the database, and what to tell of it.
func kindOf(err error) (fault.Code, string) {
	var (
		connect *pgconn.ConnectError
		pg      *pgconn.PgError
		lite    *sqlitedriver.Error
		network net.Error
	)
	switch {
	case errors.As(err, &connect):
		return fault.Unavailable, noAnswer
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fault.Internal, "" // the caller's own doing, and fault.Of knows it
	case errors.As(err, &pg):
		return kindOfSQLState(pg.Code)
	case errors.As(err, &lite):
		return kindOfSQLite(lite.Code() & 0xff)
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, driver.ErrBadConn), pgconn.SafeToRetry(err):
		return fault.Unavailable, noAnswer
	}
	return fault.Internal, ""
}

// kindOfSQLState is kindOf for an error code of PostgreSQL.
func kindOfSQLState(code string) (fault.Code, string) {
	switch code {
	case "57014", "25P04": // query_canceled: statement_timeout; transaction_timeout
		return fault.Timeout, tooSlow
	case "25006", // read_only_sql_transaction, after a failover
		"25P03",          // idle_in_transaction_session_timeout
		"55006", "55P03": // object_in_use; lock_not_available
		return fault.Unavailable, noAnswer
	case "42501", // insufficient_privilege
		"42P01", "42703", // undefined_table and undefined_column: it is not migrated
		"XX001", "XX002": // data_corrupted; index_corrupted
		return fault.Unavailable, broken
	}
	switch code[:min(2, len(code))] {
	case "08", "40", "57": // connection, rollback (deadlock), operator intervention
		return fault.Unavailable, noAnswer
	case "28", "3D", "3F", "53", "58": // authorization, no such database, no such schema, resources (a full disk), the system (an error of the disk)
		return fault.Unavailable, broken
	}
	return fault.Internal, ""
}

// kindOfSQLite is kindOf for a primary result code of SQLite.
func kindOfSQLite(code int) (fault.Code, string) {
	switch code {
	case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED, sqlitelib.SQLITE_PROTOCOL, sqlitelib.SQLITE_SCHEMA: // of which each may work in a moment
		return fault.Unavailable, noAnswer
	case sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_NOLFS, sqlitelib.SQLITE_NOMEM, // the machine
		sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_CANTOPEN, sqlitelib.SQLITE_PERM, // what may be done with the file
		sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_NOTADB: // the file
		return fault.Unavailable, broken
	}
	return fault.Internal, ""
}
