// Package promtest gives tests the real Prometheus and its promtool, and tells which
// figures exist, so that no rule and no panel names one that does not.
//
// Where Prometheus is not installed the test is skipped, and the reason says so; with
// "prometheus" in AURORAMESH_TEST_REQUIRE it fails instead, so that CI cannot pass by skipping.
package promtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// EnvRequire is the variable that says what must not be skipped.
const EnvRequire = "AURORAMESH_TEST_REQUIRE"

// Binary is the path of prometheus or promtool.
func Binary(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case strings.Contains(os.Getenv(EnvRequire), "prometheus"):
		t.Fatalf("%s is required and not there: %v", name, err)
	}
	t.Skipf("SKIPPED, NOT TESTED WITH PROMETHEUS: there is no %s on the PATH", name)
	return ""
}

// Run runs promtool to its end, which must be a good one.
func Run(t testing.TB, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(Binary(t, "promtool"), args...) //nolint:gosec // the promtool that this machine has
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

var (
	documented = regexp.MustCompile("(?m)^\\| `(aurora_[a-z_]+)` \\| ([a-z]+) \\|")
	named      = regexp.MustCompile(`\baurora_[a-z_]+`)
)

// Figures are the names of the series that exist, by docs/metrics.md below root, which
// a test holds against what a running demo serves. A histogram has three.
func Figures(t testing.TB, root string) map[string]bool {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	exist := map[string]bool{}
	for _, m := range documented.FindAllStringSubmatch(string(doc), -1) {
		if m[2] != "histogram" {
			exist[m[1]] = true
			continue
		}
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			exist[m[1]+part] = true
		}
	}
	if len(exist) < 20 {
		t.Fatalf("docs/metrics.md has only %d figures", len(exist))
	}
	return exist
}

// Unknown are the figures of auroramesh that an expression names and that do not exist.
func Unknown(expr string, exist map[string]bool) (unknown []string) {
	for _, name := range named.FindAllString(expr, -1) {
		if !exist[name] {
			unknown = append(unknown, name)
		}
	}
	return unknown
}
