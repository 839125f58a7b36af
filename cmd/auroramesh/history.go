package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

type historyCmd struct {
	siteFlags
	jsonFlag
	Link  string `arg:"" optional:"" name:"link" help:"The id of the link, its sites in either order. Without it the links are listed."`
	Hours int    `default:"24" help:"How far to look back, 1 to 2160 hours."`
}

func (*historyCmd) Help() string {
	return `Examples:
  auroramesh history
  auroramesh history link-site-a-site-b
  auroramesh history link-site-a-site-b --hours 168 --json | jq .availability`
}

func (c *historyCmd) Run(ctx context.Context, io *stdio) error {
	if err := written("hours", c.Hours, ask.MaxHistoryHours); err != nil {
		return err
	}
	if err := (ask.HistoryOf{LinkID: cmp.Or(c.Link, "any"), Hours: c.Hours}).Validate(); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.Link == "" {
		return c.list(ctx, client, io)
	}
	h, err := linkHistory(ctx, client, c.Link, c.Hours)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, h)
	}
	fmt.Fprintf(io.out, "%s from %s to %s: available %s %% (healthy %s s, degraded %s s, down %s s)\n\n", plain(h.LinkID), stamp(&h.From), stamp(&h.To),
		decimal(100*h.Availability, 3), decimal(h.HealthySeconds, 0), decimal(h.DegradedSeconds, 0), decimal(h.DownSeconds, 0))
	if len(h.Transitions) == 0 {
		fmt.Fprintln(io.out, "Neither its status nor the cause has changed in this time.")
		return nil
	}
	t := newTable(io.out, "AT", "FROM", "TO", "CAUSE", "HEARTBEAT AGE")
	for _, tr := range h.Transitions {
		t.row(stamp(&tr.At), plain(tr.From), plain(tr.To), dash(string(tr.Cause)), decimal(tr.HeartbeatAgeSeconds, 1)+" s")
	}
	return t.write(io.out)
}

// list lists the links that the site knows.
func (c *historyCmd) list(ctx context.Context, client *apiclient.Client, io *stdio) error {
	topology, err := client.Topology(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, topology.Links)
	}
	if len(topology.Links) == 0 {
		_, err := fmt.Fprintln(io.out, "The site knows no link yet.")
		return err
	}
	t := newTable(io.out, "LINK", "STATUS")
	for _, l := range topology.Links {
		t.row(plain(l.ID), plain(string(l.Status)))
	}
	return t.write(io.out)
}

// linkHistory asks for the link, and where there is none says which there are.
func linkHistory(ctx context.Context, client *apiclient.Client, id string, hours int) (federation.History, error) {
	h, err := client.LinkHistory(ctx, id, hours)
	if !fault.Is(err, fault.NotFound) {
		return h, err
	}
	topology, unread := client.Topology(ctx)
	if unread != nil {
		return h, unread
	}
	known := make([]string, len(topology.Links))
	for i, l := range topology.Links {
		known[i] = l.ID
	}
	if len(known) == 0 {
		return h, err
	}
	return h, fault.New(fault.NotFound, "%s; the links are %s", fault.Of(err).Message, strings.Join(known, ", "))
}

func decimal(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }
