package oidc_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/oidc"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// issuer is an OpenID Connect issuer on loopback, with keys made for the test.
type issuer struct {
	*httptest.Server
	t       *testing.T
	mu      sync.Mutex
	now     time.Time
	keys    map[string]crypto.Signer
	fetched int
	away    bool
	name    string // what it calls itself; empty: its address
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, now: noon, keys: map[string]crypto.Signer{}}
	i.Server = httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.away {
		http.Error(w, "away", http.StatusBadGateway)
		return
	}
	var body any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		name := i.name
		if name == "" {
			name = i.URL
		}
		body = map[string]string{"issuer": name, "jwks_uri": i.URL + "/keys"}
	case "/keys":
		i.fetched++
		set := map[string]any{}
		list := []any{map[string]string{"kty": "unknown"}}
		for id, k := range i.keys {
			list = append(list, jose.JSONWebKey{Key: k.Public(), KeyID: id, Use: "sig"})
		}
		set["keys"] = list
		body = set
	}
	if err := json.NewEncoder(w).Encode(body); err != nil {
		i.t.Error(err)
	}
}

func (i *issuer) key(id string) crypto.Signer {
	i.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[id] = k
	return k
}

func (i *issuer) change(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func (i *issuer) times() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetched
}

func (i *issuer) verifier() *oidc.Verifier {
	return oidc.New(oidc.Config{Issuer: i.URL, Audience: "https://soc-a.example", ScopePrefix: "soc/", Client: i.Client(), Now: func() time.Time {
		i.mu.Lock()
		defer i.mu.Unlock()
		return i.now
	}})
}

// good is the claims of a token that is taken.
func (i *issuer) good() map[string]any {
	return map[string]any{
		"iss": i.URL, "aud": "https://soc-a.example", "sub": "u-17", "preferred_username": "r.haas",
		"exp": noon.Add(time.Hour).Unix(), "iat": noon.Unix(), "scope": "openid soc/alerts:read soc/sites:read alerts:write soc/root",
	}
}

