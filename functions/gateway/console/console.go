// Package console is what analysts look at: the pages of a site, rendered here from
// what the functions answer over request/reply, as the API is. It holds no state.
//
// A page is a layout, a main part, and within it the live part. The script of the
// page listens to the site's event stream and asks for the live part again
// (?part=live) when something has happened, and every few seconds besides, and
// brings the page to it. So there is one way to render a thing, in one language, and
// without the script a page is whole but for being live. Where the site does not
// answer, the script shows how old the page is and takes its colours away.
//
// Everything is embedded: no other host is asked, and the content security policy
// allows neither inline scripts nor inline styles.
package console

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
)

//go:embed web
var web embed.FS

// askTimeout bounds how long a page waits for a function.
const askTimeout = 5 * time.Second

// Config is what a console is made from.
type Config struct {
	Site federation.Identity
	// Base is how to reach the site from its own machine, for examples.
	Base string
	Bus  *function.Bus
	Log  *slog.Logger
	Now  func() time.Time
	// Failed is told the cause of an error that a page shows without its detail.
	Failed func(context.Context, error)
	// StyleGuide says that there is a page of every part in every state.
	StyleGuide bool
}

// Console renders the pages of one site.
type Console struct {
	Config
	pages map[string]*template.Template
}

// New is the console of a site.
func New(c Config) *Console {
	k := &Console{Config: c, pages: map[string]*template.Template{}}
	for _, name := range []string{"map", "matrix", "queue", "campaigns", "outcome", "problem", "alert", "link", "site", "deliveries", "drill", "sign-in", "onward", "styleguide"} {
		k.pages[name] = template.Must(template.New(name).Funcs(words).ParseFS(web, "web/layout.html", "web/"+name+".html"))
	}
	return k
}

// Routes are the pages and what they send, by the pattern of the mux.
func (k *Console) Routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /{$}":                 k.showMap,
		"GET /matrix":              k.showMatrix,
		"GET /alerts":              k.showQueue,
		"GET /alerts/campaigns":    k.showCampaigns,
		"POST /alerts/status":      k.changeStatus,
		"GET /alerts/{id}":         k.showAlert,
		"GET /links/{id}":          k.showLink,
		"GET /sites/{id}":          k.showSite,
		"GET /deliveries":          k.showDeliveries,
		"GET /drills/{run}":        k.showDrill,
		"POST /deliveries/letters": k.doLetter,
		"GET /styleguide":          k.showStyleGuide,
		"GET /assets/console.css":  asset("console.css", "text/css; charset=utf-8"),
		"GET /assets/console.js":   asset("console.js", "text/javascript; charset=utf-8"),
		"GET /assets/live.js":      asset("live.js", "text/javascript; charset=utf-8"),
		"GET /assets/morph.js":     asset("morph.js", "text/javascript; charset=utf-8"),
		"GET /assets/map.js":       asset("map.js", "text/javascript; charset=utf-8"),
		"GET /assets/queue.js":     asset("queue.js", "text/javascript; charset=utf-8"),
	}
}

func asset(name, media string) http.HandlerFunc {
	data, err := web.ReadFile("web/" + name)
	if err != nil {
		panic(err) // every test would see it
	}
	packed := pack(data, gzip.BestCompression)
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", media)
		send(w, r, http.StatusOK, data, func() []byte { return packed })
	}
}

// send writes text, packed where the client takes that.
func send(w http.ResponseWriter, r *http.Request, status int, data []byte, packed func() []byte) {
	w.Header().Set("Vary", "Accept-Encoding")
	if takesGzip(r.Header.Get("Accept-Encoding")) {
		w.Header().Set("Content-Encoding", "gzip")
		data = packed()
	}
	w.WriteHeader(status)
	_, _ = w.Write(data) // the client may be gone
}

// takesGzip reports whether a client that sends this as Accept-Encoding takes gzip.
func takesGzip(accepts string) bool {
	for part := range strings.SplitSeq(accepts, ",") {
		coding, weight, _ := strings.Cut(part, ";")
		if strings.TrimSpace(coding) == "gzip" {
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
			return err != nil || q > 0
		}
	}
	return false
}

func pack(data []byte, level int) []byte {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, level)
	if err == nil {
		_, err = z.Write(data)
	}
	if err != nil || z.Close() != nil {
		panic("packing into memory cannot fail")
	}
	return out.Bytes()
}

