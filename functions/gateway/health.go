package gateway

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
)

// healthTimeout bounds each question that /health asks.
const healthTimeout = time.Second

// healthStatus is how the site, or a part of it, is.
type healthStatus string

const (
	ok       healthStatus = "ok"
	degraded healthStatus = "degraded" // something is wrong, yet the site does its work
	down     healthStatus = "down"     // the site cannot do its work
)

var healthStatuses = []healthStatus{ok, degraded, down}

func (s healthStatus) worse(t healthStatus) healthStatus {
	if slices.Index(healthStatuses, t) > slices.Index(healthStatuses, s) {
		return t
	}
	return s
}

// health is the answer of /health.
type health struct {
	Status      healthStatus      `json:"status"`
	SiteID      federation.SiteID `json:"site_id"`
	Version     string            `json:"version"`
	GeneratedAt time.Time         `json:"generated_at"`
	Parts       []part            `json:"parts"`
}

// part is one part of the site.
type part struct {
	Part   string       `json:"part"`
	Status healthStatus `json:"status"`
	Detail string       `json:"detail"`
}

type live struct {
	Status healthStatus `json:"status"`
}

type healthOutput struct {
	Status int
	Body   health
}

func (g *gateway) registerState(api huma.API, metrics http.Handler) {
	op := operation(http.MethodGet, "/health", "get-health", tagState, "Say how the site is",
		"Asks every part of the site: NATS, JetStream, each function, the database, and the links to the peers. 503 where a part that the site needs is down; a peer that is away makes the site degraded, not down. Anyone gets the status; the parts take the scope sites:read.")
	op.Errors = []int{http.StatusUnprocessableEntity}
	huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*healthOutput, error) {
		h := g.health(ctx)
		if p, _ := access.PrincipalOf(ctx); !p.May(access.SitesRead) {
			h.Parts = []part{} // what runs here and whom it knows is for those who may read it
		}
		out := &healthOutput{Status: http.StatusOK, Body: h}
		if h.Status == down {
			out.Status = http.StatusServiceUnavailable
		}
		return out, nil
	})
	documented := registered(api, op.Method, op.Path)
	documented.Responses["200"].Description = "The site does its work"
	unhealthy := *documented.Responses["200"]
	unhealthy.Description = "A part that the site needs is down; the parts say which"
	documented.Responses["503"] = &unhealthy

	op = operation(http.MethodGet, "/health/live", "get-live", tagState, "Say whether the process serves",
		"200 as long as the process answers at all, whatever is wrong around it.")
	op.Errors = []int{http.StatusUnprocessableEntity}
	huma.Register(api, op, func(context.Context, *struct{}) (*answer[live], error) {
		return &answer[live]{live{ok}}, nil
	})

	op = operation(http.MethodGet, "/metrics", "get-metrics", tagState, "Show the metrics", "Metrics of the functions that run in this process, in the format of Prometheus.")
	op.Errors = append(needs["GET /metrics"].failures(), http.StatusUnprocessableEntity)
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The metrics",
		Content:     map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
	huma.Register(api, op, func(context.Context, *struct{}) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			r, w := humago.Unwrap(ctx)
			metrics.ServeHTTP(w, r)
		}}, nil
	})
}

