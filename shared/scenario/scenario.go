// Package scenario tells attacks as alerts: each scenario is a story of several
// alerts, in the order in which a SOC would see them, with the techniques and
// indicators that belong to it. Nothing in it is real: addresses and names come
// from the ranges that are set aside for documentation, hashes from chance.
//
// A seed decides everything. Alert number i of one scenario and one seed is always
// the same, so a second run with the seed raises duplicates, and a run with
// another seed raises new alerts. After its last alert a story begins again, with
// other hosts, names and files.
package scenario

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// Scenario is one story.
type Scenario struct {
	Name    string
	Summary string // one sentence
	steps   []step
}

// step is one alert of a story.
type step struct {
	severity   federation.Severity
	source     string
	title      string
	techniques []string
	assetType  string
	// tell gives the rest: the description, the assets, the indicators and the log line.
	tell func(c *cast) part
}

// part is what of an alert depends on the cast.
type part struct {
	description string
	assets      []string
	iocs        []federation.IOC
	raw         string
}

// All lists every scenario.
func All() []Scenario {
	return []Scenario{c2Beacon, ransomware, lateralMovement, phishing, dataExfiltration, bruteForce}
}

// Names lists the name of every scenario.
func Names() []string {
	var names []string
	for _, s := range All() {
		names = append(names, s.Name)
	}
	return names
}

// Len is how many alerts the story has.
func (s Scenario) Len() int { return len(s.steps) }

// Severities lists the severities of the story's alerts, in order.
func (s Scenario) Severities() []federation.Severity {
	var all []federation.Severity
	for _, st := range s.steps {
		all = append(all, st.severity)
	}
	return all
}

// Run is one telling of a scenario.
type Run struct {
	Scenario
	Seed uint64
}

// New is the telling of the named scenario that seed decides.
func New(name string, seed uint64) (Run, error) {
	all := All()
	i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
	if i < 0 {
		var wrong fault.Fields
		wrong.Add("scenario", name, strings.Join(Names(), ", "))
		return Run{}, wrong.Err("there is no such scenario")
	}
	return Run{Scenario: all[i], Seed: seed}, nil
}

// Alert is alert number i, from 0. It has no time: whoever raises it sets one.
func (r Run) Alert(i int) federation.NewAlert {
	round, at := i/len(r.steps), i%len(r.steps)
	s := r.steps[at]
	told := s.tell(newCast(rand.New(rand.NewPCG(r.Seed, uint64(round)))))
	return federation.NewAlert{
		Title: s.title, Description: told.description, Severity: s.severity, Source: s.source, AssetType: s.assetType,
		AffectedAssets: told.assets, IOCs: federation.IOCInput{Items: federation.CanonicalIOCs(told.iocs)},
		MitreTechniques: s.techniques, RawLog: federation.RawLog(told.raw),
	}
}
