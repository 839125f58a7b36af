package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

type demoCmd struct {
	Sites    int    `default:"2" help:"How many sites to run, 1 to 16."`
	DataDir  string `type:"path" placeholder:"DIR" help:"Keep the sites' data here. Default: a temporary directory, removed at the end."`
	APIPort  int    `name:"api-port" default:"8000" help:"Port of the first site's API; each further site's is 2 higher."`
	NATSPort int    `name:"nats-port" default:"4222" help:"Port of the first site's NATS server; each further site's is 1 higher."`
	LeafPort int    `name:"leaf-port" default:"7422" help:"Port where the primary site takes leafnodes."`
	Control  int    `name:"control-port" default:"0" help:"Port of loopback where the lines are broken and healed; 0 is a free one."`
	Verbose  bool   `short:"v" help:"Log what the functions do."`
}

// Help is what `auroramesh demo --help` says below the summary.
func (demoCmd) Help() string {
	return `Two complete sites come up, see each other, and an alert raised at one is in the
queue of the other. Nothing needs to be installed: the NATS servers are embedded
and the databases are SQLite files. Ctrl-C stops it.

Before every leaf stands a line that can be broken by itself: see "auroramesh line
--help" and "auroramesh drill --demo".

What the mesh does follows the FEDERATION_* variables, e.g.
  FEDERATION_FEDERATE_MIN_SEVERITY=critical auroramesh demo`
}

// stopTime is how long a demo may take to stop.
const stopTime = 5 * time.Second

func (c demoCmd) Run(ctx context.Context, io *stdio) error {
	level := slog.LevelWarn
	if c.Verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(io.err, &slog.HandlerOptions{Level: level}))
	ports := map[string]int{"--api-port": c.APIPort, "--nats-port": c.NATSPort, "--leaf-port": c.LeafPort}
	if c.Control != 0 {
		ports["--control-port"] = c.Control
	}
	for name, port := range ports {
		if err := checkPort(name, port); err != nil {
			return err
		}
	}
	begun := time.Now()
	start, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	d, err := demo.Start(start, demo.Options{
		Sites: c.Sites, DataDir: c.DataDir, APIPort: c.APIPort, NATSPort: c.NATSPort, LeafPort: c.LeafPort,
		Version: version, Log: log, Lines: true,
	})
	if err != nil {
		return err
	}
	control, err := d.Lines.Serve(net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Control)))
	if err != nil {
		return errors.Join(fault.New(fault.Invalid, "the demo cannot start: --control-port: %v", err), d.Stop(context.Background()))
	}
	left := leftBy(d, control.URL)
	if err := left.write(); err != nil { // the demo is whole without it
		log.Warn("auroramesh line, drill and doctor will not find the demo by themselves; name its control to the first two", "error", err)
	}
	if err := c.greet(io, d, control.URL, time.Since(begun)); err != nil {
		return errors.Join(err, left.remove(), control.Close(), d.Stop(context.Background()))
	}
	<-ctx.Done()
	fmt.Fprintln(io.out, "\nStopping ...")
	if err := errors.Join(left.remove(), control.Close()); err != nil {
		log.Warn("the control of the lines did not stop cleanly", "error", err)
	}
	stop, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := d.Stop(stop); err != nil {
		return errors.Join(errors.New("the demo did not stop cleanly"), err)
	}
	fmt.Fprintln(io.out, "Stopped.")
	return nil
}

func (c demoCmd) greet(io *stdio, d *demo.Demo, control string, took time.Duration) error {
	fmt.Fprintf(io.out, "%d sites are up after %.1f s.\n\n", len(d.Sites), took.Seconds())
	t := newTable(io.out, "SITE", "TIER", "API", "NATS", "LEAFNODES")
	for _, s := range d.Sites {
		leaf := s.Leaf
		if leaf == "" {
			leaf = "joined to " + string(d.Sites[0].ID().ID)
		}
		t.row(string(s.ID().ID), string(s.ID().Tier), s.API, s.NATS, leaf)
	}
	if err := t.write(io.out); err != nil {
		return err
	}
	last := d.Sites[len(d.Sites)-1]
	first := d.Sites[0]
	_, err := fmt.Fprintf(io.out, `
Three things to try, in another terminal:
  auroramesh simulate --api-base %s --scenario c2-beacon   raise alerts at %s
  auroramesh alerts --api-base %s                          see them at %s, with their origin
  auroramesh topology --api-base %s                        see the sites and the link
`, last.API, last.ID().ID, first.API, first.ID().ID, first.API)
	if err == nil && len(d.Sites) > 1 {
		_, err = fmt.Fprintf(io.out, `
And to see what a cut does (the control of the lines is at %s):
  auroramesh line cut %s --for 30s
  auroramesh drill --demo
`, control, federation.LinkID(first.ID().ID, last.ID().ID))
	}
	if err == nil {
		_, err = fmt.Fprintf(io.out, "\nWhether all is well, check by check:\n  auroramesh doctor --demo --site %s\n", last.ID().ID)
	}
	if err == nil {
		_, err = fmt.Fprintf(io.out, "\nThe API is described at %s/docs. Ctrl-C stops the demo.\n", first.API)
	}
	return err
}
