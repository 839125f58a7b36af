package gateway

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestEveryRouteHasALineInTheTableOfScopesAndEveryLineARoute(t *testing.T) {
	g := newGateway(Config{Site: federation.Identity{ID: "site-a"}, Listen: "127.0.0.1:0", Registry: prometheus.NewRegistry()})
	if left := g.routes.unused(); len(left) > 0 {
		t.Errorf("scopes.go has lines without a route: %v", left)
	}
	defer func() {
		if recover() == nil {
			t.Error("a route without a line was taken")
		}
	}()
	g.routes.HandleFunc("GET /api/v1/secrets", func(http.ResponseWriter, *http.Request) {})
}

func TestWhatChangesSomethingTakesMoreThanAScopeToRead(t *testing.T) {
	for pattern, n := range needs {
		method, path, _ := strings.Cut(pattern, " ")
		if n.scope != "" && !n.scope.Valid() {
			t.Errorf("%s takes the scope %q", pattern, n.scope)
		}
		if n.audited && !n.open && (!slices.Contains([]access.Scope{access.AlertsWrite, access.SharingWrite, access.Admin}, n.scope)) {
			t.Errorf("%s changes something for the scope %q", pattern, n.scope)
		}
		if (method == http.MethodPut || method == http.MethodPatch || method == http.MethodDelete) && !n.audited {
			t.Errorf("%s is not in the audit log", pattern)
		}
		if n.open && strings.HasPrefix(path, "/api/") {
			t.Errorf("%s is open", pattern)
		}
	}
}
