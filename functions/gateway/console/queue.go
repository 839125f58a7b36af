package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// pageSize is how many alerts one page of the queue shows.
const pageSize = 50

const (
	// lookOn is how long one answer goes on looking for the first alert of a page.
	lookOn = 300 * time.Millisecond
	// settled is after how long no further alert of a moment comes.
	settled = time.Minute
)

type queuePage struct {
	Rows  []federation.Alert
	First string // the place of the first row
	Base  string
	Where string

	Text                                 string
	Severities, Statuses, Origins, Times []choice
	// Filtered counts the filters that are set.
	Filtered                         int
	Campaigns                        bool
	NewestHref, NewerHref, OlderHref string
	// LookedTo is how far was looked where that is not all. LookOn says that the page goes
	// on by itself, for there is nothing on it yet.
	LookedTo *time.Time
	LookOn   bool
	Actions  []choice
}

// choice is one of the values of a filter.
type choice struct {
	Value, Name string
	On          bool
}

// withins are the choices of the filter by time.
var withins = []struct {
	value, name string
	d           time.Duration
}{
	{"1h", "In the last hour", time.Hour}, {"24h", "In the last 24 hours", 24 * time.Hour},
	{"7d", "In the last 7 days", 7 * 24 * time.Hour}, {"30d", "In the last 30 days", 30 * 24 * time.Hour},
}

// queueQuery reads the question from the address of the queue.
func (k *Console) queueQuery(values url.Values) (ask.AlertQuery, error) {
	q := ask.AlertQuery{
		Severity: federation.Severity(values.Get("severity")), Status: federation.AlertStatus(values.Get("status")),
		Origin: values.Get("origin"), Text: strings.TrimSpace(values.Get("q")), Limit: pageSize,
	}
	for _, w := range withins {
		if w.value == values.Get("within") {
			q.Since = k.Now().Add(-w.d)
		}
	}
	if w := values.Get("within"); w != "" && q.Since.IsZero() {
		var wrong fault.Fields
		wrong.Add("within", w, "1h, 24h, 7d or 30d")
		return q, wrong.Err("the filter is not valid")
	}
	var err error
	if q.After, err = ask.ParsePlace("after", values.Get("after")); err != nil {
		return q, err
	}
	if q.Before, err = ask.ParsePlace("before", values.Get("before")); err != nil {
		return q, err
	}
	return q, q.Validate()
}

// stretch is a part of the queue in which there is nothing of what is looked for: from a
// moment back to a place.
type stretch struct {
	from time.Time
	to   ask.Place
}

// String is the stretch as an address holds it.
func (s stretch) String() string {
	return strconv.FormatInt(s.from.UnixMicro(), 10) + "~" + s.to.String()
}

// parseStretch reads what [stretch.String] wrote; of nothing it makes the zero value.
func parseStretch(text string) (s stretch, err error) {
	if text == "" {
		return s, nil
	}
	from, to, _ := strings.Cut(text, "~")
	micros, err := strconv.ParseInt(from, 10, 64)
	if err != nil {
		var wrong fault.Fields
		wrong.Add("nothing", text, "microseconds since 1970, a tilde, and a place")
		return s, wrong.Err("the place in the queue is not valid")
	}
	s.from = time.UnixMicro(micros)
	s.to, err = ask.ParsePlace("nothing", to)
	return s, err
}

