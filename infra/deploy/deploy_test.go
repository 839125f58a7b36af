package deploy_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/auroramesh/auroramesh/functions"
	"github.com/auroramesh/auroramesh/infra/deploy"
	"github.com/auroramesh/auroramesh/shared/settings"
)

const root = "../.."

var update = flag.Bool("update", false, "write the made files anew")

func list() []deploy.Function {
	var all []deploy.Function
	for _, e := range functions.All() {
		all = append(all, deploy.Function{Name: e.Name, Stateless: e.Stateless, Signs: e.Signs})
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// onDisk are the files below a directory, by their path from the root.
func onDisk(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, relErr := filepath.Rel(root, path)
			found, err = append(found, filepath.ToSlash(rel)), relErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheMadeFilesAreThoseOfTheFunctions(t *testing.T) {
	made, err := deploy.Files(list())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range slices.Sorted(maps.Keys(made)) {
		if *update {
			file := filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(made[path]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(made[path], read(t, path)); diff != "" {
			t.Errorf("%s is old: run go test ./infra/deploy -update\n%s", path, diff)
		}
	}
	for _, path := range onDisk(t, "infra/systemd/functions") {
		if made[path] == "" {
			t.Errorf("%s is of a function that does not exist", path)
		}
	}
}

// compose is what the test looks at in compose.yaml.
type compose struct {
	Services map[string]struct {
		Command     []string       `yaml:"command"`
		Image       string         `yaml:"image"`
		Profiles    []string       `yaml:"profiles"`
		Environment map[string]any `yaml:"environment"`
		Healthcheck map[string]any `yaml:"healthcheck"`
		DependsOn   map[string]struct {
			Condition string `yaml:"condition"`
		} `yaml:"depends_on"`
		Volumes  []string `yaml:"volumes"`
		Networks []string `yaml:"networks"`
	} `yaml:"services"`
	Networks map[string]any `yaml:"networks"`
	Volumes  map[string]any `yaml:"volumes"`
}

func TestComposeHasAServiceForEachFunctionOfBothSites(t *testing.T) {
	var c compose
	if err := yaml.Load([]byte(read(t, "compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for suffix, profile := range map[string]string{"": "[]", "-b": "[site-b]"} {
		for _, name := range functions.Names() {
			want[name+suffix] = profile
		}
		for _, name := range []string{"nats", "postgres", "migrate"} {
			want[name+suffix] = profile
		}
	}
	got := map[string]string{}
	for name, s := range c.Services {
		got[name] = fmt.Sprint(s.Profiles)
		function := strings.TrimSuffix(name, "-b")
		if slices.Contains(functions.Names(), function) && !slices.Equal(s.Command, []string{"run", function}) {
			t.Errorf("%s runs %v", name, s.Command)
		}
		if s.Healthcheck == nil || s.Image == "" {
			t.Errorf("%s has no health check or no image", name)
		}
		for needs, how := range s.DependsOn {
			if _, ok := c.Services[needs]; !ok || !strings.HasPrefix(how.Condition, "service_") {
				t.Errorf("%s needs %s to be %q", name, needs, how.Condition)
			}
		}
		for _, n := range s.Networks {
			if _, ok := c.Networks[n]; !ok {
				t.Errorf("%s is on the network %s, which is none", name, n)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, ok := c.Volumes[from]; !ok && !strings.HasPrefix(from, "./") {
				t.Errorf("%s mounts %s, which is no volume", name, from)
			}
		}
		if strings.HasPrefix(name, "postgres") {
			continue // it has settings of its own
		}
		for variable := range s.Environment {
			known(t, "compose.yaml: "+name, variable)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the services and their profiles (-want +got):\n%s", diff)
	}
}

// known fails where no setting has the name.
func known(t *testing.T, where, variable string) {
	t.Helper()
	name := strings.TrimSuffix(variable, settings.FileSuffix)
	if !slices.ContainsFunc(settings.Variables(), func(v settings.Variable) bool { return v.Name == name || v.Name == variable }) {
		t.Errorf("%s sets %s, which is no setting", where, variable)
	}
}

func TestTheSettingsOfTheSitesAreTaken(t *testing.T) {
	var c compose
	if err := yaml.Load([]byte(read(t, "compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	for name, s := range c.Services {
		if !slices.Contains(functions.Names(), strings.TrimSuffix(name, "-b")) {
			continue
		}
		env := map[string]string{}
		for variable, value := range s.Environment {
			env[variable] = strings.ReplaceAll(fmt.Sprint(value), "${POSTGRES_PASSWORD:?choose one}", "password")
		}
		if _, err := settings.Load(env); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// document is what the test looks at in a manifest.
type document struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		Replicas       int            `yaml:"replicas"`
		MinAvailable   int            `yaml:"minAvailable"`
		Selector       map[string]any `yaml:"selector"`
		ScaleTargetRef struct {
			Name string `yaml:"name"`
		} `yaml:"scaleTargetRef"`
		Template struct {
			Metadata struct {
				Labels map[string]string `yaml:"labels"`
			} `yaml:"metadata"`
			Spec struct {
				Containers []container `yaml:"containers"`
				Volumes    []struct {
					Secret struct {
						Items []struct {
							Key string `yaml:"key"`
						} `yaml:"items"`
					} `yaml:"secret"`
				} `yaml:"volumes"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
	Resources          []string `yaml:"resources"`
	ConfigMapGenerator []struct {
		Name     string   `yaml:"name"`
		Literals []string `yaml:"literals"`
	} `yaml:"configMapGenerator"`
}

type container struct {
	Args []string `yaml:"args"`
	Env  []struct {
		Name  string `yaml:"name"`
		Value string `yaml:"value"`
	} `yaml:"env"`
	Ports []struct {
		Name string `yaml:"name"`
	} `yaml:"ports"`
	StartupProbe   *probe `yaml:"startupProbe"`
	LivenessProbe  *probe `yaml:"livenessProbe"`
	ReadinessProbe *probe `yaml:"readinessProbe"`
}

type probe struct {
	HTTPGet struct {
		Path string `yaml:"path"`
		Port any    `yaml:"port"`
	} `yaml:"httpGet"`
}

// documents are the manifests of a file.
func documents(t *testing.T, path string) []document {
	t.Helper()
	var docs []document
	for _, text := range strings.Split(read(t, path), "\n---\n") {
		var d document
		if err := yaml.Load([]byte(text), &d); err != nil {
			t.Fatalf("%s: %v in\n%s", path, err, text)
		}
		docs = append(docs, d)
	}
	return docs
}

func TestKubernetesHasADeploymentWithProbesAndABudgetForEachFunction(t *testing.T) {
	deployed, budgets, keys := map[string]bool{}, map[string]bool{}, map[string][]string{}
	for _, d := range documents(t, "infra/kubernetes/base/functions.yaml") {
		switch d.Kind {
		case "PodDisruptionBudget":
			budgets[d.Metadata.Name] = d.Spec.MinAvailable == 1
			continue
		case "Deployment":
		default:
			t.Errorf("%s is a %s", d.Metadata.Name, d.Kind)
			continue
		}
		deployed[d.Metadata.Name] = true
		if d.Spec.Replicas < 2 || len(d.Spec.Template.Spec.Containers) != 1 {
			t.Errorf("%s has %d replicas and %d containers", d.Metadata.Name, d.Spec.Replicas, len(d.Spec.Template.Spec.Containers))
			continue
		}
		if diff := cmp.Diff(map[string]any{"matchLabels": toAny(d.Spec.Template.Metadata.Labels)}, d.Spec.Selector); diff != "" {
			t.Errorf("%s does not select its own pods: %s", d.Metadata.Name, diff)
		}
		c := d.Spec.Template.Spec.Containers[0]
		if !slices.Equal(c.Args, []string{"run", d.Metadata.Name}) {
			t.Errorf("%s runs %v", d.Metadata.Name, c.Args)
		}
		for what, p := range map[string]*probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			if p == nil || !slices.Contains([]string{"/health/live", "/health/ready"}, p.HTTPGet.Path) || p.HTTPGet.Port != "metrics" {
				t.Errorf("%s has the %s probe %+v", d.Metadata.Name, what, p)
			}
		}
		for _, e := range c.Env {
			known(t, "the deployment of "+d.Metadata.Name, e.Name)
		}
		keys[d.Metadata.Name] = nil
		for _, v := range d.Spec.Template.Spec.Volumes {
			for _, i := range v.Secret.Items {
				if strings.HasSuffix(i.Key, ".nk") || strings.HasSuffix(i.Key, ".key") {
					keys[d.Metadata.Name] = append(keys[d.Metadata.Name], i.Key)
				}
			}
		}
	}
	for _, f := range list() {
		want := []string{"functions.nk"}
		if f.Signs {
			want = append(want, "identity.nk")
		}
		if !slices.Equal(keys[f.Name], want) {
			t.Errorf("the pods of %s have the keys %q, want %q", f.Name, keys[f.Name], want)
		}
	}
	for _, name := range functions.Names() {
		if !deployed[name] || !budgets[name] {
			t.Errorf("%s is deployed: %t, and has a budget: %t", name, deployed[name], budgets[name])
		}
	}
	if len(deployed) != len(functions.Names()) || len(budgets) != len(deployed) {
		t.Errorf("there are %d deployments and %d budgets of %d functions", len(deployed), len(budgets), len(functions.Names()))
	}
}

func toAny(labels map[string]string) map[string]any {
	all := map[string]any{}
	for k, v := range labels {
		all[k] = v
	}
	return all
}

func TestEveryManifestParsesAndIsNamedByItsKustomization(t *testing.T) {
	named := map[string]bool{}
	for _, dir := range []string{"base", "site-a", "site-b"} {
		dir = "infra/kubernetes/" + dir
		for _, d := range documents(t, dir+"/kustomization.yaml") {
			for _, r := range d.Resources {
				named[filepath.ToSlash(filepath.Join(dir, r))] = true
			}
			for _, g := range d.ConfigMapGenerator {
				env := map[string]string{}
				for _, l := range g.Literals {
					name, value, _ := strings.Cut(l, "=")
					if env[name] = value; g.Name == "auroramesh" {
						known(t, dir, name)
					}
				}
				if _, err := settings.Load(env); g.Name == "auroramesh" && err != nil {
					t.Errorf("%s: %v", dir, err)
				}
			}
		}
	}
	for _, path := range onDisk(t, "infra/kubernetes") {
		for _, d := range documents(t, path) {
			if d.APIVersion == "" || d.Kind == "" {
				t.Errorf("%s has a document without a kind", path)
			}
			if d.Kind == "ScaledObject" && !slices.Contains(functions.Names(), d.Spec.ScaleTargetRef.Name) {
				t.Errorf("%s scales %q", path, d.Spec.ScaleTargetRef.Name)
			}
		}
		if filepath.Base(path) != "kustomization.yaml" && !named[path] {
			t.Errorf("no kustomization names %s", path)
		}
	}
}

func TestKustomizeTakesTheManifests(t *testing.T) {
	kustomize, err := exec.LookPath("kustomize")
	if err != nil {
		t.Skip("SKIPPED, THE MANIFESTS ARE NOT BUILT: there is no kustomize")
	}
	for _, site := range []string{"site-a", "site-b"} {
		var errs strings.Builder
		cmd := exec.Command(kustomize, "build", filepath.Join(root, "infra/kubernetes", site))
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v: %s", site, err, errs.String())
			continue
		}
		if n := strings.Count(string(out), "\nkind: Deployment\n"); n != len(functions.Names()) {
			t.Errorf("%s has %d deployments of %d functions", site, n, len(functions.Names()))
		}
		if strings.Contains(string(out), "image: auroramesh\n") {
			t.Errorf("%s has an image without a registry", site)
		}
	}
}

func TestTheUnitsNameEveryFunctionAndOnlySettings(t *testing.T) {
	target := read(t, "infra/systemd/auroramesh.target")
	ports := map[string]bool{}
	for _, name := range functions.Names() {
		if !strings.Contains(target, "\nWants=auroramesh@"+name+".service\n") {
			t.Errorf("the target does not want %s", name)
		}
		for line := range strings.Lines(read(t, "infra/systemd/functions/"+name+".env")) {
			variable, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			if strings.HasPrefix(line, "#") {
				continue
			}
			if known(t, name+".env", variable); !ok || ports[value] {
				t.Errorf("%s.env has %q, which is not its own", name, line)
			}
			ports[value] = true
		}
	}
	// The directives, as far as they can be checked anywhere; systemd itself looks below.
	for _, path := range onDisk(t, "infra/systemd") {
		if strings.HasSuffix(path, ".env") {
			continue
		}
		for line := range strings.Lines(read(t, path)) {
			if !regexp.MustCompile(`^(#.*|\[[A-Z][a-z]+\]|[A-Z][A-Za-z]+=.*|)\n$`).MatchString(line) {
				t.Errorf("%s: %q is no line of a unit", path, line)
			}
		}
	}
}

// A database that comes up minutes after its site is waited for: no unit is given up after a
// few failures, and none fails for good with the migration. A restart of that takes all with it.
func TestNoUnitIsGivenUpWhileTheDatabaseIsAway(t *testing.T) {
	for _, name := range []string{"auroramesh@", "auroramesh-migrate", "auroramesh-nats"} {
		unit := read(t, "infra/systemd/"+name+".service")
		if !strings.Contains(unit, "\nStartLimitIntervalSec=0\n") || !regexp.MustCompile(`\nRestart=(always|on-failure)\n`).MatchString(unit) {
			t.Errorf("%s is given up after a few failures", name)
		}
		if regexp.MustCompile(`\n(Requires|BindsTo|Requisite)=`).MatchString(unit) {
			t.Errorf("%s fails with another unit", name)
		}
	}
	for _, line := range []string{`After=.* auroramesh-migrate\.service`, `Wants=.* auroramesh-migrate\.service`, `PartOf=.* auroramesh-migrate\.service`} {
		if !regexp.MustCompile(`\n` + line + `\n`).MatchString(read(t, "infra/systemd/auroramesh@.service")) {
			t.Errorf("a function has no line %s", line)
		}
	}
}

func TestSystemdTakesTheUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED, THE UNITS ARE NOT READ BY SYSTEMD: there is no systemd-analyze")
	}
	dir := t.TempDir()
	for _, path := range onDisk(t, "infra/systemd") {
		text := strings.NewReplacer("/usr/local/bin/auroramesh", "/bin/true", "/usr/local/bin/nats-server", "/bin/true").Replace(read(t, path))
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", filepath.Join(dir, "auroramesh@heartbeat.service"),
		filepath.Join(dir, "auroramesh-migrate.service"), filepath.Join(dir, "auroramesh-nats.service"), filepath.Join(dir, "auroramesh.target")).CombinedOutput()
	if err != nil || strings.Contains(string(out), dir) {
		t.Errorf("systemd-analyze says %v:\n%s", err, out)
	}
}

func TestPrometheusFindsEveryFunctionOfAMachine(t *testing.T) {
	var groups []struct {
		Targets []string
		Labels  map[string]string
	}
	if err := json.Unmarshal([]byte(read(t, "infra/prometheus/functions.json")), &groups); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range groups {
		names = append(names, g.Labels["function"])
		if env := read(t, "infra/systemd/functions/"+g.Labels["function"]+".env"); len(g.Targets) != 1 || !strings.Contains(env, "METRICS_LISTEN="+g.Targets[0]+"\n") {
			t.Errorf("%s is looked for at %v, and its unit has %s", g.Labels["function"], g.Targets, env)
		}
	}
	if diff := cmp.Diff(functions.Names(), names); diff != "" {
		t.Error(diff)
	}
}

// The versions of what runs beside are those of the tests.
func TestTheNATSServerIsThatOfTheTests(t *testing.T) {
	if !strings.Contains(read(t, "go.mod"), "github.com/nats-io/nats-server/v2 v"+deploy.NATS+"\n") {
		t.Errorf("go.mod has another nats-server than %s", deploy.NATS)
	}
	for _, path := range []string{"infra/kubernetes/site-a/kustomization.yaml", "infra/kubernetes/site-b/kustomization.yaml"} {
		if !strings.Contains(read(t, path), "newTag: "+deploy.NATS+"-alpine}") {
			t.Errorf("%s has another nats-server than %s", path, deploy.NATS)
		}
	}
	dockerfile, version := read(t, "Dockerfile"), regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "go.mod"))[1]
	if !strings.Contains(dockerfile, "FROM golang:"+version+"-alpine AS build\n") || !strings.Contains(dockerfile, "\nUSER 65532:65532\n") {
		t.Errorf("the Dockerfile does not build with Go %s, or runs as root", version)
	}
}
