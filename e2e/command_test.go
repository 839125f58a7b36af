package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/scenario"
)

// parsed is what a command prints with --json.
func parsed[T any](t *testing.T, args ...string) (v T) {
	t.Helper()
	out := command(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return v
}

func TestTheCommandsShowWhatTheSitesKnow(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{})
	a := "--api-base=" + m.Sites[0].API
	natstest.Eventually(t, "the sites see each other", func() bool { return m.link(t, 0, "link-site-a-site-b") == federation.Healthy })

	sites := parsed[ask.List[federation.Site]](t, "sites", a)
	if sites.Total != 2 || sites.Items[0].ID != "site-a" || !sites.Items[0].Local || sites.Items[1].ID != "site-b" || sites.Items[1].Status != federation.Online {
		t.Errorf("sites: %+v", sites)
	}
	for _, want := range []string{"site-a *", "primary", "site-b", "secondary", "online"} {
		if out := command(t, "sites", a); !strings.Contains(out, want) {
			t.Errorf("the table of sites does not show %s: %s", want, out)
		}
	}
	top := parsed[federation.Topology](t, "topology", a)
	if top.SiteID != "site-a" || len(top.Sites) != 2 || len(top.Links) != 1 || top.Links[0].ID != "link-site-a-site-b" || top.Links[0].Status != federation.Healthy {
		t.Errorf("topology: %+v", top)
	}
	if out := command(t, "topology", a); !strings.Contains(out, "link-site-a-site-b") || !strings.Contains(out, "healthy") {
		t.Errorf("the topology does not show the link: %s", out)
	}

	preview := parsed[ask.SharingPreview](t, "sharing", "preview", a, "--severity=high", "--tlp=green")
	if preview.SiteID != "site-a" || len(preview.Peers) != 1 || preview.Peers[0].Peer != "site-b" || !preview.Peers[0].Admitted {
		t.Errorf("preview: %+v", preview)
	}
	out := command(t, "sharing", "preview", a, "--severity=critical", "--tlp=amber+strict")
	for _, want := range []string{"Gate of site-a: severity high or worse, tlp clear, green, amber\n", "site-b  no        tlp   -        tlp amber+strict stays at its site"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table of the preview does not show %q: %s", want, out)
		}
	}

	if out := command(t, "history", a); !strings.Contains(out, "link-site-a-site-b  healthy\n") {
		t.Errorf("the links are listed as %s", out)
	}
	if h := parsed[federation.History](t, "history", "link-site-b-site-a", a); h.LinkID != "link-site-a-site-b" {
		t.Errorf("by its reversed id the link is %+v", h)
	}
	if h, err := m.api[0].LinkHistory(t.Context(), "link-site-b-site-a", 1); err != nil || h.LinkID != "link-site-a-site-b" {
		t.Errorf("over the API it is %+v: %v", h, err)
	}
	if code, out := run(t, nil, "history", "link-x", a).finish(t); code != fault.NotFound.ExitCode() || !strings.Contains(out, "the links are link-site-a-site-b\n") {
		t.Errorf("the history of no link ended with %d: %s", code, out)
	}

	set := parsed[ask.PeerGate](t, "sharing", "gate", a, "site-z", "--min-severity=critical", "--strip-iocs=ip,domain", "--except-sources=honeypot")
	if set.Peer != "site-z" || set.Known || set.MinSeverity != federation.Critical || len(set.StripIOCs) != 2 || len(set.Set) != 3 {
		t.Errorf("the gate that was set: %+v", set)
	}
	out = command(t, "sharing", "gates", a)
	for _, want := range []string{
		"Default gate of site-a: severity high or worse, tlp clear, green, amber\n",
		"site-b  outbound   high          all      -               -             yes\n",
		"site-b  inbound    info          all      -               -             yes\n",
		"site-z  outbound   critical *    all      honeypot *      domain, ip *  not yet\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the table of the gates does not show %q:\n%s", want, out)
		}
	}
	if out := command(t, "sharing", "gate", a, "site-z", "--reset"); !strings.Contains(out, "site-z  outbound   high ") {
		t.Errorf("the gate after a reset:\n%s", out)
	}

	deliveries := parsed[federation.Deliveries](t, "deliveries", a)
	if deliveries.SiteID != "site-a" || len(deliveries.Deliveries) != 2 || deliveries.Deliveries[0].Peer != "site-b" {
		t.Errorf("deliveries: %+v", deliveries)
	}
	if out := command(t, "deliveries", a); !strings.Contains(out, "PENDING") || !strings.Contains(out, "inbound") {
		t.Errorf("the table of deliveries shows: %s", out)
	}
	quiet := m.raise(t, 0, alert("nothing to share", federation.Info))
	if out := command(t, "deliveries", quiet.ID, a); !strings.Contains(out, "kept") || !strings.Contains(out, "site-b") {
		t.Errorf("the deliveries of an alert show: %s", out)
	}

	follower := run(t, nil, "alerts", "--follow", a)
	var raised int
	natstest.Within(t, 20*time.Second, "the follower is told of an alert of the peer", func() bool {
		raised++ // one that came before the follower listened is not shown
		m.raise(t, 1, alert(fmt.Sprintf("to be followed %d", raised), federation.Critical))
		return strings.Contains(follower.text(), "to be followed")
	})
	if !strings.Contains(follower.text(), "federation:site-b") {
		t.Errorf("the follower shows %s", follower.text())
	}
	follower.stop(t)

	natstest.Eventually(t, "all of them are listed", func() bool {
		page := parsed[ask.List[federation.Alert]](t, "alerts", a, "--source=federation:site-b", "--severity=critical", "--limit=200")
		return page.Total == raised && len(page.Items) == raised && page.Items[0].Source == "federation:site-b" && page.Items[0].Origin != nil
	})
	if out := command(t, "alerts", a, "--tlp=TLP:AMBER", "--severity=critical"); !strings.Contains(out, "critical  amber  ") {
		t.Errorf("the amber ones are listed as %s", out)
	}
	if page := parsed[ask.List[federation.Alert]](t, "alerts", a, "--tlp=red"); page.Total != 0 {
		t.Errorf("there are %d red ones", page.Total)
	}
	first := parsed[ask.List[federation.Alert]](t, "alerts", a, "--limit=1").Items[0]
	if out := command(t, "alerts", "set-status", a, first.ID, "triaged"); !strings.Contains(out, "is triaged") {
		t.Error(out)
	}
	if out := command(t, "alerts", "show", a, first.ID); !strings.Contains(out, first.Title) || !strings.Contains(out, "triaged") || !strings.Contains(out, "Site B (site-b)") ||
		!strings.Contains(out, "TLP:              amber\n") {
		t.Errorf("the alert is shown as %s", out)
	}
}

