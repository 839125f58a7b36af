package federation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// noon is the moment at which the tests happen.
var noon = time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)

// contract are the thresholds that a site has when nothing else is set.
var contract = federation.Thresholds{Degraded: 45 * time.Second, Down: 120 * time.Second}

// expectFields fails where err is not the Invalid fault that names exactly these fields, in this order.
func expectFields(t *testing.T, err error, names ...string) {
	t.Helper()
	var got []string
	if err != nil {
		f := fault.Of(err)
		if f.Code != fault.Invalid {
			t.Fatalf("the error is %s, want invalid: %v", f.Code, err)
		}
		for _, field := range f.Fields {
			got = append(got, field.Name)
			if field.Allowed == "" {
				t.Errorf("%s: nothing says what is allowed", field.Name)
			}
		}
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("the fields that are wrong (-want +got):\n%s\nin: %v", diff, err)
	}
}

func TestASiteIDIsNarrowEnoughForASubjectAStreamAndALink(t *testing.T) {
	for name, id := range map[string]string{
		"one letter":           "a",
		"one digit":            "0",
		"letters and a hyphen": "site-a",
		"a hyphen at the end":  "a-",
		"two hyphens":          "a--b",
		"63 characters":        strings.Repeat("a", 63),
	} {
		if !federation.SiteID(id).Valid() {
			t.Errorf("%s: %q was refused", name, id)
		}
	}
	for name, id := range map[string]string{
		"empty":                         "",
		"64 characters":                 strings.Repeat("a", 64),
		"a hyphen first":                "-a",
		"upper case":                    "Site-a",
		"an underscore":                 "site_a",
		"the separator of subjects":     "site.a",
		"the wildcard for one token":    "*",
		"the wildcard for the rest":     ">",
		"a wildcard inside":             "site-*",
		"a space":                       "site a",
		"a newline at the end":          "site-a\n",
		"a newline at the start":        "\nsite-a",
		"a carriage return":             "site-a\r",
		"a NUL":                         "site-a\x00",
		"a path":                        "../site-a",
		"a slash":                       "site/a",
		"a letter that looks like an a": "site-а",
		"a full-width letter":           "site-ａ",
		"not UTF-8":                     "site-\xff",
		"SQL":                           "a';drop table sites;--",
		"a zero-width joiner":           "site\u200da",
	} {
		if federation.SiteID(id).Valid() {
			t.Errorf("%s: %q was taken", name, id)
		}
	}
}

func TestATierIsPrimaryOrSecondary(t *testing.T) {
	for tier, want := range map[federation.Tier]bool{"primary": true, "secondary": true, "": false, "Primary": false, "tertiary": false, "primary\n": false} {
		if got := tier.Valid(); got != want {
			t.Errorf("Tier(%q).Valid() = %t", tier, got)
		}
	}
}

func TestTheWorseOfTwoStatesWins(t *testing.T) {
	sites := []federation.SiteStatus{federation.Online, federation.SiteDegraded, federation.Offline}
	links := []federation.LinkStatus{federation.Healthy, federation.LinkDegraded, federation.Down}
	for i := range 3 {
		for j := range 3 {
			if got := sites[i].Worse(sites[j]); got != sites[max(i, j)] {
				t.Errorf("the worse of %s and %s is %s", sites[i], sites[j], got)
			}
			if got := links[i].Worse(links[j]); got != links[max(i, j)] {
				t.Errorf("the worse of %s and %s is %s", links[i], links[j], got)
			}
		}
	}
}

func TestAgentCounts(t *testing.T) {
	for name, c := range map[string]struct {
		agents federation.Agents
		wrong  []string
	}{
		"none at all":                       {federation.Agents{}, nil},
		"all online":                        {federation.Agents{Total: 7, Online: 7}, nil},
		"the most there can be":             {federation.Agents{Total: federation.MaxAgents}, nil},
		"one more than there can be":        {federation.Agents{Total: federation.MaxAgents + 1}, []string{"total"}},
		"fewer than none":                   {federation.Agents{Total: -1}, []string{"total", "online"}},
		"fewer than none online":            {federation.Agents{Total: 1, Online: -1}, []string{"online"}},
		"more online than there are agents": {federation.Agents{Total: 1, Online: 2}, []string{"online"}},
	} {
		t.Run(name, func(t *testing.T) { expectFields(t, c.agents.Validate(), c.wrong...) })
	}
}
