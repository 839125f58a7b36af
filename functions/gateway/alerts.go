package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/tracing"
)

const (
	alertsPath = "/api/v1/alerts"
	alertPath  = "/api/v1/alerts/{id}"

	alertDeliveriesPath = alertPath + "/deliveries"
)

// raisedAlert is the answer to a new alert: the alert, and what is not on it.
type raisedAlert struct {
	federation.Alert
	Warnings []fault.Field `json:"warnings,omitempty"`
}

type raiseOutput struct {
	Status   int
	Location string `header:"Location" doc:"Where the alert is"`
	Body     encoded[raisedAlert]
}

func (g *gateway) registerAlerts(api huma.API) {
	op := operation(http.MethodGet, alertsPath, "list-alerts", tagAlerts, "List alerts",
		"The alerts of the queue, newest first: those raised here and those from peers, whose source is federation:<site>. "+
			"With several filters one answer looks at 10,000 alerts at most: those that the rarest filter chooses. Where its page is not full by then it has looked_to: ask again with that as after, and skip less by total.")
	op.Parameters = append(pageParams(),
		&huma.Param{Name: "severity", In: "query", Description: "Only alerts of this severity", Schema: &huma.Schema{Type: huma.TypeString, Enum: words(federation.Severities())}},
		&huma.Param{Name: "status", In: "query", Description: "Only alerts in this state", Schema: &huma.Schema{Type: huma.TypeString, Enum: words(federation.AlertStatuses())}},
		&huma.Param{Name: "tlp", In: "query", Description: "Only alerts with this label; read in any case, with or without TLP: before it", Schema: &huma.Schema{Type: huma.TypeString, Enum: words(federation.TLPs()), Format: tlpFormat}},
		&huma.Param{Name: "source", In: "query", Description: "Only alerts of exactly this source, e.g. federation:site-b", Schema: &huma.Schema{Type: huma.TypeString, MinLength: ptr(1), MaxLength: ptr(federation.MaxSource)}},
		&huma.Param{Name: "after", In: "query", Description: "Only alerts that came before this place: the looked_to of an answer", Schema: &huma.Schema{Type: huma.TypeString, MinLength: ptr(1)}},
	)
	type listInput struct {
		Skip     int                    `query:"skip" hidden:"true"`
		Limit    int                    `query:"limit" hidden:"true"`
		Severity federation.Severity    `query:"severity" hidden:"true"`
		Status   federation.AlertStatus `query:"status" hidden:"true"`
		TLP      federation.TLP         `query:"tlp" hidden:"true"`
		Source   string                 `query:"source" hidden:"true"`
		After    string                 `query:"after" hidden:"true"`
	}
	huma.Register(api, op, func(ctx context.Context, in *listInput) (*answer[ask.List[federation.Alert]], error) {
		after, err := ask.ParsePlace("after", in.After)
		if err != nil {
			return nil, err
		}
		return replyList(put(ctx, g, ask.ListAlerts, ask.AlertFilter{
			Page: ask.Page{Skip: in.Skip, Limit: in.Limit}.WithDefaults(), Severity: in.Severity, Status: in.Status, TLP: in.TLP, Source: in.Source, After: after,
		}))
	})

	op = withBody[federation.NewAlert](api, operation(http.MethodPost, alertsPath, "raise-alert", tagAlerts, "Raise an alert",
		"Stores a new alert at this site and, where its severity and its TLP pass the gate, shares it with the peers. An alert with the title, source and IOCs of one that is there is not stored again: the answer is then 200 and the first one, whose label stays."))
	op.DefaultStatus = http.StatusCreated
	type raiseInput struct{ Payload body[federation.NewAlert] }
	huma.Register(api, op, func(ctx context.Context, in *raiseInput) (*raiseOutput, error) {
		return g.raise(ctx, in.Payload.Value)
	})
	documentBody(api, op.Method, op.Path, alertExamples())
	documented := registered(api, op.Method, op.Path)
	documented.Responses["201"].Description = "The alert is stored"
	duplicate := *documented.Responses["201"]
	duplicate.Description = "The alert was there already: this is the first one"
	documented.Responses["200"] = &duplicate

	op = operation(http.MethodGet, alertPath, "get-alert", tagAlerts, "Show an alert", "One alert of the queue.", http.StatusNotFound)
	op.Parameters = []*huma.Param{idParam()}
	type getInput struct {
		ID string `path:"id" hidden:"true"`
	}
	huma.Register(api, op, func(ctx context.Context, in *getInput) (*answer[federation.Alert], error) {
		id := ask.AlertID{ID: in.ID}
		if err := id.Validate(); err != nil {
			return nil, err
		}
		return reply(put(ctx, g, ask.GetAlert, id))
	})

	op = operation(http.MethodGet, alertDeliveriesPath, "list-alert-deliveries", tagAlerts, "Show where an alert has arrived",
		"For an alert raised here, how far it has come on its way to each peer. An alert from a peer is delivered from its origin alone, so there are no deliveries here.", http.StatusNotFound)
	op.Parameters = []*huma.Param{idParam()}
	huma.Register(api, op, func(ctx context.Context, in *getInput) (*answer[federation.AlertDeliveries], error) {
		id := ask.AlertID{ID: in.ID}
		if err := id.Validate(); err != nil {
			return nil, err
		}
		return reply(put(ctx, g, ask.AlertDeliveries, id))
	})

	op = withBody[federation.AlertPatch](api, operation(http.MethodPatch, alertPath, "update-alert", tagAlerts, "Change an alert",
		"Moves an alert through triage, edits it, or takes it back. A field that is absent stays as it is. A change to an alert that was raised here is a further version, which goes to every peer that has the alert; a peer's own triage stays beside it. Of an alert from a peer only the status can change, and that change stays here.", http.StatusNotFound, http.StatusConflict))
	op.Parameters = []*huma.Param{idParam()}
	type updateInput struct {
		ID      string `path:"id" hidden:"true"`
		Payload body[federation.AlertPatch]
	}
	huma.Register(api, op, func(ctx context.Context, in *updateInput) (*answer[federation.Alert], error) {
		update := ask.AlertUpdate{ID: in.ID, Patch: in.Payload.Value}
		if err := update.Validate(); err != nil {
			return nil, err
		}
		return reply(put(ctx, g, ask.UpdateAlert, update))
	})
	documentBody(api, op.Method, op.Path, map[string]*huma.Example{
		"triage":     {Summary: "An analyst takes the alert", Value: federation.AlertPatch{Status: federation.Investigating}},
		"edit":       {Summary: "It turns out worse than it seemed", Value: federation.AlertPatch{Severity: federation.Critical, Description: ptr("The host answers to a second C2 address.")}},
		"retraction": {Summary: "It should not have been raised", Value: federation.AlertPatch{Status: federation.FalsePositive, Retraction: "a test of the sensor"}},
	})
}

