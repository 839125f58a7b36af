package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/drill"
	"github.com/auroramesh/auroramesh/shared/drillreport"
	"github.com/auroramesh/auroramesh/shared/fault"
)

type drillCmd struct {
	Fault   string        `default:"cut" placeholder:"WORD" help:"What befalls the line: cut, or blackhole, where nothing arrives and nobody is told (default ${default})."`
	For     time.Duration `default:"15s" placeholder:"TIME" help:"How long the fault lasts, 1s to 1h (default ${default})."`
	Rate    float64       `default:"50" placeholder:"N" help:"Alerts per second at each site, up to 1000 (default ${default})."`
	Timeout time.Duration `default:"60s" placeholder:"TIME" help:"How long after the fault every alert may take to arrive (default ${default})."`
	JSON    bool          `name:"json" help:"Print the report as JSON instead of a table."`
	Link    string        `placeholder:"ID" help:"The link whose line is broken, its sites in either order. Default: the first one's."`
	Sites   int           `placeholder:"N" help:"How many sites of its own the drill starts, 2 to 16; without it two."`
	Demo    bool          `help:"Drill the demo that runs on this machine, instead of sites of its own."`
	Proxy   string        `placeholder:"URL" help:"Drill running sites, whose line goes through auroramesh proxy: the address of its control."`
	API     []string      `name:"api" sep:"none" placeholder:"URL" help:"With --proxy: the address of a site; once for each site, two or more."`
	HTML    string        `name:"html" type:"path" placeholder:"FILE" help:"Also write the report as a page that needs nothing else."`
	Verbose bool          `short:"v" help:"Log what the sites warn of; during the fault that is much."`
}

// Help is the long help.
func (*drillCmd) Help() string {
	return `Raises alerts at every site, breaks a line between two of them, heals it, and
compares the queues. It ends with an error unless every alert that one site
accepted is at every other, once. The sites are its own, on free ports and with
temporary data, or with --demo or --proxy such as run already. Of those it uses
the API alone, and leaves its alerts there: their source is "drill", and their
titles begin with the name of the drill. They keep its report, which their console
shows beside the deliveries. Where a drill is interrupted or dies,
the line heals by itself.

Examples:
  auroramesh drill
  auroramesh drill --sites 3 --link link-site-a-site-c
  auroramesh drill --demo --link link-site-a-site-b --for 10s --rate 5
  auroramesh drill --proxy http://127.0.0.1:7423 --api http://hub:8000 --api http://leaf:8002
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
		Fault: c.Fault, For: c.For, Rate: c.Rate, Timeout: c.Timeout, Link: c.Link, Sites: c.Sites, Version: version, Log: log,
		Progress: func(phase string) { fmt.Fprintln(io.err, phase) },
	}
	if err := c.running(ctx, &o); err != nil {
		return err
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

// running sets the running sites that the flags name, where they name any.
func (c *drillCmd) running(ctx context.Context, o *drill.Options) error {
	var wrong fault.Fields
	if c.Demo && c.Proxy != "" {
		wrong.Add("proxy", c.Proxy, "none with --demo, which knows its own")
	}
	if c.Proxy == "" && len(c.API) > 0 {
		wrong.Add("api", strings.Join(c.API, ", "), "none without --proxy")
	}
	if err := wrong.Err("the drill cannot start"); err != nil || !c.Demo && c.Proxy == "" {
		return err
	}
	client, err := controlFlags{Control: cmp.Or(c.Proxy, os.Getenv("AURORA_CONTROL"))}.client()
	if err != nil {
		return err
	}
	o.Control, o.APIs = client, c.API
	if c.Demo {
		all, err := client.Lines(ctx)
		if err != nil {
			return err
		}
		for _, s := range all.Sites {
			o.APIs = append(o.APIs, s.API)
		}
	}
	return nil
}

func writeDrill(w io.Writer, r drillreport.Report) error {
	t := newTable(w, "DIRECTION", "ACCEPTED", "DURING THE FAULT", "STORED", "LOST", "DUPLICATED", "CAUGHT UP AFTER HEALING")
	for _, d := range r.Directions {
		t.row(string(d.From)+" → "+string(d.To), strconv.Itoa(d.Accepted), strconv.Itoa(d.DuringFault), strconv.Itoa(d.Stored),
			strconv.Itoa(d.Lost), strconv.Itoa(d.Duplicated), d.CaughtUp())
	}
	if err := t.write(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, s := range r.Summary() {
		fmt.Fprintf(w, "%s.\n", s)
	}
	if r.Verdict() == nil {
		fmt.Fprintln(w, "The promise was kept: 0 alerts lost, 0 duplicated.")
	}
	return nil
}
