package federation_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestTheLabelsAreThoseOfTLP2(t *testing.T) {
	form := federation.TLPForm
	for _, l := range federation.TLPs() {
		want := l == "clear" || l == "green" || l == "amber"
		if !l.Valid() || l.Shareable() != want {
			t.Errorf("%s: valid %t, shareable %t", l, l.Valid(), l.Shareable())
		}
		if !strings.Contains(form, string(l)) {
			t.Errorf("%q does not say %s", form, l)
		}
	}
	for _, word := range []federation.TLP{"", "white", "RED", "Amber", "amber+", "amber + strict", "TLP:RED", "red\n"} {
		if word.Valid() || word.Shareable() {
			t.Errorf("the label %q was taken", word)
		}
	}
}

func TestALabelIsReadAsPeopleWriteIt(t *testing.T) {
	for word, want := range map[string]federation.TLP{
		"AMBER": "amber", "TLP:AMBER": "amber", "tlp:amber+strict": "amber+strict", "Tlp:Red": "red", "clear": "clear",
		// What is no label is shown as it came.
		"WHITE": "WHITE", "TLP:": "TLP:", "TLP: RED": "TLP: RED", "tlp:tlp:red": "tlp:tlp:red", "": "",
	} {
		var n federation.NewAlert
		if err := json.Unmarshal([]byte(`{"tlp":"`+word+`"}`), &n); err != nil || n.TLP != want || federation.ParseTLP(word) != want {
			t.Errorf("%q is read as %q and %q, %v", word, n.TLP, federation.ParseTLP(word), err)
		}
	}
	labels := federation.TLPs()
	for i, l := range labels {
		for j, m := range labels {
			if l.Stricter(m) != (i > j) {
				t.Errorf("%s is stricter than %s: %t", l, m, l.Stricter(m))
			}
		}
	}
}

func TestAnAlertWithoutALabelIsAmber(t *testing.T) {
	if got := goodAlert().Alert("1", noon).TLP; got != federation.TLPAmber {
		t.Errorf("a local one is %q", got)
	}
	// A payload of a site that knows no labels yet.
	old := strings.Replace(string(wire(t, federation.TLPGreen)), `"tlp":"green",`, "", 1)
	shared, err := readShared([]byte(old))
	if err != nil {
		t.Fatal(err)
	}
	if got := shared.Received("1", noon).TLP; shared.TLP != "" || got != federation.TLPAmber {
		t.Errorf("%q is received as %q", shared.TLP, got)
	}
}

func TestALabelCrossesAndOneThatMayNotIsRefused(t *testing.T) {
	for _, l := range federation.TLPs() {
		shared, err := readShared(wire(t, l))
		if l.Shareable() {
			if got := shared.Received("1", noon).TLP; err != nil || got != l {
				t.Errorf("%s arrives as %s, %v", l, got, err)
			}
			continue
		}
		expectFields(t, err, "tlp")
	}
	_, err := readShared(wire(t, "white"))
	expectFields(t, err, "tlp")
}

// wire is a shared alert with a label as a peer sends it.
func wire(t *testing.T, l federation.TLP) []byte {
	t.Helper()
	shared := federation.Share(goodAlert().Alert("0192-b", noon), siteB)
	shared.TLP = l
	data, err := json.Marshal(shared)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTheGateDecidesByRulesInTheirOrder(t *testing.T) {
	high := federation.Gate{MinSeverity: federation.High}
	for name, c := range map[string]struct {
		gate     federation.Gate
		severity federation.Severity
		label    federation.TLP
		rule     federation.SharingRule
		says     string
	}{
		"severe and clear":          {high, "critical", "clear", "admitted", "severity critical is at least high, and tlp clear may leave"},
		"just severe enough":        {high, "high", "green", "admitted", "severity high is at least high, and tlp green may leave"},
		"no label is amber":         {high, "high", "", "admitted", "severity high is at least high, and tlp amber may leave"},
		"not severe enough":         {high, "medium", "clear", "min_severity", "severity medium is below high, the lowest that passes"},
		"an unknown severity":       {high, "severe", "clear", "min_severity", "severity severe is below high, the lowest that passes"},
		"severe and strict":         {high, "critical", "amber+strict", "tlp", "tlp amber+strict stays at its site; only clear, green or amber may leave"},
		"red":                       {high, "critical", "red", "tlp", "tlp red stays at its site; only clear, green or amber may leave"},
		"red and not severe":        {high, "info", "red", "tlp", "tlp red stays at its site; only clear, green or amber may leave"},
		"an unknown label":          {high, "critical", "white", "tlp", "tlp white stays at its site; only clear, green or amber may leave"},
		"federation off":            {federation.Gate{MinSeverity: "info", Closed: true}, "critical", "clear", "federation_off", "federation is off at this site, so nothing leaves it"},
		"federation off, and red":   {federation.Gate{Closed: true}, "critical", "red", "federation_off", "federation is off at this site, so nothing leaves it"},
		"a gate that was never set": {federation.Gate{}, "critical", "clear", "min_severity", "the gate has no lowest severity, so nothing passes, not even critical"},
	} {
		t.Run(name, func(t *testing.T) {
			want := federation.Decision{Admitted: c.rule == federation.RuleAdmitted, Rule: c.rule, Reason: c.says}
			if got := c.gate.Decide(c.severity, c.label, "edr"); got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestRedAndAmberStrictAreNeverAdmitted(t *testing.T) {
	severity := rapid.OneOf(rapid.SampledFrom(federation.Severities()), rapid.Map(rapid.String(), func(s string) federation.Severity { return federation.Severity(s) }))
	label := rapid.OneOf(rapid.SampledFrom(federation.TLPs()), rapid.Map(rapid.String(), func(s string) federation.TLP { return federation.TLP(s) }))
	rapid.Check(t, func(t *rapid.T) {
		gate := federation.Gate{MinSeverity: severity.Draw(t, "least"), Closed: rapid.Bool().Draw(t, "closed")}
		s, l := severity.Draw(t, "severity"), label.Draw(t, "label")
		d := gate.Decide(s, l, "edr")
		if d.Admitted != (d.Rule == federation.RuleAdmitted) || d.Reason == "" {
			t.Fatalf("the decision contradicts itself: %+v", d)
		}
		if d.Admitted && (l == federation.TLPRed || l == federation.TLPAmberStrict || l != "" && !l.Valid()) {
			t.Fatalf("%+v admits %q: %+v", gate, l, d)
		}
		if d.Admitted && (gate.Closed || !gate.MinSeverity.Valid() || s.Rank() < gate.MinSeverity.Rank()) {
			t.Fatalf("%+v admits %q: %+v", gate, s, d)
		}
	})
}
