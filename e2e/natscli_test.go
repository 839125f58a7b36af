package e2e_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/functions"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
)

const natsCLI = "github.com/nats-io/natscli/nats@v0.5.0"

// natsCommand finds the nats command, on the PATH or where `go install` puts it,
// or else builds it. Where that cannot be the test is skipped, unless it is required.
func natsCommand(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("nats"); err == nil {
		return path
	}
	if root, err := exec.Command("go", "env", "GOPATH").Output(); err == nil {
		path := filepath.Join(strings.TrimSpace(string(root)), "bin", "nats")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "go", "install", natsCLI)
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := install.CombinedOutput(); err != nil {
		if strings.Contains(os.Getenv(postgrestest.EnvRequire), "nats") {
			t.Fatalf("the nats command is required, not here, and cannot be built: %v: %s", err, out)
		}
		t.Skipf("SKIPPED, NOT TESTED WITH THE NATS COMMAND: it is not here and cannot be built (go install %s): %v", natsCLI, err)
	}
	return filepath.Join(dir, "nats")
}

// service is an instance of a function as the nats command prints it.
type service struct {
	Name, ID, Version, Description string
	Metadata                       map[string]string
	Endpoints                      []struct {
		Name, Subject string
		QueueGroup    string `json:"queue_group"`
		NumRequests   int    `json:"num_requests"`
		NumErrors     int    `json:"num_errors"`
	}
}

func TestTheNATSCommandShowsTheFunctionsOfEverySite(t *testing.T) {
	t.Parallel()
	cli := natsCommand(t)
	m := start(t, demo.Options{})
	micro := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(cli, append([]string{"-s", m.Sites[0].NATS, "micro"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("nats micro %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	decode := func(text string, v any) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), v); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	for _, i := range []int{0, 1} { // each answers something, so that there is something to count
		if _, err := m.api[i].Topology(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	var list []service
	natstest.Eventually(t, "the whole list is there", func() bool { // the command waits a moment for answers, no longer
		list = nil
		decode(micro("ls", "--json"), &list)
		return len(functionSites(list)) == 2*len(functions.Names())
	})
	table := micro("ls")
	for _, s := range list {
		site, tier := m.Sites[0].ID(), "primary"
		if s.Metadata["site"] == "site-b" {
			site, tier = m.Sites[1].ID(), "secondary"
		}
		if s.Metadata["site"] != string(site.ID) || s.Metadata["tier"] != tier || s.Metadata["version"] != "0.0.1" || s.Version != "0.0.1" || s.Description == "" {
			t.Errorf("%s is listed as %+v", s.Name, s)
		}
	}
	for _, name := range functions.Names() {
		if !strings.Contains(table, name) {
			t.Errorf("nats micro ls does not show %s: %s", name, table)
		}
		shown := false
		for _, s := range list {
			if s.Name != name {
				continue
			}
			info := micro("info", name, s.ID)
			if health := "aurora.site." + s.Metadata["site"] + "." + name + ".health"; !strings.Contains(info, health) {
				continue // one of several instances of the service; the first alone answers for its health
			}
			shown = true
			for _, want := range []string{s.ID, "site: " + s.Metadata["site"], "tier: " + s.Metadata["tier"], "version: 0.0.1", s.Metadata["site"] + "_" + name} {
				if !strings.Contains(info, want) {
					t.Errorf("nats micro info %s %s does not show %s: %s", name, s.ID, want, info)
				}
			}
			break
		}
		if !shown {
			t.Errorf("nats micro info %s shows the health endpoint at no instance", name)
		}
		if stats := micro("stats", name); !strings.Contains(stats, "site-a_"+name) || !strings.Contains(stats, "site-b_"+name) {
			t.Errorf("nats micro stats %s does not show both sites: %s", name, stats)
		}
	}
}

// functionSites is which functions of which sites are among services.
func functionSites(services []service) map[string]bool {
	found := map[string]bool{}
	for _, s := range services {
		found[s.Metadata["site"]+" "+s.Name] = true
	}
	return found
}
