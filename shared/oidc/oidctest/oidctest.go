// Package oidctest is an OpenID Connect issuer on loopback for tests, with keys made
// for each. It signs in whoever comes, as the person that the test says, and holds a
// client to the authorization code flow with PKCE.
package oidctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// What a client of the issuer is configured with.
const (
	ClientID = "auroramesh-site-a"
	Secret   = "made up: for & the test" //nolint:gosec // it is
	Audience = "https://soc-a.example"
	Prefix   = "soc/"
)

// Issuer is one at work.
type Issuer struct {
	*httptest.Server
	t   testing.TB
	now func() time.Time
	key *ecdsa.PrivateKey

	mu sync.Mutex
	// scopes are those of the person who signs in, with the prefix.
	scopes string
	// change, where set, is applied to the claims of the ID token.
	change func(map[string]any)
	codes  map[string]url.Values // what was asked for, by the code
}

// Start starts an issuer that goes by a clock, until the test ends.
func Start(t testing.TB, now func() time.Time) *Issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &Issuer{t: t, now: now, key: key, scopes: "openid soc/alerts:read soc/sites:read", codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.answer(w, http.StatusOK, map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize?of=test", "token_endpoint": i.URL + "/token"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one", Use: "sig"}}})
	})
	mux.HandleFunc("GET /authorize", i.authorize)
	mux.HandleFunc("POST /token", i.token)
	i.Server = httptest.NewServer(mux)
	t.Cleanup(func() { i.CloseClientConnections(); i.Close() })
	return i
}

// Give changes the scopes of who signs in from now on.
func (i *Issuer) Give(scopes string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.scopes = scopes
}

// Change has a function change the claims of each ID token from now on.
func (i *Issuer) Change(f func(map[string]any)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.change = f
}

func (i *Issuer) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		i.t.Error(err)
	}
}

// authorize sends the browser back with a code at once.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	to, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || q.Get("client_id") != ClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("of") != "test" {
		i.t.Errorf("the client asks for %v", q)
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	i.mu.Lock()
	i.codes[code] = q
	i.mu.Unlock()
	back := to.Query()
	back.Set("code", code)
	back.Set("state", q.Get("state"))
	to.RawQuery = back.Encode()
	http.Redirect(w, r, to.String(), http.StatusSeeOther) //nolint:gosec // the site under test is told to go there
}

// token exchanges a code, once and for who can prove to have asked for it.
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	asked, ok := i.codes[r.PostFormValue("code")]
	delete(i.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	user, password, _ := r.BasicAuth()
	if !ok || base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") || r.PostFormValue("redirect_uri") != asked.Get("redirect_uri") ||
		user != url.QueryEscape(ClientID) || password != url.QueryEscape(Secret) {
		i.answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": "the code is not good"})
		return
	}
	both := map[string]any{"iss": i.URL, "sub": "u-17", "preferred_username": "r.haas", "iat": i.now().Unix(), "exp": i.now().Add(5 * time.Minute).Unix()}
	id := maps.Clone(both)
	id["aud"], id["nonce"] = ClientID, asked.Get("nonce")
	if i.change != nil {
		i.change(id)
	}
	access := maps.Clone(both)
	access["aud"], access["scope"] = Audience, i.scopes
	i.answer(w, http.StatusOK, map[string]string{"token_type": "Bearer", "id_token": i.sign(id), "access_token": i.sign(access)})
}

func (i *Issuer) sign(claims map[string]any) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.key}, (&jose.SignerOptions{}).WithHeader("kid", "one"))
	if err != nil {
		i.t.Error(err)
		return ""
	}
	token, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		i.t.Error(err)
	}
	return token
}
