package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	infra "github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	// crowd is how many sites gossip, and every how often each does.
	crowd       = 1000
	gossipEvery = 15 * time.Second
	// calming is how long a hub to which nothing happens takes until its pulls are calm.
	calming = 35 * time.Second
)

// gossip is a hub and very many sites of which nothing is real but what they say: the
// gossip that they sign, the echoes that they answer, and an alert stream in which
// nothing is. The hub is real: a process with all functions, on PostgreSQL.
var gossip = Workload{
	Name: "gossip", Unit: core, Goals: []Goal{atMost(ofValue, 15), atMost(ofMemory, 150)},
	Does:   fmt.Sprintf("all functions of a hub, while %d sites gossip every 15 s, answer its echoes and are pulled from; memory is that of the functions", crowd),
	Beside: "an empty subscriber of the same gossip",
	prepare: func(ctx context.Context, b *bed) (pair, error) {
		c, err := b.gather(ctx, b.size(crowd))
		return pair{
			own:    func(ctx context.Context) (Sample, error) { return c.hubShare(ctx, b) },
			beside: func(ctx context.Context) (Sample, error) { return c.emptyShare(ctx, b.window()) },
			end:    c.close,
		}, err
	},
}

// gathered is the hub with its NATS server, the sites, and the empty subscriber: each a process, but the sites.
type gathered struct {
	dir                        string
	server, functions, nothing *process
	url                        string
	hub                        *function.Bus
	sites                      []*simulated
	stop                       context.CancelFunc
	speaking                   sync.WaitGroup
}

func (b *bed) gather(ctx context.Context, n int) (c *gathered, err error) {
	c = &gathered{}
	talking, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	if err := b.database(ctx); err != nil {
		return c, err
	}
	dsn, err := b.create(ctx, "gossip")
	if err != nil {
		return c, err
	}
	if c.dir, err = os.MkdirTemp("", "auroramesh-bench-"); err != nil {
		return c, fmt.Errorf("making a directory: %w", err)
	}
	conf := filepath.Join(c.dir, "hub.conf")
	if err := os.WriteFile(conf, []byte(gossipConf(c.dir, n)), 0o600); err != nil {
		return c, fmt.Errorf("writing the configuration of the hub: %w", err)
	}
	var where at
	if c.server, where, err = part(ctx, nil, PartServer, conf); err != nil {
		return c, err
	}
	c.url = where.Client
	if c.nothing, _, err = part(ctx, nil, PartSubscriber, c.url); err != nil {
		return c, err
	}
	if c.functions, _, err = part(ctx, []string{
		"FEDERATION_SITE_ID=" + string(hub), "FEDERATION_SITE_TIER=primary", "NATS_URL=" + c.url, "DATABASE_URL=" + dsn, "HTTP_LISTEN=127.0.0.1:0",
		"FEDERATION_IDENTITY_DIR=" + filepath.Join(c.dir, "identity"), "FEDERATION_RECONCILE_INTERVAL_SECONDS=3600",
	}, PartSite, filepath.Join(cmp.Or(b.Profiles, c.dir), "gossip-functions")); err != nil {
		return c, err
	}
	ids := federation.Identity{ID: hub, Name: string(hub), Tier: federation.Primary, Version: b.Version}
	if c.hub, err = function.Connect(ctx, ids, "bench", c.url, b.Log); err != nil {
		return c, err
	}
	for i := range n {
		s, err := simulate(c.url, starSite(i))
		if err != nil {
			return c, fmt.Errorf("simulating %s: %w", starSite(i), err)
		}
		c.sites = append(c.sites, s)
		c.speaking.Go(func() { s.speak(talking, time.Duration(float64(gossipEvery)*float64(i)/float64(n))) })
	}
	if err := c.settled(ctx); err != nil || b.Scale < small {
		return c, err
	}
	return c, pause(ctx, calming)
}

// gossipConf is a hub whose sites are clients with the permissions of a leaf: a server
// in between would cost nothing at the hub.
func gossipConf(dir string, n int) string {
	var users strings.Builder
	for i := range n {
		publish, subscribe := infra.Permissions(starSite(i))
		list := func(all []string) string {
			quoted := make([]string, len(all))
			for i, s := range all {
				quoted[i] = strconv.Quote(s)
			}
			return strings.Join(quoted, ", ")
		}
		fmt.Fprintf(&users, "      { user: %q, permissions: { publish: { allow: [%s] }, subscribe: { allow: [%s] } } }\n", starSite(i), list(publish), list(subscribe))
	}
	return fmt.Sprintf(`server_name: %s
listen: "127.0.0.1:-1"
http: "127.0.0.1:-1"
jetstream { domain: %s, store_dir: %q }
accounts { AURORA { jetstream: enabled
    users: [
      { user: aurora }
%s    ]
} }
no_auth_user: aurora
authorization { timeout: 60 }
`, hub, subject.Domain(hub), filepath.Join(dir, "jetstream"), users.String())
}

// settled waits until the hub sees every link as healthy.
func (c *gathered) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		healthy, err := c.healthy(ctx)
		if err == nil && healthy == len(c.sites) {
			return nil
		}
		if err := errors.Join(err, pause(ctx, 500*time.Millisecond)); ctx.Err() != nil {
			return fmt.Errorf("%d of the %d links are healthy: %w", healthy, len(c.sites), err)
		}
	}
}

