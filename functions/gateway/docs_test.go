package gateway_test

import (
	"encoding/json"
	"html"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

type object = map[string]any

// document is the OpenAPI document of s.
func document(t *testing.T, s *site) object {
	t.Helper()
	return decode[object](t, s.do(t, "GET", "/openapi.json", ""))
}

// at follows keys into v.
func at(t *testing.T, v any, keys ...string) any {
	t.Helper()
	for i, k := range keys {
		o, ok := v.(object)
		if !ok || o[k] == nil {
			t.Fatalf("there is nothing at %s", strings.Join(keys[:i+1], " > "))
		}
		v = o[k]
	}
	return v
}

// walk calls visit with every object under v.
func walk(v any, path string, visit func(path string, o object)) {
	switch v := v.(type) {
	case object:
		visit(path, v)
		for k, e := range v {
			walk(e, path+"/"+k, visit)
		}
	case []any:
		for _, e := range v {
			walk(e, path+"[]", visit)
		}
	}
}

func TestTheDocumentHasEveryRoute(t *testing.T) {
	doc := document(t, newWholeSite(t))
	got := []string{}
	for path, item := range at(t, doc, "paths").(object) {
		for method := range item.(object) {
			got = append(got, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(got)
	want := []string{
		"DELETE /api/v1/access/keys/{id}", "DELETE /api/v1/deadletters/{id}", "DELETE /api/v1/federation/trust/{site}", "DELETE /api/v1/sharing/gates/{peer}/{direction}",
		"GET /api/v1/access/audit", "GET /api/v1/access/audit/verification", "GET /api/v1/access/keys", "GET /api/v1/access/me", "GET /api/v1/alerts", "GET /api/v1/alerts/{id}", "GET /api/v1/alerts/{id}/deliveries", "GET /api/v1/deadletters", "GET /api/v1/deadletters/{id}", "GET /api/v1/events", "GET /api/v1/federation/deliveries", "GET /api/v1/federation/drills", "GET /api/v1/federation/trust",
		"GET /api/v1/links/{id}/history", "GET /api/v1/sharing/gates", "GET /api/v1/sites", "GET /api/v1/system/topology",
		"GET /health", "GET /health/live", "GET /metrics", "PATCH /api/v1/alerts/{id}", "POST /api/v1/access/keys", "POST /api/v1/alerts",
		"POST /api/v1/deadletters/{id}/retry", "POST /api/v1/federation/drills", "POST /api/v1/sharing/preview", "PUT /api/v1/federation/trust/{site}", "PUT /api/v1/sharing/gates/{peer}/{direction}", "PUT /api/v1/system/agents",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestTheDocumentIsSoundOpenAPI(t *testing.T) {
	doc := document(t, newWholeSite(t))
	if doc["openapi"] != "3.1.0" || at(t, doc, "info", "title") == "" || at(t, doc, "info", "version") != "1.2.3" {
		t.Errorf("openapi %v, info %v", doc["openapi"], doc["info"])
	}
	schemas := at(t, doc, "components", "schemas").(object)
	used := map[string]bool{}
	types := []string{"string", "integer", "number", "boolean", "array", "object", "null"}
	walk(doc, "", func(path string, o object) {
		if strings.Contains(path, "/examples") || strings.HasSuffix(path, "/properties") {
			return
		}
		if ref, ok := o["$ref"].(string); ok {
			name, local := strings.CutPrefix(ref, "#/components/schemas/")
			used[name] = true
			if !local || schemas[name] == nil {
				t.Errorf("%s refers to %q, which is not there", path, ref)
			}
		}
		if !strings.Contains(strings.ToLower(path), "schema") {
			return
		}
		switch typ := o["type"].(type) {
		case string:
			if !slices.Contains(types, typ) {
				t.Errorf("%s has the type %q", path, typ)
			}
			if typ == "array" && o["items"] == nil {
				t.Errorf("%s is an array of nobody knows what", path)
			}
		case []any:
			for _, one := range typ {
				if name, ok := one.(string); !ok || !slices.Contains(types, name) {
					t.Errorf("%s has the type %v", path, typ)
				}
			}
		}
	})
	for name, schema := range schemas {
		if !used[name] {
			t.Errorf("the schema %s is not used", name)
		}
		for field, p := range at(t, schema, "properties").(object) {
			if d, _ := p.(object)["description"].(string); d == "" {
				t.Errorf("%s.%s is not described", name, field)
			}
		}
	}
	ids := map[any]string{}
	for path, item := range at(t, doc, "paths").(object) {
		for method, op := range item.(object) {
			where := method + " " + path
			o := op.(object)
			for _, key := range []string{"operationId", "summary", "description"} {
				if o[key] == nil {
					t.Errorf("%s has no %s", where, key)
				}
			}
			if other, ok := ids[o["operationId"]]; ok {
				t.Errorf("%s and %s have one operationId", where, other)
			}
			ids[o["operationId"]] = where
			success := false
			for status, r := range at(t, o, "responses").(object) {
				success = success || strings.HasPrefix(status, "2")
				if r.(object)["description"] == nil {
					t.Errorf("%s: the answer %s is not described", where, status)
				}
			}
			if !success {
				t.Errorf("%s never succeeds", where)
			}
			declared := []string{}
			params, _ := o["parameters"].([]any)
			for _, p := range params {
				param := p.(object)
				if param["in"] == "path" {
					declared = append(declared, "{"+param["name"].(string)+"}")
				}
				if param["schema"] == nil || param["description"] == nil {
					t.Errorf("%s: the parameter %v is not described", where, param["name"])
				}
			}
			if got := regexp.MustCompile(`\{[^}]+\}`).FindAllString(path, -1); !slices.Equal(got, declared) && len(got)+len(declared) > 0 {
				t.Errorf("%s declares the path parameters %v", where, declared)
			}
		}
	}
}

func TestTheDocumentDescribesANewAlertFully(t *testing.T) {
	doc := document(t, newWholeSite(t))
	fields := at(t, doc, "components", "schemas", "NewAlert", "properties").(object)
	want := []string{"affected_assets", "asset_type", "description", "iocs", "mitre_techniques", "observed_at", "raw_log", "severity", "source", "title", "tlp"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(fields))); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if got := at(t, fields, "title", "maxLength"); got != float64(federation.MaxTitle) {
		t.Errorf("a title has at most %v characters", got)
	}
	if got := at(t, fields, "severity", "enum").([]any); len(got) != len(federation.Severities()) {
		t.Errorf("the severities are %v", got)
	}
	if diff := cmp.Diff([]any{"clear", "green", "amber", "amber+strict", "red"}, at(t, fields, "tlp", "enum")); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	shapes := []any{}
	for _, s := range at(t, fields, "iocs", "oneOf").([]any) {
		shapes = append(shapes, s.(object)["type"])
	}
	if diff := cmp.Diff([]any{"array", "array", "object"}, shapes); diff != "" {
		t.Errorf("shapes of IOCs (-want +got):\n%s", diff)
	}
}

func TestEveryExampleOfTheDocumentIsTaken(t *testing.T) {
	s := newWholeSite(t)
	examples := 0
	for path, item := range at(t, document(t, s), "paths").(object) {
		for method, op := range item.(object) {
			if op.(object)["requestBody"] == nil {
				continue
			}
			for name, e := range at(t, op, "requestBody", "content", "application/json", "examples").(object) {
				body, err := json.Marshal(at(t, e, "value"))
				if err != nil {
					t.Fatal(err)
				}
				examples++
				r := s.do(t, strings.ToUpper(method), strings.NewReplacer("{id}", "alert-1", "{site}", "site-b", "{peer}", "site-b", "{direction}", "outbound").Replace(path), string(body))
				if r.status >= 300 || strings.Contains(string(r.body), "warnings") {
					t.Errorf("%s %s, example %s: %d %s", method, path, name, r.status, r.body)
				}
			}
		}
	}
	if examples < 5 {
		t.Errorf("there are %d examples", examples)
	}
}

func TestThePagesStandAlone(t *testing.T) {
	s := newWholeSite(t)
	for _, path := range []string{"/", "/matrix", "/alerts", "/alerts/alert-1", "/deliveries", "/docs"} {
		r := s.do(t, "GET", path, "")
		page := string(r.body)
		if r.status != http.StatusOK || r.header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Fatalf("%s: status %d, %s", path, r.status, r.header.Get("Content-Type"))
		}
		for _, m := range regexp.MustCompile(`(?:href|src|data|content|srcset)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			switch link := html.UnescapeString(m[1]); {
			case strings.Contains(link, "//"):
				t.Errorf("%s leads away to %s", path, link)
			case strings.HasPrefix(link, "#"):
				if !strings.Contains(page, `id="`+link[1:]+`"`) {
					t.Errorf("%s has no anchor %s", path, link)
				}
			case strings.HasPrefix(link, "/"):
				if got := s.do(t, "GET", link, ""); got.status >= 400 && link != "/health" && link != "/sites/site-b" { // which the stand-ins do not know
					t.Errorf("%s links to %s, which answers %d", path, link, got.status)
				}
			}
		}
		page = strings.Replace(page, `<script type="module" src="/assets/console.js"></script>`, "", 1) // the one script, and it is the site's own
		for _, forbidden := range []string{"<script", "style=", "<style", "<no value>", "ZgotmplZ", "onclick"} {
			if strings.Contains(page, forbidden) {
				t.Errorf("%s has %s", path, forbidden)
			}
		}
	}
	if css := string(s.do(t, "GET", "/assets/style.css", "").body); strings.Contains(css, "url(") || strings.Contains(css, "@import") {
		t.Error("the stylesheet loads something")
	}
}

func TestTheDocsPageHasEveryOperationFieldAndProblem(t *testing.T) {
	s := newWholeSite(t)
	page := html.UnescapeString(string(s.do(t, "GET", "/docs", "").body))
	doc := document(t, s)
	for path, item := range at(t, doc, "paths").(object) {
		for method, op := range item.(object) {
			start := strings.Index(page, `<h3 id="`+at(t, op, "operationId").(string)+`">`)
			if start < 0 {
				t.Errorf("the page lacks %s %s", method, path)
				continue
			}
			article, _, _ := strings.Cut(page[start:], "</article>")
			want := []string{strings.ToUpper(method), "<code>" + path + "</code>", at(t, op, "description").(string), "curl -s"}
			for status := range at(t, op, "responses").(object) {
				want = append(want, `<th scope="row">`+status+"</th>")
			}
			params, _ := op.(object)["parameters"].([]any)
			for _, p := range params {
				want = append(want, "<code>"+at(t, p, "name").(string)+"</code>")
			}
			for _, w := range want {
				if !strings.Contains(article, w) {
					t.Errorf("%s %s: the page lacks %q", method, path, w)
				}
			}
		}
	}
	for name, schema := range at(t, doc, "components", "schemas").(object) {
		for field := range at(t, schema, "properties").(object) {
			if !strings.Contains(page, "<code>"+field+"</code>") {
				t.Errorf("the page lacks %s.%s", name, field)
			}
		}
	}
	for _, c := range fault.Codes() {
		if !strings.Contains(page, `id="problem-`+string(c)+`"`) {
			t.Errorf("the page lacks the problem %s, to which problems link", c)
		}
	}
}

func TestEveryExampleNamesTheIDThatItTakes(t *testing.T) {
	page := html.UnescapeString(string(newWholeSite(t).do(t, "GET", "/docs", "").body))
	for _, want := range []string{
		"/api/v1/alerts/ALERT-ID'", "/api/v1/alerts/ALERT-ID/deliveries'", "/api/v1/links/LINK-ID/history'",
		"/api/v1/deadletters/DEAD-LETTER-ID'", "/api/v1/deadletters/DEAD-LETTER-ID/retry'",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

func TestTheFirstPagesSayWhatThisIsAndWhatToDo(t *testing.T) {
	s := newWholeSite(t)
	for path, wants := range map[string][]string{
		"/":       {"<strong>Site A</strong>", "site-a", `href="/docs"`, `href="/alerts"`, "auroramesh demo"},
		"/alerts": {"The queue is empty", "auroramesh simulate --api-base http://localhost:8000 --scenario c2-beacon"},
	} {
		page := string(s.do(t, "GET", path, "").body)
		for _, want := range wants {
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %q", path, want)
			}
		}
	}
}

func TestAPartOfThePageIsThePageWithoutItsFrame(t *testing.T) {
	s := newWholeSite(t)
	for _, path := range []string{"/?part=live", "/matrix?part=live", "/alerts?part=live&severity=high"} {
		r := s.do(t, "GET", path, "")
		if r.status != http.StatusOK || strings.Contains(string(r.body), "<html") || strings.Contains(string(r.body), "part=live") {
			t.Errorf("%s is answered with %d: %s", path, r.status, r.body)
		}
	}
}

// A page with nothing on it goes on from where it has stopped, and shows what comes meanwhile.
func TestASearchGoesOnWhileItHasFoundNothing(t *testing.T) {
	s := newSite(t, ":8000")
	place := func(minute int) ask.Place {
		return ask.Place{At: noon.Add(time.Duration(minute) * time.Minute), ID: "p"}
	}
	alert := func(id string, minute int) federation.Alert {
		return federation.Alert{ID: id, Title: "The " + id, Severity: federation.High, Status: federation.New, CreatedAt: place(minute).At}
	}
	var fresh, looks atomic.Int64
	answers(t, s, ask.PageAlerts, func(q ask.AlertQuery) (ask.AlertPage, error) {
		looks.Add(1)
		s.passed.Add(int64(200 * time.Millisecond))
		switch {
		case !q.After.IsZero() && !q.After.At.After(place(-13).At):
			return ask.AlertPage{Items: []federation.Alert{alert("old", -14)}}, q.Validate()
		case !q.After.IsZero():
			return ask.AlertPage{Older: true, LookedTo: ask.Place{At: q.After.At.Add(-time.Minute), ID: "p"}}, q.Validate()
		case fresh.Load() == 1:
			return ask.AlertPage{Items: []federation.Alert{alert("fresh", 1)}, Older: true, LookedTo: place(-9)}, q.Validate()
		}
		return ask.AlertPage{Older: true, LookedTo: place(-10)}, q.Validate()
	})
	here := regexp.MustCompile(`data-here="([^"]*)"( data-further)?`)
	look := func(path string, further bool, has, lacks string) string {
		t.Helper()
		looks.Store(0)
		page := string(s.do(t, "GET", path, "").body)
		found := here.FindStringSubmatch(page)
		if len(found) != 3 || (found[2] != "") != further || !strings.Contains(page, has) || lacks != "" && strings.Contains(page, lacks) {
			t.Errorf("%s has %q, and after %d looks: %s", path, found, looks.Load(), page)
			return path
		}
		return html.UnescapeString(found[1])
	}
	next := look("/alerts?q=x", true, "None so far", "The old")
	if looks.Load() != 3 {
		t.Errorf("it looked %d times in its moment", looks.Load())
	}
	there := look(next+"&part=live", false, "The old", "None so far")
	if there == next || looks.Load() != 3 {
		t.Errorf("after %d looks it is at %s, as before", looks.Load(), there)
	}
	fresh.Store(1)
	if page := look(there, false, "The fresh", ""); !strings.Contains(page, "nothing=") {
		t.Errorf("it goes on from %s", page)
	}
	look(there, false, "The old", "")
	if looks.Load() != 2 {
		t.Errorf("it looked %d times where it knows that there is nothing", looks.Load())
	}
	s.passed.Store(0)
	look("/alerts?q=x&nothing="+url.QueryEscape(strconv.FormatInt(place(-20).At.UnixMicro(), 10)+"~"+place(-30).String()), false, "The fresh", "The old") // so much has come since that it may not be all
}

func TestAPageThatCannotBeShownSaysWhyAndWhatToDo(t *testing.T) {
	s := newSite(t, ":8000") // nothing runs but the gateway
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/":                       {http.StatusServiceUnavailable, "topologyquery"},
		"/alerts":                 {http.StatusServiceUnavailable, "alertquery"},
		"/alerts?severity=worst":  {http.StatusUnprocessableEntity, "not valid"},
		"/alerts?within=ages":     {http.StatusUnprocessableEntity, "not valid"},
		"/alerts?nothing=here":    {http.StatusUnprocessableEntity, "not valid"},
		"/alerts?after=somewhere": {http.StatusUnprocessableEntity, "not valid"},
	} {
		r := s.do(t, "GET", path, "")
		if r.status != want.status || !strings.Contains(string(r.body), want.text) || !strings.Contains(string(r.body), `role="alert"`) {
			t.Errorf("%s is answered with %d: %s", path, r.status, r.body)
		}
	}
}
