package gateway_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/auroramesh/auroramesh/shared/access"
)

const form = "application/x-www-form-urlencoded"

func (g *guarded) signIn(t *testing.T, key, next string, headers ...string) response {
	t.Helper()
	body := url.Values{"key": {key}, "next": {next}}.Encode()
	return g.do(t, "POST", "/sign-in", body, append([]string{"Content-Type", form}, headers...)...)
}

func cookieOf(t *testing.T, r response) *http.Cookie {
	t.Helper()
	cookies := (&http.Response{Header: r.header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d %s: the cookies are %v", r.status, r.body, cookies)
	}
	return cookies[0]
}

func TestWhoSignsInHasASessionUntilTheySignOut(t *testing.T) {
	g := guard(t)
	secret := g.key(t, access.AlertsRead)
	r := g.do(t, "GET", "/?a=b", "")
	if r.status != 303 || r.header.Get("Location") != "/sign-in?next=%2F%3Fa%3Db" {
		t.Errorf("who has not signed in is sent to %q: %d", r.header.Get("Location"), r.status)
	}
	r = g.signIn(t, secret, "/?a=b")
	c := cookieOf(t, r)
	if r.status != 303 || r.header.Get("Location") != "/?a=b" {
		t.Errorf("after signing in: %d, to %q", r.status, r.header.Get("Location"))
	}
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || strings.Contains(secret, c.Value) || c.Value == "" {
		t.Errorf("the cookie is %v", c)
	}
	session := []string{"Cookie", c.Name + "=" + c.Value}
	for path, want := range map[string]int{"/": 303, "/matrix": 403, "/api/v1/alerts": 200, "/api/v1/sites": 403, "/sign-in": 303} {
		if r := g.do(t, "GET", path, "", session...); r.status != want {
			t.Errorf("%s with a session: %d, want %d: %s", path, r.status, want, r.body)
		}
	}
	r = g.do(t, "POST", "/sign-out", "", session...)
	if r.status != 303 || r.header.Get("Location") != "/sign-in" || cookieOf(t, r).MaxAge != -1 {
		t.Errorf("signing out: %d, to %q", r.status, r.header.Get("Location"))
	}
	if r := g.do(t, "GET", "/api/v1/alerts", "", session...); r.status != 401 {
		t.Errorf("after signing out the cookie is answered with %d", r.status)
	}
}

func TestSigningInIsRefusedWithoutAGoodKeyAndFromElsewhere(t *testing.T) {
	g := guard(t)
	good := g.key(t, access.Admin)
	made, err := access.Make(access.NewKey{Name: "other", Scopes: access.Scopes()}, "another site", noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "hunter2", made.Secret} {
		r := g.signIn(t, key, "/")
		if r.status != 401 || r.header.Get("Set-Cookie") != "" || !strings.Contains(string(r.body), `role="alert"`) || key != "" && strings.Contains(string(r.body), key) {
			t.Errorf("with %q: %d, cookie %q", key, r.status, r.header.Get("Set-Cookie"))
		}
	}
	for _, from := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
		if r := g.signIn(t, good, "/", from...); r.status != 403 || r.header.Get("Set-Cookie") != "" {
			t.Errorf("from %v: %d", from, r.status)
		}
	}
}

func TestAPageOfAnotherOriginCannotUseASession(t *testing.T) {
	g := guard(t)
	c := cookieOf(t, g.signIn(t, g.key(t, access.Admin), "/"))
	r := g.do(t, "POST", "/api/v1/alerts", `{"title":"t","severity":"high","source":"test"}`, "Cookie", c.Name+"="+c.Value, "Origin", "https://evil.example")
	if r.status != 403 || g.raised != 0 {
		t.Errorf("a forged write is answered with %d", r.status)
	}
}

func TestSigningInLeadsNowhereElse(t *testing.T) {
	g := guard(t)
	key := g.key(t, access.SitesRead)
	for _, next := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "javascript:alert(1)", "/\t/evil.example", "evil"} {
		g.pass(1e9) // a second, for the rate
		if r := g.signIn(t, key, next); r.status != 303 || r.header.Get("Location") != "/" {
			t.Errorf("next %q leads to %q", next, r.header.Get("Location"))
		}
	}
}

func TestKeysCannotBeTriedWithoutEnd(t *testing.T) {
	g := guard(t)
	last := 0
	for range 30 {
		last = g.signIn(t, "hunter2", "/").status
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the thirtieth key of a moment is answered with %d", last)
	}
}