// healthy is how many links the hub sees so.
func (c *gathered) healthy(ctx context.Context) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	t, err := function.Ask(ctx, c.hub, hub, ask.Topology, ask.None{})
	if err != nil {
		return 0, fmt.Errorf("asking for the topology: %w", err)
	}
	for _, l := range t.Links {
		if l.Status == federation.Healthy {
			n++
		}
	}
	return n, nil
}

// hubShare is what the functions take within two windows, in which every function that looks
// every so often looks at least once.
func (c *gathered) hubShare(ctx context.Context, b *bed) (s Sample, err error) {
	if b.Profiles != "" {
		if err := c.functions.next(); err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, c.functions.next()) }()
	}
	d := 2 * b.window()
	serverBefore, err := c.server.cpu()
	if err != nil {
		return s, err
	}
	databaseBefore := b.databaseSpent()
	if s.Value, err = c.functions.share(ctx, d); err != nil {
		return s, err
	}
	database := b.databaseSpent() - databaseBefore
	serverAfter, err := c.server.cpu()
	if err != nil {
		return s, err
	}
	if s.Memory, err = c.functions.resident(); err != nil {
		return s, err
	}
	healthy, err := c.healthy(ctx)
	s.More = map[string]float64{
		"sites": float64(len(c.sites)), "healthy links": float64(healthy),
		"NATS server (% of a core)": 100 * float64(serverAfter-serverBefore) / float64(d),
		"PostgreSQL (% of a core)":  100 * float64(database) / float64(d),
	}
	return s, err
}

func (c *gathered) emptyShare(ctx context.Context, d time.Duration) (s Sample, err error) {
	if s.Value, err = c.nothing.share(ctx, d); err != nil {
		return s, err
	}
	s.Memory, err = c.nothing.resident()
	return s, err
}

func (c *gathered) close() error {
	c.stop()
	c.speaking.Wait()
	for _, s := range c.sites {
		s.nc.Close()
	}
	if c.hub != nil {
		c.hub.Conn().Close()
	}
	var failed []error
	for _, p := range []*process{c.functions, c.nothing, c.server} {
		if p != nil {
			failed = append(failed, p.end())
		}
	}
	return errors.Join(append(failed, os.RemoveAll(c.dir))...)
}

// simulated is a site that is nothing but what it says.
type simulated struct {
	id  federation.SiteID
	key *identity.Identity
	nc  *nats.Conn
}

func simulate(url string, id federation.SiteID) (*simulated, error) {
	key, err := identity.New()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(url, nats.UserInfo(string(id), ""), nats.CustomInboxPrefix(subject.Inbox(id)), nats.Name(string(id)), nats.MaxReconnects(-1), nats.Timeout(startTime))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	s := &simulated{id, key, nc}
	for subj, answer := range map[string]nats.MsgHandler{
		subject.Echo(id): s.echo,
		subject.ConsumerInfo(id, subject.AlertStream(id), "*"): s.info,
		subject.ConsumerNext(id, subject.AlertStream(id), "*"): s.next,
	} {
		if _, err := nc.Subscribe(subj, answer); err != nil {
			nc.Close()
			return nil, fmt.Errorf("subscribing: %w", err)
		}
	}
	return s, nil
}

// speak gossips, first after a while, until ctx ends.
func (s *simulated) speak(ctx context.Context, first time.Duration) {
	for wait := first; pause(ctx, wait) == nil; wait = gossipEvery {
		now := time.Now().UTC()
		data, err := json.Marshal(federation.Gossip{
			Version: federation.GossipVersion, SiteID: s.id, SiteName: string(s.id), Tier: federation.Secondary, SoftwareVersion: "0.0.0",
			SentAt: now, IntervalSeconds: int(gossipEvery.Seconds()),
			LinksSince: now, Links: []federation.LinkView{{Peer: hub, Status: federation.Healthy, At: now}}, // as many as a site names at rest
		})
		if err != nil || s.nc.PublishMsg(function.Said(s.key, s.id, subject.Health(s.id), data)) != nil {
			return // the links that the hub does not see as healthy tell
		}
	}
}

func (s *simulated) echo(m *nats.Msg) {
	s.answer(m, federation.EchoReply{At: time.Now().UTC()})
}

func (s *simulated) answer(m *nats.Msg, v any) {
	if data, err := json.Marshal(v); err == nil {
		_ = m.Respond(data) // the asker notices
	}
}

// info answers for an empty consumer of the hub.
func (s *simulated) info(m *nats.Msg) {
	name := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	s.answer(m, struct {
		Type string `json:"type"`
		jetstream.ConsumerInfo
	}{"io.nats.jetstream.api.v1.consumer_info_response", jetstream.ConsumerInfo{
		Stream: subject.AlertStream(s.id), Name: name, Config: jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy},
	}})
}

// next answers a pull as a server does that has nothing: a heartbeat every so often, and an end.
func (s *simulated) next(m *nats.Msg) {
	var pull struct {
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}
	if json.Unmarshal(m.Data, &pull) != nil || pull.Heartbeat <= 0 {
		return
	}
	end := time.Now().Add(pull.Expires)
	var beat func()
	beat = func() {
		status := nats.Header{"Status": {"100"}, "Description": {"Idle Heartbeat"}}
		over := !time.Now().Add(pull.Heartbeat / 2).Before(end)
		if over {
			status = nats.Header{"Status": {"408"}, "Description": {"Request Timeout"}, "Nats-Pending-Messages": {"1000"}, "Nats-Pending-Bytes": {"0"}}
		}
		if s.nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: status}) == nil && !over {
			time.AfterFunc(pull.Heartbeat, beat)
		}
	}
	time.AfterFunc(pull.Heartbeat, beat)
}
