package federation_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestAGateLooksAtTheSource(t *testing.T) {
	only := federation.Gate{MinSeverity: federation.High, Sources: []string{"edr", "suricata"}}
	except := federation.Gate{MinSeverity: federation.High, ExceptSources: []string{"honeypot"}}
	for name, c := range map[string]struct {
		gate   federation.Gate
		sev    federation.Severity
		source string
		rule   federation.SharingRule
		says   string
	}{
		"one of those that pass":     {only, "high", "edr", "admitted", "severity high is at least high, and tlp amber may leave"},
		"one that is not among them": {only, "high", "ids", "source", "the source ids is not among those that pass: edr, suricata"},
		"a name that only begins so": {only, "high", "edr2", "source", "the source edr2 is not among those that pass: edr, suricata"},
		"one that is left out":       {except, "critical", "honeypot", "source", "the source honeypot is among those that do not pass"},
		"any other":                  {except, "critical", "edr", "admitted", "severity critical is at least high, and tlp amber may leave"},
		"the severity is asked first": {except, "low", "honeypot", "min_severity",
			"severity low is below high, the lowest that passes"},
	} {
		t.Run(name, func(t *testing.T) {
			want := federation.Decision{Admitted: c.rule == federation.RuleAdmitted, Rule: c.rule, Reason: c.says}
			if got := c.gate.Decide(c.sev, "", c.source); got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
	if diff := cmp.Diff([]federation.Severity{"critical", "high"}, only.Severities()); diff != "" {
		t.Errorf("the severities of a gate with sources:\n%s", diff)
	}
}

func TestIOCsOfATypeAreTakenOff(t *testing.T) {
	iocs := []federation.IOC{{Type: federation.Domain, Value: "evil.example"}, {Type: federation.IP, Value: "192.0.2.1"}, {Type: federation.IP, Value: "192.0.2.2"}, {Type: federation.Mutex, Value: "m"}}
	gate := federation.Gate{StripIOCs: []federation.IOCType{federation.Email, federation.IP, federation.Domain}}
	if diff := cmp.Diff([]federation.IOC{{Type: federation.Mutex, Value: "m"}}, gate.Strip(iocs)); diff != "" {
		t.Errorf("what is left:\n%s", diff)
	}
	if diff := cmp.Diff([]federation.IOCType{federation.IP, federation.Domain}, gate.Stripped(iocs)); diff != "" {
		t.Errorf("what was taken off:\n%s", diff)
	}
	if got := (federation.Gate{}).Stripped(iocs); len(got) != 0 || got == nil {
		t.Errorf("a gate that takes nothing off took off %#v", got)
	}
}

func some[T any](of []T) *rapid.Generator[[]T] { return rapid.SliceOfN(rapid.SampledFrom(of), 0, 3) }

var (
	sources  = []string{"edr", "ids", "honeypot"}
	someGate = rapid.Custom(func(t *rapid.T) federation.Gate {
		return someSetting.Draw(t, "setting").Over(openGate.Draw(t, "default"))
	})
	openGate = rapid.Custom(func(t *rapid.T) federation.Gate {
		return federation.Gate{MinSeverity: someSeverity.Draw(t, "least"), Closed: rapid.IntRange(0, 9).Draw(t, "closed") == 0}
	})
	someSite  = rapid.SampledFrom([]federation.SiteID{"site-b", "site-c", "site-d"})
	someGates = rapid.Custom(func(t *rapid.T) federation.Gates {
		return federation.Gates{Default: someGate.Draw(t, "default"), Peers: rapid.MapOfN(someSite, someGate, 0, 3).Draw(t, "peers")}
	})
	someLeaves = rapid.Custom(func(t *rapid.T) federation.Alert {
		var iocs []federation.IOC
		for i, kind := range some([]federation.IOCType{"ip", "domain", "mutex"}).Draw(t, "types") {
			iocs = append(iocs, federation.IOC{Type: kind, Value: strings.Repeat("x", i+1)})
		}
		return federation.Alert{ID: "1", Severity: someSeverity.Draw(t, "severity"), TLP: rapid.SampledFrom(federation.TLPs()).Draw(t, "tlp"), Source: rapid.SampledFrom(sources).Draw(t, "source"), IOCs: iocs}
	})
	someSeverity = rapid.SampledFrom(federation.Severities())
	someSetting  = rapid.Custom(func(t *rapid.T) federation.GateSetting {
		return federation.GateSetting{
			MinSeverity: rapid.SampledFrom(append(federation.Severities(), "")).Draw(t, "min severity"), Sources: some(sources).Draw(t, "sources"),
			ExceptSources: some(sources).Draw(t, "except"), StripIOCs: some([]federation.IOCType{"ip", "domain", "mutex"}).Draw(t, "strip"),
		}
	})
)

// reached is the routes by which a peer gets an alert: what its consumer's filter,
// made of its gate and nothing else, lets through.
func reached(g federation.Gates, routes []federation.Route, peer federation.SiteID) []federation.Alert {
	var got []federation.Alert
	gate := g.For(peer)
	for _, r := range routes {
		if r.Peer == peer || r.Peer == "" && !gate.OwnCopy() && slices.Contains(gate.Severities(), r.Alert.Severity) {
			got = append(got, r.Alert)
		}
	}
	return got
}

func TestEachPeerGetsOnceWhatItsGateAdmitsAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gates, a := someGates.Draw(t, "gates"), someLeaves.Draw(t, "alert")
		routes := gates.Routes(a)
		for _, peer := range []federation.SiteID{"site-b", "site-c", "site-d"} {
			gate := gates.For(peer)
			if _, known := gates.Peers[peer]; !known && gate.OwnCopy() {
				continue // nobody makes a copy for a peer that nobody knows
			}
			var want []federation.Alert
			if gate.Decide(a.Severity, a.TLP, a.Source).Admitted {
				left := a
				if gate.OwnCopy() {
					left.IOCs = gate.Strip(a.IOCs)
				}
				want = append(want, left)
			}
			if diff := cmp.Diff(want, reached(gates, routes, peer)); diff != "" {
				t.Fatalf("%s behind %+v (-want +got):\n%s", peer, gate, diff)
			}
		}
		for _, r := range routes {
			if !r.Alert.TLP.Shareable() {
				t.Fatalf("an alert with the label %s leaves", r.Alert.TLP)
			}
		}
	})
}