func (g *gateway) raise(ctx context.Context, n federation.NewAlert) (*raiseOutput, error) {
	item := ask.AlertRaising{Alert: n, Trace: tracing.Parent(ctx)}
	x, known := ctx.Value(exchangeKey{}).(*exchange)
	if known && x.principal.ID != "" {
		e := g.entry(x.request, x.principal)
		item.Audit = &e
	}
	data, err := json.Marshal(item)
	if err != nil {
		return nil, fmt.Errorf("encoding an alert: %w", err)
	}
	asking, cancel := askingFor(ctx)
	defer cancel()
	raised, err := g.intake.put(asking, data)
	switch {
	case err != nil:
		return nil, err
	case raised.Problem != nil:
		return nil, raised.Problem
	case known:
		x.noted = item.Audit != nil
	}
	if raised.Alert == nil { // it is too large for an answer with others
		one, err := pass(ctx, g, ask.GetAlert, ask.AlertID{ID: raised.ID})
		if err != nil {
			return nil, err
		}
		raised.Alert = one.RawMessage
	}
	status, told := http.StatusOK, warnings(n.IOCs.Unreadable, raised.Unreadable)
	switch {
	case raised.Created:
		status = http.StatusCreated
	case n.TLP.OrDefault().Stricter(raised.TLP):
		told = append(told, fault.Field{Name: "tlp", Value: string(n.TLP.OrDefault()), Allowed: string(raised.TLP) + ", with which the alert was raised first: it keeps this label until it is edited"})
	}
	body, err := withWarnings(raised.Alert, told)
	return &raiseOutput{Status: status, Location: alertsPath + "/" + url.PathEscape(raised.ID), Body: encoded[raisedAlert]{body}}, err
}

