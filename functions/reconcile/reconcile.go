// Package reconcile is the function that proves that nothing was lost. A site
// compares with each peer what the peer has shared with what is stored here of it:
// by digests of the hours first, and where these differ alert by alert. What is
// missing, and is not on its way, the peer sends again the way the first one went.
// What came of it both keep. So is mended what no redelivery can mend: a stream that
// lost what it kept, or let go of it before the site came, which may be new.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	// recent is how far back the frequent comparison looks, and full how often all is compared.
	recent = 2 * time.Hour
	full   = 10 * time.Minute
	// settle leaves out the newest alerts: they are under way.
	settle = 10 * time.Second
	// knock is how long it may take to find out that a peer is there, so that one that
	// is not holds up the others no longer; patience is how long a step may take then.
	knock    = time.Second
	patience = 8 * time.Second
	// longest bounds a comparison with all peers.
	longest = 5 * time.Minute
	// Peers that appear within linger of each other are compared with together, atOnce at most.
	atOnce = 500
	linger = 100 * time.Millisecond
)

// Config says how often and how far back a site compares, and what leaves it.
type Config struct {
	Gate     federation.Gate
	Interval time.Duration
	Backfill time.Duration
}

// New is the function for one site.
func New(c Config, st *store.Store, bus *function.Bus, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) function.Function {
	r := reconciler{Config: c, store: st, bus: bus, log: log, now: now,
		resent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_alerts_resent_total",
			Help: "Alerts that were sent to a peer again, because it had lost them."}, []string{"peer"}),
	}
	reg.MustRegister(r.resent)
	site := bus.Site().ID
	return function.Function{
		Name:        "reconcile",
		Description: "Compares with each peer what it has shared with what is stored here of it, and fetches what is missing.",
		Triggers: []function.Trigger{
			function.Every(c.Interval, r.compareRecent, function.Named("recent"), function.Timeout(longest), function.CutShort()),
			function.Every(full, r.compareAll, function.Named("full"), function.Timeout(longest), function.CutShort()),
			function.OnTogether(subject.Event(site, federation.SiteSeen), r.seen, function.Named("seen"), function.Batch(atOnce, linger), function.Timeout(longest), function.CutShort()),
			function.On(subject.Event(site, federation.LinkTransition), r.healed, function.Named("healed"), function.Timeout(longest), function.CutShort()),
			function.Reply(ask.ReconcileDigest(ask.AnyPeer), r.digest),
			function.Reply(ask.ReconcileCompare(ask.AnyPeer), r.compare),
			function.Reply(ask.ReconcileResend(ask.AnyPeer), r.resend),
			function.Reply(ask.ReconcileConclude(ask.AnyPeer), r.conclude),
			function.Reply(ask.ReconcileHeld(ask.AnyPeer), r.held),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type reconciler struct {
	Config
	store  *store.Store
	bus    *function.Bus
	resent *prometheus.CounterVec
	log    *slog.Logger
	now    func() time.Time
}

// oldest is how far back this site compares.
func (r reconciler) oldest() time.Time {
	return r.now().UTC().Add(-r.Backfill).Truncate(time.Hour)
}

func (r reconciler) seen(ctx context.Context, came []function.Came[federation.Event]) error {
	peers := map[federation.SiteID]bool{}
	for _, c := range came {
		peers[c.Value.SiteID] = true
	}
	return r.withEach(ctx, func(o origin) (time.Time, bool) { return r.oldest(), peers[o.id] })
}

// healed compares where alerts cross the link: those that the hub passes on did not wait for it.
func (r reconciler) healed(ctx context.Context, e federation.Event) error {
	if e.Transition == nil || e.Transition.To != string(federation.Healthy) {
		return nil
	}
	return r.withEach(ctx, func(o origin) (time.Time, bool) { return r.oldest(), o.link == e.Transition.ID && o.hub == "" })
}

func (r reconciler) compareAll(ctx context.Context) error {
	if err := r.store.ForgetResends(ctx, r.oldest()); err != nil {
		return err
	}
	oldest := r.oldest()
	return r.withEach(ctx, func(o origin) (time.Time, bool) { return oldest, o.hub == "" })
}

// compareRecent looks at the last hours. Where something was missing at the last
// look it looks as far back as that one, until nothing is. An origin whose alerts the hub
// passes on has its look when there is something to prove, and its full one in its turn.
func (r reconciler) compareRecent(ctx context.Context) error {
	found, err := r.store.Reconciliations(ctx)
	if err != nil {
		return err
	}
	now, oldest := r.now().UTC(), r.oldest()
	return r.withEach(ctx, func(o origin) (time.Time, bool) {
		last, known := found[store.Way{Peer: o.id, Direction: federation.Inbound}]
		missing := known && last.Lost+last.Pending > 0
		switch {
		case o.hub != "" && (!known || r.turn(o.id, now) != r.turn(o.id, last.At)):
			return oldest, true
		case o.hub != "" && !missing && last.Until.After(o.sharedAt):
			return time.Time{}, false
		case missing && last.From.Before(now.Add(-recent)):
			return later(last.From, oldest), true
		}
		return later(now.Add(-recent), oldest), true
	})
}

// turn numbers the times in which an origin whose alerts the hub passes on is compared in full once.
func (r reconciler) turn(o federation.SiteID, at time.Time) int64 {
	return federation.Turn(at, full, federation.Shift(r.bus.Site().ID, o, full))
}

// origin is a peer whose alerts are compared.
type origin struct {
	id   federation.SiteID
	link string // the id of the link to it
	// hub is the one that passes them on to this site; empty where this site pulls them itself.
	hub federation.SiteID
	// sharedAt is when the newest of them was raised, as it gossips.
	sharedAt time.Time
}

// origins lists the peers, in order.
func (r reconciler) origins(ctx context.Context) ([]origin, error) {
	own := r.bus.Site().ID
	sites, _, err := r.store.Sites(ctx, own, 0, 0)
	if err != nil {
		return nil, err
	}
	relays, err := r.store.Relays(ctx, r.bus.Site())
	if err != nil {
		return nil, err
	}
	var all []origin
	for _, s := range sites {
		if s.ID == own {
			continue
		}
		o := origin{id: s.ID, link: federation.LinkID(own, s.ID), sharedAt: s.SharedAt}
		if relays.From[s.ID] {
			o.hub = relays.Hub
		}
		all = append(all, o)
	}
	return all, nil
}

// withEach compares with each origin of which from says from when on, and that it is to be.
func (r reconciler) withEach(ctx context.Context, from func(origin) (time.Time, bool)) error {
	all, err := r.origins(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, o := range all {
		if at, due := from(o); due {
			failed = append(failed, r.with(ctx, o, at))
		}
	}
	return errors.Join(failed...)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// with compares with one origin. One that is not there, or does not know this site
// yet, is no failure, and nor is being stopped: another look comes.
func (r reconciler) with(ctx context.Context, o origin, from time.Time) error {
	look, cancel := context.WithTimeout(ctx, knock)
	reached, err := r.bus.Reaches(look, o.id)
	cancel()
	if !reached {
		r.log.DebugContext(ctx, "a peer cannot be reached, so nothing is compared", "peer", o.id, "error", err)
		return nil
	}
	err = r.pass(ctx, o, from)
	if errors.Is(err, context.Canceled) || fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout) || fault.Is(err, fault.NotFound) {
		r.log.DebugContext(ctx, "a peer does not compare now", "peer", o.id, "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("comparing with %s: %w", o.id, err)
	}
	return nil
}

func (r reconciler) pass(ctx context.Context, o origin, from time.Time) error {
	own, until := r.bus.Site().ID, r.now().UTC().Add(-settle)
	mine, found, err := r.mine(ctx, o.id, from, until)
	if err != nil {
		return err
	}
	answer, err := put(ctx, r, o.id, ask.ReconcileDigest(own), ask.DigestQuestion{From: from, Until: until, Digests: mine})
	if err != nil {
		return err
	}
	found.From, found.Compared = later(from, answer.From), answer.Compared
	if !answer.Until.IsZero() && answer.Until.Before(until) {
		until, found.Until = answer.Until, answer.Until
	}
	for _, hour := range answer.Hours {
		if err := r.hour(ctx, o, federation.HourSpan(hour, found.From, until), &found); err != nil {
			return err
		}
	}
	found.At = r.now().UTC()
	if found.Lost > 0 {
		r.log.WarnContext(ctx, "alerts of a peer were missing here", "peer", o.id, "lost", found.Lost, "sent_again", found.Resent)
	}
	// The origin first: what it does not hear is compared again.
	if _, err := put(ctx, r, o.id, ask.ReconcileConclude(own), found); err != nil {
		return err
	}
	return r.store.RecordReconciliation(ctx, o.id, federation.Inbound, found)
}

// put asks a step of an origin, for no longer than one may take.
func put[Req, Res any](ctx context.Context, r reconciler, origin federation.SiteID, e function.Endpoint[Req, Res], req Req) (Res, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return function.Ask(ctx, r.bus, origin, e, req)
}

// mine sums up what this site has of an origin, and counts what is there twice and
// what was refused.
func (r reconciler) mine(ctx context.Context, origin federation.SiteID, from, until time.Time) (federation.Digests, federation.Reconciliation, error) {
	digests, found, seen := federation.Digests{}, federation.Reconciliation{Until: until}, map[string]bool{}
	err := r.store.EachReceived(ctx, origin, federation.Span{After: federation.Mark{At: from}, Until: until}, 0, func(h federation.Held) {
		digests.Add(h)
		switch {
		case h.Refused:
			found.Refused++
		case seen[h.ID]:
			found.Duplicated++
		default:
			seen[h.ID] = true
		}
	})
	return digests, found, err
}

// hour compares one hour alert by alert, a page at a time, and has sent again what is missing.
func (r reconciler) hour(ctx context.Context, o origin, span federation.Span, found *federation.Reconciliation) error {
	own := r.bus.Site().ID
	for {
		var page federation.HeldPage
		if err := r.store.EachReceived(ctx, o.id, span, ask.MaxHeld, func(h federation.Held) { page.Held = append(page.Held, h) }); err != nil {
			return err
		}
		if n := len(page.Held); n == ask.MaxHeld {
			page.Upto = new(page.Held[n-1].Mark())
		}
		answer, err := put(ctx, r, o.id, ask.ReconcileCompare(own), ask.CompareQuestion{Span: span, Page: page})
		if err != nil {
			return err
		}
		found.Pending, found.Extra = found.Pending+answer.Pending, found.Extra+answer.Extra
		if err := r.fetch(ctx, o, answer.Missing, found); err != nil {
			return err
		}
		if answer.Upto == nil {
			return nil
		}
		if answer.Upto.Compare(span.After) <= 0 {
			return fault.New(fault.Invalid, "%s does not get on past %s", o.id, span.After.At)
		}
		span.After = *answer.Upto
	}
}

// fetch has sent again what is missing. It looks once more before: some of it may
// have come since the page was read. While the hub that passes them on still has alerts
// for this site, it may have these: the next look tells. So the hub is asked first, for
// what is acknowledged to it is here.
func (r reconciler) fetch(ctx context.Context, o origin, missing []federation.Held, found *federation.Reconciliation) error {
	if len(missing) == 0 {
		return nil
	}
	coming := o.hub != "" && r.waitsAt(ctx, o.hub)
	ids := make([]string, len(missing))
	for i, h := range missing {
		ids[i] = h.ID
	}
	here, err := r.store.Receptions(ctx, o.id, ids)
	if err != nil {
		return err
	}
	ids = ids[:0]
	for _, h := range missing {
		if here[h.ID].Version < h.Version {
			ids = append(ids, h.ID)
		}
	}
	switch {
	case len(ids) == 0:
		return nil
	case coming:
		found.Pending += len(ids)
		return nil
	}
	answer, err := put(ctx, r, o.id, ask.ReconcileResend(r.bus.Site().ID), ask.AlertIDs{IDs: ids})
	if err != nil {
		return err
	}
	found.Lost, found.Resent = found.Lost+len(ids), found.Resent+answer.Resent
	return nil
}

// waitsAt reports whether a hub has alerts for this site that are not acknowledged. One
// that does not answer may: nothing would come by it now.
func (r reconciler) waitsAt(ctx context.Context, hub federation.SiteID) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	js, err := r.bus.JetStreamOf(hub)
	if err != nil {
		return true
	}
	for _, lane := range subject.AlertConsumers(r.bus.Site().ID) {
		c, err := js.Consumer(ctx, subject.AlertStream(hub), lane.Consumer)
		if err != nil || c.CachedInfo().NumPending > 0 || c.CachedInfo().NumAckPending > 0 {
			return true
		}
	}
	return false
}
