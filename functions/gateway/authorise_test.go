package gateway_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
)

// guarded is a site that takes requests with a key only. Its stand-in for access
// knows the keys that the test makes.
type guarded struct {
	*site
	mu    sync.Mutex
	at    time.Time
	keys  map[string]access.Key // by the hash of the secret
	open  map[string]access.Key // the sessions, by the hash of the secret
	asked int                   // how often the stand-in was
}

func (g *guarded) now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.at
}

func (g *guarded) pass(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at = g.at.Add(d)
}

// key makes a key with the scopes given, and returns its secret.
func (g *guarded) key(t *testing.T, scopes ...access.Scope) string {
	t.Helper()
	made, err := access.Make(access.NewKey{Name: "test", Scopes: scopes}, "test", noon)
	if err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys[access.Hash(made.Secret)] = made.Key
	return made.Secret
}

func (g *guarded) revokeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.keys)
}

func (g *guarded) timesAsked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

// guard puts a gateway that takes keys before the functions of a whole site.
func guard(t *testing.T, change ...func(*gateway.Config)) *guarded {
	t.Helper()
	g := &guarded{site: newWholeSite(t), at: noon, keys: map[string]access.Key{}, open: map[string]access.Key{}}
	answers(t, g.site, ask.CheckKey, func(p ask.KeyProof) (ask.Known, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.asked++
		k, ok := g.keys[p.Hash]
		if !ok || k.ID != p.ID {
			return ask.Known{}, fault.New(fault.Unauthorized, "the key is not one of this site")
		}
		return ask.Known{Principal: k.Principal(), Until: k.ExpiresAt}, nil
	})
	answers(t, g.site, ask.OpenSession, func(p ask.KeyProof) (ask.Session, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		k, ok := g.keys[p.Hash]
		if !ok {
			return ask.Session{}, fault.New(fault.Unauthorized, "the key is not one of this site")
		}
		s := ask.Session{Secret: access.NewSession(), Until: g.at.Add(time.Hour), Principal: k.Principal()}
		g.open[access.Hash(s.Secret)] = k
		return s, nil
	})
	answers(t, g.site, ask.CheckSession, func(p ask.SessionProof) (ask.Known, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		k, ok := g.open[p.Hash]
		if !ok {
			return ask.Known{}, fault.New(fault.Unauthorized, "the session has ended")
		}
		until, who := noon.Add(time.Hour), k.Principal()
		who.Kind = access.KindSession
		return ask.Known{Principal: who, Until: &until}, nil
	})
	answers(t, g.site, ask.CloseSession, func(p ask.SessionProof) (ask.None, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.open, p.Hash)
		return ask.None{}, nil
	})
	c := g.config("0.0.0.0:8000")
	c.Auth, c.Now = access.Required, g.now
	for _, f := range change {
		f(&c)
	}
	web := httptest.NewServer(gateway.Handler(c))
	t.Cleanup(func() { web.CloseClientConnections(); web.Close(); http.DefaultClient.CloseIdleConnections() })
	g.url = web.URL
	return g
}

func TestWithoutAKeyOnlyWhatIsOpenIsAnswered(t *testing.T) {
	g := guard(t)
	for path, want := range map[string]int{
		"/": 303, "/alerts": 303, "/sign-in": 200, "/docs": 200, "/openapi.json": 200, "/assets/style.css": 200, "/health/live": 200, "/health": 200,
		"/api/v1/alerts": 401, "/api/v1/events": 401, "/api/v1/sites": 401, "/api/v1/access/me": 401, "/api/v1/access/keys": 401, "/metrics": 401, "/nowhere": 404,
	} {
		r := g.do(t, "GET", path, "")
		if r.status != want {
			t.Errorf("%s: %d, want %d: %s", path, r.status, want, r.body)
		}
		if (r.status == 401) != (r.header.Get("WWW-Authenticate") == `Bearer realm="auroramesh"`) {
			t.Errorf("%s: WWW-Authenticate %q", path, r.header.Get("WWW-Authenticate"))
		}
	}
	if r := g.do(t, "GET", "/health", ""); strings.Contains(string(r.body), "jetstream") {
		t.Errorf("who is not known is told the parts of the site: %s", r.body)
	}
	if r := g.do(t, "GET", "/health", "", "X-API-Key", g.key(t, access.SitesRead)); !strings.Contains(string(r.body), "jetstream") {
		t.Errorf("who may read the sites is not told their parts: %s", r.body)
	}
}

