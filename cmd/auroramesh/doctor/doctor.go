// Package doctor examines a site from the inside and says what is wrong and how to
// mend it. Each check is a small value: a name, what must be well before it makes
// sense, and a function that looks. A symptom is not told while its cause is: where
// NATS cannot be reached nobody hears that eighteen functions do not answer.
package doctor

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
)

// patience is how long one check may take.
const patience = 10 * time.Second

// Config says which site to examine.
type Config struct {
	Settings settings.Settings
	Version  string
	// NATS are further options of the connection, such as its credentials.
	NATS []nats.Option
	// OpenStore opens the database of the site.
	OpenStore func(context.Context) (*store.Store, error)
	Now       func() time.Time
}

// Finding is something that is wrong, and how to mend it.
type Finding struct {
	Wrong string `json:"wrong"`
	Mend  string `json:"mend"`
}

// The states of a check.
const (
	OK      = "ok"
	Wrong   = "wrong"
	Skipped = "skipped"
)

// Result is what one check came to.
type Result struct {
	Check    string    `json:"check"`
	Status   string    `json:"status"`             // ok, wrong or skipped
	Because  string    `json:"because,omitempty"`  // of which other check it was skipped
	Findings []Finding `json:"findings,omitempty"` // where it is wrong
}

// Report is the whole examination.
type Report struct {
	SiteID  string    `json:"site_id"`
	At      time.Time `json:"at"`
	Healthy bool      `json:"healthy"`
	Checks  []Result  `json:"checks"`
}

// check is one thing to look at, and the checks without which there is nothing to see.
type check struct {
	name  string
	needs []string
	look  func(context.Context, *patient) []Finding
}

// patient is the site under examination: what the earlier checks have opened.
type patient struct {
	Config
	bus   *function.Bus
	store *store.Store
	// well has the checks so far, by their names: whether nothing was wrong.
	well map[string]bool
	// forbidden gets what the server refuses on the connection.
	forbidden chan error
}

// checks is every check, causes before symptoms.
var checks = []check{
	{"nats", nil, reachable},
	{"jetstream", []string{"nats"}, jetStream},
	{"domain", []string{"nats", "jetstream"}, domain},
	{"permissions", []string{"nats"}, permissions},
	{"clock", []string{"nats", "jetstream"}, clock},
	{"site-id", []string{"nats"}, siteID},
	{"database", nil, database},
	{"migrations", []string{"database"}, migrations},
	{"certificates", nil, certificates},
	{"ports", nil, ports},
	{"functions", []string{"nats", "permissions"}, running},
	{"streams", []string{"nats", "jetstream", "permissions"}, streams},
	{"consumers", []string{"streams", "database", "migrations"}, consumers},
	{"leafnode", []string{"nats", "database", "migrations"}, leafnode},
	{"exchange", []string{"database", "migrations"}, exchange},
	{"keys", []string{"database", "migrations"}, keys},
	{"audit", []string{"database", "migrations"}, audit},
	{"peer-clocks", []string{"database", "migrations"}, peerClocks},
}

// Names lists the checks in their order.
func Names() []string {
	names := make([]string, len(checks))
	for i, c := range checks {
		names[i] = c.name
	}
	return names
}

// Examine makes every check and leaves the site as it was.
func Examine(ctx context.Context, c Config) Report {
	p := &patient{Config: c, well: map[string]bool{}, forbidden: make(chan error, 64)}
	defer p.close()
	report := Report{SiteID: c.Settings.SiteID, At: c.Now().UTC(), Healthy: true}
	for _, check := range checks {
		r := Result{Check: check.name, Status: OK}
		for _, need := range check.needs {
			if !p.well[need] {
				r.Status, r.Because = Skipped, need
				break
			}
		}
		if r.Status == OK {
			look, cancel := context.WithTimeout(ctx, patience)
			r.Findings = check.look(look, p)
			cancel()
		}
		if len(r.Findings) > 0 {
			r.Status, report.Healthy = Wrong, false
		}
		p.well[check.name] = r.Status == OK
		report.Checks = append(report.Checks, r)
	}
	return report
}

func (p *patient) close() {
	if p.bus != nil {
		p.bus.Conn().Close()
	}
	if p.store != nil {
		_ = p.store.Close() // nothing was written
	}
}

// found is one finding, or none where nothing is wrong.
func found(wrong, mend string) []Finding {
	return []Finding{{Wrong: wrong, Mend: mend}}
}

func list(names []string) string { return strings.Join(names, ", ") }
