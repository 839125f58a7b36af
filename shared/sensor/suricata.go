package sensor

import (
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// eve is what is read of a Suricata EVE record.
type eve struct {
	Timestamp string `json:"timestamp"`
	EventType string `json:"event_type"`
	SrcIP     string `json:"src_ip"`
	SrcPort   number `json:"src_port"`
	DestIP    string `json:"dest_ip"`
	DestPort  number `json:"dest_port"`
	Proto     string `json:"proto"`
	AppProto  string `json:"app_proto"`
	Direction string `json:"direction"`
	Alert     struct {
		Action    string `json:"action"`
		Signature string `json:"signature"`
		ID        number `json:"signature_id"`
		Category  string `json:"category"`
		Severity  number `json:"severity"`
		Metadata  struct {
			Techniques words `json:"mitre_technique_id"`
			Severity   words `json:"signature_severity"`
			CVE        words `json:"cve"`
		} `json:"metadata"`
	} `json:"alert"`
	HTTP struct {
		Hostname  string `json:"hostname"`
		URL       string `json:"url"`
		UserAgent string `json:"http_user_agent"`
		Port      number `json:"http_port"`
	} `json:"http"`
	TLS struct {
		SNI string `json:"sni"`
	} `json:"tls"`
	DNS struct {
		RRName  string    `json:"rrname"`
		Query   questions `json:"query"`
		Queries questions `json:"queries"`
	} `json:"dns"`
	FileInfo file   `json:"fileinfo"`
	Files    []file `json:"files"`
}

type file struct {
	MD5    string `json:"md5"`
	SHA1   string `json:"sha1"`
	SHA256 string `json:"sha256"`
}

// questions are the names asked for. Suricata has written them in several shapes
// over its versions; one that is none of them holds no name.
type questions []string

// UnmarshalJSON implements json.Unmarshaler.
func (q *questions) UnmarshalJSON(data []byte) error {
	var many []struct {
		RRName string `json:"rrname"`
	}
	if json.Unmarshal(data, &many) == nil {
		for _, m := range many {
			*q = append(*q, m.RRName)
		}
	}
	return nil
}

// compromise is one category of signature whose hit says that an attack has
// succeeded: malware is talking to its master, or someone has the rights they
// wanted. Attempts, scans and exploit kits are not among them.
type compromise struct {
	category string
	// groups are the signature groups for which it holds; none: all. The category
	// of trojans is too wide by itself: rule sets put adware and mere attempts in it.
	groups []string
}

var compromises = []compromise{
	{category: "Malware Command and Control Activity Detected"},
	{category: "Domain Observed Used for C2 Detected"},
	{category: "Successful Administrator Privilege Gain"},
	{category: "Successful User Privilege Gain"},
	{category: "Successful Credential Theft Detected"},
	{category: "Targeted Malicious Activity was Detected"},
	{category: "A Network Trojan was detected", groups: []string{"TROJAN", "MALWARE", "CNC"}},
}

// level is one row of a table from a sensor's own number to a severity.
type level struct {
	from     int64 // the lowest number of the row
	severity federation.Severity
}

// suricataLevels are the priorities of Suricata, most severe first.
var suricataLevels = []level{{1, federation.High}, {2, federation.Medium}, {3, federation.Low}, {4, federation.Info}}

var suricataRules = []rule[eve]{
	{"alert.signature", "title", "on one line, cut at 300 characters", func(e *eve, d *draft) error {
		d.Title = e.Alert.Signature
		if strings.TrimSpace(d.Title) == "" && e.Alert.ID.known {
			d.Title = "Suricata signature " + e.Alert.ID.String()
		}
		return nil
	}},
	{"—", "source", "`suricata`", func(_ *eve, d *draft) error { d.Source = string(Suricata); return nil }},
	{"alert.severity, alert.category, alert.metadata.signature_severity", "severity", "see the tables below", func(e *eve, d *draft) error {
		if !e.Alert.Severity.known || e.Alert.Severity.value < 1 {
			return refuseField("alert.severity", e.Alert.Severity.String(), "a whole number from 1, the most severe")
		}
		d.Severity = e.severity()
		return nil
	}},
	{"timestamp", "observed_at", "without a zone it is UTC", func(e *eve, d *draft) error { return d.observed("timestamp", e.Timestamp) }},
	{"proto, src_ip, src_port, dest_ip, dest_port, app_proto, alert.category, alert.signature_id, alert.action, timestamp", "description", "one line of facts", func(e *eve, d *draft) error {
		if e.SrcIP != "" || e.DestIP != "" {
			d.facts = append(d.facts, strings.TrimSpace(e.Proto+" "+endpoint(e.SrcIP, e.SrcPort)+" -> "+endpoint(e.DestIP, e.DestPort)))
		}
		d.fact("over", e.AppProto)
		d.fact("category", e.Alert.Category)
		d.fact("sid", e.Alert.ID)
		d.fact("action", e.Alert.Action)
		d.fact("at", e.Timestamp)
		return nil
	}},
	{"src_ip, dest_ip", "iocs (ip) or affected_assets", "see \"Addresses\"", func(e *eve, d *draft) error {
		d.address(e.SrcIP)
		d.address(e.DestIP)
		return nil
	}},
	{"dns.rrname, dns.query[].rrname, dns.queries[].rrname", "iocs (domain)", "a name that only the inside resolves is an asset", func(e *eve, d *draft) error {
		for _, name := range append(append([]string{e.DNS.RRName}, e.DNS.Query...), e.DNS.Queries...) {
			d.host(name, false)
		}
		return nil
	}},
	{"tls.sni", "iocs (domain)", "an asset where the server is one's own", func(e *eve, d *draft) error {
		d.host(e.TLS.SNI, e.serverIsOwn(d))
		return nil
	}},
	{"http.hostname", "iocs (domain)", "an asset where the server is one's own", func(e *eve, d *draft) error {
		d.host(e.HTTP.Hostname, e.serverIsOwn(d))
		return nil
	}},
	{"http.hostname, http.http_port, http.url", "iocs (url)", "only where the server is someone else's", func(e *eve, d *draft) error {
		if u := e.url(); u != "" && !e.serverIsOwn(d) {
			d.ioc(federation.URL, u)
		}
		return nil
	}},
	{"http.http_user_agent", "iocs (user_agent)", "as it was sent", func(e *eve, d *draft) error {
		d.ioc(federation.UserAgent, oneLine(e.HTTP.UserAgent, federation.MaxIOCValue))
		return nil
	}},
	{"fileinfo and files[]: md5, sha1, sha256", "iocs (hash_…)", "", func(e *eve, d *draft) error {
		for _, f := range append([]file{e.FileInfo}, e.Files...) {
			d.ioc(federation.MD5, f.MD5)
			d.ioc(federation.SHA1, f.SHA1)
			d.ioc(federation.SHA256, f.SHA256)
		}
		return nil
	}},
	{"alert.metadata.cve", "iocs (cve)", "a list or a string; `CVE_2021_44228` is read too", func(e *eve, d *draft) error {
		for _, c := range e.Alert.Metadata.CVE {
			d.ioc(federation.CVE, strings.ReplaceAll(c, "_", "-"))
		}
		return nil
	}},
	{"alert.metadata.mitre_technique_id", "mitre_techniques", "a list or a string; `T1071_001` is read too", func(e *eve, d *draft) error {
		for _, t := range e.Alert.Metadata.Techniques {
			d.technique(t)
		}
		return nil
	}},
}

// suricata maps one EVE record. Only alerts are alerts.
func suricata(data []byte, d *draft) (skipped string, err error) {
	var head struct {
		EventType string `json:"event_type"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return "", unreadable(Suricata, err)
	}
	switch head.EventType {
	case "":
		return "", refuseField("event_type", "", "is required: the kind of an EVE record")
	case "alert":
	default:
		return "suricata " + oneLine(head.EventType, 40), nil
	}
	var e eve
	if err := json.Unmarshal(data, &e); err != nil {
		return "", unreadable(Suricata, err)
	}
	return "", apply(suricataRules, &e, d)
}

func (e *eve) severity() federation.Severity {
	if slices.ContainsFunc(e.Alert.Metadata.Severity, func(s string) bool { return strings.EqualFold(s, "critical") }) {
		return federation.Critical
	}
	if slices.ContainsFunc(compromises, e.shows) && e.Alert.Severity.value == 1 {
		return federation.Critical
	}
	severity := federation.High
	for _, l := range suricataLevels {
		if e.Alert.Severity.value >= l.from {
			severity = l.severity
		}
	}
	return severity
}

// shows reports whether the alert is of category c. The group of a signature is its second word.
func (e *eve) shows(c compromise) bool {
	if !strings.EqualFold(e.Alert.Category, c.category) {
		return false
	}
	name := strings.Fields(e.Alert.Signature)
	return len(c.groups) == 0 || len(name) > 1 && slices.Contains(c.groups, name[1])
}

// serverIsOwn reports whether the server of the conversation is an asset: the
// side that the record's direction says, else the side with the lower port.
func (e *eve) serverIsOwn(d *draft) bool {
	server := e.DestIP
	if e.Direction == "to_client" || e.Direction == "" && e.SrcPort.known && e.SrcPort.value < e.DestPort.value {
		server = e.SrcIP
	}
	return d.ownText(server)
}

// url is the address that was asked for, whole.
func (e *eve) url() string {
	switch u := e.HTTP.URL; {
	case u == "" || e.HTTP.Hostname == "":
		return ""
	case strings.Contains(u, "://"):
		return u
	case !strings.HasPrefix(u, "/"):
		return ""
	case e.HTTP.Port.known && e.HTTP.Port.value != 80 && !strings.Contains(e.HTTP.Hostname, ":"):
		return "http://" + e.HTTP.Hostname + ":" + e.HTTP.Port.String() + u
	default:
		return "http://" + e.HTTP.Hostname + u
	}
}

func endpoint(ip string, port number) string {
	if !port.known {
		return ip
	}
	return net.JoinHostPort(ip, strconv.FormatInt(port.value, 10))
}
