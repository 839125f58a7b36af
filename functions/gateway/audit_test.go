package gateway_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// audited is what the audit log has, in short.
func (s *site) audited() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []string{}
	for _, e := range s.noted {
		all = append(all, fmt.Sprintf("%s %s %d %s", e.Kind, e.Action, e.Result, e.Target))
	}
	return all
}

func TestEveryChangeIsInTheAuditLogAndNothingElse(t *testing.T) {
	g := guard(t)
	admin, reader := g.key(t, access.Admin), g.key(t, access.AlertsRead)
	call := func(key, method, path, body string) {
		t.Helper()
		g.do(t, method, path, body, "X-API-Key", key, "X-Request-Id", "trace-1")
	}
	call(admin, "GET", "/api/v1/alerts", "")
	call(admin, "POST", "/api/v1/sharing/preview", `{"title":"t","severity":"high","source":"test"}`)
	call(admin, "POST", "/api/v1/alerts", `{"title":"t","severity":"high","source":"test"}`)
	call(admin, "POST", "/api/v1/alerts", `{}`)
	call(admin, "DELETE", "/api/v1/sharing/gates/site-b/outbound", "")
	call(reader, "POST", "/api/v1/alerts", `{"title":"t","severity":"high","source":"test"}`)
	call("amk_unknown", "POST", "/api/v1/alerts", `{"title":"t","severity":"high","source":"test"}`)
	g.signIn(t, "hunter2", "/")
	c := cookieOf(t, g.signIn(t, reader, "/"))
	g.do(t, "POST", "/sign-out", "", "Cookie", c.Name+"="+c.Value)
	want := []string{
		"key POST /api/v1/alerts 201 /api/v1/alerts/alert-1",
		"key POST /api/v1/alerts 422 /api/v1/alerts",
		"key DELETE /api/v1/sharing/gates/{peer}/{direction} 200 /api/v1/sharing/gates/site-b/outbound",
		"key POST /api/v1/alerts 403 /api/v1/alerts",
		"key POST /sign-in 303 /sign-in",
		"session POST /sign-out 303 /sign-out",
	}
	if diff := cmp.Diff(want, g.audited()); diff != "" {
		t.Errorf("audit log (-want +got):\n%s", diff)
	}
	first := g.noted[0]
	if first.From != "127.0.0.1" || first.RequestID != "trace-1" || first.Who == "" || first.Name != "test" || !first.At.Equal(noon) || first.ID == g.noted[1].ID {
		t.Errorf("the first entry is %+v", first)
	}
}

func TestASiteWithoutSignInHasAnAuditLogToo(t *testing.T) {
	s := newWholeSite(t)
	s.do(t, "PATCH", "/api/v1/alerts/alert-1", `{"status":"resolved"}`)
	if diff := cmp.Diff([]string{"local PATCH /api/v1/alerts/{id} 200 /api/v1/alerts/alert-1"}, s.audited()); diff != "" {
		t.Error(diff)
	}
}

func TestAChangeThatTheAuditLogDoesNotTakeIsNotConfirmed(t *testing.T) {
	s := newSite(t, ":8000")
	answers(t, s, ask.UpdateAlert, func(ask.AlertUpdate) (federation.Alert, error) { return federation.Alert{}, nil })
	r := s.do(t, "PATCH", "/api/v1/alerts/alert-1", `{"status":"resolved"}`)
	p := decode[gateway.Problem](t, r)
	if r.status != 503 || p.Code != fault.Unavailable || !strings.Contains(p.Detail, "this was done, but the audit log") || r.header.Get("Location") != "" || r.header.Get("Retry-After") == "" {
		t.Errorf("%d, Location %q: %s", r.status, r.header.Get("Location"), r.body)
	}
}

// What failed was not done, so there is nothing to confirm: the answer says why it failed.
func TestARequestThatFailedIsToldSoWhereTheAuditLogFailsToo(t *testing.T) {
	s := newSite(t, ":8000")
	answers(t, s, ask.RaiseAlerts, func(ask.AlertsRaising) (ask.AlertsRaised, error) {
		return ask.AlertsRaised{}, fault.New(fault.Unavailable, "the database does not answer")
	})
	for body, want := range map[string]string{
		`{"title":"t","severity":"high","source":"test"}`: `503 "unavailable" "the database does not answer" Retry-After "1"`,
		`{}`: `422 "invalid" "the alert is not valid" Retry-After ""`,
	} {
		r := s.do(t, "POST", "/api/v1/alerts", body)
		p := decode[gateway.Problem](t, r)
		if got := fmt.Sprintf("%d %q %q Retry-After %q", r.status, p.Code, p.Detail, r.header.Get("Retry-After")); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if missing := fmt.Sprintf(`msg="a request is not in the audit log" route="POST /api/v1/alerts" status=%d`, r.status); !strings.Contains(s.log.String(), missing) {
			t.Errorf("the log does not say %s:\n%s", missing, s.log)
		}
	}
}

func TestManyChangesAtOnceAreEachInTheAuditLog(t *testing.T) {
	s := newWholeSite(t)
	const n = 100
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if r := s.do(t, "PATCH", "/api/v1/alerts/alert-1", `{"status":"resolved"}`); r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	wg.Wait()
	if got := len(s.audited()); got != n {
		t.Errorf("%d records of %d changes", got, n)
	}
}

func TestTheAuditLogIsReadAndCheckedOverTheAPI(t *testing.T) {
	s := newWholeSite(t)
	if page := decode[ask.AuditPage](t, s.do(t, "GET", "/api/v1/access/audit?before=7&limit=3", "")); page.Head.Seq != 7 || page.Items == nil {
		t.Errorf("%+v", page)
	}
	if v := decode[access.Verification](t, s.do(t, "GET", "/api/v1/access/audit/verification", "")); v.Records != 3 || v.Broken.Seq != 4 {
		t.Errorf("%+v", v)
	}
	if r := s.do(t, "GET", "/api/v1/access/audit?before=0", ""); r.status != 422 {
		t.Errorf("%d %s", r.status, r.body)
	}
}
