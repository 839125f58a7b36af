package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/auroramesh/auroramesh/functions/gateway/console"
	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
)

const (
	signInPath  = "/sign-in"
	signOutPath = "/sign-out"
	// signInRate is how many keys a second may be tried from one address.
	signInRate = 5
)

func (g *gateway) registerSignIn(mux *routes) {
	mux.HandleFunc("GET "+signInPath, func(w http.ResponseWriter, r *http.Request) {
		if _, ok := access.PrincipalOf(r.Context()); ok {
			http.Redirect(w, r, within(r.URL.Query().Get("next")), http.StatusSeeOther) //nolint:gosec // within lets paths of this site through only
			return
		}
		g.showSignIn(w, r, http.StatusOK, r.URL.Query().Get("next"), "")
	})
	mux.HandleFunc("POST "+signInPath, g.signIn)
	mux.HandleFunc("POST "+signOutPath, g.signOut)
	mux.HandleFunc("GET "+beginPath, g.beginSignIn)
	mux.HandleFunc("GET "+callbackPath, g.finishSignIn)
}

func (g *gateway) showSignIn(w http.ResponseWriter, r *http.Request, status int, next, failed string) {
	p := console.SignIn{Next: within(next), Failed: failed}
	if g.SignIn != nil {
		p.Issuer = beginPath + "?next=" + url.QueryEscape(p.Next)
	}
	g.console.SignIn(w, r, status, p)
}

// signIn opens a session for whoever sends a good key as a form, and sends its
// secret as a cookie that no script can read and no other site can use. A page of
// another origin does not come so far: see [gateway.guard].
func (g *gateway) signIn(w http.ResponseWriter, r *http.Request) {
	if g.Auth != access.Required {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	if !g.mayTry(w, r) {
		return
	}
	if err := r.ParseForm(); err != nil {
		f := fault.New(fault.Malformed, "the form cannot be read")
		var over *http.MaxBytesError
		if errors.As(err, &over) {
			f = fault.New(fault.TooLarge, "the form has over %d bytes", MaxBody)
		}
		writeProblem(w, r, f)
		return
	}
	next, key := r.PostForm.Get("next"), strings.TrimSpace(r.PostForm.Get("key"))
	id, ok := access.IDOf(key)
	if !ok {
		g.showSignIn(w, r, http.StatusUnauthorized, next, "This is no key of a site: one begins with "+access.KeyPrefix+".")
		return
	}
	s, err := put(r.Context(), g, ask.OpenSession, ask.KeyProof{ID: id, Hash: access.Hash(key)})
	switch f := fault.Of(err); {
	case f == nil:
	case f.Code == fault.Unauthorized:
		g.showSignIn(w, r, http.StatusUnauthorized, next, "The key is not taken: "+f.Message+".")
		return
	default:
		noteCause(r.Context(), err)
		g.showSignIn(w, r, f.Code.HTTPStatus(), next, "Nobody can sign in at the moment: "+f.Message+".")
		return
	}
	g.opened(w, r, s)
	http.Redirect(w, r, within(next), http.StatusSeeOther) //nolint:gosec // within lets paths of this site through only
}

// mayTry refuses an address from which too many have tried to sign in.
func (g *gateway) mayTry(w http.ResponseWriter, r *http.Request) bool {
	d := g.signIns.take(access.Principal{Kind: "address", ID: arrived(r).from})
	if d == 0 {
		return true
	}
	w.Header().Set("Retry-After", strconv.Itoa(wait(d)))
	g.showSignIn(w, r, http.StatusTooManyRequests, "", "Too many have tried to sign in from this address. Wait a moment.")
	return false
}

// opened gives a session to the browser.
func (g *gateway) opened(w http.ResponseWriter, r *http.Request, s ask.Session) {
	setPrincipal(r.Context(), s.Principal)
	c := g.cookie(r, s.Secret) //nolint:gosec // Secure is set wherever the person came over TLS
	c.Expires = s.Until
	http.SetCookie(w, c)
}

// signOut ends the session of the request, if it has one, here and in the browser.
func (g *gateway) signOut(w http.ResponseWriter, r *http.Request) {
	if sent, err := credentialOf(r); err == nil && sent.kind == access.KindSession {
		if _, err := put(r.Context(), g, ask.CloseSession, ask.SessionProof{Hash: sent.hash}); err != nil {
			writeProblem(w, r, fault.Of(err))
			return
		}
		g.known.forget(sent.hash)
	}
	c := g.cookie(r, "") //nolint:gosec // Secure is set wherever the person came over TLS
	c.MaxAge = -1
	http.SetCookie(w, c)
	http.Redirect(w, r, signInPath, http.StatusSeeOther)
}

// cookie holds the secret of a session. A browser sends it with requests of this
// site's own pages alone, and under TLS never without.
func (*gateway) cookie(r *http.Request, secret string) *http.Cookie {
	tls := arrived(r).secure
	return &http.Cookie{ //nolint:gosec // Secure is set wherever the person came over TLS
		Name: sessionCookie(tls), Value: secret, Path: "/", HttpOnly: true, Secure: tls, SameSite: http.SameSiteStrictMode,
	}
}

// within is a path of this site to go on to, whatever was asked for.
func within(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

// toSignIn sends who opens a page in a browser to where they can sign in.
func toSignIn(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, signInPath+"?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
}
