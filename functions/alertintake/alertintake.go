// Package alertintake is the function through which alerts come into the queue and
// change there. A new alert is validated and stored, or found to be a duplicate; an
// analyst's change is applied. Either way the alert passes the sharing gate, and what
// must be published, the event for the site's own console and, where the gate admits
// it, this version of the alert for the peers, is committed with the row, in one
// transaction. alertrelay does the publishing: the local write never waits
// for the mesh, and a crash in between loses nothing.
package alertintake

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/outbox"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// New is the function for one site. gate is that of a peer for which none is set.
func New(gate federation.Gate, st *store.Store, bus *function.Bus, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) function.Function {
	i := intake{gate: gate, store: st, bus: bus, log: log, now: now,
		decided: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_sharing_decisions_total",
			Help: "Decisions of the peers' sharing gates on alerts that were stored or changed: admitted or kept, and the rule that decided."},
			[]string{"peer", "decision", "rule"}),
		raised: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_alerts_raised_total",
			Help: "Alerts raised at this site by severity and outcome: shared (stored, and leaves for a peer), kept (stored, stays here) or duplicate."},
			[]string{"severity", "outcome"}),
	}
	reg.MustRegister(i.raised, i.decided)
	return function.Function{
		Name:        "alertintake",
		Description: "Takes alerts and changes to them in: validates, deduplicates, stores, and passes the sharing gate.",
		Triggers: []function.Trigger{
			function.Reply(ask.RaiseAlert, i.raise, function.Parallel(8)),
			function.Reply(ask.RaiseAlerts, i.raiseAll),
			function.Reply(ask.UpdateAlert, i.update),
			function.Reply(ask.UpdateAlerts, i.updateAll),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type intake struct {
	gate    federation.Gate
	store   *store.Store
	bus     *function.Bus
	raised  *prometheus.CounterVec
	decided *prometheus.CounterVec
	log     *slog.Logger
	now     func() time.Time
}

// raise takes in one alert, without a record in the audit log.
func (i intake) raise(ctx context.Context, n federation.NewAlert) (ask.Raised, error) {
	one, err := i.raising(ask.AlertRaising{Alert: n})
	if err != nil {
		return ask.Raised{}, err
	}
	became := i.storeEach(ctx, []store.Raising{one})[0]
	if became.err != nil {
		return ask.Raised{}, fmt.Errorf("storing an alert: %w", became.err)
	}
	return ask.Raised{Alert: became.Alert, Created: became.Created, Unreadable: n.IOCs.Unreadable}, nil
}

// raiseAll takes in alerts that came together, in one transaction. What is wrong with
// one is the answer for that one.
func (i intake) raiseAll(ctx context.Context, r ask.AlertsRaising) (ask.AlertsRaised, error) {
	answers := make([]ask.AlertRaised, len(r.Items))
	var sound []int // of the items
	var raising []store.Raising
	for n, item := range r.Items {
		if len(r.Items) == 1 {
			item.Trace = "" // what handles it is of its trace
		}
		one, err := i.raising(item)
		if err != nil {
			answers[n].Problem = i.problem(ctx, err)
			continue
		}
		sound, raising = append(sound, n), append(raising, one)
	}
	for at, became := range i.storeEach(ctx, raising) {
		n := sound[at]
		if became.err != nil {
			answers[n].Problem = i.problem(ctx, fmt.Errorf("storing an alert: %w", became.err))
			continue
		}
		data, err := json.Marshal(became.Alert)
		if err != nil {
			answers[n].Problem = i.problem(ctx, fmt.Errorf("encoding an alert: %w", err))
			continue
		}
		answers[n] = ask.AlertRaised{Alert: data, ID: became.Alert.ID, TLP: became.Alert.TLP, Created: became.Created, Unreadable: r.Items[n].Alert.IOCs.Unreadable}
	}
	return ask.AlertsRaised{Items: i.fitting(answers)}, nil
}

// became is what came of an alert that was to be stored.
type became struct {
	store.RaisedAlert
	err error
}

// storeEach stores alerts together or, where that fails by what may be the fault of
// one of them, each by itself.
func (i intake) storeEach(ctx context.Context, all []store.Raising) []became {
	each := make([]became, len(all))
	if len(all) == 0 {
		return each
	}
	raised, err := i.store.RaiseAlerts(ctx, i.bus.Site().ID, i.gate, all, i.tell)
	switch {
	case err == nil:
		for n, r := range raised.Alerts {
			each[n].RaisedAlert = r
			i.tally(raised.Gates, r)
		}
		outbox.Publish(ctx, i.bus, i.log, raised.Queued)
	case len(all) == 1 || mendable(err):
		for n := range each {
			each[n].err = err
		}
	default:
		for n := range all {
			each[n] = i.storeEach(ctx, all[n:n+1])[0]
		}
	}
	return each
}

// tell is what the site's own watchers are told of alerts that were stored together.
func (i intake) tell(created []federation.Alert) []store.Outgoing {
	return store.StoredMessages(i.bus.Site().ID, created[0].CreatedAt, created)
}

// mendable reports whether a failure to store has nothing to do with what was to be stored.
func mendable(err error) bool {
	return fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout)
}

// problem is what is wrong with one alert of several. What is internal is told to the log only.
func (i intake) problem(ctx context.Context, err error) *fault.Error {
	f := fault.Of(err)
	if f.Code == fault.Internal {
		i.log.ErrorContext(ctx, "one of several alerts could not be handled", "error", err)
	}
	return f
}

// raising is what is to be stored of a new alert.
func (i intake) raising(item ask.AlertRaising) (store.Raising, error) {
	if err := item.Alert.Validate(); err != nil {
		return store.Raising{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return store.Raising{}, fmt.Errorf("making an alert id: %w", err)
	}
	a := item.Alert.Alert(id.String(), i.now())
	if err := i.passes(a); err != nil {
		return store.Raising{}, err
	}
	r := store.Raising{Alert: a, Out: func(gates federation.Gates) ([]store.Outgoing, error) {
		out, err := i.shared(gates, gates.Routes(a))
		for n := range out {
			out[n].Trace = item.Trace
		}
		return out, err
	}}
	if item.Audit != nil {
		r.Audit = func(stored federation.Alert, created bool) access.Entry {
			e := *item.Audit
			e.Result = http.StatusOK
			if created {
				e.Result, e.Target = http.StatusCreated, e.Target+"/"+stored.ID
			}
			return e
		}
	}
	return r, nil
}

// tally counts an alert that was raised.
func (i intake) tally(gates federation.Gates, raised store.RaisedAlert) {
	outcome := "duplicate"
	if raised.Created {
		outcome = "kept"
		if raised.Shared {
			outcome = "shared"
		}
		i.count(gates, raised.Alert)
	}
	i.raised.WithLabelValues(string(raised.Alert.Severity), outcome).Inc()
}

// fitting leaves out of an answer the alerts that a message has no room for: what is
// new is no larger than the question, but the first of a double may be.
func (i intake) fitting(answers []ask.AlertRaised) []ask.AlertRaised {
	if len(answers) == 1 {
		return answers
	}
	room := i.most() - ask.MaxRaisingBytes - 1000*len(answers)
	for n, a := range answers {
		switch {
		case a.Created || a.Problem != nil:
		case len(a.Alert) > room:
			answers[n].Alert = nil
		default:
			room -= len(a.Alert)
		}
	}
	return answers
}

// most is how many bytes an alert may have as a message, with room for what a list
// puts around it, and for the headers.
func (i intake) most() int { return int(i.bus.Conn().MaxPayload()) - 64<<10 }

func (i intake) update(ctx context.Context, u ask.AlertUpdate) (federation.Alert, error) {
	gates, err := i.gates(ctx)
	if err != nil {
		return federation.Alert{}, err
	}
	changed := false
	a, err := i.store.UpdateAlert(ctx, u.ID, u.Patch, i.now(), func(was, a federation.Alert) ([]store.Outgoing, error) {
		changed = true
		if a.Version == was.Version { // nothing of it is for others
			return i.changed(gates, a, nil)
		}
		return i.changed(gates, a, gates.Routes(a))
	})
	if err != nil {
		return a, fmt.Errorf("changing an alert: %w", err)
	}
	if changed && a.Origin == nil {
		i.count(gates, a)
	}
	outbox.Nudge(ctx, i.bus, i.log)
	return a, nil
}

// updateAll changes the status of several alerts, each by itself: what stands in the
// way of one leaves the others as they are asked for.
func (i intake) updateAll(ctx context.Context, u ask.AlertsUpdate) (ask.AlertsUpdated, error) {
	all := ask.AlertsUpdated{Items: make([]ask.AlertUpdated, len(u.IDs))}
	for n, id := range u.IDs {
		all.Items[n].ID = id
		if _, err := i.update(ctx, ask.AlertUpdate{ID: id, Patch: federation.AlertPatch{Status: u.Status}}); err != nil {
			all.Items[n].Problem = i.problem(ctx, err).Message
		}
	}
	return all, nil
}

func (i intake) gates(ctx context.Context) (federation.Gates, error) {
	return i.store.Gates(ctx, i.bus.Site().ID, federation.Outbound, i.gate)
}

// count counts what the gate of each peer decided.
func (i intake) count(gates federation.Gates, a federation.Alert) {
	for peer, gate := range gates.Peers {
		decision, word := gate.Admits(a), "kept"
		if decision.Admitted {
			word = "admitted"
		}
		i.decided.WithLabelValues(string(peer), word, string(decision.Rule)).Inc()
	}
}

// passes refuses an alert that no message has room for: it could never be read.
func (i intake) passes(a federation.Alert) error {
	most := i.most()
	if a.Size() <= most/6 { // a byte of text takes at most six as JSON
		return nil
	}
	data, err := json.Marshal(a)
	if err == nil && len(data) > most {
		err = fault.New(fault.TooLarge, "the alert has %d bytes as a message, and may have %d: shorten raw_log or the list of IOCs", len(data), most)
	}
	return err
}

// changed is what must be published about an alert that was changed.
func (i intake) changed(gates federation.Gates, a federation.Alert, routes []federation.Route) ([]store.Outgoing, error) {
	if err := i.passes(a); err != nil {
		return nil, err
	}
	out, err := i.shared(gates, routes)
	site := i.bus.Site().ID
	return append(out, store.EventMessage(site, federation.Event{Kind: federation.AlertUpdated, At: a.UpdatedAt, Alert: &a}, a.ID)), err
}

// shared is the messages in which an alert leaves on its routes.
func (i intake) shared(gates federation.Gates, routes []federation.Route) (out []store.Outgoing, err error) {
	for _, r := range routes {
		m, err := message(i.bus.Site(), gates, r)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// message is the one in which an alert leaves on one route. The hub may pass on what is
// for all, where the site wants that of it.
func message(site federation.Identity, gates federation.Gates, r federation.Route) (store.Outgoing, error) {
	a := r.Alert
	shared := federation.Share(a, site)
	if r.Peer == "" && site.Exchange == federation.ExchangeHub && site.Tier == federation.Secondary {
		shared.Relay = gates.Relay(a)
	}
	payload, err := json.Marshal(shared)
	if err != nil {
		return store.Outgoing{}, fmt.Errorf("encoding a shared alert: %w", err)
	}
	out := store.Outgoing{
		Subject: subject.Alert(a.SharedSeverity), MsgID: federation.SharedMsgID(site.ID, a.ID, a.Version),
		Priority: a.SharedSeverity.Rank(), AlertID: a.ID, Version: a.Version, Peer: r.Peer, Withdraws: a.Withheld(), Payload: payload,
	}
	if r.Peer != "" {
		out.Subject, out.MsgID = subject.AlertTo(a.SharedSeverity, r.Peer), out.MsgID+"/"+string(r.Peer)
	}
	return out, nil
}
