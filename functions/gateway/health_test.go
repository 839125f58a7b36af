package gateway_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
)

type health struct {
	Status      string    `json:"status"`
	SiteID      string    `json:"site_id"`
	Version     string    `json:"version"`
	GeneratedAt time.Time `json:"generated_at"`
	Parts       []struct {
		Part, Status, Detail string
	} `json:"parts"`
}

// part is the status and the detail of a part.
func (h health) part(name string) string {
	for _, p := range h.Parts {
		if p.Part == name {
			return strings.TrimSpace(p.Status + " " + p.Detail)
		}
	}
	return "absent"
}

// healthy registers the health endpoint of a function.
func healthy(t *testing.T, s *site, name string, checks []function.CheckResult, triggers ...function.TriggerHealth) {
	t.Helper()
	answers(t, s, function.HealthEndpoint(name), func(struct{}) (function.Health, error) {
		return function.Health{Name: name, Version: "1.0.0", Checks: checks, Triggers: triggers}, nil
	})
}

// away is what is said of the links to so many sites.
func away(n int) (said []string) {
	for i := range n {
		said = append(said, "the link to site-"+strconv.Itoa(i)+" is down")
	}
	return said
}

func TestHealthSaysWhatIsWrongByPart(t *testing.T) {
	topology := func(status federation.LinkStatus) federation.Topology {
		l := federation.NewLink("site-a", "site-b", noon)
		l.Status = status
		return federation.Topology{SiteID: "site-a", Links: []federation.Link{l}}
	}
	tests := []struct {
		name   string
		set    func(t *testing.T, s *site)
		status int
		parts  map[string]string
	}{
		{
			"all is well", func(t *testing.T, s *site) {
				healthy(t, s, "alertquery", []function.CheckResult{{Part: "database"}})
				healthy(t, s, "topologyquery", nil)
				answers(t, s, ask.Topology, func(ask.None) (federation.Topology, error) { return topology(federation.Healthy), nil })
			}, 200, map[string]string{
				"site": "ok", "nats": "ok connected to hub", "jetstream": "ok", "gateway": "ok", "alertquery": "ok", "topologyquery": "ok", "database": "ok", "peers": "ok",
			},
		},
		{
			"a function has no replica", func(t *testing.T, s *site) {
				healthy(t, s, "topologyquery", nil)
				answers(t, s, ask.Topology, func(ask.None) (federation.Topology, error) { return topology(federation.Healthy), nil })
			}, 503, map[string]string{
				"site": "down", "alertquery": "down no replica runs; start one with: auroramesh run alertquery", "topologyquery": "ok", "database": "absent",
			},
		},
		{
			"the database does not answer", func(t *testing.T, s *site) {
				healthy(t, s, "alertquery", []function.CheckResult{{Part: "database", Error: "connection refused"}})
				healthy(t, s, "topologyquery", []function.CheckResult{{Part: "database"}})
				answers(t, s, ask.Topology, func(ask.None) (federation.Topology, error) { return topology(federation.Healthy), nil })
			}, 503, map[string]string{
				"site": "down", "alertquery": "degraded database: connection refused", "database": "down connection refused",
			},
		},
		{
			"a trigger cannot work", func(t *testing.T, s *site) {
				healthy(t, s, "alertquery", nil, function.TriggerHealth{Name: "tick", Trouble: "its stream is not there"})
				healthy(t, s, "topologyquery", nil)
				answers(t, s, ask.Topology, func(ask.None) (federation.Topology, error) { return topology(federation.Healthy), nil })
			}, 200, map[string]string{"site": "degraded", "alertquery": "degraded tick: its stream is not there"},
		},
		{
			"a peer is away", func(t *testing.T, s *site) {
				healthy(t, s, "alertquery", nil)
				healthy(t, s, "topologyquery", nil)
				answers(t, s, ask.Topology, func(ask.None) (federation.Topology, error) { return topology(federation.Down), nil })
			}, 200, map[string]string{"site": "degraded", "peers": "degraded the link to site-b is down"},
		},
		{
			"a crowd is away", func(t *testing.T, s *site) {
				healthy(t, s, "alertquery", nil)
				healthy(t, s, "topologyquery", nil)
				all := federation.Topology{SiteID: "site-a"}
				for i := range 3000 {
					l := federation.NewLink("site-a", federation.SiteID("site-"+strconv.Itoa(i)), noon)
					l.Status = federation.Down
					all.Links = append(all.Links, l)
				}
				answers(t, s, ask.Topology, func(ask.None) (federation.Topology, error) { return all, nil })
			}, 200, map[string]string{"site": "degraded", "peers": "degraded " + strings.Join(away(20), "; ") + "; and 2980 more"},
		},
		{
			"NATS is not connected", func(_ *testing.T, s *site) { s.bus.Conn().Close() },
			503, map[string]string{"site": "down", "nats": "down not connected: closed", "jetstream": "down NATS is not connected", "alertquery": "down NATS cannot be reached"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, ":8000", "gateway", "alertquery", "topologyquery")
			tt.set(t, s)
			r := s.do(t, "GET", "/health", "")
			if r.status != tt.status {
				t.Errorf("status %d, want %d: %s", r.status, tt.status, r.body)
			}
			h := decode[health](t, r)
			if h.SiteID != "site-a" || h.Version != "1.2.3" || !h.GeneratedAt.Equal(noon) {
				t.Errorf("health %+v", h)
			}
			for name, want := range tt.parts {
				got := h.part(name)
				if name == "site" {
					got = h.Status
				}
				if got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if r := s.do(t, "GET", "/health/live", ""); r.status != http.StatusOK {
				t.Errorf("live is %d", r.status)
			}
		})
	}
}

func TestAFunctionThatHangsCostsHealthASecondAndNoMore(t *testing.T) {
	s := newSite(t, ":8000", "alertquery", "alertsink")
	healthy(t, s, "alertquery", nil)
	release := make(chan struct{})
	answers(t, s, function.HealthEndpoint("alertsink"), func(struct{}) (function.Health, error) {
		<-release
		return function.Health{}, context.Canceled
	})
	defer close(release)
	start := time.Now()
	h := decode[health](t, s.do(t, "GET", "/health", ""))
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("health took %s", took)
	}
	if h.Status != "down" || h.part("alertquery") != "ok" || !strings.Contains(h.part("alertsink"), "did not answer in time") {
		t.Errorf("health %+v", h)
	}
}
