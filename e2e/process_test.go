package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// programs is the directory of what the tests build.
var programs string

// binary builds the command once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programs, "auroramesh")
	out, err := exec.Command("go", "build", "-o", path, "../cmd/auroramesh").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the command: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "auroramesh-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programs = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// process is the command at work.
type process struct {
	*exec.Cmd
	out *output
}

// output is what a process prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (p process) text() string {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	return p.out.b.String()
}

// run starts the command. It is killed at the end of the test where it still runs.
func run(t *testing.T, env []string, args ...string) process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := process{exec.Command(path, args...), new(output)}
	// A demo leaves a file for the commands after it: not in the cache of whoever runs the tests.
	p.Env = append(append(os.Environ(), "NO_COLOR=1", "XDG_CACHE_HOME="+t.TempDir()), env...)
	p.Stdout, p.Stderr = p.out, p.out
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			// It may be gone already; Wait says what there is to say.
			if err := p.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Error(err)
			}
			var exit *exec.ExitError
			if err := p.Wait(); err != nil && !errors.As(err, &exit) {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Logf("%v printed:\n%s", args, p.text())
		}
	})
	return p
}

// finish waits for a process and gives its exit code and what it printed.
func (p process) finish(t *testing.T) (code int, out string) {
	t.Helper()
	var exit *exec.ExitError
	if err := p.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode(), p.text()
}

// command runs the command to its end, which must be a good one.
func command(t *testing.T, args ...string) string {
	t.Helper()
	code, out := run(t, nil, args...).finish(t)
	if code != 0 {
		t.Fatalf("%v ended with %d: %s", args, code, out)
	}
	return out
}

