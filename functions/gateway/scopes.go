package gateway

import (
	"net/http"
	"slices"

	"github.com/auroramesh/auroramesh/shared/access"
)

// need is what a request to a route takes.
type need struct {
	// scope is what the principal must have; empty: it must be known, and no more.
	scope access.Scope
	// open lets in who is not known too. Who is, is so in the handler as well.
	open bool
	// audited says that the audit log has it, for it changes something.
	audited bool
	// stays says that the answer has no end, so that who reads it is looked at again and again.
	stays bool
	// page says that a person opens it in a browser, and is sent to where to sign in.
	page bool
}

var (
	anyone  = need{open: true}
	anybody = need{} // whoever has signed in
)

func reads(s access.Scope) need { return need{scope: s} }

// page is for a page of the console: who has not signed in is sent to where to do so.
func page(s access.Scope) need    { return need{scope: s, page: true} }
func changes(s access.Scope) need { return need{scope: s, audited: true} }

// submits is for a form of such a page.
func submits(s access.Scope) need { return need{scope: s, page: true, audited: true} }

// needs is the one table of who may do what: every route of the gateway, API and
// pages, and what it takes. A route without a line here cannot be registered.
//
// Dead letters hold alerts, hence their scopes. /health is open and shows its
// parts to those who may read the sites; /metrics names sites and functions.
var needs = map[string]need{
	"GET /api/v1/alerts":                              reads(access.AlertsRead),
	"POST /api/v1/alerts":                             changes(access.AlertsWrite),
	"GET /api/v1/alerts/{id}":                         reads(access.AlertsRead),
	"PATCH /api/v1/alerts/{id}":                       changes(access.AlertsWrite),
	"GET /api/v1/alerts/{id}/deliveries":              reads(access.AlertsRead),
	"GET /api/v1/deadletters":                         reads(access.AlertsRead),
	"GET /api/v1/deadletters/{id}":                    reads(access.AlertsRead),
	"POST /api/v1/deadletters/{id}/retry":             changes(access.AlertsWrite),
	"DELETE /api/v1/deadletters/{id}":                 changes(access.AlertsWrite),
	"GET /api/v1/events":                              {scope: access.AlertsRead, stays: true},
	"GET /api/v1/sites":                               reads(access.SitesRead),
	"GET /api/v1/system/topology":                     reads(access.SitesRead),
	"PUT /api/v1/system/agents":                       changes(access.Admin),
	"GET /api/v1/links/{id}/history":                  reads(access.SitesRead),
	"GET /api/v1/federation/deliveries":               reads(access.SitesRead),
	"GET /api/v1/federation/drills":                   reads(access.SitesRead),
	"POST /api/v1/federation/drills":                  changes(access.AlertsWrite), // a drill raises alerts
	"GET /api/v1/federation/trust":                    reads(access.SitesRead),
	"PUT /api/v1/federation/trust/{site}":             changes(access.Admin),
	"DELETE /api/v1/federation/trust/{site}":          changes(access.Admin),
	"POST /api/v1/sharing/preview":                    reads(access.AlertsRead), // nothing is stored
	"GET /api/v1/sharing/gates":                       reads(access.SitesRead),
	"PUT /api/v1/sharing/gates/{peer}/{direction}":    changes(access.SharingWrite),
	"DELETE /api/v1/sharing/gates/{peer}/{direction}": changes(access.SharingWrite),
	"GET /api/v1/access/me":                           anybody,
	"GET /api/v1/access/keys":                         reads(access.Admin),
	"POST /api/v1/access/keys":                        changes(access.Admin),
	"DELETE /api/v1/access/keys/{id}":                 changes(access.Admin),
	"GET /api/v1/access/audit":                        reads(access.Admin),
	"GET /api/v1/access/audit/verification":           reads(access.Admin),
	"GET /metrics":                                    reads(access.SitesRead),
	"GET /health":                                     anyone,
	"GET /health/live":                                anyone,

	"GET /sign-in":            anyone,
	"POST /sign-in":           {open: true, audited: true},
	"POST /sign-out":          {open: true, audited: true},
	"GET /sign-in/begin":      anyone,
	"GET /sign-in/callback":   {open: true, audited: true},
	"GET /styleguide":         anyone, // it shows nothing of the site
	"GET /docs":               anyone,
	"GET /openapi.json":       anyone,
	"GET /openapi.yaml":       anyone,
	"GET /assets/style.css":   anyone,
	"GET /assets/icon.svg":    anyone,
	"GET /assets/console.css": anyone,
	"GET /assets/console.js":  anyone,
	"GET /assets/live.js":     anyone,
	"GET /assets/map.js":      anyone,
	"GET /assets/morph.js":    anyone,
	"GET /assets/queue.js":    anyone,

	"GET /{$}":                 page(""),
	"GET /matrix":              page(access.SitesRead),
	"GET /alerts":              page(access.AlertsRead),
	"GET /alerts/campaigns":    page(access.AlertsRead),
	"GET /alerts/{id}":         page(access.AlertsRead),
	"GET /links/{id}":          page(access.SitesRead),
	"GET /sites/{id}":          page(access.SitesRead),
	"GET /deliveries":          page(access.SitesRead),
	"GET /drills/{run}":        page(access.SitesRead),
	"POST /deliveries/letters": submits(access.AlertsWrite),
	"POST /alerts/status":      submits(access.AlertsWrite),
}

// routes is a mux that takes only what has a line in [needs].
type routes struct {
	*http.ServeMux
	patterns []string
}

func newRoutes() *routes { return &routes{ServeMux: http.NewServeMux()} }

// HandleFunc registers a route.
func (m *routes) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	m.Handle(pattern, http.HandlerFunc(handler))
}

// Handle registers a route.
func (m *routes) Handle(pattern string, handler http.Handler) {
	if _, ok := needs[pattern]; !ok {
		panic("the route " + pattern + " has no line in scopes.go") // every test would see it
	}
	m.patterns = append(m.patterns, pattern)
	m.ServeMux.Handle(pattern, handler)
}

// say is what the documentation of a route tells about what it takes.
func (n need) say() string {
	switch {
	case n.open:
		return ""
	case n.scope == "":
		return " It takes any key or token."
	}
	return " It takes the scope " + string(n.scope) + "."
}

// failures are the statuses of what is refused for want of it.
func (n need) failures() []int {
	switch {
	case n.open:
		return nil
	case n.scope == "":
		return []int{http.StatusUnauthorized, http.StatusTooManyRequests}
	}
	return []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests}
}

// unused lists the lines of [needs] for which m has no route.
func (m *routes) unused() []string {
	var left []string
	for pattern := range needs {
		if !slices.Contains(m.patterns, pattern) {
			left = append(left, pattern)
		}
	}
	slices.Sort(left)
	return left
}
