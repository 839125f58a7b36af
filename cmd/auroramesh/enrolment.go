package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/enrol"
	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/identity"
)

type siteCmd struct {
	Init   siteInitCmd   `cmd:"" help:"Make an authority, and the directory of the primary site in it."`
	Enrol  siteEnrolCmd  `cmd:"" help:"Make the directory of a site, and let it in."`
	List   siteListCmd   `cmd:"" help:"List the sites and their certificates."`
	Rotate siteRotateCmd `cmd:"" help:"Make a new certificate of a site; the old one holds for a while."`
	Revoke siteRevokeCmd `cmd:"" help:"Take a site's certificates back, and cut it off."`
	Relay  siteRelayCmd  `cmd:"" help:"Make the directory of a relay: two or more stand in for the hub, and losing one is survived."`
	Apply  siteApplyCmd  `cmd:"" help:"Bring the primary's NATS server up to date: let in who is enrolled, cut who is not."`
}

// Help is the long help.
func (siteCmd) Help() string {
	return `The authority is a directory at the primary site, with a directory for each
site in it. That of the primary is where its NATS server runs; that of another site
is taken there. Everything in them is secret. See docs/deployment.md.

  auroramesh site init --primary site-a --dir sites --host hub.example.org
  auroramesh site enrol site-b --dir sites`
}

type authorityFlag struct {
	Dir string `placeholder:"DIR" default:"sites" help:"Directory of the authority."`
}

// open opens the authority and gives what closes it again.
func (f authorityFlag) open(do func(*authority.Authority) error) error {
	a, err := authority.Open(f.Dir)
	if err != nil {
		return err
	}
	return errors.Join(do(a), a.Close())
}

// placeFlags say how a site is laid out where it runs.
type placeFlags struct {
	Host        []string `placeholder:"NAME" help:"Name or address of the site's NATS server beside localhost; more than once for several."`
	Listen      string   `default:"127.0.0.1:4222" help:"Where the NATS server takes the functions of the site."`
	HTTPListen  string   `name:"http-listen" default:"127.0.0.1:8000" help:"Where the gateway serves the API."`
	At          string   `placeholder:"PATH" help:"Where the directory will be at the site. Default: where it is made."`
	StoreDir    string   `placeholder:"PATH" help:"What JetStream keeps. Default: in the directory."`
	DatabaseURL string   `name:"database-url" placeholder:"URL" help:"The database. Default: SQLite in the directory."`
	Days        int      `default:"365" help:"How long the certificate holds, in days."`
}

func (f placeFlags) place() enrol.Place {
	return enrol.Place{At: f.At, StoreDir: f.StoreDir, ClientListen: f.Listen, HTTPListen: f.HTTPListen, Hosts: f.Host, Database: f.DatabaseURL, Days: f.Days}
}

type natsFlag struct {
	NATS string `name:"nats" placeholder:"URL" help:"Where the primary's NATS server takes clients. Default: as in its site.env."`
}

type siteInitCmd struct {
	authorityFlag
	placeFlags
	Primary        string `required:"" placeholder:"SITE_ID" help:"The id of the primary site."`
	LeafnodeListen string `default:"0.0.0.0:7422" help:"Where its NATS server takes the other sites."`
}

