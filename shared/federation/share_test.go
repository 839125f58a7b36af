package federation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func ExampleGate() {
	gate := federation.Gate{MinSeverity: federation.High}
	fmt.Println(gate.Decide(federation.High, federation.TLPGreen, "edr").Reason)
	fmt.Println(gate.Decide(federation.Low, federation.TLPGreen, "edr").Reason)
	fmt.Println(gate.Decide(federation.Critical, federation.TLPRed, "edr").Reason)
	fmt.Println("what leaves:", gate.Severities())
	gate.Closed = true
	fmt.Println("with federation off:", gate.Severities())
	// Output:
	// severity high is at least high, and tlp green may leave
	// severity low is below high, the lowest that passes
	// tlp red stays at its site; only clear, green or amber may leave
	// what leaves: [critical high]
	// with federation off: []
}

func TestTheGateAdmitsWhatIsAtLeastAsSevere(t *testing.T) {
	all := federation.Severities()
	for i, least := range all {
		if diff := cmp.Diff(all[:i+1], federation.Gate{MinSeverity: least}.Severities()); diff != "" {
			t.Errorf("the gate at %s:\n%s", least, diff)
		}
		if got := (federation.Gate{MinSeverity: least, Closed: true}).Severities(); len(got) != 0 {
			t.Errorf("the closed gate at %s admits %v", least, got)
		}
		if (federation.Gate{MinSeverity: least}).Decide("severe", federation.TLPClear, "").Admitted {
			t.Errorf("the gate at %s admits an unknown severity", least)
		}
	}
}

func TestAGateThatWasNotSetLetsNothingLeave(t *testing.T) {
	for _, least := range []federation.Severity{"", "severe", "High"} {
		if got := (federation.Gate{MinSeverity: least}).Severities(); len(got) != 0 {
			t.Errorf("the gate at %q admits %v", least, got)
		}
	}
}

var siteB = federation.Identity{ID: "site-b", Name: "Site B", Tier: federation.Secondary, Version: "0.1.0"}