func TestEveryScenarioCrosses(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{})
	b := "--api-base=" + m.Sites[1].API
	all, crossing := 0, 0
	for _, s := range scenario.All() {
		for range 2 { // the second telling is known already
			out := command(t, "simulate", b, "--seed=7", "--scenario="+s.Name)
			if !strings.Contains(out, s.Name+" with seed 7 at "+m.Sites[1].API) {
				t.Errorf("%s ends with %s", s.Name, out)
			}
		}
		all += s.Len()
		for _, severity := range s.Severities() {
			if severity.Rank() >= federation.High.Rank() {
				crossing++
			}
		}
	}
	if got := m.total(t, 1, ""); got != all {
		t.Errorf("the site has %d alerts of %d", got, all)
	}
	m.sharedIsAtThePeer(t, crossing)
}

// sharedIsAtThePeer wants exactly n alerts of site-b at site-a.
func (m mesh) sharedIsAtThePeer(t *testing.T, n int) {
	t.Helper()
	natstest.Within(t, 20*time.Second, "the high ones are at the peer", func() bool { return m.total(t, 0, "federation:site-b") >= n })
	m.published(t, 1, m.raise(t, 1, alert("the last to stay", federation.Info)))
	m.raise(t, 1, alert("the marker", federation.Critical))
	m.arrives(t, 0, "the marker")
	if got := m.total(t, 0, "federation:site-b"); got != n+1 {
		t.Errorf("the peer has %d, want %d", got, n+1)
	}
}

func TestRealAlertsGoInAndTheHighOnesComeOutAtThePeer(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{})
	args := []string{"ingest", "--api-base=" + m.Sites[1].API, "--format=auto"}
	held := 0
	for _, file := range []string{"first-2015", "honeypot-2018"} {
		path := "../shared/sensor/testdata/suricata/" + file + ".eve.json"
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		held += strings.Count(string(data), `"event_type":"alert"`) + strings.Count(string(data), `"event_type": "alert"`)
		args = append(args, path)
	}
	if held != 180 {
		t.Fatalf("the files hold %d alerts", held)
	}
	type summary struct {
		Read, New, Duplicates, Refused int
		Skipped                        map[string]int
	}
	first := parsed[summary](t, args...)
	if first.New+first.Duplicates != 180 || first.Refused != 0 || first.New == 0 {
		t.Errorf("the first run: %+v", first)
	}
	again := parsed[summary](t, args...)
	if again.New != 0 || again.Duplicates != 180 || again.Refused != 0 {
		t.Errorf("the second run: %+v", again)
	}
	if out := command(t, args...); !strings.Contains(out, "new         0\n") || !strings.Contains(out, "duplicates  180\n") {
		t.Errorf("the third run says %s", out)
	}
	at := every(t, m.api[1], "")
	if len(at) != first.New {
		t.Errorf("the site has %d alerts, and %d were new", len(at), first.New)
	}
	crossing := map[string]string{}
	for _, a := range at {
		if a.Severity.Rank() >= federation.High.Rank() {
			crossing[a.ID] = a.Title
		}
	}
	if len(crossing) == 0 || len(crossing) == len(at) {
		t.Fatalf("%d of %d are to cross: nothing is proved", len(crossing), len(at))
	}
	m.sharedIsAtThePeer(t, len(crossing))
	for _, a := range every(t, m.api[0], "federation:site-b") {
		if a.Title != "the marker" && crossing[a.Origin.AlertID] != a.Title {
			t.Errorf("the peer has %q of %s, and should have %q", a.Title, a.Origin.AlertID, crossing[a.Origin.AlertID])
		}
	}
}
