package gateway_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

type raised struct {
	federation.Alert
	Warnings []fault.Field `json:"warnings"`
}

func TestANewAlertIsCreatedAndItsDuplicateIsNot(t *testing.T) {
	s := newWholeSite(t)
	const body = `{"title":"C2","severity":"critical","source":"suricata","iocs":["hxxp://evil[.]example/x","203.0.113.7","???"],"raw_log":{"a": 1}}`
	first := s.do(t, "POST", "/api/v1/alerts", body, "Content-Type", "application/json; charset=UTF-8")
	if first.status != http.StatusCreated {
		t.Fatalf("status %d: %s", first.status, first.body)
	}
	if got := first.header.Get("Location"); got != "/api/v1/alerts/alert-1" {
		t.Errorf("location %q", got)
	}
	a := decode[raised](t, first)
	if diff := cmp.Diff([]federation.IOC{{Type: federation.IP, Value: "203.0.113.7"}, {Type: federation.URL, Value: "http://evil.example/x"}}, a.IOCs); diff != "" {
		t.Errorf("IOCs (-want +got):\n%s", diff)
	}
	if a.RawLog != `{"a":1}` {
		t.Errorf("raw log %q", a.RawLog)
	}
	if diff := cmp.Diff([]fault.Field{{Name: "iocs", Value: "???", Allowed: federation.IOCAllowed("???")}}, a.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	second := s.do(t, "POST", "/api/v1/alerts", body)
	if second.status != http.StatusOK || decode[raised](t, second).ID != "alert-1" {
		t.Errorf("the duplicate is answered with %d: %s", second.status, second.body)
	}
}

func TestAWarningSaysWhatAnIOCMustBe(t *testing.T) {
	s := newWholeSite(t)
	r := s.do(t, "POST", "/api/v1/alerts", `{"title":"t","severity":"low","source":"s","iocs":[{"type":"ip","value":"nope"},{"type":"colour","value":"red"},null]}`)
	want := []fault.Field{
		{Name: "iocs", Value: "ip: nope", Allowed: "an IPv4 or IPv6 address, e.g. 203.0.113.7"},
		{Name: "iocs", Value: "colour: red", Allowed: federation.IOCAllowed("colour: red")},
		{Name: "iocs", Value: "null", Allowed: federation.IOCAllowed("null")},
	}
	if diff := cmp.Diff(want, decode[raised](t, r).Warnings); r.status != http.StatusCreated || diff != "" {
		t.Errorf("%d, warnings (-want +got):\n%s", r.status, diff)
	}
}

func TestWhatMayBeLeftOutMayAlsoBeNull(t *testing.T) {
	s := newWholeSite(t)
	r := s.do(t, "POST", "/api/v1/alerts", `{"title":"\ud83d\ude00 \\ud83d","severity":"low","source":"s","description":null,"iocs":null,"affected_assets":null,"observed_at":null,"raw_log":null}`)
	if r.status != http.StatusCreated {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	if a := decode[raised](t, r); a.Title != "😀 \\ud83d" {
		t.Errorf("title %q", a.Title)
	}
	if strings.Contains(string(r.body), "warnings") {
		t.Errorf("there are warnings: %s", r.body)
	}
}

func TestReadsAndChangesReachTheFunctions(t *testing.T) {
	s := newWholeSite(t)
	list := decode[ask.List[federation.Alert]](t, s.do(t, "GET", "/api/v1/alerts?severity=high&status=new&tlp=TLP:Red&source=federation:site-b&skip=3&limit=7", ""))
	if list.Skip != 3 || list.Limit != 7 || list.Items == nil {
		t.Errorf("list %+v", list)
	}
	if list := decode[ask.List[federation.Alert]](t, s.do(t, "GET", "/api/v1/alerts?severity=high&after=30_x", "")); list.LookedTo != "30_x" {
		t.Errorf("alerts are listed after %q", list.LookedTo)
	}
	if r := s.do(t, "GET", "/api/v1/alerts?after=here", ""); r.status != 422 || !strings.Contains(string(r.body), `"after"`) {
		t.Errorf("a place that is none: %d %s", r.status, r.body)
	}
	if sites := decode[ask.List[federation.Site]](t, s.do(t, "GET", "/api/v1/sites", "")); sites.Total != 1 || sites.Limit != ask.DefaultLimit {
		t.Errorf("sites %+v", sites)
	}
	if topology := decode[federation.Topology](t, s.do(t, "GET", "/api/v1/system/topology", "")); topology.Links[0].ID != "link-site-a-site-b" {
		t.Errorf("topology %+v", topology)
	}
	if d := decode[federation.Deliveries](t, s.do(t, "GET", "/api/v1/federation/deliveries", "")); len(d.Deliveries) != 1 || d.Deliveries[0].Pending != nil {
		t.Errorf("deliveries %+v", d)
	}
	if d := decode[federation.AlertDeliveries](t, s.do(t, "GET", "/api/v1/alerts/alert-1/deliveries", "")); d.AlertID != "alert-1" || d.Deliveries == nil {
		t.Errorf("deliveries of an alert %+v", d)
	}
	if r := s.do(t, "GET", "/api/v1/alerts/alert-2/deliveries", ""); r.status != http.StatusNotFound {
		t.Errorf("the deliveries of an unknown alert are answered with %d: %s", r.status, r.body)
	}
	if a := decode[federation.Alert](t, s.do(t, "GET", "/api/v1/alerts/alert-1", "")); a.ID != "alert-1" {
		t.Errorf("alert %+v", a)
	}
	if a := decode[federation.Alert](t, s.do(t, "PATCH", "/api/v1/alerts/alert-1", `{"status":"resolved"}`)); a.Status != federation.Resolved {
		t.Errorf("patched alert %+v", a)
	}
	if site := decode[federation.Site](t, s.do(t, "PUT", "/api/v1/system/agents", `{"total":10,"online":9}`)); site.AgentsTotal != 10 || site.AgentsOnline != 9 {
		t.Errorf("site %+v", site)
	}
}

func TestAFunctionThatIsNotThereIsAProblemThatSaysSo(t *testing.T) {
	s := newSite(t, ":8000")
	r := s.do(t, "GET", "/api/v1/alerts", "")
	if p := decode[gateway.Problem](t, r); r.status != http.StatusServiceUnavailable || p.Code != fault.Unavailable || !strings.Contains(p.Detail, "alertquery") {
		t.Errorf("status %d: %s", r.status, r.body)
	}
	if r.header.Get("Retry-After") == "" {
		t.Error("the answer has no Retry-After")
	}
}

func TestAnInternalErrorStaysInTheLogUnderTheRequestID(t *testing.T) {
	s := newSite(t, ":8000")
	nonsense := function.Endpoint[ask.AlertID, string]{Function: ask.GetAlert.Function, Name: ask.GetAlert.Name}
	answers(t, s, nonsense, func(ask.AlertID) (string, error) { return "no alert", nil })
	r := s.do(t, "GET", "/api/v1/alerts/x", "", "X-Request-Id", "trace-1")
	p := decode[gateway.Problem](t, r)
	if r.status != http.StatusInternalServerError || p.Code != fault.Internal || p.RequestID != "trace-1" {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	if strings.Contains(string(r.body), "unmarshal") {
		t.Errorf("the answer gives the detail away: %s", r.body)
	}
	natstest.Eventually(t, "the log has the detail", func() bool {
		log := s.log.String()
		return strings.Contains(log, "level=ERROR") && strings.Contains(log, "cannot unmarshal") && strings.Contains(log, "request_id=trace-1")
	})
}

func TestARequestIDTravelsToTheFunctionAndBack(t *testing.T) {
	s := newWholeSite(t)
	for name, tt := range map[string]struct {
		sent string
		kept bool
	}{
		"a good id is kept":                 {"Trace_1.a-b", true},
		"an id of 64 characters is kept":    {strings.Repeat("a", 64), true},
		"an id of 65 characters is not":     {strings.Repeat("a", 65), false},
		"an id with a space is not":         {"a b", false},
		"an id that forges a log is not":    {`a"level=ERROR`, false},
		"a request without id is given one": {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.do(t, "GET", "/api/v1/sites", "", "X-Request-Id", tt.sent).header.Get("X-Request-Id")
			if tt.kept != (got == tt.sent) {
				t.Errorf("sent %q, got %q", tt.sent, got)
			}
			if id, err := uuid.Parse(got); !tt.kept && (err != nil || id.Version() != 7) {
				t.Errorf("%q is no UUIDv7", got)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.requestID != got {
				t.Errorf("the function got %q, the client %q", s.requestID, got)
			}
		})
	}
}

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	s := newWholeSite(t)
	for _, path := range []string{"/", "/docs", "/assets/style.css", "/openapi.json", "/openapi.yaml", "/health", "/health/live", "/metrics", "/api/v1/sites", "/nowhere"} {
		h := s.do(t, "GET", path, "").header
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", path, name, h.Get(name), want)
			}
		}
		if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'self'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: content security policy %q", path, csp)
		}
	}
}

