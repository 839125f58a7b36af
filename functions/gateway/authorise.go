package gateway

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
)

// authorise hands a request to next where its principal has what the route takes.
// The handler finds the principal in the context, with [access.PrincipalOf]: so a
// page can leave out what the scopes forbid.
func (g *gateway) authorise(n need, next http.Handler) http.Handler {
	if n.audited {
		next = g.audited(next)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := g.authenticate(r)
		if err != nil && n.open { // the page to sign in, above all, is for who brings what is not good any more
			next.ServeHTTP(w, r)
			return
		}
		if err != nil {
			f := fault.Of(err)
			if n.page && f.Code == fault.Unauthorized {
				toSignIn(w, r)
				return
			}
			if f.Code == fault.Unauthorized {
				w.Header().Set("WWW-Authenticate", challenge(r))
			}
			g.refuse(w, r, n, f)
			return
		}
		if d := g.rates.take(p); d > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(wait(d)))
			g.refuse(w, r, n, fault.New(fault.TooMany, "%s may send %d requests a second", p.Name, g.RatePerSecond))
			return
		}
		if n.scope != "" && !p.May(n.scope) {
			refuse := g.forbid(n, p)
			if n.audited { // who tries what they may not do is of interest
				setPrincipal(r.Context(), p)
				refuse = g.audited(refuse)
			}
			refuse.ServeHTTP(w, r)
			return
		}
		setPrincipal(r.Context(), p)
		if n.stays {
			setAsksUntil(r.Context(), time.Time{})
		}
		ctx := access.WithPrincipal(r.Context(), p)
		if n.stays && g.Auth == access.Required {
			watched, stop := context.WithCancel(ctx)
			defer stop()
			go g.watch(watched, stop, r, n)
			ctx = watched
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// refuse answers with why a request is not let in now: as a page, where it is for one.
func (g *gateway) refuse(w http.ResponseWriter, r *http.Request, n need, f *fault.Error) {
	if n.page {
		g.console.Refused(w, r, f)
		return
	}
	writeProblem(w, r, f)
}

// watch ends an answer that has no end once its reader may not read it any more.
func (g *gateway) watch(ctx context.Context, stop context.CancelFunc, r *http.Request, n need) {
	look := time.NewTicker(g.Recheck)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		p, err := g.authenticate(r.WithContext(ctx))
		if fault.Is(err, fault.Unauthorized) || err == nil && !p.May(n.scope) {
			stop()
			return
		}
	}
}

// forbid refuses what p has not the scope for.
func (g *gateway) forbid(n need, p access.Principal) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.page {
			g.console.Forbidden(w, r.WithContext(access.WithPrincipal(r.Context(), p)), n.scope)
			return
		}
		f := fault.New(fault.Forbidden, "%s has not the scope %s", p.Name, n.scope)
		f.Fields = append(f.Fields, fieldOf("scope", access.Join(p.Scopes), string(n.scope)))
		w.Header().Set("WWW-Authenticate", `Bearer realm="auroramesh", error="insufficient_scope", scope="`+string(n.scope)+`"`)
		writeProblem(w, r, f)
	})
}
