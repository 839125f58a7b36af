package prometheus_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/auroramesh/auroramesh/infra/prometheus"
	"github.com/auroramesh/auroramesh/shared/promtest"
)

const root = "../.."

type rules struct {
	Groups []struct {
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func TestEveryRuleNamesWhatExistsAndSaysWhatToDo(t *testing.T) {
	var all rules
	if err := yaml.Load([]byte(prometheus.Rules), &all); err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("rules_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	exist, n := promtest.Figures(t, root), 0
	for _, g := range all.Groups {
		for _, r := range g.Rules {
			n++
			if unknown := promtest.Unknown(r.Expr, exist); len(unknown) > 0 {
				t.Errorf("%s names %v, which no function serves", r.Alert, unknown)
			}
			if s := r.Labels["severity"]; s != "page" && s != "ticket" {
				t.Errorf("%s has the severity %q", r.Alert, s)
			}
			if !strings.HasSuffix(r.Annotations["summary"], ".") || r.Annotations["action"] == "" {
				t.Errorf("%s does not say what is wrong and what to do: %v", r.Alert, r.Annotations)
			}
			if !strings.Contains(string(tests), "- name: "+r.Alert+" fires\n") {
				t.Errorf("no test has %s fire", r.Alert)
			}
		}
	}
	if n == 0 {
		t.Error("there are no rules")
	}
	for _, name := range regexp.MustCompile(`aurora_[a-z_]+`).FindAllString(string(tests), -1) {
		if !exist[name] {
			t.Errorf("the tests of the rules are fed %s, which no function serves", name)
		}
	}
}

func TestTheRulesFireOnWhatTheyAreFor(t *testing.T) {
	promtest.Run(t, ".", "check", "config", "prometheus.yml")
	promtest.Run(t, ".", "test", "rules", "rules_test.yaml")
}