// stop ends a process as Ctrl-C does, and wants it to end well within 5 s.
func (p process) stop(t *testing.T) {
	t.Helper()
	begun := time.Now()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code, out := p.finish(t); code != 0 {
		t.Errorf("it ended with %d: %s", code, out)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

// freePorts finds a port that is free together with the one that lies further on.
func freePorts(t *testing.T, further int) (port int) {
	t.Helper()
	natstest.Eventually(t, "two ports are free", func() bool {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return false
		}
		defer first.Close()
		port = first.Addr().(*net.TCPAddr).Port
		second, err := net.Listen("tcp", address(port+further))
		if err != nil {
			return false
		}
		second.Close()
		return port < 65_000
	})
	return port
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// demoPorts are those of a demo of two sites.
type demoPorts struct{ api, nats, leaf int }

func freeDemoPorts(t *testing.T) demoPorts {
	t.Helper()
	return demoPorts{freePorts(t, 2), freePorts(t, 1), freePorts(t, 1)}
}

func (p demoPorts) args(more ...string) []string {
	return append([]string{"demo", "--api-port", strconv.Itoa(p.api), "--nats-port", strconv.Itoa(p.nats), "--leaf-port", strconv.Itoa(p.leaf)}, more...)
}

// site is the address of site i's API.
func (p demoPorts) site(i int) string { return "http://" + address(p.api+2*i) }

// upDemo runs a demo until both sites are up.
func upDemo(t *testing.T, env, args []string) process {
	t.Helper()
	p := run(t, env, args...)
	natstest.Within(t, 20*time.Second, "the demo is up", func() bool { return strings.Contains(p.text(), "Ctrl-C stops the demo") })
	return p
}

func TestTheDemoKeepsItsDataOverARestart(t *testing.T) {
	ports := freeDemoPorts(t)
	args := ports.args("--data-dir", t.TempDir())
	p := upDemo(t, nil, args)
	var took float64
	if _, err := fmt.Sscanf(p.text(), "2 sites are up after %f s.", &took); err != nil || took > 3 {
		t.Errorf("%v: %s", err, p.text())
	}
	raised, _, _, err := client(t, ports.site(1)).Raise(t.Context(), alert("kept over a restart", federation.Critical))
	if err != nil {
		t.Fatal(err)
	}
	p.stop(t)
	if !strings.Contains(p.text(), "Stopped.") {
		t.Errorf("it printed %s", p.text())
	}

	p = upDemo(t, nil, args)
	// An alert that was on its way when the demo stopped is sent again after 5 s.
	natstest.Within(t, 15*time.Second, "the alert is at the peer after the restart", func() bool {
		page, err := client(t, ports.site(0)).Alerts(t.Context(), ask.AlertFilter{Source: "federation:site-b"})
		return err == nil && page.Total == 1 && page.Items[0].Origin.AlertID == raised.ID
	})
	again, created, _, err := client(t, ports.site(1)).Raise(t.Context(), alert("kept over a restart", federation.Critical))
	if err != nil || created || again.ID != raised.ID {
		t.Errorf("after the restart the same alert is %s, created %v, %v", again.ID, created, err)
	}
	p.stop(t)
}

func TestAnOccupiedPortIsNamedWithItsOption(t *testing.T) {
	for _, c := range []struct {
		option string
		port   func(demoPorts) int
	}{
		{"--api-port", func(p demoPorts) int { return p.api }},
		{"--api-port", func(p demoPorts) int { return p.api + 2 }}, // of the second site
		{"--nats-port", func(p demoPorts) int { return p.nats }},
		{"--nats-port", func(p demoPorts) int { return p.nats + 1 }},
		{"--leaf-port", func(p demoPorts) int { return p.leaf }},
	} {
		ports := freeDemoPorts(t)
		taken, err := net.Listen("tcp", address(c.port(ports)))
		if err != nil {
			t.Fatal(err)
		}
		code, out := run(t, nil, ports.args()...).finish(t)
		want := fmt.Sprintf("%s: %q is not allowed: a free port", c.option, strconv.Itoa(c.port(ports)))
		if code != 2 || !strings.Contains(out, want) || strings.Count(out, "is not allowed") != 1 {
			t.Errorf("it ended with %d and does not say only %q: %s", code, want, out)
		}
		taken.Close()
	}
}

func TestADemoWithFederationOffIsTwoSitesThatDoNotKnowEachOther(t *testing.T) {
	ports := freeDemoPorts(t)
	p := upDemo(t, []string{"FEDERATION_ENABLED=false"}, ports.args())
	for i := range 2 {
		c := client(t, ports.site(i))
		if _, created, _, err := c.Raise(t.Context(), alert("alone", federation.Critical)); err != nil || !created {
			t.Errorf("site %d: created %v, %v", i, created, err)
		}
		sites, err := c.Sites(t.Context(), ask.Page{})
		if err != nil || sites.Total != 1 || !sites.Items[0].Local {
			t.Errorf("site %d knows %+v, %v", i, sites.Items, err)
		}
		if status, body := get(t, ports.site(i)+"/health"); status != 200 || !strings.Contains(body, `"status":"ok","site_id"`) {
			t.Errorf("site %d is not well: %d %s", i, status, body)
		}
	}
	p.stop(t)
}

// Who has just started the demo asks whether all is well with it, and with nothing else set.
func TestTheDoctorExaminesTheSitesOfTheDemo(t *testing.T) {
	env := []string{"XDG_CACHE_HOME=" + t.TempDir()}
	p := upDemo(t, env, freeDemoPorts(t).args())
	doctor := func(args ...string) (code int, out string) {
		return run(t, env, append([]string{"doctor", "--demo"}, args...)...).finish(t)
	}
	for _, id := range []string{"site-a", "site-b"} {
		natstest.Within(t, 30*time.Second, "all is well at "+id, func() bool {
			code, out := doctor("--json", "--site", id)
			return code == 0 && strings.Contains(out, `"site_id": "`+id+`"`)
		})
	}
	if _, out := doctor(); !strings.Contains(out, "peer-clocks") {
		t.Errorf("it says %s", out)
	}
	if code, out := doctor("--site", "site-x"); code == 0 || !strings.Contains(out, `site: "site-x" is not allowed: one of the demo: site-a, site-b`) {
		t.Errorf("of a site that there is not it says, with %d, %s", code, out)
	}
	p.stop(t)
	if code, out := doctor(); code == 0 || !strings.Contains(out, "no demo runs here") {
		t.Errorf("after the demo it says, with %d, %s", code, out)
	}
}
