// Package access says who may do what with the API of a site: the scopes, the
// principal that a request comes from, the form of the secrets by which it is
// known, and the audit record of what it did. It does no I/O: the function access
// keeps all of it in the database, and the gateway asks that function.
package access

import (
	"slices"
	"strings"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// Scope is one thing that a principal may do.
type Scope string

// The scopes. None includes another, but [Admin] includes all: who may make keys
// could give any scope to itself.
const (
	AlertsRead   Scope = "alerts:read"
	AlertsWrite  Scope = "alerts:write"
	SitesRead    Scope = "sites:read"
	SharingWrite Scope = "sharing:write"
	Admin        Scope = "admin"
)

// ScopeForm says which scopes there are.
const ScopeForm = "alerts:read, alerts:write, sites:read, sharing:write or admin"

// Scopes lists every scope.
func Scopes() []Scope { return []Scope{AlertsRead, AlertsWrite, SitesRead, SharingWrite, Admin} }

// Valid reports whether s is one of the scopes.
func (s Scope) Valid() bool { return slices.Contains(Scopes(), s) }

// checkScopes adds to wrong what is no scope, and that there is none at all.
func checkScopes(wrong *fault.Fields, scopes []Scope) {
	if len(scopes) == 0 {
		wrong.Add("scopes", "", "at least one of "+ScopeForm)
	}
	for _, s := range scopes {
		if !s.Valid() {
			wrong.Add("scopes", string(s), ScopeForm)
		}
	}
}

// Sorted is the scopes in the order of [Scopes], each once, without what is none.
func Sorted(scopes []Scope) []Scope {
	sorted := []Scope{}
	for _, s := range Scopes() {
		if slices.Contains(scopes, s) {
			sorted = append(sorted, s)
		}
	}
	return sorted
}

// Join is scopes as one text, with a space between them.
func Join(scopes []Scope) string {
	words := make([]string, len(scopes))
	for i, s := range scopes {
		words[i] = string(s)
	}
	return strings.Join(words, " ")
}
