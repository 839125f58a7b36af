package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/drill"
)

type drillCmd struct {
	Fault   string        `default:"cut" placeholder:"WORD" help:"What befalls the line: cut, or blackhole, where nothing arrives and nobody is told (default ${default})."`
	For     time.Duration `default:"15s" placeholder:"TIME" help:"How long the fault lasts, 1s to 1h (default ${default})."`
	Rate    float64       `default:"50" placeholder:"N" help:"Alerts per second at each site, up to 1000 (default ${default})."`
	Timeout time.Duration `default:"60s" placeholder:"TIME" help:"How long after the fault every alert may take to arrive (default ${default})."`
	JSON    bool          `name:"json" help:"Print the report as JSON instead of a table."`
	HTML    string        `name:"html" type:"path" placeholder:"FILE" help:"Also write the report as a page that needs nothing else."`
	Verbose bool          `short:"v" help:"Log what the sites warn of; during the fault that is much."`
}

// Help is the long help.
func (*drillCmd) Help() string {
	return `Starts two sites of its own, on free ports and with temporary data, raises alerts
at both, breaks the line between them, heals it, and compares the queues. It ends
with an error unless every alert that one site accepted is at the other, once.

Examples:
  auroramesh drill
  auroramesh drill --fault blackhole --for 30s --rate 200
  auroramesh drill --json | jq .directions
  auroramesh drill --html drill.html`
}

// Run runs the drill.
func (c *drillCmd) Run(ctx context.Context, io *stdio) (err error) {
	log := slog.New(slog.DiscardHandler)
	if c.Verbose {
		log = slog.New(slog.NewTextHandler(io.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	o := drill.Options{
		Fault: c.Fault, For: c.For, Rate: c.Rate, Timeout: c.Timeout, Version: version, Log: log,
		Progress: func(phase string) { fmt.Fprintln(io.err, phase) },
	}
	if err := o.Validate(); err != nil {
		return err
	}
	var page *os.File
	if c.HTML != "" { // found out before the drill, not after it
		if page, err = os.Create(c.HTML); err != nil {
			return fmt.Errorf("writing the page of the drill: %w", err)
		}
		defer func() { err = errors.Join(err, page.Close()) }()
	}
	report, err := drill.Run(ctx, o)
	if err != nil {
		return err
	}
	if page != nil {
		if err := report.WriteHTML(page); err != nil {
			return err
		}
	}
	if c.JSON {
		err = writeJSON(io.out, report)
	} else {
		err = writeDrill(io.out, report)
	}
	return errors.Join(err, report.Verdict())
}

func writeDrill(w io.Writer, r drill.Report) error {
	t := newTable(w, "DIRECTION", "ACCEPTED", "DURING THE FAULT", "STORED", "LOST", "DUPLICATED", "CAUGHT UP AFTER HEALING")
	for _, d := range r.Directions {
		t.row(string(d.From)+" → "+string(d.To), strconv.Itoa(d.Accepted), strconv.Itoa(d.DuringFault), strconv.Itoa(d.Stored),
			strconv.Itoa(d.Lost), strconv.Itoa(d.Duplicated), d.CaughtUp())
	}
	if err := t.write(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nFault: %s for %s s.\n", r.Fault, decimal(r.FaultSeconds(), 1))
	for _, d := range r.Detections {
		fmt.Fprintf(w, "%s.\n", d)
	}
	if r.Verdict() == nil {
		fmt.Fprintln(w, "The promise was kept: 0 alerts lost, 0 duplicated.")
	}
	return nil
}
