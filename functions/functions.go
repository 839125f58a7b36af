// Package functions is the list of every function of a site, in plain sight: a
// name, what it needs, and how it is made. A function that is not on the list
// does not exist.
package functions

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/alertintake"
	"github.com/auroramesh/auroramesh/functions/alertquery"
	"github.com/auroramesh/auroramesh/functions/alertrelay"
	"github.com/auroramesh/auroramesh/functions/alertsink"
	"github.com/auroramesh/auroramesh/functions/deadletters"
	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/functions/healthsink"
	"github.com/auroramesh/auroramesh/functions/heartbeat"
	"github.com/auroramesh/auroramesh/functions/ledger"
	"github.com/auroramesh/auroramesh/functions/linkprobe"
	"github.com/auroramesh/auroramesh/functions/peeradmit"
	"github.com/auroramesh/auroramesh/functions/staleness"
	"github.com/auroramesh/auroramesh/functions/topologyquery"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
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
	New       func(Env, *function.Bus) function.Function
}

// All is the list, in the order of start: who answers comes before who asks.
func All() []Entry { return list }

// limits bound the alerts that wait for a peer that is away.
var limits = stream.Limits{MaxAge: 7 * 24 * time.Hour, MaxBytes: 2 << 30}

var list []Entry

func init() { // the gateway's entry names the others, so the list refers to itself
	list = []Entry{
		{Name: "alertquery", New: func(e Env, b *function.Bus) function.Function { return alertquery.New(e.Store, b, e.Now) }},
		{Name: "topologyquery", New: func(e Env, b *function.Bus) function.Function {
			return topologyquery.New(e.Settings.Thresholds(), e.Store, b, e.Now)
		}},
		{Name: "alertrelay", New: func(e Env, b *function.Bus) function.Function { return alertrelay.New(limits, e.Store, b, e.Now) }},
		{Name: "alertintake", New: func(e Env, b *function.Bus) function.Function {
			return alertintake.New(e.Settings.Gate(), e.Store, b, e.Registerer, e.Log, e.Now)
		}},
		{Name: "peeradmit", Mesh: true, New: func(e Env, b *function.Bus) function.Function {
			return peeradmit.New(e.Settings.Gate(), limits, e.Store, b)
		}},
		{Name: "alertsink", Mesh: true, New: func(e Env, b *function.Bus) function.Function {
			return alertsink.New(e.Store, b, e.Registerer, e.Now)
		}},
		{Name: "ledger", Mesh: true, New: func(e Env, b *function.Bus) function.Function {
			return ledger.New(e.Settings.Gate(), limits, e.Store, b, e.Registerer, e.Now)
		}},
		{Name: "staleness", New: func(e Env, b *function.Bus) function.Function {
			return staleness.New(e.Settings.Heartbeat(), e.Settings.Thresholds(), e.Store, b, e.Log, e.Now)
		}},
		{Name: "linkprobe", Mesh: true, New: func(e Env, b *function.Bus) function.Function {
			return linkprobe.New(e.Settings.Thresholds(), e.Store, b, e.Registerer, e.Log, e.Now)
		}},
		{Name: "healthsink", Mesh: true, New: func(e Env, b *function.Bus) function.Function {
			return healthsink.New(e.Settings.Thresholds(), e.Store, b, e.Now)
		}},
		{Name: "heartbeat", New: func(e Env, b *function.Bus) function.Function {
			return heartbeat.New(e.Settings.Heartbeat(), e.Settings.Enabled, e.Settings.Thresholds(), e.Store, b, e.Now)
		}},
		{Name: "deadletters", Stateless: true, New: func(_ Env, b *function.Bus) function.Function { return deadletters.New(b) }},
		{Name: "gateway", Stateless: true, New: func(e Env, b *function.Bus) function.Function {
			return gateway.New(b.Site(), e.Settings.HTTPListen, expected(e.Settings), b, e.Registry, e.Log, e.Now)
		}},
	}
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
	for _, n := range names {
		i := slices.IndexFunc(list, func(e Entry) bool { return e.Name == n })
		switch {
		case i < 0:
			wrong.Add("function", n, strings.Join(Names(), ", "))
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
