package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// reachable opens the connection that the other checks use.
func reachable(ctx context.Context, p *patient) []Finding {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	opts := append(slices.Clone(p.NATS), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case p.forbidden <- err:
		default: // enough is known
		}
	}), nats.PermissionErrOnSubscribe(true))
	bus, err := function.Connect(ctx, p.Settings.Identity(p.Version), "doctor", p.Settings.NATSURL, slog.New(slog.DiscardHandler), opts...)
	url := settings.Redact(p.Settings.NATSURL)
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return found("the NATS server at "+url+" does not let the functions in: "+settings.Redact(err.Error()),
			"Give them credentials that hold: NATS_CREDS, or a user and password in NATS_URL.")
	case err != nil:
		return found("no NATS server answers at "+url+": "+settings.Redact(err.Error()),
			"Start it (nats-server -c infra/nats/…), or set NATS_URL to where it listens.")
	}
	p.bus = bus
	return nil
}

func jetStream(ctx context.Context, p *patient) []Finding {
	if _, err := p.bus.JetStream().AccountInfo(ctx); err != nil {
		return found("JetStream does not answer: "+err.Error(),
			"Enable it in the configuration of the NATS server (jetstream { … }, and jetstream: enabled in the account), and look whether its disk is full.")
	}
	return nil
}

// domain looks for a JetStream domain that is not the site's, such as that of a peer.
func domain(ctx context.Context, p *patient) []Finding {
	info, err := p.bus.JetStream().AccountInfo(ctx)
	if err != nil {
		return found("JetStream does not tell its domain: "+err.Error(), "Look at the log of the NATS server.")
	}
	want := subject.Domain(p.bus.Site().ID)
	if info.Domain == want {
		return nil
	}
	return found(fmt.Sprintf("the NATS server has the JetStream domain %q, where that of this site is %q: its streams are another site's", info.Domain, want),
		"Set domain: "+want+" in the jetstream block of this site's NATS server; every site has its own.")
}

// gather asks a question that many may answer, and waits until no more do.
func gather(ctx context.Context, nc *nats.Conn, subj string, payload []byte) ([]*nats.Msg, error) {
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest(subj, inbox, payload); err != nil {
		return nil, err
	}
	var all []*nats.Msg
	for wait := 2 * time.Second; ctx.Err() == nil; wait = 400 * time.Millisecond { // the others are about as quick as the first
		msg, err := sub.NextMsg(wait)
		if err != nil {
			break
		}
		if len(msg.Data) > 0 { // an empty one says that nobody is there
			all = append(all, msg)
		}
	}
	return all, nil
}

// permissions tries the subjects that every function needs. The server tells on the
// side what it refuses.
func permissions(_ context.Context, p *patient) []Finding {
	site, nc := p.bus.Site().ID, p.bus.Conn()
	for _, subj := range []string{subject.Function(site, "doctor", "check"), subject.Events(site), subject.AllHealth, subject.Echo(site)} {
		if _, err := nc.SubscribeSync(subj); err != nil { // it ends with the connection
			return found("nothing can be subscribed to: "+err.Error(), "Look at the log of the NATS server.")
		}
	}
	for _, subj := range []string{subject.Function(site, "doctor", "check"), subject.Nudge(site, "doctor"), "$SRV.PING.doctor", "$JS.API.INFO"} {
		if err := nc.Publish(subj, nil); err != nil {
			return found("nothing can be published: "+err.Error(), "Look at the log of the NATS server.")
		}
	}
	if err := nc.FlushTimeout(3 * time.Second); err != nil {
		return found("the NATS server does not answer: "+err.Error(), "Look at its log.")
	}
	var refused []Finding
	for {
		select {
		case err := <-p.forbidden:
			if errors.Is(err, nats.ErrPermissionViolation) {
				refused = append(refused, Finding{"the NATS server refuses what functions need: " + strings.TrimPrefix(err.Error(), "nats: "),
					"Give the user of this site's functions the permissions of infra/nats, or none at all, in the account of the site."})
			}
			continue
		case <-time.After(200 * time.Millisecond): // the refusals came with the flush; their handler runs beside
		}
		return refused
	}
}

// maxSkew is how far two clocks may differ before what is compared by them is wrong.
const maxSkew = 5 * time.Second

