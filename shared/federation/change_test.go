package federation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestAPatchThatBreaksALimitIsRefused(t *testing.T) {
	for _, s := range federation.AlertStatuses() {
		if err := (federation.AlertPatch{Status: s}).Validate(); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]struct {
		patch federation.AlertPatch
		wrong []string
	}{
		"nothing":                   {federation.AlertPatch{}, []string{"body"}},
		"an unknown status":         {federation.AlertPatch{Status: "closed"}, []string{"status"}},
		"an empty title":            {federation.AlertPatch{Title: new("")}, []string{"title"}},
		"a blank title":             {federation.AlertPatch{Title: new("  ")}, []string{"title"}},
		"an empty description":      {federation.AlertPatch{Description: new("")}, nil},
		"an unknown severity":       {federation.AlertPatch{Severity: "severe"}, []string{"severity"}},
		"an unknown label":          {federation.AlertPatch{TLP: "white"}, []string{"tlp"}},
		"an empty asset":            {federation.AlertPatch{AffectedAssets: &[]string{""}}, []string{"affected_assets[0]"}},
		"no assets any more":        {federation.AlertPatch{AffectedAssets: &[]string{}}, nil},
		"no technique":              {federation.AlertPatch{MitreTechniques: &[]string{"1071"}}, []string{"mitre_techniques[0]"}},
		"IOCs of no shape":          {federation.AlertPatch{IOCs: &federation.IOCInput{Malformed: "5"}}, []string{"iocs"}},
		"an unreadable IOC":         {federation.AlertPatch{IOCs: &federation.IOCInput{Unreadable: []string{"?"}}}, []string{"iocs"}},
		"a blank retraction":        {federation.AlertPatch{Retraction: " "}, []string{"retraction"}},
		"a retraction at length":    {federation.AlertPatch{Retraction: strings.Repeat("a", 501)}, []string{"retraction"}},
		"much at once, all of them": {federation.AlertPatch{Status: "x", Title: new(""), TLP: "x"}, []string{"status", "title", "tlp"}},
	} {
		t.Run(name, func(t *testing.T) { expectFields(t, c.patch.Validate(), c.wrong...) })
	}
}

