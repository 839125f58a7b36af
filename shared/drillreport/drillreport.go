// Package drillreport is what a drill finds out: it compares what the sites accepted
// with what their queues hold, judges whether the promise was kept, and says so in
// sentences and as a page. It is pure: the drill, the site that keeps its report and the
// console all mean the same by it.
package drillreport

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// Source is that of every alert of a drill.
const Source = "drill"

// Titles is how the titles of the alerts of one drill begin, so that whoever meets one
// in a queue knows it.
func Titles(run string) string { return "drill " + run + ": " }

// Accepted is an alert that a site took: from then on the promise holds for it.
type Accepted struct {
	ID    string
	Title string
	At    time.Time // when the answer came
}

// Report is what a drill found out.
type Report struct {
	Run     string `json:"run"`     // stands in the title of every alert of the drill
	Link    string `json:"link"`    // the link whose line was broken
	Running bool   `json:"running"` // the sites were not the drill's own, and keep its alerts
	// Meanwhile counts those of them that were accepted while the fault lasted.
	Meanwhile      int       `json:"raised_meanwhile"`
	Raised         int       `json:"raised"` // accepted by all sites together
	Fault          string    `json:"fault"`
	Rate           float64   `json:"rate"` // alerts a second, at each site
	FaultAt        time.Time `json:"fault_at"`
	HealedAt       time.Time `json:"healed_at"`
	TimeoutSeconds float64   `json:"timeout_seconds"`
	Converged      bool      `json:"converged"` // all had arrived, and nothing waited, within the timeout
	Waiting        bool      `json:"waiting"`   // something still waited for a peer at the end: what is lost may only be late
	// ConvergedSeconds is how long after the healing the last alert that was missing
	// then had arrived; nil where none was missing, or some still are.
	ConvergedSeconds *float64    `json:"converged_seconds"`
	Directions       []Direction `json:"directions"`
	Detections       []Detection `json:"detections"`
}

// Direction is what became of the alerts of one site at another.
type Direction struct {
	From     federation.SiteID `json:"from"`
	To       federation.SiteID `json:"to"`
	Accepted int               `json:"accepted"`
	// DuringFault counts those of them that were accepted while the fault lasted.
	DuringFault int `json:"during_fault"`
	Stored      int `json:"stored"` // accepted, and at the other site
	// Lost counts the accepted alerts that are not in both queues, and LostIDs names them.
	Lost    int      `json:"lost"`
	LostIDs []string `json:"lost_ids,omitempty"`
	// Duplicated counts the rows too many, in either queue.
	Duplicated int `json:"duplicated"`
	// Foreign counts the rows that came over the link and that the drill did not
	// raise: somebody else uses the sites. They break no promise.
	Foreign int `json:"foreign"`
	// CaughtUpSeconds is how long after the healing the last alert that was accepted
	// before it was stored; nil where none was missing then, or some still are.
	CaughtUpSeconds *float64 `json:"caught_up_seconds"`
}

// Detection is when a site first told that its link is not healthy.
type Detection struct {
	Site federation.SiteID `json:"site"`
	// Seconds are those from the fault to the answer; nil where the fault was over before.
	Seconds *float64              `json:"seconds"`
	Status  federation.LinkStatus `json:"status,omitempty"`
	Cause   federation.Cause      `json:"cause,omitempty"`
}

// Detect finds in the transitions of a link, the newest first, the one by which the
// site first told of a fault that lasted from one moment to another of its clock.
func Detect(site federation.SiteID, ts []federation.Transition, from, to time.Time) Detection {
	d := Detection{Site: site}
	for _, t := range ts {
		if s := federation.LinkStatus(t.To); s != federation.Healthy && t.At.After(from) && t.At.Before(to) {
			seconds := t.At.Sub(from).Seconds()
			d.Seconds, d.Status, d.Cause = &seconds, s, t.Cause
		}
	}
	return d
}

