package e2e_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
)

// span is one as a collector gets it.
type span struct{ site, name, trace, id, parent string }

// collect is a collector of traces, and what it has got.
func collect(t *testing.T) (url string, spans func() []span) {
	t.Helper()
	var mu sync.Mutex
	var got []span
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &req) != nil {
			t.Errorf("%s is no export of traces: %v", r.URL, err)
			return
		}
		if strings.Contains(string(body), "a secret title") {
			t.Error("a span tells of an alert")
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rs := range req.ResourceSpans {
			site := ""
			for _, a := range rs.Resource.Attributes {
				if a.Key == "aurora.site.id" {
					site = a.Value.GetStringValue()
				}
			}
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					got = append(got, span{site, s.Name, string(s.TraceId), string(s.SpanId), string(s.ParentSpanId)})
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() []span {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

func TestOneTraceGoesFromThePostAtOneSiteToTheRowAtTheOther(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100") // the SDK reads it
	url, spans := collect(t)
	m := start(t, demo.Options{Configure: func(i int, s *settings.Settings) {
		quick(i, s)
		s.TracesEndpoint = url
	}})
	m.raise(t, 1, alert("a secret title", federation.Critical))
	m.arrives(t, 0, "a secret title")

	// Each is a child of the one before it, whichever site it is of.
	way := []span{
		{site: "site-b", name: "gateway POST"}, {site: "site-b", name: "alertintake.raiseall"},
		{site: "site-b", name: "publish"}, {site: "site-a", name: "alertsink.alerts"},
	}
	natstest.Within(t, 30*time.Second, "the collector has the whole trace", func() bool {
		all := spans()
		for _, first := range all {
			if first.site == way[0].site && first.name == way[0].name && first.parent == "" && follows(all, first, way[1:]) {
				return true
			}
		}
		return false
	})
}

// follows reports whether a span has a child that is the first of way, and so on.
func follows(all []span, from span, way []span) bool {
	if len(way) == 0 {
		return true
	}
	return slices.ContainsFunc(all, func(s span) bool {
		return s.trace == from.trace && s.parent == from.id && s.site == way[0].site && s.name == way[0].name && follows(all, s, way[1:])
	})
}