// lookFor asks for a page, and while nothing is found, for what is older, for a moment.
// It passes over a stretch in which an earlier answer has found nothing, and gives back
// the one that is known now.
func (k *Console) lookFor(ctx context.Context, q ask.AlertQuery, nothing stretch) (ask.AlertPage, stretch, error) {
	page, err := put(ctx, k, ask.PageAlerts, q)
	if err != nil || page.LookedTo.IsZero() || !q.Before.IsZero() || len(page.Items) >= pageSize {
		return page, stretch{}, err
	}
	if nothing.to.IsZero() || page.LookedTo.At.After(nothing.from) { // the second: more has come since than one look sees
		if len(page.Items) > 0 {
			return page, stretch{}, nil
		}
		nothing = stretch{k.Now().Add(-settled), page.LookedTo}
		if !q.After.IsZero() {
			nothing.from = q.After.At
		}
	}
	for until := k.Now().Add(lookOn); ; {
		q.After = nothing.to
		older, err := put(ctx, k, ask.PageAlerts, q)
		if err != nil {
			return page, nothing, err
		}
		if len(older.Items) == 0 && !older.LookedTo.IsZero() {
			nothing.to = older.LookedTo
			if k.Now().Before(until) {
				continue
			}
		}
		page.Items = slices.Concat(page.Items, older.Items)
		slices.SortFunc(page.Items, func(a, b federation.Alert) int {
			return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(b.ID, a.ID))
		})
		page.Items = slices.CompactFunc(page.Items, func(a, b federation.Alert) bool { return a.ID == b.ID })
		page.Older, page.LookedTo = older.Older, older.LookedTo
		if len(page.Items) > pageSize {
			page.Items, page.Older, page.LookedTo = page.Items[:pageSize], true, ask.Place{}
		}
		return page, nothing, nil
	}
}

func (k *Console) showQueue(w http.ResponseWriter, r *http.Request) {
	const title = "Alerts"
	values := r.URL.Query()
	q, err := k.queueQuery(values)
	if err != nil {
		k.fail(w, r, "queue", title, err)
		return
	}
	nothing, err := parseStretch(values.Get("nothing"))
	if err != nil {
		k.fail(w, r, "queue", title, err)
		return
	}
	page, nothing, err := k.lookFor(r.Context(), q, nothing)
	if err != nil {
		k.fail(w, r, "queue", title, err)
		return
	}
	p := queuePage{Rows: page.Items, Base: k.Base, Text: q.Text, Campaigns: true, Where: "The newest alerts"}
	p.Severities, p.Statuses, p.Times = severityChoices(q.Severity), statusChoices(q.Status), withinChoices(values.Get("within"))
	p.Origins = k.origins(r, q.Origin)
	p.Actions = actions("")
	for _, name := range []string{"q", "severity", "status", "origin", "within"} {
		if values.Get(name) != "" {
			p.Filtered++
		}
	}
	at := func(name, place string) string {
		next := url.Values{}
		for _, keep := range []string{"q", "severity", "status", "origin", "within"} {
			if v := values.Get(keep); v != "" {
				next.Set(keep, v)
			}
		}
		if name != "" {
			next.Set(name, place)
		}
		if len(next) == 0 {
			return "/alerts"
		}
		return "/alerts?" + next.Encode()
	}
	if n := len(page.Items); n > 0 {
		first, last := page.Items[0], page.Items[n-1]
		p.First = ask.PlaceOf(first).String()
		if page.Newer {
			p.NewerHref, p.Where = at("before", p.First), "Alerts up to "+first.CreatedAt.UTC().Format("2006-01-02 15:04:05")
		}
		if page.Older {
			p.OlderHref = at("after", ask.PlaceOf(last).String())
		}
	}
	if end := page.LookedTo; !end.IsZero() {
		p.LookedTo, p.LookOn = &end.At, len(page.Items) == 0 && q.Before.IsZero()
		if q.Before.IsZero() {
			p.OlderHref = at("after", end.String())
		} else {
			p.NewerHref = at("before", end.String())
		}
	}
	v := k.view(r, "queue", title, nil)
	if !nothing.to.IsZero() {
		values.Set("nothing", nothing.String())
		v.Refresh = "/alerts?" + values.Encode()
	}
	if !q.After.IsZero() || !q.Before.IsZero() {
		p.NewestHref = at("", "")
	}
	v.Data = p
	k.show(w, r, http.StatusOK, "queue", v)
}

func severityChoices(chosen federation.Severity) (all []choice) {
	for _, s := range federation.Severities() {
		all = append(all, choice{string(s), sentence(string(s)), s == chosen})
	}
	return all
}

func statusChoices(chosen federation.AlertStatus) (all []choice) {
	for _, s := range federation.AlertStatuses() {
		all = append(all, choice{string(s), sentence(string(s)), s == chosen})
	}
	return all
}

func withinChoices(chosen string) (all []choice) {
	for _, t := range withins {
		all = append(all, choice{t.value, t.name, t.value == chosen})
	}
	return all
}

