package sensor

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// detectionFinding is the OCSF class whose records are alerts.
const detectionFinding = 2004

// finding is what is read of an OCSF Detection Finding.
type finding struct {
	Time     number `json:"time"`
	SevID    number `json:"severity_id"`
	Message  string `json:"message"`
	Finding  info   `json:"finding_info"`
	Metadata struct {
		Product struct {
			Name   string `json:"name"`
			Vendor string `json:"vendor_name"`
		} `json:"product"`
	} `json:"metadata"`
	Attacks     []attack     `json:"attacks"`
	Observables []observable `json:"observables"`
	Resources   []resource   `json:"resources"`
	Device      resource     `json:"device"`
}

type info struct {
	UID     string   `json:"uid"`
	Title   string   `json:"title"`
	Desc    string   `json:"desc"`
	Attacks []attack `json:"attacks"`
}

type attack struct {
	Technique    uid `json:"technique"`
	SubTechnique uid `json:"sub_technique"`
}

type uid struct {
	UID string `json:"uid"`
}

type observable struct {
	TypeID number `json:"type_id"`
	Value  words  `json:"value"`
}

type resource struct {
	Name     string `json:"name"`
	Hostname string `json:"hostname"`
	UID      string `json:"uid"`
	IP       string `json:"ip"`
	Type     string `json:"type"`
}

// ocsfSeverities are the severity_id values, most severe first. Unknown and
// other say nothing, so somebody must look: medium.
var ocsfSeverities = []struct {
	id       int64
	caption  string
	severity federation.Severity
}{
	{6, "Fatal", federation.Critical}, {5, "Critical", federation.Critical}, {4, "High", federation.High}, {3, "Medium", federation.Medium},
	{2, "Low", federation.Low}, {1, "Informational", federation.Info}, {0, "Unknown", federation.Medium}, {99, "Other", federation.Medium},
}

// observableTypes are the observables that are read. Hash is told by its length.
var observableTypes = []struct {
	id      int64
	caption string
	to      string
	add     func(*draft, string)
}{
	{1, "Hostname", "iocs (domain) or affected_assets", func(d *draft, v string) { d.host(v, false) }},
	{2, "IP Address", "iocs (ip) or affected_assets", func(d *draft, v string) { d.address(v) }},
	{5, "Email Address", "iocs (email)", func(d *draft, v string) { d.ioc(federation.Email, v) }},
	{6, "URL String", "iocs (url)", func(d *draft, v string) { d.ioc(federation.URL, v) }},
	{8, "Hash", "iocs (hash_…)", func(d *draft, v string) { d.ioc("hash", v) }},
	{16, "HTTP User-Agent", "iocs (user_agent)", func(d *draft, v string) { d.ioc(federation.UserAgent, v) }},
	{18, "CVE", "iocs (cve)", func(d *draft, v string) { d.ioc(federation.CVE, v) }},
	{28, "Registry Key", "iocs (registry_key)", func(d *draft, v string) { d.ioc(federation.RegistryKey, v) }},
	{45, "File Path", "iocs (file_path)", func(d *draft, v string) { d.ioc(federation.FilePath, v) }},
	{46, "Registry Key Path", "iocs (registry_key)", func(d *draft, v string) { d.ioc(federation.RegistryKey, v) }},
}

var ocsfRules = []rule[finding]{
	{"finding_info.title, else message", "title", "on one line, cut at 300 characters", func(f *finding, d *draft) error {
		if d.Title = f.Finding.Title; strings.TrimSpace(d.Title) == "" {
			d.Title = f.Message
		}
		return nil
	}},
	{"metadata.product.name", "source", "in lower case; `ocsf` where it is absent", func(f *finding, d *draft) error {
		if d.Source = strings.ToLower(oneLine(f.Metadata.Product.Name, federation.MaxSource)); d.Source == "" {
			d.Source = string(OCSF)
		}
		return nil
	}},
	{"severity_id", "severity", "see the table below", func(f *finding, d *draft) error {
		for _, s := range ocsfSeverities {
			if f.SevID.known && s.id == f.SevID.value {
				d.Severity = s.severity
				return nil
			}
		}
		return refuseField("severity_id", f.SevID.String(), "0 to 6, or 99")
	}},
	{"time", "observed_at", "milliseconds since 1970", func(f *finding, d *draft) error {
		if f.Time.known {
			t := time.UnixMilli(f.Time.value).UTC()
			d.ObservedAt = &t
		}
		return nil
	}},
	{"finding_info.desc, finding_info.uid, metadata.product", "description", "the text, then one line of facts", func(f *finding, d *draft) error {
		d.Description = f.Finding.Desc
		d.fact("finding", f.Finding.UID)
		d.fact("product", strings.TrimSpace(f.Metadata.Product.Vendor+" "+f.Metadata.Product.Name))
		if d.ObservedAt != nil {
			d.fact("at", d.ObservedAt.Format(time.RFC3339Nano))
		}
		return nil
	}},
	{"resources[] and device: hostname, else name, else uid; and ip", "affected_assets", "resources[0].type becomes asset_type", func(f *finding, d *draft) error {
		for _, r := range append(slices.Clip(f.Resources), f.Device) {
			switch {
			case r.Hostname != "":
				d.asset(r.Hostname)
			case r.Name != "":
				d.asset(r.Name)
			default:
				d.asset(r.UID)
			}
			d.asset(r.IP)
		}
		if len(f.Resources) > 0 {
			d.AssetType = oneLine(f.Resources[0].Type, federation.MaxAssetType)
		}
		return nil
	}},
	{"observables[] by type_id", "iocs", "see the table below; one that names an asset is no IOC", func(f *finding, d *draft) error {
		assets := slices.Clone(d.AffectedAssets)
		for _, o := range f.Observables {
			for _, t := range observableTypes {
				if t.id != o.TypeID.value {
					continue
				}
				for _, v := range o.Value {
					if !slices.Contains(assets, v) {
						t.add(d, v)
					}
				}
			}
		}
		return nil
	}},
	{"finding_info.attacks[] and attacks[]: sub_technique.uid, else technique.uid", "mitre_techniques", "", func(f *finding, d *draft) error {
		for _, a := range append(slices.Clip(f.Finding.Attacks), f.Attacks...) {
			if a.SubTechnique.UID != "" {
				d.technique(a.SubTechnique.UID)
			} else {
				d.technique(a.Technique.UID)
			}
		}
		return nil
	}},
}

// ocsf maps one OCSF event. Only Detection Findings are alerts.
func ocsf(data []byte, d *draft) (skipped string, err error) {
	var head struct {
		Class number `json:"class_uid"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return "", unreadable(OCSF, err)
	}
	if !head.Class.known {
		return "", refuseField("class_uid", "", "is required: the class of an OCSF event")
	}
	if head.Class.value != detectionFinding {
		return "ocsf class " + strconv.FormatInt(head.Class.value, 10), nil
	}
	var f finding
	if err := json.Unmarshal(data, &f); err != nil {
		return "", unreadable(OCSF, err)
	}
	return "", apply(ocsfRules, &f, d)
}
