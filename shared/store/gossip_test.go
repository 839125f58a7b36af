package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func gossipOf(site federation.SiteID, sent time.Time) federation.Gossip {
	return federation.Gossip{
		Version: federation.GossipVersion, SiteID: site, SiteName: "Peer ü", Tier: federation.Secondary, SoftwareVersion: "0.2.0",
		SentAt: sent, IntervalSeconds: 15, AgentsTotal: 10, AgentsOnline: 9,
	}
}

func record(t *testing.T, s *Store, g federation.Gossip, at time.Time) GossipResult {
	t.Helper()
	return must(recordOne(t.Context(), s, g, at))(t)
}

func recordOne(ctx context.Context, s *Store, g federation.Gossip, at time.Time) (GossipResult, error) {
	results, err := s.RecordGossips(ctx, own.ID, []federation.Gossip{g}, at, ages)
	if err != nil {
		return GossipResult{}, err
	}
	return results[0], nil
}

func siteNamed(t *testing.T, s *Store, id federation.SiteID) federation.Site {
	t.Helper()
	sites, _, err := s.Sites(t.Context(), own.ID, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(sites, func(s federation.Site) bool { return s.ID == id })
	if i < 0 {
		t.Fatalf("there is no site %s", id)
	}
	return sites[i]
}

// events is the outbox, decoded.
func events(t *testing.T, s *Store) map[string]federation.Event {
	t.Helper()
	all := map[string]federation.Event{}
	for _, q := range must(s.Outbox(t.Context(), 1000))(t) {
		var e federation.Event
		if err := json.Unmarshal(q.Payload, &e); err != nil {
			t.Fatal(err)
		}
		if want := "aurora.site.site-a.event." + string(e.Kind); q.Subject != want {
			t.Errorf("the subject is %s, want %s", q.Subject, want)
		}
		if _, double := all[q.MsgID]; double {
			t.Errorf("%s is in the outbox twice", q.MsgID)
		}
		all[q.MsgID] = e
	}
	return all
}

func pointer[T any](v T) *T { return &v }

func change(kind federation.EventKind, id, from, to string, at time.Time, age float64) Change {
	c := Change{kind, federation.Transition{ID: id, From: from, To: to, At: at, HeartbeatAgeSeconds: age}}
	if kind == federation.LinkTransition && to != string(federation.Healthy) {
		c.Cause = federation.HeartbeatLate
	}
	return c
}

func ownSiteKeepsAgents(t *testing.T, f fixture) {
	s := f.migrated(t)
	want := federation.Site{
		ID: own.ID, Name: own.Name, Tier: own.Tier, Status: federation.Online, Local: true, Version: own.Version, Exchange: federation.ExchangeDirect,
		LastHeartbeatAt: pointer(t0), FirstSeenAt: t0, HeartbeatSentAt: t0,
	}
	equal(t, "the first heartbeat", must(s.UpsertOwnSite(t.Context(), own, t0))(t), want)

	want.AgentsTotal, want.AgentsOnline = 100, 97
	equal(t, "the agents", must(s.SetAgents(t.Context(), own, federation.Agents{Total: 100, Online: 97}, after(time.Second)))(t), want)

	renamed := own
	renamed.Name, renamed.Version = "Renamed", "0.2.0"
	want.Name, want.Version, want.LastHeartbeatAt, want.HeartbeatSentAt = "Renamed", "0.2.0", pointer(after(15*time.Second)), after(15*time.Second)
	equal(t, "the next heartbeat", must(s.UpsertOwnSite(t.Context(), renamed, after(15*time.Second)))(t), want)
	equal(t, "the row", siteNamed(t, s, own.ID), want)
	equal(t, "events", events(t, s), map[string]federation.Event{})
}

func agentsBeforeHeartbeat(t *testing.T, f fixture) {
	s := f.migrated(t)
	want := federation.Site{
		ID: own.ID, Name: own.Name, Tier: own.Tier, Status: federation.Offline, Local: true, Version: own.Version, Exchange: federation.ExchangeDirect,
		AgentsTotal: 5, AgentsOnline: 4, FirstSeenAt: t0,
	}
	equal(t, "the answer", must(s.SetAgents(t.Context(), own, federation.Agents{Total: 5, Online: 4}, t0))(t), want)
	equal(t, "the row", siteNamed(t, s, own.ID), want)
	equal(t, "what never had a heartbeat does not age", must(s.Age(t.Context(), own.ID, after(time.Hour), ages))(t), []Change(nil))
	got := must(s.UpsertOwnSite(t.Context(), own, after(time.Second)))(t)
	if got.AgentsTotal != 5 || got.Status != federation.Online || !got.FirstSeenAt.Equal(t0) {
		t.Errorf("after the first heartbeat the site is %+v", got)
	}
}

func ownSiteComesBack(t *testing.T, f fixture) {
	s := f.migrated(t)
	must(s.UpsertOwnSite(t.Context(), own, t0))(t)
	must(s.Age(t.Context(), own.ID, after(50*time.Second), ages))(t)
	clearOutbox(t, s)
	back := after(60 * time.Second)
	must(s.UpsertOwnSite(t.Context(), own, back))(t)
	equal(t, "events", events(t, s), map[string]federation.Event{
		fmt.Sprintf("site-transition.site-a.online.%d", back.UnixMicro()): {
			Kind: federation.SiteTransition, At: back,
			Transition: &federation.Transition{ID: "site-a", From: "degraded", To: "online", At: back},
		},
	})
}

func goodbyeTakesSiteAndLinkDown(t *testing.T, f fixture) {
	s := f.migrated(t)
	const link = "link-site-a-site-b"
	standing := func(what string, want federation.SiteStatus, reason federation.SiteReason, wantLink federation.LinkStatus, cause federation.Cause) {
		t.Helper()
		site := siteNamed(t, s, "site-b")
		l := must(s.Links(t.Context()))(t)[0]
		if site.Status != want || site.Reason != reason || l.Status != wantLink || l.Cause != cause {
			t.Errorf("%s: the site is %s (%s), the link %s (%s)", what, site.Status, site.Reason, l.Status, l.Cause)
		}
		if at := l.At(*l.LastHeartbeatAt, ages); at.Status != wantLink || at.Cause != cause {
			t.Errorf("%s: an answer says that the link is %s (%s)", what, at.Status, at.Cause)
		}
	}
	record(t, s, gossipOf("site-b", t0), t0)
	standing("a heartbeat", federation.Online, "", federation.Healthy, "")
	clearOutbox(t, s)

	bye := gossipOf("site-b", after(time.Second))
	bye.Leaving = true
	result := record(t, s, bye, after(time.Second))
	site := Change{federation.SiteTransition, federation.Transition{ID: "site-b", From: "online", To: "offline", At: after(time.Second), Cause: federation.PeerLeaving}}
	line := Change{federation.LinkTransition, federation.Transition{ID: link, From: "healthy", To: "down", At: after(time.Second), Cause: federation.PeerLeaving}}
	equal(t, "what a goodbye changes", result.Transitions, []Change{site, line})
	standing("a goodbye", federation.Offline, federation.Leaving, federation.Down, federation.PeerLeaving)
	if _, ok := events(t, s)[fmt.Sprintf("site-transition.site-b.offline.%d", after(time.Second).UnixMicro())]; !ok {
		t.Errorf("no event tells of it: %v", events(t, s))
	}
	_, _, ts, err := s.LinkHistory(t.Context(), own.ID, link, t0, 10)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the history", ts, []federation.Transition{line.Transition})

	must(s.RecordEchoes(t.Context(), own.ID, map[string]federation.Echo{link: {At: after(2 * time.Second), Outcome: federation.Disconnected}}, after(2*time.Second), ages))(t)
	must(s.Age(t.Context(), own.ID, after(time.Hour), ages))(t)
	standing("silence after it", federation.Offline, federation.Leaving, federation.Down, federation.PeerLeaving)

	record(t, s, gossipOf("site-b", after(time.Hour)), after(time.Hour))
	standing("the next heartbeat", federation.Online, "", federation.Healthy, "")
	if result := record(t, s, bye, after(time.Hour+time.Second)); !result.Stale {
		t.Errorf("an old goodbye changes %v", result.Transitions)
	}
	standing("an old goodbye", federation.Online, "", federation.Healthy, "")

	stranger := gossipOf("site-c", t0)
	stranger.Leaving = true
	record(t, s, stranger, t0)
	if c := siteNamed(t, s, "site-c"); c.Status != federation.Offline || c.Reason != federation.Leaving {
		t.Errorf("a stranger that leaves is %s (%s)", c.Status, c.Reason)
	}
	if l := must(s.Links(t.Context()))(t)[1]; l.Status != federation.Down || l.Cause != federation.PeerLeaving {
		t.Errorf("the link to it is %s (%s)", l.Status, l.Cause)
	}
}

func sitesComeOwnFirst(t *testing.T, f fixture) {
	s := f.migrated(t)
	sites, total, err := s.Sites(t.Context(), "m", 0, 0)
	if sites == nil || len(sites) != 0 || total != 0 || err != nil {
		t.Errorf("of none there are %v, %d, %v", sites, total, err)
	}
	// By a dictionary "ab" sorts before "a-c"; by bytes it does not.
	for _, id := range []federation.SiteID{"ab", "z", "a-c", "a1", "0", "m"} {
		record(t, s, gossipOf(id, t0), t0)
	}
	ids := func(skip, limit int) []federation.SiteID {
		got := []federation.SiteID{}
		sites, total, err := s.Sites(t.Context(), "m", skip, limit)
		if err != nil || total != 6 {
			t.Errorf("total is %d, error %v", total, err)
		}
		for _, s := range sites {
			if s.Local != (s.ID == "m") {
				t.Errorf("local of %s is %v", s.ID, s.Local)
			}
			got = append(got, s.ID)
		}
		return got
	}
	equal(t, "all", ids(0, 0), []federation.SiteID{"m", "0", "a-c", "a1", "ab", "z"})
	equal(t, "the peers", must(s.Peers(t.Context(), "m"))(t), []federation.SiteID{"0", "a-c", "a1", "ab", "z"})
	equal(t, "a page", ids(2, 2), []federation.SiteID{"a-c", "a1"})
	equal(t, "the rest", ids(4, 0), []federation.SiteID{"ab", "z"})
	equal(t, "past the end", ids(10, 5), []federation.SiteID{})
	var links []string
	for _, l := range must(s.Links(t.Context()))(t) {
		links = append(links, l.ID)
	}
	equal(t, "links", links, []string{"link-0-site-a", "link-a-c-site-a", "link-a1-site-a", "link-ab-site-a", "link-m-site-a", "link-site-a-z"})
}

func firstGossipIsSeen(t *testing.T, f fixture) {
	s := f.migrated(t)
	equal(t, "links of none", must(s.Links(t.Context()))(t), []federation.Link{})
	sent := t0.Add(-3 * time.Second)
	equal(t, "the result", record(t, s, gossipOf("site-b", sent.Add(999)), t0), GossipResult{FirstSeen: true})
	equal(t, "the site", siteNamed(t, s, "site-b"), federation.Site{
		ID: "site-b", Name: "Peer ü", Tier: federation.Secondary, Status: federation.Online, AgentsTotal: 10, AgentsOnline: 9, Version: "0.2.0", Exchange: federation.ExchangeDirect,
		LastHeartbeatAt: pointer(t0), FirstSeenAt: t0, HeartbeatSentAt: sent,
	})
	equal(t, "the links", must(s.Links(t.Context()))(t), []federation.Link{federation.NewLink("site-a", "site-b", t0)})
	equal(t, "events", events(t, s), map[string]federation.Event{
		fmt.Sprintf("site-seen.site-b.%d", t0.UnixMicro()): {Kind: federation.SiteSeen, At: t0, SiteID: "site-b"},
	})
	equal(t, "the next", record(t, s, gossipOf("site-b", after(12*time.Second)), after(15*time.Second)), GossipResult{})
}

func staleGossipChangesNothing(t *testing.T, f fixture) {
	s := f.migrated(t)
	record(t, s, gossipOf("site-b", t0.Add(500)), t0)
	clearOutbox(t, s)
	before := siteNamed(t, s, "site-b")
	for name, sent := range map[string]time.Time{
		"an older one":                  t0.Add(-time.Microsecond),
		"a replay":                      t0.Add(500),
		"a replay in another time zone": t0.Add(500).In(time.FixedZone("east", 3600)),
	} {
		g := gossipOf("site-b", sent)
		g.SiteName = "must not show"
		equal(t, name, record(t, s, g, after(40*time.Second)), GossipResult{Stale: true})
	}
	equal(t, "the site", siteNamed(t, s, "site-b"), before)
	equal(t, "the links", must(s.Links(t.Context()))(t), []federation.Link{federation.NewLink("site-a", "site-b", t0)})
	equal(t, "events", events(t, s), map[string]federation.Event{})
}

func setBackClockIsTakenAfterSilence(t *testing.T, f fixture) {
	s := f.migrated(t)
	record(t, s, gossipOf("site-b", after(time.Hour)), t0)
	if !record(t, s, gossipOf("site-b", t0), after(44*time.Second)).Stale {
		t.Error("an older heartbeat was taken after 44 s")
	}
	if record(t, s, gossipOf("site-b", t0), after(45*time.Second)).Stale {
		t.Error("an older heartbeat was refused after 45 s")
	}
	equal(t, "sent at", siteNamed(t, s, "site-b").HeartbeatSentAt, t0)
}

func aLinkIsFoundAlone(t *testing.T, f fixture) {
	s := f.migrated(t)
	for _, peer := range []federation.SiteID{"b-c", "site-b", "site-b-2"} {
		record(t, s, gossipOf(peer, t0), t0)
	}
	for id, want := range map[string]string{
		linkAB: linkAB, "link-site-b-site-a": linkAB, "link-site-b-2-site-a": "link-site-a-site-b-2", "link-b-c-site-a": "link-b-c-site-a", "link-site-a-b-c": "link-b-c-site-a",
		"link-site-a-site-c": "", "site-b": "", "": "",
	} {
		l, found, err := s.FindLink(t.Context(), id)
		if err != nil || l.ID != want || found != (want != "") {
			t.Errorf("%q finds %q (%t), want %q: %v", id, l.ID, found, want, err)
		}
	}
}

func gossipHealsSiteAndLink(t *testing.T, f fixture) {
	s := f.migrated(t)
	record(t, s, gossipOf("site-b", t0), t0)
	must(s.Age(t.Context(), own.ID, after(5*time.Minute), ages))(t)
	clearOutbox(t, s)
	back := after(6 * time.Minute)
	want := []Change{
		change(federation.SiteTransition, "site-b", "offline", "online", back, 0),
		change(federation.LinkTransition, "link-site-a-site-b", "down", "healthy", back, 0),
	}
	equal(t, "the result", record(t, s, gossipOf("site-b", back), back), GossipResult{Transitions: want})
	equal(t, "events", events(t, s), map[string]federation.Event{
		fmt.Sprintf("site-transition.site-b.online.%d", back.UnixMicro()):              {Kind: federation.SiteTransition, At: back, Transition: &want[0].Transition},
		fmt.Sprintf("link-transition.link-site-a-site-b.healthy.%d", back.UnixMicro()): {Kind: federation.LinkTransition, At: back, Transition: &want[1].Transition},
	})
	equal(t, "first seen", siteNamed(t, s, "site-b").FirstSeenAt, t0)
}

func gossipOfOneselfIsRefused(t *testing.T, f fixture) {
	s := f.migrated(t)
	_, err := recordOne(t.Context(), s, gossipOf(own.ID, t0), t0)
	isFault(t, err, fault.Conflict, "site-a")
}

// However replicas race, the newest heartbeat is what stays.
func gossipAtOnceKeepsNewest(t *testing.T, f fixture) {
	stores := f.replicas(t, 3)
	const n = 24
	record(t, stores[0], gossipOf("site-b", t0), t0)
	results := atOnce(t, n, func(i int) (GossipResult, error) {
		g := gossipOf("site-b", after(time.Duration(1+(i*7)%n)*time.Millisecond))
		g.AgentsTotal = 100 + (i*7)%n
		return recordOne(t.Context(), stores[i%3], g, after(time.Second))
	})
	got := siteNamed(t, stores[0], "site-b")
	if got.AgentsTotal != 100+n-1 || !got.HeartbeatSentAt.Equal(after(n*time.Millisecond)) {
		t.Errorf("what stays is %+v", got)
	}
	if !slices.ContainsFunc(results, func(r GossipResult) bool { return !r.Stale }) {
		t.Error("every heartbeat was stale")
	}
}

// Two replicas that hold the gossip of one peer at the same moment decide one
// after the other, each on what the one before left.
func gossipWaitsForGossip(t *testing.T, f fixture) {
	s := f.migrated(t)
	record(t, s, gossipOf("site-b", t0), t0)
	hold, err := f.open(t).writer.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold.ExecContext(t.Context(), "UPDATE sites SET name = name"); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	for i, sent := range []time.Time{after(2 * time.Second), after(time.Second)} {
		go func() {
			_, err := recordOne(t.Context(), s, gossipOf("site-b", sent), after(3*time.Second))
			errs <- err
		}()
		// The newer must be the first in the line, where there is a line to be seen.
		for waiting := 0; s.dialect.name == "postgres" && waiting <= i; {
			if err := s.reader.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waiting); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := hold.Commit(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "sent at", siteNamed(t, s, "site-b").HeartbeatSentAt, after(2*time.Second))
}

func firstGossipAtOnceIsSeenOnce(t *testing.T, f fixture) {
	stores := f.replicas(t, 2)
	for round := range 5 {
		peer := federation.SiteID(fmt.Sprint("peer-", round))
		first := 0
		for _, r := range atOnce(t, 6, func(i int) (GossipResult, error) {
			return recordOne(t.Context(), stores[i%2], gossipOf(peer, after(time.Duration(i)*time.Millisecond)), after(time.Second))
		}) {
			if r.FirstSeen {
				first++
			}
		}
		equal(t, "first seen", first, 1)
	}
	equal(t, "events", len(events(t, stores[0])), 5)
}

func silenceAges(t *testing.T, f fixture) {
	s := f.migrated(t)
	must(s.UpsertOwnSite(t.Context(), own, t0))(t)
	record(t, s, gossipOf("site-b", t0), t0)
	record(t, s, gossipOf("site-c", t0), after(30*time.Second))
	clearOutbox(t, s)
	site, link := federation.SiteTransition, federation.LinkTransition
	for _, step := range []struct {
		name string
		at   time.Duration
		want []Change
	}{
		{"a microsecond before the threshold nothing changes", 45*time.Second - time.Microsecond, nil},
		{"at the threshold what is silent is degraded", 45 * time.Second, []Change{
			change(site, "site-a", "online", "degraded", after(45*time.Second), 45),
			change(site, "site-b", "online", "degraded", after(45*time.Second), 45),
			change(link, "link-site-a-site-b", "healthy", "degraded", after(45*time.Second), 45),
		}},
		{"a second look changes nothing", 45 * time.Second, nil},
		{"later it is down, and the others follow, also in one step", 160 * time.Second, []Change{
			change(site, "site-a", "degraded", "offline", after(160*time.Second), 160),
			change(site, "site-b", "degraded", "offline", after(160*time.Second), 160),
			change(site, "site-c", "online", "offline", after(160*time.Second), 130),
			change(link, "link-site-a-site-b", "degraded", "down", after(160*time.Second), 160),
			change(link, "link-site-a-site-c", "healthy", "down", after(160*time.Second), 130),
		}},
		{"what is down stays so", time.Hour, nil},
	} {
		equal(t, step.name, must(s.Age(t.Context(), own.ID, after(step.at), ages))(t), step.want)
		told := events(t, s)
		equal(t, step.name+": events", len(told), len(step.want))
		for _, c := range step.want {
			id := fmt.Sprintf("%s.%s.%s.%d", c.Kind, c.ID, c.To, c.At.UnixMicro())
			equal(t, step.name+": "+id, told[id], federation.Event{Kind: c.Kind, At: c.At, Transition: &c.Transition})
		}
		clearOutbox(t, s)
	}
	equal(t, "site-b", siteNamed(t, s, "site-b").Status, federation.Offline)
	equal(t, "a link", must(s.Links(t.Context()))(t)[0].Status, federation.Down)
}

func ageAtOnceGivesEachChangeOnce(t *testing.T, f fixture) {
	stores := f.replicas(t, 3)
	const peers = 8
	for i := range peers {
		record(t, stores[0], gossipOf(federation.SiteID(fmt.Sprint("peer-", i)), t0), t0)
	}
	clearOutbox(t, stores[0])
	got := map[string]int{}
	for _, changes := range atOnce(t, 9, func(i int) ([]Change, error) {
		return stores[i%3].Age(t.Context(), own.ID, after(time.Minute), ages)
	}) {
		for _, c := range changes {
			got[c.ID]++
		}
	}
	equal(t, "things that changed", len(got), 2*peers)
	for id, n := range got {
		if n != 1 {
			t.Errorf("%d callers were given the change of %s", n, id)
		}
	}
	equal(t, "events", len(events(t, stores[0])), 2*peers)
}

// Whichever comes first, a heartbeat that is on time leaves the site online.
func ageAgainstGossip(t *testing.T, f fixture) {
	stores := f.replicas(t, 2)
	const peers = 6
	peer := func(i int) federation.SiteID { return federation.SiteID(fmt.Sprint("peer-", i)) }
	for i := range peers {
		record(t, stores[0], gossipOf(peer(i), t0), t0)
	}
	for round := 1; round <= 10; round++ {
		now := after(time.Duration(round) * time.Minute)
		atOnce(t, peers+3, func(i int) (any, error) {
			if i < peers {
				return recordOne(t.Context(), stores[i%2], gossipOf(peer(i), now), now)
			}
			return stores[i%2].Age(t.Context(), own.ID, now, ages)
		})
		for i := range peers {
			if got := siteNamed(t, stores[0], peer(i)); got.Status != federation.Online || !got.LastHeartbeatAt.Equal(now) {
				t.Fatalf("round %d left %+v", round, got)
			}
		}
		for _, l := range must(stores[0].Links(t.Context()))(t) {
			if l.Status != federation.Healthy {
				t.Fatalf("round %d left %+v", round, l)
			}
		}
	}
}

func aClockSetBackAgesFromThen(t *testing.T, f fixture) {
	s := f.migrated(t)
	ahead := after(time.Hour)
	must(s.UpsertOwnSite(t.Context(), own, ahead))(t)
	record(t, s, gossipOf("site-b", ahead), ahead)
	record(t, s, gossipOf("site-c", t0), after(federation.FreshEcho))
	heard := func(what string, b, c time.Time) {
		t.Helper()
		for _, l := range must(s.Links(t.Context()))(t) {
			want := map[string]time.Time{linkAB: b, "link-site-a-site-c": c}[l.ID]
			if site := siteNamed(t, s, l.Peer(own.ID)); !l.LastHeartbeatAt.Equal(want) || !site.LastHeartbeatAt.Equal(want) {
				t.Errorf("%s: %s was heard at %v, its site at %v, want %v", what, l.ID, l.LastHeartbeatAt, site.LastHeartbeatAt, want)
			}
		}
	}
	equal(t, "the step itself changes no status", must(s.Age(t.Context(), own.ID, t0, ages))(t), []Change(nil))
	heard("after the step", t0, after(federation.FreshEcho))
	equal(t, "the own site", *siteNamed(t, s, own.ID).LastHeartbeatAt, t0)
	if changes := must(s.Age(t.Context(), own.ID, after(ages.Down), ages))(t); len(changes) != 5 {
		t.Errorf("what is silent from then on is not found: %+v", changes)
	}
	if l := must(s.Links(t.Context()))(t)[0]; l.Status != federation.Down || l.Cause != federation.HeartbeatLate {
		t.Errorf("the link is %s (%s)", l.Status, l.Cause)
	}
	now := after(ages.Down + time.Second)
	record(t, s, gossipOf("site-b", now), now)
	if l := must(s.Links(t.Context()))(t)[0]; l.Status != federation.Healthy || !l.LastHeartbeatAt.Equal(now) {
		t.Errorf("a gossip after the step is not heard: %+v", l)
	}
}

func ageNeverHeals(t *testing.T, f fixture) {
	s := f.migrated(t)
	record(t, s, gossipOf("site-b", t0), t0)
	must(s.Age(t.Context(), own.ID, after(time.Hour), ages))(t)
	equal(t, "with the clock set back", must(s.Age(t.Context(), own.ID, after(50*time.Second), ages))(t), []Change(nil))
	equal(t, "status", siteNamed(t, s, "site-b").Status, federation.Offline)
}