func sign(t *testing.T, key any, alg jose.SignatureAlgorithm, id string, claims map[string]any) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithType("at+jwt")
	if id != "" {
		o = o.WithHeader("kid", id)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAGoodTokenSaysWhoItIsForAndWhatTheyMay(t *testing.T) {
	i := newIssuer(t)
	token := sign(t, i.key("one"), jose.ES256, "one", i.good())
	v := i.verifier()
	p, until, err := v.Verify(t.Context(), token)
	want := access.Principal{Kind: access.KindToken, ID: "u-17", Name: "r.haas", Scopes: []access.Scope{access.AlertsRead, access.SitesRead}}
	if diff := cmp.Diff(want, p); diff != "" || err != nil || !until.Equal(noon.Add(time.Hour+oidc.Leeway)) {
		t.Errorf("until %v, %v\n%s", until, err, diff)
	}
	if _, _, err := v.Verify(t.Context(), token); err != nil || i.times() != 1 {
		t.Errorf("the second time: %v, the keys were fetched %d times", err, i.times())
	}
	for name, scp := range map[string]any{"a list": []string{"soc/admin"}, "a text": "soc/admin other"} {
		c := i.good()
		delete(c, "scope")
		c["scp"] = scp
		if p, _, err := v.Verify(t.Context(), sign(t, i.keys["one"], jose.ES256, "one", c)); err != nil || !p.May(access.Admin) {
			t.Errorf("scp as %s: %v, %v", name, p, err)
		}
	}
}

func TestATokenThatIsNotGoodIsRefused(t *testing.T) {
	i := newIssuer(t)
	key := i.key("one")
	with := func(name string, value any) map[string]any {
		c := i.good()
		if c[name] = value; value == nil {
			delete(c, name)
		}
		return c
	}
	signed := func(c map[string]any) string { return sign(t, key, jose.ES256, "one", c) }
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	unsigned := func(header string) string {
		body, err := json.Marshal(i.good())
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
	}
	good := signed(i.good())
	parts := strings.Split(good, ".")
	admin, err := json.Marshal(with("scope", "soc/admin"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.Public().(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	v := i.verifier()
	for name, c := range map[string]struct{ token, why string }{
		"nothing":                      {"", "no JWT"},
		"no token":                     {"hunter2", "no JWT"},
		"no signature at all":          {unsigned(`{"alg":"none","kid":"one"}`), "no JWT"},
		"no signature, in capitals":    {unsigned(`{"alg":"NONE","kid":"one"}`), "no JWT"},
		"a shared secret":              {sign(t, public, jose.HS256, "one", i.good()), "no JWT"},
		"a stranger's key by its name": {sign(t, stranger, jose.RS256, "one", i.good()), "not that of the issuer"},
		"a stranger's key":             {sign(t, stranger, jose.RS256, "two", i.good()), "not one of the issuer's"},
		"other claims":                 {parts[0] + "." + base64.RawURLEncoding.EncodeToString(admin) + "." + parts[2], "not that of the issuer"},
		"another audience":             {signed(with("aud", "https://other.example")), "another audience"},
		"no audience":                  {signed(with("aud", nil)), "another audience"},
		"another issuer":               {signed(with("iss", "https://evil.example")), "another issuer"},
		"expired":                      {signed(with("exp", noon.Add(-oidc.Leeway-time.Second).Unix())), "expired"},
		"no expiry":                    {signed(with("exp", nil)), "no exp"},
		"not yet":                      {signed(with("nbf", noon.Add(oidc.Leeway+time.Second).Unix())), "does not hold yet"},
		"nobody":                       {signed(with("sub", nil)), "no sub"},
		"scopes that are a number":     {signed(with("scope", 7)), "cannot be read"},
	} {
		p, _, err := v.Verify(t.Context(), c.token)
		if !fault.Is(err, fault.Unauthorized) || !strings.Contains(fmt.Sprint(err), c.why) || len(p.Scopes) > 0 {
			t.Errorf("%s: %v, %v", name, p, err)
		}
		if c.token != "" && strings.Contains(fmt.Sprint(err), c.token) {
			t.Errorf("%s: the error has the token", name)
		}
	}
	for name, c := range map[string]map[string]any{
		"expired within the leeway": with("exp", noon.Add(-oidc.Leeway+time.Second).Unix()),
		"several audiences":         with("aud", []string{"other", "https://soc-a.example"}),
		"no scopes":                 with("scope", nil),
	} {
		if _, _, err := v.Verify(t.Context(), signed(c)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestANewKeyOfTheIssuerIsFoundAndAnOldOneForgotten(t *testing.T) {
	i := newIssuer(t)
	old := sign(t, i.key("old"), jose.ES256, "old", i.good())
	v := i.verifier()
	check := func(token string) error {
		_, _, err := v.Verify(t.Context(), token)
		return err
	}
	if err := check(old); err != nil {
		t.Fatal(err)
	}
	fresh := sign(t, i.key("new"), jose.ES256, "new", i.good())
	if err := check(fresh); !fault.Is(err, fault.Unauthorized) || i.times() != 1 {
		t.Errorf("right after a fetch: %v, fetched %d times", err, i.times())
	}
	i.change(func() { i.now = noon.Add(oidc.FetchAfter); delete(i.keys, "old") })
	if err := check(fresh); err != nil {
		t.Errorf("a new key: %v", err)
	}
	if err := check(old); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("a key that is withdrawn: %v", err)
	}
	for n := range 50 {
		if err := check(sign(t, i.keys["new"], jose.ES256, fmt.Sprint(n), i.good())); !fault.Is(err, fault.Unauthorized) {
			t.Errorf("an unknown key: %v", err)
		}
	}
	if i.times() != 2 {
		t.Errorf("tokens with unknown keys made the site ask %d times", i.times())
	}
}

func TestAnIssuerThatIsAwayIsDoneWithoutForAWhile(t *testing.T) {
	i := newIssuer(t)
	claims := i.good()
	claims["exp"] = noon.Add(24 * time.Hour).Unix()
	token := sign(t, i.key("one"), jose.ES256, "one", claims)
	v := i.verifier()
	i.change(func() { i.away = true })
	if _, _, err := v.Verify(t.Context(), token); !fault.Is(err, fault.Unavailable) {
		t.Errorf("an issuer that was never there: %v", err)
	}
	i.change(func() { i.away, i.now = false, noon.Add(oidc.FetchAfter) })
	if _, _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("once it is there: %v", err)
	}
	fetched := noon.Add(oidc.FetchAfter)
	i.change(func() { i.away, i.now = true, fetched.Add(oidc.StaleFor-time.Second) })
	if _, _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("while it is away: %v", err)
	}
	i.change(func() { i.now = fetched.Add(oidc.StaleFor + oidc.FetchAfter) })
	if _, _, err := v.Verify(t.Context(), token); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after an hour: %v", err)
	}
}

func TestAnIssuerThatCallsItselfOtherwiseIsNotIt(t *testing.T) {
	i := newIssuer(t)
	i.name = "https://evil.example"
	if _, _, err := i.verifier().Verify(t.Context(), sign(t, i.key("one"), jose.ES256, "one", i.good())); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
}

func TestAnIssuerIsAskedWhereNobodyCanAnswerInItsPlace(t *testing.T) {
	for address, want := range map[string]bool{
		"https://id.example": true, "https://id.example/realms/soc": true, "http://127.0.0.1:8080": true, "http://localhost/x": true, "http://[::1]:1": true,
		"http://id.example": false, "https://u:p@id.example": false, "ftp://id.example": false, "id.example": false, "https://": false, "": false, "https://id.example/#x": false,
	} {
		if oidc.ValidURL(address) != want {
			t.Errorf("%q is %t", address, !want)
		}
	}
}
