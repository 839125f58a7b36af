package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
)

// What a request may carry to say who it comes from, beside Authorization: Bearer.
const (
	apiKeyHeader = "X-API-Key" //nolint:gosec // the name of a header, no key
	sessionName  = "auroramesh_session"
)

// authenticate says who a request comes from. The error is a 401 where it does not
// say, or what it says is not good, and a 503 where nobody can tell.
func (g *gateway) authenticate(r *http.Request) (access.Principal, error) {
	if g.Auth != access.Required {
		return access.Local(), nil
	}
	sent, err := credentialOf(r)
	if err != nil {
		return access.Principal{}, err
	}
	return g.known.lookUp(r.Context(), sent.hash, func(ctx context.Context) (ask.Known, error) { return g.ask(ctx, sent) })
}

// credential is what a request shows. The secret of a key or a session goes no further.
type credential struct {
	kind  access.Kind
	keyID string // of a key
	token string
	hash  string
}

func credentialOf(r *http.Request) (credential, error) {
	bearer, key := "", r.Header.Get(apiKeyHeader)
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, rest, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return credential{}, fault.New(fault.Unauthorized, "of the schemes of Authorization only Bearer is taken")
		}
		bearer = strings.TrimSpace(rest)
	}
	switch {
	case bearer != "" && key != "":
		return credential{}, fault.New(fault.Unauthorized, "there is both Authorization and %s: send one of them", apiKeyHeader)
	case bearer != "":
		key = bearer
	}
	if bearer != "" && !strings.HasPrefix(bearer, access.KeyPrefix) && strings.Count(bearer, ".") == 2 {
		return credential{kind: access.KindToken, token: bearer, hash: access.Hash(bearer)}, nil
	}
	if key != "" {
		id, ok := access.IDOf(key)
		if !ok {
			return credential{}, fault.New(fault.Unauthorized, "what was sent is no key of a site")
		}
		return credential{kind: access.KindKey, keyID: id, hash: access.Hash(key)}, nil
	}
	for _, name := range []string{sessionCookie(true), sessionCookie(false)} {
		if c, err := r.Cookie(name); err == nil && c.Value != "" {
			return credential{kind: access.KindSession, hash: access.Hash(c.Value)}, nil
		}
	}
	return credential{}, fault.New(fault.Unauthorized, "this takes a key: send it as Authorization: Bearer or as %s", apiKeyHeader)
}

// sessionCookie is the name of the cookie. Under TLS the prefix makes a browser
// refuse one that another host, or a page without TLS, would set in its place.
func sessionCookie(tls bool) string {
	if tls {
		return "__Host-" + sessionName
	}
	return sessionName
}

// ask puts a credential to who can tell whose it is.
func (g *gateway) ask(ctx context.Context, sent credential) (ask.Known, error) {
	switch sent.kind {
	case access.KindSession:
		return put(ctx, g, ask.CheckSession, ask.SessionProof{Hash: sent.hash})
	case access.KindToken:
		if g.Tokens == nil {
			return ask.Known{}, fault.New(fault.Unauthorized, "this site takes keys, and no tokens of an issuer")
		}
		p, until, err := g.Tokens.Verify(ctx, sent.token)
		if err != nil && !fault.Is(err, fault.Unauthorized) {
			g.log.WarnContext(ctx, "an access token cannot be checked", "error", err)
		}
		return ask.Known{Principal: p, Until: &until}, err
	}
	return put(ctx, g, ask.CheckKey, ask.KeyProof{ID: sent.keyID, Hash: sent.hash})
}

// challenge is the header that goes with a 401.
func challenge(r *http.Request) string {
	if r.Header.Get("Authorization") == "" && r.Header.Get(apiKeyHeader) == "" {
		return `Bearer realm="auroramesh"`
	}
	return `Bearer realm="auroramesh", error="invalid_token"`
}

// wait is d in whole seconds, at least one, for Retry-After.
func wait(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }
