package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
)

func TestAfterAnOutageCriticalAlertsDoNotWaitBehindTheOthers(t *testing.T) {
	t.Parallel()
	m, proxy := proxied(t, demo.Options{Configure: func(i int, s *settings.Settings) {
		quick(i, s)
		s.MinSeverity = string(federation.Low)
	}})
	for _, s := range []federation.Severity{federation.Critical, federation.High} { // both lanes stand
		m.raise(t, 0, alert("first "+string(s), s))
		m.arrives(t, 1, "first "+string(s))
	}

	proxy.Set(linkproxy.Cut)
	const others, critical, at = 1000, 20, 8
	var all sync.WaitGroup
	for part := range at {
		all.Go(func() {
			for i := part; i < others; i += at {
				a := alert(fmt.Sprint("other ", i), []federation.Severity{federation.Low, federation.High}[i%2])
				a.RawLog = federation.RawLog(strings.Repeat("x", 8<<10)) // so that they take their time
				if _, _, _, err := m.api[0].Raise(t.Context(), a); err != nil {
					t.Errorf("raising: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
	natstest.Within(t, 20*time.Second, "the others are in the stream", func() bool { return m.shared(t, 0) == 2+others })
	for i := range critical {
		m.raise(t, 0, alert(fmt.Sprint("critical ", i), federation.Critical))
	}
	natstest.Within(t, 20*time.Second, "the critical ones are behind them", func() bool { return m.shared(t, 0) == 2+others+critical })
	if got := m.total(t, 1, "federation:site-a"); got != 2 {
		t.Fatalf("%d alerts are at the peer in spite of the cut", got)
	}

	proxy.Set(linkproxy.Pass)
	natstest.Within(t, 60*time.Second, "all are at the peer", func() bool { return m.total(t, 1, "federation:site-a") == 2+others+critical })
	var rest, urgent []time.Time
	for _, a := range every(t, m.api[1], "federation:site-a") {
		switch {
		case a.Title == "first critical" || a.Title == "first high":
		case a.Severity == federation.Critical:
			urgent = append(urgent, a.Origin.ReceivedAt)
		default:
			rest = append(rest, a.Origin.ReceivedAt)
		}
	}
	slices.SortFunc(rest, time.Time.Compare)
	slices.SortFunc(urgent, time.Time.Compare)
	if last, median := urgent[len(urgent)-1], rest[len(rest)/2]; !last.Before(median) {
		t.Errorf("the last critical alert came %v after the median of the others", last.Sub(median))
	}
}

// What was on the line when it failed was delivered, as the origin sees it: it waits
// for the acknowledgement, and must not do so for long once the line is whole.
func TestAfterAShortCutNothingWaitsLong(t *testing.T) {
	t.Parallel()
	m, proxy := proxied(t, demo.Options{})
	for _, s := range []federation.Severity{federation.Critical, federation.High} {
		m.raise(t, 0, alert("first "+string(s), s))
		m.arrives(t, 1, "first "+string(s))
	}
	proxy.Set(linkproxy.BlackHole) // the pull of the peer still stands, so these go out, and are lost
	for i := range 20 {
		m.raise(t, 0, alert(fmt.Sprint("on the line ", i), []federation.Severity{federation.Critical, federation.High}[i%2]))
	}
	natstest.Eventually(t, "they are on the line", func() bool { return m.shared(t, 0) == 22 })
	proxy.Set(linkproxy.Cut)
	proxy.Set(linkproxy.Pass)
	natstest.Within(t, 10*time.Second, "all are at the peer", func() bool { return m.total(t, 1, "federation:site-a") == 22 })
}
