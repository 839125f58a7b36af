// Command processor is a general stream processor, which the benchmark of ingest stands
// beside the mesh: the engine of Redpanda Connect (Benthos), with an input for NATS
// JetStream and an output for PostgreSQL that are made as those of its distributions are
// from the outside: messages one by one with an acknowledgement each, and a mapping to
// the arguments of one INSERT for a whole batch. It runs the configuration file that it is given.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "processor:", err)
		os.Exit(1)
	}
}

// run processes until it is told to end.
func run(args []string) error {
	if len(args) != 1 {
		return errors.New("it takes one argument, its configuration file")
	}
	conf, err := os.ReadFile(args[0]) //nolint:gosec // the file that a person names
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := errors.Join(
		service.RegisterInput("nats_jetstream", inputSpec, newInput),
		service.RegisterBatchOutput("sql_insert", outputSpec, newOutput),
	); err != nil {
		return err
	}
	b := service.NewStreamBuilder()
	b.SetLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err := b.SetYAML(string(conf)); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	s, err := b.Build()
	if err != nil {
		return fmt.Errorf("building the stream: %w", err)
	}
	if err := s.Run(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("processing: %w", err)
	}
	return nil
}
