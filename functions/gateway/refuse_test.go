package gateway_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/shared/fault"
)

func TestBadRequestsAreRefusedWithTheFieldThatIsWrong(t *testing.T) {
	s := newWholeSite(t)
	const (
		alerts  = "/api/v1/alerts"
		preview = "/api/v1/sharing/preview"
		agents  = "/api/v1/system/agents"
		events  = "/api/v1/events"
	)
	alert := func(more string) string {
		return `{"title":"t","severity":"high","source":"test"` + more + `}`
	}
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct {
		name         string
		method, path string
		body         string
		headers      []string
		code         fault.Code
		field        string // empty: the problem names none
	}{
		// The body as bytes.
		{"an empty body", "POST", alerts, "", nil, fault.Malformed, ""},
		{"a body of spaces", "POST", alerts, " \n\t ", nil, fault.Malformed, ""},
		{"a body that is no JSON", "POST", alerts, "title=x", nil, fault.Malformed, ""},
		{"JSON that breaks off", "POST", alerts, `{"title":"x"`, nil, fault.Malformed, ""},
		{"JSON that breaks off in a string", "POST", alerts, `{"title":"x`, nil, fault.Malformed, ""},
		{"JSON with a comma too many", "POST", alerts, `{"title":"x",}`, nil, fault.Malformed, ""},
		{"JSON with single quotes", "POST", alerts, `{'title':'x'}`, nil, fault.Malformed, ""},
		{"JSON with a comment", "POST", alerts, `{/*no*/"title":"x"}`, nil, fault.Malformed, ""},
		{"JSON with a byte order mark", "POST", alerts, "\uFEFF" + alert(""), nil, fault.Malformed, ""},
		{"bytes that are not UTF-8", "POST", alerts, "{\"title\":\"caf\xe9\"}", nil, fault.Malformed, ""},
		{"half of a surrogate pair", "POST", alerts, alert(`,"description":"\ud83d"`), nil, fault.Malformed, ""},
		{"the wrong half of a surrogate pair", "POST", alerts, alert(`,"description":"\ude00\ud83d"`), nil, fault.Malformed, ""},
		{"a NUL byte", "POST", alerts, "{\"title\":\"a\x00b\"}", nil, fault.Malformed, ""},
		{"a second value behind the first", "POST", alerts, alert("") + alert(""), nil, fault.Malformed, ""},
		{"a stray bracket behind the value", "POST", alerts, alert("") + "]", nil, fault.Malformed, ""},
		{"JSON one level too deep", "POST", alerts, alert(`,"raw_log":` + deep(gateway.MaxDepth)), nil, fault.Malformed, ""},
		{"JSON that is very deep", "POST", alerts, deep(300_000), nil, fault.Malformed, ""},
		{"JSON that opens and never closes", "POST", alerts, strings.Repeat(`{"iocs":`, 90_000), nil, fault.Malformed, ""},
		{"a body over the limit", "POST", alerts, alert(`,"raw_log":"` + strings.Repeat("x", gateway.MaxBody) + `"`), nil, fault.TooLarge, ""},
		{"a body of another type", "POST", alerts, alert(""), []string{"Content-Type", "text/plain"}, fault.Unsupported, "Content-Type"},
		{"a form", "POST", alerts, "title=x", []string{"Content-Type", "application/x-www-form-urlencoded"}, fault.Unsupported, "Content-Type"},
		{"another charset", "POST", alerts, alert(""), []string{"Content-Type", "application/json; charset=latin1"}, fault.Unsupported, "Content-Type"},
		{"a content type that is none", "POST", alerts, alert(""), []string{"Content-Type", ";;"}, fault.Unsupported, "Content-Type"},
		{"a compressed body", "POST", alerts, alert(""), []string{"Content-Encoding", "gzip"}, fault.Unsupported, "Content-Encoding"},

		// The body as JSON.
		{"a list instead of an object", "POST", alerts, `[]`, nil, fault.Invalid, "body"},
		{"a string instead of an object", "POST", alerts, `"alert"`, nil, fault.Invalid, "body"},
		{"null instead of an object", "POST", alerts, `null`, nil, fault.Invalid, "body"},
		{"no title", "POST", alerts, `{}`, nil, fault.Invalid, "title"},
		{"no severity", "POST", alerts, `{}`, nil, fault.Invalid, "severity"},
		{"no source", "POST", alerts, `{}`, nil, fault.Invalid, "source"},
		{"an empty title", "POST", alerts, `{"title":"","severity":"high","source":"s"}`, nil, fault.Invalid, "title"},
		{"a title of spaces", "POST", alerts, `{"title":"  ","severity":"high","source":"s"}`, nil, fault.Invalid, "title"},
		{"a title that is null", "POST", alerts, `{"title":null,"severity":"high","source":"s"}`, nil, fault.Invalid, "title"},
		{"a title that is a number", "POST", alerts, `{"title":5,"severity":"high","source":"s"}`, nil, fault.Invalid, "title"},
		{"a title that is too long", "POST", alerts, `{"title":"` + strings.Repeat("ä", 301) + `","severity":"high","source":"s"}`, nil, fault.Invalid, "title"},
		{"an escaped NUL in the title", "POST", alerts, `{"title":"a\u0000b","severity":"high","source":"s"}`, nil, fault.Invalid, "title"},
		{"a title in capitals", "POST", alerts, `{"TITLE":"t","severity":"high","source":"s"}`, nil, fault.Invalid, "TITLE"},
		{"a title given twice", "POST", alerts, alert(`,"title":"u"`), nil, fault.Invalid, "title"},
		{"an unknown severity", "POST", alerts, `{"title":"t","severity":"catastrophic","source":"s"}`, nil, fault.Invalid, "severity"},
		{"a severity in capitals", "POST", alerts, `{"title":"t","severity":"HIGH","source":"s"}`, nil, fault.Invalid, "severity"},
		{"a severity that is a list", "POST", alerts, `{"title":"t","severity":["high"],"source":"s"}`, nil, fault.Invalid, "severity"},
		{"an unknown label", "POST", alerts, alert(`,"tlp":"white"`), nil, fault.Invalid, "tlp"},
		{"a label with a space", "POST", alerts, alert(`,"tlp":"TLP: RED"`), nil, fault.Invalid, "tlp"},
		{"a label that is a number", "POST", alerts, alert(`,"tlp":1`), nil, fault.Invalid, "tlp"},
		{"a preview without a body", "POST", preview, "", nil, fault.Malformed, ""},
		{"a preview without a severity", "POST", preview, `{"title":"t","source":"s"}`, nil, fault.Invalid, "severity"},
		{"a preview with an unknown field", "POST", preview, alert(`,"peer":"site-b"`), nil, fault.Invalid, "peer"},
		{"a preview to read", "GET", preview, "", nil, fault.NotAllowed, "method"},
		{"a source that only peers have", "POST", alerts, `{"title":"t","severity":"high","source":"federation:site-b"}`, nil, fault.Invalid, "source"},
		{"an unknown field", "POST", alerts, alert(`,"titel":"x"`), nil, fault.Invalid, "titel"},
		{"a field that only the site sets", "POST", alerts, alert(`,"origin":{"site_id":"site-b"}`), nil, fault.Invalid, "origin"},
		{"IOCs that are a string", "POST", alerts, alert(`,"iocs":"203.0.113.7"`), nil, fault.Invalid, "iocs"},
		{"IOCs that are a number", "POST", alerts, alert(`,"iocs":7`), nil, fault.Invalid, "iocs"},
		{"assets that are a string", "POST", alerts, alert(`,"affected_assets":"host"`), nil, fault.Invalid, "affected_assets"},
		{"an asset that is a number", "POST", alerts, alert(`,"affected_assets":["a",2]`), nil, fault.Invalid, "affected_assets[1]"},
		{"an asset that is null", "POST", alerts, alert(`,"affected_assets":[null]`), nil, fault.Invalid, "affected_assets[0]"},
		{"too many assets", "POST", alerts, alert(`,"affected_assets":[` + strings.Repeat(`"a",`, 100) + `"a"]`), nil, fault.Invalid, "affected_assets"},
		{"a technique that is none", "POST", alerts, alert(`,"mitre_techniques":["T1071","phishing"]`), nil, fault.Invalid, "mitre_techniques[1]"},
		{"a time that is none", "POST", alerts, alert(`,"observed_at":"yesterday"`), nil, fault.Invalid, "observed_at"},
		{"a time that is a number", "POST", alerts, alert(`,"observed_at":1769860800`), nil, fault.Invalid, "observed_at"},
		{"a raw log that is too long", "POST", alerts, alert(`,"raw_log":"` + strings.Repeat("x", 131_073) + `"`), nil, fault.Invalid, "raw_log"},

		// The other bodies.
		{"a change of nothing", "PATCH", alerts + "/alert-1", `{}`, nil, fault.Invalid, "body"},
		{"an unknown status", "PATCH", alerts + "/alert-1", `{"status":"done"}`, nil, fault.Invalid, "status"},
		{"a status that is true", "PATCH", alerts + "/alert-1", `{"status":true}`, nil, fault.Invalid, "status"},
		{"a source that cannot be changed", "PATCH", alerts + "/alert-1", `{"status":"triaged","source":"edr"}`, nil, fault.Invalid, "source"},
		{"a severity of no such word", "PATCH", alerts + "/alert-1", `{"severity":"bad"}`, nil, fault.Invalid, "severity"},
		{"an IOC that cannot be read", "PATCH", alerts + "/alert-1", `{"iocs":["?"]}`, nil, fault.Invalid, "iocs"},
		{"agents without a total", "PUT", agents, `{"online":1}`, nil, fault.Invalid, "total"},
		{"agents without those online", "PUT", agents, `{"total":1}`, nil, fault.Invalid, "online"},
		{"more agents online than there are", "PUT", agents, `{"total":1,"online":2}`, nil, fault.Invalid, "online"},
		{"a negative number of agents", "PUT", agents, `{"total":-1,"online":0}`, nil, fault.Invalid, "total"},
		{"half an agent", "PUT", agents, `{"total":1.5,"online":0}`, nil, fault.Invalid, "total"},
		{"agents in quotes", "PUT", agents, `{"total":"1","online":0}`, nil, fault.Invalid, "total"},
		{"more agents than an integer holds", "PUT", agents, `{"total":99999999999999999999,"online":0}`, nil, fault.Invalid, "total"},

		// The parameters.
		{"a skip that is a word", "GET", alerts + "?skip=ten", "", nil, fault.Invalid, "skip"},
		{"a negative skip", "GET", alerts + "?skip=-1", "", nil, fault.Invalid, "skip"},
		{"a skip past the bound", "GET", alerts + "?skip=10000001", "", nil, fault.Invalid, "skip"},
		{"a skip past every integer", "GET", alerts + "?skip=99999999999999999999", "", nil, fault.Invalid, "skip"},
		{"a limit of none", "GET", alerts + "?limit=0", "", nil, fault.Invalid, "limit"},
		{"a limit past the bound", "GET", alerts + "?limit=201", "", nil, fault.Invalid, "limit"},
		{"an empty limit", "GET", alerts + "?limit=", "", nil, fault.Invalid, "limit"},
		{"a limit with a fraction", "GET", alerts + "?limit=1.5", "", nil, fault.Invalid, "limit"},
		{"a limit of the sites past the bound", "GET", "/api/v1/sites?limit=201", "", nil, fault.Invalid, "limit"},
		{"an unknown severity to list", "GET", alerts + "?severity=worst", "", nil, fault.Invalid, "severity"},
		{"an unknown label to list", "GET", alerts + "?tlp=white", "", nil, fault.Invalid, "tlp"},
		{"an empty severity to list", "GET", alerts + "?severity=", "", nil, fault.Invalid, "severity"},
		{"an unknown status to list", "GET", alerts + "?status=open", "", nil, fault.Invalid, "status"},
		{"a source that is too long", "GET", alerts + "?source=" + strings.Repeat("s", 129), "", nil, fault.Invalid, "source"},
		{"a source with a NUL", "GET", alerts + "?source=a%00b", "", nil, fault.Invalid, "source"},
		{"a source that is not UTF-8", "GET", alerts + "?source=%ff", "", nil, fault.Invalid, "source"},
		{"an unknown parameter", "GET", alerts + "?sort=title", "", nil, fault.Invalid, "sort"},
		{"an unknown parameter where there are none", "GET", "/api/v1/system/topology?depth=2", "", nil, fault.Invalid, "depth"},
		{"an unknown parameter of a post", "POST", alerts + "?dry_run=1", alert(""), nil, fault.Invalid, "dry_run"},
		{"a parameter given twice", "GET", alerts + "?limit=1&limit=2", "", nil, fault.Invalid, "limit"},
		{"a query that cannot be read", "GET", alerts + "?source=%zz", "", nil, fault.Invalid, "query"},
		{"a last event id that is a word", "GET", events, "", []string{"Last-Event-ID", "latest"}, fault.Invalid, "Last-Event-ID"},
		{"a negative last event id", "GET", events + "?last_event_id=-1", "", nil, fault.Invalid, "last_event_id"},

		// Paths and methods.
		{"a path that is not there", "GET", "/api/v2/alerts", "", nil, fault.NotFound, ""},
		{"a path above the alerts", "GET", "/api/v1/", "", nil, fault.NotFound, ""},
		{"an alert that is not there", "GET", alerts + "/alert-9", "", nil, fault.NotFound, ""},
		{"an alert id with a NUL", "GET", alerts + "/a%00b", "", nil, fault.NotFound, ""},
		{"an alert id that is not UTF-8", "GET", alerts + "/%ff", "", nil, fault.NotFound, ""},
		{"an alert id that is too long", "GET", alerts + "/" + strings.Repeat("a", 65), "", nil, fault.NotFound, ""},
		{"an alert id that is a path", "GET", alerts + "/..%2f..%2fetc%2fpasswd", "", nil, fault.NotFound, ""},
		{"an asset that is not there", "GET", "/assets/../gateway.go", "", nil, fault.NotFound, ""},
		{"a method that a path does not have", "DELETE", alerts, "", nil, fault.NotAllowed, "method"},
		{"a method that nobody has", "BREW", alerts, "", nil, fault.NotAllowed, "method"},
		{"a write to what is read", "POST", "/health", "", nil, fault.NotAllowed, "method"},

		// Where it comes from.
		{"a write from a page of another origin", "POST", alerts, alert(""), []string{"Origin", "https://evil.example"}, fault.Forbidden, "Origin"},
		{"a write that the browser calls cross-site", "POST", alerts, alert(""), []string{"Sec-Fetch-Site", "cross-site"}, fault.Forbidden, "Origin"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := s.do(t, tt.method, tt.path, tt.body, tt.headers...)
			if r.status != tt.code.HTTPStatus() {
				t.Fatalf("status %d, want %d: %s", r.status, tt.code.HTTPStatus(), r.body)
			}
			if got := r.header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("content type %q", got)
			}
			p := decode[gateway.Problem](t, r)
			path, _, _ := strings.Cut(tt.path, "?")
			switch {
			case p.Code != tt.code:
				t.Errorf("code %q, want %q", p.Code, tt.code)
			case p.Status != r.status, p.Title != tt.code.Title(), p.Type != "/docs#problem-"+string(tt.code):
				t.Errorf("the problem does not fit its code: %s", r.body)
			case p.Detail == "":
				t.Errorf("the problem has no detail: %s", r.body)
			case p.RequestID != r.header.Get("X-Request-Id"):
				t.Errorf("request id %q in the body, %q in the header", p.RequestID, r.header.Get("X-Request-Id"))
			case p.Instance != path && !strings.Contains(tt.path, ".."):
				t.Errorf("instance %q, want %q", p.Instance, path)
			case len(r.body) > 16<<10:
				t.Errorf("the problem has %d bytes", len(r.body))
			}
			if tt.field == "" {
				if len(p.Errors) != 0 {
					t.Errorf("the problem names fields: %s", r.body)
				}
				return
			}
			i := slices.IndexFunc(p.Errors, func(f fault.Field) bool { return f.Name == tt.field })
			if i < 0 {
				t.Fatalf("the field %q is not named: %s", tt.field, r.body)
			}
			if p.Errors[i].Allowed == "" {
				t.Errorf("the problem does not say what is allowed: %s", r.body)
			}
		})
	}
	if s.raised != 0 {
		t.Errorf("%d bad alerts reached the function", s.raised)
	}
	if r := s.do(t, "GET", alerts, ""); r.status != http.StatusOK {
		t.Errorf("after all that a good request is answered with %d: %s", r.status, r.body)
	}
}

