package e2e_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// at waits until the alert of a row has a version at site i.
func (m mesh) at(t *testing.T, i int, id string, version int) federation.Alert {
	t.Helper()
	var a federation.Alert
	natstest.Within(t, 20*time.Second, "the version is there", func() bool {
		var err error
		if a, err = m.api[i].Alert(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		return a.Version >= version
	})
	return a
}

func (m mesh) change(t *testing.T, i int, id string, p federation.AlertPatch) federation.Alert {
	t.Helper()
	a, err := m.api[i].Update(t.Context(), id, p)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestChangesOfAnAlertReachThePeerAndLeaveItsTriageAlone(t *testing.T) {
	t.Parallel()
	m, proxy := proxied(t, demo.Options{})
	raised := m.raise(t, 1, alert("beacon", federation.High))
	here := m.arrives(t, 0, "beacon")[0]
	m.change(t, 0, here.ID, federation.AlertPatch{Status: federation.Escalated})

	proxy.Set(linkproxy.Cut)
	m.change(t, 1, raised.ID, federation.AlertPatch{Status: federation.Investigating})
	m.change(t, 1, raised.ID, federation.AlertPatch{Title: new("beacon, confirmed"), Severity: federation.Critical})
	m.change(t, 1, raised.ID, federation.AlertPatch{Severity: federation.Low, IOCs: &federation.IOCInput{Items: []federation.IOC{{Type: federation.Domain, Value: "evil.example"}}}})
	origin := m.change(t, 1, raised.ID, federation.AlertPatch{Status: federation.Resolved})
	proxy.Set(linkproxy.Pass)

	got := m.at(t, 0, here.ID, 5)
	if got.Version != 5 || got.Title != "beacon, confirmed" || got.Severity != federation.Low || len(got.IOCs) != 1 || got.IOCs[0].Value != "evil.example" {
		t.Errorf("after the cut it is %+v", got)
	}
	if got.Status != federation.Escalated || got.Origin.Status != federation.Resolved || !got.Origin.UpdatedAt.Equal(origin.UpdatedAt) {
		t.Errorf("here it is %s, at its origin %s since %v", got.Status, got.Origin.Status, got.Origin.UpdatedAt)
	}
	if _, err := m.api[0].Update(t.Context(), here.ID, federation.AlertPatch{Title: new("mine")}); !fault.Is(err, fault.Conflict) {
		t.Errorf("an edit away from the origin: %v", err)
	}

	m.change(t, 1, raised.ID, federation.AlertPatch{Retraction: "a test of the sensor"})
	got = m.at(t, 0, here.ID, 6)
	if got.Retraction == nil || got.Retraction.Reason != "a test of the sensor" || got.Title != "beacon, confirmed" || got.Status != federation.Escalated {
		t.Errorf("retracted it is %+v, %+v", got, got.Retraction)
	}
	if n := len(every(t, m.api[0], "federation:site-b")); n != 1 {
		t.Errorf("there are %d rows of it", n)
	}
}

// An alert that becomes worth sharing is shared then, and one that may no longer be
// seen is taken back without its new content.
func TestAnEditMayBringAnAlertToThePeersOrTakeItBack(t *testing.T) {
	m := start(t, demo.Options{})
	raised := m.raise(t, 1, alert("scan", federation.Low))
	m.change(t, 1, raised.ID, federation.AlertPatch{Severity: federation.High})
	here := m.arrives(t, 0, "scan")[0]
	if here.Version != 2 {
		t.Errorf("it came as version %d", here.Version)
	}
	m.change(t, 1, raised.ID, federation.AlertPatch{TLP: federation.TLPRed, Title: new("a name that nobody may see")})
	got := m.at(t, 0, here.ID, 3)
	if got.Retraction == nil || got.Title != "scan" || got.TLP != federation.TLPAmber {
		t.Errorf("in red it is %+v", got)
	}
	m.change(t, 1, raised.ID, federation.AlertPatch{TLP: federation.TLPGreen, Title: new("a name for all")})
	if got := m.at(t, 0, here.ID, 4); got.Retraction != nil || got.Title != "a name for all" || got.TLP != federation.TLPGreen {
		t.Errorf("in green it is %+v", got)
	}
}

// An alert that becomes red is heard of by those alone who have it: not by a peer that
// was behind, nor by one whose gate lets in more later on.
func TestAnAlertThatBecomesRedReachesNobodyAnew(t *testing.T) {
	t.Parallel()
	m, proxy := proxied(t, demo.Options{Configure: comparing})
	m.raise(t, 0, alert("known", federation.High))
	m.arrives(t, 1, "known")

	m.setGate(t, 0, "site-b", federation.Outbound, federation.GateSetting{MinSeverity: federation.Critical})
	kept := m.raise(t, 0, alert("kept by the gate", federation.High))
	m.change(t, 0, kept.ID, federation.AlertPatch{TLP: federation.TLPRed})
	m.change(t, 0, kept.ID, federation.AlertPatch{Status: federation.Resolved})

	proxy.Set(linkproxy.Cut)
	behind := m.raise(t, 0, alert("not pulled yet", federation.Critical))
	natstest.Eventually(t, "it is in the stream", func() bool { return m.inStream(t, 0, behind.ID) > 0 })
	m.change(t, 0, behind.ID, federation.AlertPatch{TLP: federation.TLPRed})
	natstest.Eventually(t, "only the retraction is there", func() bool { return m.inStream(t, 0, behind.ID) == 0 })
	healed := time.Now()
	proxy.Set(linkproxy.Pass)
	if _, err := m.api[0].ResetGate(t.Context(), ask.GateOf{Peer: "site-b", Direction: federation.Outbound}); err != nil {
		t.Fatal(err)
	}
	m.raise(t, 0, alert("marker", federation.High))
	m.arrives(t, 1, "marker")
	m.clean(t, 0, 2, healed.Add(10*time.Second)) // all of this time is compared: known and marker
	if got := m.titles(t, 1, "federation:site-a"); !slices.Equal(got, []string{"known", "marker"}) {
		t.Errorf("the peer has %q", got)
	}
}

// inStream is how many messages of the stream of site i have the content of an alert.
func (m mesh) inStream(t *testing.T, i int, id string) (n int) {
	t.Helper()
	site := m.Sites[i].ID().ID
	s, err := m.reader(t, i).JetStream().Stream(t.Context(), subject.AlertStream(site))
	if err != nil {
		t.Fatal(err)
	}
	for sequence := s.CachedInfo().State.FirstSeq; sequence <= s.CachedInfo().State.LastSeq; sequence++ {
		msg, err := s.GetMsg(t.Context(), sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var a federation.SharedAlert
		if err := json.Unmarshal(msg.Data, &a); err != nil {
			t.Fatal(err)
		}
		if a.OriginID == id && a.Retraction == nil {
			n++
		}
	}
	return n
}
