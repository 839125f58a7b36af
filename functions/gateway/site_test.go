package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/drillreport"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	identity = federation.Identity{ID: "site-a", Name: "Site A", Tier: federation.Primary, Version: "1.2.3"}
	noon     = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	keyB     = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
)

// site is a gateway over a real NATS server with JetStream, with stand-ins for
// the functions that it asks.
type site struct {
	url string
	bus *function.Bus
	reg *prometheus.Registry
	log *logged
	// passed is how long after noon it is.
	passed atomic.Int64

	mu        sync.Mutex
	noted     []access.Entry
	requestID string // of the last question that a stand-in answered
	raised    int
	together  []int // how many alerts came in each message
}

// Titles of alerts of which the stand-in for alertintake makes something else than a row.
const (
	titleRefused   = "refused"
	titleElsewhere = "elsewhere"
)

// logged is a log that can be read while it is written.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// newSite starts a site whose gateway listens at listen by its own account.
func newSite(t *testing.T, listen string, functions ...string) *site {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), ServerName: "hub",
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server is not ready")
	}
	nc, err := nats.Connect(srv.ClientURL(), nats.CustomInboxPrefix(subject.Inbox(identity.ID)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	bus, err := function.NewBus(nc, identity)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bus.JetStream().CreateStream(t.Context(), stream.Events(identity.ID)); err != nil {
		t.Fatal(err)
	}
	s := &site{bus: bus, reg: prometheus.NewRegistry(), log: &logged{}}
	web := httptest.NewServer(gateway.Handler(s.config(listen, functions...)))
	t.Cleanup(func() { web.CloseClientConnections(); web.Close(); http.DefaultClient.CloseIdleConnections() })
	s.url = web.URL
	return s
}

// config is that of a gateway without sign-in.
func (s *site) config(listen string, functions ...string) gateway.Config {
	return gateway.Config{
		Site: identity, Listen: listen, Functions: functions, Bus: s.bus, Registry: s.reg,
		Log: s.log.logger(), Now: func() time.Time { return noon.Add(time.Duration(s.passed.Load())) },
	}
}

// answers registers a NATS micro service that answers e, as the function does.
func answers[Req, Res any](t *testing.T, s *site, e function.Endpoint[Req, Res], handle func(Req) (Res, error)) {
	t.Helper()
	svc, err := micro.AddService(s.bus.Conn(), micro.Config{
		Name: e.Function + "-" + e.Name, Version: "1.0.0",
		Endpoint: &micro.EndpointConfig{
			Subject: subject.Function(identity.ID, e.Function, e.Name),
			Handler: micro.HandlerFunc(func(r micro.Request) {
				s.mu.Lock()
				s.requestID = r.Headers().Get(function.HeaderRequestID)
				s.mu.Unlock()
				var req Req
				err := json.Unmarshal(r.Data(), &req)
				var res Res
				if err == nil {
					res, err = handle(req)
				}
				if err != nil {
					f := fault.Of(err)
					err = r.Error(string(f.Code), f.Message, f.JSON())
				} else {
					err = r.RespondJSON(res)
				}
				if err != nil && !errors.Is(err, nats.ErrConnectionClosed) { // the test may be over before a late answer
					t.Errorf("answering %s.%s: %v", e.Function, e.Name, err)
				}
			}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := svc.Stop(); err != nil {
			t.Errorf("stopping the stand-in for %s.%s: %v", e.Function, e.Name, err)
		}
	})
	if err := s.bus.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
}

// newWholeSite has a stand-in for every question.
func newWholeSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "0.0.0.0:8000")
	seen := map[string]federation.Alert{}
	answers(t, s, ask.RaiseAlerts, func(r ask.AlertsRaising) (ask.AlertsRaised, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.together = append(s.together, len(r.Items))
		raised := ask.AlertsRaised{Items: make([]ask.AlertRaised, len(r.Items))}
		for i, item := range r.Items {
			if err := item.Alert.Validate(); err != nil {
				raised.Items[i].Problem = fault.Of(err)
				continue
			}
			if item.Alert.Title == titleRefused {
				raised.Items[i].Problem = fault.New(fault.Conflict, "this one not")
				continue
			}
			s.raised++
			a := item.Alert.Alert(fmt.Sprintf("alert-%d", s.raised), noon)
			first, double := seen[a.DedupHash]
			if e := item.Audit; e != nil {
				e.Result = 200
				if !double {
					e.Result, e.Target = 201, e.Target+"/"+a.ID
				}
				s.noted = append(s.noted, *e)
			}
			if !double {
				first, seen[a.DedupHash] = a, a
			}
			data, err := json.Marshal(first)
			if err != nil {
				return ask.AlertsRaised{}, err
			}
			raised.Items[i] = ask.AlertRaised{Alert: data, ID: first.ID, TLP: first.TLP, Created: !double}
			if item.Alert.Title == titleElsewhere {
				raised.Items[i].Alert, raised.Items[i].ID = nil, "alert-1"
			}
		}
		return raised, nil
	})
	answers(t, s, ask.PreviewSharing, func(n federation.NewAlert) (ask.SharingPreview, error) {
		return ask.SharingPreview{
			SiteID: identity.ID, Severity: n.Severity, TLP: n.TLP.OrDefault(),
			Gate:  ask.SharingGate{Federation: true, MinSeverity: federation.High, TLPs: federation.ShareableTLPs()},
			Peers: []ask.PeerDecision{{Peer: "site-b", Decision: federation.Gate{MinSeverity: federation.High}.Decide(n.Severity, n.TLP, n.Source), StrippedIOCs: []federation.IOCType{}}},
		}, n.Validate()
	})
	gateOf := func(g ask.GateOf, s federation.GateSetting) ask.PeerGate {
		gate := s.Over(federation.Gate{MinSeverity: federation.High})
		return ask.PeerGate{Peer: g.Peer, Direction: g.Direction, MinSeverity: gate.MinSeverity, Sources: gate.Sources, ExceptSources: gate.ExceptSources, StripIOCs: gate.StripIOCs}
	}
	answers(t, s, ask.SharingGates, func(ask.None) (ask.SharingOverview, error) {
		return ask.SharingOverview{SiteID: identity.ID, Gates: []ask.PeerGate{gateOf(ask.GateOf{Peer: "site-b", Direction: federation.Outbound}, federation.GateSetting{})}}, nil
	})
	answers(t, s, ask.SetGate, func(c ask.GateChange) (ask.PeerGate, error) { return gateOf(c.GateOf, c.Gate), c.Validate() })
	answers(t, s, ask.Drills, func(ask.None) (ask.DrillList, error) {
		return ask.DrillList{Items: []drillreport.Report{{Run: "1k3"}}}, nil
	})
	answers(t, s, ask.KeepDrill, func(drillreport.Report) (ask.None, error) { return ask.None{}, nil })
	answers(t, s, ask.TrustedKeys, func(ask.None) (ask.TrustOverview, error) {
		return ask.TrustOverview{SiteID: identity.ID, Keys: []federation.TrustedKey{{Site: "site-b", Key: keyB, PinnedBy: federation.FirstSeen, PinnedAt: noon}}}, nil
	})
	answers(t, s, ask.PinKey, func(k ask.KeyOf) (federation.TrustedKey, error) {
		return federation.TrustedKey{Site: k.Site, Key: k.Key, PinnedBy: federation.Administrator, PinnedAt: noon}, k.Validate()
	})
	answers(t, s, ask.UnpinKey, func(of ask.TrustOf) (federation.TrustedKey, error) {
		if of.Site != "site-b" {
			return federation.TrustedKey{}, fault.New(fault.NotFound, "no key is pinned for %s", of.Site)
		}
		return federation.TrustedKey{Site: of.Site, Key: keyB, PinnedBy: federation.FirstSeen, PinnedAt: noon}, of.Validate()
	})
	answers(t, s, ask.ResetGate, func(g ask.GateOf) (ask.PeerGate, error) { return gateOf(g, federation.GateSetting{}), g.Validate() })
	answers(t, s, ask.ListAlerts, func(f ask.AlertFilter) (ask.List[federation.Alert], error) {
		return ask.List[federation.Alert]{Skip: f.Skip, Limit: f.Limit, LookedTo: f.After.String()}, f.Validate()
	})
	answers(t, s, ask.PageAlerts, func(q ask.AlertQuery) (ask.AlertPage, error) { return ask.AlertPage{}, q.Validate() })
	answers(t, s, ask.Campaigns, func(q ask.CampaignQuery) (ask.CampaignList, error) { return ask.CampaignList{}, q.Validate() })
	answers(t, s, ask.GetAlert, func(id ask.AlertID) (federation.Alert, error) {
		if id.ID != "alert-1" {
			return federation.Alert{}, fault.New(fault.NotFound, "there is no alert %q at this site", id.ID)
		}
		return federation.Alert{ID: id.ID, Severity: federation.High, Status: federation.New}, nil
	})
	answers(t, s, ask.UpdateAlert, func(u ask.AlertUpdate) (federation.Alert, error) {
		return federation.Alert{ID: u.ID, Status: u.Patch.Status}, nil
	})
	letter := func(id function.LetterID) (ask.DeadLetter, error) {
		if id.ID != 7 {
			return ask.DeadLetter{}, fault.New(fault.NotFound, "there is no dead letter with the id %d", id.ID)
		}
		return ask.DeadLetter{ID: id.ID, Function: "alertsink", At: noon}, nil
	}
	answers(t, s, ask.ListDeadLetters, func(p ask.Page) (ask.List[ask.DeadLetter], error) {
		return ask.List[ask.DeadLetter]{Total: 9, Skip: p.Skip, Limit: p.Limit}, nil
	})
	answers(t, s, ask.GetDeadLetter, func(id function.LetterID) (ask.DeadLetterText, error) {
		l, err := letter(id)
		return ask.DeadLetterText{DeadLetter: l, Payload: "<x>"}, err
	})
	answers(t, s, ask.DropDeadLetter, letter)
	answers(t, s, ask.RetryDeadLetter, func(id function.LetterID) (ask.DeadLetter, error) {
		if id.ID == 8 {
			return ask.DeadLetter{}, fault.New(fault.Conflict, "it failed again")
		}
		return letter(id)
	})
	answers(t, s, ask.AppendAudit, func(a ask.AuditEntries) (access.Head, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.noted = append(s.noted, a.Entries...)
		return access.Head{Seq: int64(len(s.noted))}, nil
	})
	answers(t, s, ask.ListAudit, func(f ask.AuditFilter) (ask.AuditPage, error) {
		return ask.AuditPage{Head: access.Head{Seq: f.Before}}, f.Validate()
	})
	answers(t, s, ask.VerifyAudit, func(ask.AuditCheck) (access.Verification, error) {
		return access.Verification{Records: 3, Broken: &access.Break{Seq: 4}}, nil
	})
	answers(t, s, ask.ListKeys, func(p ask.Page) (ask.List[access.Key], error) {
		return ask.List[access.Key]{Skip: p.Skip, Limit: p.Limit}, nil
	})
	answers(t, s, ask.CreateKey, func(r ask.KeyRequest) (access.MadeKey, error) {
		if err := r.Validate(); err != nil {
			return access.MadeKey{}, err
		}
		return access.Make(r.NewKey, r.By, noon)
	})
	answers(t, s, ask.RevokeKey, func(id ask.KeyID) (access.Key, error) {
		return access.Key{ID: id.ID, RevokedAt: &noon}, nil
	})
	answers(t, s, ask.SetAgents, func(a federation.Agents) (federation.Site, error) {
		return federation.Site{ID: identity.ID, AgentsTotal: a.Total, AgentsOnline: a.Online}, nil
	})
	answers(t, s, ask.Sites, func(p ask.Page) (ask.List[federation.Site], error) {
		return ask.List[federation.Site]{Items: []federation.Site{{ID: identity.ID, Local: true}}, Total: 1, Skip: p.Skip, Limit: p.Limit}, nil
	})
	answers(t, s, ask.Topology, func(ask.None) (federation.Topology, error) {
		return federation.Topology{SiteID: identity.ID, GeneratedAt: noon, Sites: []federation.Site{}, Links: []federation.Link{
			federation.NewLink("site-a", "site-b", noon),
		}}, nil
	})
	answers(t, s, ask.Deliveries, func(ask.None) (federation.Deliveries, error) {
		return federation.Deliveries{SiteID: identity.ID, GeneratedAt: noon, Deliveries: []federation.Delivery{{Peer: "site-b", Direction: federation.Inbound}}}, nil
	})
	answers(t, s, ask.AlertDeliveries, func(id ask.AlertID) (federation.AlertDeliveries, error) {
		if id.ID != "alert-1" {
			return federation.AlertDeliveries{}, fault.New(fault.NotFound, "there is no alert %q at this site", id.ID)
		}
		return federation.AlertDeliveries{AlertID: id.ID, OriginSite: "site-b", Deliveries: []federation.AlertDelivery{}}, nil
	})
	return s
}

// asIs is a client that goes nowhere else than it was told.
var asIs = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// response is an answer, read whole.
type response struct {
	status int
	header http.Header
	body   []byte
}

func (s *site) do(t *testing.T, method, path, body string, headers ...string) response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := asIs.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s %s: the answer has no X-Request-Id", method, path)
	}
	return response{res.StatusCode, res.Header, data}
}

func decode[T any](t *testing.T, r response) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Fatalf("decoding the answer %d %s: %v", r.status, r.body, err)
	}
	return v
}
