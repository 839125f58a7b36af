// The rules of the house, held over every file of the repository. What a linter
// also says stands here too where breaking it would break the design.
package auroramesh_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/auroramesh/auroramesh/"

// long are the files of more than maxLines lines, each with the reason.
var long = map[string]string{}

const maxLines = 500

// grabBags are names that say nothing of what a package provides.
var grabBags = []string{"util", "utils", "common", "types", "models", "helper", "helpers", "misc", "base", "lib"}

// file is one Go file of the repository.
type file struct {
	path    string // from the root, with slashes
	test    bool
	lines   int
	syntax  *ast.File
	imports []string
}

func (f file) dir() string { return path.Dir(f.path) }

// files reads every Go file, tests among them.
func files(t *testing.T) []file {
	t.Helper()
	root := os.DirFS(".")
	var all []file
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if base := d.Name(); base == "testdata" || base == "vendor" || name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
				return fs.SkipDir
			}
			return nil
		case !strings.HasSuffix(name, ".go"):
			return nil
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		f := file{path: name, test: strings.HasSuffix(name, "_test.go"), lines: bytes.Count(data, []byte("\n"))}
		if f.syntax, err = parser.ParseFile(token.NewFileSet(), name, data, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return err
		}
		for _, spec := range f.syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, imported)
		}
		all = append(all, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d files: this is not the repository", len(all))
	}
	return all
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	comment := map[string]string{} // by directory
	name := map[string]string{}
	for _, f := range files(t) {
		if !f.test {
			name[f.dir()] = f.syntax.Name.Name
			comment[f.dir()] += f.syntax.Doc.Text()
		}
	}
	for dir, pkg := range name {
		begins := "Package " + pkg + " "
		if pkg == "main" {
			begins = "Command " + path.Base(dir) + " "
		}
		if !strings.HasPrefix(comment[dir], begins) {
			t.Errorf("%s: no package comment that begins with %q", dir, begins)
		}
	}
}

func TestNoFileIsTooLongToReadAtOnce(t *testing.T) {
	excused := map[string]bool{}
	for _, f := range files(t) {
		if f.test || f.lines <= maxLines {
			continue
		}
		excused[f.path] = true
		if long[f.path] == "" {
			t.Errorf("%s has %d lines, over %d: split it, or list it with the reason", f.path, f.lines, maxLines)
		}
	}
	for name := range long {
		if !excused[name] {
			t.Errorf("%s is listed as long, but is not", name)
		}
	}
}

func TestNoPackageIsAGrabBag(t *testing.T) {
	for _, f := range files(t) {
		if name := strings.TrimSuffix(f.syntax.Name.Name, "_test"); slices.Contains(grabBags, name) || slices.Contains(grabBags, path.Base(f.dir())) {
			t.Errorf("%s: the name %q does not say what the package provides", f.path, name)
		}
	}
}

// TestImportsPointOneWay holds every import within the module against the first
// rule whose area the file is in: cmd → functions → shared, never back and never across.
func TestImportsPointOneWay(t *testing.T) {
	for _, f := range files(t) {
		for _, imported := range f.imports {
			inner, ok := strings.CutPrefix(imported, module)
			if !ok {
				continue
			}
			if why := forbidden(f, inner); why != "" {
				t.Errorf("%s imports %s: %s", f.path, inner, why)
			}
		}
	}
}

// forbidden says why f must not import the package at inner; it is empty where it may.
func forbidden(f file, inner string) string {
	within := func(p, area string) bool { return p == area || strings.HasPrefix(p, area+"/") }
	switch {
	case within(f.dir(), "cmd"), f.test && within(f.dir(), "e2e"): // the end-to-end tests stand above everything
		return ""
	case within(inner, "cmd") && (!f.test || !within(f.dir(), "functions")):
		return "nothing imports the command; what both need goes into a package of its own in shared"
	case within(f.dir(), "shared") && within(inner, "functions"):
		return "shared packages are what functions are made from; they know no function"
	case within(f.dir(), "infra") && within(inner, "functions") && (!f.test || f.dir() != "infra/deploy"): // which is held against the list
		return "the configuration of the servers knows no function"
	case within(f.dir(), "functions/gateway") && !f.test && within(inner, "shared/store"):
		return "the gateway holds no database handle; it asks the function that does"
	case strings.HasPrefix(f.dir(), "functions/") && !f.test && within(inner, "functions") && !within(inner, function(f.dir())):
		return "a function never imports another; it asks it (shared/ask) or publishes (shared/subject)"
	}
	return ""
}

// function is the folder of the function that a directory belongs to.
func function(dir string) string {
	parts := strings.SplitN(dir, "/", 3)
	return path.Join(parts[0], parts[1])
}

func TestTheDomainIsPure(t *testing.T) {
	io := []string{"os", "net", "net/http", "database/sql", "log", "log/slog", "os/exec", "io/fs"}
	seen := 0
	for _, f := range files(t) {
		if f.dir() != "shared/federation" || f.test {
			continue
		}
		seen++
		for _, imported := range f.imports {
			first, _, _ := strings.Cut(imported, "/")
			switch {
			case imported == module+"shared/fault":
			case strings.Contains(first, "."):
				t.Errorf("%s imports %s: the domain imports the standard library and shared/fault only", f.path, imported)
			case slices.Contains(io, imported):
				t.Errorf("%s imports %s: the domain does no I/O", f.path, imported)
			}
		}
	}
	if seen == 0 {
		t.Error("there is no domain")
	}
}

// The rules above would pass over an empty table as well, so each is shown what it forbids.
func TestTheRulesOfImportsForbidWhatTheyShould(t *testing.T) {
	for _, c := range []struct {
		file, imports string
		forbidden     bool
	}{
		{"shared/store/a.go", "functions", true},
		{"shared/store/a_test.go", "functions/gateway", true},
		{"shared/store/a.go", "cmd/auroramesh/site", true},
		{"shared/store/a.go", "shared/federation", false},
		{"functions/alertsink/a.go", "functions/alertquery", true},
		{"functions/alertsink/a.go", "functions", true},
		{"functions/alertsink/a.go", "functions/alertsink/part", false},
		{"functions/alertsink/part/a.go", "functions/alertsink", false},
		{"functions/alertsink/part/a.go", "functions/alertsinker", true},
		{"functions/alertsink/a.go", "shared/store", false},
		{"functions/functions.go", "functions/alertsink", false},
		{"functions/gateway/a.go", "shared/store", true},
		{"functions/gateway/a_test.go", "shared/store", false},
		{"functions/gateway/a.go", "cmd/auroramesh/site", true},
		{"infra/nats/a.go", "functions", true},
		{"infra/nats/a_test.go", "functions", true},
		{"infra/deploy/a.go", "functions", true},
		{"infra/deploy/a_test.go", "functions", false},
		{"cmd/auroramesh/a.go", "functions", false},
		{"cmd/auroramesh/a.go", "cmd/auroramesh/site", false},
	} {
		f := file{path: c.file, test: strings.HasSuffix(c.file, "_test.go")}
		if why := forbidden(f, c.imports); (why != "") != c.forbidden {
			t.Errorf("%s imports %s: %q", c.file, c.imports, why)
		}
	}
}
