package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
)

// controlFlags choose the control that a command asks.
type controlFlags struct {
	Control string `env:"AURORA_CONTROL" placeholder:"URL" help:"Address of the control (${env}). Default: that of the demo that runs here."`
}

func (c controlFlags) client() (*linkproxy.Client, error) {
	base := c.Control
	if base == "" {
		d, err := readDemo()
		if err != nil {
			return nil, fault.New(fault.NotFound, "%v, or name the control of another", err)
		}
		base = d.Control
	}
	return linkproxy.NewClient(base)
}

type lineCmd struct {
	List      lineListCmd      `cmd:"" default:"withargs" help:"List the lines, and what is done to each (the default)."`
	Cut       lineCutCmd       `cmd:"" help:"Close the connections of a line, and refuse new ones."`
	BlackHole lineBlackHoleCmd `cmd:"" name:"blackhole" help:"Let nothing arrive, and tell neither end."`
	Delay     lineDelayCmd     `cmd:"" help:"Hold back what passes, in each direction."`
	Heal      lineHealCmd      `cmd:"" help:"Let everything pass."`
}

// Help is the long help.
func (*lineCmd) Help() string {
	return `Between each leaf of the demo and its primary there is a line, named like the link
that it carries. A line that is broken stays so until it is healed, or for the time
that --for gives.

Examples:
  auroramesh line
  auroramesh line cut link-site-a-site-b
  auroramesh line blackhole link-site-a-site-b --for 30s
  auroramesh line delay link-site-a-site-b --by 200ms
  auroramesh line heal link-site-a-site-b`
}

type lineListCmd struct {
	controlFlags
	jsonFlag
}

// Run lists the lines.
func (c *lineListCmd) Run(ctx context.Context, io *stdio) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	all, err := client.Lines(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, all)
	}
	t := newTable(io.out, "LINE", "MODE", "DELAY", "HEALS BY ITSELF")
	for _, l := range all.Lines {
		delay, heals := "-", "-"
		if l.DelayMs > 0 {
			delay = delayed(l)
		}
		if l.HealsAt != nil {
			heals = stamp(l.HealsAt)
		}
		t.row(plain(l.Link), plain(string(l.Mode)), delay, heals)
	}
	return t.write(io.out)
}

// lineFlags name the line that a command sets.
type lineFlags struct {
	controlFlags
	jsonFlag
	Line string `arg:"" name:"line" help:"The line, by the id of its link, its sites in either order."`
}

// breakFlags are [lineFlags] of a command that breaks one.
type breakFlags struct {
	lineFlags
	For time.Duration `placeholder:"TIME" help:"Heal it after this time, up to 2h. Default: not by itself."`
}

func (c lineFlags) set(ctx context.Context, io *stdio, o linkproxy.Order, after time.Duration) error {
	o.Seconds = after.Seconds()
	if err := o.Validate(); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	all, err := client.Lines(ctx)
	if err != nil {
		return err
	}
	l, err := client.Set(ctx, lineNamed(all.Lines, c.Line), o)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, l)
	}
	done, until := plain(string(l.Mode)), ""
	if l.DelayMs > 0 {
		done += " of " + delayed(l)
	}
	switch {
	case l.HealsAt != nil:
		until = ", and heals at " + stamp(l.HealsAt)
	case l.Mode != linkproxy.WordPass:
		until = ", until `auroramesh line heal " + plain(l.Link) + "`"
	}
	_, err = fmt.Fprintf(io.out, "%s: %s%s\n", plain(l.Link), done, until)
	return err
}

// lineNamed is the name of the line that is meant: by that name, or by the id of its
// link with the sites the other way round where that can be one line only.
func lineNamed(lines []linkproxy.Line, name string) string {
	var reversed []string
	for _, l := range lines {
		if l.Link == name {
			return name
		}
		if federation.ReversedIDs(l.Link, name) {
			reversed = append(reversed, l.Link)
		}
	}
	if len(reversed) == 1 {
		return reversed[0]
	}
	return name
}

// delayed says both figures of a delay: topology shows the second.
func delayed(l linkproxy.Line) string {
	figure := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	return figure(l.DelayMs) + " ms each way, " + figure(2*l.DelayMs) + " ms round trip"
}

type lineCutCmd struct{ breakFlags }

// Run cuts a line.
func (c *lineCutCmd) Run(ctx context.Context, io *stdio) error {
	return c.set(ctx, io, linkproxy.Order{Mode: linkproxy.WordCut}, c.For)
}

type lineBlackHoleCmd struct{ breakFlags }

// Run makes a line a black hole.
func (c *lineBlackHoleCmd) Run(ctx context.Context, io *stdio) error {
	return c.set(ctx, io, linkproxy.Order{Mode: linkproxy.WordBlackHole}, c.For)
}

type lineDelayCmd struct {
	breakFlags
	By time.Duration `default:"100ms" placeholder:"TIME" help:"How long each byte is held back, up to 1m (default ${default}); a round trip takes twice as long more."`
}

// Run delays a line.
func (c *lineDelayCmd) Run(ctx context.Context, io *stdio) error {
	return c.set(ctx, io, linkproxy.Order{Mode: linkproxy.WordDelay, DelayMs: c.By.Seconds() * 1000}, c.For)
}

type lineHealCmd struct{ lineFlags }

// Run heals a line.
func (c *lineHealCmd) Run(ctx context.Context, io *stdio) error {
	return c.set(ctx, io, linkproxy.Order{Mode: linkproxy.WordPass}, 0)
}

type proxyCmd struct {
	Listen  string `required:"" placeholder:"HOST:PORT" help:"Where the leaf connects, instead of to the primary."`
	Target  string `required:"" placeholder:"HOST:PORT" help:"Where the primary takes leafnodes."`
	Link    string `default:"line" placeholder:"ID" help:"The name of the line, such as the id of its link (default ${default})."`
	Control string `default:"127.0.0.1:7423" placeholder:"HOST:PORT" help:"Address of loopback for auroramesh line and drill (default ${default})."`
}

// Help is the long help.
func (*proxyCmd) Help() string {
	return `Passes on what comes between a leaf and its primary until it is told otherwise:
put its address into the leaf's leafnode remote. Ctrl-C stops it. It adds neither
a password nor encryption, and its control answers this machine alone.

Examples:
  auroramesh proxy --listen 127.0.0.1:7522 --target hub:7422 --link link-site-a-site-b
  auroramesh line cut link-site-a-site-b --control http://127.0.0.1:7423 --for 30s
  auroramesh drill --proxy http://127.0.0.1:7423 --api http://hub:8000 --api http://leaf:8002`
}

// Run stands in the line until it is told to stop.
func (c *proxyCmd) Run(ctx context.Context, io *stdio) error {
	p, err := linkproxy.Listen(c.Listen, c.Target)
	if err != nil {
		return err
	}
	lines := linkproxy.NewControl()
	lines.Add(c.Link, p)
	control, err := lines.Serve(c.Control)
	if err != nil {
		return errors.Join(err, lines.Close())
	}
	_, err = fmt.Fprintf(io.out, "%s passes from %s to %s; its control is at %s\n", plain(c.Link), p.Addr(), plain(c.Target), control.URL)
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, control.Close(), lines.Close())
}
