package console

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// pageSize is how many alerts one page of the queue shows.
const pageSize = 50

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
	Actions                          []choice
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
	if q.After, err = ask.ParsePlace(values.Get("after")); err != nil {
		return q, err
	}
	if q.Before, err = ask.ParsePlace(values.Get("before")); err != nil {
		return q, err
	}
	return q, q.Validate()
}

func (k *Console) showQueue(w http.ResponseWriter, r *http.Request) {
	const title = "Alerts"
	values := r.URL.Query()
	q, err := k.queueQuery(values)
	if err != nil {
		k.fail(w, r, "queue", title, err)
		return
	}
	page, err := put(r.Context(), k, ask.PageAlerts, q)
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
	if !q.After.IsZero() || !q.Before.IsZero() {
		p.NewestHref = at("", "")
	}
	k.show(w, r, http.StatusOK, "queue", k.view(r, "queue", title, p))
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
