package ask_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestAQuestionOutsideTheBoundsIsRefused(t *testing.T) {
	page := func(skip, limit int) ask.Page { return ask.Page{Skip: skip, Limit: limit} }
	for name, c := range map[string]struct {
		question interface{ Validate() error }
		wrong    []string
	}{
		"the first page":               {page(0, 0), nil},
		"the largest page":             {page(ask.MaxSkip, ask.MaxLimit), nil},
		"a page that is too large":     {page(0, ask.MaxLimit+1), []string{"limit"}},
		"a page of less than nothing":  {page(0, -1), []string{"limit"}},
		"a page before the first":      {page(-1, 1), []string{"skip"}},
		"a page beyond every list":     {page(ask.MaxSkip+1, 1), []string{"skip"}},
		"an empty filter":              {ask.AlertFilter{}, nil},
		"a full filter":                {ask.AlertFilter{Page: page(1, 1), Severity: federation.High, Status: federation.New, TLP: federation.TLPRed, Source: "federation:site-b"}, nil},
		"an unknown severity":          {ask.AlertFilter{Severity: "severe"}, []string{"severity"}},
		"an unknown status":            {ask.AlertFilter{Status: "open"}, []string{"status"}},
		"an unknown label":             {ask.AlertFilter{TLP: "white"}, []string{"tlp"}},
		"a source that is too long":    {ask.AlertFilter{Source: strings.Repeat("ü", federation.MaxSource+1)}, []string{"source"}},
		"a source that is not UTF-8":   {ask.AlertFilter{Source: "\xff"}, []string{"source"}},
		"a NUL in the source":          {ask.AlertFilter{Source: "a\x00"}, []string{"source"}},
		"everything wrong at once":     {ask.AlertFilter{Page: page(-1, -1), Severity: "x", Status: "x", TLP: "x", Source: "\xff"}, []string{"skip", "limit", "severity", "status", "tlp", "source"}},
		"a change to an unknown state": {ask.AlertUpdate{ID: "1", Patch: federation.AlertPatch{Status: "open"}}, []string{"status"}},
		"a change to a known state":    {ask.AlertUpdate{ID: "1", Patch: federation.AlertPatch{Status: federation.Triaged}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			if err := c.question.Validate(); err != nil {
				if !fault.Is(err, fault.Invalid) {
					t.Fatalf("the error is no invalid fault: %v", err)
				}
				for _, f := range fault.Of(err).Fields {
					got = append(got, f.Name)
				}
			}
			if diff := cmp.Diff(c.wrong, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnIDThatNoAlertCanHaveIsNotFound(t *testing.T) {
	for name, id := range map[string]string{
		"none": "", "one that is too long": strings.Repeat("a", federation.MaxAlertID+1), "not UTF-8": "\xff", "with a NUL": "a\x00",
	} {
		if err := (ask.AlertID{ID: id}).Validate(); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
		if err := (ask.AlertUpdate{ID: id, Patch: federation.AlertPatch{Status: federation.New}}).Validate(); !fault.Is(err, fault.NotFound) {
			t.Errorf("a change of %s: %v", name, err)
		}
	}
	if err := (ask.AlertID{ID: "0192"}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestAPageWithoutALimitHasTheDefault(t *testing.T) {
	if got := (ask.Page{Skip: 7}).WithDefaults(); got != (ask.Page{Skip: 7, Limit: ask.DefaultLimit}) {
		t.Errorf("got %+v", got)
	}
	if got := (ask.Page{Limit: 3}).WithDefaults(); got != (ask.Page{Limit: 3}) {
		t.Errorf("got %+v", got)
	}
}
