package gateway_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestAPreviewSaysWhoWouldGetAnAlertAndStoresNothing(t *testing.T) {
	s := newWholeSite(t)
	for label, want := range map[string]federation.Decision{
		"":             {Admitted: true, Rule: "admitted", Reason: "severity critical is at least high, and tlp amber may leave"},
		`,"tlp":null`:  {Admitted: true, Rule: "admitted", Reason: "severity critical is at least high, and tlp amber may leave"},
		`,"tlp":"red"`: {Rule: "tlp", Reason: "tlp red stays at its site; only clear, green or amber may leave"},
	} {
		r := s.do(t, "POST", "/api/v1/sharing/preview", `{"title":"t","severity":"critical","source":"s"`+label+`}`)
		p := decode[ask.SharingPreview](t, r)
		if r.status != http.StatusOK || p.SiteID != "site-a" || p.Gate.MinSeverity != federation.High {
			t.Errorf("with %s: %d %s", label, r.status, r.body)
		}
		if diff := cmp.Diff([]ask.PeerDecision{{Peer: "site-b", Decision: want, StrippedIOCs: []federation.IOCType{}}}, p.Peers); diff != "" {
			t.Errorf("with %s (-want +got):\n%s", label, diff)
		}
	}
	if s.raised != 0 {
		t.Errorf("%d alerts were raised", s.raised)
	}
}

func TestADuplicateWithAStricterLabelIsWarnedOf(t *testing.T) {
	s := newWholeSite(t)
	for _, c := range []struct {
		label    string
		warnings []fault.Field
	}{
		{"TLP:GREEN", nil}, {"clear", nil}, {"green", nil},
		{"RED", []fault.Field{{Name: "tlp", Value: "red", Allowed: "green, with which the alert was raised first: it keeps this label until it is edited"}}},
	} {
		r := s.do(t, "POST", "/api/v1/alerts", `{"title":"t","severity":"high","source":"s","tlp":"`+c.label+`"}`)
		got := decode[struct {
			TLP      federation.TLP `json:"tlp"`
			Warnings []fault.Field  `json:"warnings"`
		}](t, r)
		if diff := cmp.Diff(c.warnings, got.Warnings); r.status >= 300 || got.TLP != federation.TLPGreen || diff != "" {
			t.Errorf("%s: %d %s\n%s", c.label, r.status, r.body, diff)
		}
	}
}

func TestABadLabelIsToldWithItsValueAndWhatIsAllowed(t *testing.T) {
	s := newWholeSite(t)
	for _, path := range []string{"/api/v1/alerts", "/api/v1/sharing/preview"} {
		r := s.do(t, "POST", path, `{"title":"t","severity":"high","source":"s","tlp":"white"}`)
		problem := decode[struct {
			Errors []fault.Field `json:"errors"`
		}](t, r)
		want := []fault.Field{{Name: "tlp", Value: "white", Allowed: "clear, green, amber, amber+strict or red"}}
		if diff := cmp.Diff(want, problem.Errors); r.status != http.StatusUnprocessableEntity || diff != "" {
			t.Errorf("%s: status %d (-want +got):\n%s", path, r.status, diff)
		}
	}
}

func TestAGateIsSetShownAndReset(t *testing.T) {
	s := newWholeSite(t)
	r := s.do(t, "GET", "/api/v1/sharing/gates", "")
	if all := decode[ask.SharingOverview](t, r); r.status != http.StatusOK || len(all.Gates) != 1 || all.Gates[0].Peer != "site-b" {
		t.Errorf("the gates: %d %s", r.status, r.body)
	}
	path := "/api/v1/sharing/gates/site-b/inbound"
	r = s.do(t, "PUT", path, `{"min_severity":"low","sources":["edr"],"strip_iocs":["ip"]}`)
	set := decode[ask.PeerGate](t, r)
	want := ask.PeerGate{Peer: "site-b", Direction: federation.Inbound, MinSeverity: federation.Low, Sources: []string{"edr"}, StripIOCs: []federation.IOCType{federation.IP}}
	if diff := cmp.Diff(want, set); r.status != http.StatusOK || diff != "" {
		t.Errorf("setting: %d (-want +got):\n%s", r.status, diff)
	}
	if r := s.do(t, "DELETE", path, ""); r.status != http.StatusOK || decode[ask.PeerGate](t, r).MinSeverity != federation.High {
		t.Errorf("resetting: %d %s", r.status, r.body)
	}
}

func TestABadGateIsToldWithItsValueAndWhatIsAllowed(t *testing.T) {
	s := newWholeSite(t)
	for _, c := range []struct {
		method, path, body string
		want               fault.Field
	}{
		{"PUT", "site-b/outbound", `{"min_severity":"severe"}`, fault.Field{Name: "min_severity", Value: "severe", Allowed: federation.SeverityForm}},
		{"PUT", "site-b/outbound", `{"strip_iocs":["hash"]}`, fault.Field{Name: "strip_iocs[0]", Value: "hash", Allowed: federation.IOCTypeForm}},
		{"PUT", "site-b/sideways", `{}`, fault.Field{Name: "direction", Value: "sideways", Allowed: "outbound or inbound"}},
		{"DELETE", "Site%20B/outbound", "", fault.Field{Name: "peer", Value: "Site B", Allowed: federation.SiteIDForm}},
	} {
		r := s.do(t, c.method, "/api/v1/sharing/gates/"+c.path, c.body)
		problem := decode[struct {
			Errors []fault.Field `json:"errors"`
		}](t, r)
		if diff := cmp.Diff([]fault.Field{c.want}, problem.Errors); r.status != http.StatusUnprocessableEntity || diff != "" {
			t.Errorf("%s %s: %d (-want +got):\n%s", c.method, c.path, r.status, diff)
		}
	}
}
