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
		if diff := cmp.Diff([]ask.PeerDecision{{Peer: "site-b", Decision: want}}, p.Peers); diff != "" {
			t.Errorf("with %s (-want +got):\n%s", label, diff)
		}
	}
	if s.raised != 0 {
		t.Errorf("%d alerts were raised", s.raised)
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