func TestAKeyOpensWhatItsScopesNameAndNothingElse(t *testing.T) {
	g := guard(t)
	const alert = `{"title":"t","severity":"high","source":"test"}`
	calls := []struct {
		method, path, body string
		scope              access.Scope
	}{
		{"GET", "/api/v1/alerts", "", access.AlertsRead},
		{"POST", "/api/v1/alerts", alert, access.AlertsWrite},
		{"GET", "/api/v1/sites", "", access.SitesRead},
		{"DELETE", "/api/v1/sharing/gates/site-b/outbound", "", access.SharingWrite},
		{"GET", "/api/v1/access/keys", "", access.Admin},
	}
	for _, has := range access.Scopes() {
		secret := g.key(t, has)
		for _, c := range calls {
			r := g.do(t, c.method, c.path, c.body, "Authorization", "Bearer "+secret)
			if allowed := has == c.scope || has == access.Admin; allowed == (r.status == 403) || allowed && r.status >= 300 {
				t.Errorf("%s: %s %s is answered with %d: %s", has, c.method, c.path, r.status, r.body)
			}
			if r.status != 403 {
				continue
			}
			if h := r.header.Get("WWW-Authenticate"); !strings.Contains(h, `scope="`+string(c.scope)+`"`) {
				t.Errorf("WWW-Authenticate %q", h)
			}
			if p := decode[gateway.Problem](t, r); p.Code != fault.Forbidden || !strings.Contains(p.Detail, string(c.scope)) || p.Errors[0].Value != string(has) {
				t.Errorf("problem %s", r.body)
			}
		}
	}
	if g.raised != 2 { // alerts:write and admin
		t.Errorf("%d alerts reached the function", g.raised)
	}
}

func TestWhatIsNoGoodKeyIsRefused(t *testing.T) {
	g := guard(t)
	good := g.key(t, access.Admin)
	for name, headers := range map[string][]string{
		"no key at all":          {"Authorization", "Bearer hunter2"},
		"a basic login":          {"Authorization", "Basic YTpi"},
		"an empty bearer":        {"Authorization", "Bearer "},
		"one letter changed":     {"X-API-Key", good[:len(good)-1] + map[bool]string{true: "b", false: "a"}[good[len(good)-1] == 'a']},
		"another key's id":       {"X-API-Key", "amk_aaaaaaaaaaaaa" + good[17:]},
		"upper case":             {"X-API-Key", strings.ToUpper(good)},
		"two at once":            {"X-API-Key", good, "Authorization", "Bearer " + good},
		"a made up session":      {"Cookie", "auroramesh_session=abc"},
		"a key in another place": {"X-Key", good},
	} {
		r := g.do(t, "GET", "/api/v1/sites", "", headers...)
		if r.status != 401 || decode[gateway.Problem](t, r).Code != fault.Unauthorized || r.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		if strings.Contains(string(r.body), good) || strings.Contains(g.log.String(), good) {
			t.Errorf("%s: the key is given away", name)
		}
	}
}

func TestARevokedKeyIsRefusedWithinSeconds(t *testing.T) {
	g := guard(t)
	secret := g.key(t, access.SitesRead)
	get := func() int { return g.do(t, "GET", "/api/v1/sites", "", "X-API-Key", secret).status }
	for range 3 {
		if got := get(); got != 200 {
			t.Fatalf("a good key is answered with %d", got)
		}
	}
	if n := g.timesAsked(); n != 1 {
		t.Errorf("access was asked %d times for three requests", n)
	}
	g.revokeAll()
	g.pass(gateway.KnownFor - time.Millisecond)
	if got := get(); got != 200 {
		t.Errorf("within %v: %d", gateway.KnownFor, got)
	}
	g.pass(time.Millisecond)
	if got := get(); got != 401 {
		t.Errorf("after %v: %d", gateway.KnownFor, got)
	}
	if get(); g.timesAsked() != 2 {
		t.Errorf("a refusal is not remembered: access was asked %d times", g.timesAsked())
	}
}

