package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// three is three sites that know each other, the last two of them as peers of the first.
func three(t *testing.T) mesh {
	t.Helper()
	m := start(t, demo.Options{Sites: 3})
	natstest.Within(t, 20*time.Second, "every site knows both others", func() bool {
		return !slices.ContainsFunc([]int{0, 1, 2}, func(i int) bool { return len(m.topology(t, i).Sites) != 3 })
	})
	return m
}

func (m mesh) setGate(t *testing.T, i int, peer federation.SiteID, d federation.Direction, s federation.GateSetting) {
	t.Helper()
	if _, err := m.api[i].SetGate(t.Context(), ask.GateOf{Peer: peer, Direction: d}, s); err != nil {
		t.Fatal(err)
	}
}

// from is an alert of a source, with an IOC of each of two types.
func from(source, title string, s federation.Severity) federation.NewAlert {
	return federation.NewAlert{Title: title, Severity: s, Source: source, IOCs: federation.IOCInput{Items: []federation.IOC{
		{Type: federation.Domain, Value: "evil.example"}, {Type: federation.IP, Value: "192.0.2.7"},
	}}}
}

// titles is what a site has of another, sorted.
func (m mesh) titles(t *testing.T, i int, source string) []string {
	t.Helper()
	titles := []string{}
	for _, a := range every(t, m.api[i], source) {
		titles = append(titles, a.Title)
	}
	slices.Sort(titles)
	return titles
}

// sent is how many alerts have left site i for a peer.
func (m mesh) sent(t *testing.T, i int, peer federation.SiteID) int {
	t.Helper()
	site := m.Sites[i].ID().ID
	js := m.reader(t, i).JetStream()
	n := 0
	for _, lane := range subject.AlertConsumers(peer) {
		c, err := js.Consumer(t.Context(), subject.AlertStream(site), lane.Consumer)
		if err != nil {
			t.Fatal(err)
		}
		n += int(c.CachedInfo().Delivered.Consumer)
	}
	return n
}

func TestEachPeerGetsWhatItsOwnGateAdmits(t *testing.T) {
	t.Parallel()
	m := three(t)
	m.setGate(t, 0, "site-b", federation.Outbound, federation.GateSetting{MinSeverity: federation.Low})
	m.setGate(t, 0, "site-c", federation.Outbound, federation.GateSetting{ExceptSources: []string{"honeypot"}, StripIOCs: []federation.IOCType{federation.IP}})

	preview, err := m.api[0].PreviewSharing(t.Context(), from("honeypot", "t", federation.High))
	want := []ask.PeerDecision{
		{Peer: "site-b", Decision: federation.Decision{Admitted: true, Rule: "admitted", Reason: "severity high is at least low, and tlp amber may leave"}, StrippedIOCs: []federation.IOCType{}},
		{Peer: "site-c", Decision: federation.Decision{Rule: "source", Reason: "the source honeypot is among those that do not pass"}, StrippedIOCs: []federation.IOCType{}},
	}
	if diff := cmp.Diff(want, preview.Peers); err != nil || diff != "" {
		t.Errorf("the preview of a honeypot's alert (-want +got): %v\n%s", err, diff)
	}
	preview, err = m.api[0].PreviewSharing(t.Context(), from("edr", "t", federation.High))
	if err != nil || len(preview.Peers) != 2 || !preview.Peers[1].Admitted || !slices.Equal(preview.Peers[1].StrippedIOCs, []federation.IOCType{federation.IP}) {
		t.Errorf("the preview of any other: %+v, %v", preview, err)
	}

	low := m.raise(t, 0, from("edr", "low", federation.Low))
	trap := m.raise(t, 0, from("honeypot", "trap", federation.High))
	m.raise(t, 0, from("edr", "high", federation.High))
	m.published(t, 0, m.raise(t, 0, from("edr", "marker", federation.High)))
	m.arrives(t, 1, "marker")
	m.arrives(t, 2, "marker")
	if diff := cmp.Diff([]string{"high", "low", "marker", "trap"}, m.titles(t, 1, "federation:site-a")); diff != "" {
		t.Errorf("site-b has (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"high", "marker"}, m.titles(t, 2, "federation:site-a")); diff != "" {
		t.Errorf("site-c has (-want +got):\n%s", diff)
	}
	if n := m.sent(t, 0, "site-c"); n != 2 {
		t.Errorf("%d alerts left for site-c", n)
	}
	if iocs := m.titled(t, 2, "high")[0].IOCs; len(iocs) != 1 || iocs[0].Type != federation.Domain {
		t.Errorf("at site-c the alert has the IOCs %v", iocs)
	}
	if iocs := m.titled(t, 1, "high")[0].IOCs; len(iocs) != 2 {
		t.Errorf("at site-b the alert has the IOCs %v", iocs)
	}
	for _, line := range []string{
		`aurora_sharing_decisions_total{decision="kept",peer="site-c",rule="source",site="site-a"} 1`,
		`aurora_sharing_decisions_total{decision="kept",peer="site-c",rule="min_severity",site="site-a"} 1`,
		`aurora_sharing_decisions_total{decision="admitted",peer="site-b",rule="admitted",site="site-a"} 4`,
	} {
		if text := metrics(t, m.Sites[0].API); !strings.Contains(text, line+"\n") {
			t.Errorf("the metrics do not say %s but %s", line, lines(text, "sharing_decisions"))
		}
	}
	for id, want := range map[string][]federation.DeliveryState{low.ID: {federation.DeliveryStored, federation.DeliveryKept}, trap.ID: {federation.DeliveryStored, federation.DeliveryKept}} {
		natstest.Eventually(t, "the ledger follows each peer's gate", func() bool {
			d, err := m.api[0].AlertDeliveries(t.Context(), id)
			return err == nil && len(d.Deliveries) == 2 && d.Deliveries[0].State == want[0] && d.Deliveries[1].State == want[1]
		})
	}
}

func TestAGateThatWasChangedHoldsFromItsAnswerOn(t *testing.T) {
	t.Parallel()
	m := three(t)
	m.raise(t, 0, from("edr", "before", federation.High))
	m.arrives(t, 1, "before")
	// Each step is another kind of filter at the consumer of site-b.
	steps := []struct {
		setting federation.GateSetting
		marker  string // a source that passes
		passes  []string
	}{
		{federation.GateSetting{MinSeverity: federation.Critical}, "edr", []string{"critical edr", "critical ids"}},
		{federation.GateSetting{Sources: []string{"edr"}}, "edr", []string{"critical edr", "high edr"}},
		{federation.GateSetting{MinSeverity: federation.Low, ExceptSources: []string{"edr"}}, "ids", []string{"critical ids", "high ids", "low ids"}},
		{federation.GateSetting{}, "edr", []string{"critical edr", "critical ids", "high edr", "high ids"}},
	}
	want := []string{"before"}
	for n, step := range steps {
		m.setGate(t, 0, "site-b", federation.Outbound, step.setting)
		var last federation.Alert
		for _, s := range []federation.Severity{federation.Low, federation.High, federation.Critical} {
			for _, source := range []string{"edr", "ids"} {
				last = m.raise(t, 0, from(source, fmt.Sprintf("%d %s %s", n, s, source), s))
			}
		}
		// Each lane is past all of this with its marker, so that none of it waits for the next gate.
		m.published(t, 0, last)
		markers := []string{"critical marker"}
		m.raise(t, 0, from(step.marker, fmt.Sprintf("%d critical marker", n), federation.Critical))
		if step.setting.MinSeverity != federation.Critical {
			markers = append(markers, "high marker")
			m.raise(t, 0, from(step.marker, fmt.Sprintf("%d high marker", n), federation.High))
		}
		for _, marker := range markers {
			m.arrives(t, 1, fmt.Sprintf("%d %s", n, marker))
		}
		for _, p := range append(step.passes, markers...) {
			want = append(want, fmt.Sprintf("%d %s", n, p))
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, m.titles(t, 1, "federation:site-a")); diff != "" {
		t.Errorf("site-b has (-want +got):\n%s", diff)
	}
	if n := m.sent(t, 0, "site-b"); n != len(want) {
		t.Errorf("%d alerts left for site-b, %d of them were to", n, len(want))
	}
}

func TestAGateStandsBeforeItsPeerIsKnown(t *testing.T) {
	m := start(t, demo.Options{})
	m.setGate(t, 0, "site-z", federation.Outbound, federation.GateSetting{Sources: []string{"edr"}})
	m.published(t, 0, m.raise(t, 0, from("edr", "for site-z too", federation.High)))
	natstest.Eventually(t, "a copy for site-z lies in the stream", func() bool {
		site := m.Sites[0].ID().ID
		s, err := m.reader(t, 0).JetStream().Stream(t.Context(), subject.AlertStream(site))
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(subject.AllAlerts))
		return err == nil && info.State.Subjects[subject.AlertTo(federation.High, "site-z")] == 1
	})
	all, err := m.api[0].SharingGates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range all.Gates {
		if g.Peer == "site-z" && g.Direction == federation.Outbound && !g.Known && slices.Equal(g.Set, []string{"sources"}) && g.MinSeverity == federation.High {
			return
		}
	}
	t.Errorf("the gates do not show that of site-z: %+v", all)
}

func TestAnInboundGateRefusesWhatArrives(t *testing.T) {
	m := start(t, demo.Options{})
	m.setGate(t, 1, "site-a", federation.Inbound, federation.GateSetting{MinSeverity: federation.Critical, StripIOCs: []federation.IOCType{federation.IP}})
	refused := m.raise(t, 0, from("edr", "refused", federation.High))
	taken := m.raise(t, 0, from("edr", "taken", federation.Critical))
	if iocs := m.arrives(t, 1, "taken")[0].IOCs; len(iocs) != 1 || iocs[0].Type != federation.Domain {
		t.Errorf("the alert that was taken has the IOCs %v", iocs)
	}
	natstest.Eventually(t, "site-a knows that site-b refused it, and that the other is stored", func() bool {
		d, err := m.api[0].AlertDeliveries(t.Context(), refused.ID)
		other, otherErr := m.api[0].AlertDeliveries(t.Context(), taken.ID)
		return err == nil && otherErr == nil && len(d.Deliveries) == 1 && d.Deliveries[0].State == federation.DeliveryRefused &&
			d.Deliveries[0].Detail == "site-b refuses it: severity high is below critical, the lowest that passes" && other.Deliveries[0].State == federation.DeliveryStored
	})
	if got := m.titles(t, 1, "federation:site-a"); !slices.Equal(got, []string{"taken"}) {
		t.Errorf("site-b has %v", got)
	}
	if text, line := metrics(t, m.Sites[1].API), `aurora_alerts_received_total{origin="site-a",outcome="refused",site="site-b"} 1`; !strings.Contains(text, line+"\n") {
		t.Errorf("the metrics do not say %s but %s", line, lines(text, "alerts_received"))
	}
	if letters, err := m.api[1].DeadLetters(t.Context(), ask.Page{}); err != nil || letters.Total != 0 {
		t.Errorf("the dead letters are %+v, %v", letters, err)
	}

	// What site-b has must not stay as it was when its origin makes it harmless.
	if _, err := m.api[0].Update(t.Context(), taken.ID, federation.AlertPatch{Severity: federation.Low}); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the downgrade is at site-b", func() bool { return m.titled(t, 1, "taken")[0].Severity == federation.Low })

	if _, err := m.api[1].ResetGate(t.Context(), ask.GateOf{Peer: "site-a", Direction: federation.Inbound}); err != nil {
		t.Fatal(err)
	}
	m.raise(t, 0, from("edr", "once more", federation.High))
	if iocs := m.arrives(t, 1, "once more")[0].IOCs; len(iocs) != 2 {
		t.Errorf("after the reset an alert has the IOCs %v", iocs)
	}
}

// A wider gate lets a consumer pass over what the narrow one kept: that is no delivery.
func TestTheLedgerDoesNotTakeAWiderGateForADelivery(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{Configure: comparing})
	m.raise(t, 0, alert("known", federation.High))
	m.arrives(t, 1, "known")
	m.setGate(t, 0, "site-b", federation.Outbound, federation.GateSetting{MinSeverity: federation.Critical})
	kept := m.raise(t, 0, alert("kept at first", federation.High))
	state := func() federation.DeliveryState {
		t.Helper()
		d, err := m.api[0].AlertDeliveries(t.Context(), kept.ID)
		if err != nil {
			t.Fatal(err)
		}
		return d.Deliveries[0].State
	}
	natstest.Eventually(t, "it is in the stream for others", func() bool { return m.inStream(t, 0, kept.ID) == 1 })
	if got := state(); got != federation.DeliveryKept {
		t.Errorf("behind the narrow gate it is %s", got)
	}
	if _, err := m.api[0].ResetGate(t.Context(), ask.GateOf{Peer: "site-b", Direction: federation.Outbound}); err != nil {
		t.Fatal(err)
	}
	m.raise(t, 0, alert("behind it", federation.High))
	m.arrives(t, 1, "behind it")
	natstest.Within(t, 60*time.Second, "it is stored", func() bool {
		stored := state() == federation.DeliveryStored
		if stored && len(m.titled(t, 1, "kept at first")) == 0 {
			t.Fatal("the ledger says stored of what the peer does not have")
		}
		return stored
	})
}
