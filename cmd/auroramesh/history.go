package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/auroramesh/auroramesh/shared/ask"
)

type historyCmd struct {
	siteFlags
	jsonFlag
	Link  string `arg:"" name:"link" help:"The id of the link, as topology shows it."`
	Hours int    `default:"24" help:"How far to look back, 1 to 2160 hours."`
}

func (*historyCmd) Help() string {
	return `Examples:
  auroramesh history link-site-a-site-b
  auroramesh history link-site-a-site-b --hours 168 --json | jq .availability`
}

func (c *historyCmd) Run(ctx context.Context, io *stdio) error {
	if err := (ask.HistoryOf{LinkID: c.Link, Hours: c.Hours}).Validate(); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	h, err := client.LinkHistory(ctx, c.Link, c.Hours)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, h)
	}
	fmt.Fprintf(io.out, "%s from %s to %s: available %s %% (healthy %s s, degraded %s s, down %s s)\n\n", plain(h.LinkID), stamp(&h.From), stamp(&h.To),
		decimal(100*h.Availability, 3), decimal(h.HealthySeconds, 0), decimal(h.DegradedSeconds, 0), decimal(h.DownSeconds, 0))
	if len(h.Transitions) == 0 {
		fmt.Fprintln(io.out, "Its status has not changed in this time.")
		return nil
	}
	t := newTable(io.out, "AT", "FROM", "TO", "CAUSE", "HEARTBEAT AGE")
	for _, tr := range h.Transitions {
		t.row(stamp(&tr.At), plain(tr.From), plain(tr.To), dash(string(tr.Cause)), decimal(tr.HeartbeatAgeSeconds, 1)+" s")
	}
	return t.write(io.out)
}

func decimal(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }
