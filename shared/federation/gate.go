package federation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// Gate decides which alerts pass between two sites, in one direction. A gate
// without a valid MinSeverity lets nothing pass.
type Gate struct {
	// MinSeverity is the lowest severity that passes.
	MinSeverity Severity
	// Closed lets nothing pass: federation is off.
	Closed bool
	// Sources are the only ones that pass; none at all: every source does.
	Sources []string
	// ExceptSources never pass.
	ExceptSources []string
	// StripIOCs are the types of IOC that are taken off an alert as it passes.
	StripIOCs []IOCType
}

// SharingRule is the rule by which a gate decided.
type SharingRule string

// The rules, in the order in which a gate asks them.
const (
	RuleFederationOff SharingRule = "federation_off" // the gate is closed
	RuleTLP           SharingRule = "tlp"            // the label keeps the alert at its site
	RuleMinSeverity   SharingRule = "min_severity"   // the alert is not severe enough
	RuleSource        SharingRule = "source"         // the gate does not let its source pass
	RuleAdmitted      SharingRule = "admitted"       // no rule keeps it
)

// SharingRules lists every rule in the order in which a gate asks them.
func SharingRules() []SharingRule {
	return []SharingRule{RuleFederationOff, RuleTLP, RuleMinSeverity, RuleSource, RuleAdmitted}
}

// Decision is whether an alert passes a gate, and why.
type Decision struct {
	Admitted bool        `json:"admitted"`
	Rule     SharingRule `json:"rule"`
	// Reason is the rule as a sentence, with the value that met it and the limit.
	Reason string `json:"reason"`
}

// Decide says whether an alert passes. A severity or label that the gate does not
// know is kept back; no label at all is [DefaultTLP].
func (g Gate) Decide(s Severity, t TLP, source string) Decision {
	t = t.OrDefault()
	kept := func(rule SharingRule, form string, args ...any) Decision {
		return Decision{Rule: rule, Reason: fmt.Sprintf(form, args...)}
	}
	switch {
	case g.Closed:
		return kept(RuleFederationOff, "federation is off at this site, so nothing leaves it")
	case !t.Shareable():
		return kept(RuleTLP, "tlp %s stays at its site; only %s may leave", t, sharedTLPForm)
	case !g.MinSeverity.Valid():
		return kept(RuleMinSeverity, "the gate has no lowest severity, so nothing passes, not even %s", s)
	case s.Rank() < g.MinSeverity.Rank():
		return kept(RuleMinSeverity, "severity %s is below %s, the lowest that passes", s, g.MinSeverity)
	case slices.Contains(g.ExceptSources, source):
		return kept(RuleSource, "the source %s is among those that do not pass", source)
	case len(g.Sources) > 0 && !slices.Contains(g.Sources, source):
		return kept(RuleSource, "the source %s is not among those that pass: %s", source, strings.Join(g.Sources, ", "))
	}
	return Decision{Admitted: true, Rule: RuleAdmitted, Reason: fmt.Sprintf("severity %s is at least %s, and tlp %s may leave", s, g.MinSeverity, t)}
}

// Admits says whether a version of a local alert leaves. One that may have left
// before goes by the severity and the label of that time, so that whoever has the
// alert also hears that it was downgraded, relabelled or retracted.
func (g Gate) Admits(a Alert) Decision {
	if a.SharedSeverity == "" {
		return g.Decide(a.Severity, a.TLP, a.Source)
	}
	label := a.TLP
	if !label.Shareable() {
		label = DefaultTLP
	}
	return g.Decide(a.SharedSeverity, label, a.Source)
}

// Severities lists what the gate admits where neither label nor source forbids it, worst first.
func (g Gate) Severities() []Severity {
	g.Sources, g.ExceptSources = nil, nil
	var admitted []Severity
	for _, s := range Severities() {
		if g.Decide(s, TLPClear, "").Admitted {
			admitted = append(admitted, s)
		}
	}
	return admitted
}

// OwnCopy reports whether the peer behind the gate gets copies made for it alone.
// A subject says no more than the severity, so what else the gate looks at no
// filter of subjects can hold back.
func (g Gate) OwnCopy() bool { return len(g.Sources)+len(g.ExceptSources)+len(g.StripIOCs) > 0 }

// Strip is the IOCs that are left of those given as they pass the gate.
func (g Gate) Strip(iocs []IOC) []IOC {
	left := make([]IOC, 0, len(iocs))
	for _, i := range iocs {
		if !slices.Contains(g.StripIOCs, i.Type) {
			left = append(left, i)
		}
	}
	return left
}

// Stripped is the types that [Gate.Strip] takes off, each once, in the order of [IOCTypes].
func (g Gate) Stripped(iocs []IOC) []IOCType {
	types := []IOCType{}
	for _, t := range IOCTypes() {
		if slices.Contains(g.StripIOCs, t) && slices.ContainsFunc(iocs, func(i IOC) bool { return i.Type == t }) {
			types = append(types, t)
		}
	}
	return types
}

// Gates are the gates of one direction: those of single peers, and the one of
// every other peer, those that are not known yet among them.
type Gates struct {
	Default Gate
	Peers   map[SiteID]Gate
}

// For is the gate of a peer.
func (g Gates) For(peer SiteID) Gate {
	if own, ok := g.Peers[peer]; ok {
		return own
	}
	return g.Default
}

// Route is an alert as it leaves: for one peer, or where Peer is empty for every
// peer that gets no copy of its own.
type Route struct {
	Peer  SiteID
	Alert Alert
}

// Routes is every form in which a local alert leaves; none where it stays. Where
// the plain form leaves, each peer's consumer holds back what its own gate refuses.
func (g Gates) Routes(a Alert) []Route {
	var plain bool
	var copies []Route
	admits := func(gate Gate) bool { return gate.Admits(a).Admitted }
	for _, peer := range slices.Sorted(maps.Keys(g.Peers)) {
		switch gate := g.Peers[peer]; {
		case !admits(gate):
		case gate.OwnCopy():
			own := a
			own.IOCs = gate.Strip(a.IOCs)
			copies = append(copies, Route{peer, own})
		default:
			plain = true
		}
	}
	if plain || admits(g.Default) && !g.Default.OwnCopy() {
		return append([]Route{{Alert: a}}, copies...)
	}
	return copies
}

// GateSetting is what a site has set for one peer and one direction. What is empty
// is not set.
type GateSetting struct {
	MinSeverity   Severity  `json:"min_severity,omitempty"`
	Sources       []string  `json:"sources,omitempty"`
	ExceptSources []string  `json:"except_sources,omitempty"`
	StripIOCs     []IOCType `json:"strip_iocs,omitempty"`
}

// MaxGateSources is how many sources a gate may name in one list.
const MaxGateSources = 100

// Validate refuses words outside the vocabulary and a source that is to pass and not to.
func (s GateSetting) Validate() error {
	var wrong fault.Fields
	if s.MinSeverity != "" && !s.MinSeverity.Valid() {
		wrong.Add("min_severity", string(s.MinSeverity), SeverityForm)
	}
	checkSources(&wrong, "sources", s.Sources)
	checkSources(&wrong, "except_sources", s.ExceptSources)
	for i, source := range first(s.ExceptSources, MaxGateSources) {
		if slices.Contains(s.Sources, source) {
			wrong.Add("except_sources["+itoa(i)+"]", source, "a source that is not in sources too")
		}
	}
	types := IOCTypes()
	for i, t := range first(s.StripIOCs, len(types)+1) {
		if i == len(types) {
			wrong.Add("strip_iocs", itoa(len(s.StripIOCs))+" entries", "at most "+itoa(len(types))+" entries")
		} else if !slices.Contains(types, t) {
			wrong.Add("strip_iocs["+itoa(i)+"]", string(t), IOCTypeForm)
		}
	}
	return wrong.Err("the gate is not valid")
}

// IOCTypeForm says in words what a type of IOC may be.
const IOCTypeForm = "ip, domain, url, hash_md5, hash_sha1, hash_sha256, email, cve, file_path, registry_key, mutex or user_agent"

func checkSources(wrong *fault.Fields, name string, sources []string) {
	if len(sources) > MaxGateSources {
		wrong.Add(name, itoa(len(sources))+" entries", "at most "+itoa(MaxGateSources)+" entries")
	}
	for i, s := range first(sources, MaxGateSources) {
		checkText(wrong, name+"["+itoa(i)+"]", s, 1, MaxSource)
	}
}

// Over is the gate that the setting makes of the one that holds where nothing is set.
func (s GateSetting) Over(g Gate) Gate {
	if s.MinSeverity != "" {
		g.MinSeverity = s.MinSeverity
	}
	if len(s.Sources) > 0 {
		g.Sources = s.Sources
	}
	if len(s.ExceptSources) > 0 {
		g.ExceptSources = s.ExceptSources
	}
	if len(s.StripIOCs) > 0 {
		g.StripIOCs = s.StripIOCs
	}
	return g
}

// Canonical is the setting with its lists sorted and without doubles.
func (s GateSetting) Canonical() GateSetting {
	s.Sources, s.ExceptSources, s.StripIOCs = sorted(s.Sources), sorted(s.ExceptSources), sorted(s.StripIOCs)
	return s
}

func sorted[T ~string](list []T) []T { return slices.Compact(slices.Sorted(slices.Values(list))) }

// InboundGate is the gate for what comes in where nothing is set: it lets all pass.
func InboundGate() Gate { return Gate{MinSeverity: Info} }
