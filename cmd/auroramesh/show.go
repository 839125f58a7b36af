package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// siteFlags choose the site that a command asks.
type siteFlags struct {
	APIBase string `name:"api-base" env:"AURORA_API" default:"http://localhost:8000" placeholder:"URL" help:"Address of the site to ask (${env}; default ${default})."`
	APIKey  string `name:"api-key" env:"AURORAMESH_API_KEY" placeholder:"KEY" help:"The key for the API, where the site takes requests with one only (${env})."`
}

func (s siteFlags) client(opts ...apiclient.Option) (*apiclient.Client, error) {
	return apiclient.New(s.APIBase, append(opts, apiclient.UserAgent("auroramesh/"+version), apiclient.APIKey(s.APIKey))...)
}

// jsonFlag asks for the API's JSON instead of a table.
type jsonFlag struct {
	JSON bool `name:"json" help:"Print the JSON of the API instead of a table."`
}

type sitesCmd struct {
	siteFlags
	jsonFlag
}

// Help is the long help.
func (*sitesCmd) Help() string {
	return `Examples:
  auroramesh sites
  auroramesh sites --api-base http://localhost:8002 --json`
}

// Run lists every site that the asked one knows.
func (c *sitesCmd) Run(ctx context.Context, io *stdio) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	all, err := apiclient.All(ctx, client.Sites)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, all)
	}
	return sitesTable(io.out, all.Items)
}

// sitesTable writes the sites. How each exchanges alerts is a column where one does by the hub.
func sitesTable(w io.Writer, sites []federation.Site) error {
	head := []string{"SITE", "STATUS", "TIER", "AGENTS", "VERSION", "LAST HEARTBEAT"}
	byHub := slices.ContainsFunc(sites, func(s federation.Site) bool { return s.Exchange == federation.ExchangeHub })
	if byHub {
		head = append(head, "EXCHANGE")
	}
	t := newTable(w, append(head, "NAME")...)
	for _, s := range sites {
		id := string(s.ID)
		if s.Local {
			id += " *"
		}
		status := plain(string(s.Status))
		if s.Reason != "" {
			status += " (" + plain(string(s.Reason)) + ")"
		}
		row := []string{plain(id), status, plain(string(s.Tier)), strconv.Itoa(s.AgentsOnline) + "/" + strconv.Itoa(s.AgentsTotal),
			short(s.Version, 20), stamp(s.LastHeartbeatAt)}
		if byHub {
			row = append(row, plain(string(s.Exchange.OrDefault())))
		}
		t.row(append(row, short(s.Name, 60))...)
	}
	return t.write(w)
}

type topologyCmd struct {
	siteFlags
	jsonFlag
}

// Help is the long help.
func (*topologyCmd) Help() string {
	return `LAST and MEDIAN are round trips: of the newest echo, and of the last two minutes.
LOSS is of the same two minutes: MEDIAN and LOSS trail behind a line that has just changed.
After a cut both begin anew; what was lost then is in the chart of the link in the console.
Two sites whose alerts the hub passes on echo once in a heartbeat interval, and not each second.

Examples:
  auroramesh topology
  auroramesh topology --json | jq '.links[] | {id, status}'`
}

// Run shows the mesh as the asked site sees it.
func (c *topologyCmd) Run(ctx context.Context, io *stdio) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	topology, err := client.Topology(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, topology)
	}
	fmt.Fprintf(io.out, "The mesh as %s sees it, %s\n\n", plain(string(topology.SiteID)), stamp(&topology.GeneratedAt))
	if err := sitesTable(io.out, topology.Sites); err != nil {
		return err
	}
	fmt.Fprintln(io.out)
	t := newTable(io.out, "LINK", "STATUS", "CAUSE", "LAST", "MEDIAN", "LOSS", "HEARTBEAT AGE", "PEER SEES")
	for _, l := range topology.Links {
		age := "never"
		if l.HeartbeatAgeSeconds != nil {
			age = decimal(*l.HeartbeatAgeSeconds, 1) + " s"
		}
		last, median, loss := latency(l, topology.GeneratedAt)
		t.row(plain(l.ID), plain(string(l.Status)), dash(string(l.Cause)), last, median, loss, age, peerSees(l))
	}
	return t.write(io.out)
}

// latency is the last and the median round trip and the loss of a link, for a
// table. Those of a link that is down, or that nothing has probed for a while, are
// of another time; those of the future are from before a clock was set back.
func latency(link federation.Link, now time.Time) (last, median, loss string) {
	l := link.Latency
	if l == nil || now.Sub(l.MeasuredAt).Abs() > federation.FreshFor(time.Duration(l.EverySeconds)*time.Second) || link.Status == federation.Down && l.LastMs == nil {
		return "-", "-", "-"
	}
	return trip(l.LastMs), trip(l.MedianMs), decimal(100*l.Loss, 0) + " %"
}

// trip is a round trip for a table; nil is one that never came back.
func trip(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return decimal(*ms, 1) + " ms"
}