// Compare holds what a site accepted against its own queue and that of the other
// site. Titles are distinct, so a title that stands twice in a queue is the same
// alert twice, wherever the second row comes from.
func Compare(from federation.SiteID, accepted []Accepted, here, there []federation.Alert) Direction {
	d := Direction{From: from, Accepted: len(accepted)}
	known := make(map[string]bool, len(accepted))
	for _, a := range accepted {
		known[a.Title] = true
	}
	own, other := map[string]int{}, map[string]int{}
	for _, a := range here {
		own[a.Title]++
	}
	for _, a := range there {
		switch {
		case !isPeers(a, from):
		case known[a.Title]:
			other[a.Title]++
		default:
			d.Foreign++
		}
	}
	for _, a := range accepted {
		if other[a.Title] > 0 {
			d.Stored++
		}
		if own[a.Title] == 0 || other[a.Title] == 0 {
			d.Lost++
			d.LostIDs = append(d.LostIDs, a.ID)
		}
		d.Duplicated += max(own[a.Title]-1, 0) + max(other[a.Title]-1, 0)
	}
	return d
}

// Timed fills in what happened when. The clock of the other site may be ahead of the drill's.
func (d *Direction) Timed(accepted []Accepted, there []federation.Alert, faultAt, healedAt time.Time, ahead time.Duration) {
	before := map[string]bool{}
	for _, a := range accepted {
		before[a.Title] = a.At.Before(healedAt)
	}
	d.DuringFault = Within(accepted, faultAt, healedAt)
	for _, a := range there {
		if d.Lost > 0 || !isPeers(a, d.From) || !before[a.Title] {
			continue
		}
		if s := a.Origin.ReceivedAt.Add(-ahead).Sub(healedAt).Seconds(); s > 0 && (d.CaughtUpSeconds == nil || s > *d.CaughtUpSeconds) {
			d.CaughtUpSeconds = &s
		}
	}
}

// Within counts what was accepted between two moments.
func Within(accepted []Accepted, from, to time.Time) int {
	n := 0
	for _, a := range accepted {
		if a.At.After(from) && a.At.Before(to) {
			n++
		}
	}
	return n
}

// Totals are the alerts lost and duplicated in all directions.
func (r Report) Totals() (lost, duplicated int) {
	for _, d := range r.Directions {
		lost += d.Lost
		duplicated += d.Duplicated
	}
	return lost, duplicated
}

// Verdict is nil where the promise was kept, and says otherwise how it was broken.
func (r Report) Verdict() error {
	lost, duplicated := r.Totals()
	if r.Converged && lost == 0 && duplicated == 0 {
		return nil
	}
	late := ""
	if r.Waiting {
		late = fmt.Sprintf("; some were still under way %g s after the fault", r.TimeoutSeconds)
	}
	return fault.New(fault.Internal, "the promise was broken: %d alerts lost, %d duplicated%s", lost, duplicated, late)
}

// LastCaughtUp is how long after the healing the queues agreed; nil where nothing was
// missing then, or something still is.
func (r Report) LastCaughtUp() *float64 {
	var last *float64
	for _, d := range r.Directions {
		if d.Lost > 0 {
			return nil
		}
		if d.CaughtUpSeconds != nil && (last == nil || *d.CaughtUpSeconds > *last) {
			last = d.CaughtUpSeconds
		}
	}
	return last
}

// Summary tells what was done and found, one sentence an entry, for a table or a page.
func (r Report) Summary() []string {
	all := []string{fmt.Sprintf("Fault: %s of %s for %.1f s; of %d alerts %d were raised meanwhile", r.Fault, r.Link, r.FaultSeconds(), r.Raised, r.Meanwhile)}
	for _, d := range r.Detections {
		all = append(all, d.String())
	}
	if s := r.ConvergedSeconds; s != nil {
		all = append(all, fmt.Sprintf("The queues agreed %.2f s after the healing", *s))
	}
	if r.Running {
		all = append(all, fmt.Sprintf("The alerts stay in the queues of the sites: their source is %s, and their titles begin with %q", Source, Titles(r.Run)))
	}
	return all
}

// FaultSeconds is how long the fault lasted.
func (r Report) FaultSeconds() float64 { return r.HealedAt.Sub(r.FaultAt).Seconds() }

