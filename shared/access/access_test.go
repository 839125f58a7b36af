package access_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/access"
)

func TestOnlyAdminIncludesOtherScopes(t *testing.T) {
	for _, has := range access.Scopes() {
		p := access.Principal{Scopes: []access.Scope{has}}
		for _, asked := range access.Scopes() {
			if p.May(asked) != (has == asked || has == access.Admin) {
				t.Errorf("with %s: %s is %t", has, asked, p.May(asked))
			}
		}
	}
	if (access.Principal{}).May(access.AlertsRead) {
		t.Error("nobody may read alerts")
	}
	if p, ok := access.PrincipalOf(context.Background()); ok || p.May(access.SitesRead) {
		t.Errorf("a context of nobody has the principal %v", p)
	}
}

func TestScopesAreSortedOnceEach(t *testing.T) {
	got := access.Sorted([]access.Scope{access.Admin, "root", access.AlertsRead, access.Admin})
	if diff := cmp.Diff([]access.Scope{access.AlertsRead, access.Admin}, got); diff != "" {
		t.Error(diff)
	}
}