// Run makes the authority.
func (c *siteInitCmd) Run(io *stdio) error {
	p := c.place()
	p.LeafnodeListen = c.LeafnodeListen
	dir, err := enrol.Init(c.Dir, federation.SiteID(c.Primary), p, time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintf(io.out, "%s is the primary site. Its directory is %s; start its NATS server with:\n  nats-server -c %s\n", c.Primary, dir, filepath.Join(cmp.Or(c.At, dir), "nats-server.conf"))
	return showKey(io, c.Primary, dir)
}

// showKey says with which key a site signs, and how its peers take it for the site's.
func showKey(io *stdio, site, dir string) error {
	i, err := identity.Open(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(io.out, "Its peers believe the first key with which they hear it. To leave nothing to chance, at each of them before that:\n  auroramesh trust pin %s %s\n", site, i.Key())
	return nil
}

type siteEnrolCmd struct {
	authorityFlag
	placeFlags
	natsFlag
	SiteID string   `arg:"" name:"site_id" help:"The id of the site."`
	Region string   `placeholder:"REGION" help:"The region whose relays the site finds. Default: the only one."`
	Hub    []string `placeholder:"HOST:PORT" help:"Where the site finds the leafnode listener of the primary or of a relay; more than once for several. Default: the first --host of the primary, or of each relay, with the port in its site.conf."`
}

// Run enrols a site.
func (c *siteEnrolCmd) Run(ctx context.Context, io *stdio) error {
	return c.open(func(a *authority.Authority) error {
		p := c.place()
		p.Hubs, p.Region = c.Hub, c.Region
		again := a.Enrolled()[c.SiteID].RevokedAt != nil
		dir, err := enrol.Enrol(a, federation.SiteID(c.SiteID), p, time.Now())
		if err != nil {
			return err
		}
		fmt.Fprintf(io.out, "%s is enrolled. Take %s to it, and start its NATS server there with:\n  nats-server -c %s\n", c.SiteID, dir, filepath.Join(cmp.Or(c.At, dir), "nats-leaf.conf"))
		if err := showKey(io, c.SiteID, dir); err != nil {
			return err
		}
		if again {
			fmt.Fprintf(io.out, "It was revoked, so this is a new key: where its old one is known, it takes this command too.\n")
		}
		return applyIfUp(ctx, a, c.NATS, io)
	})
}

type siteListCmd struct {
	authorityFlag
	jsonFlag
}

// Run lists the sites.
func (c *siteListCmd) Run(io *stdio) error {
	return c.open(func(a *authority.Authority) error {
		all := enrol.Statuses(a, time.Now())
		if c.JSON {
			return writeJSON(io.out, all)
		}
		t := newTable(io.out, "SITE", "STATUS", "EXPIRES", "DAYS", "SERIAL")
		for _, s := range all {
			word := s.Status
			if s.Until != nil {
				word += ", the old certificate until " + s.Until.Format(time.DateTime) + "Z"
			}
			t.row(string(s.Site), word, s.Expires.Format(time.DateTime)+"Z", strconv.Itoa(max(s.Days, 0)), s.Serial)
		}
		if err := t.write(io.out); err != nil {
			return err
		}
		for _, s := range all {
			if s.Status == "expiring" || s.Status == "expired" {
				fmt.Fprintf(io.err, "warning: the certificate of %s is %s; make a new one with: auroramesh site rotate %s --dir %s\n", s.Site, s.Status, s.Site, c.Dir)
			}
		}
		return nil
	})
}

type siteRotateCmd struct {
	authorityFlag
	natsFlag
	SiteID string        `arg:"" name:"site_id" help:"The id of the site; the primary's for the certificate of its server."`
	Days   int           `default:"365" help:"How long the new certificate holds, in days."`
	Grace  time.Duration `default:"168h" help:"How long the old one still holds."`
}

// Run makes a new certificate.
func (c *siteRotateCmd) Run(ctx context.Context, io *stdio) error {
	var wrong fault.Fields
	if c.Grace < 0 || c.Grace > 90*24*time.Hour {
		wrong.Add("--grace", c.Grace.String(), "a time from 0s to 2160h")
	}
	if err := wrong.Err("the certificate cannot be rotated"); err != nil {
		return err
	}
	return c.open(func(a *authority.Authority) error {
		files, err := enrol.Rotate(a, federation.SiteID(c.SiteID), c.Days, c.Grace, time.Now())
		if err != nil {
			return err
		}
		fmt.Fprintf(io.out, "The new certificate of %s is in %s.\n", c.SiteID, strings.Join(files, " and "))
		if c.SiteID != string(a.Primary()) {
			fmt.Fprintf(io.out, "Take both to the site before %sZ and reload its NATS server: nats-server --signal reload\n", time.Now().Add(c.Grace).UTC().Format(time.DateTime))
		}
		return applyIfUp(ctx, a, c.NATS, io)
	})
}

type siteRevokeCmd struct {
	authorityFlag
	natsFlag
	SiteID string `arg:"" name:"site_id" help:"The id of the site."`
}

// Run cuts a site off. Where the primary's server does not hear of it that is a
// failure: the site may be connected still.
func (c *siteRevokeCmd) Run(ctx context.Context, io *stdio) error {
	return c.open(func(a *authority.Authority) error {
		if err := enrol.Revoke(a, federation.SiteID(c.SiteID), time.Now()); err != nil {
			return err
		}
		fmt.Fprintf(io.out, "%s is revoked: it is let in no more.\n", c.SiteID)
		if err := apply(ctx, a, c.NATS, io); err != nil {
			return fmt.Errorf("%s may still be connected, until `auroramesh site apply` succeeds: %w", c.SiteID, err)
		}
		return nil
	})
}

type siteApplyCmd struct {
	authorityFlag
	natsFlag
}

// Help is the long help.
func (siteApplyCmd) Help() string {
	return `It is part of enrol, rotate and revoke. Run it by itself once a day, and where the
server did not run at the time: it also cuts a leafnode whose old certificate's time is over.`
}

// Run applies what the authority says.
func (c *siteApplyCmd) Run(ctx context.Context, io *stdio) error {
	return c.open(func(a *authority.Authority) error { return apply(ctx, a, c.NATS, io) })
}

// apply tells every hub, and goes on to the next where one fails.
func apply(ctx context.Context, a *authority.Authority, url string, io *stdio) error {
	hubs := enrol.Hubs(a)
	if url != "" && len(hubs) > 1 {
		var wrong fault.Fields
		wrong.Add("--nats", url, "nothing where there are several relays: each has its own in its site.env")
		return wrong.Err("the servers cannot be told")
	}
	var failed []error
	for _, hub := range hubs {
		done, err := enrol.Apply(ctx, a, hub, url, time.Now())
		for _, user := range done.Cut {
			fmt.Fprintf(io.out, "Cut: the leafnode of %s.\n", user)
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		fmt.Fprintf(io.out, "The NATS server %s is up to date.\n", plain(done.Server))
	}
	return errors.Join(failed...)
}

// applyIfUp is apply where the server runs. One that does not takes the change when it starts.
func applyIfUp(ctx context.Context, a *authority.Authority, url string, io *stdio) error {
	err := apply(ctx, a, url, io)
	if fault.Is(err, fault.Unavailable) {
		fmt.Fprintf(io.out, "Not every server was told: %v.\nOne that does not run takes the change when it starts there; else run `auroramesh site apply` once it answers.\n", err)
		return nil
	}
	return err
}

type siteRelayCmd struct {
	authorityFlag
	Name           string   `arg:"" help:"The name of the relay."`
	Host           []string `placeholder:"NAME" help:"Name or address under which sites and relays reach it; more than once for several."`
	Route          []string `placeholder:"HOST:PORT" help:"Where another relay takes relays; more than once for several."`
	Listen         string   `default:"127.0.0.1:4222" help:"Where it takes auroramesh site."`
	LeafnodeListen string   `default:"0.0.0.0:7422" help:"Where it takes the sites."`
	ClusterListen  string   `default:"0.0.0.0:6222" help:"Where it takes the other relays."`
	Region         string   `placeholder:"REGION" help:"Its region, the same for all relays of a cluster. Default: there is but one, and no gateway."`
	GatewayListen  string   `default:"0.0.0.0:7222" help:"Where it takes the relays of other regions, where it is of a region."`
	Gateway        []string `placeholder:"REGION=HOST:PORT" help:"Where a relay of another region takes those of others; more than once for several."`
	At             string   `placeholder:"PATH" help:"Where the directory will be. Default: where it is made."`
	Days           int      `default:"365" help:"How long the certificate holds, in days."`
}

// Run makes a relay.
func (c *siteRelayCmd) Run(io *stdio) error {
	return c.open(func(a *authority.Authority) error {
		before := len(a.Relays())
		dir, err := enrol.Relay(a, c.Name, enrol.Place{
			At: c.At, ClientListen: c.Listen, LeafnodeListen: c.LeafnodeListen, ClusterListen: c.ClusterListen, Hosts: c.Host, Routes: c.Route, Days: c.Days,
			Region: c.Region, GatewayListen: c.GatewayListen, Gateways: gateways(c.Gateway),
		}, time.Now())
		if err != nil {
			return err
		}
		fmt.Fprintf(io.out, "The directory of the relay is %s; start it with:\n  nats-server -c %s\n", dir, filepath.Join(cmp.Or(c.At, dir), "nats-relay.conf"))
		if before == 0 {
			fmt.Fprintf(io.out, "With relays %s is a leafnode as every other site: make them all, then auroramesh site enrol %s\n", a.Primary(), a.Primary())
		}
		return nil
	})
}

// gateways are the regions of REGION=HOST:PORT, each once.
func gateways(flags []string) (all []nats.Gateway) {
	for _, f := range flags {
		region, host, _ := strings.Cut(f, "=")
		i := slices.IndexFunc(all, func(g nats.Gateway) bool { return g.Region == region })
		if i < 0 {
			i, all = len(all), append(all, nats.Gateway{Region: region})
		}
		all[i].Hosts = append(all[i].Hosts, host)
	}
	return all
}