// String tells a detection in a sentence.
func (d Detection) String() string {
	if d.Seconds == nil {
		return fmt.Sprintf("%s did not see the fault while it lasted", d.Site)
	}
	return fmt.Sprintf("%s saw the link %s after %.2f s (%s)", d.Site, d.Status, *d.Seconds, d.Cause)
}

// CaughtUp tells, for a table, how long after the healing the last missing alert was stored.
func (d Direction) CaughtUp() string {
	switch {
	case d.Lost > 0:
		return "never"
	case d.CaughtUpSeconds == nil:
		return "nothing was missing"
	}
	return fmt.Sprintf("%.2f s", *d.CaughtUpSeconds)
}

// isPeers reports whether an alert came from the site.
func isPeers(a federation.Alert, site federation.SiteID) bool {
	return a.Origin != nil && a.Origin.SiteID == site
}

// Bounds of a report that a site keeps.
const (
	MaxSites   = 16
	MaxLostIDs = 100 // in each direction
	maxText    = 200 // characters
)

// Brief is the report with no more names of lost alerts than a site keeps. How many
// were lost stays.
func (r Report) Brief() Report {
	r.Directions = slices.Clone(r.Directions)
	for i, d := range r.Directions {
		r.Directions[i].LostIDs = d.LostIDs[:min(len(d.LostIDs), MaxLostIDs)]
	}
	return r
}

// RunForm is what the name of a drill is.
const RunForm = `^[0-9a-z]{1,32}$`

var runPattern = regexp.MustCompile(RunForm)

// Validate refuses what no drill would find out.
func (r Report) Validate() error {
	var wrong fault.Fields
	text := func(name, value string) {
		if n := utf8.RuneCountInString(value); n < 1 || n > maxText || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			wrong.Add(name, value, fmt.Sprintf("1 to %d characters in one line", maxText))
		}
	}
	most := func(name string, n, limit int) {
		if n > limit {
			wrong.Add(name, strconv.Itoa(n)+" entries", "at most "+strconv.Itoa(limit))
		}
	}
	if !runPattern.MatchString(r.Run) {
		wrong.Add("run", r.Run, "1 to 32 of 0-9 and a-z")
	}
	text("link", r.Link)
	text("fault", r.Fault)
	if r.FaultAt.Year() < 1970 || r.HealedAt.Before(r.FaultAt) || r.HealedAt.Year() > 9999 {
		wrong.Add("healed_at", r.HealedAt.String(), "a moment from fault_at on, which is from 1970 on")
	}
	most("directions", len(r.Directions), MaxSites*(MaxSites-1))
	most("detections", len(r.Detections), MaxSites)
	for i, d := range r.Directions {
		if !d.From.Valid() || !d.To.Valid() {
			wrong.Add(fmt.Sprintf("directions[%d]", i), fmt.Sprintf("from %s to %s", d.From, d.To), federation.SiteIDForm)
		}
		most(fmt.Sprintf("directions[%d].lost_ids", i), len(d.LostIDs), MaxLostIDs)
		for _, id := range d.LostIDs {
			text(fmt.Sprintf("directions[%d].lost_ids", i), id)
		}
	}
	for i, d := range r.Detections {
		if !d.Site.Valid() {
			wrong.Add(fmt.Sprintf("detections[%d].site", i), string(d.Site), federation.SiteIDForm)
		}
		if d.Seconds != nil {
			text(fmt.Sprintf("detections[%d].status", i), string(d.Status))
		}
		if d.Cause != "" {
			text(fmt.Sprintf("detections[%d].cause", i), string(d.Cause))
		}
	}
	return wrong.Err("the report is not valid")
}

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Parse(page))

// WriteHTML writes the report as one page that needs nothing else.
func (r Report) WriteHTML(w io.Writer) error {
	verdict := ""
	if err := r.Verdict(); err != nil {
		verdict = err.Error()
	}
	if err := pageTemplate.Execute(w, struct {
		Report
		Broken string
	}{r, verdict}); err != nil {
		return fmt.Errorf("writing the page of the drill: %w", err)
	}
	return nil
}
