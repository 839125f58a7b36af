// Package oidc says who an access token of an OpenID Connect issuer is for, and
// which of the scopes of a site it has; and it lets people sign in there: see [Client].
//
// A token is a JWT that the issuer has signed. The issuer's keys are found by its
// discovery document, kept for some minutes, and fetched anew where a token names
// a key that is not among them, though not more often than every few seconds,
// whatever tokens come. Only asymmetric signatures are taken: with none at all, or
// with one by a shared secret, anybody could make a token.
package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
)

const (
	// Leeway is how far the issuer's clock may be from that of the site.
	Leeway = 30 * time.Second
	// KeysFor is how long the keys are gone by before they are fetched anew: so long
	// at most a key is taken that the issuer has withdrawn.
	KeysFor = 10 * time.Minute
	// StaleFor is how long they are gone by where the issuer does not answer.
	StaleFor = time.Hour
	// FetchAfter is the shortest time between two fetches.
	FetchAfter = 10 * time.Second

	fetchTimeout = 5 * time.Second
	maxDocument  = 1 << 20
)

// algorithms are the signatures that are taken.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Config says whose tokens are taken.
type Config struct {
	Issuer string
	// Audience is what a token must be for: this site, in the issuer's words.
	Audience string
	// ScopePrefix stands before the names of scopes in a token, e.g. "soc/".
	ScopePrefix string
	Client      *http.Client
	Now         func() time.Time
}

// Verifier checks tokens. It is safe for use by many goroutines.
type Verifier struct {
	Config
	fetching sync.Mutex // held by who fetches
	tried    time.Time  // when the keys were last asked for; of who holds fetching

	mu      sync.Mutex
	known   issuer
	fetched time.Time // when it came
	failed  error     // why the last fetch brought none
}

// issuer is what an issuer tells of itself.
type issuer struct {
	keys jose.JSONWebKeySet
	// authorize is where people sign in, and token where their code is exchanged.
	authorize, token string
}

// New is a verifier. The issuer is asked when the first token comes.
func New(c Config) *Verifier { return &Verifier{Config: c} }

// claims are those of a token that matter here. Issuers put the scopes into scope
// as one text (RFC 9068), or into scp as a text or a list.
type claims struct {
	jwt.Claims
	Scope    words  `json:"scope"`
	SCP      words  `json:"scp"`
	Username string `json:"preferred_username"`
	ClientID string `json:"client_id"`
	Party    string `json:"azp"`
	Nonce    string `json:"nonce"`
}

type words []string

// UnmarshalJSON takes a list, or a text with spaces between.
func (w *words) UnmarshalJSON(data []byte) error {
	var list []string
	if json.Unmarshal(data, &list) == nil {
		*w = list
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return errors.New("scopes are a text or a list of texts")
	}
	*w = strings.Fields(text)
	return nil
}

// Verify is who a token is for, and until when it holds. The error is [fault.Unauthorized]
// where the token is not good, Unavailable where the issuer's keys cannot be had.
func (v *Verifier) Verify(ctx context.Context, token string) (p access.Principal, until time.Time, err error) {
	c, err := v.claims(ctx, token, v.Audience)
	if err != nil {
		return p, until, err
	}
	return access.Principal{Kind: access.KindToken, ID: c.Subject, Name: c.name(), Scopes: v.scopes(c)}, c.Expiry.Time().Add(Leeway), nil
}

// claims are those of a token that the issuer has signed for an audience, and that holds now.
func (v *Verifier) claims(ctx context.Context, token, audience string) (c claims, err error) {
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil || len(parsed.Headers) != 1 {
		return c, refused("it is no JWT with a signature that is taken")
	}
	key, err := v.key(ctx, parsed.Headers[0])
	if err != nil {
		return c, err
	}
	if err := parsed.Claims(key, &c); err != nil {
		return c, refused("its signature is not that of the issuer, or its claims cannot be read")
	}
	if c.Expiry == nil || c.Subject == "" {
		return c, refused("it has no exp or no sub")
	}
	if err := c.ValidateWithLeeway(jwt.Expected{Issuer: v.Issuer, AnyAudience: jwt.Audience{audience}, Time: v.Now()}, Leeway); err != nil {
		return c, refused(because(err))
	}
	return c, nil
}

func refused(why string) error {
	return fault.New(fault.Unauthorized, "the token is not taken: %s", why)
}

func because(err error) string {
	switch {
	case errors.Is(err, jwt.ErrExpired):
		return "it has expired"
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return "it does not hold yet"
	case errors.Is(err, jwt.ErrInvalidAudience):
		return "it is for another audience"
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return "it is of another issuer"
	}
	return "its claims are not those of a token for this site"
}

