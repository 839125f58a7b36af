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
// moment, Timeout where the database gave up. A fault stays as it is.
func failed(doing string, err error) error {
	var known *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	}
	switch kind := kindOf(err); kind {
	case fault.Unavailable:
		return fmt.Errorf("%s: %w: %w", doing, fault.New(kind, "the database does not answer"), err)
	case fault.Timeout:
		return fmt.Errorf("%s: %w: %w", doing, fault.New(kind, "the database did not do this in time"), err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

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

func kindOf(err error) fault.Code {
	var (
		connect *pgconn.ConnectError
		pg      *pgconn.PgError
		lite    *sqlitedriver.Error
		network net.Error
	)
	switch {
	case errors.As(err, &connect):
		return fault.Unavailable
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fault.Internal // the caller's own doing, and fault.Of knows it
	case errors.As(err, &pg):
		return kindOfSQLState(pg.Code)
	case errors.As(err, &lite):
		switch lite.Code() & 0xff {
		case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED,
			sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_CANTOPEN: // the disk, which somebody can mend
			return fault.Unavailable
		}
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, driver.ErrBadConn), pgconn.SafeToRetry(err):
		return fault.Unavailable
	}
	return fault.Internal
}

func kindOfSQLState(code string) fault.Code {
	switch code {
	case "57014": // query_canceled: statement_timeout
		return fault.Timeout
	case "55P03", "25006": // lock_not_available; read_only_sql_transaction, after a failover
		return fault.Unavailable
	}
	switch code[:min(2, len(code))] {
	case "08", "40", "53", "57": // connection, rollback (deadlock), resources, operator intervention
		return fault.Unavailable
	}
	return fault.Internal
}