func clock(ctx context.Context, p *patient) []Finding {
	begun := p.Now()
	msg, err := p.bus.Conn().RequestWithContext(ctx, "$JS.API.STREAM.INFO."+subject.EventStream(p.bus.Site().ID), nil)
	ended := p.Now()
	if err != nil {
		return nil // without its answer there is nothing to compare; jetstream says so
	}
	var answer struct {
		At time.Time `json:"ts"`
	}
	if json.Unmarshal(msg.Data, &answer) != nil || answer.At.IsZero() {
		return nil // no stream yet: nothing has run here
	}
	skew := begun.Add(ended.Sub(begun) / 2).Sub(answer.At)
	if skew.Abs() <= maxSkew+ended.Sub(begun) {
		return nil
	}
	return found(fmt.Sprintf("the clock of this machine is %s that of the NATS server", apart(skew)), "Set both by NTP: ages, ticks and the comparison of sites go by them.")
}

// apart says how far one clock is from another.
func apart(d time.Duration) string {
	if d < 0 {
		return d.Abs().Round(time.Second/10).String() + " behind"
	}
	return d.Round(time.Second/10).String() + " ahead of"
}

// siteID looks for a site whose functions run at more than one NATS server, this site's
// or a peer's: two sites have one id. Any site of the mesh can see it of any other.
func siteID(ctx context.Context, p *patient) []Finding {
	pongs, err := gather(ctx, p.bus.Conn(), "$SRV.PING", nil)
	if err != nil {
		return nil // functions tells it
	}
	site := string(p.bus.Site().ID)
	servers := map[string][]string{site: {function.Where(p.bus.Conn())}}
	for _, msg := range pongs {
		var pong micro.Ping
		if json.Unmarshal(msg.Data, &pong) != nil {
			continue
		}
		of, at := pong.Metadata["site"], pong.Metadata["server"]
		if of != "" && at != "" && !slices.Contains(servers[of], at) {
			servers[of] = append(servers[of], at)
		}
	}
	var wrong []Finding
	for _, of := range slices.Sorted(maps.Keys(servers)) {
		at := servers[of]
		if len(at) == 1 {
			continue
		}
		what := fmt.Sprintf("functions of a site %s also run at the NATS server %s, which is not this site's (%s)", of, list(slices.Sorted(slices.Values(at[1:]))), at[0])
		if of != site {
			what = fmt.Sprintf("functions of a site %s run at the NATS servers %s", of, list(slices.Sorted(slices.Values(at))))
		}
		wrong = append(wrong, Finding{what, "Two sites have one id: give one of them another FEDERATION_SITE_ID, and its NATS server the JetStream domain of that name."})
	}
	return wrong
}

// streams looks whether the streams of the site are there and capture what they should.
func streams(ctx context.Context, p *patient) []Finding {
	site := p.bus.Site().ID
	want := []jetstream.StreamConfig{stream.Alerts(site, stream.Above(p.Settings.Backlog())), stream.Events(site), stream.Ticks(site)}
	if p.Settings.Enabled {
		want = append(want, stream.DeadLetters(site), stream.Refusals(site))
	}
	var wrong []Finding
	missing := 0
	for _, w := range want {
		s, err := p.bus.JetStream().Stream(ctx, w.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			missing++
			wrong = append(wrong, Finding{"the stream " + w.Name + " is missing", "Its functions make it as they start: auroramesh run. With them running, look at their log for what JetStream refuses."})
			continue
		case err != nil:
			wrong = append(wrong, Finding{"the stream " + w.Name + " cannot be read: " + err.Error(), "Look at the log of the NATS server."})
			continue
		}
		if have := s.CachedInfo().Config; !slices.Equal(have.Subjects, w.Subjects) || have.MaxAge != w.MaxAge || have.MaxBytes != w.MaxBytes || have.MaxMsgs != w.MaxMsgs {
			wrong = append(wrong, Finding{fmt.Sprintf("the stream %s captures %s, and keeps %d messages, %d bytes, %s; by the settings it is %s, %d, %d, %s", w.Name,
				list(have.Subjects), have.MaxMsgs, have.MaxBytes, have.MaxAge, list(w.Subjects), w.MaxMsgs, w.MaxBytes, w.MaxAge),
				"Restart a function of this version, which sets it right; and give every process of the site the same settings."})
		}
		if have := s.CachedInfo().Config.Replicas; p.Settings.Replicas != 0 && have != p.Settings.Replicas {
			wrong = append(wrong, Finding{fmt.Sprintf("the stream %s has %d replicas, by the settings %d", w.Name, have, p.Settings.Replicas),
				"Look at the log of its functions for why the server does not change it: a cluster needs as many servers. With enough of them, restart a function."})
		}
	}
	if missing == len(want) {
		return found(fmt.Sprintf("none of the %d streams of the site is there", missing), "Its functions make them as they start: auroramesh run. With them running, look at their log for what JetStream refuses.")
	}
	return wrong
}