// withWarnings is a [raisedAlert] as JSON, made of its alert.
func withWarnings(alert json.RawMessage, told []fault.Field) (json.RawMessage, error) {
	if len(told) == 0 {
		return alert, nil
	}
	data, err := json.Marshal(told)
	if err != nil {
		return nil, fmt.Errorf("encoding the warnings about an alert: %w", err)
	}
	return slices.Concat(bytes.TrimSuffix(alert, []byte("}")), []byte(`,"warnings":`), data, []byte("}")), nil
}

// raiseAll raises alerts of requests that came together, each an [ask.AlertRaising] as JSON.
func (g *gateway) raiseAll(ctx context.Context, items [][]byte) ([]ask.AlertRaised, error) {
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	question := slices.Concat([]byte(`{"items":[`), bytes.Join(items, []byte(",")), []byte("]}")) // an [ask.AlertsRaising]
	answer, err := function.Pass(ctx, g.bus, g.site.ID, ask.RaiseAlerts, question)
	if err != nil {
		return nil, err
	}
	var raised ask.AlertsRaised
	if err := json.Unmarshal(answer, &raised); err != nil {
		return nil, fmt.Errorf("decoding what became of %d alerts: %w", len(items), err)
	}
	if len(raised.Items) != len(items) {
		return nil, fmt.Errorf("raising %d alerts: %d answers", len(items), len(raised.Items))
	}
	return raised.Items, nil
}

// warnings name the IOCs that could not be read. Those of the body are known here
// only: what travels on to the function is the canonical form. Past a number that
// a person would read, one last warning says how many more there are.
func warnings(unreadable ...[]string) []fault.Field {
	var fs fault.Fields
	more := 0
	for _, values := range unreadable {
		for _, v := range values {
			if len(fs) == maxFaults {
				more++
				continue
			}
			fs.Add("iocs", v, federation.IOCAllowed(v))
		}
	}
	if more > 0 {
		fs.Add("iocs", "and "+strconv.Itoa(more)+" more", federation.IOCForm)
	}
	return fs
}

func idParam() *huma.Param {
	return &huma.Param{
		Name: "id", In: "path", Required: true, Description: "The id of the alert at this site",
		Schema: &huma.Schema{Type: huma.TypeString, MinLength: ptr(1), MaxLength: ptr(federation.MaxAlertID)},
	}
}

// alertExamples show the three shapes of IOCs, each on an alert that can be raised as it stands.
func alertExamples() map[string]*huma.Example {
	example := func(summary string, iocs any, more map[string]any) *huma.Example {
		value := map[string]any{
			"title": "Beacon to a known C2 host", "severity": "high", "source": "suricata", "iocs": iocs,
		}
		maps.Copy(value, more)
		return &huma.Example{Summary: summary, Value: value}
	}
	return map[string]*huma.Example{
		"strings": example("IOCs as a list of strings", []string{"203.0.113.7", "c2[.]evil[.]example"}, nil),
		"typed": example("IOCs as a list of objects, and every other field", []map[string]string{{"type": "ip", "value": "203.0.113.7"}}, map[string]any{
			"description": "Regular connections of 60 s with little jitter.", "tlp": "amber", "asset_type": "workstation", "affected_assets": []string{"ws-017"},
			"mitre_techniques": []string{"T1071.001"}, "raw_log": map[string]any{"event_type": "alert", "signature_id": 2027865}, "observed_at": "2026-01-31T12:00:00Z",
		}),
		"by-type": example("IOCs by type", map[string]any{"domain": []string{"c2.evil.example"}, "ip": "203.0.113.7"}, nil),
	}
}
