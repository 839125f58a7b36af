// Package functions is the list of every function of a site, in plain sight: a
// name, what it needs, and how it is made. A function that is not on the list
// does not exist.
package functions

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/access"
	"github.com/auroramesh/auroramesh/functions/alertintake"
	"github.com/auroramesh/auroramesh/functions/alertquery"
	"github.com/auroramesh/auroramesh/functions/alertrelay"
	"github.com/auroramesh/auroramesh/functions/alertsink"
	"github.com/auroramesh/auroramesh/functions/backlog"
	"github.com/auroramesh/auroramesh/functions/deadletters"
	"github.com/auroramesh/auroramesh/functions/deliverywatch"
	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/functions/healthsink"
	"github.com/auroramesh/auroramesh/functions/heartbeat"
	"github.com/auroramesh/auroramesh/functions/ledger"
	"github.com/auroramesh/auroramesh/functions/linkprobe"
	"github.com/auroramesh/auroramesh/functions/peeradmit"
	"github.com/auroramesh/auroramesh/functions/reconcile"
	"github.com/auroramesh/auroramesh/functions/retention"
	"github.com/auroramesh/auroramesh/functions/sharing"
	"github.com/auroramesh/auroramesh/functions/staleness"
	"github.com/auroramesh/auroramesh/functions/topologyquery"
	"github.com/auroramesh/auroramesh/functions/trust"
	sharedaccess "github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/certificate"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/oidc"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/stream"
)

// Env is what the functions of a site are made from.
type Env struct {
	Settings settings.Settings
	// Store is nil in a process whose functions need none.
	Store *store.Store
	// Registry is served at /metrics; what a function counts it registers with
	// Registerer, which adds the label of the site.
	Registry   *prometheus.Registry
	Registerer prometheus.Registerer
	Log        *slog.Logger
	Now        func() time.Time
}

// Entry is one function on the list.
type Entry struct {
	Name string
	// Mesh says that the function is of use only where federation is on.
	Mesh bool
	// Stateless says that the function never opens the database.
	Stateless bool
	// Signs says that the function speaks to the peers in the name of the site, so that
	// it has the site's key; no other has.
	Signs bool
	New   func(Env, *function.Bus) function.Function
}

// All is the list, in the order of start: who answers comes before who asks.
func All() []Entry { return list }

// limits are those of the alert stream.
func limits(s settings.Settings) stream.Limits { return stream.Above(s.Backlog()) }

var list []Entry

