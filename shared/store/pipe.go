package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
)

// pipe is a transaction that waits for the database as seldom as it can. A statement
// that is added is only kept; [pipe.see] sends all that are, and so does the end of the
// transaction. PostgreSQL gets them in one message, with BEGIN before the first and
// COMMIT behind the last, and answers once. SQLite, which is in this process, is given
// one after the other.
type pipe struct {
	conn    bun.Conn // in PostgreSQL
	tx      bun.Tx   // in SQLite
	pipes   bool     // it is PostgreSQL
	begun   bool
	waiting []statement
}

// statement is one of a [pipe], in the form for either database.
type statement struct {
	// query and args are that of PostgreSQL. The query is prepared once for each
	// connection, so its text must be the same every time, but where anew is set: then
	// its plan is made each time, for a table that may be small or large.
	query string
	args  []any
	anew  bool
	// row reads a row of the result; nil: there is none.
	row func(scan func(...any) error) error
	// alone is the whole statement in SQLite.
	alone func(context.Context, bun.Tx) error
}

const commit = "COMMIT"

// abortTime bounds how long undoing a transaction may take.
const abortTime = 5 * time.Second

// piped runs f in a transaction that may write, through a [pipe]. doing says what for,
// for the error.
func (s *Store) piped(ctx context.Context, doing string, f func(context.Context, *pipe) error) error {
	if !s.dialect.pipes {
		return s.write(ctx, doing, func(ctx context.Context, tx bun.Tx) error {
			p := &pipe{tx: tx}
			if err := f(ctx, p); err != nil {
				return err
			}
			_, err := p.see(ctx)
			return err
		})
	}
	return failed(doing, s.onConn(ctx, f))
}

// asked adds questions to a [pipe], and asks them all in one transaction that does not write.
func (s *Store) asked(ctx context.Context, doing string, add func(*pipe)) error {
	if !s.dialect.pipes {
		return s.read(ctx, doing, func(ctx context.Context, tx bun.Tx) error {
			p := &pipe{tx: tx}
			add(p)
			_, err := p.see(ctx)
			return err
		})
	}
	return s.piped(ctx, doing, func(_ context.Context, p *pipe) error { add(p); return nil })
}

// onConn is [Store.piped] in PostgreSQL.
func (s *Store) onConn(ctx context.Context, f func(context.Context, *pipe) error) (err error) {
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it goes back to the pool, which drops it where it is broken or within a transaction
	p := &pipe{conn: conn, pipes: true}
	if err = f(ctx, p); err == nil && (p.begun || len(p.waiting) > 0) {
		p.add(statement{query: commit})
		_, err = p.see(ctx)
	}
	if err != nil && p.begun {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
		defer cancel()
		_, _ = conn.Conn.ExecContext(ctx, "ROLLBACK") // where that fails the connection is dropped, and the transaction with it
	}
	return err
}

// add adds statements to what will be sent.
func (p *pipe) add(s ...statement) { p.waiting = append(p.waiting, s...) }

// see sends what was added, and reads the results. What is asked of tx after it is asked at
// once, within the transaction.
func (p *pipe) see(ctx context.Context) (tx bun.IDB, err error) {
	next := p.waiting
	p.waiting = nil
	if p.pipes {
		return p.conn, p.conn.Raw(func(driver any) error { return p.send(ctx, driver, next) })
	}
	for _, s := range next {
		if err := s.alone(ctx, p.tx); err != nil {
			return p.tx, err
		}
	}
	return p.tx, nil
}

// send is [pipe.see] on a connection to PostgreSQL.
func (p *pipe) send(ctx context.Context, driver any, next []statement) error {
	conn, ok := driver.(*stdlib.Conn)
	if !ok {
		return fmt.Errorf("the connection is a %T", driver)
	}
	pg, batch := conn.Conn(), &pgx.Batch{}
	if !p.begun {
		batch.Queue("BEGIN")
		p.begun = true
	}
	for _, s := range next {
		if !s.anew {
			if _, err := pg.Prepare(ctx, s.query, s.query); err != nil { // nothing, where it is
				return err
			}
		}
		queued := batch.Queue(s.query, s.args...)
		if s.query == commit {
			queued.Exec(func(done pgconn.CommandTag) error {
				if done.String() != commit { // a statement failed, and its error was passed over
					return errors.New("the transaction was not committed")
				}
				return nil
			})
		}
		if s.row != nil {
			queued.Query(func(rows pgx.Rows) error {
				for rows.Next() {
					if err := s.row(rows.Scan); err != nil {
						return err
					}
				}
				return rows.Err()
			})
		}
	}
	return pg.SendBatch(ctx, batch).Close()
}

// asking is a query of which the text is the same every time, as the values in it are. It
// is built once for its name.
func (s *Store) asking(name string, build func() *bun.SelectQuery, row func(scan func(...any) error) error) statement {
	kept, _ := s.texts.Load(name)
	text, ok := kept.(string)
	if !ok {
		text = build().String()
		s.texts.Store(name, text)
	}
	return statement{query: text, row: row, alone: func(ctx context.Context, tx bun.Tx) error {
		return readRows(build().Conn(tx).Rows(ctx))(row)
	}}
}

// readRows has each row of a result read.
func readRows(rows *sql.Rows, err error) func(row func(scan func(...any) error) error) error {
	return func(row func(scan func(...any) error) error) error {
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err tells what went wrong
		for rows.Next() {
			if err := row(rows.Scan); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}

// inserting is the statement that inserts rows, of which there is at least one; see
// [insertAll]. conflict says what becomes of one that conflicts, and is empty where none can.
// Where column is not empty, row reads it of each row that was inserted.
func inserting[R any](p *pipe, rows []R, conflict, column string, row func(scan func(...any) error) error) (s statement, err error) {
	s = statement{row: row, alone: func(ctx context.Context, tx bun.Tx) error {
		return insertRows(ctx, tx, rows, conflict, column, row)
	}}
	if p.pipes {
		s.query, s.args, err = insertion(p.conn.Dialect(), rows, conflict, column)
	}
	return s, err
}
