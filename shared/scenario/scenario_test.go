package scenario_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/scenario"
)

func hash(n federation.NewAlert) string {
	return federation.DedupHash(n.Title, n.Source, n.IOCs.Items)
}

func TestEveryScenarioIsAStoryOfValidAlerts(t *testing.T) {
	documentation := []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"),
		netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32"),
	}
	for _, s := range scenario.All() {
		t.Run(s.Name, func(t *testing.T) {
			if s.Len() < 3 || s.Len() > 6 {
				t.Errorf("it has %d alerts, not 3 to 6", s.Len())
			}
			severities := slices.Clone(s.Severities())
			slices.Sort(severities)
			if len(slices.Compact(severities)) < 3 {
				t.Errorf("it has only the severities %v", s.Severities())
			}
			r, err := scenario.New(s.Name, 7)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 20 * s.Len() {
				n := r.Alert(i)
				if err := n.Validate(); err != nil {
					t.Fatalf("alert %d: %v", i, err)
				}
				if len(n.IOCs.Items) == 0 || len(n.AffectedAssets) == 0 || n.Description == "" || len(n.MitreTechniques) == 0 {
					t.Errorf("alert %d lacks a part: %+v", i, n)
				}
				if !json.Valid([]byte(n.RawLog)) {
					t.Errorf("the raw log of alert %d is no JSON: %s", i, n.RawLog)
				}
				for _, ioc := range n.IOCs.Items {
					switch ioc.Type {
					case federation.IP:
						a := netip.MustParseAddr(ioc.Value)
						if !slices.ContainsFunc(documentation, func(p netip.Prefix) bool { return p.Contains(a) }) {
							t.Errorf("alert %d: %s is in no documentation range", i, a)
						}
					case federation.Domain:
						if !strings.HasSuffix(ioc.Value, ".test") && !strings.Contains(ioc.Value, ".example.") {
							t.Errorf("alert %d: %s is no documentation name", i, ioc.Value)
						}
					}
				}
			}
		})
	}
}

func TestTheBeaconScenarioRaisesACriticalAlert(t *testing.T) {
	r, err := scenario.New("c2-beacon", 1)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(r.Severities(), federation.Critical) {
		t.Errorf("its severities are %v", r.Severities())
	}
}

func TestTheSameSeedTellsTheSameStoryAndAnotherSeedAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(scenario.Names()).Draw(t, "name")
		seed := rapid.Uint64().Draw(t, "seed")
		other := rapid.Uint64().Filter(func(s uint64) bool { return s != seed }).Draw(t, "other")
		i := rapid.IntRange(0, 10_000).Draw(t, "i")
		one, _ := scenario.New(name, seed)
		again, _ := scenario.New(name, seed)
		another, _ := scenario.New(name, other)
		if diff := cmp.Diff(one.Alert(i), again.Alert(i)); diff != "" {
			t.Fatal(diff)
		}
		if hash(one.Alert(i)) == hash(another.Alert(i)) {
			t.Fatalf("alert %d is the same under the seeds %d and %d", i, seed, other)
		}
	})
}

func TestALongRunHasNoDuplicates(t *testing.T) {
	for _, name := range scenario.Names() {
		r, err := scenario.New(name, 42)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for i := range 5000 {
			h := hash(r.Alert(i))
			if before, ok := seen[h]; ok {
				t.Fatalf("%s: alert %d duplicates alert %d", name, i, before)
			}
			seen[h] = i
		}
	}
}

func TestAnUnknownScenarioIsRefusedWithTheKnownOnes(t *testing.T) {
	_, err := scenario.New("zombie", 1)
	want := `there is no such scenario: scenario: "zombie" is not allowed: c2-beacon, ransomware, lateral-movement, phishing, data-exfiltration, brute-force`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func ExampleNew() {
	r, _ := scenario.New("c2-beacon", 1)
	for i := range r.Len() {
		n := r.Alert(i)
		fmt.Println(n.Severity, n.Title)
	}
	// Output:
	// medium Script interpreter started by an office document
	// critical Command and control beacon over HTTPS
	// high Persistence by a run key for an unsigned program
	// low Lookups of a domain first seen today
}
