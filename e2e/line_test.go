package e2e_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// modeOf is what the lines say of the first of them.
func modeOf(t *testing.T, c *linkproxy.Client) linkproxy.Line {
	t.Helper()
	all, err := c.Lines(t.Context())
	if err != nil || len(all.Lines) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	return all.Lines[0]
}

func TestALineOfTheDemoIsBrokenAndHealedByTheCommands(t *testing.T) {
	t.Parallel()
	env := []string{"XDG_CACHE_HOME=" + t.TempDir()}
	ports := freeDemoPorts(t)
	if code, out := run(t, env, "line").finish(t); code != fault.NotFound.ExitCode() || !strings.Contains(out, "no demo runs here") {
		t.Errorf("without a demo: %d %s", code, out)
	}
	d := upDemo(t, env, ports.args())
	control := regexp.MustCompile(`control of the lines is at (http://127\.0\.0\.1:\d+)`).FindStringSubmatch(d.text())
	if control == nil {
		t.Fatal("the demo does not name its control")
	}
	lines, err := linkproxy.NewClient(control[1])
	if err != nil {
		t.Fatal(err)
	}
	to := func(args ...string) string {
		code, out := run(t, env, args...).finish(t)
		if code != 0 {
			t.Errorf("%v ended with %d: %s", args, code, out)
		}
		return out
	}
	if out := to("line", "cut", "link-site-a-site-b"); out != "link-site-a-site-b: cut, until `auroramesh line heal link-site-a-site-b`\n" {
		t.Errorf("the cut says %q", out)
	}
	api := client(t, ports.site(0))
	natstest.Within(t, 20*time.Second, "the link is down", func() bool {
		top, err := api.Topology(t.Context())
		return err == nil && len(top.Links) == 1 && top.Links[0].Status == "down"
	})
	if out := to("line", "delay", "link-site-a-site-b", "--by=20ms", "--for=1h"); !strings.Contains(out, "link-site-a-site-b: delay of 20 ms each way, 40 ms round trip, and heals at ") {
		t.Errorf("the delay says %q", out)
	}
	if out := to("line"); !strings.Contains(out, "link-site-a-site-b  delay  20 ms each way, 40 ms round trip  20") {
		t.Errorf("the lines are %s", out)
	}
	to("line", "heal", "link-site-b-site-a")
	if out := to("drill", "--demo", "--for=1s", "--rate=5"); !strings.Contains(out, "The promise was kept") || !strings.Contains(out, "their source is drill") {
		t.Errorf("the drill says %s", out)
	}

	// A drill that dies leaves a line that heals by itself.
	killed := run(t, env, "drill", "--demo", "--for=1s", "--rate=1")
	natstest.Within(t, 20*time.Second, "the line is broken", func() bool { return modeOf(t, lines).Mode == "cut" })
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	natstest.Within(t, 20*time.Second, "the line is healed", func() bool { return modeOf(t, lines).Mode == "pass" })

	d.stop(t)
	if code, out := run(t, env, "drill", "--demo").finish(t); code != fault.NotFound.ExitCode() || !strings.Contains(out, "no demo runs here") {
		t.Errorf("after the demo: %d %s", code, out)
	}
}

func TestARealPairIsDrilledThroughTheProxy(t *testing.T) {
	t.Parallel()
	var proxy process
	m := start(t, demo.Options{LeafURL: func(_ int, listener string) string {
		proxy = run(t, nil, "proxy", "--listen=127.0.0.1:0", "--target="+listener, "--control=127.0.0.1:0")
		natstest.Within(t, 20*time.Second, "the proxy is at work", func() bool { return strings.Contains(proxy.text(), "its control is at") })
		return regexp.MustCompile(`passes from (\S+) to`).FindStringSubmatch(proxy.text())[1]
	}})
	control := regexp.MustCompile(`its control is at (\S+)`).FindStringSubmatch(proxy.text())[1]
	code, out := run(t, nil, "drill", "--proxy="+control, "--api="+m.Sites[0].API, "--api="+m.Sites[1].API, "--for=2s", "--rate=5", "--json").finish(t)
	if code != 0 || !strings.Contains(out, `"link": "link-site-a-site-b"`) || !strings.Contains(out, `"converged": true`) || !strings.Contains(out, `"running": true`) {
		t.Errorf("the drill ended with %d: %s", code, out)
	}
	if n := m.total(t, 1, "drill"); n == 0 || n != m.total(t, 0, "federation:site-b") {
		t.Errorf("site-b has %d alerts of the drill, and site-a %d of them", n, m.total(t, 0, "federation:site-b"))
	}

	// Whoever cuts the line for good, the report says so and the exit code too.
	cut(t, m, control)

	proxy.stop(t)
}

// cut drills the mesh, and cuts the line again as soon as the drill has healed it.
func cut(t *testing.T, m mesh, control string) {
	t.Helper()
	p := run(t, nil, "drill", "--proxy="+control, "--api="+m.Sites[0].API, "--api="+m.Sites[1].API, "--for=1s", "--rate=5", "--timeout=1s")
	natstest.Within(t, 30*time.Second, "the line is healed", func() bool { return strings.Contains(p.text(), "Healed") })
	command(t, "line", "cut", "line", "--control="+control, "--for=1h")
	if code, out := p.finish(t); code != 1 || !strings.Contains(out, "the promise was broken") {
		t.Errorf("the drill ended with %d: %s", code, out)
	}
	command(t, "line", "heal", "line", "--control="+control)
}
