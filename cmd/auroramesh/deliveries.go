package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/auroramesh/auroramesh/shared/federation"
)

type deliveriesCmd struct {
	siteFlags
	jsonFlag
	ID string `arg:"" optional:"" name:"id" help:"Id of an alert: show where that one has arrived."`
}

// Help is the long help.
func (*deliveriesCmd) Help() string {
	return `Examples:
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
	t := newTable(w, "PEER", "DIRECTION", "SHARED", "STORED", "PENDING", "OLDEST PENDING", "REDELIVERED", "NOTE")
	for _, d := range all.Deliveries {
		age := "-"
		if d.OldestPendingSeconds != nil {
			age = decimal(*d.OldestPendingSeconds, 1) + " s"
		}
		t.row(plain(string(d.Peer)), plain(string(d.Direction)), count(d.Shared), count(d.Stored), count(d.Pending), age, count(d.Redelivered), plain(d.Detail))
	}
	return t.write(w)
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