// change applies a patch that must be taken.
func change(t *testing.T, a federation.Alert, p federation.AlertPatch) federation.Alert {
	t.Helper()
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	changed, err := a.Apply(p, a.UpdatedAt.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestAChangeAtTheOriginIsAFurtherVersion(t *testing.T) {
	first := fullAlert(t).Alert("1", noon)
	second := change(t, first, federation.AlertPatch{Status: federation.Resolved, Title: new(" changed "), IOCs: &federation.IOCInput{}})
	want := first
	want.Version, want.Status, want.Title, want.IOCs, want.UpdatedAt = 2, federation.Resolved, "changed", []federation.IOC{}, noon.Add(time.Minute)
	if diff := cmp.Diff(want, second); diff != "" {
		t.Error(diff)
	}
	again := change(t, second, federation.AlertPatch{Status: federation.Resolved, Title: new("changed")})
	if diff := cmp.Diff(second, again); diff != "" {
		t.Errorf("a change to what it is already:\n%s", diff)
	}
}

func TestAnAlertOfAPeerChangesItsStatusAlone(t *testing.T) {
	here := federation.Share(fullAlert(t).Alert("0192-b", noon), siteB).Received("1", noon)
	triaged := change(t, here, federation.AlertPatch{Status: federation.Triaged})
	if triaged.Status != federation.Triaged || triaged.Version != 1 || triaged.Origin.Status != federation.New {
		t.Errorf("triaged here: %+v", triaged)
	}
	for _, p := range []federation.AlertPatch{{Severity: federation.Low}, {Retraction: "mine now"}, {Status: federation.New, Title: new("x")}} {
		if _, err := here.Apply(p, noon); !fault.Is(err, fault.Conflict) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestARetractionIsForGoodAndBringsNoContent(t *testing.T) {
	a := change(t, fullAlert(t).Alert("1", noon), federation.AlertPatch{Retraction: "raised in error"})
	if _, err := a.Apply(federation.AlertPatch{TLP: federation.TLPClear}, noon); !fault.Is(err, fault.Conflict) {
		t.Errorf("an edit after it: %v", err)
	}
	if a = change(t, a, federation.AlertPatch{Status: federation.FalsePositive}); a.Version != 2 || a.Status != federation.FalsePositive {
		t.Errorf("triage of what is retracted is told: version %d, %s", a.Version, a.Status)
	}
	shared := federation.Share(a, siteB)
	if err := shared.Validate(); err != nil {
		t.Fatal(err)
	}
	if shared.Retraction.Reason != "raised in error" || shared.RawLog != "" || shared.Description != "" || shared.Title == a.Title || len(shared.IOCs.Items) != 0 {
		t.Errorf("the payload is %+v", shared)
	}
}

func TestWhatMayNoLongerLeaveIsTakenBack(t *testing.T) {
	gate := federation.Gate{MinSeverity: federation.High}
	a := fullAlert(t).Alert("1", noon) // critical
	for _, c := range []struct {
		patch    federation.AlertPatch
		withheld bool
	}{
		{federation.AlertPatch{Severity: federation.Info}, false},
		{federation.AlertPatch{TLP: federation.TLPRed}, true},
		{federation.AlertPatch{TLP: federation.TLPGreen}, false},
	} {
		a = change(t, a, c.patch)
		if d := gate.Admits(a); !d.Admitted {
			t.Errorf("%+v is kept from those who have the alert: %s", c.patch, d.Reason)
		}
		if got := federation.Share(a, siteB).Retraction != nil; got != c.withheld {
			t.Errorf("%+v: taken back is %t", c.patch, got)
		}
	}
	never := goodAlert()
	never.TLP = federation.TLPRed
	if d := gate.Admits(change(t, never.Alert("2", noon), federation.AlertPatch{Status: federation.Triaged})); d.Admitted || d.Rule != federation.RuleTLP {
		t.Errorf("an alert that was always red: %+v", d)
	}
}

// Whatever the order in which versions come, and how often each, the newest stands,
// and what this site made of the alert stays.
func TestTheNewestVersionStandsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a := fullAlert(t).Alert("0192-b", noon)
		versions := []federation.Alert{a}
		for i := range rapid.IntRange(1, 5).Draw(r, "changes") {
			p := rapid.SampledFrom([]federation.AlertPatch{
				{Title: new("title " + string(rune('a'+i)))}, {Status: federation.Resolved}, {Status: federation.Investigating},
				{TLP: federation.TLPRed}, {TLP: federation.TLPGreen}, {Severity: federation.Low},
			}).Draw(r, "patch")
			if a = change(t, a, p); a.Version > versions[len(versions)-1].Version {
				versions = append(versions, a)
			}
		}
		arrivals := rapid.SliceOfN(rapid.SampledFrom(versions), 0, 10).Draw(r, "arrivals")
		a = versions[len(versions)-1] // the last that was told
		arrivals = append(arrivals, a)
		arrivals = rapid.Permutation(arrivals).Draw(r, "order")

		here := federation.Share(arrivals[0], siteB).Received("here", noon)
		here.Status = federation.Escalated
		for i, v := range arrivals[1:] {
			next := federation.Share(v, siteB).Received("other", noon.Add(time.Duration(i)*time.Second))
			newer := next.Version > here.Version
			was := here
			var took bool
			if here, took = here.Supersede(next); took != newer {
				t.Errorf("version %d over %d: taken is %t", next.Version, was.Version, took)
			}
		}
		if here.Version != a.Version || here.Origin.Status != a.Status || (here.Retraction != nil) != !a.TLP.Shareable() {
			t.Errorf("at the end it is %+v, at the origin %+v", here, a)
		}
		if a.TLP.Shareable() && (here.Title != a.Title || here.Severity != a.Severity) {
			t.Errorf("at the end its content is that of another version: %+v, not %+v", here, a)
		}
		if here.ID != "here" || here.Status != federation.Escalated || !here.CreatedAt.Equal(noon) || !here.Origin.ReceivedAt.Equal(noon) {
			t.Errorf("what this site made of it was overwritten: %+v", here)
		}
	})
}
