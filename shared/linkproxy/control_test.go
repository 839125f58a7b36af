package linkproxy_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
)

// controlled is a line under a control that is served, and a client of that.
func controlled(t *testing.T) (*line, *linkproxy.Client, *linkproxy.Serving) {
	t.Helper()
	l := newLine(t)
	c := linkproxy.NewControl()
	c.Add("link-a-b", l.proxy)
	c.Name([]linkproxy.End{{Site: "a", API: "http://127.0.0.1:1"}})
	s, err := c.Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := linkproxy.NewClient(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return l, client, s
}

// mode is what the control says of its one line.
func mode(t *testing.T, c *linkproxy.Client) linkproxy.Line {
	t.Helper()
	all, err := c.Lines(t.Context())
	if err != nil || len(all.Lines) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	return all.Lines[0]
}

func TestALineIsCutAndHealedOverItsControl(t *testing.T) {
	l, c, _ := controlled(t)
	client, server := l.pair()
	all, err := c.Lines(t.Context())
	want := linkproxy.Lines{Lines: []linkproxy.Line{{Link: "link-a-b", Mode: "pass"}}, Sites: []linkproxy.End{{Site: "a", API: "http://127.0.0.1:1"}}}
	if diff := cmp.Diff(want, all); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if got, err := c.Set(t.Context(), "link-a-b", linkproxy.Order{Mode: "cut"}); err != nil || got.Mode != "cut" || got.HealsAt != nil {
		t.Errorf("%+v, %v", got, err)
	}
	expectEnd(t, client)
	expectEnd(t, server)
	if _, err := c.Set(t.Context(), "link-a-b", linkproxy.Order{Mode: "pass"}); err != nil {
		t.Fatal(err)
	}
	l.pair() // it takes connections again
}

func TestALineHealsByItselfAfterItsTime(t *testing.T) {
	l, c, _ := controlled(t)
	set, err := c.Set(t.Context(), "link-a-b", linkproxy.Order{Mode: "cut", Seconds: 0.05})
	if err != nil || set.HealsAt == nil {
		t.Fatalf("%+v, %v", set, err)
	}
	for end := time.Now().Add(patience); mode(t, c).Mode != "pass"; {
		if time.Now().After(end) {
			t.Fatal("the line is not healed")
		}
	}
	l.pair()
}

func TestALaterOrderIsNotHealedByAnEarlierOne(t *testing.T) {
	c := linkproxy.NewControl()
	for _, link := range []string{"line", "marker"} {
		c.Add(link, newLine(t).proxy)
	}
	for _, order := range []struct {
		link string
		linkproxy.Order
	}{
		{"line", linkproxy.Order{Mode: "blackhole", Seconds: 0.01}}, {"line", linkproxy.Order{Mode: "delay", DelayMs: 5}},
		{"marker", linkproxy.Order{Mode: "cut", Seconds: 0.05}}, // heals after the earlier order would have
	} {
		if _, err := c.Set(t.Context(), order.link, order.Order); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(patience); ; {
		all, err := c.Lines(t.Context())
		if err != nil || time.Now().After(end) {
			t.Fatalf("the marker is not healed: %+v, %v", all, err)
		}
		if all.Lines[1].Mode != "pass" {
			continue
		}
		if diff := cmp.Diff(linkproxy.Line{Link: "line", Mode: "delay", DelayMs: 5}, all.Lines[0]); diff != "" {
			t.Error(diff)
		}
		return
	}
}

func TestWhatCannotBeSetIsRefused(t *testing.T) {
	_, c, _ := controlled(t)
	for name, o := range map[string]linkproxy.Order{
		"mode": {Mode: "fire"}, "delay_ms": {Mode: "delay"}, "delay_ms: ": {Mode: "cut", DelayMs: 3}, "seconds": {Mode: "cut", Seconds: -1}, "seconds: ": {Mode: "cut", Seconds: 1e9},
	} {
		if _, err := c.Set(t.Context(), "link-a-b", o); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := c.Set(t.Context(), "link-b-a", linkproxy.Order{Mode: "cut"}); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "the lines are link-a-b") {
		t.Errorf("got %v", err)
	}
	if got := mode(t, c); got.Mode != "pass" {
		t.Errorf("the line is %+v", got)
	}
	if _, err := linkproxy.NewControl().Serve("0.0.0.0:0"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a control for everybody: %v", err)
	}
	for _, base := range []string{"127.0.0.1:1", "https://127.0.0.1:1", "http://127.0.0.1:1/x", ""} {
		if _, err := linkproxy.NewClient(base); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", base, err)
		}
	}
	gone, err := linkproxy.NewClient("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Lines(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestAPageOfAnotherHostCutsNothing(t *testing.T) {
	_, c, s := controlled(t)
	for _, forge := range []func(*http.Request){
		func(r *http.Request) { r.Host = "evil.example" },
		func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+"/lines/link-a-b", strings.NewReader(`{"mode":"cut"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Close = true
		forge(r)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("answered with %s", resp.Status)
		}
	}
	if got := mode(t, c); got.Mode != "pass" {
		t.Errorf("the line is %+v", got)
	}
}
