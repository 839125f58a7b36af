package sensor

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func iocsOf(pairs ...string) federation.IOCInput {
	var in federation.IOCInput
	for i := 0; i < len(pairs); i += 2 {
		in.Items = append(in.Items, federation.IOC{Type: federation.IOCType(pairs[i]), Value: pairs[i+1]})
	}
	return in
}

func at(s string) *time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	t = t.UTC()
	return &t
}

func TestEachFormatBecomesAnAlert(t *testing.T) {
	tests := []struct {
		name, in string
		want     federation.NewAlert
	}{
		{"a beacon seen by Suricata",
			`{"timestamp":"2026-03-01T12:00:00.250000+0100","event_type":"alert","src_ip":"10.1.2.3","src_port":50000,"dest_ip":"203.0.113.9","dest_port":80,"proto":"TCP","app_proto":"http",
			"alert":{"action":"allowed","signature_id":7,"signature":"ET MALWARE X Checkin","category":"Malware Command and Control Activity Detected","severity":1,
			"metadata":{"mitre_technique_id":["T1071_001","bad"],"cve":["CVE_2021_44228"]}},
			"http":{"hostname":"C2.Example.com","url":"/gate?x=1","http_user_agent":"evil/1"},"files":[{"sha256":"` + strings.Repeat("ab", 32) + `"}]}`,
			federation.NewAlert{
				Title: "ET MALWARE X Checkin", Severity: federation.Critical, Source: "suricata",
				Description:    "TCP 10.1.2.3:50000 -> 203.0.113.9:80, over http, category Malware Command and Control Activity Detected, sid 7, action allowed, at 2026-03-01T12:00:00.250000+0100",
				AffectedAssets: []string{"10.1.2.3"}, MitreTechniques: []string{"T1071.001"}, ObservedAt: at("2026-03-01T11:00:00.25Z"),
				IOCs: iocsOf("cve", "CVE-2021-44228", "domain", "c2.example.com", "hash_sha256", strings.Repeat("ab", 32), "ip", "203.0.113.9",
					"url", "http://c2.example.com/gate?x=1", "user_agent", "evil/1"),
			}},
		{"an attack on one's own server seen by Suricata: its name is an asset",
			`{"timestamp":"2026-03-01T12:00:00","event_type":"alert","src_ip":"198.51.100.4","src_port":50000,"dest_ip":"192.168.0.2","dest_port":80,
			"alert":{"signature":"ET WEB_SERVER Try","category":"Web Application Attack","severity":1},"http":{"hostname":"www.own.example","url":"/x","http_user_agent":"evil/1"}}`,
			federation.NewAlert{
				Title: "ET WEB_SERVER Try", Severity: federation.High, Source: "suricata",
				Description:    "198.51.100.4:50000 -> 192.168.0.2:80, category Web Application Attack, at 2026-03-01T12:00:00",
				AffectedAssets: []string{"192.168.0.2", "www.own.example"}, ObservedAt: at("2026-03-01T12:00:00Z"),
				IOCs: iocsOf("ip", "198.51.100.4", "user_agent", "evil/1"),
			}},
		{"a changed file seen by Wazuh",
			`{"timestamp":"2026-03-01T12:00:00.000+0000","rule":{"level":12,"description":"Integrity checksum changed","id":"550","mitre":{"id":["T1565.001"]},"groups":["syscheck"]},
			"agent":{"id":"001","name":"web-01","ip":"10.0.0.5"},"data":{"srcip":"203.0.113.7"},"location":"syscheck",
			"syscheck":{"path":"/etc/passwd","md5_after":"` + strings.Repeat("0a", 16) + `","event":"modified"}}`,
			federation.NewAlert{
				Title: "Integrity checksum changed", Severity: federation.High, Source: "wazuh",
				Description:    "rule 550, level 12, group syscheck, agent web-01, location syscheck, at 2026-03-01T12:00:00.000+0000",
				AffectedAssets: []string{"10.0.0.5", "web-01"}, MitreTechniques: []string{"T1565.001"}, ObservedAt: at("2026-03-01T12:00:00Z"),
				IOCs: iocsOf("file_path", "/etc/passwd", "hash_md5", strings.Repeat("0a", 16), "ip", "203.0.113.7"),
			}},
		{"an OCSF finding",
			`{"class_uid":2004,"severity_id":6,"time":1772366400250,"metadata":{"product":{"name":"Guard","vendor_name":"Acme"}},
			"finding_info":{"uid":"f1","title":"Miner","desc":"A miner runs.","attacks":[{"technique":{"uid":"T1496"}},{"technique":{"uid":"T1059"},"sub_technique":{"uid":"T1059.004"}}]},
			"resources":[{"name":"vm-1","type":"VirtualMachine","ip":"10.9.9.9"}],
			"observables":[{"type_id":1,"value":"pool.example.org"},{"type_id":1,"value":"vm-1"},{"type_id":2,"value":"10.9.9.9"},{"type_id":2,"value":"203.0.113.80"},{"type_id":8,"value":"` + strings.Repeat("cd", 20) + `"},{"type_id":99,"value":"x"}]}`,
			federation.NewAlert{
				Title: "Miner", Severity: federation.Critical, Source: "guard", AssetType: "VirtualMachine",
				Description:    "A miner runs.\nfinding f1, product Acme Guard, at 2026-03-01T12:00:00.25Z",
				AffectedAssets: []string{"10.9.9.9", "vm-1"}, MitreTechniques: []string{"T1059.004", "T1496"}, ObservedAt: at("2026-03-01T12:00:00.25Z"),
				IOCs: iocsOf("domain", "pool.example.org", "hash_sha1", strings.Repeat("cd", 20), "ip", "203.0.113.80"),
			}},
		{"the API's own JSON", `{"title":"t","severity":"info","source":"me","iocs":["192.0.2.1"],"raw_log":{"a": 1}}`,
			federation.NewAlert{Title: "t", Severity: federation.Info, Source: "me", IOCs: iocsOf("ip", "192.0.2.1"), RawLog: `{"a":1}`}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, skipped, err := Map([]byte(tc.in), Options{})
			if err != nil || skipped != "" {
				t.Fatalf("%q, %v", skipped, err)
			}
			if tc.want.RawLog == "" {
				tc.want.RawLog = got.RawLog
				if !strings.HasPrefix(string(got.RawLog), "{\"") || strings.ContainsAny(string(got.RawLog), "\n\t") {
					t.Errorf("the raw log is not the compact record: %s", got.RawLog)
				}
			}
			if diff := cmp.Diff(&tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSeveritiesOfSuricata(t *testing.T) {
	tests := []struct {
		severity, category, signature, metadata string
		want                                    federation.Severity
	}{
		{"1", "Web Application Attack", "ET WEB_SERVER x", "", federation.High},
		{"2", "", "x", "", federation.Medium},
		{"3", "", "x", "", federation.Low},
		{"4", "", "x", "", federation.Info},
		{"200", "", "x", "", federation.Info},
		{`"1"`, "", "x", "", federation.High},
		{"1", "Successful Administrator Privilege Gain", "ET x", "", federation.Critical},
		{"1", "successful administrator privilege gain", "ET x", "", federation.Critical},
		{"2", "Successful Administrator Privilege Gain", "ET x", "", federation.Medium},
		{"1", "A Network Trojan was detected", "ET TROJAN x", "", federation.Critical},
		{"1", "A Network Trojan was detected", "ET WEB_SERVER x", "", federation.High},
		{"1", "A Network Trojan was detected", "trojan", "", federation.High},
		{"3", "", "x", `,"metadata":{"signature_severity":["Critical"]}`, federation.Critical},
		{"2", "", "x", `,"metadata":{"signature_severity":["Major"]}`, federation.Medium},
	}
	for _, tc := range tests {
		in := fmt.Sprintf(`{"event_type":"alert","alert":{"severity":%s,"category":%q,"signature":%q%s}}`, tc.severity, tc.category, tc.signature, tc.metadata)
		got, _, err := Map([]byte(in), Options{})
		if err != nil || got.Severity != tc.want {
			t.Errorf("%s: %+v, %v; want %s", in, got, err, tc.want)
		}
	}
}

func TestSeveritiesOfWazuh(t *testing.T) {
	for l := range 17 {
		want := federation.Info
		switch {
		case l >= 15:
			want = federation.Critical
		case l >= 12:
			want = federation.High
		case l >= 7:
			want = federation.Medium
		case l >= 4:
			want = federation.Low
		}
		got, _, err := Map(fmt.Appendf(nil, `{"rule":{"level":%d,"description":"d"}}`, l), Options{})
		if err != nil || got.Severity != want {
			t.Errorf("level %d: %+v, %v", l, got, err)
		}
	}
}

func TestAnAddressGoesWhereItBelongs(t *testing.T) {
	home := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:1::/48")}
	tests := map[string]string{
		"10.0.0.1": "asset", "172.16.0.1": "asset", "192.168.1.1": "asset", "127.0.0.1": "asset", "169.254.1.1": "asset", "100.64.0.1": "asset",
		"fd00::1": "asset", "fe80::1": "asset", "::1": "asset", "::ffff:10.0.0.1": "asset", "203.0.113.9": "asset", "2001:db8:1::9": "asset",
		"8.8.8.8": "ioc", "172.32.0.1": "ioc", "100.128.0.1": "ioc", "2001:db8:2::1": "ioc",
		"224.0.0.251": "", "ff02::1": "", "255.255.255.255": "", "0.0.0.0": "", "::": "", "": "", "host": "",
	}
	for in, want := range tests {
		d := &draft{home: home}
		d.address(in)
		got := ""
		switch {
		case len(d.AffectedAssets) > 0:
			got = "asset"
		case len(d.IOCs.Items) > 0:
			got = "ioc"
		}
		if got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestWhatIsNoAlertIsPassedByWithItsKind(t *testing.T) {
	for in, want := range map[string]string{
		`{"event_type":"flow","timestamp":"x"}`: "suricata flow",
		`{"event_type":"a\u001b[2J"}`:           "suricata a [2J",
		`{"class_uid":4001}`:                    "ocsf class 4001",
	} {
		n, skipped, err := Map([]byte(in), Options{})
		if n != nil || err != nil || skipped != want {
			t.Errorf("%s: %v, %q, %v", in, n, skipped, err)
		}
	}
}

func TestABadRecordIsRefusedWithTheReason(t *testing.T) {
	tests := []struct {
		in     string
		format Format
		want   string
	}{
		{`{"a":1}`, Auto, "no format fits: suricata has event_type, wazuh has rule.level, ocsf has class_uid, native has title, severity and source"},
		{`{"event_type":"alert","alert":{"signature":"x"}}`, Auto, "the record cannot become an alert: alert.severity: a whole number from 1, the most severe"},
		{`{"event_type":"alert","alert":{"signature":"x","severity":0}}`, Auto, `the record cannot become an alert: alert.severity: "0" is not allowed: a whole number from 1, the most severe`},
		{`{"event_type":"alert","alert":{"severity":1}}`, Auto, "the alert is not valid: title: is required"},
		{`{"event_type":"alert","alert":{"signature":["x"],"severity":1}}`, Auto, `no suricata record: alert.signature: "array" is not allowed: a value of the type that the format says`},
		{`{"event_type":"alert","timestamp":"yesterday","alert":{"signature":"x","severity":1}}`, Auto, `the time cannot be read: timestamp: "yesterday" is not allowed: a time such as 2026-03-01T12:00:00.000000+0000`},
		{`{}`, Suricata, "the record cannot become an alert: event_type: is required: the kind of an EVE record"},
		{`{"rule":{"level":"x","description":"d"}}`, Auto, `no wazuh record: "x" is no whole number`},
		{`{}`, Wazuh, "the record cannot become an alert: rule.level: a whole number from 0 to 16"},
		{`{"class_uid":2004,"severity_id":7,"finding_info":{"title":"t"}}`, Auto, `the record cannot become an alert: severity_id: "7" is not allowed: 0 to 6, or 99`},
		{`{}`, OCSF, "the record cannot become an alert: class_uid: is required: the class of an OCSF event"},
		{`{"title":"t","severity":"low","source":"s","colour":"red"}`, Auto, "the record cannot become an alert: colour: is no field of an alert"},
		{`{"title":"t","severity":"loud","source":"s"}`, Auto, `the alert is not valid: severity: "loud" is not allowed: critical, high, medium, low or info`},
		{`{"title":7,"severity":"low","source":"s"}`, Auto, `no native record: title: "number" is not allowed: a value of the type that the format says`},
		{`{}`, "stix", `the format is not known: format: "stix" is not allowed: auto, suricata, wazuh, ocsf or native`},
	}
	for _, tc := range tests {
		_, _, err := Map([]byte(tc.in), Options{Format: tc.format})
		if got := fmt.Sprint(err); got != tc.want || !fault.Is(err, fault.Invalid) {
			t.Errorf("%s\ngot  %s\nwant %s", tc.in, got, tc.want)
		}
	}
}

func TestARecordOverTheLimitsOfAnAlertIsCutAndSaysSo(t *testing.T) {
	in := fmt.Sprintf(`{"event_type":"alert","alert":{"severity":1,"signature":"%s\u0000\n%s"},"payload":%q}`, strings.Repeat("é", 250), strings.Repeat("x", 250), strings.Repeat("é", federation.MaxRawLog))
	n, _, err := Map([]byte(in), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if utf8.RuneCountInString(n.Title) != federation.MaxTitle || !strings.HasSuffix(n.Title, "x…") || strings.ContainsAny(n.Title, "\x00\n") {
		t.Errorf("the title is %q", n.Title)
	}
	if raw := string(n.RawLog); utf8.RuneCountInString(raw) != federation.MaxRawLog || !strings.HasSuffix(raw, fmt.Sprintf("… [cut: the record has %d characters]", utf8.RuneCountInString(in))) {
		t.Errorf("the raw log has %d characters and ends in %q", utf8.RuneCountInString(raw), raw[len(raw)-60:])
	}
}
