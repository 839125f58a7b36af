// Package alertsink is the function that brings the peers' alerts home: it pulls
// from the alert stream of every known peer, across the leafnode, and stores what
// is new: an alert, or a newer version of one. Alerts that began at this site
// (echoes) and versions that are stored already (replays) are dropped and counted;
// what is not signed by its origin is a dead letter before it comes here; what the site's own gate for that peer does not let in is refused. A batch is
// acknowledged to its origin only after its rows are committed.
//
// The sink of a hub passes on what an origin lets it: with the rows it commits the
// messages in which the alerts go to the other peers, signed as they came.
package alertsink

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
	"github.com/auroramesh/auroramesh/shared/outbox"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	// rescan is how often it looks for peers that have appeared.
	rescan = time.Second
	// batch and linger are how many alerts are stored together, and how long
	// the first of them waits for more that the origin says are there.
	batch  = 2 * half
	linger = 50 * time.Millisecond
	// calm is how long nothing must have happened between the sites until a pull costs less.
	calm = 30 * time.Second
)

// New is the function for one site.
func New(st *store.Store, bus *function.Bus, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) function.Function {
	s := sink{store: st, bus: bus, log: log, now: now, halving: make(chan struct{}, halvings),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_alerts_received_total",
			Help: "Alerts pulled from a peer by outcome: stored, updated (a newer version of one stored before), replay (stored before), refused (by this site's gate for that peer) or echo (raised at this site)."},
			[]string{"origin", "outcome"}),
	}
	reg.MustRegister(s.received)
	return function.Function{
		Name:        "alertsink",
		Description: "Pulls the alerts that the peers share and stores what is new, each exactly once.",
		Triggers: []function.Trigger{
			function.ConsumeEach(s.peers, rescan, s.take, function.Named("alerts"), function.Batch(batch, linger), function.VerifiedOrigin(), function.Buried(s.buried),
				function.Calm(calm, isNews, subject.Connected, subject.Disconnected, subject.Event(bus.Site().ID, federation.LinkTransition)),
				function.Relisted(subject.Event(bus.Site().ID, federation.SiteSeen))),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type sink struct {
	store    *store.Store
	bus      *function.Bus
	log      *slog.Logger
	received *prometheus.CounterVec
	now      func() time.Time
	halving  chan struct{} // see [sink.take]
}

// isNews reports whether a message tells that a pull may have been lost with a link: that
// a link is another, or that a leafnode, and not a client, came or went.
func isNews(subj string, data []byte) bool {
	if subj != subject.Connected && subj != subject.Disconnected {
		return true
	}
	var of struct {
		Client struct {
			Kind string `json:"kind"`
		} `json:"client"`
	}
	return json.Unmarshal(data, &of) != nil || of.Client.Kind == "Leafnode"
}

// peers lists the consumers that the peers keep for this site.
func (s sink) peers(ctx context.Context) ([]function.Source, error) {
	own := s.bus.Site().ID
	peers, err := s.store.PullsFrom(ctx, s.bus.Site())
	if err != nil {
		return nil, err
	}
	var sources []function.Source
	for _, p := range peers {
		for _, lane := range subject.AlertConsumers(own) {
			sources = append(sources, function.Source{Site: p, Stream: subject.AlertStream(p), Consumer: lane.Consumer})
		}
	}
	return sources, nil
}

// storeTogether stores alerts of a peer in one transaction, as far as they are new and let in.
func (s sink) storeTogether(ctx context.Context, all []signed) error {
	own, at, from := s.bus.Site().ID, s.now(), function.SourceOf(ctx).Site
	if err := s.directed(ctx, from, all); err != nil {
		return err
	}
	gates, passed, err := s.store.Inbound(ctx, own, federation.InboundGate())
	if err != nil {
		return err
	}
	decisions, err := s.decide(ctx, gates, all)
	if err != nil {
		return err
	}
	rows := make([]federation.Alert, 0, len(all))
	var notes []store.RefusedAlert
	refused := function.Refused{}
	origins := map[federation.SiteID]*tally{}
	tallied := func(origin federation.SiteID) *tally {
		if origins[origin] == nil {
			origins[origin] = &tally{}
		}
		return origins[origin]
	}
	for i, m := range all {
		origin, a := m.Proof.Site, m.Said
		if origin == own || a.OriginSite == own {
			tallied(from).echoes++
			continue
		}
		if a.OriginSite != origin {
			return fault.New(fault.Invalid, "the alert stream of %s holds an alert whose origin is %s, signed by %s", from, a.OriginSite, origin)
		}
		if d := decisions[i]; !d.Admitted {
			refused[i] = fmt.Sprintf("%s refuses it: %s", own, d.Reason)
			notes = append(notes, store.RefusedAlert{
				OriginSite: origin, OriginID: a.OriginID, Version: max(a.AlertVersion, 1), Rule: d.Rule, Reason: d.Reason, RaisedAt: a.RaisedAt, At: at,
			})
			tallied(origin).refused++
			continue
		}
		a.IOCs.Items = gates.For(origin).Strip(a.IOCs.Items)
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("making an alert id: %w", err)
		}
		rows = append(rows, a.Received(id.String(), at))
	}
	pass := s.passing(passed)
	if pass.isNew, err = s.anew(ctx, all, refused, pass); err != nil {
		return err
	}
	got, err := s.store.ReceiveAlerts(ctx, rows, func(arrived []store.Arrived) (out []store.Outgoing) {
		stored := make([]federation.Alert, 0, len(arrived))
		for _, a := range arrived {
			if a.Arrival == store.Stored {
				stored = append(stored, a.Alert)
				continue
			}
			out = append(out, store.EventMessage(own, federation.Event{Kind: federation.AlertUpdated, At: at, Alert: &a.Alert}, a.Alert.ID))
		}
		return append(append(out, store.StoredMessages(own, at, stored)...), pass.on(from, all, arrived)...)
	}, notes...)
	if err != nil {
		return fmt.Errorf("storing %d alerts of %s: %w", len(rows), from, err)
	}
	// Counted only now: a batch that fails comes again, one by one.
	for i, arrival := range got.Arrivals {
		tallied(rows[i].Origin.SiteID).arrived[arrival]++
	}
	for origin, n := range origins {
		s.count(origin, *n)
	}
	outbox.Publish(ctx, s.bus, s.log, got.Queued)
	if len(refused) > 0 {
		return refused
	}
	return nil
}

// tally counts what became of the alerts of one origin.
type tally struct {
	echoes, refused int
	arrived         [len(outcomes)]int // by [store.Arrival]
}

// count adds to the metric what became of the alerts of an origin.
func (s sink) count(origin federation.SiteID, n tally) {
	s.received.WithLabelValues(string(origin), "echo").Add(float64(n.echoes))
	s.received.WithLabelValues(string(origin), "refused").Add(float64(n.refused))
	for arrival, times := range n.arrived {
		s.received.WithLabelValues(string(origin), outcomes[arrival]).Add(float64(times))
	}
}

// decide says of each alert whether the gate lets it in. A further version of an
// alert that the site has, or gets with this batch, comes in whatever the gate says:
// it would else be kept here as it was, after its origin made it harmless or took it back.
func (s sink) decide(ctx context.Context, gates federation.Gates, all []signed) ([]federation.Decision, error) {
	decisions := make([]federation.Decision, len(all))
	refused := false
	for i, m := range all {
		decisions[i] = gates.For(m.Said.OriginSite).Decide(m.Said.Severity, m.Said.TLP, m.Said.Source)
		refused = refused || !decisions[i].Admitted
	}
	if !refused {
		return decisions, nil
	}
	coming := map[string]bool{}
	var hashes []string
	for i, m := range all {
		a := m.Said
		if hash := federation.ReplayHash(a.OriginSite, a.OriginID); decisions[i].Admitted {
			coming[hash] = true
		} else {
			hashes = append(hashes, hash)
		}
	}
	held, err := s.store.Received(ctx, hashes)
	for i, m := range all {
		if hash := federation.ReplayHash(m.Said.OriginSite, m.Said.OriginID); held[hash] || coming[hash] {
			decisions[i].Admitted = true
		}
	}
	return decisions, err
}

// buried notes that a version of an alert is among the dead letters, so that it is not
// fetched again while it is. A payload that does not even say of which alert of its
// origin it is cannot be noted.
func (s sink) buried(ctx context.Context, payload []byte, reason error) error {
	var of struct {
		OriginSite federation.SiteID `json:"origin_site"`
		OriginID   string            `json:"origin_alert_id"`
		Version    int               `json:"alert_version"`
		RaisedAt   time.Time         `json:"raised_at"`
	}
	origin := function.OriginOf(ctx)
	id := ask.AlertID{}
	if err := json.Unmarshal(payload, &of); err == nil {
		id.ID = of.OriginID
	}
	if of.OriginSite != origin || id.Validate() != nil || of.Version < 0 || of.Version > federation.MaxVersion || of.RaisedAt.Year() < 1970 || of.RaisedAt.Year() > 9999 {
		return nil
	}
	return s.store.NoteRefused(ctx, store.RefusedAlert{
		OriginSite: origin, OriginID: of.OriginID, Version: max(of.Version, 1), Rule: store.RuleDeadLetter, Reason: fault.Of(reason).Message,
		RaisedAt: of.RaisedAt, At: s.now(),
	})
}

// outcomes are the arrivals as the metric names them.
var outcomes = [...]string{store.Stored: "stored", store.Updated: "updated", store.Replayed: "replay"}