func (c claims) name() string {
	for _, name := range []string{c.Username, c.ClientID, c.Party} {
		if name != "" {
			return name
		}
	}
	return c.Subject
}

func (v *Verifier) scopes(c claims) []access.Scope {
	var scopes []access.Scope
	for _, w := range append(c.Scope, c.SCP...) {
		if name, ok := strings.CutPrefix(w, v.ScopePrefix); ok {
			scopes = append(scopes, access.Scope(name))
		}
	}
	return access.Sorted(scopes)
}

// key is the issuer's key with which a token says that it is signed.
func (v *Verifier) key(ctx context.Context, h jose.Header) (any, error) {
	key, age, _ := v.look(h)
	if key == nil || age >= KeysFor {
		v.refresh(ctx, h)
	}
	key, age, failed := v.look(h)
	switch {
	case age >= StaleFor:
		return nil, fmt.Errorf("%w: %w", fault.New(fault.Unavailable, "the keys of the issuer cannot be had, so no token can be checked"), failed)
	case key == nil:
		return nil, refused("its key is not one of the issuer's")
	}
	return key, nil
}

// look is the key that fits a token, nil where there is none, how old all keys
// are, and why there are none newer.
func (v *Verifier) look(h jose.Header) (key any, age time.Duration, failed error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	age = v.Now().Sub(v.fetched)
	if v.fetched.IsZero() {
		age = StaleFor
	}
	return v.find(h), age, v.failed
}

// refresh fetches the keys, one caller for all who come meanwhile. Tokens whose
// key is there do not wait for it.
func (v *Verifier) refresh(ctx context.Context, h jose.Header) {
	v.fetching.Lock()
	defer v.fetching.Unlock()
	if key, age, _ := v.look(h); key != nil && age < KeysFor {
		return
	}
	v.again(ctx)
}

// renew fetches what the issuer tells of itself, though not more often than it may be asked.
func (v *Verifier) renew(ctx context.Context) {
	v.fetching.Lock()
	defer v.fetching.Unlock()
	v.again(ctx)
}

// again is for who holds fetching.
func (v *Verifier) again(ctx context.Context) {
	now := v.Now()
	if !v.tried.IsZero() && now.Sub(v.tried) < FetchAfter {
		return
	}
	v.tried = now
	known, err := v.fetch(context.WithoutCancel(ctx)) // the caller may go away, others wait too
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failed = err; err == nil {
		v.known, v.fetched = known, now
	}
}

// find is the key that fits a token, nil where there is none. A token that names
// none is taken where the issuer has but one.
func (v *Verifier) find(h jose.Header) any {
	fits := func(k jose.JSONWebKey) bool {
		return k.IsPublic() && (k.Use == "" || k.Use == "sig") && (k.Algorithm == "" || k.Algorithm == h.Algorithm)
	}
	var found []jose.JSONWebKey
	for _, k := range v.known.keys.Keys {
		if fits(k) && (h.KeyID == "" || k.KeyID == h.KeyID) {
			found = append(found, k)
		}
	}
	if len(found) != 1 {
		return nil
	}
	return found[0].Key
}

// fetch asks the issuer for its keys and its addresses.
func (v *Verifier) fetch(ctx context.Context) (known issuer, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var discovery struct {
		Issuer    string `json:"issuer"`
		Keys      string `json:"jwks_uri"`
		Authorize string `json:"authorization_endpoint"`
		Token     string `json:"token_endpoint"`
	}
	if err := v.get(ctx, strings.TrimSuffix(v.Issuer, "/")+"/.well-known/openid-configuration", &discovery); err != nil {
		return known, err
	}
	if discovery.Issuer != v.Issuer {
		return known, fmt.Errorf("the issuer calls itself %q, not %q", discovery.Issuer, v.Issuer)
	}
	if !ValidURL(discovery.Keys) {
		return known, fmt.Errorf("the issuer's keys are at %q: https, or http on loopback", discovery.Keys)
	}
	known.authorize, known.token = discovery.Authorize, discovery.Token
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := v.get(ctx, discovery.Keys, &raw); err != nil {
		return known, err
	}
	for _, data := range raw.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(data, &k) == nil { // a kind of key that is not known here is none for us
			known.keys.Keys = append(known.keys.Keys, k)
		}
	}
	return known, nil
}

func (v *Verifier) get(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("asking the issuer: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	res, err := v.Client.Do(req)
	if err != nil {
		return fmt.Errorf("asking the issuer: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the issuer: %s answers %s", address, res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxDocument)).Decode(into); err != nil {
		return fmt.Errorf("asking the issuer: %s: %w", address, err)
	}
	return nil
}
