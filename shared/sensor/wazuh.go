package sensor

import (
	"encoding/json"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// wazuhAlert is what is read of a line of alerts.json.
type wazuhAlert struct {
	Timestamp string `json:"timestamp"`
	Location  string `json:"location"`
	FullLog   string `json:"full_log"`
	Rule      struct {
		ID          number `json:"id"`
		Level       number `json:"level"`
		Description string `json:"description"`
		Groups      words  `json:"groups"`
		Mitre       struct {
			ID words `json:"id"`
		} `json:"mitre"`
	} `json:"rule"`
	Agent struct {
		Name string `json:"name"`
		IP   string `json:"ip"`
	} `json:"agent"`
	Data     json.RawMessage `json:"data"`
	Syscheck struct {
		Event  string `json:"event"`
		Path   string `json:"path"`
		MD5    string `json:"md5_after"`
		SHA1   string `json:"sha1_after"`
		SHA256 string `json:"sha256_after"`
	} `json:"syscheck"`

	data wazuhData
}

// wazuhData is what is read of the fields that a decoder found. Decoders differ,
// so a field of another type holds nothing.
type wazuhData struct {
	SrcIP  words `json:"srcip"`
	DstIP  words `json:"dstip"`
	SrcAlt words `json:"src_ip"`
	DstAlt words `json:"dest_ip"`
	URL    words `json:"url"`
}

// wazuhLevels are the rule levels of Wazuh, most severe first.
var wazuhLevels = []level{{15, federation.Critical}, {12, federation.High}, {7, federation.Medium}, {4, federation.Low}, {0, federation.Info}}

var wazuhRules = []rule[wazuhAlert]{
	{"rule.description", "title", "on one line, cut at 300 characters", func(w *wazuhAlert, d *draft) error {
		d.Title = w.Rule.Description
		if d.Title == "" && w.Rule.ID.known {
			d.Title = "Wazuh rule " + w.Rule.ID.String()
		}
		return nil
	}},
	{"—", "source", "`wazuh`", func(_ *wazuhAlert, d *draft) error { d.Source = string(Wazuh); return nil }},
	{"rule.level", "severity", "see the table below", func(w *wazuhAlert, d *draft) error {
		if !w.Rule.Level.known || w.Rule.Level.value < 0 {
			return refuseField("rule.level", w.Rule.Level.String(), "a whole number from 0 to 16")
		}
		for _, l := range wazuhLevels {
			if w.Rule.Level.value >= l.from {
				d.Severity = l.severity
				break
			}
		}
		return nil
	}},
	{"timestamp", "observed_at", "without a zone it is UTC", func(w *wazuhAlert, d *draft) error { return d.observed("timestamp", w.Timestamp) }},
	{"full_log, rule.id, rule.level, rule.groups, agent.name, location", "description", "the log line, then one line of facts", func(w *wazuhAlert, d *draft) error {
		d.Description = w.FullLog
		d.fact("rule", w.Rule.ID)
		d.fact("level", w.Rule.Level)
		for _, g := range w.Rule.Groups {
			d.fact("group", g)
		}
		d.fact("agent", w.Agent.Name)
		d.fact("location", w.Location)
		d.fact("at", w.Timestamp)
		return nil
	}},
	{"agent.name, agent.ip", "affected_assets", "`any` is no address", func(w *wazuhAlert, d *draft) error {
		d.asset(w.Agent.Name)
		if w.Agent.IP != "any" {
			d.asset(w.Agent.IP)
		}
		return nil
	}},
	{"data.srcip, data.dstip, data.src_ip, data.dest_ip", "iocs (ip) or affected_assets", "see \"Addresses\"", func(w *wazuhAlert, d *draft) error {
		for _, list := range []words{w.data.SrcIP, w.data.DstIP, w.data.SrcAlt, w.data.DstAlt} {
			for _, ip := range list {
				if ip != w.Agent.IP {
					d.address(ip)
				}
			}
		}
		return nil
	}},
	{"data.url", "iocs (url)", "only a whole address", func(w *wazuhAlert, d *draft) error {
		for _, u := range w.data.URL {
			d.ioc(federation.URL, u)
		}
		return nil
	}},
	{"syscheck.path", "iocs (file_path)", "", func(w *wazuhAlert, d *draft) error {
		d.ioc(federation.FilePath, w.Syscheck.Path)
		return nil
	}},
	{"syscheck.md5_after, sha1_after, sha256_after", "iocs (hash_…)", "", func(w *wazuhAlert, d *draft) error {
		d.ioc(federation.MD5, w.Syscheck.MD5)
		d.ioc(federation.SHA1, w.Syscheck.SHA1)
		d.ioc(federation.SHA256, w.Syscheck.SHA256)
		return nil
	}},
	{"rule.mitre.id", "mitre_techniques", "a list or a string", func(w *wazuhAlert, d *draft) error {
		for _, t := range w.Rule.Mitre.ID {
			d.technique(t)
		}
		return nil
	}},
}

// wazuh maps one line of alerts.json.
func wazuh(data []byte, d *draft) error {
	var w wazuhAlert
	if err := json.Unmarshal(data, &w); err != nil {
		return unreadable(Wazuh, err)
	}
	if len(w.Data) > 0 {
		// A decoder may put anything in here, even a string: then there are no fields to read.
		if err := json.Unmarshal(w.Data, &w.data); err != nil {
			w.data = wazuhData{}
		}
	}
	return apply(wazuhRules, &w, d)
}
