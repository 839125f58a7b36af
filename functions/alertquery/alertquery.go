// Package alertquery is the function that answers questions about the alert
// queue of this site: one alert, a page of them, and what alerts of several sites
// have in common.
package alertquery

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
)

// New is the function for one site.
func New(st *store.Store, bus *function.Bus, now func() time.Time) function.Function {
	q := query{st, bus, now, &remembered{answers: map[ask.CampaignQuery]answer{}}}
	return function.Function{
		Name:        "alertquery",
		Description: "Answers questions about the alert queue: one alert, a page, campaigns.",
		Triggers: []function.Trigger{
			function.Reply(ask.GetAlert, q.get),
			function.Reply(ask.GetAlerts, q.several),
			function.Reply(ask.ListAlerts, q.list),
			function.Reply(ask.PageAlerts, q.page),
			function.Reply(ask.Campaigns, q.campaigns),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type query struct {
	store *store.Store
	bus   *function.Bus
	now   func() time.Time
	found *remembered
}

func (q query) get(ctx context.Context, a ask.AlertID) (federation.Alert, error) {
	return q.store.Alert(ctx, a.ID)
}

// several gives alerts by their ids, as many of them as one message has room for.
func (q query) several(ctx context.Context, of ask.AlertsByID) (ask.AlertsFound, error) {
	alerts, err := q.store.AlertsOf(ctx, of.IDs)
	if err != nil {
		return ask.AlertsFound{}, err
	}
	var found ask.AlertsFound
	size := 0
	for _, id := range of.IDs {
		a, ok := alerts[id]
		if ok {
			b, err := json.Marshal(a)
			if err != nil {
				return found, fmt.Errorf("encoding an alert: %w", err)
			}
			if size += len(b) + 1; size > maxListBytes && len(found.Items) > 0 {
				break
			}
			found.Items = append(found.Items, a)
		}
		found.Looked++
	}
	return found, nil
}

// maxListBytes keeps an answer under the megabyte that a NATS message may have.
const maxListBytes = 900 << 10

func (q query) list(ctx context.Context, f ask.AlertFilter) (ask.List[federation.Alert], error) {
	page, err := q.store.ListAlerts(ctx, f)
	if err != nil {
		return page, err
	}
	fitting, err := fit(page.Items, maxListBytes)
	if len(fitting) < len(page.Items) {
		page.LookedTo = "" // it goes on behind its last alert
	}
	page.Items = fitting
	return page, err
}

// page is a page of the queue as the console shows it. Where it would not fit into a
// message it ends early, and the rest is older.
func (q query) page(ctx context.Context, of ask.AlertQuery) (ask.AlertPage, error) {
	page, err := q.store.PageAlerts(ctx, of)
	if err != nil {
		return page, err
	}
	fitting, err := fit(page.Items, maxListBytes)
	if len(fitting) < len(page.Items) {
		page.Older = true
		if of.Before.IsZero() {
			page.LookedTo = ask.Place{} // it goes on from its last alert
		}
	}
	page.Items = fitting
	return page, err
}

// fit makes the alerts of a page fit into one message. Where they would not, raw
// logs and the ends of long descriptions are left out (an alert asked for by
// itself has them in full), and where that is not enough the page ends early.
func fit(alerts []federation.Alert, most int) ([]federation.Alert, error) {
	size := 0
	for _, a := range alerts {
		size += a.Size()
	}
	if size <= most/6 { // a byte of text takes at most six as JSON
		return alerts, nil
	}
	size = 0
	for i := range alerts {
		alerts[i] = alerts[i].Brief()
		b, err := json.Marshal(alerts[i])
		if err != nil {
			return nil, fmt.Errorf("encoding an alert: %w", err)
		}
		if size += len(b) + 1; size > most && i > 0 {
			return alerts[:i], nil
		}
	}
	return alerts, nil
}
