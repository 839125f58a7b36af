package drillreport_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/drillreport"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestTheDetectionIsTheFirstTransitionWithinTheFault(t *testing.T) {
	from := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	at := func(s float64, to string, cause federation.Cause) federation.Transition {
		return federation.Transition{At: from.Add(time.Duration(s * float64(time.Second))), To: to, Cause: cause}
	}
	ts := []federation.Transition{
		at(11, "down", "after"), at(9, "healthy", ""), at(4, "down", "late"), at(1.5, "degraded", "early"), at(-1, "healthy", ""), at(-2, "down", "before"),
	}
	d := drillreport.Detect("site-a", ts, from, from.Add(10*time.Second))
	if d.Seconds == nil || *d.Seconds != 1.5 || d.Status != federation.LinkDegraded || d.Cause != "early" {
		t.Errorf("got %+v", d)
	}
	if d := drillreport.Detect("site-a", ts[4:], from, from.Add(10*time.Second)); d.Seconds != nil {
		t.Errorf("got %+v", d)
	}
}

// own and peers are rows of a queue: raised there, and come from site-a.
func own(title string) federation.Alert { return federation.Alert{Title: title} }

func peers(title string) federation.Alert {
	return federation.Alert{Title: title, Origin: &federation.Origin{SiteID: "site-a"}}
}

func TestCompareFindsWhatIsLostDuplicatedOrForeign(t *testing.T) {
	accepted := []drillreport.Accepted{{ID: "1", Title: "one"}, {ID: "2", Title: "two"}}
	for _, c := range []struct {
		name        string
		here, there []federation.Alert
		want        drillreport.Direction
	}{
		{"all is well", []federation.Alert{own("one"), own("two")}, []federation.Alert{peers("two"), own("own"), peers("one")},
			drillreport.Direction{Stored: 2}},
		{"lost on the way", []federation.Alert{own("one"), own("two")}, []federation.Alert{peers("one")},
			drillreport.Direction{Stored: 1, Lost: 1, LostIDs: []string{"2"}}},
		{"lost where it was accepted", []federation.Alert{own("two")}, []federation.Alert{peers("one"), peers("two")},
			drillreport.Direction{Stored: 2, Lost: 1, LostIDs: []string{"1"}}},
		{"a row of the other site is none of these", []federation.Alert{own("one"), own("two")}, []federation.Alert{peers("one"), own("two")},
			drillreport.Direction{Stored: 1, Lost: 1, LostIDs: []string{"2"}}},
		{"duplicated at the other site", []federation.Alert{own("one"), own("two")}, []federation.Alert{peers("one"), peers("two"), peers("two"), peers("two")},
			drillreport.Direction{Stored: 2, Duplicated: 2}},
		{"come back to its origin", []federation.Alert{own("one"), own("two"), peers("one")}, []federation.Alert{peers("one"), peers("two")},
			drillreport.Direction{Stored: 2, Duplicated: 1}},
		{"foreign", []federation.Alert{own("one"), own("two"), own("three")}, []federation.Alert{peers("one"), peers("two"), peers("three")},
			drillreport.Direction{Stored: 2, Foreign: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.From, c.want.Accepted = "site-a", 2
			if diff := cmp.Diff(c.want, drillreport.Compare("site-a", accepted, c.here, c.there)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheVerdictSaysHowThePromiseWasBroken(t *testing.T) {
	for want, r := range map[string]drillreport.Report{
		"": {Converged: true, Directions: []drillreport.Direction{{Accepted: 2, Stored: 2, Foreign: 1}}},
		"the promise was broken: 3 alerts lost, 0 duplicated":                                                 {Directions: []drillreport.Direction{{Lost: 1}, {Lost: 2}}},
		"the promise was broken: 0 alerts lost, 1 duplicated":                                                 {Converged: true, Directions: []drillreport.Direction{{}, {Duplicated: 1}}},
		"the promise was broken: 4 alerts lost, 0 duplicated; some were still under way 60 s after the fault": {TimeoutSeconds: 60, Waiting: true, Directions: []drillreport.Direction{{Lost: 4}}},
	} {
		err := r.Verdict()
		if want == "" {
			if err != nil {
				t.Errorf("got %v", err)
			}
			continue
		}
		if err == nil || err.Error() != want || fault.Of(err).Code.ExitCode() == 0 {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestThePageIsEscapedAndSaysTheVerdict(t *testing.T) {
	r := drillreport.Report{Fault: "<cut>", Directions: []drillreport.Direction{{From: "site-a", To: "site-b", Lost: 1, LostIDs: []string{"<b>"}}}, Detections: []drillreport.Detection{{Site: "site-a"}}}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"the promise was broken: 1 alerts lost", "&lt;cut&gt;", "<code>&lt;b&gt;</code>", "site-a did not see the fault", "<td>never</td>", "prefers-color-scheme: dark"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	r = drillreport.Report{Converged: true}
	page.Reset()
	if err := r.WriteHTML(&page); err != nil || !strings.Contains(page.String(), "The promise was kept") {
		t.Errorf("got %v and %s", err, &page)
	}
}

func good() drillreport.Report {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	seconds := 0.4
	return drillreport.Report{
		Run: "1k3", Link: "link-site-a-site-b", Fault: "cut", FaultAt: at, HealedAt: at.Add(time.Minute), Converged: true,
		Directions: []drillreport.Direction{{From: "site-a", To: "site-b", Accepted: 9, Stored: 9}},
		Detections: []drillreport.Detection{{Site: "site-a", Seconds: &seconds, Status: federation.Down, Cause: federation.TransportDisconnected}, {Site: "site-b"}},
	}
}

func TestAReportThatNoDrillWouldMakeIsRefused(t *testing.T) {
	if err := good().Validate(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*drillreport.Report){
		"run: ":                    func(r *drillreport.Report) { r.Run = "../x" },
		"link: ":                   func(r *drillreport.Report) { r.Link = "a\nb" },
		"fault: ":                  func(r *drillreport.Report) { r.Fault = "" },
		"healed_at: ":              func(r *drillreport.Report) { r.HealedAt = r.FaultAt.Add(-1) },
		"directions: ":             func(r *drillreport.Report) { r.Directions = make([]drillreport.Direction, 241) },
		"directions[0]: ":          func(r *drillreport.Report) { r.Directions[0].To = "B" },
		"directions[0].lost_ids: ": func(r *drillreport.Report) { r.Directions[0].LostIDs = make([]string, 101) },
		"detections[0].site: ":     func(r *drillreport.Report) { r.Detections[0].Site = "" },
		"detections[0].cause: ":    func(r *drillreport.Report) { r.Detections[0].Cause = "a\tb" },
	} {
		r := good()
		spoil(&r)
		if err := r.Validate(); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not refused: %v", name, err)
		}
	}
}

func TestABriefReportNamesAFewOfTheLost(t *testing.T) {
	r := good()
	r.Directions[0].Lost, r.Directions[0].LostIDs = 300, make([]string, 300)
	if b := r.Brief().Directions[0]; b.Lost != 300 || len(b.LostIDs) != drillreport.MaxLostIDs || len(r.Directions[0].LostIDs) != 300 {
		t.Errorf("it has %d of %d", len(b.LostIDs), b.Lost)
	}
}
