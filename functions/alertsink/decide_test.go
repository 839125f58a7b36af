package alertsink

import (
	"testing"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
)

func version(id string, v int, s federation.Severity) signed {
	return signed{Said: federation.SharedAlert{
		OriginSite: "site-b", OriginID: id, AlertVersion: v,
		NewAlert: federation.NewAlert{Severity: s, Source: "edr", TLP: federation.TLPClear},
	}}
}

// Versions of one alert often come in one batch, after an outage above all, and in any order.
func TestAFurtherVersionPassesTheGateWithTheOneThatIsLetIn(t *testing.T) {
	s := sink{store: storetest.Open(t)}
	gates := federation.Gates{Default: federation.Gate{MinSeverity: federation.Critical}}
	raised, harmless := version("one", 1, federation.Critical), version("one", 2, federation.Low)
	for name, batch := range map[string][]signed{
		"in their order":  {raised, harmless, version("another", 1, federation.Low)},
		"the newer first": {harmless, raised, version("another", 2, federation.Low)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.decide(t.Context(), gates, batch)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []bool{true, true, false} {
				if got[i].Admitted != want {
					t.Errorf("version %d of %s is let in: %v", batch[i].Said.AlertVersion, batch[i].Said.OriginID, got[i].Admitted)
				}
			}
		})
	}
}
