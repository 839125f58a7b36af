package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/cmd/auroramesh/site"
	"github.com/auroramesh/auroramesh/functions"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// byHub is quick, for sites that leave it to the hub to pass alerts on.
func byHub(i int, s *settings.Settings) {
	quick(i, s)
	s.Exchange = string(federation.ExchangeHub)
}

// lanes is how many consumers site i keeps for its peers, by peer.
func (m mesh) lanes(t *testing.T, i int) map[federation.SiteID]int {
	t.Helper()
	s, err := m.reader(t, i).JetStream().Stream(t.Context(), subject.AlertStream(m.Sites[i].ID().ID))
	if err != nil {
		t.Fatal(err)
	}
	peers := map[federation.SiteID]int{}
	names := s.ConsumerNames(t.Context())
	for name := range names.Name() {
		peers[subject.ConsumerPeer(name)]++
	}
	if err := names.Err(); err != nil {
		t.Fatal(err)
	}
	return peers
}

// relayed waits until the leaves of all sites, or none, get by the hub what the others raise.
func (m mesh) relayed(t *testing.T, want bool) {
	t.Helper()
	for i := 1; i < len(m.Sites); i++ {
		natstest.Within(t, 60*time.Second, fmt.Sprintf("the leaves are relayed from site %d: %v", i, want), func() bool {
			lanes := m.lanes(t, i)
			for j := range m.Sites {
				if j == i {
					continue
				}
				at := demo.SiteID(j)
				own := 2
				if want && j > 0 {
					own = 0
				}
				if lanes[at] != own {
					return false
				}
				for _, l := range m.topology(t, j).Links { // and the peers know
					if l.Peer(at) == demo.SiteID(i) && (l.PeerView == nil || l.PeerView.Relayed != (want && j > 0)) {
						return false
					}
				}
			}
			return true
		})
	}
}

