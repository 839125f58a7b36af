package store

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/uptrace/bun"
	bundialect "github.com/uptrace/bun/dialect"
	"github.com/uptrace/bun/schema"
)

// updateAll writes columns of rows that are there, by their keys, whatever the number of
// the rows; where none are named, all. In PostgreSQL it is one statement, to which
// each column goes as one array, as in [insertAll].
func updateAll[R any](ctx context.Context, tx bun.Tx, rows []R, columns ...string) error {
	if len(rows) == 0 {
		return nil
	}
	if tx.Dialect().Name() != bundialect.PG {
		for i := range rows {
			if _, err := tx.NewUpdate().Model(&rows[i]).Column(columns...).WherePK().Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	table := tx.Dialect().Tables().Get(reflect.TypeFor[R]())
	written := slices.Clone(table.DataFields)
	if len(columns) > 0 {
		written = slices.DeleteFunc(written, func(f *schema.Field) bool { return !slices.Contains(columns, f.Name) })
	}
	var names, types []string
	var arrays []any
	for _, f := range slices.Concat(table.PKs, written) {
		sql, array, err := columnOf(f, rows)
		if err != nil {
			return err
		}
		names, types, arrays = append(names, string(f.SQLName)), append(types, sql), append(arrays, array)
	}
	equal := func(of string, fields []*schema.Field) (all []string) {
		for _, f := range fields {
			all = append(all, fmt.Sprintf("%s%s = now.%s", of, f.SQLName, f.SQLName))
		}
		return all
	}
	//nolint:gosec // names of the schema; the values are arguments
	query := fmt.Sprintf("UPDATE %s AS was SET %s FROM %s AS now (%s) WHERE %s", table.SQLName,
		strings.Join(equal("", written), ", "), unnest(types), strings.Join(names, ", "), strings.Join(equal("was.", table.PKs), " AND "))
	_, err := tx.Tx.ExecContext(ctx, query, arrays...)
	return err
}
