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
			function.On(subject.Event(site, federation.SiteSeen), r.seen, function.Named("seen"), function.Timeout(longest), function.CutShort()),
			function.On(subject.Event(site, federation.LinkTransition), r.healed, function.Named("healed"), function.Timeout(longest), function.CutShort()),
			function.Reply(ask.ReconcileDigest(ask.AnyPeer), r.digest),
			function.Reply(ask.ReconcileCompare(ask.AnyPeer), r.compare),
			function.Reply(ask.ReconcileResend(ask.AnyPeer), r.resend),
			function.Reply(ask.ReconcileConclude(ask.AnyPeer), r.conclude),
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

func (r reconciler) seen(ctx context.Context, e federation.Event) error {
	return r.with(ctx, e.SiteID, r.oldest())
}

func (r reconciler) healed(ctx context.Context, e federation.Event) error {
	if e.Transition == nil || e.Transition.To != string(federation.Healthy) {
		return nil
	}
	links, err := r.store.Links(ctx)
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.ID == e.Transition.ID {
			return r.with(ctx, l.Peer(r.bus.Site().ID), r.oldest())
		}
	}
	return nil // its site was just removed
}

func (r reconciler) compareAll(ctx context.Context) error {
	if err := r.store.ForgetResends(ctx, r.oldest()); err != nil {
		return err
	}
	oldest := r.oldest()
	return r.withEach(ctx, func(federation.SiteID) time.Time { return oldest })
}

// compareRecent looks at the last hours. Where something was missing at the last
// look it looks as far back as that one, until nothing is.
func (r reconciler) compareRecent(ctx context.Context) error {
	last, err := r.store.Reconciliations(ctx)
	if err != nil {
		return err
	}
	from, oldest := r.now().UTC().Add(-recent), r.oldest()
	return r.withEach(ctx, func(origin federation.SiteID) time.Time {
		was, known := last[store.Way{Peer: origin, Direction: federation.Inbound}]
		if known && was.Lost+was.Pending > 0 && was.From.Before(from) {
			return later(was.From, oldest)
		}
		return later(from, oldest)
	})
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func (r reconciler) withEach(ctx context.Context, from func(federation.SiteID) time.Time) error {
	peers, err := r.store.Peers(ctx, r.bus.Site().ID)
	if err != nil {
		return err
	}
	var failed []error
	for _, p := range peers {
		failed = append(failed, r.with(ctx, p, from(p)))
	}
	return errors.Join(failed...)
}

// with compares with one origin. One that is not there, or does not know this site
// yet, is no failure, and nor is being stopped: another look comes.
func (r reconciler) with(ctx context.Context, origin federation.SiteID, from time.Time) error {
	look, cancel := context.WithTimeout(ctx, knock)
	reached, err := r.bus.Reaches(look, origin)
	cancel()
	if !reached {
		r.log.DebugContext(ctx, "a peer cannot be reached, so nothing is compared", "peer", origin, "error", err)
		return nil
	}
	err = r.pass(ctx, origin, from)
	if errors.Is(err, context.Canceled) || fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout) || fault.Is(err, fault.NotFound) {
		r.log.DebugContext(ctx, "a peer does not compare now", "peer", origin, "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("comparing with %s: %w", origin, err)
	}
	return nil
}

func (r reconciler) pass(ctx context.Context, origin federation.SiteID, from time.Time) error {
	own, until := r.bus.Site().ID, r.now().UTC().Add(-settle)
	mine, found, err := r.mine(ctx, origin, from, until)
	if err != nil {
		return err
	}
	answer, err := put(ctx, r, origin, ask.ReconcileDigest(own), ask.DigestQuestion{From: from, Until: until, Digests: mine})
	if err != nil {
		return err
	}
	found.From, found.Compared = later(from, answer.From), answer.Compared
	for _, hour := range answer.Hours {
		if err := r.hour(ctx, origin, federation.HourSpan(hour, found.From, until), &found); err != nil {
			return err
		}
	}
	found.At = r.now().UTC()
	if found.Lost > 0 {
		r.log.WarnContext(ctx, "alerts of a peer were missing here", "peer", origin, "lost", found.Lost, "sent_again", found.Resent)
	}
	if err := r.store.RecordReconciliation(ctx, origin, federation.Inbound, found); err != nil {
		return err
	}
	_, err = put(ctx, r, origin, ask.ReconcileConclude(own), found)
	return err
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
func (r reconciler) hour(ctx context.Context, origin federation.SiteID, span federation.Span, found *federation.Reconciliation) error {
	own := r.bus.Site().ID
	for {
		var page federation.HeldPage
		if err := r.store.EachReceived(ctx, origin, span, ask.MaxHeld, func(h federation.Held) { page.Held = append(page.Held, h) }); err != nil {
			return err
		}
		if n := len(page.Held); n == ask.MaxHeld {
			page.Upto = new(page.Held[n-1].Mark())
		}
		answer, err := put(ctx, r, origin, ask.ReconcileCompare(own), ask.CompareQuestion{Span: span, Page: page})
		if err != nil {
			return err
		}
		found.Pending, found.Extra = found.Pending+answer.Pending, found.Extra+answer.Extra
		if err := r.fetch(ctx, origin, answer.Missing, found); err != nil {
			return err
		}
		if answer.Upto == nil {
			return nil
		}
		if answer.Upto.Compare(span.After) <= 0 {
			return fault.New(fault.Invalid, "%s does not get on past %s", origin, span.After.At)
		}
		span.After = *answer.Upto
	}
}

// fetch has sent again what is missing. It looks once more before: some of it may
// have come since the page was read.
func (r reconciler) fetch(ctx context.Context, origin federation.SiteID, missing []federation.Held, found *federation.Reconciliation) error {
	ids := make([]string, len(missing))
	for i, h := range missing {
		ids[i] = h.ID
	}
	here, err := r.store.ReceivedVersions(ctx, origin, ids)
	if err != nil {
		return err
	}
	ids = ids[:0]
	for _, h := range missing {
		if here[h.ID] < h.Version {
			ids = append(ids, h.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	answer, err := put(ctx, r, origin, ask.ReconcileResend(r.bus.Site().ID), ask.AlertIDs{IDs: ids})
	if err != nil {
		return err
	}
	found.Lost, found.Resent = found.Lost+len(ids), found.Resent+answer.Resent
	return nil
}
