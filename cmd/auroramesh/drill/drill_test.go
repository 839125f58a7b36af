package drill_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/cmd/auroramesh/drill"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/settings"
)

func options(t *testing.T) drill.Options {
	return drill.Options{
		Fault: "cut", For: 2 * time.Second, Rate: 10, Timeout: 30 * time.Second, Version: "0.0.1",
		Log: slog.New(slog.DiscardHandler), Progress: func(phase string) { t.Log(phase) },
	}
}

func TestACutLosesNothingAndDoublesNothing(t *testing.T) {
	r, err := drill.Run(t.Context(), options(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verdict(); err != nil || !r.Converged {
		t.Errorf("%v: %+v", err, r)
	}
	if len(r.Directions) != 2 || r.Directions[0].From != r.Directions[1].To || r.Directions[0].To != r.Directions[1].From {
		t.Fatalf("got the directions %+v", r.Directions)
	}
	for _, d := range r.Directions {
		if d.DuringFault == 0 || d.Accepted <= d.DuringFault || d.Stored != d.Accepted || d.Foreign != 0 || d.CaughtUpSeconds == nil {
			t.Errorf("got %+v", d)
		}
	}
	for _, d := range r.Detections {
		if d.Seconds != nil && (*d.Seconds <= 0 || d.Status == federation.Healthy || d.Cause == "") {
			t.Errorf("got %+v", d)
		}
	}
	if r.FaultSeconds() < 2 {
		t.Errorf("the fault lasted %g s", r.FaultSeconds())
	}
}

func TestADrillEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := options(t)
	o.For = time.Hour
	o.Progress = func(phase string) {
		if strings.HasPrefix(phase, "The fault") {
			cancel()
		}
	}
	if _, err := drill.Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOptionsThatMakeNoDrillAreRefused(t *testing.T) {
	_, err := drill.Run(t.Context(), drill.Options{Fault: "fire", For: time.Millisecond, Timeout: 2 * time.Hour, Sites: 1})
	if !fault.Is(err, fault.Invalid) {
		t.Fatalf("got %v", err)
	}
	for _, name := range []string{"fault", "for", "rate", "timeout", "sites"} {
		if !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%q does not name %s", err, name)
		}
	}
}

func TestTheAlertsOfADrillAreBounded(t *testing.T) {
	o := options(t)
	o.Rate, o.For = 100, time.Hour
	if err := o.Validate(); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "100000 alerts at a site") {
		t.Errorf("got %v", err)
	}
	o.For = 15 * time.Minute
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}

// running is three sites that nobody of the drill has started, and a client of the control of their lines.
func running(t *testing.T) (*demo.Demo, *linkproxy.Client) {
	t.Helper()
	d, err := demo.Start(t.Context(), demo.Options{Sites: 3, Version: "0.0.1", Log: slog.New(slog.DiscardHandler), Lines: true,
		Configure: func(_ int, s *settings.Settings) { s.HeartbeatSeconds, s.DegradedSeconds, s.DownSeconds = 1, 3, 6 }})
	if err != nil {
		t.Fatal(err)
	}
	control, err := d.Lines.Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := errors.Join(control.Close(), d.Stop(ctx)); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	client, err := linkproxy.NewClient(control.URL)
	if err != nil {
		t.Fatal(err)
	}
	return d, client
}

// of are options for a drill of running sites.
func of(t *testing.T, d *demo.Demo, lines drill.Lines) drill.Options {
	o := options(t)
	o.Control = lines
	for _, s := range d.Sites {
		o.APIs = append(o.APIs, s.API)
	}
	return o
}

