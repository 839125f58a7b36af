package gateway

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/oidc"
)

const (
	beginPath    = "/sign-in/begin"
	callbackPath = "/sign-in/callback"
	// pendingFor is how long a person may take at the issuer.
	pendingFor = 10 * time.Minute
)

// pending is a sign-in that has begun, as the browser keeps it: a cookie that no
// script can read, and without which nobody can finish it.
type pending struct {
	oidc.Pending
	Next string `json:"to"`
}

// beginSignIn sends a person to the issuer.
func (g *gateway) beginSignIn(w http.ResponseWriter, r *http.Request) {
	next := within(r.URL.Query().Get("next"))
	if g.SignIn == nil || g.Auth != access.Required {
		http.Redirect(w, r, signInPath, http.StatusSeeOther)
		return
	}
	if !g.mayTry(w, r) {
		return
	}
	to, p, err := g.SignIn.Begin(r.Context())
	if err != nil {
		g.notSignedIn(w, r, next, err)
		return
	}
	data, err := json.Marshal(pending{p, next})
	if err != nil {
		g.notSignedIn(w, r, next, err)
		return
	}
	c := g.pendingCookie(r, base64.RawURLEncoding.EncodeToString(data)) //nolint:gosec // Secure is set wherever the person came over TLS
	c.MaxAge = int(pendingFor.Seconds())
	http.SetCookie(w, c)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// finishSignIn opens a session for who comes back from the issuer. The page that it
// answers leads on by itself: a redirect would still be a request of the issuer's page,
// and the browser would keep the session's cookie back.
func (g *gateway) finishSignIn(w http.ResponseWriter, r *http.Request) {
	if g.SignIn == nil || g.Auth != access.Required {
		http.Redirect(w, r, signInPath, http.StatusSeeOther)
		return
	}
	if !g.mayTry(w, r) {
		return
	}
	var p pending
	if c, err := r.Cookie(pendingCookie(arrived(r).secure)); err == nil {
		if data, err := base64.RawURLEncoding.DecodeString(c.Value); err == nil {
			_ = json.Unmarshal(data, &p) // what is no pending sign-in fits no state
		}
	}
	gone := g.pendingCookie(r, "") //nolint:gosec // Secure is set wherever the person came over TLS
	gone.MaxAge = -1
	http.SetCookie(w, gone)
	who, err := g.SignIn.Finish(r.Context(), p.Pending, r.URL.Query())
	if err != nil {
		g.notSignedIn(w, r, p.Next, err)
		return
	}
	if len(who.Scopes) == 0 {
		g.notSignedIn(w, r, p.Next, fault.New(fault.Unauthorized, "the issuer knows %s, and gives none of the scopes %s", who.Name, access.ScopeForm))
		return
	}
	s, err := put(r.Context(), g, ask.OpenIssuerSession, ask.IssuerSession{Principal: who})
	if err != nil {
		g.notSignedIn(w, r, p.Next, err)
		return
	}
	g.opened(w, r, s)
	g.console.Onward(w, r, within(p.Next))
}

// notSignedIn shows the page to sign in, with why that did not succeed.
func (g *gateway) notSignedIn(w http.ResponseWriter, r *http.Request, next string, err error) {
	f := fault.Of(err)
	if f.Code != fault.Unauthorized {
		noteCause(r.Context(), err)
		g.showSignIn(w, r, f.Code.HTTPStatus(), next, "Nobody can sign in there at the moment: "+f.Message+".")
		return
	}
	g.showSignIn(w, r, http.StatusUnauthorized, next, "You are not signed in: "+f.Message+".")
}

// pendingCookie is sent when the person comes back from the issuer's page too, hence Lax.
func (*gateway) pendingCookie(r *http.Request, value string) *http.Cookie {
	tls := arrived(r).secure
	return &http.Cookie{ //nolint:gosec // Secure is set wherever the person came over TLS
		Name: pendingCookie(tls), Value: value, Path: "/", HttpOnly: true, Secure: tls, SameSite: http.SameSiteLaxMode,
	}
}

func pendingCookie(tls bool) string {
	if tls {
		return "__Host-auroramesh_sign_in"
	}
	return "auroramesh_sign_in"
}
