package federation_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func goodAlert() federation.NewAlert {
	return federation.NewAlert{Title: "Beacon to a known C2 host", Severity: federation.High, Source: "suricata"}
}

func TestTheVocabularyOfAlerts(t *testing.T) {
	severities, statuses := federation.SeverityForm, federation.AlertStatusForm
	worstFirst := []federation.Severity{"critical", "high", "medium", "low", "info"}
	if diff := cmp.Diff(worstFirst, federation.Severities()); diff != "" {
		t.Error(diff)
	}
	for i, s := range worstFirst {
		if !s.Valid() || s.Rank() != 5-i {
			t.Errorf("%s: valid %t, rank %d", s, s.Valid(), s.Rank())
		}
		if !strings.Contains(severities, string(s)) {
			t.Errorf("%q does not say %s", severities, s)
		}
	}
	for _, s := range federation.AlertStatuses() {
		if !s.Valid() {
			t.Errorf("%s is not valid", s)
		}
		if !strings.Contains(statuses, string(s)) {
			t.Errorf("%q does not say %s", statuses, s)
		}
	}
	for _, word := range []string{"", "High", "HIGH", "high ", "severe", "5", "new\n", "open"} {
		if s := federation.Severity(word); s.Valid() || s.Rank() != 0 {
			t.Errorf("severity %q was taken", word)
		}
		if federation.AlertStatus(word).Valid() {
			t.Errorf("status %q was taken", word)
		}
	}
}

