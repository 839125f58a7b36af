package console_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/browsertest"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/oidc/oidctest"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
)

// key makes a key of a site, as its operator does.
func key(t *testing.T, s *demo.Site, scopes ...access.Scope) string {
	t.Helper()
	st, err := store.Open(t.Context(), s.Settings.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	made, err := access.Make(access.NewKey{Name: "analyst", Scopes: scopes}, "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.CreateKey(t.Context(), made.Key, access.Hash(made.Secret)); err != nil {
		t.Fatal(err)
	}
	return made.Secret
}

// guarded is one site that asks who comes, and how to stop it.
func guarded(t *testing.T, change func(*settings.Settings)) (site *demo.Site, stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d, err := demo.Start(ctx, demo.Options{Sites: 1, DataDir: t.TempDir(), Version: "0.0.1", Log: slog.New(slog.DiscardHandler),
		Configure: func(_ int, s *settings.Settings) {
			s.HTTPAuth = string(access.Required)
			if change != nil {
				change(s)
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := d.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return d.Sites[0], stop
}

func TestAPersonSignsInAtTheIssuerAndOut(t *testing.T) {
	browser := browsertest.Start(t)
	issuer := oidctest.Start(t, time.Now)
	listener, err := net.Listen("tcp", "127.0.0.1:0") // the issuer must know where people go back to before the site is up
	if err != nil {
		t.Fatal(err)
	}
	at := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	site, _ := guarded(t, func(s *settings.Settings) {
		s.HTTPListen, s.OIDCIssuer, s.OIDCAudience, s.OIDCPrefix = at, issuer.URL, oidctest.Audience, oidctest.Prefix
		s.OIDCClient, s.OIDCSecret, s.OIDCRedirect = oidctest.ClientID, oidctest.Secret, "http://"+at+"/sign-in/callback"
	})
	p := browser.Open(t, site.API+"/deliveries", browsertest.Desk)
	p.Expect("it asks another host: " + issuer.URL) // when the person goes there
	p.Await("the page leads to the issuer", `location.pathname === '/sign-in' && document.querySelector('a[href^="/sign-in/begin"]')`)
	p.Accessible()
	p.Click(`a[href^="/sign-in/begin"]`)
	p.Await("the person is where they wanted to go, and known", `location.pathname === '/deliveries' && document.querySelector('.who .name')?.textContent === 'r.haas' && document.body.classList.contains('live')`)
	if browsertest.Eval[string](p, `document.cookie`) != "" {
		t.Error("a script can read the cookies")
	}
	p.Click(".who form button")
	p.Await("they are out", `location.pathname === '/sign-in' && !document.querySelector('.who .name')`)
	p.Do(chromedp.Navigate(site.API + "/alerts"))
	p.Await("and do not come in again by themselves", `location.pathname === '/sign-in'`)
}

func TestWhoMayOnlyReadSignsInAndIsOfferedNothingElseAndAPageOfALostSiteSaysSo(t *testing.T) {
	browser := browsertest.Start(t)
	site, stop := guarded(t, nil)
	writer, err := apiclient.New(site.API, apiclient.APIKey(key(t, site, access.AlertsWrite)))
	if err != nil {
		t.Fatal(err)
	}
	raise(t, writer, "For reading only", federation.High)

	p := browser.Open(t, site.API+"/", browsertest.Desk)
	p.Await("there is a page to sign in", `location.pathname === '/sign-in' && document.querySelector('input[type=password]')`)
	p.Accessible()
	p.Do(chromedp.SendKeys(chromedp.CSS("input[type=password]"), key(t, site, access.AlertsRead)+"\r"))
	p.Await("who may read alerts comes to the queue", `location.pathname === '/alerts' && document.querySelector('#rows .title')?.textContent.includes('For reading only')`)
	if browsertest.Eval[bool](p, `!!document.querySelector('input[type=checkbox], #bulkbar, nav a[href="/"], nav a[href="/deliveries"]')`) {
		t.Errorf("the page offers what it would refuse:\n%s", p.Text())
	}
	p.Accessible()
	p.Click("#rows .title a")
	p.Await("an alert can be read and not changed", `document.querySelector('h1')?.textContent === 'For reading only' && !document.querySelector('button[name=status]')`)

	p.Expect("403") // the browser notes what is refused
	p.Do(chromedp.Navigate(site.API + "/matrix"))
	p.Await("what is not for them says which scope it takes", `document.querySelector('.problem')?.textContent.includes('sites:read')`)

	p.Do(chromedp.Navigate(site.API + "/alerts"))
	p.Await("the page is live", `document.body.classList.contains('live')`)
	p.Expect("ERR_")
	stop()
	p.Await("the page says that it is old", `document.body.classList.contains('stale') && !document.querySelector('#banner').hidden && document.querySelector('#banner').textContent.includes('as it was at')`)
}
