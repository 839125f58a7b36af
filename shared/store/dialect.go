package store

import (
	"database/sql"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"github.com/uptrace/bun/schema"
)

// dialect is all in which the two databases differ, but for their migrations and
// the form of a [timestamp].
type dialect struct {
	name string // of the folder of its migrations
	bun  func() schema.Dialect
	// snapshot is the transaction that sees one state throughout.
	snapshot sql.TxOptions
	// rowLocks: a transaction must lock the rows that it reads in order to change
	// them. In SQLite a transaction that may write has the whole database.
	rowLocks bool
	// copies: many rows are stored by COPY, see [copyAll].
	copies bool
	// pipes: several statements go to it in one message; see [pipe].
	pipes bool
	// timeType is the type of a column that holds a timestamp.
	timeType string
	// now is the database's own clock, in the form of a timestamp.
	now string
	// place is where a row lies, good until its transaction ends, and at is the
	// condition that it is one of those of a query. Neither leaves a choice to the planner.
	place, at string
	// tableExists counts the tables of a name.
	tableExists string
	// beforeMigrating makes two programs that migrate at once go one after the other.
	beforeMigrating string
}

var postgres = dialect{
	name:        "postgres",
	bun:         func() schema.Dialect { return pgdialect.New() },
	snapshot:    sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
	rowLocks:    true,
	copies:      true,
	pipes:       true,
	timeType:    "timestamptz",
	now:         `now()`,
	place:       "ctid",
	at:          "ctid = ANY (ARRAY(?))",
	tableExists: `SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = ?`,
	// A migration of a large table may take long, and so may the wait for another
	// program's. The number is arbitrary; it must only be the same in every program.
	beforeMigrating: `SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock(4707111423)`,
}

var sqlite = dialect{
	name:        "sqlite",
	bun:         func() schema.Dialect { return sqlitedialect.New() },
	snapshot:    sql.TxOptions{ReadOnly: true},
	timeType:    "INTEGER",
	place:       "rowid",
	at:          "rowid IN (?)",
	now:         `CAST(unixepoch('subsec') * 1000000 AS INTEGER)`,
	tableExists: `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?`,
}

// forUpdate makes q lock the rows that it finds until the transaction ends.
func (d dialect) forUpdate(q *bun.SelectQuery) *bun.SelectQuery {
	if d.rowLocks {
		return q.For("UPDATE")
	}
	return q
}

// forUpdateSkipping is [dialect.forUpdate] that passes over what another transaction
// has locked, in place of waiting for it.
func (d dialect) forUpdateSkipping(q *bun.SelectQuery) *bun.SelectQuery {
	if d.rowLocks {
		return q.For("UPDATE SKIP LOCKED")
	}
	return q
}

// hasty lets a transaction end before it is on the disk, where the database can: after a
// crash it may not have been.
func (d dialect) hasty() []statement {
	if d.pipes {
		return []statement{{query: "SET LOCAL synchronous_commit = off"}}
	}
	return nil
}
