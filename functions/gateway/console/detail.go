package console

import (
	"net/http"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

type alertPage struct {
	Alert   federation.Alert
	Actions []choice

	Deliveries       []federation.AlertDelivery
	DeliveriesLeft   int // how many are not shown
	DeliveriesFailed string
	Preview          []ask.PeerDecision
	PreviewLeft      int
	PreviewFailed    string
}

// actions are the states that an analyst moves alerts to.
func actions(now federation.AlertStatus) []choice {
	all := []choice{
		{Value: string(federation.Triaged), Name: "Triage"}, {Value: string(federation.Investigating), Name: "Investigate"},
		{Value: string(federation.Escalated), Name: "Escalate"}, {Value: string(federation.Resolved), Name: "Resolve"},
		{Value: string(federation.FalsePositive), Name: "False positive"},
	}
	for i := range all {
		all[i].On = all[i].Value == string(now)
	}
	return all
}

// showAlert shows one alert. Where the functions of the mesh do not answer, the alert
// is there all the same, and the rest says that it is not.
func (k *Console) showAlert(w http.ResponseWriter, r *http.Request) {
	const title = "Alert"
	id := ask.AlertID{ID: r.PathValue("id")}
	if err := id.Validate(); err != nil {
		k.fail(w, r, "alert", title, err)
		return
	}
	a, err := put(r.Context(), k, ask.GetAlert, id)
	if err != nil {
		k.fail(w, r, "alert", title, err)
		return
	}
	p := alertPage{Alert: a, Actions: actions(a.Status)}
	if a.Origin == nil {
		if d, err := put(r.Context(), k, ask.AlertDeliveries, id); err != nil {
			p.DeliveriesFailed = k.said(r, err)
		} else {
			p.Deliveries, p.DeliveriesLeft = rowsOf(d.Deliveries, func(d federation.AlertDelivery) bool { return d.State != federation.DeliveryStored })
		}
		as := federation.NewAlert{Title: a.Title, Severity: a.Severity, TLP: a.TLP, Source: a.Source, IOCs: federation.IOCInput{Items: a.IOCs}}
		if preview, err := put(r.Context(), k, ask.PreviewSharing, as); err != nil {
			p.PreviewFailed = k.said(r, err)
		} else {
			p.Preview, p.PreviewLeft = rowsOf(preview.Peers, func(d ask.PeerDecision) bool { return !d.Admitted })
		}
	}
	k.show(w, r, http.StatusOK, "alert", k.view(r, "alert", a.Title, p))
}

// said is an error as a page tells it of a part that is missing.
func (k *Console) said(r *http.Request, err error) string {
	f := fault.Of(err)
	if f.Code == fault.Internal {
		k.Failed(r.Context(), err)
	}
	return sentence(f.Message) + "."
}

type deliveriesPage struct {
	Deliveries    []federation.Delivery
	Left          int // how many deliveries are not shown
	Backlog       federation.Backlog
	Drills        []drillPage
	DrillsFailed  string
	ShowLetters   bool
	Letters       []ask.DeadLetter
	LettersTotal  int
	LettersFailed string
}

const (
	letters     = 20 // how many dead letters the page shows
	drillsShown = 5
)

func (k *Console) showDeliveries(w http.ResponseWriter, r *http.Request) {
	const title = "Deliveries"
	d, err := put(r.Context(), k, ask.Deliveries, ask.None{})
	if err != nil {
		k.fail(w, r, "deliveries", title, err)
		return
	}
	page := deliveriesPage{Backlog: d.Backlog}
	page.Deliveries, page.Left = rowsOf(d.Deliveries, behind)
	if drills, err := put(r.Context(), k, ask.Drills, ask.None{}); err != nil {
		page.DrillsFailed = k.said(r, err)
	} else {
		for _, d := range drills.Items[:min(len(drills.Items), drillsShown)] {
			page.Drills = append(page.Drills, drillOf(d))
		}
	}
	if p, _ := access.PrincipalOf(r.Context()); p.May(access.AlertsRead) {
		page.ShowLetters = true
		if list, err := put(r.Context(), k, ask.ListDeadLetters, ask.Page{Limit: letters}); err != nil {
			page.LettersFailed = k.said(r, err)
		} else {
			page.Letters, page.LettersTotal = list.Items, list.Total
		}
	}
	k.show(w, r, http.StatusOK, "deliveries", k.view(r, "deliveries", title, page))
}
