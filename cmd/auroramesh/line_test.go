package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
)

// controlOf serves a control with one line of each name, and returns its address.
func controlOf(t *testing.T, names ...string) string {
	t.Helper()
	lines := linkproxy.NewControl()
	for _, name := range names {
		p, err := linkproxy.Listen("127.0.0.1:0", "127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		lines.Add(name, p)
	}
	control, err := lines.Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := control.Close(); err != nil {
			t.Error(err)
		}
		if err := lines.Close(); err != nil {
			t.Error(err)
		}
	})
	return control.URL
}

// said is what a command prints.
func said(t *testing.T, run func(context.Context, *stdio) error) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(t.Context(), &stdio{out: &out, err: &out}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestADelayIsToldEachWayAndForTheRoundTrip(t *testing.T) {
	flags := lineFlags{controlFlags: controlFlags{controlOf(t, "link-a-b")}, Line: "link-a-b"}
	for by, want := range map[time.Duration]string{
		40 * time.Millisecond:   "40 ms each way, 80 ms round trip",
		500 * time.Microsecond:  "0.5 ms each way, 1 ms round trip",
		1500 * time.Millisecond: "1500 ms each way, 3000 ms round trip",
	} {
		set := lineDelayCmd{breakFlags: breakFlags{lineFlags: flags}, By: by}
		if got := said(t, set.Run); got != "link-a-b: delay of "+want+", until `auroramesh line heal link-a-b`\n" {
			t.Errorf("the delay says %q", got)
		}
		if got := said(t, (&lineListCmd{controlFlags: flags.controlFlags}).Run); !strings.Contains(got, "link-a-b  delay  "+want+"  -") {
			t.Errorf("the lines are %q", got)
		}
	}
	if got := said(t, (&lineHealCmd{flags}).Run); got != "link-a-b: pass\n" {
		t.Errorf("the healing says %q", got)
	}
}

func TestALineIsFoundWithItsSitesInEitherOrder(t *testing.T) {
	flags := func(line string) lineFlags {
		return lineFlags{controlFlags: controlFlags{controlOf(t, "line", "link-site-a-site-b")}, Line: line}
	}
	for _, name := range []string{"link-site-a-site-b", "link-site-b-site-a"} {
		if got := said(t, (&lineCutCmd{breakFlags{lineFlags: flags(name)}}).Run); !strings.HasPrefix(got, "link-site-a-site-b: cut") {
			t.Errorf("%s: %q", name, got)
		}
	}
	err := (&lineCutCmd{breakFlags{lineFlags: flags("link-site-b-site-c")}}).Run(t.Context(), &stdio{})
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("a line that is not there: %v", err)
	}
	two := []linkproxy.Line{{Link: "link-a-b-c"}, {Link: "link-b-c-a"}, {Link: "link-b-a-x"}, {Link: "link-x-b-a"}, {Link: "link-a-x-b"}}
	for name, want := range map[string]string{"link-b-c-a": "link-b-c-a", "link-c-a-b": "link-c-a-b"} {
		if got := lineNamed(two, name); got != want {
			t.Errorf("%s is taken for %s", name, got)
		}
	}
}