// heard is what crosses the NATS server of site i to its functions, as one text.
func (m mesh) heard(t *testing.T, i int) func() string {
	t.Helper()
	var mu sync.Mutex
	var all strings.Builder
	nc := natstest.Bus(t, m.Sites[i].Server(), m.Sites[i].ID().ID, "listener").Conn()
	for _, subj := range []string{subject.Inbox(m.Sites[i].ID().ID) + ".>", "aurora.alerts.>"} {
		if _, err := nc.Subscribe(subj, func(msg *natsgo.Msg) {
			mu.Lock()
			defer mu.Unlock()
			all.Write(msg.Data)
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	}
}

func TestALeafKeepsLanesForTheHubAloneAndTheHubPassesOn(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{Sites: 4, Configure: byHub})
	const b, c, d = 1, 2, 3
	m.relayed(t, true)
	if got := m.lanes(t, 0); len(got) != 3 {
		t.Errorf("the hub keeps lanes for %v", got)
	}
	raised := m.raise(t, b, alert("passed on", federation.Critical))
	lesser := m.raise(t, b, alert("passed on too", federation.High))
	for _, i := range []int{0, c, d} {
		for _, a := range []federation.Alert{raised, lesser} {
			got := m.arrives(t, i, a.Title)
			if len(got) != 1 || got[0].Source != "federation:site-b" || got[0].Origin.SiteID != "site-b" || got[0].Origin.AlertID != a.ID {
				t.Errorf("site %d has %+v", i, got)
			}
		}
	}
	m.raise(t, 0, alert("of the hub", federation.Critical))
	for _, i := range []int{b, c, d} {
		m.arrives(t, i, "of the hub")
	}

	// A further version goes the same way, and what is taken back leaves the hub's stream.
	m.change(t, b, raised.ID, federation.AlertPatch{Status: federation.Escalated})
	natstest.Within(t, 30*time.Second, "the new state is at site-d", func() bool {
		got := m.titled(t, d, raised.Title)
		return len(got) == 1 && got[0].Origin.Status == federation.Escalated
	})
	m.change(t, b, raised.ID, federation.AlertPatch{Retraction: "a drill"})
	natstest.Within(t, 30*time.Second, "it is taken back at site-d", func() bool {
		got := m.titled(t, d, raised.Title)
		return len(got) == 1 && got[0].Retraction != nil
	})
	remaining, _ := m.remaining(t, 0) // what was withdrawn is gone
	for _, payload := range remaining {
		if strings.Contains(payload, raised.ID) && strings.Contains(payload, raised.Title) {
			t.Errorf("the hub still holds %s", payload)
		}
	}
	for i := range m.Sites {
		if n := m.total(t, i, ""); n != 3 {
			t.Errorf("site %d has %d alerts", i, n)
		}
	}
}

// What a gate refuses is never on the wire of the peer, whoever passes on.
func TestAPeerWithAGateOfItsOwnGetsNothingByTheHub(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{Sites: 4, Configure: byHub})
	const b, c, d = 1, 2, 3
	m.relayed(t, true)
	m.setGate(t, b, "site-d", federation.Outbound, federation.GateSetting{MinSeverity: federation.Critical})
	if lanes := m.lanes(t, b); lanes["site-d"] != 2 || lanes["site-c"] != 0 {
		t.Errorf("with the answer that the gate is set site-b keeps %v", lanes)
	}
	wire := m.heard(t, d)
	m.raise(t, b, alert("refused for site-d", federation.High))
	m.raise(t, b, alert("let through to site-d", federation.Critical))
	m.arrives(t, c, "refused for site-d")
	m.arrives(t, c, "let through to site-d")
	m.arrives(t, d, "let through to site-d")
	m.raise(t, c, alert("the marker", federation.High)) // by the hub, behind what it passed on before
	m.arrives(t, d, "the marker")
	text := wire()
	for title, want := range map[string]bool{"refused for site-d": false, "let through to site-d": true, "the marker": true} {
		if at := strings.Index(text, title); at >= 0 != want {
			t.Errorf("on the wire of site-d is %q: %v: %s", title, at >= 0, text[max(at-200, 0):max(at+400, 0)])
		}
	}
	if got := m.titled(t, d, "refused for site-d"); len(got) != 0 {
		t.Errorf("site-d has %+v", got)
	}

	// A wider gate of the hub is for the hub alone.
	m.setGate(t, b, "site-a", federation.Outbound, federation.GateSetting{MinSeverity: federation.Low})
	m.raise(t, b, alert("for the hub alone", federation.Low))
	m.arrives(t, 0, "for the hub alone")
	m.raise(t, b, alert("for all", federation.High))
	m.arrives(t, c, "for all")
	m.raise(t, 0, alert("the last marker", federation.High))
	m.arrives(t, c, "the last marker")
	for _, i := range []int{c, d} {
		if got := m.titled(t, i, "for the hub alone"); len(got) != 0 {
			t.Errorf("site %d has %+v", i, got)
		}
	}
}

