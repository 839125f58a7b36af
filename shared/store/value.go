package store

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	bundialect "github.com/uptrace/bun/dialect"
	"github.com/uptrace/bun/schema"
)

// timestamp is a time as both databases keep it, to the microsecond: timestamptz
// in PostgreSQL, whole microseconds since 1970 in SQLite, which sort as times do.
// The zero time is NULL.
type timestamp struct{ time.Time }

// stamp is t as a database keeps it.
func stamp(t time.Time) timestamp { return timestamp{t.UTC().Truncate(time.Microsecond)} }

func stampOf(t *time.Time) timestamp {
	if t == nil {
		return timestamp{}
	}
	return stamp(*t)
}

// pointer is nil where the time is NULL.
func (t timestamp) pointer() *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t.Time
}

// AppendQuery implements [schema.QueryAppender].
func (t timestamp) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	switch {
	case t.IsZero():
		return append(b, "NULL"...), nil
	case gen.Dialect().Name() == bundialect.SQLite:
		return strconv.AppendInt(b, t.UnixMicro(), 10), nil
	}
	return gen.Dialect().AppendTime(b, t.Time), nil
}

// text implements [texter].
func (t timestamp) text() (sql, text string, null bool, err error) { //nolint:unparam // a list may fail
	return "timestamptz", t.UTC().Format("2006-01-02 15:04:05.999999-07"), t.IsZero(), nil
}

// Scan implements [database/sql.Scanner].
func (t *timestamp) Scan(src any) error {
	switch src := src.(type) {
	case nil:
		*t = timestamp{}
	case int64:
		*t = timestamp{time.UnixMicro(src).UTC()}
	case time.Time:
		*t = stamp(src)
	default:
		return fmt.Errorf("a time cannot be read from %T", src)
	}
	return nil
}

// document is a value as both databases keep it: a JSON object. The zero value is
// the empty object.
type document[T any] struct{ V T }

// AppendQuery implements [schema.QueryAppender]; see [list.AppendQuery].
func (d document[T]) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	data, err := json.Marshal(d.V)
	if err != nil {
		return nil, err
	}
	return gen.Dialect().AppendString(b, string(data)), nil
}

// text implements [texter].
func (d document[T]) text() (sql, text string, null bool, err error) {
	data, err := json.Marshal(d.V)
	return "text", string(data), false, err
}

// Scan implements [database/sql.Scanner].
func (d *document[T]) Scan(src any) error {
	*d = document[T]{}
	switch src := src.(type) {
	case []byte:
		return json.Unmarshal(src, &d.V)
	case string:
		return json.Unmarshal([]byte(src), &d.V)
	}
	return fmt.Errorf("a document cannot be read from %T", src)
}

// list is a list as both databases keep it: a JSON array, never null.
type list[T any] []T

// AppendQuery implements [schema.QueryAppender]. It writes JSON as any other
// text, because the query builder's own way for JSON rewrites what looks like an
// escaped NUL, and so breaks the text `\u0000` in a value.
func (l list[T]) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	if l == nil {
		l = list[T]{}
	}
	data, err := json.Marshal([]T(l))
	if err != nil {
		return nil, err
	}
	return gen.Dialect().AppendString(b, string(data)), nil
}

// text implements [texter].
func (l list[T]) text() (sql, text string, null bool, err error) {
	if l == nil {
		l = list[T]{}
	}
	data, err := json.Marshal([]T(l))
	return "jsonb", string(data), false, err
}

// Scan implements [database/sql.Scanner].
func (l *list[T]) Scan(src any) error {
	var data []byte
	switch src := src.(type) {
	case []byte:
		data = src
	case string:
		data = []byte(src)
	default:
		return fmt.Errorf("a list cannot be read from %T", src)
	}
	*l = list[T]{}
	if string(data) == "[]" { // as most are
		return nil
	}
	return json.Unmarshal(data, (*[]T)(l))
}
