package alertsink

import (
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
)

// Where much waits, a version of an alert may be decided on while the one before it is being stored.
func TestWhatTheGateRefusesIsDecidedOnceNothingIsStoredBesideIt(t *testing.T) {
	s := sink{store: storetest.Open(t), turns: &turns{}}
	gates := federation.Gates{Default: federation.Gate{MinSeverity: federation.Critical}}
	_, stored, err := s.decideInTurn(t.Context(), s.turns.of("site-b"), gates, []signed{version("one", 1, federation.Critical)})
	if err != nil {
		t.Fatal(err)
	}
	decided := make(chan []federation.Decision, 1)
	go func() {
		got, done, err := s.decideInTurn(t.Context(), s.turns.of("site-b"), gates, []signed{version("one", 2, federation.Low)})
		if err != nil {
			t.Error(err)
		} else {
			done()
		}
		decided <- got
	}()
	natstest.Eventually(t, "it waits, or was decided too soon", func() bool {
		waits := !s.turns.of("site-b").TryRLock()
		if !waits {
			s.turns.of("site-b").RUnlock()
		}
		return waits || len(decided) > 0
	})
	row := version("one", 1, federation.Critical).Said.Received("0193aaaa-0000-7000-8000-000000000000", time.Now())
	if _, err := s.store.ReceiveAlerts(t.Context(), []federation.Alert{row}, nil); err != nil {
		t.Fatal(err)
	}
	stored()
	if got := <-decided; len(got) != 1 || !got[0].Admitted {
		t.Errorf("the further version: %+v", got)
	}
}