// origins are the choices of where alerts come from. Without an answer about the
// sites there is still the one that is chosen.
func (k *Console) origins(r *http.Request, chosen string) []choice {
	all := []choice{{ask.OriginLocal, "Raised here", chosen == ask.OriginLocal}, {ask.OriginPeers, "Any peer", chosen == ask.OriginPeers}}
	sites, err := put(r.Context(), k, ask.Sites, ask.Page{Limit: ask.MaxLimit})
	if err != nil {
		k.Failed(r.Context(), err)
	}
	found := false
	for _, s := range sites.Items {
		if s.Local {
			continue
		}
		value := ask.OriginSitePrefix + string(s.ID)
		found = found || value == chosen
		all = append(all, choice{value, s.Name + " (" + string(s.ID) + ")", value == chosen})
	}
	if site, one := strings.CutPrefix(chosen, ask.OriginSitePrefix); one && !found {
		all = append(all, choice{chosen, site, true})
	}
	return all
}

// alertRow is an alert as a line of the queue.
type alertRow struct {
	federation.Alert
	MayWrite                        bool
	Place, Asset, Techniques, Marks string
}

func rowOf(a federation.Alert, mayWrite bool) alertRow {
	r := alertRow{Alert: a, MayWrite: mayWrite, Place: ask.PlaceOf(a).String(), Techniques: firstOf(a.MitreTechniques)}
	r.Asset = firstOf(a.AffectedAssets)
	values := make([]string, len(a.IOCs))
	for i, ioc := range a.IOCs {
		values[i] = ioc.Value
	}
	r.Marks = firstOf(values)
	return r
}

// firstOf is the first of several, and how many more there are.
func firstOf(all []string) string {
	switch len(all) {
	case 0:
		return ""
	case 1:
		return all[0]
	}
	return fmt.Sprintf("%s +%d", all[0], len(all)-1)
}

func (k *Console) showCampaigns(w http.ResponseWriter, r *http.Request) {
	const title = "Campaigns"
	found, err := put(r.Context(), k, ask.Campaigns, ask.CampaignQuery{Hours: 24, Limit: 5})
	if err != nil {
		k.fail(w, r, "campaigns", title, err)
		return
	}
	k.show(w, r, http.StatusOK, "campaigns", k.view(r, "campaigns", title, found))
}

type outcomePage struct {
	Text, Back string
	Failed     []ask.AlertUpdated
}

// changeStatus changes the status of the chosen alerts, and says of each that could
// not be changed why.
func (k *Console) changeStatus(w http.ResponseWriter, r *http.Request) {
	const title = "Change of status"
	if err := r.ParseForm(); err != nil {
		k.fail(w, r, "outcome", title, fault.New(fault.Invalid, "the form cannot be read"))
		return
	}
	u := ask.AlertsUpdate{IDs: r.PostForm["id"], Status: federation.AlertStatus(r.PostForm.Get("status"))}
	if err := u.Validate(); err != nil {
		if len(u.IDs) == 0 {
			err = fault.New(fault.Invalid, "no alert is chosen")
		}
		k.fail(w, r, "outcome", title, err)
		return
	}
	done, err := put(r.Context(), k, ask.UpdateAlerts, u)
	if err != nil {
		k.fail(w, r, "outcome", title, err)
		return
	}
	p := outcomePage{Back: back(r.PostForm.Get("back"))}
	p.Failed = slices.DeleteFunc(done.Items, func(i ask.AlertUpdated) bool { return i.Problem == "" })
	changed := len(u.IDs) - len(p.Failed)
	p.Text = fmt.Sprintf("%d of %d alerts are %s.", changed, len(u.IDs), strings.ReplaceAll(string(u.Status), "_", " "))
	if len(u.IDs) == 1 && changed == 1 {
		p.Text = "The alert is " + strings.ReplaceAll(string(u.Status), "_", " ") + "."
	}
	v := k.view(r, "outcome", title, p)
	v.Live = false
	if len(p.Failed) == 0 && r.FormValue("part") != "live" {
		http.Redirect(w, r, p.Back, http.StatusSeeOther)
		return
	}
	k.show(w, r, http.StatusOK, "outcome", v)
}

// back is where a form came from, or the queue where that is no page of this site.
func back(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(to, "//") || strings.Contains(to, `\`) {
		return "/alerts"
	}
	return to
}
