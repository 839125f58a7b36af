package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// change has the site apply a change to an alert; asJSON prints the answer.
func (s siteFlags) change(ctx context.Context, io *stdio, id string, p federation.AlertPatch, asJSON bool) (federation.Alert, error) {
	if err := p.Validate(); err != nil {
		return federation.Alert{}, err
	}
	client, err := s.client()
	if err != nil {
		return federation.Alert{}, err
	}
	a, err := client.Update(ctx, id, p)
	if err != nil || !asJSON {
		return a, err
	}
	return a, writeJSON(io.out, a)
}

type alertsStatusCmd struct {
	siteFlags
	jsonFlag
	ID     string `arg:"" name:"id" help:"Id of the alert."`
	Status string `arg:"" help:"new, triaged, investigating, escalated, resolved or false_positive."`
}

// Help is the long help.
func (*alertsStatusCmd) Help() string {
	return `Example:
  auroramesh alerts set-status 0192f3a0-7c1e-7d5a-9b1e-3f6c2a1d4e5f triaged`
}

// Run changes the status of one alert.
func (c *alertsStatusCmd) Run(ctx context.Context, io *stdio) error {
	patch := federation.AlertPatch{Status: federation.AlertStatus(c.Status)}
	a, err := c.change(ctx, io, c.ID, patch, c.JSON)
	if err != nil || c.JSON {
		return err
	}
	_, err = fmt.Fprintf(io.out, "%s is %s: %s\n", plain(a.ID), plain(string(a.Status)), plain(a.Title))
	return err
}

type alertsEditCmd struct {
	siteFlags
	jsonFlag
	ID          string   `arg:"" name:"id" help:"Id of the alert; one that was raised at the asked site."`
	Status      string   `placeholder:"WORD" help:"new, triaged, investigating, escalated, resolved or false_positive."`
	Title       *string  `placeholder:"TEXT" help:"What happened, in one line."`
	Description *string  `placeholder:"TEXT" help:"What happened, at length."`
	Severity    string   `placeholder:"WORD" help:"critical, high, medium, low or info."`
	TLP         string   `name:"tlp" placeholder:"LABEL" help:"clear, green, amber, amber+strict or red. A label that may not leave takes the alert back from the peers."`
	AssetType   *string  `placeholder:"TEXT" help:"What kind of thing is affected."`
	Assets      []string `placeholder:"NAME" help:"All hosts, accounts or services that are affected, in place of those before."`
	IOCs        []string `name:"iocs" placeholder:"VALUE" help:"All indicators, in place of those before; the type of each is told by its form."`
	Techniques  []string `placeholder:"ID" help:"All ATT&CK technique ids, in place of those before."`
}

// Help is the long help.
func (*alertsEditCmd) Help() string {
	return `Each edit is a further version of the alert, which goes to every peer that has it.
What a peer's analysts made of it there stays beside it.

Examples:
  auroramesh alerts edit 0192f3a0-7c1e-7d5a-9b1e-3f6c2a1d4e5f --severity critical
  auroramesh alerts edit 0192f3a0-7c1e-7d5a-9b1e-3f6c2a1d4e5f --iocs 203.0.113.7,evil.example --title "C2 beacon"`
}

// Run edits one alert.
func (c *alertsEditCmd) Run(ctx context.Context, io *stdio) error {
	p := federation.AlertPatch{
		Status: federation.AlertStatus(c.Status), Title: c.Title, Description: c.Description, Severity: federation.Severity(c.Severity),
		TLP: federation.ParseTLP(c.TLP), AssetType: c.AssetType,
	}
	if c.Assets != nil {
		p.AffectedAssets = &c.Assets
	}
	if c.Techniques != nil {
		p.MitreTechniques = &c.Techniques
	}
	if c.IOCs != nil { // read as the API reads them
		data, err := json.Marshal(c.IOCs)
		if err != nil {
			return fmt.Errorf("reading the IOCs: %w", err)
		}
		p.IOCs = new(federation.IOCInput)
		if err := json.Unmarshal(data, p.IOCs); err != nil {
			return fmt.Errorf("reading the IOCs: %w", err)
		}
	}
	a, err := c.change(ctx, io, c.ID, p, c.JSON)
	if err != nil || c.JSON {
		return err
	}
	_, err = fmt.Fprintf(io.out, "%s is version %d: %s, %s, %s\n", plain(a.ID), a.Version, plain(string(a.Severity)), plain(string(a.Status)), plain(a.Title))
	return err
}

type alertsRetractCmd struct {
	siteFlags
	jsonFlag
	ID     string `arg:"" name:"id" help:"Id of the alert; one that was raised at the asked site."`
	Reason string `arg:"" help:"Why it is taken back, for the analysts of every site."`
}

// Help is the long help.
func (*alertsRetractCmd) Help() string {
	return `A retraction is for good, and it is a notice: the alert stays in every queue, marked,
so that analysts can see what they acted on. What must not be seen any longer is not
undone by it.

Example:
  auroramesh alerts retract 0192f3a0-7c1e-7d5a-9b1e-3f6c2a1d4e5f "a test of the sensor"`
}

// Run takes one alert back.
func (c *alertsRetractCmd) Run(ctx context.Context, io *stdio) error {
	a, err := c.change(ctx, io, c.ID, federation.AlertPatch{Retraction: c.Reason}, c.JSON)
	if err != nil || c.JSON {
		return err
	}
	_, err = fmt.Fprintf(io.out, "%s is retracted: %s\n", plain(a.ID), plain(a.Title))
	return err
}
