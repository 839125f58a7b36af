package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// together is how many alerts are sent again in one transaction.
const together = 100

// behind puts what is sent again after all that is new, worst severity first.
const behind = -10

// asker is the peer that asks. It stands in the subject, which the peer's NATS
// permissions can limit, and not in what it says of itself.
func (r reconciler) asker(ctx context.Context) (federation.SiteID, error) {
	peer := subject.ReconcilePeer(function.SubjectOf(ctx))
	peers, err := r.store.Peers(ctx, r.bus.Site().ID)
	if err != nil {
		return "", err
	}
	if !slices.Contains(peers, peer) {
		return "", fault.New(fault.NotFound, "%s does not know the site %q", r.bus.Site().ID, peer)
	}
	return peer, nil
}

// asking is the peer that asks, and what leaves this site for it.
type asking struct {
	peer federation.SiteID
	gate federation.Gate
	// takers are who pull it here: the peer, the hub that passes it on to the peer, or
	// while that begins both.
	takers []federation.SiteID
	// relayed says that the hub passes on to it.
	relayed bool
}

// asked is who asks.
func (r reconciler) asked(ctx context.Context) (asking, error) {
	peer, err := r.asker(ctx)
	if err != nil {
		return asking{}, err
	}
	gates, err := r.store.Gates(ctx, r.bus.Site().ID, federation.Outbound, r.Gate)
	if err != nil {
		return asking{}, err
	}
	who := asking{peer: peer, gate: gates.For(peer), takers: []federation.SiteID{peer}}
	relays, err := r.store.Relays(ctx, r.bus.Site())
	to, relayed := relays.To[peer]
	who.relayed = relayed && !gates.Own(peer) // a gate that was set just now ends it
	switch {
	case who.relayed && to.Direct:
		who.takers = append(who.takers, relays.Hub)
	case who.relayed:
		who.takers = []federation.SiteID{relays.Hub}
	}
	return who, err
}

func (r reconciler) digest(ctx context.Context, q ask.DigestQuestion) (ask.DigestAnswer, error) {
	who, err := r.asked(ctx)
	if err != nil {
		return ask.DigestAnswer{}, err
	}
	from, until := later(q.From, r.oldest()), q.Until
	if settled := r.now().UTC().Add(-settle); until.After(settled) {
		until = settled // the newest are under way, whatever the clock of the peer says
	}
	answer, shared := ask.DigestAnswer{From: from, Until: until}, federation.Digests{}
	err = r.store.EachShared(ctx, federation.Span{After: federation.Mark{At: from}, Until: until}, 0, func(a federation.Alert) {
		if who.gate.Admits(a).Admitted {
			shared.Add(a.Held())
			if !a.Withheld() {
				answer.Compared++
			}
		}
	})
	if err != nil {
		return ask.DigestAnswer{}, err
	}
	first := federation.HourOf(from)
	for _, hour := range shared.Differ(q.Digests) {
		if hour >= first {
			answer.Hours = append(answer.Hours, hour)
		}
	}
	return answer, nil
}

func (r reconciler) compare(ctx context.Context, q ask.CompareQuestion) (ask.CompareAnswer, error) {
	who, err := r.asked(ctx)
	if err != nil {
		return ask.CompareAnswer{}, err
	}
	if oldest := r.oldest(); q.Span.After.At.Before(oldest) {
		q.Span.After = federation.Mark{At: oldest}
	}
	var (
		page       federation.HeldPage
		last       federation.Mark
		read       int
		severities = map[string]federation.Severity{} // under which they are in the stream
	)
	err = r.store.EachShared(ctx, q.Span, ask.MaxHeld, func(a federation.Alert) {
		read, last = read+1, a.Held().Mark()
		if who.gate.Admits(a).Admitted {
			page.Held = append(page.Held, a.Held())
			severities[a.ID] = a.SharedSeverity
		}
	})
	if err != nil {
		return ask.CompareAnswer{}, err
	}
	if read == ask.MaxHeld {
		page.Upto = &last
	}
	d := federation.Compare(page, q.Page)
	answer := ask.CompareAnswer{Extra: d.Extra, Upto: d.Upto}
	answer.Missing, err = r.lost(ctx, who, d.Missing, severities)
	answer.Pending = len(d.Missing) - len(answer.Missing)
	return answer, err
}

// lost is what of the missing is not on its way to a peer: neither in the outbox nor
// in the stream beyond what the peer, or the hub for it, has acknowledged.
func (r reconciler) lost(ctx context.Context, who asking, missing []federation.Held, severities map[string]federation.Severity) ([]federation.Held, error) {
	if len(missing) == 0 {
		return nil, nil
	}
	ids := make([]string, len(missing))
	for i, h := range missing {
		ids[i] = h.ID
	}
	forms := []federation.SiteID{who.peer}
	if !who.gate.OwnCopy() {
		forms = append(forms, "")
	}
	sharings, err := r.store.Sharings(ctx, ids, forms...)
	if err != nil {
		return nil, err
	}
	kept, err := r.kept(ctx, who.takers)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(missing, func(h federation.Held) bool {
		s := sharings[h.ID]
		return s.Waiting || s.Version >= h.Version && kept.holds(s, severities[h.ID])
	}), nil
}

