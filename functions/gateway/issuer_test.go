package gateway_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/oidc"
	"github.com/auroramesh/auroramesh/shared/oidc/oidctest"
)

const callback = "http://127.0.0.1:1/sign-in/callback" // the tests follow it by hand

// federated is a site where people sign in at an issuer.
func federated(t *testing.T) (*guarded, *oidctest.Issuer) {
	t.Helper()
	at := func() time.Time { return noon }
	issuer := oidctest.Start(t, at)
	v := oidc.New(oidc.Config{Issuer: issuer.URL, Audience: oidctest.Audience, ScopePrefix: oidctest.Prefix, Client: issuer.Client(), Now: at})
	g := guard(t, func(c *gateway.Config) {
		c.Tokens, c.SignIn = v, &oidc.Client{Verifier: v, ID: oidctest.ClientID, Secret: oidctest.Secret, Redirect: callback}
	})
	answers(t, g.site, ask.OpenIssuerSession, func(r ask.IssuerSession) (ask.Session, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		s := ask.Session{Secret: access.NewSession(), Until: g.at.Add(time.Hour), Principal: r.Principal}
		s.Principal.Kind = access.KindSession
		g.open[access.Hash(s.Secret)] = access.Key{ID: r.Principal.ID, Name: r.Principal.Name, Scopes: r.Principal.Scopes}
		return s, nil
	})
	return g, issuer
}

