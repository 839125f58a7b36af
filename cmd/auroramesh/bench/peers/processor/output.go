package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
)

var outputSpec = service.NewConfigSpec().
	Summary("Inserts a batch into a table of PostgreSQL in one statement, whose arguments a mapping makes of each message.").
	Fields(service.NewStringField("dsn"), service.NewStringField("table"), service.NewStringListField("columns"), service.NewBloblangField("args_mapping"),
		service.NewStringField("suffix"), service.NewOutputMaxInFlightField(), service.NewBatchPolicyField("batching"))

// output is a table.
type output struct {
	dsn, table, suffix string
	columns            []string
	args               *bloblang.Executor
	inFlight           int
	db                 *pgxpool.Pool
}

func newOutput(c *service.ParsedConfig, _ *service.Resources) (out service.BatchOutput, batching service.BatchPolicy, inFlight int, err error) {
	o := &output{}
	for name, value := range map[string]*string{"dsn": &o.dsn, "table": &o.table, "suffix": &o.suffix} {
		if *value, err = c.FieldString(name); err != nil {
			return nil, batching, 0, err
		}
	}
	if o.columns, err = c.FieldStringList("columns"); err != nil {
		return nil, batching, 0, err
	}
	if o.args, err = c.FieldBloblang("args_mapping"); err != nil {
		return nil, batching, 0, err
	}
	if batching, err = c.FieldBatchPolicy("batching"); err != nil {
		return nil, batching, 0, err
	}
	o.inFlight, err = c.FieldMaxInFlight()
	return o, batching, o.inFlight, err
}

// Connect opens as many connections as batches may be in flight.
func (o *output) Connect(ctx context.Context) error {
	config, err := pgxpool.ParseConfig(o.dsn)
	if err != nil {
		return fmt.Errorf("reading the DSN: %w", err)
	}
	config.MaxConns = int32(o.inFlight)
	o.db, err = pgxpool.NewWithConfig(ctx, config)
	return err
}

// WriteBatch inserts a batch, and commits it.
func (o *output) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	values := make([]any, 0, len(batch)*len(o.columns))
	args := batch.BloblangExecutor(o.args)
	var rows strings.Builder
	for i := range batch {
		msg, err := args.Query(i)
		if err != nil {
			return fmt.Errorf("mapping the arguments: %w", err)
		}
		mapped, err := msg.AsStructured()
		if err != nil {
			return fmt.Errorf("reading the arguments: %w", err)
		}
		row, ok := mapped.([]any)
		if !ok || len(row) != len(o.columns) {
			return fmt.Errorf("the mapping gave %T, not an array of %d", mapped, len(o.columns))
		}
		if i > 0 {
			rows.WriteByte(',')
		}
		rows.WriteByte('(')
		for j, value := range row {
			if j > 0 {
				rows.WriteByte(',')
			}
			values = append(values, value)
			rows.WriteByte('$')
			rows.WriteString(strconv.Itoa(len(values)))
		}
		rows.WriteByte(')')
	}
	_, err := o.db.Exec(ctx, "INSERT INTO "+o.table+" ("+strings.Join(o.columns, ", ")+") VALUES "+rows.String()+" "+o.suffix, values...)
	return err
}

// Close ends the connections.
func (o *output) Close(context.Context) error {
	if o.db != nil {
		o.db.Close()
	}
	return nil
}
