// Package grafana_test holds the dashboards against the figures that exist, and has
// promtool read every expression.
package grafana_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/auroramesh/auroramesh/shared/promtest"
)

type dashboard struct {
	UID    string `json:"uid"`
	Title  string `json:"title"`
	Panels []struct {
		Title       string `json:"title"`
		Description string `json:"description"`
		GridPos     struct{ H, W, X, Y int }
		Targets     []struct {
			Expr string `json:"expr"`
		} `json:"targets"`
	} `json:"panels"`
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

// variables are what a person chooses in the dashboard.
var variables = strings.NewReplacer("$site", "site-a", "$peer", "site-b")

func TestEveryPanelNamesFiguresThatExist(t *testing.T) {
	paths, err := filepath.Glob("*.json")
	if err != nil || len(paths) != 3 {
		t.Fatalf("the dashboards are %v, %v", paths, err)
	}
	exist, uids := promtest.Figures(t, "../.."), map[string]bool{}
	var rules strings.Builder
	rules.WriteString("groups:\n- name: panels\n  rules:\n")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if uids[d.UID] || d.UID == "" || d.Title == "" || len(d.Panels) == 0 {
			t.Errorf("%s has the uid %q, the title %q and %d panels", path, d.UID, d.Title, len(d.Panels))
		}
		uids[d.UID] = true
		for _, v := range d.Templating.List {
			if unknown := promtest.Unknown(fmt.Sprint(v.Query), exist); len(unknown) > 0 {
				t.Errorf("%s: the variable %s names %v, which no function serves", path, v.Name, unknown)
			}
		}
		for i, p := range d.Panels {
			if p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: panel %d (%q) lacks something: %+v", path, i, p.Title, p)
			}
			for n, target := range p.Targets {
				if unknown := promtest.Unknown(target.Expr, exist); len(unknown) > 0 || !strings.Contains(target.Expr, "aurora_") {
					t.Errorf("%s: %q asks for %v, which no function serves, in %s", path, p.Title, unknown, target.Expr)
				}
				fmt.Fprintf(&rules, "  - record: panel_%s_%d_%d\n    expr: %q\n", strings.TrimSuffix(path, ".json"), i, n, variables.Replace(target.Expr))
			}
		}
	}
	file := filepath.Join(t.TempDir(), "panels.yaml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtest.Run(t, ".", "check", "rules", "--lint=none", file)
}
