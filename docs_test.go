package auroramesh_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"

	"github.com/auroramesh/auroramesh/functions"
)

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEveryFunctionIsInTheArchitecture(t *testing.T) {
	doc := read(t, "docs/architecture.md")
	for _, name := range functions.Names() {
		if !strings.Contains(doc, "\n| `"+name+"` |") {
			t.Errorf("docs/architecture.md has no row for the function %s", name)
		}
	}
}

func TestEveryDependencyHasItsReason(t *testing.T) {
	mod, err := modfile.Parse("go.mod", []byte(read(t, "go.mod")), nil)
	if err != nil {
		t.Fatal(err)
	}
	doc := read(t, "docs/dependencies.md")
	for _, r := range mod.Require {
		if !r.Indirect && !strings.Contains(doc, "| `"+r.Mod.Path+"` |") {
			t.Errorf("docs/dependencies.md has no row for %s", r.Mod.Path)
		}
	}
	for line := range strings.Lines(doc) {
		name, isRow := strings.CutPrefix(line, "| `")
		name, _, _ = strings.Cut(name, "`")
		if isRow && !strings.Contains(read(t, "go.mod"), name+" v") {
			t.Errorf("docs/dependencies.md has a row for %s, which go.mod does not have", name)
		}
	}
}
