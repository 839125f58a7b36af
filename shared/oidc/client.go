package oidc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
)

// Client signs people in at the issuer: by the authorization code flow with PKCE,
// so that a code is worth nothing to whoever did not begin.
type Client struct {
	*Verifier
	// ID is that of the site at the issuer. Secret is empty where it has none there.
	ID, Secret string
	// Redirect is the address of the site to which the issuer sends people back.
	Redirect string
}

// Pending is a sign-in that has begun. The browser that began it keeps it until it
// comes back, and nobody else has it.
type Pending struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
}

// Begin is where to send a person, and what their browser must bring back. The error
// is [fault.Unavailable] where the issuer cannot be asked.
func (c *Client) Begin(ctx context.Context) (address string, p Pending, err error) {
	known, err := c.endpoints(ctx)
	if err != nil {
		return "", p, err
	}
	to, err := url.Parse(known.authorize)
	if err != nil {
		return "", p, fmt.Errorf("reading the address of the issuer: %w", err)
	}
	p = Pending{State: random(), Nonce: random(), Verifier: random()}
	challenge := sha256.Sum256([]byte(p.Verifier))
	scopes := []string{"openid"}
	for _, s := range access.Scopes() {
		scopes = append(scopes, c.ScopePrefix+string(s))
	}
	q := to.Query() // it may have some of its own
	for name, value := range map[string]string{
		"response_type": "code", "client_id": c.ID, "redirect_uri": c.Redirect, "scope": strings.Join(scopes, " "),
		"state": p.State, "nonce": p.Nonce, "code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]), "code_challenge_method": "S256",
	} {
		q.Set(name, value)
	}
	to.RawQuery = q.Encode()
	return to.String(), p, nil
}

// Finish is who has signed in, by what the issuer sent their browser back with. The
// error is [fault.Unauthorized] where that is not good, Unavailable where the issuer cannot be asked.
func (c *Client) Finish(ctx context.Context, p Pending, answer url.Values) (who access.Principal, err error) {
	if p.State == "" || subtle.ConstantTimeCompare([]byte(p.State), []byte(answer.Get("state"))) != 1 {
		return who, fault.New(fault.Unauthorized, "this sign-in was not begun in this browser, or too long ago")
	}
	if said := answer.Get("error"); said != "" {
		return who, fault.New(fault.Unauthorized, "the issuer refuses: %s", brief(said+" "+answer.Get("error_description")))
	}
	known, err := c.endpoints(ctx)
	if err != nil {
		return who, err
	}
	tokens, err := c.exchange(ctx, known.token, answer.Get("code"), p.Verifier)
	if err != nil {
		return who, err
	}
	id, err := c.claims(ctx, tokens.ID, c.ID)
	if err != nil {
		return who, err
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(p.Nonce)) != 1 {
		return who, refused("it is for another sign-in")
	}
	who, _, err = c.Verify(ctx, tokens.Access)
	if err == nil && who.ID != id.Subject {
		return access.Principal{}, refused("the tokens are for two people")
	}
	return who, err
}

// endpoints is what is known of the issuer, which is asked where that is old.
func (c *Client) endpoints(ctx context.Context) (issuer, error) {
	now := c.Now()
	look := func() (known issuer, age time.Duration, failed error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.known, now.Sub(c.fetched), c.failed
	}
	known, age, failed := look()
	if known.authorize == "" || age >= KeysFor {
		c.renew(ctx)
		known, _, failed = look()
	}
	if !ValidURL(known.authorize) || !ValidURL(known.token) {
		if failed == nil {
			failed = fmt.Errorf("it says that people sign in at %q and codes are exchanged at %q: https, or http on loopback", known.authorize, known.token)
		}
		return known, fmt.Errorf("%w: %w", fault.New(fault.Unavailable, "the issuer does not tell where to sign in"), failed)
	}
	return known, nil
}

// tokens is the answer to a code.
type tokens struct {
	Access string `json:"access_token"`
	ID     string `json:"id_token"`
	Error  string `json:"error"`
	Why    string `json:"error_description"`
}

// exchange has the issuer give tokens for a code.
func (c *Client) exchange(ctx context.Context, at, code, verifier string) (t tokens, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {c.Redirect}, "client_id": {c.ID}, "code_verifier": {verifier}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return t, fmt.Errorf("asking the issuer: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if c.Secret != "" {
		req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret)) // RFC 6749, 2.3.1
	}
	away := fault.New(fault.Unavailable, "the issuer does not answer")
	res, err := c.Client.Do(req)
	if err != nil {
		return t, fmt.Errorf("%w: %w", away, err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxDocument)).Decode(&t); err != nil {
		return t, fmt.Errorf("%w: %s: %w", away, res.Status, err)
	}
	switch {
	case res.StatusCode == http.StatusOK && t.Access != "" && t.ID != "":
		return t, nil
	case res.StatusCode >= http.StatusInternalServerError:
		return t, fmt.Errorf("%w: %w", away, errors.New(res.Status))
	case t.Error != "":
		return t, fault.New(fault.Unauthorized, "the issuer refuses: %s", brief(t.Error+" "+t.Why))
	}
	return t, fault.New(fault.Unauthorized, "the issuer gives no tokens: %s", res.Status)
}

// brief is what somebody else says, short and in one line.
func brief(said string) string {
	said = strings.Join(strings.Fields(said), " ")
	if r := []rune(said); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return said
}

// random is 256 random bits, in letters that an address may have.
func random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: it would end the program
	return base64.RawURLEncoding.EncodeToString(b)
}
