package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestTheFiguresOfALinkAreShownWhileTheyAreOfNow(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	last, median := 1.5, 2.5
	for name, c := range map[string]struct {
		status             federation.LinkStatus
		latency            *federation.Latency
		last, median, loss string
	}{
		"fresh":                                  {federation.Healthy, &federation.Latency{LastMs: &last, MedianMs: &median, MeasuredAt: now.Add(-time.Second)}, "1.5 ms", "2.5 ms", "0 %"},
		"the last of a lossy line was lost":      {federation.LinkDegraded, &federation.Latency{MedianMs: &median, Loss: 0.4, MeasuredAt: now.Add(-time.Second)}, "-", "2.5 ms", "40 %"},
		"down, and no echo comes back":           {federation.Down, &federation.Latency{MedianMs: &median, Loss: 0.1, MeasuredAt: now.Add(-time.Second)}, "-", "-", "-"},
		"down by heartbeats, echoes come back":   {federation.Down, &federation.Latency{LastMs: &last, MedianMs: &median, MeasuredAt: now.Add(-time.Second)}, "1.5 ms", "2.5 ms", "0 %"},
		"nothing has probed for a while":         {federation.Healthy, &federation.Latency{LastMs: &last, MedianMs: &median, MeasuredAt: now.Add(-time.Minute)}, "-", "-", "-"},
		"measured before the clock was set back": {federation.Healthy, &federation.Latency{LastMs: &last, MedianMs: &median, MeasuredAt: now.Add(time.Minute)}, "-", "-", "-"},
		"never measured":                         {federation.Healthy, nil, "-", "-", "-"},
	} {
		if last, median, loss := latency(federation.Link{Status: c.status, Latency: c.latency}, now); last != c.last || median != c.median || loss != c.loss {
			t.Errorf("%s: %s, %s, %s", name, last, median, loss)
		}
	}
}

func TestWhatThePeerSeesHasAnAge(t *testing.T) {
	age := 3.2
	for want, l := range map[string]federation.Link{
		"-":                       {},
		"healthy 3s ago":          {PeerView: &federation.LinkView{Status: federation.Healthy}, HeartbeatAgeSeconds: &age},
		"down (echo_lost) 3s ago": {PeerView: &federation.LinkView{Status: federation.Down, Cause: federation.EchoLost}, HeartbeatAgeSeconds: &age},
	} {
		if got := peerSees(l); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestASiteThatLeftSaysSo(t *testing.T) {
	var out bytes.Buffer
	if err := sitesTable(&out, []federation.Site{{ID: "site-b", Status: federation.Offline, Reason: federation.Leaving}}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "offline (leaving)") {
		t.Error(out.String())
	}
}

func TestHowSitesExchangeIsShownWhereOneDoesByTheHub(t *testing.T) {
	shown := func(sites ...federation.Site) string {
		t.Helper()
		var out bytes.Buffer
		if err := sitesTable(&out, sites); err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(out.String()), " ")
	}
	hub, direct, older := federation.Site{ID: "site-a", Exchange: federation.ExchangeHub, Name: "A"}, federation.Site{ID: "site-b", Exchange: federation.ExchangeDirect, Name: "B"}, federation.Site{ID: "site-c", Name: "C"}
	if got := shown(hub, direct, older); !strings.Contains(got, "EXCHANGE NAME") || !strings.Contains(got, "hub A") || !strings.Contains(got, "direct B") || !strings.Contains(got, "direct C") {
		t.Error(got)
	}
	if got := shown(direct, older); strings.Contains(got, "EXCHANGE") || strings.Contains(got, "direct") {
		t.Error(got)
	}
}

func TestAListSaysWhichPartOfItIsShown(t *testing.T) {
	for _, c := range []struct {
		items, total, skip int
		more               bool
		want               string
	}{
		{0, 0, 0, false, "None of 0."},
		{50, 120, 50, false, "51 to 100 of 120; the next with --skip 100"},
		{20, 120, 100, false, "101 to 120 of 120"},
		{50, 10_000, 0, true, "1 to 50 of more than 10000; the next with --skip 50"},
		{50, 10_050, 10_000, true, "10001 to 10050 of more than 10050; the next with --skip 10050"},
	} {
		var out strings.Builder
		if err := writePosition(&out, ask.List[int]{Items: make([]int, c.items), Total: c.total, Skip: c.skip, More: c.more}); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(out.String()); got != c.want {
			t.Errorf("%+v is shown as %q", c, got)
		}
	}
}
