package peeradmit

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func TestTheFilterIsThatOfTheGate(t *testing.T) {
	rest := []federation.Severity{federation.High, federation.Low}
	for name, c := range map[string]struct {
		way  way
		want []string
	}{
		"a severity":                    {way{gate: federation.Gate{MinSeverity: federation.High}}, []string{"high.to.site-b", "high", "low.to.site-b"}},
		"none of these at all":          {way{gate: federation.Gate{MinSeverity: federation.Critical}}, []string{"high.to.site-b", "low.to.site-b"}},
		"a source":                      {way{gate: federation.Gate{MinSeverity: federation.Info, Sources: []string{"edr"}}}, []string{"high.to.site-b", "low.to.site-b"}},
		"what is for others by the hub": {way{gate: federation.Gate{MinSeverity: federation.High}, hub: true}, []string{"high.to.site-b", "high", "high.via.*", "low.to.site-b", "low.via.*"}},
		"what is passed on":             {way{gate: federation.Gate{MinSeverity: federation.High}, passed: true}, []string{"high.to.site-b", "high", "high.from.*", "low.to.site-b", "low.from.*"}},
		"nothing, for it is closed":     {way{gate: federation.Gate{MinSeverity: federation.Info, Closed: true}}, []string{"high.to.site-b", "low.to.site-b"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := filters(c.way, "site-b", rest)
			for i, s := range c.want {
				c.want[i] = "aurora.alerts.federation." + s
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The server takes no consumer whose subjects overlap, and no peer may be given another's copies.
func TestTheSubjectsOfAFilterNeverOverlap(t *testing.T) {
	all := filters(way{gate: federation.Gate{MinSeverity: federation.Info}, hub: true, passed: true}, "site-b", federation.Severities())
	for i, a := range all {
		if slices.ContainsFunc(all[i+1:], func(b string) bool { return server.SubjectsCollide(a, b) }) {
			t.Errorf("%s overlaps with another", a)
		}
		for _, s := range federation.Severities() {
			if server.SubjectsCollide(a, subject.AlertTo(s, "site-c")) {
				t.Errorf("%s matches a copy for site-c", a)
			}
		}
	}
}