func init() { // the gateway's entry names the others, so the list refers to itself
	list = []Entry{
		{Name: "access", New: func(e Env, _ *function.Bus) function.Function {
			return access.New(e.Settings.Session(), e.Store, e.Log, e.Now)
		}},
		{Name: "alertquery", New: func(e Env, b *function.Bus) function.Function { return alertquery.New(e.Store, b, e.Now) }},
		{Name: "topologyquery", New: func(e Env, b *function.Bus) function.Function {
			return topologyquery.New(e.Settings.Thresholds(), e.Store, b, e.Registerer, e.Now)
		}},
		{Name: "alertrelay", Signs: true, New: func(e Env, b *function.Bus) function.Function {
			return alertrelay.New(limits(e.Settings), e.Store, b, e.Registerer, e.Now)
		}},
		{Name: "alertintake", New: func(e Env, b *function.Bus) function.Function {
			return alertintake.New(e.Settings.Gate(), e.Store, b, e.Registerer, e.Log, e.Now)
		}},
		{Name: "peeradmit", Mesh: true, New: func(e Env, b *function.Bus) function.Function {
			return peeradmit.New(e.Settings.Gate(), e.Settings.Thresholds().Degraded, limits(e.Settings), e.Store, b, e.Now)
		}},
		{Name: "sharing", New: func(e Env, b *function.Bus) function.Function {
			return sharing.New(e.Settings.Gate(), e.Store, b, e.Now)
		}},
		{Name: "trust", Mesh: true, New: func(e Env, b *function.Bus) function.Function {
			return trust.New(e.Store, b, e.Log, e.Now)
		}},
		{Name: "alertsink", Mesh: true, New: func(e Env, b *function.Bus) function.Function {
			return alertsink.New(e.Store, b, e.Registerer, e.Log, e.Now)
		}},
		{Name: "ledger", Mesh: true, Signs: true, New: func(e Env, b *function.Bus) function.Function {
			return ledger.New(e.Settings.Gate(), e.Settings.Backlog(), e.Store, b, e.Registerer, e.Now)
		}},
		{Name: "backlog", Mesh: true, New: func(e Env, b *function.Bus) function.Function {
			return backlog.New(e.Settings.Backlog(), e.Store, b, e.Registerer, e.Log, e.Now)
		}},
		{Name: "deliverywatch", Mesh: true, New: func(e Env, b *function.Bus) function.Function {
			return deliverywatch.New(e.Settings.Stalled(), e.Settings.Thresholds(), limits(e.Settings), e.Store, b, e.Registerer, e.Log, e.Now)
		}},
		{Name: "reconcile", Mesh: true, Signs: true, New: func(e Env, b *function.Bus) function.Function {
			c := reconcile.Config{Gate: e.Settings.Gate(), Interval: e.Settings.Reconcile(), Backfill: e.Settings.Backfill()}
			return reconcile.New(c, e.Store, b, e.Registerer, e.Log, e.Now)
		}},
		{Name: "staleness", New: func(e Env, b *function.Bus) function.Function {
			return staleness.New(e.Settings.Heartbeat(), e.Settings.Thresholds(), e.Store, b, e.Log, e.Now)
		}},
		{Name: "retention", New: func(e Env, _ *function.Bus) function.Function {
			closed, history, refused := e.Settings.Retention()
			c := retention.Config{ClosedAlerts: closed, History: history, RefusedAlerts: refused, Backlog: e.Settings.Backlog().Age, Compared: e.Settings.Backfill()}
			return retention.New(c, e.Store, e.Registerer, e.Log, e.Now)
		}},
		{Name: "linkprobe", Mesh: true, New: func(e Env, b *function.Bus) function.Function {
			return linkprobe.New(e.Settings.Heartbeat(), e.Settings.Thresholds(), e.Store, b, e.Registerer, e.Log, e.Now)
		}},
		{Name: "healthsink", Mesh: true, New: func(e Env, b *function.Bus) function.Function {
			return healthsink.New(e.Settings.Thresholds(), e.Store, b, e.Now)
		}},
		{Name: "heartbeat", Signs: true, New: func(e Env, b *function.Bus) function.Function {
			return heartbeat.New(e.Settings.Heartbeat(), e.Settings.Enabled, expected(e.Settings), e.Settings.Gate(), e.Settings.Thresholds(), e.Store, b, e.Now)
		}},
		{Name: "deadletters", Stateless: true, New: func(_ Env, b *function.Bus) function.Function { return deadletters.New(b) }},
		{Name: "gateway", Stateless: true, New: func(e Env, b *function.Bus) function.Function {
			issuer := tokens(e)
			return gateway.New(gateway.Config{
				Site: b.Site(), Listen: e.Settings.HTTPListen, Functions: expected(e.Settings), Bus: b,
				Auth: sharedaccess.Mode(e.Settings.HTTPAuth), RatePerSecond: e.Settings.HTTPRate,
				Certificates: certificate.Split(e.Settings.CertFiles, e.Settings.HTTPCert), Registry: e.Registry, Log: e.Log, Now: e.Now,
				CertFile: e.Settings.HTTPCert, KeyFile: e.Settings.HTTPKey, Proxies: e.Settings.TrustedProxies(), Tokens: issuer, SignIn: signIn(e, issuer),
				StyleGuide: e.Settings.StyleGuide,
			})
		}},
	}
}

// tokens checks the access tokens of the issuer of the settings; nil where there is none.
func tokens(e Env) *oidc.Verifier {
	s := e.Settings
	if s.OIDCIssuer == "" {
		return nil
	}
	return oidc.New(oidc.Config{Issuer: s.OIDCIssuer, Audience: s.OIDCAudience, ScopePrefix: s.OIDCPrefix, Client: http.DefaultClient, Now: e.Now})
}

// signIn has people sign in at that issuer; nil where the site is no client of it.
func signIn(e Env, issuer *oidc.Verifier) *oidc.Client {
	s := e.Settings
	if s.OIDCClient == "" {
		return nil
	}
	return &oidc.Client{Verifier: issuer, ID: s.OIDCClient, Secret: s.OIDCSecret, Redirect: s.OIDCRedirect}
}

// expected names the functions that run at a site with these settings.
func expected(s settings.Settings) []string {
	var names []string
	for _, e := range list {
		if !e.Mesh || s.Enabled {
			names = append(names, e.Name)
		}
	}
	return names
}

// Names lists every function, in the order of start.
func Names() []string {
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name
	}
	return names
}

// Choose is the entries with the given names, in the order of start; no name at
// all chooses every function of use with these settings. An unknown name, or one
// of no use with federation off, is refused.
func Choose(s settings.Settings, names ...string) ([]Entry, error) {
	if len(names) == 0 {
		names = expected(s)
	}
	var wrong fault.Fields
	for at, n := range names {
		i := slices.IndexFunc(list, func(e Entry) bool { return e.Name == n })
		switch {
		case i < 0:
			wrong.Add("function", n, strings.Join(Names(), ", "))
		case slices.Contains(names[:at], n):
			wrong.Add("function", n, "each once in a process; a second replica is a second process")
		case list[i].Mesh && !s.Enabled:
			wrong.Add("function", n, "federation is off (FEDERATION_ENABLED=false), so this function has nothing to do; "+strings.Join(expected(s), ", "))
		}
	}
	var chosen []Entry
	for _, e := range list {
		if slices.Contains(names, e.Name) {
			chosen = append(chosen, e)
		}
	}
	return chosen, wrong.Err("the functions cannot be run")
}