// view is what every template is given.
type view struct {
	Page, Title string
	Site        federation.Identity
	// Live says that the page is brought up to date; Refresh is from where.
	Live    bool
	Refresh string
	// Events says that the page may follow the event stream.
	Events bool
	Nav    []navLink

	Known, SignedIn, MayWrite bool
	Who, Scopes               string

	Data any
}

type navLink struct {
	Name, Href string
	Here       bool
}

// view is a page for whoever asks.
func (k *Console) view(r *http.Request, page, title string, data any) view {
	p, known := access.PrincipalOf(r.Context())
	v := view{
		Page: page, Title: title, Site: k.Site, Live: true, Refresh: r.URL.RequestURI(), Events: p.May(access.AlertsRead),
		Known: known, SignedIn: known && p.Kind != access.KindLocal, MayWrite: p.May(access.AlertsWrite), Who: p.Name, Scopes: access.Join(p.Scopes), Data: data,
	}
	for _, n := range []struct {
		scope      access.Scope
		name, href string
		pages      []string
	}{
		{access.SitesRead, "Map", "/", []string{"map", "matrix", "link", "site"}},
		{access.AlertsRead, "Alerts", "/alerts", []string{"queue", "alert", "campaigns"}},
		{access.SitesRead, "Deliveries", "/deliveries", []string{"deliveries", "drill"}},
	} {
		if !p.May(n.scope) {
			continue
		}
		here := false
		for _, name := range n.pages {
			here = here || name == page
		}
		v.Nav = append(v.Nav, navLink{n.name, n.href, here})
	}
	v.Nav = append(v.Nav, navLink{"API", "/docs", false})
	return v
}

// show writes a page, or its live part where that is asked for.
func (k *Console) show(w http.ResponseWriter, r *http.Request, status int, name string, v view) {
	if u, err := url.ParseRequestURI(v.Refresh); err == nil { // the address without what asks for a part
		q := u.Query()
		q.Del("part")
		u.RawQuery = q.Encode()
		v.Refresh = u.String()
	}
	part := "page"
	if r.FormValue("part") == "live" {
		part = "live"
	}
	k.write(w, r, status, name, part, v)
}

func (k *Console) write(w http.ResponseWriter, r *http.Request, status int, name, part string, v view) {
	var out bytes.Buffer
	if err := k.pages[name].ExecuteTemplate(&out, part, v); err != nil {
		panic(fmt.Errorf("rendering %s: %w", name, err)) // a mistake in a template
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	send(w, r, status, out.Bytes(), func() []byte { return pack(out.Bytes(), gzip.BestSpeed) })
}

// trouble is a page that cannot be shown, and why.
type trouble struct{ Heading, Text, Do, ID string }

// fail shows an error in place of a page.
func (k *Console) fail(w http.ResponseWriter, r *http.Request, page, title string, err error) {
	f := fault.Of(err)
	t := trouble{Heading: f.Code.Title(), Text: f.Message + "."}
	switch f.Code {
	case fault.Internal:
		k.Failed(r.Context(), err)
		t.Text, t.ID = "Something in the site went wrong.", function.RequestID(r.Context())
	case fault.Unavailable, fault.Timeout:
		t.Do = "auroramesh run   # and see what is wrong: curl " + k.Base + "/health"
	}
	v := k.view(r, page, title, t)
	v.Live = f.Code.HTTPStatus() >= 500 // it may be mended
	if v.Live {
		w.Header().Set("Retry-After", "1")
	}
	k.show(w, r, f.Code.HTTPStatus(), "problem", v)
}

// Refused is the page of a request that is not let in now, and why.
func (k *Console) Refused(w http.ResponseWriter, r *http.Request, f *fault.Error) {
	k.fail(w, r, "problem", "Not now", f)
}

// Forbidden is the page of one who has not the scope that a page takes.
func (k *Console) Forbidden(w http.ResponseWriter, r *http.Request, missing access.Scope) {
	v := k.view(r, "problem", "Not for you", forbidden(missing))
	v.Live = false
	k.show(w, r, http.StatusForbidden, "problem", v)
}

func forbidden(missing access.Scope) trouble {
	return trouble{
		Heading: "You may not see this", Text: fmt.Sprintf("It takes the scope %s, which whoever keeps the keys of this site can give you.", missing),
	}
}

// put puts a question to a function of the own site.
func put[Req, Res any](ctx context.Context, k *Console, e function.Endpoint[Req, Res], req Req) (Res, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return function.Ask(ctx, k.Bus, k.Site.ID, e, req)
}
