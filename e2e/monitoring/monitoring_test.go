//go:build linux

// Package monitoring_test has a real Prometheus scrape two sites and evaluate the
// shipped rules, while the line between the sites is cut and healed.
package monitoring_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/infra/prometheus"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/promtest"
)

const (
	link     = "link-site-a-site-b"
	patience = time.Minute
)

// watcher is a Prometheus at work.
type watcher struct{ base string }

// watch starts a Prometheus that scrapes the sites every second, with the shipped rules;
// only the time that a rule must hold is shorter.
func watch(t *testing.T, sites []*demo.Site) watcher {
	t.Helper()
	binary, dir := promtest.Binary(t, "prometheus"), t.TempDir()
	var targets []string
	for _, s := range sites {
		targets = append(targets, fmt.Sprintf("%q", strings.TrimPrefix(s.API, "http://")))
	}
	rules := regexp.MustCompile(`(?m)^(\s+for:) \d+m$`).ReplaceAllString(prometheus.Rules, "$1 2s")
	for name, text := range map[string]string{"rules.yaml": rules, "prometheus.yml": fmt.Sprintf(`
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
  - job_name: auroramesh
    static_configs: [{targets: [%s]}]
`, strings.Join(targets, ", "))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var said bytes.Buffer
	cmd := exec.Command(binary, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("Prometheus said: %s", said.String())
		}
	})
	return watcher{"http://" + addr}
}

// ask reads the data of an answer of the API of Prometheus into v; false where it does not answer yet.
func (w watcher) ask(t *testing.T, path string, v any) bool {
	t.Helper()
	res, err := http.Get(w.base + path)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	answer := struct{ Data any }{v}
	return res.StatusCode == http.StatusOK && json.NewDecoder(res.Body).Decode(&answer) == nil
}

// firing are the sites at which an alert fires.
func (w watcher) firing(t *testing.T, alert string) []string {
	t.Helper()
	var data struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	if !w.ask(t, "/api/v1/alerts", &data) {
		return nil
	}
	var sites []string
	for _, a := range data.Alerts {
		if a.Labels["alertname"] == alert && a.State == "firing" {
			sites = append(sites, a.Labels["site"])
		}
	}
	slices.Sort(sites)
	return sites
}

// value is the one value of a query, and whether there is one.
func (w watcher) value(t *testing.T, query string) (string, bool) {
	t.Helper()
	var data struct {
		Result []struct{ Value [2]any }
	}
	if !w.ask(t, "/api/v1/query?query="+url.QueryEscape(query), &data) || len(data.Result) != 1 {
		return "", false
	}
	return fmt.Sprint(data.Result[0].Value[1]), true
}

func TestPrometheusTellsOfACutLink(t *testing.T) {
	promtest.Binary(t, "prometheus")
	d, err := demo.Start(t.Context(), demo.Options{Version: "0.0.1", Log: slog.New(slog.DiscardHandler), Lines: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	w := watch(t, d.Sites)
	expect := func(what, query, want string) {
		t.Helper()
		natstest.Within(t, patience, what, func() bool { got, ok := w.value(t, query); return ok && got == want })
	}
	expect("both sites are scraped", `sum(up{job="auroramesh"})`, "2")
	expect("both see a healthy link", `sum(aurora_link_status{status="healthy"})`, "2")
	if got := w.firing(t, "AuroraLinkDown"); len(got) > 0 {
		t.Errorf("over a healthy link it fires at %v", got)
	}

	if _, err := d.Lines.Set(t.Context(), link, linkproxy.Order{Mode: linkproxy.WordCut}); err != nil {
		t.Fatal(err)
	}
	both := []string{"site-a", "site-b"}
	natstest.Within(t, patience, "the alert fires at both sites", func() bool { return slices.Equal(w.firing(t, "AuroraLinkDown"), both) })
	expect("the transition is counted at both sites", `count(aurora_link_transitions_total{to="down"} >= 1)`, "2")

	if _, err := d.Lines.Set(t.Context(), link, linkproxy.Order{Mode: linkproxy.WordPass}); err != nil {
		t.Fatal(err)
	}
	natstest.Within(t, patience, "the alert is over", func() bool {
		healthy, ok := w.value(t, `sum(aurora_link_status{status="`+string(federation.Healthy)+`"})`)
		return ok && healthy == "2" && len(w.firing(t, "AuroraLinkDown")) == 0
	})

	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if !w.ask(t, "/api/v1/rules", &rules) || len(rules.Groups) == 0 {
		t.Fatal("Prometheus has no rules")
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" {
				t.Errorf("the rule %s is %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
}
