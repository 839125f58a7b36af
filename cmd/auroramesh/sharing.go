package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

type sharingCmd struct {
	Preview sharingPreviewCmd `cmd:"" help:"Show which peers would get an alert, and why. Nothing is stored."`
	Gates   sharingGatesCmd   `cmd:"" help:"Show the gate of every peer, in both directions."`
	Gate    sharingGateCmd    `cmd:"" help:"Set the gate of one peer, or reset it."`
}

type sharingPreviewCmd struct {
	siteFlags
	jsonFlag
	File     string `arg:"" optional:"" help:"File with the alert as JSON, as the API takes it; - or nothing at all is standard input."`
	Severity string `placeholder:"WORD" help:"Instead of a file, an alert of this severity: critical, high, medium, low or info. Required where flags describe the alert."`
	TLP      string `name:"tlp" placeholder:"WORD" help:"Its label: clear, green, amber, amber+strict or red; amber where there is none."`
	Title    string `placeholder:"TEXT" help:"Its title."`
	Source   string `placeholder:"TEXT" help:"Its source."`
}

// Help is the long help.
func (*sharingPreviewCmd) Help() string {
	return `The alert comes from a file, or from flags: then --severity is required.

Examples:
  auroramesh sharing preview --severity critical --tlp red
  auroramesh sharing preview alert.json
  jq .alert case.json | auroramesh sharing preview --json`
}

// Run shows what the gate of a site would decide on an alert.
func (c *sharingPreviewCmd) Run(ctx context.Context, io *stdio) error {
	n, err := c.alert(io.in)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	p, err := client.PreviewSharing(ctx, n)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, p)
	}
	return sharingTable(io.out, p)
}

// alert is the alert that the flags describe, or the one in the file.
func (c *sharingPreviewCmd) alert(in io.Reader) (federation.NewAlert, error) {
	if c.Severity+c.TLP+c.Title+c.Source == "" {
		return readAlert(in, cmp.Or(c.File, "-"))
	}
	if c.File != "" {
		var wrong fault.Fields
		wrong.Add("file", c.File, "none where flags describe the alert")
		return federation.NewAlert{}, wrong.Err("the flags are not valid")
	}
	// No gate looks at the title, but no alert is without one; nor without a source.
	n := federation.NewAlert{
		Title: cmp.Or(c.Title, "preview"), Source: cmp.Or(c.Source, "preview"),
		Severity: federation.Severity(c.Severity), TLP: federation.ParseTLP(c.TLP),
	}
	return n, n.Validate()
}

// readAlert reads the one alert in a file. A field that the API does not know is
// refused here, for what is sent on would no longer have it.
func readAlert(in io.Reader, path string) (n federation.NewAlert, err error) {
	name := path
	if path == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(path)
		if err != nil {
			return n, fault.New(fault.NotFound, "reading the alert: %v", err)
		}
		defer f.Close()
		in = f
	}
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&n); err != nil {
		if errors.Is(err, io.EOF) {
			return n, fault.New(fault.Malformed, "%s is empty; it must hold an alert as JSON", name)
		}
		return n, fault.New(fault.Malformed, "%s is not an alert as JSON: %v", name, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return n, fault.New(fault.Malformed, "%s holds more than one alert", name)
	}
	return n, n.Validate()
}

func sharingTable(w io.Writer, p ask.SharingPreview) error {
	fmt.Fprintf(w, "Gate of %s: %s\nThe alert: severity %s, tlp %s\n\n", plain(string(p.SiteID)), defaultGate(p.Gate), plain(string(p.Severity)), plain(string(p.TLP)))
	if len(p.Peers) == 0 {
		_, err := fmt.Fprintln(w, "The site knows no peer.")
		return err
	}
	t := newTable(w, "PEER", "ADMITTED", "RULE", "REMOVED", "REASON")
	for _, d := range p.Peers {
		admitted := "no"
		if d.Admitted {
			admitted = "yes"
		}
		t.row(plain(string(d.Peer)), admitted, plain(string(d.Rule)), wordList(d.StrippedIOCs), plain(d.Reason))
	}
	return t.write(w)
}