// peerSees is what the other end says of a link, and how long ago: its view comes
// with its heartbeat, so by this site's clock it is as old as that.
func peerSees(l federation.Link) string {
	v := l.PeerView
	if v == nil {
		return "-"
	}
	view := string(v.Status)
	if v.Cause != "" {
		view += " (" + string(v.Cause) + ")"
	}
	if l.HeartbeatAgeSeconds != nil {
		view += " " + decimal(*l.HeartbeatAgeSeconds, 0) + "s ago"
	}
	return plain(view)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return plain(s)
}

type alertsCmd struct {
	List      alertsListCmd    `cmd:"" default:"withargs" help:"List alerts, newest first (the default)."`
	Show      alertsShowCmd    `cmd:"" help:"Show one alert in full."`
	SetStatus alertsStatusCmd  `cmd:"" help:"Change the status of an alert."`
	Edit      alertsEditCmd    `cmd:"" help:"Change what an alert of this site says."`
	Retract   alertsRetractCmd `cmd:"" help:"Take an alert of this site back, here and at every peer."`
}

// Help is the long help.
func (*alertsCmd) Help() string {
	return `Without another word the command lists: see "auroramesh alerts list --help" for its flags.

` + alertsExamples
}

const alertsExamples = `Examples:
  auroramesh alerts --severity critical --status new
  auroramesh alerts --source federation:site-b --json
  auroramesh alerts --tlp red
  auroramesh alerts --follow
  auroramesh alerts show 0192f3a0-7c1e-7d5a-9b1e-3f6c2a1d4e5f
  auroramesh alerts set-status 0192f3a0-7c1e-7d5a-9b1e-3f6c2a1d4e5f triaged
  auroramesh alerts edit 0192f3a0-7c1e-7d5a-9b1e-3f6c2a1d4e5f --severity critical
  auroramesh alerts retract 0192f3a0-7c1e-7d5a-9b1e-3f6c2a1d4e5f "a test of the sensor"`

type alertsListCmd struct {
	siteFlags
	jsonFlag
	Severity string `placeholder:"WORD" help:"Only alerts of this severity: critical, high, medium, low or info."`
	Status   string `placeholder:"WORD" help:"Only alerts in this state: new, triaged, investigating, escalated, resolved or false_positive."`
	TLP      string `name:"tlp" placeholder:"WORD" help:"Only alerts with this label: clear, green, amber, amber+strict or red."`
	Source   string `placeholder:"TEXT" help:"Only alerts of this source, e.g. suricata or federation:site-b."`
	Limit    int    `default:"50" help:"How many alerts to list: 1 to 200 (default ${default})."`
	Skip     int    `default:"0" help:"How many alerts to pass over (default ${default})."`
	Follow   bool   `short:"f" help:"Print alerts as they are stored, until Ctrl-C."`
}

// Help is the long help.
func (*alertsListCmd) Help() string { return alertsExamples }

func (c *alertsListCmd) filter() ask.AlertFilter {
	return ask.AlertFilter{
		Page: ask.Page{Skip: c.Skip, Limit: c.Limit}, Severity: federation.Severity(c.Severity),
		Status: federation.AlertStatus(c.Status), TLP: federation.ParseTLP(c.TLP), Source: c.Source,
	}
}

// Run lists alerts, or follows them.
func (c *alertsListCmd) Run(ctx context.Context, io *stdio) error {
	if err := written("limit", c.Limit, ask.MaxLimit); err != nil {
		return err
	}
	filter := c.filter()
	if err := filter.Validate(); err != nil {
		return err
	}
	if c.Follow {
		return c.follow(ctx, io, filter)
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	page, err := client.Alerts(ctx, filter)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, page)
	}
	t := newTable(io.out, "SEVERITY", "TLP", "STATUS", "CREATED", "SOURCE", "TITLE", "ID")
	for _, a := range page.Items {
		t.row(alertCells(a)...)
	}
	if err := t.write(io.out); err != nil {
		return err
	}
	return writePosition(io.out, page)
}

// written refuses a 0 that somebody wrote: within a question it stands for a value
// that was not given, and the API refuses it too.
func written(name string, n, most int) error {
	var wrong fault.Fields
	if n == 0 {
		wrong.Add(name, "0", "a whole number from 1 to "+strconv.Itoa(most))
	}
	return wrong.Err("the flags are not valid")
}

// writePosition says which part of a list a page is, and how to have the next.
func writePosition[T any](w io.Writer, page ask.List[T]) error {
	end, total := page.Skip+len(page.Items), strconv.Itoa(page.Total)
	if page.More {
		total = "more than " + total
	}
	var err error
	switch {
	case len(page.Items) == 0:
		_, err = fmt.Fprintf(w, "\nNone of %s.\n", total)
	case end < page.Total || page.More:
		_, err = fmt.Fprintf(w, "\n%d to %d of %s; the next with --skip %d\n", page.Skip+1, end, total, end)
	default:
		_, err = fmt.Fprintf(w, "\n%d to %d of %s\n", page.Skip+1, end, total)
	}
	return err
}

