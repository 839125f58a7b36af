package drill_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/drill"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func options(t *testing.T) drill.Options {
	return drill.Options{
		Fault: "cut", For: 2 * time.Second, Rate: 10, Timeout: 30 * time.Second, Version: "0.0.1",
		Log: slog.New(slog.DiscardHandler), Progress: func(phase string) { t.Log(phase) },
	}
}

func TestACutLosesNothingAndDoublesNothing(t *testing.T) {
	r, err := drill.Run(t.Context(), options(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verdict(); err != nil || !r.Converged {
		t.Errorf("%v: %+v", err, r)
	}
	if len(r.Directions) != 2 || r.Directions[0].From != r.Directions[1].To || r.Directions[0].To != r.Directions[1].From {
		t.Fatalf("got the directions %+v", r.Directions)
	}
	for _, d := range r.Directions {
		if d.DuringFault == 0 || d.Accepted <= d.DuringFault || d.Stored != d.Accepted || d.Foreign != 0 || d.CaughtUpSeconds == nil {
			t.Errorf("got %+v", d)
		}
	}
	for _, d := range r.Detections {
		if d.Seconds != nil && (*d.Seconds <= 0 || d.Status == federation.Healthy || d.Cause == "") {
			t.Errorf("got %+v", d)
		}
	}
	if r.FaultSeconds() < 2 {
		t.Errorf("the fault lasted %g s", r.FaultSeconds())
	}
}

func TestADrillEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := options(t)
	o.For = time.Hour
	o.Progress = func(phase string) {
		if strings.HasPrefix(phase, "The fault") {
			cancel()
		}
	}
	if _, err := drill.Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOptionsThatMakeNoDrillAreRefused(t *testing.T) {
	_, err := drill.Run(t.Context(), drill.Options{Fault: "fire", For: time.Millisecond, Timeout: 2 * time.Hour})
	if !fault.Is(err, fault.Invalid) {
		t.Fatalf("got %v", err)
	}
	for _, name := range []string{"fault", "for", "rate", "timeout"} {
		if !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%q does not name %s", err, name)
		}
	}
}

// own and peers are rows of a queue: raised there, and come from site-a.
func own(title string) federation.Alert { return federation.Alert{Title: title} }

func peers(title string) federation.Alert {
	return federation.Alert{Title: title, Origin: &federation.Origin{SiteID: "site-a"}}
}

func TestCompareFindsWhatIsLostDuplicatedOrForeign(t *testing.T) {
	accepted := []drill.Accepted{{ID: "1", Title: "one"}, {ID: "2", Title: "two"}}
	for _, c := range []struct {
		name        string
		here, there []federation.Alert
		want        drill.Direction
	}{
		{"all is well", []federation.Alert{own("one"), own("two")}, []federation.Alert{peers("two"), own("own"), peers("one")},
			drill.Direction{Stored: 2}},
		{"lost on the way", []federation.Alert{own("one"), own("two")}, []federation.Alert{peers("one")},
			drill.Direction{Stored: 1, Lost: 1, LostIDs: []string{"2"}}},
		{"lost where it was accepted", []federation.Alert{own("two")}, []federation.Alert{peers("one"), peers("two")},
			drill.Direction{Stored: 2, Lost: 1, LostIDs: []string{"1"}}},
		{"a row of the other site is none of these", []federation.Alert{own("one"), own("two")}, []federation.Alert{peers("one"), own("two")},
			drill.Direction{Stored: 1, Lost: 1, LostIDs: []string{"2"}}},
		{"duplicated at the other site", []federation.Alert{own("one"), own("two")}, []federation.Alert{peers("one"), peers("two"), peers("two"), peers("two")},
			drill.Direction{Stored: 2, Duplicated: 2}},
		{"come back to its origin", []federation.Alert{own("one"), own("two"), peers("one")}, []federation.Alert{peers("one"), peers("two")},
			drill.Direction{Stored: 2, Duplicated: 1}},
		{"foreign", []federation.Alert{own("one"), own("two"), own("three")}, []federation.Alert{peers("one"), peers("two"), peers("three")},
			drill.Direction{Stored: 2, Foreign: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.From, c.want.Accepted = "site-a", 2
			if diff := cmp.Diff(c.want, drill.Compare("site-a", accepted, c.here, c.there)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheVerdictSaysHowThePromiseWasBroken(t *testing.T) {
	for want, r := range map[string]drill.Report{
		"": {Converged: true, Directions: []drill.Direction{{Accepted: 2, Stored: 2, Foreign: 1}}},
		"the promise was broken: 3 alerts lost, 0 duplicated":                                                 {Directions: []drill.Direction{{Lost: 1}, {Lost: 2}}},
		"the promise was broken: 0 alerts lost, 1 duplicated":                                                 {Converged: true, Directions: []drill.Direction{{}, {Duplicated: 1}}},
		"the promise was broken: 4 alerts lost, 0 duplicated; some were still under way 60 s after the fault": {TimeoutSeconds: 60, Waiting: true, Directions: []drill.Direction{{Lost: 4}}},
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
	r := drill.Report{Fault: "<cut>", Directions: []drill.Direction{{From: "site-a", To: "site-b", Lost: 1, LostIDs: []string{"<b>"}}}, Detections: []drill.Detection{{Site: "site-a"}}}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"the promise was broken: 1 alerts lost", "&lt;cut&gt;", "<code>&lt;b&gt;</code>", "site-a did not see the fault", "<td>never</td>", "prefers-color-scheme: dark"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	r = drill.Report{Converged: true}
	page.Reset()
	if err := r.WriteHTML(&page); err != nil || !strings.Contains(page.String(), "The promise was kept") {
		t.Errorf("got %v and %s", err, &page)
	}
}