// begin goes to the issuer, and is where that sends the browser back to.
func (g *guarded) begin(t *testing.T, issuer *oidctest.Issuer, next string) (cookie string, back *url.URL) {
	t.Helper()
	r := g.do(t, "GET", "/sign-in/begin?next="+url.QueryEscape(next), "")
	c := cookieOf(t, r)
	if r.status != 303 || !strings.HasPrefix(r.header.Get("Location"), issuer.URL+"/authorize?") || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 600 {
		t.Fatalf("beginning: %d to %q with %v", r.status, r.header.Get("Location"), c)
	}
	client := *issuer.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Get(r.header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if back, err = res.Location(); err != nil {
		t.Fatal(err)
	}
	return c.Name + "=" + c.Value, back
}

func TestWhoSignsInAtTheIssuerHasASessionWithTheScopesThatItGives(t *testing.T) {
	g, issuer := federated(t)
	if r := g.do(t, "GET", "/sign-in?next=%2Falerts", ""); !strings.Contains(string(r.body), `href="/sign-in/begin?next=%2Falerts"`) {
		t.Errorf("the page does not lead to the issuer: %s", r.body)
	}
	cookie, back := g.begin(t, issuer, "/alerts?q=a&b=c")
	r := g.do(t, "GET", back.RequestURI(), "", "Cookie", cookie)
	if r.status != 200 || !strings.Contains(string(r.body), `content="0; url=/alerts?q=a&amp;b=c"`) {
		t.Fatalf("back from the issuer: %d %s", r.status, r.body)
	}
	var session, gone *http.Cookie
	for _, c := range (&http.Response{Header: r.header}).Cookies() {
		if c.MaxAge < 0 {
			gone = c
		} else {
			session = c
		}
	}
	if session == nil || gone == nil || !session.HttpOnly || session.SameSite != http.SameSiteStrictMode || !strings.HasPrefix(cookie, gone.Name+"=") {
		t.Fatalf("the cookies are %v", r.header["Set-Cookie"])
	}
	in := []string{"Cookie", session.Name + "=" + session.Value}
	me := decode[access.Principal](t, g.do(t, "GET", "/api/v1/access/me", "", in...))
	if me.Kind != access.KindSession || me.ID != "u-17" || me.Name != "r.haas" {
		t.Errorf("the principal is %+v", me)
	}
	for path, want := range map[string]int{"/api/v1/alerts": 200, "/api/v1/sites": 200, "/api/v1/access/keys": 403} {
		if r := g.do(t, "GET", path, "", in...); r.status != want {
			t.Errorf("%s: %d, want %d", path, r.status, want)
		}
	}
	if got := g.audited(); len(got) != 1 || !strings.HasPrefix(got[0], "session GET /sign-in/callback 200") {
		t.Errorf("the audit log has %v", got)
	}
	g.do(t, "POST", "/sign-out", "", in...)
	if r := g.do(t, "GET", "/api/v1/alerts", "", in...); r.status != 401 {
		t.Errorf("after signing out: %d", r.status)
	}
}

func TestASignInAtTheIssuerThatIsNotGoodIsRefused(t *testing.T) {
	g, issuer := federated(t)
	refused := func(name, uri, want string, headers ...string) {
		t.Helper()
		g.pass(time.Second) // for the rate
		r := g.do(t, "GET", uri, "", headers...)
		if r.status != 401 || strings.Contains(strings.Join(r.header["Set-Cookie"], " "), "auroramesh_session") || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d %v %s", name, r.status, r.header["Set-Cookie"], r.body)
		}
	}
	cookie, back := g.begin(t, issuer, "/")
	refused("in another browser", back.RequestURI(), "not begun in this browser")
	refused("with a cookie that is none", back.RequestURI(), "not begun in this browser", "Cookie", "auroramesh_sign_in=e30")
	_, otherBack := g.begin(t, issuer, "/")
	refused("with the state of another sign-in", otherBack.RequestURI(), "not begun in this browser", "Cookie", cookie)
	q := back.Query()
	q.Set("code", otherBack.Query().Get("code"))
	refused("with the code of another sign-in", "/sign-in/callback?"+q.Encode(), "the code is not good", "Cookie", cookie)
	q.Set("error", "access_denied")
	refused("that the issuer refuses", "/sign-in/callback?"+q.Encode(), "access_denied", "Cookie", cookie)

	for name, change := range map[string]func(map[string]any){
		"with an ID token for another sign-in": func(c map[string]any) { c["nonce"] = "another" },
		"with an ID token for another client":  func(c map[string]any) { c["aud"] = "another" },
		"with an ID token for another person":  func(c map[string]any) { c["sub"] = "u-18" },
		"with an ID token that has expired":    func(c map[string]any) { c["exp"] = noon.Add(-time.Hour).Unix() },
	} {
		issuer.Change(change)
		cookie, back := g.begin(t, issuer, "/")
		refused(name, back.RequestURI(), "You are not signed in", "Cookie", cookie)
	}
	issuer.Change(nil)
	issuer.Give("openid profile")
	cookie, back = g.begin(t, issuer, "/")
	refused("without any scope", back.RequestURI(), "none of the scopes", "Cookie", cookie)

	issuer.Give("soc/alerts:read")
	cookie, back = g.begin(t, issuer, "/")
	if r := g.do(t, "GET", back.RequestURI(), "", "Cookie", cookie); r.status != 200 {
		t.Fatalf("a good one: %d", r.status)
	}
	refused("a second time", back.RequestURI(), "the code is not good", "Cookie", cookie)
}

func TestAnIssuerThatIsAwayOrUnknownLetsNobodyIn(t *testing.T) {
	g := guard(t)
	if r := g.do(t, "GET", "/sign-in/begin", ""); r.status != 303 || r.header.Get("Location") != "/sign-in" {
		t.Errorf("without an issuer: %d to %q", r.status, r.header.Get("Location"))
	}
	if r := g.do(t, "GET", "/sign-in/callback?code=a&state=", ""); r.status != 303 || r.header.Get("Set-Cookie") != "" {
		t.Errorf("back from nowhere: %d", r.status)
	}
	g, issuer := federated(t)
	issuer.Close()
	if r := g.do(t, "GET", "/sign-in/begin?next=/alerts", ""); r.status != 503 || !strings.Contains(string(r.body), "Nobody can sign in there") || !strings.Contains(string(r.body), `value="/alerts"`) {
		t.Errorf("with the issuer away: %d %s", r.status, r.body)
	}
}