func TestAnAlertThatBreaksALimitIsRefused(t *testing.T) {
	entries := func(n int, v string) []string { return slices.Repeat([]string{v}, n) }
	iocs := func(n int) federation.IOCInput {
		return federation.IOCInput{Items: slices.Repeat([]federation.IOC{{Type: federation.Mutex, Value: "m"}}, n)}
	}
	at := func(when time.Time) *time.Time { return &when }
	for name, c := range map[string]struct {
		change func(*federation.NewAlert)
		wrong  []string
	}{
		"a good one":                          {func(*federation.NewAlert) {}, nil},
		"no title":                            {func(n *federation.NewAlert) { n.Title = "" }, []string{"title"}},
		"a blank title":                       {func(n *federation.NewAlert) { n.Title = " \t\u00a0" }, []string{"title"}},
		"the longest title":                   {func(n *federation.NewAlert) { n.Title = strings.Repeat("ü", federation.MaxTitle) }, nil},
		"a title that is too long":            {func(n *federation.NewAlert) { n.Title = strings.Repeat("a", federation.MaxTitle+1) }, []string{"title"}},
		"a NUL in the title":                  {func(n *federation.NewAlert) { n.Title = "a\x00b" }, []string{"title"}},
		"a title that is not UTF-8":           {func(n *federation.NewAlert) { n.Title = "a\xffb" }, []string{"title"}},
		"the longest description":             {func(n *federation.NewAlert) { n.Description = strings.Repeat("a", federation.MaxDescription) }, nil},
		"a description that is too long":      {func(n *federation.NewAlert) { n.Description = strings.Repeat("a", federation.MaxDescription+1) }, []string{"description"}},
		"a NUL in the description":            {func(n *federation.NewAlert) { n.Description = "\x00" }, []string{"description"}},
		"no severity":                         {func(n *federation.NewAlert) { n.Severity = "" }, []string{"severity"}},
		"an unknown severity":                 {func(n *federation.NewAlert) { n.Severity = "severe" }, []string{"severity"}},
		"the strictest label":                 {func(n *federation.NewAlert) { n.TLP = federation.TLPRed }, nil},
		"an unknown label":                    {func(n *federation.NewAlert) { n.TLP = "white" }, []string{"tlp"}},
		"no source":                           {func(n *federation.NewAlert) { n.Source = "" }, []string{"source"}},
		"a source that is too long":           {func(n *federation.NewAlert) { n.Source = strings.Repeat("a", federation.MaxSource+1) }, []string{"source"}},
		"a source that claims to be a peer":   {func(n *federation.NewAlert) { n.Source = "federation:site-b" }, []string{"source"}},
		"a source that claims to be any peer": {func(n *federation.NewAlert) { n.Source = "federation:" }, []string{"source"}},
		"a source with the word in it":        {func(n *federation.NewAlert) { n.Source = "my-federation:sensor" }, nil},
		"an asset type that is too long":      {func(n *federation.NewAlert) { n.AssetType = strings.Repeat("a", federation.MaxAssetType+1) }, []string{"asset_type"}},
		"the most assets":                     {func(n *federation.NewAlert) { n.AffectedAssets = entries(federation.MaxAssets, "ws") }, nil},
		"too many assets":                     {func(n *federation.NewAlert) { n.AffectedAssets = entries(federation.MaxAssets+1, "ws") }, []string{"affected_assets"}},
		"an empty asset":                      {func(n *federation.NewAlert) { n.AffectedAssets = []string{"ws", ""} }, []string{"affected_assets[1]"}},
		"an asset that is too long": {func(n *federation.NewAlert) {
			n.AffectedAssets = entries(1, strings.Repeat("a", federation.MaxAsset+1))
		}, []string{"affected_assets[0]"}},
		"the most IOCs":                     {func(n *federation.NewAlert) { n.IOCs = iocs(federation.MaxIOCs) }, nil},
		"too many IOCs":                     {func(n *federation.NewAlert) { n.IOCs = iocs(federation.MaxIOCs + 1) }, []string{"iocs"}},
		"too many IOCs with the unreadable": {func(n *federation.NewAlert) { n.IOCs = iocs(federation.MaxIOCs); n.IOCs.Unreadable = []string{"?"} }, []string{"iocs"}},
		"IOCs of no shape":                  {func(n *federation.NewAlert) { n.IOCs.Malformed = "5" }, []string{"iocs"}},
		"an unreadable IOC does not matter": {func(n *federation.NewAlert) { n.IOCs.Unreadable = []string{"?"} }, nil},
		"a technique and a sub-technique":   {func(n *federation.NewAlert) { n.MitreTechniques = []string{"T1071", "T1071.001"} }, nil},
		"a technique in lower case":         {func(n *federation.NewAlert) { n.MitreTechniques = []string{"t1071"} }, []string{"mitre_techniques[0]"}},
		"a tactic":                          {func(n *federation.NewAlert) { n.MitreTechniques = []string{"T1071", "TA0011"} }, []string{"mitre_techniques[1]"}},
		"a technique and a newline":         {func(n *federation.NewAlert) { n.MitreTechniques = []string{"T1071\n"} }, []string{"mitre_techniques[0]"}},
		"too many techniques":               {func(n *federation.NewAlert) { n.MitreTechniques = entries(federation.MaxTechniques+1, "T1071") }, []string{"mitre_techniques"}},
		"the longest raw log":               {func(n *federation.NewAlert) { n.RawLog = federation.RawLog(strings.Repeat("a", federation.MaxRawLog)) }, nil},
		"a raw log that is too long": {func(n *federation.NewAlert) {
			n.RawLog = federation.RawLog(strings.Repeat("a", federation.MaxRawLog+1))
		}, []string{"raw_log"}},
		"a NUL in the raw log":                 {func(n *federation.NewAlert) { n.RawLog = "\x00" }, []string{"raw_log"}},
		"an observation in 1970":               {func(n *federation.NewAlert) { n.ObservedAt = at(time.Unix(0, 0)) }, nil},
		"an observation before 1970":           {func(n *federation.NewAlert) { n.ObservedAt = at(time.Unix(-1, 0)) }, []string{"observed_at"}},
		"an observation that JSON cannot hold": {func(n *federation.NewAlert) { n.ObservedAt = &lateInZone }, []string{"observed_at"}},
		"nothing at all":                       {func(n *federation.NewAlert) { *n = federation.NewAlert{} }, []string{"title", "severity", "source"}},
		"a crowd of bad entries is told once":  {func(n *federation.NewAlert) { n.AffectedAssets = entries(100_000, "ws") }, []string{"affected_assets"}},
		"a crowd of bad techniques likewise":   {func(n *federation.NewAlert) { n.MitreTechniques = entries(100_000, "T1071") }, []string{"mitre_techniques"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := goodAlert()
			c.change(&n)
			expectFields(t, n.Validate(), c.wrong...)
		})
	}
}

func TestTheAnswerToAHostileAlertStaysSmall(t *testing.T) {
	n := goodAlert()
	n.AffectedAssets = slices.Repeat([]string{""}, 300_000)
	n.MitreTechniques = slices.Repeat([]string{strings.Repeat("<", 300)}, 3_000)
	err, ok := n.Validate().(interface{ JSON() []byte })
	if !ok {
		t.Fatal("the alert was taken")
	}
	if got := len(err.JSON()); got > 100_000 {
		t.Errorf("the refusal has %d bytes", got)
	}
}

func TestRawLogMayBeAnyJSON(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"a line of text":             {`"a \"line\""`, `a "line"`},
		"an empty line":              {`""`, ``},
		"an object, made compact":    {"{\n  \"event\": \"alert\",\n  \"id\": 1\n}", `{"event":"alert","id":1}`},
		"a list":                     {`[ 1, "two", null ]`, `[1,"two",null]`},
		"a number, digit by digit":   {`12345678901234567890.50`, `12345678901234567890.50`},
		"a boolean":                  {`true`, `true`},
		"null, which is none":        {`null`, ``},
		"null with space around it":  {" null\n", ``},
		"an escaped NUL stays text":  {`{"a":"\u0000"}`, `{"a":"\u0000"}`},
		"HTML is not escaped":        {`{"a":"<b>"}`, `{"a":"<b>"}`},
		"keys keep order and copies": {`{"b":1,"a":2,"b":3}`, `{"b":1,"a":2,"b":3}`},
	} {
		t.Run(name, func(t *testing.T) {
			var n federation.NewAlert
			if err := json.Unmarshal([]byte(`{"raw_log":`+c.in+`}`), &n); err != nil {
				t.Fatal(err)
			}
			if string(n.RawLog) != c.want {
				t.Errorf("got %q, want %q", n.RawLog, c.want)
			}
			wire, err := json.Marshal(n)
			if err != nil {
				t.Fatal(err)
			}
			var again federation.NewAlert
			if err := json.Unmarshal(wire, &again); err != nil || again.RawLog != n.RawLog {
				t.Errorf("after a round trip: %q and %v", again.RawLog, err)
			}
		})
	}
	var r federation.RawLog
	if err := r.UnmarshalJSON([]byte(`{"a"`)); err == nil {
		t.Error("half an object was taken")
	}
}

func TestANewAlertBecomesARowOfTheQueue(t *testing.T) {
	seen := noon.Add(-time.Minute).In(time.FixedZone("", 7200))
	n := goodAlert()
	n.Title = "  " + n.Title + "\n"
	n.IOCs.Items = []federation.IOC{{Type: federation.IP, Value: "203.0.113.7"}, {Type: federation.Domain, Value: "evil.example"}, {Type: federation.IP, Value: "203.0.113.7"}}
	n.ObservedAt = &seen
	got := n.Alert("01", noon.Add(1234*time.Nanosecond).In(time.FixedZone("", 3600)))

	observed, created := noon.Add(-time.Minute), noon.Add(time.Microsecond)
	iocs := []federation.IOC{{Type: federation.Domain, Value: "evil.example"}, {Type: federation.IP, Value: "203.0.113.7"}}
	want := federation.Alert{
		ID: "01", Version: 1, SharedSeverity: federation.High, Title: "Beacon to a known C2 host", Severity: federation.High, TLP: federation.TLPAmber, Status: federation.New, Source: "suricata",
		AffectedAssets: []string{}, IOCs: iocs, MitreTechniques: []string{},
		DedupHash:  federation.DedupHash("Beacon to a known C2 host", "suricata", iocs),
		ObservedAt: &observed, CreatedAt: created, UpdatedAt: created,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n.IOCs.Items[0].Type != federation.IP {
		t.Error("the alert that was raised was changed")
	}
	wire, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{`"affected_assets":[]`, `"mitre_techniques":[]`, `"created_at":"2026-02-01T12:00:00.000001Z"`} {
		if !strings.Contains(string(wire), list) {
			t.Errorf("%s is not in %s", list, wire)
		}
	}
}

func TestABriefAlertIsWithoutItsRawLogAndTheEndOfALongDescription(t *testing.T) {
	a := federation.Alert{Title: "t", Description: strings.Repeat("ü", 501), RawLog: "line"}
	want := federation.Alert{Title: "t", Description: strings.Repeat("ü", 497) + "..."}
	if diff := cmp.Diff(want, a.Brief()); diff != "" {
		t.Error(diff)
	}
	short := federation.Alert{Description: strings.Repeat("ü", 500)}
	if diff := cmp.Diff(short, short.Brief()); diff != "" {
		t.Error(diff)
	}
}

func TestTheSizeOfAnAlertIsNeverFarUnderItsJSON(t *testing.T) {
	word := rapid.StringMatching(`[a-z0-9./ -]{0,60}`) // what JSON writes as it stands
	rapid.Check(t, func(t *rapid.T) {
		a := federation.Alert{
			Title: word.Draw(t, "title"), Description: word.Draw(t, "description"), RawLog: word.Draw(t, "raw log"), Source: word.Draw(t, "source"),
			Severity: federation.Critical, Status: federation.FalsePositive, ID: strings.Repeat("0", 36), DedupHash: strings.Repeat("0", 64),
			AffectedAssets: rapid.SliceOf(word).Draw(t, "assets"), MitreTechniques: rapid.SliceOf(word).Draw(t, "techniques"),
			IOCs:      rapid.SliceOf(rapid.Map(word, func(v string) federation.IOC { return federation.IOC{Type: federation.Mutex, Value: v} })).Draw(t, "iocs"),
			CreatedAt: noon, UpdatedAt: noon,
		}
		wire, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if a.Size() < len(wire) {
			t.Fatalf("the size is %d, the JSON has %d bytes", a.Size(), len(wire))
		}
	})
}
