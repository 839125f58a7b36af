package console

import "net/http"

// SignIn is what the page to sign in shows.
type SignIn struct {
	// Next is where to go afterwards, Failed why the last try did not succeed.
	Next, Failed string
	// Issuer is where to begin at the OIDC issuer; empty: there is none.
	Issuer string
	// Focus says that the field of the key is where one begins.
	Focus bool
}

// SignIn shows the page to sign in.
func (k *Console) SignIn(w http.ResponseWriter, r *http.Request, status int, p SignIn) {
	p.Focus = p.Issuer == ""
	v := k.view(r, "sign-in", "Sign in", p)
	v.Live, v.Known = false, false
	k.show(w, r, status, "sign-in", v)
}

// Onward shows a page that leads on to a path of the site by itself.
func (k *Console) Onward(w http.ResponseWriter, r *http.Request, to string) {
	k.write(w, r, http.StatusOK, "onward", "page", view{Title: "Signed in", Site: k.Site, Data: to})
}
