package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
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
	var names []string
	fields := make([]*schema.Field, 0, len(table.Fields))
	for _, f := range table.Fields {
		if !f.AutoIncrement {
			names, fields = append(names, f.Name), append(fields, f)
		}
	}
	values := make([]any, len(fields)) // of one row: each is sent before the next is asked for
	return conn.Raw(func(driver any) error {
		pg, ok := driver.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("rows cannot be copied on a connection of the type %T", driver)
		}
		_, err := pg.Conn().CopyFrom(ctx, pgx.Identifier{table.Name}, names, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			row := reflect.ValueOf(&rows[i]).Elem()
			for j, f := range fields {
				var err error
				if values[j], err = copyValue(f.Value(row)); err != nil {
					return nil, fmt.Errorf("the column %s: %w", f.Name, err)
				}
			}
			return values, nil
		}))
		return err
	})
}

// copyValue is a value of a row as COPY sends it, nil for NULL.
func copyValue(v reflect.Value) (any, error) {
	switch v.Kind() { //nolint:exhaustive // the others have a form of their own
	case reflect.String:
		return v.String(), nil
	case reflect.Int, reflect.Int64:
		return v.Int(), nil
	case reflect.Pointer:
		if v.IsNil() {
			return nil, nil //nolint:nilnil // it is NULL
		}
		return copyValue(v.Elem())
	}
	switch v := v.Interface().(type) {
	case timestamp:
		if v.IsZero() {
			return nil, nil //nolint:nilnil // it is NULL
		}
		return v.Time, nil
	case texter:
		_, text, _, err := v.text()
		return text, err
	}
	return nil, fmt.Errorf("no value of the type %s is copied", v.Type())
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
