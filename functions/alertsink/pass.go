package alertsink

import (
	"context"
	"slices"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// signed is an alert as it comes: with the proof of its origin.
type signed = function.Signed[federation.SharedAlert]

// directed refuses a batch in which from has passed on what it may not: it is no hub, or
// the origin has not given it leave. It is not believed then what the alerts say.
func (s sink) directed(ctx context.Context, from federation.SiteID, all []signed) error {
	own := s.bus.Site().ID
	foreign := func(m signed) bool { return m.Proof.Site != from && m.Proof.Site != own }
	first := slices.IndexFunc(all, foreign)
	if first < 0 {
		return nil
	}
	sites, _, err := s.store.Sites(ctx, own, 0, 0)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(sites, func(s federation.Site) bool { return s.ID == from && s.Tier == federation.Primary }) {
		return &identity.Refusal{Reason: identity.Misdirected, Site: string(all[first].Proof.Site)}
	}
	for _, m := range all {
		// What is resent to this site alone is for it whatever else holds.
		if _, alone, _ := subject.PassedOn(m.Proof.Subject); foreign(m) && alone == "" && !m.Said.Relay.Admits(from, own) {
			return &identity.Refusal{Reason: identity.Misdirected, Site: string(m.Proof.Site)}
		}
	}
	return nil
}

// passing is what this site, as their hub, passes on for its peers. The database says for
// whom, not the settings: while these change, one process may have others than the next.
type passing struct {
	hub   federation.SiteID // empty where this site is none
	peers []federation.SiteID
	isNew map[int]bool // see [sink.anew]
}

func (s sink) passing(peers []federation.SiteID) passing {
	me := s.bus.Site()
	if me.Tier != federation.Primary {
		return passing{}
	}
	return passing{hub: me.ID, peers: peers}
}

// on is the messages in which what came of an origin is passed on: what has arrived here,
// what only the gate of this site keeps out, and what was sent again for one peer. What was
// here before was passed on then.
func (p passing) on(from federation.SiteID, all []signed, arrived []store.Arrived) (out []store.Outgoing) {
	if p.hub == "" {
		return nil
	}
	came := make(map[string]int, len(arrived)) // the version, by dedup hash
	for _, a := range arrived {
		came[a.Alert.DedupHash] = a.Alert.Version
	}
	for i, m := range all {
		a := m.Said
		if m.Proof.Site != from || a.OriginSite != from || len(p.peers) == 0 && a.Retraction == nil {
			continue
		}
		_, alone, _ := subject.PassedOn(m.Proof.Subject)
		if p.isNew[i] || alone != "" || a.Retraction != nil || came[federation.ReplayHash(a.OriginSite, a.OriginID)] == max(a.AlertVersion, 1) {
			out = append(out, p.messages(m)...)
		}
	}
	return out
}

// messages are those in which an alert is passed on as its origin has signed it: to all
// for whom this site passes, to those whom the origin does not except, or to the one that
// asked for it. What the origin has taken back is withdrawn in any case.
func (p passing) messages(m signed) (out []store.Outgoing) {
	a := m.Said
	severity, alone, ok := subject.PassedOn(m.Proof.Subject)
	if !ok {
		return nil
	}
	message := func(subj string, to federation.SiteID, again string) store.Outgoing {
		version := max(a.AlertVersion, 1)
		return store.Outgoing{
			Subject: subj, MsgID: federation.PassedMsgID(p.hub, a.OriginSite, a.OriginID, version, to, again), Priority: severity.Rank(),
			AlertID: federation.PassedAlertID(a.OriginSite, a.OriginID), Version: version, Peer: to, Withdraws: a.Retraction != nil,
			Payload: m.Payload, Proof: m.Kept(),
		}
	}
	switch {
	case !slices.Contains(p.peers, a.OriginSite):
	case alone != "":
		if slices.Contains(p.peers, alone) {
			out = append(out, message(subject.AlertTo(severity, alone), alone, m.ID()))
		}
	case a.Relay != nil && len(a.Relay.Except) == 0:
		out = append(out, message(subject.AlertFrom(severity, a.OriginSite), "", ""))
	default:
		for _, to := range p.peers {
			if to != a.OriginSite && a.Relay.Admits(p.hub, to) {
				out = append(out, message(subject.AlertTo(severity, to), to, ""))
			}
		}
	}
	if len(out) == 0 && a.Retraction != nil {
		out = append(out, message("", "", ""))
	}
	return out
}

// anew reports of the alerts that the gate refuses, by index, which have not been
// refused, nor taken in, before: those are passed on already.
func (s sink) anew(ctx context.Context, all []signed, refused function.Refused, p passing) (map[int]bool, error) {
	if len(p.peers) == 0 {
		return nil, nil
	}
	ids := map[federation.SiteID][]string{}
	for i := range refused {
		a := all[i].Said
		ids[a.OriginSite] = append(ids[a.OriginSite], a.OriginID)
	}
	isNew := map[int]bool{}
	for origin, some := range ids {
		known, err := s.store.Receptions(ctx, origin, some)
		if err != nil {
			return nil, err
		}
		for i := range refused {
			if a := all[i].Said; a.OriginSite == origin {
				isNew[i] = known[a.OriginID].Version < max(a.AlertVersion, 1)
			}
		}
	}
	return isNew, nil
}