func TestAProblemNamesEveryFieldThatIsWrongAtOnce(t *testing.T) {
	s := newWholeSite(t)
	p := decode[gateway.Problem](t, s.do(t, "POST", "/api/v1/alerts", `{"severity":"bad","mitre_techniques":["x"]}`))
	got := []string{}
	for _, f := range p.Errors {
		got = append(got, f.Name)
	}
	want := []string{"title", "source", "severity", "mitre_techniques[0]"}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("fields %v, want %v", got, want)
	}
}

func TestAHostileBodyGetsAShortProblem(t *testing.T) {
	s := newWholeSite(t)
	for name, body := range map[string]string{
		"fields without end":          "{" + strings.Repeat(`"x":1,`, 100_000) + `"y":1}`,
		"wrong assets without end":    `{"affected_assets":[` + strings.Repeat("1,", 300_000) + `1]}`,
		"one very long unknown field": `{"` + strings.Repeat("x", 700_000) + `":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := s.do(t, "POST", "/api/v1/alerts", body)
			if r.status != http.StatusUnprocessableEntity || len(r.body) > 16<<10 {
				t.Errorf("status %d with %d bytes", r.status, len(r.body))
			}
		})
	}
}

func TestALoopbackSiteTakesNoRequestForAnotherHost(t *testing.T) {
	s := newSite(t, "127.0.0.1:8000")
	for host, want := range map[string]int{
		"localhost:8000": 200, "LOCALHOST": 200, "127.0.0.1:9": 200, "[::1]:8000": 200, "127.1.2.3": 200,
		"evil.example": 403, "localhost.evil.example:8000": 403, "10.0.0.1": 403,
	} {
		r := s.do(t, "GET", "/health/live", "", "Host", host)
		if r.status != want {
			t.Errorf("host %s: status %d, want %d: %s", host, r.status, want, r.body)
		}
	}
	open := newSite(t, ":8000")
	if r := open.do(t, "GET", "/health/live", "", "Host", "soc.example"); r.status != 200 {
		t.Errorf("a site that listens everywhere answers its name with %d", r.status)
	}
}

// A parameter that no database can hold is refused in the words of a field of a body.
func TestAParameterIsToldWhatIsWrongWithItsText(t *testing.T) {
	s := newWholeSite(t)
	for query, want := range map[string]string{
		"source=%00":    "text without the character U+0000",
		"source=%ff":    "text in UTF-8",
		"source=":       "text of 1 to 128 characters",
		"severity=%00":  "one of critical, high, medium, low, info",
		"limit=1%00":    "a whole number from 1 to 200",
		"status=new%ff": "one of new, triaged, investigating, escalated, resolved, false_positive",
	} {
		r := s.do(t, "GET", "/api/v1/alerts?"+query, "")
		if p := decode[gateway.Problem](t, r); r.status != 422 || len(p.Errors) != 1 || p.Errors[0].Allowed != want {
			t.Errorf("%s: %d %+v, want %q", query, r.status, p.Errors, want)
		}
	}
}
