package store

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	bundialect "github.com/uptrace/bun/dialect"
	"github.com/uptrace/bun/schema"
)

// insertAll inserts rows in one statement, in their order, whatever their number.
// In PostgreSQL each column goes as one array: its parser would otherwise
// take longer over the values of hundreds of rows than the tables take to store them.
// A row that conflicts is passed over where passing is set. A column that is counted
// by the database is left to it. returned, where not nil, gets the given column of
// each row that was inserted.
func insertAll[R any](ctx context.Context, tx bun.Tx, rows []R, passing bool, column string, returned *[]string) error {
	if len(rows) == 0 {
		return nil
	}
	conflict := ""
	if passing {
		conflict = passOver
	}
	var keep func(scan func(...any) error) error
	if returned != nil {
		keep = appendTo(returned)
	} else {
		column = ""
	}
	if tx.Dialect().Name() != bundialect.PG {
		return insertRows(ctx, tx, rows, conflict, column, keep)
	}
	query, arrays, err := insertion(tx.Dialect(), rows, conflict, column)
	if err != nil {
		return err
	}
	if keep == nil {
		_, err := tx.Tx.ExecContext(ctx, query, arrays...)
		return err
	}
	return readRows(tx.Tx.QueryContext(ctx, query, arrays...))(keep)
}

// passOver is the conflict clause of an insertion that leaves out what is there already.
const passOver = "ON CONFLICT DO NOTHING"

// appendTo reads a column of text.
func appendTo(all *[]string) func(scan func(...any) error) error {
	return func(scan func(...any) error) error {
		var value string
		err := scan(&value)
		*all = append(*all, value)
		return err
	}
}

// insertions are the texts of [insertion], which are the same for all rows of a table.
var insertions sync.Map // of string by insertionOf

type insertionOf struct {
	row              reflect.Type
	conflict, column string
}

// insertion is the statement of PostgreSQL that inserts rows, and its arguments.
func insertion[R any](d schema.Dialect, rows []R, conflict, column string) (query string, arrays []any, err error) {
	table := d.Tables().Get(reflect.TypeFor[R]())
	var names, types []string
	for _, f := range table.Fields {
		if f.AutoIncrement {
			continue
		}
		sql, array, err := columnOf(f, rows)
		if err != nil {
			return "", nil, err
		}
		arrays = append(arrays, array)
		names, types = append(names, string(f.SQLName)), append(types, sql)
	}
	key := insertionOf{reflect.TypeFor[R](), conflict, column}
	kept, _ := insertions.Load(key)
	if text, ok := kept.(string); ok {
		return text, arrays, nil
	}
	query = fmt.Sprintf("INSERT INTO %s AS %s (%s) SELECT * FROM %s", table.SQLName, table.SQLAlias, strings.Join(names, ", "), unnest(types))
	if conflict != "" {
		query += " " + conflict
	}
	if column != "" {
		query += " RETURNING " + column
	}
	insertions.Store(key, query)
	return query, arrays, nil
}

// unnest is a table with one column for each argument, in their order: arrays of text, of
// which each value is read as the given type.
func unnest(types []string) string {
	arrays := make([]string, len(types))
	for i, sql := range types {
		arrays[i] = fmt.Sprintf("$%d::text[]", i+1)
		if sql != "text" {
			arrays[i] += "::" + sql + "[]"
		}
	}
	return "unnest(" + strings.Join(arrays, ", ") + ")"
}

// insertRows is insertAll by the query builder.
func insertRows[R any](ctx context.Context, tx bun.Tx, rows []R, conflict, column string, row func(scan func(...any) error) error) error {
	q := tx.NewInsert().Model(&rows)
	for _, f := range tx.Dialect().Tables().Get(reflect.TypeFor[R]()).Fields {
		if f.AutoIncrement {
			q = q.ExcludeColumn(f.Name)
		}
	}
	if conflict != "" {
		q = q.On(strings.TrimPrefix(conflict, "ON "))
	}
	if row == nil {
		_, err := q.Returning("NULL").Exec(ctx)
		return err
	}
	return readRows(tx.Tx.QueryContext(ctx, q.Returning(column).String()))(row)
}

// copyAll writes rows into their table by COPY, in their order, on the connection of
// a transaction. It is for PostgreSQL alone, and takes a third of what [insertAll]
// does, but passes over nothing: a row that conflicts fails the transaction.
func copyAll[R any](ctx context.Context, conn bun.Conn, rows []R) error {
	if len(rows) == 0 {
		return nil
	}
	table := conn.Dialect().Tables().Get(reflect.TypeFor[R]())
	c := copying[R]{rows: rows, made: []byte(copyHeader)}
	var names []string
	for _, f := range table.Fields {
		if !f.AutoIncrement {
			names, c.fields = append(names, string(f.SQLName)), append(c.fields, f)
		}
	}
	columns := strings.Join(names, ", ")
	return conn.Raw(func(driver any) error {
		pg, ok := driver.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("rows cannot be copied on a connection of the type %T", driver)
		}
		// It is asked once for each connection, and says what types the columns have.
		query := fmt.Sprintf("SELECT %s FROM %s", columns, table.SQLName)
		described, err := pg.Conn().Prepare(ctx, query, query)
		if err != nil {
			return err
		}
		c.types = described.Fields
		_, err = pg.Conn().PgConn().CopyFrom(ctx, &c, fmt.Sprintf("COPY %s (%s) FROM STDIN BINARY", table.SQLName, columns))
		return err
	})
}