func TestRunningSitesAreDrilledOverTheirAPIAlone(t *testing.T) {
	d, lines := running(t)
	api, err := apiclient.New(d.Sites[0].API)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := api.Raise(t.Context(), federation.NewAlert{Title: "of somebody else", Severity: federation.Critical, Source: "test"}); err != nil {
		t.Fatal(err)
	}
	o := of(t, d, lines)
	o.Link = "link-site-c-site-a"
	var broken []linkproxy.Line // what the control said while the fault lasted
	o.Progress = func(phase string) {
		if strings.HasPrefix(phase, "The fault") {
			all, err := lines.Lines(t.Context())
			if err != nil {
				t.Error(err)
			}
			broken = all.Lines
		}
	}
	r, err := drill.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(broken) != 2 || broken[0].Mode != "pass" || broken[1].Link != "link-site-a-site-c" || broken[1].Mode != "cut" || broken[1].HealsAt == nil {
		t.Errorf("during the fault the lines were %+v", broken)
	}
	if err := r.Verdict(); err != nil || !r.Converged || !r.Running || r.Link != "link-site-a-site-c" || r.Meanwhile == 0 || r.Raised <= r.Meanwhile || r.ConvergedSeconds == nil {
		t.Errorf("%v: %+v", err, r)
	}
	if len(r.Directions) != 6 || len(r.Detections) != 2 || r.Detections[0].Site != "site-a" || r.Detections[1].Site != "site-c" {
		t.Errorf("got %+v", r)
	}
	for _, dir := range r.Directions {
		if dir.Stored != dir.Accepted || dir.Accepted == 0 {
			t.Errorf("got %+v", dir)
		}
	}
	for _, site := range d.Sites {
		at, err := apiclient.New(site.API)
		if err != nil {
			t.Fatal(err)
		}
		if kept, err := at.Drills(t.Context()); err != nil || len(kept.Items) != 1 || kept.Items[0].Run != r.Run || kept.Items[0].Raised != r.Raised || kept.Items[0].Verdict() != nil {
			t.Errorf("%s keeps %+v, %v", site.ID().ID, kept, err)
		}
	}
	left, err := api.Alerts(t.Context(), ask.AlertFilter{Source: "drill"})
	if err != nil || left.Total != r.Directions[0].Accepted || !strings.HasPrefix(left.Items[0].Title, "drill "+r.Run+": ") {
		t.Errorf("left are %d, %v", left.Total, err)
	}
	if s := strings.Join(r.Summary(), "\n"); !strings.Contains(s, `their source is drill, and their titles begin with "drill `+r.Run) {
		t.Errorf("the summary is %s", s)
	}
	if all, err := lines.Lines(t.Context()); err != nil || all.Lines[1].Mode != "pass" {
		t.Errorf("after the drill: %+v, %v", all, err)
	}
}

// stuck are lines that stay as they are broken.
type stuck struct{ *linkproxy.Client }

func (s stuck) Set(ctx context.Context, link string, o linkproxy.Order) (linkproxy.Line, error) {
	if o.Mode == linkproxy.WordPass {
		return linkproxy.Line{}, nil
	}
	return s.Client.Set(ctx, link, o)
}

func TestALineThatIsNotHealedBreaksThePromise(t *testing.T) {
	d, lines := running(t)
	o := of(t, d, stuck{lines})
	o.For, o.Timeout = time.Second, time.Second
	r, err := drill.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verdict(); r.Converged || err == nil || !strings.Contains(err.Error(), "some were still under way 1 s after the fault") {
		t.Errorf("%v: %+v", err, r)
	}
}

func TestAnInterruptedDrillHealsTheLine(t *testing.T) {
	d, lines := running(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := of(t, d, lines)
	o.For = time.Hour
	o.Rate = 1
	o.Progress = func(phase string) {
		if strings.HasPrefix(phase, "The fault") {
			cancel()
		}
	}
	if _, err := drill.Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	all, err := lines.Lines(t.Context())
	if err != nil || all.Lines[0].Mode != "pass" || all.Lines[0].HealsAt != nil {
		t.Errorf("the lines are %+v, %v", all, err)
	}
}

func TestTheLineIsFoundByItsLink(t *testing.T) {
	three, two := []federation.SiteID{"a", "b", "c"}, []federation.SiteID{"a", "b"}
	demoLines := []string{"link-a-b", "link-a-c"}
	for _, c := range []struct {
		link       string
		lines      []string
		sites      []federation.SiteID
		line, want string // no line: refused
	}{
		{"", demoLines, three, "link-a-b", "link-a-b"},
		{"link-a-c", demoLines, three, "link-a-c", "link-a-c"},
		{"link-c-a", demoLines, three, "link-a-c", "link-a-c"},
		{"link-b-c", demoLines, three, "", ""},
		{"x", demoLines, three, "", ""},
		{"", []string{"line"}, two, "line", "link-a-b"},
		{"link-b-a", []string{"line"}, two, "line", "link-a-b"},
		{"", []string{"line"}, three, "", ""},
		{"link-b-c", []string{"line"}, three, "line", "link-b-c"},
		{"x", []string{"line"}, two, "", ""},
		{"", nil, two, "", ""},
	} {
		var lines []linkproxy.Line
		for _, l := range c.lines {
			lines = append(lines, linkproxy.Line{Link: l})
		}
		line, link, err := drill.Choose(c.link, lines, c.sites)
		if line != c.line || link != c.want || (err != nil) != (c.line == "") {
			t.Errorf("%q of %v at %v: got %q, %q, %v", c.link, c.lines, c.sites, line, link, err)
		}
	}
}
