package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

type sharingGatesCmd struct {
	siteFlags
	jsonFlag
}

// Help is the long help.
func (*sharingGatesCmd) Help() string {
	return `A value with a * is set for that peer; the rest is the default.

Example:
  auroramesh sharing gates`
}

// Run shows every gate of a site.
func (c *sharingGatesCmd) Run(ctx context.Context, io *stdio) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	all, err := client.SharingGates(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, all)
	}
	fmt.Fprintf(io.out, "Default gate of %s: %s\n\n", plain(string(all.SiteID)), defaultGate(all.Default))
	if len(all.Gates) == 0 {
		_, err := fmt.Fprintln(io.out, "The site knows no peer, and no gate is set.")
		return err
	}
	return gatesTable(io.out, all.Gates)
}

type sharingGateCmd struct {
	siteFlags
	jsonFlag
	Peer          string   `arg:"" help:"Id of the peer. It need not be known yet."`
	Direction     string   `default:"outbound" help:"outbound: what leaves for the peer; inbound: what is taken from it (default ${default})."`
	MinSeverity   string   `placeholder:"WORD" help:"The lowest severity that passes: critical, high, medium, low or info."`
	Sources       []string `placeholder:"A,B" help:"The only sources that pass."`
	ExceptSources []string `placeholder:"A,B" help:"Sources that do not pass."`
	StripIOCs     []string `name:"strip-iocs" placeholder:"ip,domain" help:"Types of IOC that are taken off."`
	Reset         bool     `help:"Give the peer the default gate again."`
}

// Help is the long help.
func (*sharingGateCmd) Help() string {
	return `The flags are the whole gate: what none of them says is the default again.

Examples:
  auroramesh sharing gate site-c --min-severity critical --strip-iocs ip,domain
  auroramesh sharing gate site-c --except-sources honeypot
  auroramesh sharing gate site-c --direction inbound --min-severity medium
  auroramesh sharing gate site-c --reset`
}

// Run sets the gate of one peer.
func (c *sharingGateCmd) Run(ctx context.Context, io *stdio) error {
	change, err := c.change()
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	var set ask.PeerGate
	if c.Reset {
		set, err = client.ResetGate(ctx, change.GateOf)
	} else {
		set, err = client.SetGate(ctx, change.GateOf, change.Gate)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, set)
	}
	return gatesTable(io.out, []ask.PeerGate{set})
}

// change is the gate that the flags describe.
func (c *sharingGateCmd) change() (ask.GateChange, error) {
	change := ask.GateChange{
		GateOf: ask.GateOf{Peer: federation.SiteID(c.Peer), Direction: federation.Direction(c.Direction)},
		Gate:   federation.GateSetting{MinSeverity: federation.Severity(c.MinSeverity), Sources: c.Sources, ExceptSources: c.ExceptSources},
	}
	for _, t := range c.StripIOCs {
		change.Gate.StripIOCs = append(change.Gate.StripIOCs, federation.IOCType(t))
	}
	said := c.MinSeverity != "" || len(c.Sources)+len(c.ExceptSources)+len(c.StripIOCs) > 0
	if c.Reset == said {
		return change, fault.New(fault.Invalid, "say what the gate is to be, or --reset, and not both")
	}
	return change, change.Validate()
}

// defaultGate is the gate for the peers that have none of their own, in words.
func defaultGate(g ask.SharingGate) string {
	if !g.Federation {
		return "federation off, nothing leaves"
	}
	return fmt.Sprintf("severity %s or worse, tlp %s", plain(string(g.MinSeverity)), wordList(g.TLPs))
}

func gatesTable(w io.Writer, gates []ask.PeerGate) error {
	t := newTable(w, "PEER", "DIRECTION", "MIN SEVERITY", "SOURCES", "EXCEPT SOURCES", "IOCS REMOVED", "KNOWN")
	for _, g := range gates {
		set := map[string]string{}
		for _, name := range g.Set {
			set[name] = " *"
		}
		sources := "all"
		if len(g.Sources) > 0 {
			sources = short(strings.Join(g.Sources, ", "), 60)
		}
		known := "yes"
		if !g.Known {
			known = "not yet"
		}
		t.row(plain(string(g.Peer)), plain(string(g.Direction)), plain(string(g.MinSeverity))+set["min_severity"], sources+set["sources"],
			wordList(g.ExceptSources)+set["except_sources"], wordList(g.StripIOCs)+set["strip_iocs"], known)
	}
	return t.write(w)
}

// wordList is a list in one cell, and - where there is nothing in it.
func wordList[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = string(w)
	}
	if len(words) == 0 {
		return "-"
	}
	return short(strings.Join(words, ", "), 60)
}