func alertCells(a federation.Alert) []string {
	title := a.Title
	if a.Retraction != nil {
		title = "(retracted) " + title
	}
	return []string{plain(string(a.Severity)), plain(string(a.TLP)), plain(string(a.Status)), stamp(&a.CreatedAt), short(a.Source, 28), short(title, 64), plain(a.ID)}
}

// follow prints alerts as the site stores them. Ctrl-C is its proper end.
func (c *alertsListCmd) follow(ctx context.Context, io *stdio, filter ask.AlertFilter) error {
	absent := newOutage(func(format string, args ...any) { fmt.Fprintf(io.err, format+"\n", args...) })
	client, err := c.client(apiclient.OnRetry(absent.retry))
	if err != nil {
		return err
	}
	widths := []int{8, 12, 14, 20, 28, 64, 36}
	colour := wantsColour(io.out)
	err = client.Events(ctx, "", func(_ string, e federation.Event) error {
		absent.over()
		if e.Kind == apiclient.EventGap {
			_, err := fmt.Fprintln(io.err, "auroramesh: the site no longer has some of the events of this time: alerts may be missing here")
			return err
		}
		a := e.Alert
		if e.Kind != federation.AlertStored || a == nil ||
			filter.Severity != "" && filter.Severity != a.Severity || filter.Status != "" && filter.Status != a.Status || filter.TLP != "" && filter.TLP != a.TLP ||
			filter.Source != "" && filter.Source != a.Source {
			return nil
		}
		if c.JSON {
			return writeJSONLine(io.out, a)
		}
		_, err := fmt.Fprint(io.out, line(alertCells(*a), widths, colour))
		return err
	})
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

type alertsShowCmd struct {
	siteFlags
	jsonFlag
	ID string `arg:"" name:"id" help:"Id of the alert."`
}

// Help is the long help.
func (*alertsShowCmd) Help() string {
	return `Example:
  auroramesh alerts show 0192f3a0-7c1e-7d5a-9b1e-3f6c2a1d4e5f`
}

// Run shows one alert.
func (c *alertsShowCmd) Run(ctx context.Context, io *stdio) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	a, err := client.Alert(ctx, c.ID)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(io.out, a)
	}
	return alertSheet(io.out, a)
}

// sheet is one thing in full, one field a line.
type sheet struct{ strings.Builder }

// field adds a field, where it has a value; further lines of it stand under the first.
func (s *sheet) field(name, value string) {
	if value == "" {
		return
	}
	name += ":"
	for l := range strings.SplitSeq(strings.ReplaceAll(value, "\r\n", "\n"), "\n") {
		fmt.Fprintf(s, "%-18s%s\n", name, plain(l))
		name = ""
	}
}

// write writes the sheet to w.
func (s *sheet) write(w io.Writer) error {
	_, err := io.WriteString(w, s.String())
	return err
}

// alertSheet writes an alert in full.
func alertSheet(w io.Writer, a federation.Alert) error {
	var b sheet
	severity, status := string(a.Severity), string(a.Status)
	b.field("Title", a.Title)
	if wantsColour(w) {
		fmt.Fprintf(&b, "%-18s%s\n%-18s%s\n", "Severity:", paint(plain(severity)), "Status:", paint(plain(status)))
	} else {
		b.field("Severity", severity)
		b.field("Status", status)
	}
	if r := a.Retraction; r != nil {
		b.field("Retracted", stamp(&r.At)+": "+r.Reason)
	}
	b.field("TLP", string(a.TLP))
	b.field("Source", a.Source)
	if o := a.Origin; o != nil {
		b.field("Origin", fmt.Sprintf("%s (%s), alert %s\nraised %s, received %s\n%s there, last changed %s",
			o.SiteName, o.SiteID, o.AlertID, stamp(&o.RaisedAt), stamp(&o.ReceivedAt), o.Status, stamp(&o.UpdatedAt)))
	}
	if a.ObservedAt != nil {
		b.field("Observed", stamp(a.ObservedAt))
	}
	b.field("Created", stamp(&a.CreatedAt))
	b.field("Updated", stamp(&a.UpdatedAt))
	b.field("Version", strconv.Itoa(a.Version))
	b.field("Asset type", a.AssetType)
	b.field("Assets", strings.Join(a.AffectedAssets, "\n"))
	var iocs []string
	for _, i := range a.IOCs {
		iocs = append(iocs, fmt.Sprintf("%-13s %s", i.Type, strings.ReplaceAll(i.Value, "\n", " ")))
	}
	b.field("IOCs", strings.Join(iocs, "\n"))
	b.field("ATT&CK", strings.Join(a.MitreTechniques, ", "))
	b.field("Description", a.Description)
	b.field("Raw log", a.RawLog)
	b.field("ID", a.ID)
	b.field("Dedup hash", a.DedupHash)
	return b.write(w)
}
