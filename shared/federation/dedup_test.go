package federation_test

import (
	"fmt"
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func ExampleDedupHash() {
	iocs := federation.CanonicalIOCs([]federation.IOC{
		{Type: federation.IP, Value: "203.0.113.7"},
		{Type: federation.Domain, Value: "evil.example"},
	})
	reversed := federation.CanonicalIOCs([]federation.IOC{
		{Type: federation.Domain, Value: "evil.example"},
		{Type: federation.IP, Value: "203.0.113.7"},
	})
	a := federation.DedupHash("Beacon", "suricata", iocs)
	fmt.Println(len(a), a == federation.DedupHash("Beacon", "suricata", reversed), a == federation.DedupHash("Beacon", "zeek", iocs))
	// Output: 64 true false
}

func TestHashesDoNotCollideByConcatenation(t *testing.T) {
	ip := func(v string) federation.IOC { return federation.IOC{Type: federation.IP, Value: v} }
	hashes := map[string]string{}
	for name, hash := range map[string]string{
		"title a, source bc":               federation.DedupHash("a", "bc", nil),
		"title ab, source c":               federation.DedupHash("ab", "c", nil),
		"title abc, no source":             federation.DedupHash("abc", "", nil),
		"no title, source abc":             federation.DedupHash("", "abc", nil),
		"one IOC":                          federation.DedupHash("a", "b", []federation.IOC{ip("1")}),
		"the IOC's type in the source":     federation.DedupHash("a", "bip", []federation.IOC{{Value: "1"}}),
		"two IOCs":                         federation.DedupHash("a", "b", []federation.IOC{ip("1"), ip("2")}),
		"two IOCs run together":            federation.DedupHash("a", "b", []federation.IOC{ip("1ip2")}),
		"IOC as title and source":          federation.DedupHash("a", "b", []federation.IOC{{Type: "a", Value: "b"}}),
		"origin a, alert bc":               federation.ReplayHash("a", "bc"),
		"origin ab, alert c":               federation.ReplayHash("ab", "c"),
		"a title that ends in a zero byte": federation.DedupHash("a\x00", "b", nil),
	} {
		if other, taken := hashes[hash]; taken {
			t.Errorf("%q has the hash of %q", name, other)
		}
		hashes[hash] = name
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(hash) {
			t.Errorf("%q: %q is no SHA-256 in hex", name, hash)
		}
	}
}

// Both hashes stand in one unique index: were they ever equal, whoever can raise
// an alert at a site could keep a peer's alert out of its queue.
func TestALocalAlertNeverTakesThePlaceOfAPeers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		if federation.DedupHash(a, b, nil) == federation.ReplayHash(federation.SiteID(a), b) {
			t.Fatal("the two hashes are equal")
		}
	})
}
