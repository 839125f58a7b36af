package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/drillreport"
)

func theLastDrillsAreKept(t *testing.T, f fixture) {
	s := f.migrated(t)
	report := func(i int) drillreport.Report {
		return drillreport.Report{Run: fmt.Sprintf("run%02d", i), Link: "link-site-a-site-b", FaultAt: t0, HealedAt: after(time.Minute), Directions: []drillreport.Direction{{From: "site-a", To: "site-b", Accepted: i}}}
	}
	for i := range 23 {
		if err := s.KeepDrill(t.Context(), report(i), after(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	again := report(22)
	again.Link = "another"
	if err := s.KeepDrill(t.Context(), again, after(time.Hour)); err != nil {
		t.Fatal(err)
	}
	got := must(s.Drills(t.Context()))(t)
	if len(got) != keptDrills {
		t.Fatalf("%d are kept", len(got))
	}
	equal(t, "the newest", got[0], report(22))
	equal(t, "the oldest", got[keptDrills-1], report(3))
}
