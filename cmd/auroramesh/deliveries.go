package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

type deliveriesCmd struct {
	siteFlags
	jsonFlag
	ID string `arg:"" optional:"" name:"id" help:"Id of an alert: show where that one has arrived."`
}

// Help is the long help.
func (*deliveriesCmd) Help() string {
	return `Of the columns WAY, REFUSED, REDELIVERED, PROVED UNTIL and NOTE those are left out in
which no row says anything but direct, 0 or nothing. --json has all.

Examples:
  auroramesh deliveries
  auroramesh deliveries --json | jq '.deliveries[] | select(.pending != 0)'
  auroramesh deliveries 0192f3a0-7c1e-7d5a-9b1e-3f6c2a1d4e5f`
}

// Run shows the delivery ledger of the asked site, or that of one alert.
func (c *deliveriesCmd) Run(ctx context.Context, io *stdio) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.ID != "" {
		d, err := client.AlertDeliveries(ctx, c.ID)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return writeJSON(io.out, d)
		}
		return alertDeliveriesTable(io.out, d)
	}
	d, err := client.Deliveries(ctx)
	switch {
	case err != nil:
		return err
	case c.JSON:
		return writeJSON(io.out, d)
	}
	return deliveriesTable(io.out, d)
}

func deliveriesTable(w io.Writer, all federation.Deliveries) error {
	t := newTable(w, "PEER", "DIRECTION", "WAY", "SHARED", "STORED", "REFUSED", "PENDING", "OLDEST PENDING", "REDELIVERED", "COMPARED", "PROVED UNTIL", "NOTE")
	for _, d := range all.Deliveries {
		age := "-"
		if d.OldestPendingSeconds != nil {
			age = decimal(*d.OldestPendingSeconds, 1) + " s"
		}
		t.row(plain(string(d.Peer)), plain(string(d.Direction)), way(d), count(d.Shared), count(d.Stored), count(d.Refused), count(d.Pending), age, count(d.Redelivered), compared(d.Reconciliation, all.GeneratedAt), proved(d), plain(d.Detail))
	}
	t.leaveOut("WAY", "direct")
	t.leaveOut("REFUSED", "-", "0")
	t.leaveOut("REDELIVERED", "-", "0")
	t.leaveOut("PROVED UNTIL", "-")
	t.leaveOut("NOTE", "")
	if err := t.write(w); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nBacklog: %s\n", backlogLine(all.Backlog))
	return err
}

// way is how the alerts of a delivery reach their receiver.
func way(d federation.Delivery) string {
	if d.PassedBy == "" {
		return "direct"
	}
	return "by " + plain(string(d.PassedBy))
}

// proved is up to when a comparison has proved what a hub passed on.
func proved(d federation.Delivery) string {
	if d.ProvedUntil == nil {
		return "-"
	}
	return stamp(d.ProvedUntil)
}

// backlogLine is how full the backlog is, and what it has let go of.
func backlogLine(b federation.Backlog) string {
	const mib = 1 << 20
	line := fmt.Sprintf("%d of %d alerts, %s of %d MiB", b.Messages, b.MaxMessages, decimal(float64(b.Bytes)/mib, 1), b.MaxBytes/mib)
	var dropped []string
	for _, s := range federation.Severities() {
		if n := b.Dropped[s]; n > 0 {
			dropped = append(dropped, fmt.Sprintf("%d %s", n, s))
		}
	}
	if len(dropped) == 0 {
		return line + "; none dropped"
	}
	return line + "; dropped so far: " + strings.Join(dropped, ", ") + ", last " + stamp(b.DroppedAt)
}

// compared is what came of the last comparison, and how long before now that was.
func compared(r *federation.Reconciliation, now time.Time) string {
	if r == nil {
		return "-"
	}
	return fmt.Sprintf("%d alerts: lost %d dup %d, %s ago", r.Compared, r.Lost, r.Duplicated, max(now.Sub(r.At), 0).Round(time.Second))
}

// count is a figure, or a dash for one that is not known.
func count(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}

func alertDeliveriesTable(w io.Writer, all federation.AlertDeliveries) error {
	if len(all.Deliveries) == 0 {
		_, err := fmt.Fprintf(w, "Raised at %s; this site delivers it to nobody.\n", plain(string(all.OriginSite)))
		return err
	}
	t := newTable(w, "PEER", "STATE", "NOTE")
	for _, d := range all.Deliveries {
		t.row(plain(string(d.Peer)), plain(string(d.State)), plain(d.Detail))
	}
	return t.write(w)
}