// consumers looks whether each peer that pulls here has its lanes in the stream of shared alerts.
func consumers(ctx context.Context, p *patient) []Finding {
	if !p.Settings.Enabled {
		return nil
	}
	peers, err := p.store.Peers(ctx, p.bus.Site().ID)
	if err != nil {
		return found("the peers cannot be read: "+err.Error(), "Look at the database.")
	}
	relayed, err := p.store.RelayedPeers(ctx)
	if err != nil {
		return found("the peers cannot be read: "+err.Error(), "Look at the database.")
	}
	var wrong []Finding
	for _, peer := range peers {
		if to, byHub := relayed[peer]; byHub && !to.Direct {
			continue // the hub passes alerts on to it
		}
		for _, lane := range subject.AlertConsumers(peer) {
			_, err := p.bus.JetStream().Consumer(ctx, subject.AlertStream(p.bus.Site().ID), lane.Consumer)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				wrong = append(wrong, Finding{fmt.Sprintf("%s has no consumer %s, so it gets none of these alerts", peer, lane.Consumer), "Start peeradmit, which makes it within 15 s: auroramesh run peeradmit."})
			}
		}
	}
	return wrong
}

// leafnode looks whether the NATS servers of the peers can be reached.
func leafnode(ctx context.Context, p *patient) []Finding {
	if !p.Settings.Enabled {
		return nil
	}
	const mend = "Look at the log of the NATS server for its leafnode: whether the primary listens (port 7422), whether its certificate and user are taken, and what lies between. auroramesh topology has the cause."
	peers, err := p.store.Peers(ctx, p.bus.Site().ID)
	if err != nil {
		return found("the peers cannot be read: "+err.Error(), "Look at the database.")
	}
	links, err := p.store.Links(ctx)
	if err != nil {
		return found("the links cannot be read: "+err.Error(), "Look at the database.")
	}
	refused := map[federation.SiteID]bool{}
	for _, l := range links {
		refused[l.Peer(p.bus.Site().ID)] = l.Cause == federation.AuthRefused
	}
	if len(peers) == 0 && p.Settings.SiteTier == "secondary" {
		return found("no peer has ever been heard", mend)
	}
	var wrong []Finding
	for _, peer := range peers {
		look, cancel := context.WithTimeout(ctx, 2*time.Second)
		reached, err := p.bus.Reaches(look, peer)
		cancel()
		switch {
		case err != nil:
			wrong = append(wrong, Finding{fmt.Sprintf("the NATS server of %s does not answer: %v", peer, err), mend})
		case !reached && answers(ctx, p, peer):
			wrong = append(wrong, Finding{fmt.Sprintf("%s answers echoes, but nobody there has the JetStream domain %q: no alert of it can be pulled", peer, subject.Domain(peer)),
				fmt.Sprintf("At %s set domain: %s in the jetstream block of the NATS server; auroramesh doctor there says which it has.", peer, subject.Domain(peer))})
		case !reached && refused[peer]:
			wrong = append(wrong, Finding{fmt.Sprintf("the NATS server of %s cannot be reached: the hub refuses its certificate", peer),
				fmt.Sprintf("Where it is not revoked on purpose: auroramesh site list says which certificate of it holds, auroramesh site enrol %s lets a revoked one in again.", peer)})
		case !reached:
			wrong = append(wrong, Finding{fmt.Sprintf("the NATS server of %s cannot be reached: the leafnode is down", peer), mend})
		}
	}
	return wrong
}

// answers reports whether a peer answers an echo.
func answers(ctx context.Context, p *patient, peer federation.SiteID) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := function.Ask(ctx, p.bus, peer, ask.Echo, ask.None{})
	return err == nil
}