// The hub can pass on what was signed, as it was signed, where it may, and nothing else.
func TestWhatTheHubChangesOrMayNotPassOnIsRefused(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{Sites: 3, Configure: byHub})
	const b, c = 1, 2
	m.relayed(t, true)
	hub := m.speaker(t, 0)
	shared := func(title string, r *federation.Relay) (federation.SharedAlert, []byte) {
		s := federation.Share(alert(title, federation.Critical).Alert("01-"+title, time.Now()), m.Sites[b].ID())
		s.Relay = r
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return s, data
	}
	pass := func(id string, origin federation.SiteID, subj string, said *natsgo.Msg, payload []byte) {
		t.Helper()
		p := function.Proof{Site: origin, Subject: said.Subject, Headers: map[string]string{
			function.HeaderKey: said.Header.Get(function.HeaderKey), function.HeaderSignature: said.Header.Get(function.HeaderSignature),
		}}
		if _, err := hub.Store(t.Context(), []function.Message{{Subject: subj, ID: id, Payload: payload, Proof: &p}}); err != nil {
			t.Fatal(err)
		}
	}
	key, plain := m.key(t, b), subject.Alert(federation.Critical)
	from := subject.AlertFrom(federation.Critical, "site-b")
	_, leave := shared("with leave", &federation.Relay{})
	_, none := shared("without leave", nil)
	_, except := shared("not for site-c", &federation.Relay{Except: []federation.SiteID{"site-c"}})
	altered := []byte(strings.Replace(string(leave), "with leave", "altered", 1))
	pass("1", "site-b", from, function.Said(key, "site-b", plain, leave), altered)                                                       // not what was signed
	pass("2", "site-b", from, function.Said(natstest.Key(t, "site-b"), "site-b", plain, altered), altered)                               // not by whom
	pass("3", "site-b", from, function.Said(key, "site-b", plain, none), none)                                                           // no leave
	pass("4", "site-b", from, function.Said(key, "site-b", plain, except), except)                                                       // not for this peer
	pass("5", "site-b", subject.AlertTo(federation.Critical, "site-c"), function.Said(key, "site-b", plain+".to.site-a", leave), leave)  // for another
	pass("6", "site-b", subject.AlertTo(federation.Critical, "site-c"), function.Said(key, "site-b", plain+".via.site-d", leave), leave) // for another
	pass("7", "site-b", from, function.Said(key, "site-b", subject.Alert(federation.High), leave), leave)                                // under another severity
	pass("8", "site-c", subject.AlertFrom(federation.Critical, "site-c"), function.Said(key, "site-c", plain, altered), altered)         // its own, as if: dropped
	pass("9", "site-b", subject.AlertFrom(federation.Critical, "site-z"), function.Said(key, "site-b", plain, leave), leave)             // of somebody else
	pass("10", "site-b", from, function.Said(key, "site-b", plain, leave), leave)                                                        // as it should be
	m.arrives(t, c, "with leave")
	m.counts(t, c, "alertsink", "alerts", identity.BadSignature, 1)
	m.counts(t, c, "alertsink", "alerts", identity.WrongKey, 1)
	m.counts(t, c, "alertsink", "alerts", identity.Misdirected, 6)
	for _, title := range []string{"altered", "without leave", "not for site-c"} {
		if got := m.titled(t, c, title); len(got) != 0 {
			t.Errorf("%q is stored: %+v", title, got)
		}
	}
	// What was refused so is not noted against its origin: the real one still comes.
	letters, err := m.api[c].DeadLetters(t.Context(), ask.Page{})
	if err != nil || letters.Total != 8 {
		t.Errorf("site-c has %d dead letters, %v", letters.Total, err)
	}
}

// away waits until the leaves see that the hub said goodbye, and have gone by it.
func (m mesh) away(t *testing.T) {
	t.Helper()
	for i := 1; i < len(m.Sites); i++ {
		natstest.Within(t, 60*time.Second, fmt.Sprintf("site %d has heard the goodbye", i), func() bool {
			return m.status(t, i, "site-a") == federation.Offline
		})
		m.admits(t, i)
	}
}

// admits has site i decide at once from whom it pulls, and not when it next would.
func (m mesh) admits(t *testing.T, i int) {
	t.Helper()
	if _, err := function.Ask(t.Context(), m.reader(t, i), m.Sites[i].ID().ID, ask.AdmitPeers, ask.None{}); err != nil {
		t.Fatal(err)
	}
}

// Where the functions of the hub are started anew nothing changes; where they stay away
// the leaves exchange with each other.
func TestTheLeavesWaitForAHubThatIsStartedAnew(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{Sites: 3, Configure: func(i int, s *settings.Settings) {
		byHub(i, s)
		s.DegradedSeconds, s.DownSeconds = 300, 600
		if i == 2 { // which has less patience
			s.DegradedSeconds = 1
		}
	}})
	const b, c = 1, 2
	m.relayed(t, true)
	leave(t, m.Sites[0].Site)
	m.away(t)
	if lanes := m.lanes(t, b); len(lanes) != 1 || lanes["site-a"] != 2 {
		t.Errorf("while the hub is started anew site-b keeps %v", lanes)
	}
	m.raise(t, b, alert("meanwhile", federation.Critical))
	natstest.Within(t, 60*time.Second, "site-c waits no longer", func() bool { m.admits(t, c); return m.lanes(t, c)["site-b"] == 2 })
	m.raise(t, c, alert("without the hub", federation.Critical))
	m.arrives(t, b, "without the hub")
	m.api[0] = client(t, "http://"+m.process(t, 0).Addr())
	m.arrives(t, c, "meanwhile")
	m.relayed(t, true)
}

// switched starts the functions of site i anew, with another exchange. Nothing is compared,
// for that would mend what a switch loses.
func (m *mesh) switched(t *testing.T, i int, e federation.Exchange, running []*site.Site) {
	t.Helper()
	if running[i] != nil {
		leave(t, running[i])
	}
	m.Sites[i].Settings.Exchange = string(e)
	running[i] = m.process(t, i, slices.DeleteFunc(functions.Names(), func(name string) bool { return name == "reconcile" })...)
	m.api[i] = client(t, "http://"+running[i].Addr())
}

func TestAMeshIsSwitchedWhileAlertsAreRaisedAndNoneIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{Sites: 3, Configure: quick})
	running := make([]*site.Site, len(m.Sites))
	for i := range m.Sites {
		leave(t, m.Sites[i].Site)
		m.switched(t, i, federation.ExchangeDirect, running)
	}
	m.relayed(t, false)

	// Whoever raises one tries again until it is taken: while functions stop and start none is.
	load, stop := context.WithCancel(t.Context())
	raised := make([]int, len(m.Sites))
	var raising sync.WaitGroup
	for i := range m.Sites {
		bus := natstest.Bus(t, m.Sites[i].Server(), m.Sites[i].ID().ID, "raiser")
		raising.Go(func() {
			for load.Err() == nil {
				severity := []federation.Severity{federation.Critical, federation.High}[raised[i]%2]
				n := alert(fmt.Sprintf("load %d of site %d", raised[i], i), severity)
				_, err := function.Ask(t.Context(), bus, m.Sites[i].ID().ID, ask.RaiseAlert, n)
				switch {
				case err == nil: // a second try of one that was stored finds it
					raised[i]++
				case !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Timeout):
					t.Errorf("raising at site %d: %v", i, err)
					return
				}
				select {
				case <-load.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	defer raising.Wait()
	defer stop()
	for _, i := range []int{1, 0, 2} { // the hub in between
		m.switched(t, i, federation.ExchangeHub, running)
	}
	m.relayed(t, true)
	for _, i := range []int{0, 2, 1} { // the hub first
		m.switched(t, i, federation.ExchangeDirect, running)
	}
	m.relayed(t, false)
	for _, i := range []int{2, 1, 0} { // the hub last
		m.switched(t, i, federation.ExchangeHub, running)
	}
	m.relayed(t, true)
	stop()
	raising.Wait()
	for i := range m.Sites {
		for j := range m.Sites {
			if i == j {
				continue
			}
			source := federation.FederatedSource + string(demo.SiteID(i))
			natstest.Within(t, 60*time.Second, fmt.Sprintf("site %d has all %d alerts of site %d", j, raised[i], i), func() bool {
				return m.total(t, j, source) >= raised[i]
			})
			titles := map[string]int{}
			for _, a := range every(t, m.api[j], source) {
				if titles[a.Title]++; titles[a.Title] > 1 || a.Origin.SiteID != demo.SiteID(i) || !strings.HasSuffix(a.Title, fmt.Sprintf("of site %d", i)) {
					t.Errorf("site %d has %q of %s %d times", j, a.Title, a.Origin.SiteID, titles[a.Title])
				}
			}
			if len(titles) != raised[i] {
				t.Errorf("site %d has %d of the %d alerts of site %d", j, len(titles), raised[i], i)
			}
		}
		letters, err := m.api[i].DeadLetters(t.Context(), ask.Page{})
		if err != nil || letters.Total != 0 {
			t.Errorf("site %d has %d dead letters, %v", i, letters.Total, err)
		}
	}
	t.Logf("raised %v", raised)
}