func TestAKeyThatExpiresIsRefusedFromThatMomentOn(t *testing.T) {
	g := guard(t)
	secret := g.key(t, access.SitesRead)
	expires := noon.Add(time.Second)
	g.mu.Lock()
	k := g.keys[access.Hash(secret)]
	k.ExpiresAt = &expires
	g.keys[access.Hash(secret)] = k
	g.mu.Unlock()
	for i, want := range []int{200, 401} {
		if got := g.do(t, "GET", "/api/v1/sites", "", "X-API-Key", secret).status; got != want {
			t.Errorf("%d s: %d, want %d", i, got, want)
		}
		g.pass(time.Second)
	}
}

func TestWhereNobodyCanTellNobodyIsLetIn(t *testing.T) {
	s := newSite(t, ":8000")
	c := s.config(":8000")
	c.Auth = access.Required
	web := httptest.NewServer(gateway.Handler(c))
	t.Cleanup(func() { web.CloseClientConnections(); web.Close() })
	s.url = web.URL
	made, err := access.Make(access.NewKey{Name: "k", Scopes: []access.Scope{access.Admin}}, "test", noon)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.do(t, "GET", "/api/v1/access/me", "", "X-API-Key", made.Secret); r.status != 503 {
		t.Errorf("status %d: %s", r.status, r.body)
	}
}

func TestEachKeyHasItsOwnRate(t *testing.T) {
	g := guard(t, func(c *gateway.Config) { c.RatePerSecond = 2 })
	busy, other := g.key(t, access.SitesRead), g.key(t, access.SitesRead)
	get := func(secret string) response { return g.do(t, "GET", "/api/v1/sites", "", "X-API-Key", secret) }
	for i := range 4 { // twice the rate at once
		if r := get(busy); r.status != 200 {
			t.Fatalf("request %d: %d %s", i, r.status, r.body)
		}
	}
	r := get(busy)
	if r.status != 429 || r.header.Get("Retry-After") != "1" || decode[gateway.Problem](t, r).Code != fault.TooMany {
		t.Errorf("status %d, Retry-After %q: %s", r.status, r.header.Get("Retry-After"), r.body)
	}
	if r := get(other); r.status != 200 {
		t.Errorf("another key: %d", r.status)
	}
	g.pass(500 * time.Millisecond)
	if r := get(busy); r.status != 200 {
		t.Errorf("after half a second: %d", r.status)
	}
}

func TestAnEventStreamEndsWithTheKeyThatOpenedIt(t *testing.T) {
	g := guard(t, func(c *gateway.Config) { c.Recheck = 5 * time.Millisecond })
	secret := g.key(t, access.AlertsRead)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", secret)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	if res.StatusCode != 200 || !lines.Scan() {
		t.Fatalf("status %d, %v", res.StatusCode, lines.Err())
	}
	g.revokeAll()
	g.pass(gateway.KnownFor)
	for lines.Scan() { // until the site ends it
	}
	if ctx.Err() != nil {
		t.Error("the stream went on")
	}
}

func TestWhoMakesAKeyIsNotedWithIt(t *testing.T) {
	g := guard(t)
	secret := g.key(t, access.Admin)
	me := decode[access.Principal](t, g.do(t, "GET", "/api/v1/access/me", "", "X-API-Key", secret))
	r := g.do(t, "POST", "/api/v1/access/keys", `{"name":"sensor","scopes":["alerts:write"]}`, "X-API-Key", secret)
	made := decode[access.MadeKey](t, r)
	if id, ok := access.IDOf(made.Secret); r.status != 201 || !ok || id != made.ID || made.CreatedBy != "key "+me.ID {
		t.Errorf("%d %s", r.status, r.body)
	}
	for body, field := range map[string]string{
		`{"name":"","scopes":["admin"]}`: "name", `{"name":"x","scopes":[]}`: "scopes", `{"name":"x","scopes":["root"]}`: "scopes",
		`{"name":"x\ny","scopes":["admin"]}`: "name", `{"name":"x","scopes":["admin"],"expires_at":"2020-01-01T00:00:00Z"}`: "expires_at",
	} {
		r := g.do(t, "POST", "/api/v1/access/keys", body, "X-API-Key", secret)
		if p := decode[gateway.Problem](t, r); r.status != 422 || len(p.Errors) == 0 || p.Errors[0].Name != field {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
}