func TestAPlainFormThatNobodyIsToGetDoesNotLeave(t *testing.T) {
	gates := federation.Gates{Default: federation.Gate{MinSeverity: federation.High}, Peers: map[federation.SiteID]federation.Gate{
		"site-b": {MinSeverity: federation.Low}, "site-c": {MinSeverity: federation.Info, StripIOCs: []federation.IOCType{federation.IP}},
	}}
	for severity, want := range map[federation.Severity][]federation.SiteID{"critical": {"", "site-c"}, "low": {"", "site-c"}, "info": {"site-c"}} {
		var got []federation.SiteID
		for _, r := range gates.Routes(federation.Alert{Severity: severity, TLP: federation.TLPGreen, Source: "edr"}) {
			got = append(got, r.Peer)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s leaves for (-want +got):\n%s", severity, diff)
		}
	}
}

func TestACanonicalSettingDecidesTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, open, a := someSetting.Draw(t, "setting"), openGate.Draw(t, "default"), someLeaves.Draw(t, "alert")
		c := s.Canonical()
		if diff := cmp.Diff(c, c.Canonical()); diff != "" {
			t.Fatalf("canonical is not canonical:\n%s", diff)
		}
		was, is := s.Over(open), c.Over(open)
		if was.Decide(a.Severity, a.TLP, a.Source).Rule != is.Decide(a.Severity, a.TLP, a.Source).Rule || cmp.Diff(was.Strip(a.IOCs), is.Strip(a.IOCs)) != "" {
			t.Fatalf("%+v decides otherwise than %+v", c, s)
		}
	})
}

func TestASettingThatBreaksTheVocabularyIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		setting federation.GateSetting
		wrong   []string
	}{
		"nothing set":             {federation.GateSetting{}, nil},
		"everything set":          {federation.GateSetting{MinSeverity: "low", Sources: []string{"edr"}, ExceptSources: []string{"ids"}, StripIOCs: federation.IOCTypes()}, nil},
		"an unknown severity":     {federation.GateSetting{MinSeverity: "severe"}, []string{"min_severity"}},
		"a source without a name": {federation.GateSetting{Sources: []string{"edr", ""}}, []string{"sources[1]"}},
		"a source too long":       {federation.GateSetting{ExceptSources: []string{strings.Repeat("a", federation.MaxSource+1)}}, []string{"except_sources[0]"}},
		"too many sources":        {federation.GateSetting{Sources: slices.Repeat([]string{"a"}, federation.MaxGateSources+1)}, []string{"sources"}},
		"in and out":              {federation.GateSetting{Sources: []string{"edr"}, ExceptSources: []string{"ids", "edr"}}, []string{"except_sources[1]"}},
		"an unknown type":         {federation.GateSetting{StripIOCs: []federation.IOCType{"ip", "hash"}}, []string{"strip_iocs[1]"}},
		"too many types":          {federation.GateSetting{StripIOCs: slices.Repeat([]federation.IOCType{"ip"}, 13)}, []string{"strip_iocs"}},
	} {
		t.Run(name, func(t *testing.T) { expectFields(t, c.setting.Validate(), c.wrong...) })
	}
	for _, kind := range federation.IOCTypes() {
		if form := federation.IOCTypeForm; !strings.Contains(form, string(kind)) {
			t.Errorf("%q does not say %s", form, kind)
		}
	}
}