// kept is what this site's stream of shared alerts holds, and up to where all who take
// it for a peer have it, in the lanes of each severity.
type kept struct {
	made         time.Time
	first, last  uint64
	acknowledged map[federation.Severity]uint64
}

// holds reports whether a version is in the stream and the peer has not acknowledged it.
func (k kept) holds(s store.Sharing, severity federation.Severity) bool {
	return s.Sequence > k.acknowledged[severity] && s.In(k.made, k.first, k.last)
}

// kept reads the stream and then the consumers, after the alerts were asked for, so
// that what is acknowledged meanwhile does not pass for being on its way.
func (r reconciler) kept(ctx context.Context, takers []federation.SiteID) (kept, error) {
	s, err := r.bus.JetStream().Stream(ctx, subject.AlertStream(r.bus.Site().ID))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return kept{}, nil
	}
	if err != nil {
		return kept{}, unreadable(err)
	}
	info := s.CachedInfo()
	k := kept{made: info.Created, first: info.State.FirstSeq, last: info.State.LastSeq, acknowledged: map[federation.Severity]uint64{}}
	for _, severity := range federation.Severities() {
		k.acknowledged[severity] = math.MaxUint64
	}
	for _, taker := range takers {
		for _, lane := range subject.AlertConsumers(taker) {
			upto := uint64(0) // one that is not there will begin at the start of the stream
			c, err := s.Consumer(ctx, lane.Consumer)
			switch {
			case err == nil:
				upto = acknowledged(c.CachedInfo())
			case !errors.Is(err, jetstream.ErrConsumerNotFound):
				return kept{}, unreadable(err)
			}
			for _, severity := range lane.Severities {
				k.acknowledged[severity] = min(k.acknowledged[severity], upto)
			}
		}
	}
	return k, nil
}

// acknowledged is up to where everything for a consumer is acknowledged. The floor
// itself stays where the last message for it was.
func acknowledged(c *jetstream.ConsumerInfo) uint64 {
	if c.NumPending == 0 && c.NumAckPending == 0 {
		return math.MaxUint64
	}
	return c.AckFloor.Stream
}

func unreadable(err error) error {
	return fault.New(fault.Unavailable, "the stream of shared alerts cannot be read: %v", err)
}

func (r reconciler) resend(ctx context.Context, q ask.AlertIDs) (ask.Resent, error) {
	who, err := r.asked(ctx)
	if err != nil {
		return ask.Resent{}, err
	}
	var answer ask.Resent
	at := r.now()
	for ids := range slices.Chunk(q.IDs, together) {
		n, err := r.store.Resend(ctx, who.peer, ids, at, func(a federation.Alert) (store.Outgoing, bool, error) { return r.again(who, a, at) })
		if err != nil {
			return ask.Resent{}, err
		}
		r.resent.WithLabelValues(string(who.peer)).Add(float64(n))
		answer.Resent += n
	}
	if answer.Resent == 0 {
		return answer, nil
	}
	return answer, r.bus.Nudge("alertrelay")
}

// again is the message that sends an alert to one peer once more, and whether the
// gate lets it: a peer may ask for whatever it likes.
func (r reconciler) again(who asking, a federation.Alert, at time.Time) (store.Outgoing, bool, error) {
	if a.SharedSeverity == "" || a.CreatedAt.Before(r.oldest()) || !who.gate.Admits(a).Admitted {
		return store.Outgoing{}, false, nil
	}
	site := r.bus.Site()
	a.IOCs = who.gate.Strip(a.IOCs)
	payload, err := json.Marshal(federation.Share(a, site))
	if err != nil {
		return store.Outgoing{}, false, fmt.Errorf("encoding a shared alert: %w", err)
	}
	subj := subject.AlertTo(a.SharedSeverity, who.peer)
	if who.relayed {
		subj = subject.AlertVia(a.SharedSeverity, who.peer)
	}
	return store.Outgoing{
		Subject: subj, MsgID: federation.ResentMsgID(site.ID, a.ID, a.Version, who.peer, at),
		Priority: a.SharedSeverity.Rank() + behind, AlertID: a.ID, Version: a.Version, Peer: who.peer, Payload: payload,
	}, true, nil
}

func (r reconciler) conclude(ctx context.Context, found federation.Reconciliation) (ask.None, error) {
	peer, err := r.asker(ctx)
	if err != nil {
		return ask.None{}, err
	}
	found.At = r.now().UTC() // two clocks need not agree
	if found.Until.After(found.At) {
		found.Until = found.At
	}
	if found.Lost+found.Pending+found.Refused == 0 { // what was refused came in since, by a retry
		if err := r.store.ForgetRefusals(ctx, peer, found.From, found.Until); err != nil {
			return ask.None{}, err
		}
	}
	return ask.None{}, r.store.RecordReconciliation(ctx, peer, federation.Outbound, found)
}

// held tells an origin how far this site has some alerts of it.
func (r reconciler) held(ctx context.Context, q ask.AlertIDs) (ask.Receptions, error) {
	origin, err := r.asker(ctx)
	if err != nil {
		return ask.Receptions{}, err
	}
	found, err := r.store.Receptions(ctx, origin, q.IDs)
	answer := ask.Receptions{Items: make([]ask.Reception, 0, len(found))}
	for id, f := range found {
		answer.Items = append(answer.Items, ask.Reception{ID: id, Version: f.Version, Refused: f.Refused, Reason: f.Reason})
	}
	return answer, err
}