// health asks every part how it is, all at the same time.
func (g *gateway) health(ctx context.Context) health {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	var (
		bus   = g.busHealth()
		asked = make([]functionHealth, len(g.functions))
		store part
		peers part
		wait  sync.WaitGroup
	)
	wait.Go(func() { store = g.jetStreamHealth(ctx) })
	for i, name := range g.functions {
		wait.Go(func() { asked[i] = g.functionHealth(ctx, name) })
	}
	hasTopology := slices.Contains(g.functions, ask.Topology.Function)
	if hasTopology {
		wait.Go(func() { peers = g.peerHealth(ctx) })
	}
	wait.Wait()

	h := health{Status: ok, SiteID: g.site.ID, Version: g.site.Version, GeneratedAt: g.now().UTC(), Parts: []part{bus, store}}
	checks := map[string]string{} // by part: the first error, empty where it holds
	for _, f := range asked {
		h.Parts = append(h.Parts, f.part)
		for _, c := range f.checks {
			checks[c.Part] = cmp.Or(checks[c.Part], c.Error)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		p := part{Part: name, Status: ok}
		if checks[name] != "" {
			p.Status, p.Detail = down, checks[name]
		}
		h.Parts = append(h.Parts, p)
	}
	if hasTopology {
		h.Parts = append(h.Parts, peers)
	}
	if len(g.Certificates) > 0 {
		h.Parts = append(h.Parts, g.certificateHealth())
	}
	for _, p := range h.Parts {
		h.Status = h.Status.worse(p.Status)
	}
	return h
}

func (g *gateway) busHealth() part {
	nc := g.bus.Conn()
	if status := nc.Status(); status != nats.CONNECTED {
		return part{"nats", down, "not connected: " + strings.ToLower(status.String())}
	}
	return part{"nats", ok, "connected to " + cmp.Or(nc.ConnectedServerName(), nc.ConnectedUrlRedacted())}
}

func (g *gateway) jetStreamHealth(ctx context.Context) part {
	if !g.bus.Conn().IsConnected() {
		return part{"jetstream", down, "NATS is not connected"}
	}
	if _, err := g.bus.JetStream().AccountInfo(ctx); err != nil {
		g.log.WarnContext(ctx, "JetStream does not answer", "error", err)
		return part{"jetstream", down, "no answer within " + healthTimeout.String()}
	}
	return part{"jetstream", ok, ""}
}

// functionHealth is what a function says of itself.
type functionHealth struct {
	part
	checks []function.CheckResult
}

func (g *gateway) functionHealth(ctx context.Context, name string) functionHealth {
	p := part{Part: name, Status: ok}
	if name == Name { // it is what answers here
		return functionHealth{part: p}
	}
	h, err := function.Ask(ctx, g.bus, g.site.ID, function.HealthEndpoint(name), struct{}{})
	switch f := fault.Of(err); {
	case fault.Is(err, fault.Unavailable) && g.bus.Conn().IsConnected():
		p.Status, p.Detail = down, "no replica runs; start one with: auroramesh run "+name
	case err != nil:
		p.Status, p.Detail = down, f.Message
	default:
		var wrong []string
		for _, c := range h.Checks {
			if c.Error != "" {
				wrong = append(wrong, c.Part+": "+c.Error)
			}
		}
		for _, t := range h.Triggers {
			if t.Trouble != "" {
				wrong = append(wrong, t.Name+": "+t.Trouble)
			}
		}
		if len(wrong) > 0 {
			p.Status, p.Detail = degraded, strings.Join(wrong, "; ")
		}
	}
	return functionHealth{p, h.Checks}
}

func (g *gateway) certificateHealth() part {
	if wrong := g.Certificates.Warnings(g.now()); len(wrong) > 0 {
		return part{"certificates", degraded, strings.Join(wrong, "; ")}
	}
	return part{Part: "certificates", Status: ok}
}

// maxNamed is how many links that are not healthy are named, as many as somebody reads.
const maxNamed = 20

func (g *gateway) peerHealth(ctx context.Context) part {
	topology, err := function.Ask(ctx, g.bus, g.site.ID, ask.Topology, ask.None{})
	if err != nil {
		return part{"peers", degraded, "not known: " + fault.Of(err).Message}
	}
	var wrong []string
	more := 0
	for _, l := range topology.Links {
		if l.Status != federation.Healthy {
			if len(wrong) == maxNamed {
				more++
				continue
			}
			why := ""
			if l.Cause != "" {
				why = " (" + string(l.Cause) + ")"
			}
			wrong = append(wrong, "the link to "+string(l.Peer(g.site.ID))+" is "+string(l.Status)+why)
		}
	}
	if more > 0 {
		wrong = append(wrong, fmt.Sprintf("and %d more", more))
	}
	if len(wrong) > 0 {
		return part{"peers", degraded, strings.Join(wrong, "; ")}
	}
	return part{Part: "peers", Status: ok}
}