// What is before and behind the rows in the binary form of COPY.
const (
	copyHeader  = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" // no flags, and no more of a header
	copyTrailer = "\xff\xff"
)

// copying is rows in the binary form of COPY, each made as it is read.
type copying[R any] struct {
	rows   []R // those that are still to be made
	fields []*schema.Field
	types  []pgconn.FieldDescription // of the columns of the fields
	made   []byte                    // and not read yet
}

// Read implements [io.Reader].
func (c *copying[R]) Read(p []byte) (int, error) {
	for len(c.made) < len(p) && len(c.rows) > 0 {
		c.made = binary.BigEndian.AppendUint16(c.made, uint16(len(c.fields)))
		row := reflect.ValueOf(&c.rows[0]).Elem()
		for i, f := range c.fields {
			var err error
			if c.made, err = appendCopied(c.made, c.types[i].DataTypeOID, f.Value(row)); err != nil {
				return 0, fmt.Errorf("the column %s: %w", f.Name, err)
			}
		}
		if c.rows = c.rows[1:]; len(c.rows) == 0 {
			c.made = append(c.made, copyTrailer...)
		}
	}
	if len(c.made) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.made)
	c.made = append(c.made[:0], c.made[n:]...)
	return n, nil
}

// year2000 is from when on PostgreSQL counts, in microseconds since 1970.
const year2000 = 946_684_800_000_000

// appendCopied appends a value of a row, with its length before it, as COPY reads one of the
// type of a column.
func appendCopied(b []byte, oid uint32, v reflect.Value) ([]byte, error) {
	const null = math.MaxUint32 // in place of the length
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return binary.BigEndian.AppendUint32(b, null), nil
		}
		v = v.Elem()
	}
	begin := len(b)
	b = binary.BigEndian.AppendUint32(b, null)
	switch {
	case v.Kind() == reflect.String:
		b = append(b, v.String()...)
	case v.CanInt() && oid == pgtype.Int8OID:
		b = binary.BigEndian.AppendUint64(b, uint64(v.Int()))
	case v.CanInt() && oid == pgtype.Int4OID && v.Int() == int64(int32(v.Int())):
		b = binary.BigEndian.AppendUint32(b, uint32(v.Int()))
	default:
		switch v := v.Addr().Interface().(type) {
		case *timestamp:
			if v.IsZero() {
				return b, nil
			}
			b = binary.BigEndian.AppendUint64(b, uint64(v.UnixMicro()-year2000))
		case texter:
			_, text, _, err := v.text()
			if err != nil {
				return nil, err
			}
			if oid == pgtype.JSONBOID {
				b = append(b, 1) // the version of its form
			}
			b = append(b, text...)
		default:
			return nil, fmt.Errorf("no value of the type %T is copied to a column of the type %d", v, oid)
		}
	}
	binary.BigEndian.PutUint32(b[begin:], uint32(len(b)-begin-4))
	return b, nil
}

// columnOf is what rows have in a field: the type of its column, and an array of the
// values in the form of text, or NULL.
func columnOf[R any](f *schema.Field, rows []R) (sql string, array pgtype.FlatArray[pgtype.Text], err error) {
	array = make(pgtype.FlatArray[pgtype.Text], len(rows))
	for i := range rows {
		var null bool
		if sql, array[i].String, null, err = textOf(f.Value(reflect.ValueOf(&rows[i]).Elem())); err != nil {
			return "", nil, fmt.Errorf("the column %s: %w", f.Name, err)
		}
		array[i].Valid = !null
	}
	return sql, array, nil
}

// texter is a value with a form of its own in a database.
type texter interface {
	// text is the type of the column in PostgreSQL and the value in the form of text.
	text() (sql, text string, null bool, err error)
}

// textOf is a value of a row as PostgreSQL reads it, with the type of its column.
func textOf(v reflect.Value) (sql, text string, null bool, err error) {
	switch {
	case v.Kind() == reflect.String:
		return "text", v.String(), false, nil
	case v.CanInt():
		return "bigint", strconv.FormatInt(v.Int(), 10), false, nil
	case v.CanFloat():
		return "double precision", strconv.FormatFloat(v.Float(), 'g', -1, 64), false, nil
	case v.Kind() == reflect.Bool:
		return "boolean", strconv.FormatBool(v.Bool()), false, nil
	case v.Kind() == reflect.Pointer && v.IsNil():
		sql, _, _, err = textOf(reflect.Zero(v.Type().Elem()))
		return sql, "", true, err
	case v.Kind() == reflect.Pointer:
		return textOf(v.Elem())
	case v.Type() == reflect.TypeFor[[]byte]():
		return "bytea", `\x` + hex.EncodeToString(v.Bytes()), false, nil
	}
	if t, ok := v.Interface().(texter); ok {
		return t.text()
	}
	return "", "", false, fmt.Errorf("no array is made of values of the type %s", v.Type())
}
