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
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
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

func (i intake) raise(ctx context.Context, n federation.NewAlert) (ask.Raised, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return ask.Raised{}, fmt.Errorf("making an alert id: %w", err)
	}
	gates, err := i.gates(ctx)
	if err != nil {
		return ask.Raised{}, err
	}
	a := n.Alert(id.String(), i.now())
	routes := gates.Routes(a)
	out, err := i.outgoing(a, federation.AlertStored, routes)
	if err != nil {
		return ask.Raised{}, err
	}
	stored, created, err := i.store.RaiseAlert(ctx, a, out)
	if err != nil {
		return ask.Raised{}, fmt.Errorf("storing an alert: %w", err)
	}
	raised := ask.Raised{Alert: stored, Created: created, Unreadable: n.IOCs.Unreadable}
	if !created {
		i.raised.WithLabelValues(string(a.Severity), "duplicate").Inc()
		return raised, nil
	}
	outcome := "kept"
	if len(routes) > 0 {
		outcome = "shared"
	}
	i.count(gates, a)
	i.raised.WithLabelValues(string(a.Severity), outcome).Inc()
	i.nudge(ctx)
	return raised, nil
}

// nudge has the outbox emptied now. Where that fails the alert is safe, and
// alertrelay looks by itself: it only comes later.
func (i intake) nudge(ctx context.Context) {
	if err := i.bus.Nudge("alertrelay"); err != nil {
		i.log.WarnContext(ctx, "alertrelay could not be nudged", "error", err)
	}
}

func (i intake) update(ctx context.Context, u ask.AlertUpdate) (federation.Alert, error) {
	gates, err := i.gates(ctx)
	if err != nil {
		return federation.Alert{}, err
	}
	changed := false
	a, err := i.store.UpdateAlert(ctx, u.ID, u.Patch, i.now(), func(was, a federation.Alert) ([]store.Outgoing, error) {
		changed = true
		if a.Version == was.Version { // nothing of it is for others
			return i.outgoing(a, federation.AlertUpdated, nil)
		}
		return i.outgoing(a, federation.AlertUpdated, gates.Routes(a))
	})
	if err != nil {
		return a, fmt.Errorf("changing an alert: %w", err)
	}
	if changed && a.Origin == nil {
		i.count(gates, a)
	}
	i.nudge(ctx)
	return a, nil
}

// updateAll changes the status of several alerts, each by itself: what stands in the
// way of one leaves the others as they are asked for.
func (i intake) updateAll(ctx context.Context, u ask.AlertsUpdate) (ask.AlertsUpdated, error) {
	all := ask.AlertsUpdated{Items: make([]ask.AlertUpdated, len(u.IDs))}
	for n, id := range u.IDs {
		all.Items[n].ID = id
		_, err := i.update(ctx, ask.AlertUpdate{ID: id, Patch: federation.AlertPatch{Status: u.Status}})
		if err == nil {
			continue
		}
		f := fault.Of(err)
		if f.Code == fault.Internal {
			i.log.ErrorContext(ctx, "one of several alerts could not be changed", "id", id, "error", err)
		}
		all.Items[n].Problem = f.Message
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

// outgoing is what must be published about an alert that was stored or changed.
func (i intake) outgoing(a federation.Alert, kind federation.EventKind, routes []federation.Route) ([]store.Outgoing, error) {
	site := i.bus.Site()
	event := store.EventMessage(site.ID, federation.Event{Kind: kind, At: a.UpdatedAt, Alert: &a}, a.ID)
	// With room for what a list puts around it, and for the headers.
	if most := int(i.bus.Conn().MaxPayload()) - 64<<10; len(event.Payload) > most {
		return nil, fault.New(fault.TooLarge, "the alert has %d bytes as a message, and may have %d: shorten raw_log or the list of IOCs", len(event.Payload), most)
	}
	out := []store.Outgoing{event}
	for _, r := range routes {
		shared, err := message(site, r)
		if err != nil {
			return nil, err
		}
		out = append(out, shared)
	}
	return out, nil
}

// message is the one in which an alert leaves on one route.
func message(site federation.Identity, r federation.Route) (store.Outgoing, error) {
	a := r.Alert
	payload, err := json.Marshal(federation.Share(a, site))
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