func fullAlert(t testing.TB) federation.NewAlert {
	t.Helper()
	var n federation.NewAlert
	err := json.Unmarshal([]byte(`{
		"title": "Beacon <to> a known C2 host", "description": "Line 1\nLine 2 ü", "severity": "critical", "tlp": "green", "source": "suricata", "asset_type": "workstation",
		"affected_assets": ["ws-017", "ws-018"], "iocs": ["203.0.113.7", "c2[.]evil[.]example", {"type": "mutex", "value": "Global\\x"}],
		"mitre_techniques": ["T1071.001"], "raw_log": {"event_type": "alert"}, "observed_at": "2026-02-01T12:59:00.123456789+01:00"}`), &n)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Validate(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAnAlertCrossesUnchanged(t *testing.T) {
	local := fullAlert(t).Alert("0192-b", noon)
	wire, err := json.Marshal(federation.Share(local, siteB))
	if err != nil {
		t.Fatal(err)
	}
	shared, err := readShared(wire)
	if err != nil {
		t.Fatal(err)
	}
	arrived := noon.Add(3 * time.Second)
	got := shared.Received("0192-a", arrived)

	want := local
	want.ID, want.Source = "0192-a", "federation:site-b"
	want.DedupHash = federation.ReplayHash("site-b", "0192-b")
	want.CreatedAt, want.UpdatedAt, want.SharedSeverity = arrived, arrived, ""
	want.Origin = &federation.Origin{SiteID: "site-b", SiteName: "Site B", AlertID: "0192-b", RaisedAt: noon, ReceivedAt: arrived, Status: federation.New, UpdatedAt: noon}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAReplayHasTheHashOfTheFirstArrival(t *testing.T) {
	shared := federation.Share(fullAlert(t).Alert("0192-b", noon), siteB)
	first := shared.Received("1", noon)
	shared.Title, shared.OriginName = "changed on the way", "renamed"
	if second := shared.Received("2", noon.Add(time.Hour)); second.DedupHash != first.DedupHash {
		t.Error("the replay has another hash")
	}
	shared.OriginID = "0192-c"
	if other := shared.Received("3", noon); other.DedupHash == first.DedupHash {
		t.Error("another alert has the same hash")
	}
}

func TestAnOriginWithoutANameIsCalledByItsID(t *testing.T) {
	shared := federation.Share(goodAlert().Alert("1", noon), federation.Identity{ID: "site-b"})
	if err := shared.Validate(); err != nil {
		t.Fatal(err)
	}
	if got := shared.Received("2", noon).Origin.SiteName; got != "site-b" {
		t.Errorf("the name is %q", got)
	}
}

func TestASharedAlertThatBreaksTheVocabularyIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*federation.SharedAlert)
		wrong  []string
	}{
		"a good one":                      {func(*federation.SharedAlert) {}, nil},
		"a hostile origin":                {func(s *federation.SharedAlert) { s.OriginSite = "*" }, []string{"origin_site"}},
		"an origin name that is too long": {func(s *federation.SharedAlert) { s.OriginName = strings.Repeat("a", 129) }, []string{"origin_name"}},
		"no alert id":                     {func(s *federation.SharedAlert) { s.OriginID = "" }, []string{"origin_alert_id"}},
		"an alert id that is too long":    {func(s *federation.SharedAlert) { s.OriginID = strings.Repeat("a", 65) }, []string{"origin_alert_id"}},
		"a NUL in the alert id":           {func(s *federation.SharedAlert) { s.OriginID = "a\x00" }, []string{"origin_alert_id"}},
		"no time":                         {func(s *federation.SharedAlert) { s.RaisedAt = time.Time{} }, []string{"raised_at"}},
		"a time that JSON cannot hold":    {func(s *federation.SharedAlert) { s.RaisedAt = lateInZone }, []string{"raised_at"}},
		"a version below the first":       {func(s *federation.SharedAlert) { s.AlertVersion = -1 }, []string{"alert_version"}},
		"an unknown status":               {func(s *federation.SharedAlert) { s.Status = "open" }, []string{"status"}},
		"a change at no time":             {func(s *federation.SharedAlert) { s.UpdatedAt = new(time.Time) }, []string{"updated_at"}},
		"a retraction at no time":         {func(s *federation.SharedAlert) { s.Retraction = &federation.Retraction{} }, []string{"retraction.at"}},
		"a retraction with a long reason": {func(s *federation.SharedAlert) {
			s.Retraction = &federation.Retraction{At: noon, Reason: strings.Repeat("a", 501)}
		}, []string{"retraction.reason"}},
		"a site that knows of no versions":         {func(s *federation.SharedAlert) { s.AlertVersion, s.Status, s.UpdatedAt = 0, "", nil }, nil},
		"an unknown severity":                      {func(s *federation.SharedAlert) { s.Severity = "severe" }, []string{"severity"}},
		"a source that is itself a peer's":         {func(s *federation.SharedAlert) { s.Source = "federation:site-c" }, nil},
		"many things wrong, all of them named":     {func(s *federation.SharedAlert) { *s = federation.SharedAlert{Version: 1} }, []string{"origin_site", "origin_alert_id", "raised_at", "title", "severity", "source"}},
		"IOCs of no shape":                         {func(s *federation.SharedAlert) { s.IOCs.Malformed = "5" }, []string{"iocs"}},
		"an unreadable IOC does not cost an alert": {func(s *federation.SharedAlert) { s.IOCs.Unreadable = []string{"?"} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := federation.Share(goodAlert().Alert("1", noon), siteB)
			c.change(&s)
			expectFields(t, s.Validate(), c.wrong...)
		})
	}
	for _, version := range []int{0, 2, -1} {
		s := federation.Share(goodAlert().Alert("1", noon), siteB)
		s.Version = version
		if err := s.Validate(); !fault.Is(err, fault.Unsupported) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// readShared is what a receiver makes of bytes.
func readShared(data []byte) (federation.SharedAlert, error) {
	var s federation.SharedAlert
	if err := json.Unmarshal(data, &s); err != nil {
		return s, err
	}
	return s, s.Validate()
}

func FuzzSharedAlert(f *testing.F) {
	good, err := json.Marshal(federation.Share(fullAlert(f).Alert("0192-b", noon), siteB))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	head := `{"version":1,"origin_site":"site-b","origin_alert_id":"1","raised_at":"2026-02-01T12:00:00Z","title":"t","severity":"high","source":"s"`
	for _, seed := range []string{
		``, `null`, `{}`, `{"version":2}`, head + `}`, head + `,"iocs":["1.2.3.4",{"ip":["::1"]},5,null]}`, head + `,"iocs":"1.2.3.4"}`,
		head + `,"raw_log":{"a":[1,2,{"b":null}]}}`, head + `,"raw_log":12.50}`, head + `,"observed_at":"9999-12-31T23:30:00-01:00"}`,
		head + `,"affected_assets":[""],"mitre_techniques":["T1"]}`, head + `,"iocs":["http://a/[[.]]","[[.]].example"]}`, head + `,"title":"\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := readShared(data)
		if err != nil {
			if wrong := (*fault.Error)(nil); errors.As(err, &wrong) && !wrong.Code.Permanent() {
				t.Fatalf("a bad alert would be tried again: %v", err)
			}
			return
		}
		row := s.Received("id", noon)
		if _, err := json.Marshal(row); err != nil {
			t.Fatalf("an alert that was taken cannot be shown: %v", err)
		}
		// It crosses once more, as from a hub that passes alerts on, and is the same.
		wire, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("an alert that was taken cannot be written: %v", err)
		}
		again, err := readShared(wire)
		if err != nil {
			t.Fatalf("an alert that was taken is refused after a round trip: %v", err)
		}
		if diff := cmp.Diff(row, again.Received("id", noon)); diff != "" {
			t.Fatalf("an alert changed on a round trip:\n%s", diff)
		}
	})
}
