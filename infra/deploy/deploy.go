// Package deploy makes the files that start a site from the list of its functions:
// compose.yaml, the Kubernetes manifests and the systemd units. What is alike for
// every function stands in a template here, once; what a site decides for itself
// stands in the directories around the made files. The list is an argument, so that
// this package knows no function; a test compares the files with it, and with
// -update writes them.
package deploy

import (
	"bytes"
	"embed"
	"fmt"
	"strings"
	"text/template"
)

// Function is what a deployment must know of a function.
type Function struct {
	Name string
	// Stateless says that it opens no database.
	Stateless bool
	// Signs says that it needs the key of the site.
	Signs bool
}

// Versions of the programs beside auroramesh.
const (
	NATS       = "2.15.2"
	PostgreSQL = "17"
)

// FirstMetricsPort is where the metrics of the first function are on a machine that
// runs each as a unit of systemd; each further function has the next port.
const FirstMetricsPort = 9101

//go:embed templates
var templates embed.FS

// made says which template makes which file, as a path from the root of the repository.
var made = map[string]string{
	"compose.yaml":                             "compose.yaml.tmpl",
	"infra/kubernetes/base/functions.yaml":     "functions.yaml.tmpl",
	"infra/systemd/auroramesh.target":          "auroramesh.target.tmpl",
	"infra/systemd/last-to-stop.conf":          "last-to-stop.conf.tmpl",
	"infra/prometheus/functions.json":          "targets.json.tmpl",
	"infra/systemd/functions/" + each + ".env": "function.env.tmpl",
}

// each stands in a path for the name of each function in turn.
const each = "FUNCTION"

// data is what a template is filled with.
type data struct {
	Functions  []Function
	Function   Function // the one, in a file for each
	NATS       string
	PostgreSQL string
	Sites      []siteOf
}

// siteOf is one of the two sites of compose.yaml.
type siteOf struct {
	ID, Name, Tier string
	Suffix         string // of the names of its services
	Profile        string // empty: always started
	Conf           string // of its NATS server
	APIPort        int
	NATSPort       int // on the loopback of the machine, for auroramesh site and nats
	LeafPort       int // 0: it takes no leafnodes
}

var sites = []siteOf{
	{ID: "site-a", Name: "Site A", Tier: "primary", Conf: "nats-server.conf", APIPort: 8000, NATSPort: 4222, LeafPort: 7422},
	{ID: "site-b", Name: "Site B", Tier: "secondary", Suffix: "-b", Profile: "site-b", Conf: "nats-leaf.conf", APIPort: 8002, NATSPort: 4223},
}

// Files are the made files by their path from the root of the repository.
func Files(functions []Function) (map[string]string, error) {
	t, err := template.New("").Funcs(template.FuncMap{
		"port": func(i int) int { return FirstMetricsPort + i },
		"last": func(i int) bool { return i == len(functions)-1 },
		"metricsPort": func(name string) int {
			for i, f := range functions {
				if f.Name == name {
					return FirstMetricsPort + i
				}
			}
			return 0
		},
	}).ParseFS(templates, "templates/*.tmpl")
	if err != nil {
		return nil, fmt.Errorf("reading the templates: %w", err)
	}
	files := map[string]string{}
	render := func(path, name string, d data) error {
		var b bytes.Buffer
		if err := t.ExecuteTemplate(&b, name, d); err != nil {
			return fmt.Errorf("making %s: %w", path, err)
		}
		files[path] = b.String()
		return nil
	}
	for path, name := range made {
		d := data{Functions: functions, NATS: NATS, PostgreSQL: PostgreSQL, Sites: sites}
		if !strings.Contains(path, each) {
			if err := render(path, name, d); err != nil {
				return nil, err
			}
			continue
		}
		for _, f := range functions {
			d.Function = f
			if err := render(strings.ReplaceAll(path, each, f.Name), name, d); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}
