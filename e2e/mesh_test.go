// Package e2e_test tests the mesh as its users meet it: whole sites on the shipped
// configuration, real leafnodes with a line that can be cut, the API over HTTP, and
// the command as a process that can be killed.
//
// What must not happen is proved without waiting: a marker that goes the same way
// comes after whatever was sent before it, so what is not there with the marker
// was never sent.
package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// mesh is the sites of a test, with a client of each one's API.
type mesh struct {
	*demo.Demo
	api []*apiclient.Client
}

// quick sets the ages so that silence shows within seconds. Nothing is compared: that
// would mend what a test broke, and send again what a test counts.
func quick(_ int, s *settings.Settings) {
	s.HeartbeatSeconds, s.DegradedSeconds, s.DownSeconds, s.ReconcileSeconds = 1, 3, 6, 3600
}

func start(t *testing.T, o demo.Options) mesh {
	t.Helper()
	o.Version = "0.0.1"
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Configure == nil {
		o.Configure = quick
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	d, err := demo.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := d.Stop(ctx); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	m := mesh{Demo: d}
	for _, s := range d.Sites {
		m.api = append(m.api, client(t, s.API))
	}
	return m
}

func client(t *testing.T, base string, opts ...apiclient.Option) *apiclient.Client {
	t.Helper()
	c, err := apiclient.New(base, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// key is that of site i.
func (m mesh) key(t *testing.T, i int) *identity.Identity {
	t.Helper()
	key, err := identity.Open(m.Sites[i].Settings.IdentityDir)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// readers are the connections of [mesh.reader], by their server.
var readers sync.Map

// reader is a connection at site i, the same for all who only look: a look is taken often.
func (m mesh) reader(t *testing.T, i int) *function.Bus {
	t.Helper()
	server := m.Sites[i].Server()
	if bus, ok := readers.Load(server); ok {
		return bus.(*function.Bus)
	}
	bus := natstest.Bus(t, server, m.Sites[i].ID().ID, "reader")
	readers.Store(server, bus)
	t.Cleanup(func() { readers.Delete(server) })
	return bus
}

// speaker is a connection at site i that speaks as the site does, with its key.
func (m mesh) speaker(t *testing.T, i int) *function.Bus {
	t.Helper()
	bus := natstest.Bus(t, m.Sites[i].Server(), m.Sites[i].ID().ID, "speaker")
	bus.Identify(m.key(t, i), nil)
	return bus
}

func alert(title string, s federation.Severity) federation.NewAlert {
	return federation.NewAlert{Title: title, Severity: s, Source: "test", IOCs: federation.IOCInput{Items: []federation.IOC{{Type: federation.IP, Value: "192.0.2.7"}}}}
}

// raise raises an alert at site i.
func (m mesh) raise(t *testing.T, i int, n federation.NewAlert) federation.Alert {
	t.Helper()
	a, _, _, err := m.api[i].Raise(t.Context(), n)
	if err != nil {
		t.Fatalf("raising at site %d: %v", i, err)
	}
	return a
}

// every lists all alerts that a site has.
func every(t *testing.T, c *apiclient.Client, source string) []federation.Alert {
	t.Helper()
	all, err := apiclient.All(t.Context(), func(ctx context.Context, p ask.Page) (ask.List[federation.Alert], error) {
		return c.Alerts(ctx, ask.AlertFilter{Page: p, Source: source})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.Items
}

// total is how many alerts of a source a site has; every source where it is empty.
func total(t *testing.T, c *apiclient.Client, source string) int {
	t.Helper()
	page, err := c.Alerts(t.Context(), ask.AlertFilter{Page: ask.Page{Limit: 1}, Source: source})
	if err != nil {
		t.Fatal(err)
	}
	return page.Total
}

func (m mesh) total(t *testing.T, i int, source string) int {
	t.Helper()
	return total(t, m.api[i], source)
}

// titled lists the alerts of site i with a title.
func (m mesh) titled(t *testing.T, i int, title string) []federation.Alert {
	t.Helper()
	var found []federation.Alert
	for _, a := range every(t, m.api[i], "") {
		if a.Title == title {
			found = append(found, a)
		}
	}
	return found
}

// arrives waits until an alert is at site i, and returns its rows.
func (m mesh) arrives(t *testing.T, i int, title string) []federation.Alert {
	t.Helper()
	var rows []federation.Alert
	natstest.Within(t, 20*time.Second, fmt.Sprintf("%q is at site %d", title, i), func() bool {
		rows = m.titled(t, i, title)
		return len(rows) > 0
	})
	return rows
}

// published waits until the outbox of site i is past an alert: what the site told
// of it comes behind everything that was to be shared before it.
func (m mesh) published(t *testing.T, i int, a federation.Alert) {
	t.Helper()
	site := m.Sites[i].ID().ID
	bus := m.reader(t, i)
	natstest.Eventually(t, fmt.Sprintf("%s has told of %q", site, a.Title), func() bool {
		events, err := bus.JetStream().Stream(t.Context(), subject.EventStream(site))
		if err != nil {
			return false
		}
		last, err := events.GetLastMsgForSubject(t.Context(), subject.Event(site, federation.AlertStored))
		if err != nil {
			return false
		}
		var e federation.Event
		if err := json.Unmarshal(last.Data, &e); err != nil {
			t.Fatal(err)
		}
		return e.Alert != nil && e.Alert.ID == a.ID
	})
}

// shared is how many alerts are in the stream that the peers of site i pull from.
func (m mesh) shared(t *testing.T, i int) int {
	t.Helper()
	return messages(t, m.reader(t, i), subject.AlertStream(m.Sites[i].ID().ID))
}

func messages(t *testing.T, bus *function.Bus, stream string) int {
	t.Helper()
	s, err := bus.JetStream().Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return int(s.CachedInfo().State.Msgs)
}

func (m mesh) topology(t *testing.T, i int) federation.Topology {
	t.Helper()
	top, err := m.api[i].Topology(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// link is the status of a link as site i sees it, empty where it knows none.
func (m mesh) link(t *testing.T, i int, id string) federation.LinkStatus {
	t.Helper()
	for _, l := range m.topology(t, i).Links {
		if l.ID == id {
			return l.Status
		}
	}
	return ""
}

// status is that of a site as site i sees it, empty where it knows none.
func (m mesh) status(t *testing.T, i int, id federation.SiteID) federation.SiteStatus {
	t.Helper()
	for _, s := range m.topology(t, i).Sites {
		if s.ID == id {
			return s.Status
		}
	}
	return ""
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// metrics are those of the process in which a gateway runs.
func metrics(t *testing.T, api string) string {
	t.Helper()
	_, body := get(t, api+"/metrics")
	return body
}
