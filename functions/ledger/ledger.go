// Package ledger is the function that says what each peer has stored. A peer
// acknowledges an alert after its commit, so the durable consumer at the origin is
// the proof, and the ledger only reads it: this site's consumers for what goes out,
// and across the leafnode the one that each peer keeps for this site for what comes
// in. Where the hub passes alerts on there is none, and the proof is what the peer
// found as it last compared, or says when it is asked for one alert. The one book of
// its own is that of the alerts that a peer acknowledged without storing them, which
// the origin's server tells once and does not keep. Beside it the ledger keeps what
// the last drills found out, for they prove the same.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/drillreport"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	// refresh is how often the gauges are set.
	refresh = 5 * time.Second
	// patience is how long a peer may take to answer.
	patience = 2 * time.Second
)

// New is the function for one site.
func New(gate federation.Gate, bound federation.BacklogBound, st *store.Store, bus *function.Bus, reg prometheus.Registerer, now func() time.Time) function.Function {
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"peer"})
		reg.MustRegister(g)
		return g
	}
	l := ledger{
		gate: gate, bound: bound, store: st, bus: bus, now: now,
		pending: gauge("aurora_federation_deliveries_pending", "Messages for a peer that it has not acknowledged, at the last look. Each version of an alert is one, and each time it was sent again. Where the hub passes them on: alerts that no comparison has proved yet."),
		oldest:  gauge("aurora_federation_delivery_oldest_pending_seconds", "Age of the oldest alert that a peer has not acknowledged, at the last look; 0 where there is none. Where the hub passes them on: for how long every comparison has found something missing, or with nothing missing the age of the first alert that is not compared yet."),
		stored:  gauge("aurora_federation_deliveries_stored", "Messages that the stream holds and that a peer has stored, at the last look. Where the hub passes them on: alerts, as the last comparison found, of the two hours or of all FEDERATION_BACKFILL_HOURS that it looked at."),
		refused: gauge("aurora_federation_deliveries_refused", "Messages that the stream holds and that a peer has refused, by its inbound gate or into its dead letters, at the last look. Where the hub passes them on: alerts, as the last comparison found, of the two hours or of all FEDERATION_BACKFILL_HOURS that it looked at."),
	}
	l.unproved = gauge("aurora_federation_delivery_unproved_seconds", "How long ago the time is up to which a peer has proved what it has of the alerts that the hub passes on to it; only for such peers.")
	l.compared = newComparisons(reg)
	return function.Function{
		Name:        "ledger",
		Description: "Answers what each peer has stored and what waits for it.",
		Triggers: []function.Trigger{
			function.Reply(ask.Deliveries, l.deliveries),
			function.Reply(ask.AlertDeliveries, l.alertDeliveries),
			function.Reply(ask.KeepDrill, l.keepDrill),
			function.Reply(ask.Drills, l.drills),
			function.Every(refresh, l.measure, function.Named("measure")),
			function.ConsumeEach(l.told, rescan, l.note, function.Named("refusals"), function.Batch(batch, linger)),
		},
		Streams: []jetstream.StreamConfig{stream.Alerts(bus.Site().ID, stream.Above(bound)), stream.Refusals(bus.Site().ID)},
		Checks:  []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type ledger struct {
	gate                             federation.Gate
	bound                            federation.BacklogBound
	store                            *store.Store
	bus                              *function.Bus
	now                              func() time.Time
	pending, oldest, stored, refused *prometheus.GaugeVec
	unproved                         *prometheus.GaugeVec
	compared                         comparisons
}

func (l ledger) keepDrill(ctx context.Context, r drillreport.Report) (ask.None, error) {
	return ask.None{}, l.store.KeepDrill(ctx, r, l.now())
}

func (l ledger) drills(ctx context.Context, _ ask.None) (ask.DrillList, error) {
	all, err := l.store.Drills(ctx)
	return ask.DrillList{Items: all}, err
}

func (l ledger) deliveries(ctx context.Context, _ ask.None) (federation.Deliveries, error) {
	peers, err := l.store.Peers(ctx, l.bus.Site().ID)
	if err != nil {
		return federation.Deliveries{}, err
	}
	out, err := l.readStream(ctx)
	if err != nil {
		return federation.Deliveries{}, err
	}
	found, err := l.store.Reconciliations(ctx)
	if err != nil {
		return federation.Deliveries{}, err
	}
	relays, err := l.store.Relays(ctx, l.bus.Site())
	if err != nil {
		return federation.Deliveries{}, err
	}
	counts, err := l.store.CountAlertsOf(ctx, peers)
	if err != nil {
		return federation.Deliveries{}, err
	}
	reachable := relays.Hub != "" && len(relays.From) > 0 && l.reaches(ctx, relays.Hub)
	var (
		rows = make([]federation.Delivery, 2*len(peers))
		errs = make([]error, len(peers))
		wait sync.WaitGroup
	)
	for i, p := range peers { // together, for each peer that is away takes the whole of its time
		wait.Go(func() {
			rows[2*i], errs[i] = l.toward(ctx, relays, out, found, p)
		})
		wait.Go(func() {
			if relays.From[p] {
				rows[2*i+1] = received(relays.Hub, p, counts[p], reachable, found)
			} else {
				rows[2*i+1] = l.inbound(ctx, p, counts[p])
			}
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return federation.Deliveries{}, err
	}
	for i, d := range rows {
		if r, compared := found[store.Way{Peer: d.Peer, Direction: d.Direction}]; compared {
			rows[i].Reconciliation = &r
		}
	}
	backlog, err := l.backlog(ctx, out)
	if err != nil {
		return federation.Deliveries{}, err
	}
	return federation.Deliveries{SiteID: l.bus.Site().ID, GeneratedAt: l.now().UTC(), Deliveries: rows, Backlog: backlog}, nil
}

// backlog is what the stream holds for all peers together.
func (l ledger) backlog(ctx context.Context, out outgoing) (federation.Backlog, error) {
	dropped, last, err := l.store.BacklogDrops(ctx)
	return federation.Backlog{
		Messages: int(out.state.Msgs), Bytes: int64(out.state.Bytes), MaxMessages: l.bound.Messages, MaxBytes: l.bound.Bytes,
		Dropped: dropped, DroppedAt: last,
	}, err
}

// measure sets the gauges of what goes out. It asks no peer.
func (l ledger) measure(ctx context.Context) error {
	peers, err := l.store.Peers(ctx, l.bus.Site().ID)
	if err != nil {
		return err
	}
	out, err := l.readStream(ctx)
	if err != nil {
		return err
	}
	found, err := l.store.Reconciliations(ctx)
	if err != nil {
		return err
	}
	l.measureReconciliations(found, peers)
	relays, err := l.store.Relays(ctx, l.bus.Site())
	if err != nil {
		return err
	}
	for _, p := range peers {
		d, err := l.toward(ctx, relays, out, found, p)
		if err != nil {
			return err
		}
		if d.ProvedUntil != nil {
			l.unproved.WithLabelValues(string(p)).Set(max(l.now().Sub(*d.ProvedUntil), 0).Seconds())
		} else {
			l.unproved.DeleteLabelValues(string(p))
		}
		if d.Pending == nil {
			continue // not admitted yet
		}
		l.pending.WithLabelValues(string(p)).Set(float64(*d.Pending))
		l.stored.WithLabelValues(string(p)).Set(float64(*d.Stored))
		l.refused.WithLabelValues(string(p)).Set(float64(*d.Refused))
		age := 0.0
		if d.OldestPendingSeconds != nil {
			age = *d.OldestPendingSeconds
		}
		l.oldest.WithLabelValues(string(p)).Set(age)
	}
	return nil
}

// outgoing is this site's stream of shared alerts at one moment.
type outgoing struct {
	jetstream.Stream
	made  time.Time
	state jetstream.StreamState
	// consumers are the durable ones, as they were just after.
	consumers map[string]*jetstream.ConsumerInfo
	// refused are the peers that have refused something of what it holds.
	refused map[federation.SiteID]bool
}

// lanes is the state of the consumers for a peer, none where it is not admitted yet; before
// there were lanes there was one for all severities.
func (o outgoing) lanes(peer federation.SiteID) (found []*jetstream.ConsumerInfo) {
	for _, lane := range subject.AlertConsumers(peer) {
		if c := o.consumers[lane.Consumer]; c != nil {
			found = append(found, c)
		}
	}
	return found
}

func (l ledger) readStream(ctx context.Context) (outgoing, error) {
	s, err := l.bus.JetStream().Stream(ctx, subject.AlertStream(l.bus.Site().ID))
	if err != nil {
		return outgoing{}, unavailable(err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject.AllAlerts))
	if err != nil {
		return outgoing{}, unavailable(err)
	}
	consumers, err := stream.Consumers(ctx, s)
	if err != nil {
		return outgoing{}, unavailable(err)
	}
	refused, err := l.store.Refusing(ctx, info.State.FirstSeq, info.State.LastSeq)
	return outgoing{s, info.Created, info.State, consumers, refused}, err
}

// unavailable is the fault of this site's own JetStream, without which nothing can be said.
func unavailable(err error) error {
	return fault.New(fault.Unavailable, "the stream of shared alerts cannot be read: %v", err)
}

// lanes is the state of the consumers that origin, a peer, keeps for this site, none where it
// has not admitted it yet; an origin that knows no lanes keeps one for all
// severities. It needs no right but to read these consumers.
func (l ledger) lanes(ctx context.Context, origin federation.SiteID) ([]*jetstream.ConsumerInfo, error) {
	js, err := l.bus.JetStreamOf(origin)
	if err != nil {
		return nil, err
	}
	var found []*jetstream.ConsumerInfo
	for _, lane := range subject.AlertConsumers(l.bus.Site().ID) {
		c, err := js.Consumer(ctx, subject.AlertStream(origin), lane.Consumer)
		switch {
		case errors.Is(err, jetstream.ErrConsumerNotFound):
		case err != nil:
			return nil, err
		default:
			found = append(found, c.CachedInfo())
		}
	}
	return found, nil
}

// admitted is every filter of the lanes, each once.
func admitted(lanes []*jetstream.ConsumerInfo) []string {
	var all []string
	for _, c := range lanes {
		all = append(all, stream.Filter(c.Config)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// toward is how far this site's alerts have come at a peer, by the way that they go.
func (l ledger) toward(ctx context.Context, relays store.Relays, out outgoing, found map[store.Way]federation.Reconciliation, peer federation.SiteID) (federation.Delivery, error) {
	if _, relayed := relays.To[peer]; relayed {
		return l.passed(ctx, relays.Hub, peer, found)
	}
	return l.outbound(ctx, out, peer)
}

// outbound is what this site has for a peer. The stream was read before the
// consumer, so an alert shared in between counts as pending and not as stored. A
// refusal counts as stored until its message is noted, some milliseconds.
func (l ledger) outbound(ctx context.Context, out outgoing, peer federation.SiteID) (federation.Delivery, error) {
	d := federation.Delivery{Peer: peer, Direction: federation.Outbound, Reachable: true}
	lanes := out.lanes(peer)
	if len(lanes) == 0 {
		d.Detail = fmt.Sprintf("%s is not admitted yet", peer)
		return d, nil
	}
	setPending(&d, lanes)
	var (
		shared   int
		subjects []string
		filters  = admitted(lanes)
	)
	for held, n := range out.state.Subjects {
		if slices.ContainsFunc(filters, func(f string) bool { return subject.Matches(f, held) }) {
			shared, subjects = shared+int(n), append(subjects, held)
		}
	}
	acknowledged := max(shared-*d.Pending, 0)
	refused := 0
	if out.refused[peer] {
		var err error
		refused, err = l.store.CountRefusals(ctx, peer, store.Held{
			Subjects: subjects, First: out.state.FirstSeq, Last: out.state.LastSeq, Since: out.state.FirstTime,
		})
		if err != nil {
			return d, err
		}
	}
	d.Shared, d.Acknowledged, d.Refused, d.Stored = &shared, &acknowledged, &refused, new(max(acknowledged-refused, 0))
	if *d.Pending == 0 {
		return d, nil
	}
	at, err := oldestPending(ctx, out, lanes)
	if err != nil || at == nil {
		return d, err
	}
	d.OldestPendingAt, d.OldestPendingSeconds = at, new(max(l.now().Sub(*at), 0).Seconds())
	return d, nil
}

// inbound is what a peer has for this site, as far as it can be known, beside the alerts of it that are stored here.
func (l ledger) inbound(ctx context.Context, peer federation.SiteID, stored int) federation.Delivery {
	d := federation.Delivery{Peer: peer, Direction: federation.Inbound, Stored: &stored}
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lanes, err := l.lanes(asked, peer)
	switch {
	case err != nil: // the link is down, which is what the answer is to say
		d.Detail = fmt.Sprintf("%s does not answer", peer)
	case len(lanes) == 0:
		d.Reachable, d.Detail = true, fmt.Sprintf("%s has not admitted this site yet", peer)
	default:
		d.Reachable = true
		setPending(&d, lanes)
	}
	return d
}

// reaches reports whether the JetStream of a site answers.
func (l ledger) reaches(ctx context.Context, site federation.SiteID) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reached, err := l.bus.Reaches(ctx, site)
	return err == nil && reached
}

func setPending(d *federation.Delivery, lanes []*jetstream.ConsumerInfo) {
	d.Pending, d.Redelivered = new(int), new(int)
	for _, c := range lanes {
		*d.Pending += int(c.NumPending) + c.NumAckPending
		*d.Redelivered += c.NumRedelivered
	}
}

// oldestPending is when the first alert after the acknowledgement floor of its lane
// came into the stream. The floor stops before the first alert that is not
// acknowledged, so that one is pending. Nil: it was acknowledged a moment ago.
func oldestPending(ctx context.Context, out outgoing, lanes []*jetstream.ConsumerInfo) (*time.Time, error) {
	var first *jetstream.RawStreamMsg
	for _, c := range lanes {
		for _, f := range stream.Filter(c.Config) {
			msg, err := out.GetMsg(ctx, c.AckFloor.Stream+1, jetstream.WithGetMsgSubject(f))
			switch {
			case errors.Is(err, jetstream.ErrMsgNotFound):
			case err != nil:
				return nil, unavailable(err)
			case first == nil || msg.Sequence < first.Sequence:
				first = msg
			}
		}
	}
	if first == nil {
		return nil, nil
	}
	return new(first.Time.UTC()), nil
}
