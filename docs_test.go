package auroramesh_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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

// What docs/security.md says is stopped, a test shows.
func TestEveryTestInTheThreatModelIsThere(t *testing.T) {
	var tests strings.Builder
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			tests.WriteString(read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[^` ]*)`").FindAllStringSubmatch(read(t, "docs/security.md"), -1)
	if len(named) < 30 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, m := range named {
		parts := strings.Split(m[1], "/")
		if !strings.Contains(tests.String(), "func "+parts[len(parts)-1]+"(") {
			t.Errorf("docs/security.md names %s, which is no test", m[1])
		}
	}
}
