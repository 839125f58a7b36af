// Package alertintake is the function that takes a new alert in: it validates it,
// finds the alert that it duplicates or stores it, and passes the sharing gate.
// What must be published, the event for the site's own console and, where the
// gate admits it, the shared alert for the peers, is committed with the row, in
// one transaction. alertrelay does the publishing: the local write never waits
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

// New is the function for one site.
func New(gate federation.Gate, st *store.Store, bus *function.Bus, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) function.Function {
	i := intake{gate: gate, store: st, bus: bus, log: log, now: now,
		decided: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_sharing_decisions_total",
			Help: "Decisions of the sharing gate on alerts that were stored: admitted or kept, and the rule that decided."},
			[]string{"decision", "rule"}),
		raised: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_alerts_raised_total",
			Help: "Alerts raised at this site by severity and outcome: shared (stored, and admitted by the sharing gate), kept (stored, stays here) or duplicate."},
			[]string{"severity", "outcome"}),
	}
	reg.MustRegister(i.raised, i.decided)
	return function.Function{
		Name:        "alertintake",
		Description: "Takes a new alert in: validates, deduplicates, stores, and passes the sharing gate. Tells beforehand what the gate would say.",
		Triggers: []function.Trigger{
			function.Reply(ask.RaiseAlert, i.raise, function.Parallel(8)),
			function.Reply(ask.PreviewSharing, i.preview),
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
	a := n.Alert(id.String(), i.now())
	decision := i.gate.Decide(a.Severity, a.TLP)
	out, err := i.outgoing(a, decision.Admitted)
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
	outcome, word := "kept", "kept"
	if decision.Admitted {
		outcome, word = "shared", "admitted"
	}
	i.decided.WithLabelValues(word, string(decision.Rule)).Inc()
	i.raised.WithLabelValues(string(a.Severity), outcome).Inc()
	if err := i.bus.Nudge("alertrelay"); err != nil {
		// The alert is safe and alertrelay looks by itself: it only comes later.
		i.log.Warn("alertrelay could not be nudged", "error", err)
	}
	return raised, nil
}

// preview says of every known peer whether it would get the alert. One gate stands
// before all of them, so what they are told differs in the peer only.
func (i intake) preview(ctx context.Context, n federation.NewAlert) (ask.SharingPreview, error) {
	own := i.bus.Site().ID
	peers, err := i.store.Peers(ctx, own)
	if err != nil {
		return ask.SharingPreview{}, err
	}
	p := ask.SharingPreview{
		SiteID: own, Severity: n.Severity, TLP: n.TLP.OrDefault(), Peers: []ask.PeerDecision{},
		Gate: ask.SharingGate{Federation: !i.gate.Closed, MinSeverity: i.gate.MinSeverity, TLPs: federation.ShareableTLPs()},
	}
	decision := i.gate.Decide(p.Severity, p.TLP)
	for _, peer := range peers {
		p.Peers = append(p.Peers, ask.PeerDecision{Peer: peer, Decision: decision})
	}
	return p, nil
}

// outgoing is what must be published about a new alert.
func (i intake) outgoing(a federation.Alert, shared bool) ([]store.Outgoing, error) {
	site := i.bus.Site()
	event := store.EventMessage(site.ID, federation.Event{Kind: federation.AlertStored, At: a.CreatedAt, Alert: &a}, a.ID)
	// With room for what a list puts around it, and for the headers.
	if most := int(i.bus.Conn().MaxPayload()) - 64<<10; len(event.Payload) > most {
		return nil, fault.New(fault.TooLarge, "the alert has %d bytes as a message, and may have %d: shorten raw_log or the list of IOCs", len(event.Payload), most)
	}
	out := []store.Outgoing{event}
	if shared {
		payload, err := json.Marshal(federation.Share(a, site))
		if err != nil {
			return nil, fmt.Errorf("encoding a shared alert: %w", err)
		}
		out = append(out, store.Outgoing{
			Subject: subject.Alert(a.Severity), MsgID: string(site.ID) + "/" + a.ID,
			Priority: a.Severity.Rank(), AlertID: a.ID, Payload: payload,
		})
	}
	return out, nil
}