func TestAMethodThatIsNotThereIsToldWhichAre(t *testing.T) {
	s := newWholeSite(t)
	r := s.do(t, "DELETE", "/api/v1/alerts/alert-1", "")
	if got := r.header.Get("Allow"); got != "GET, HEAD, PATCH" {
		t.Errorf("Allow %q", got)
	}
	if r := s.do(t, "HEAD", "/api/v1/alerts", ""); r.status != 200 || len(r.body) != 0 {
		t.Errorf("HEAD is answered with %d and %d bytes", r.status, len(r.body))
	}
}

func TestMetricsCountRequestsByRoute(t *testing.T) {
	s := newWholeSite(t)
	s.do(t, "GET", "/api/v1/alerts/alert-1", "")
	s.do(t, "GET", "/api/v1/alerts/alert-9", "")
	s.do(t, "GET", "/wp-admin", "")
	s.do(t, "BREW", "/coffee", "")
	body := string(s.do(t, "GET", "/metrics", "").body)
	for _, want := range []string{
		`aurora_http_requests_total{code="200",method="GET",route="GET /api/v1/alerts/{id}",site="site-a"} 1`,
		`aurora_http_requests_total{code="404",method="GET",route="GET /api/v1/alerts/{id}",site="site-a"} 1`,
		`aurora_http_requests_total{code="404",method="GET",route="unmatched",site="site-a"} 1`,
		`aurora_http_requests_total{code="404",method="other",route="unmatched",site="site-a"} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if !regexp.MustCompile(`aurora_http_request_duration_seconds_count\{method="GET",route="GET /api/v1/alerts/\{id\}",site="site-a"\} 2`).MatchString(body) {
		t.Error("the durations are not counted")
	}
}

func TestTheLogNeverHoldsABody(t *testing.T) {
	s := newWholeSite(t)
	s.do(t, "POST", "/api/v1/alerts", `{"title":"secret-in-a-body","severity":"low","source":"s"}`)
	s.do(t, "POST", "/api/v1/alerts", `{"title":"secret-in-a-body"}`)
	natstest.Eventually(t, "both requests are logged", func() bool { return strings.Count(s.log.String(), "msg=request") == 2 })
	if strings.Contains(s.log.String(), "secret-in-a-body") {
		t.Errorf("the log has the body: %s", s.log)
	}
}

func TestAlertsThatComeAtOnceGoTogetherAndEachHasItsOwnAnswer(t *testing.T) {
	s := newWholeSite(t)
	const n = 60
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			title, want := fmt.Sprintf("alert %d", i), 201
			switch i % 10 {
			case 3:
				title, want = titleRefused, 409
			case 7:
				title, want = "a double", 200
			}
			r := s.do(t, "POST", "/api/v1/alerts", fmt.Sprintf(`{"title":%q,"severity":"high","source":"test"}`, title))
			if r.status != want && (want != 200 || r.status != 201) { // one of the doubles is the first
				t.Errorf("%s: %d %s", title, r.status, r.body)
			}
			if want != 409 && decode[federation.Alert](t, r).Title != title {
				t.Errorf("the answer to %q is %s", title, r.body)
			}
		})
	}
	wg.Wait()
	if len(s.together) == n {
		t.Errorf("%d alerts came in %d messages", n, len(s.together))
	}
	records := map[string]int{}
	for _, e := range s.audited() {
		records[strings.Fields(e)[3]]++
	}
	if diff := cmp.Diff(map[string]int{"201": 49, "200": 5, "409": 6}, records); diff != "" {
		t.Errorf("records by result (-want +got):\n%s", diff)
	}
}

func TestAnAlertThatIsTooLargeForTheCommonAnswerIsAskedForByItself(t *testing.T) {
	s := newWholeSite(t)
	r := s.do(t, "POST", "/api/v1/alerts", `{"title":"elsewhere","severity":"low","source":"test"}`)
	if a := decode[federation.Alert](t, r); r.status != 201 || a.ID != "alert-1" || a.Severity != federation.High {
		t.Errorf("%d %s", r.status, r.body)
	}
}
