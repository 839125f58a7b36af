package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	infra "github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// pulls are what it costs while nothing is shared that every site pulls from every other,
// behind one hub or in two regions, or each from the one that passes on and that one from each.
var pulls = []Workload{
	idlePulls(10, oneHub), idlePulls(50, oneHub), idlePulls(200, oneHub),
	idlePulls(10, twoRegions), idlePulls(50, twoRegions),
	idlePulls(10, passingOn), idlePulls(50, passingOn), idlePulls(200, passingOn),
}

// layout is how the leaves of a star are joined, and who pulls from whom.
type layout struct {
	name, why string
	what      string // whose cost it is
	from      string // from whom each leaf pulls
	hubs      int    // one for each region, with a gateway between them
	relayed   bool   // the first leaf, the site of the hub, passes on for the others
}

var (
	oneHub     = layout{"pull-", "(it says where pulling from every site ends)", "the NATS server of the hub", "each other", 1, false}
	twoRegions = layout{"regions-", "(it says what a gateway costs and spares)", "the NATS servers of two regions with a gateway between them, together", "each other", 2, false}
	passingOn  = layout{"relay-", "(it says what a site costs where the hub passes on)", "the NATS server of the hub", "the one that passes on, as it does from them,", 1, true}
)

// calmAfter is when the pulls of the leaves are calm: sooner than those of alertsink,
// whose pace they are at from then on.
const calmAfter = 2 * time.Second

// window is how long a share of the processor is measured: an interval of the gossip, and half of a calm pull.
func (b *bed) window() time.Duration {
	if b.Scale < small {
		return 2 * time.Second
	}
	return 15 * time.Second
}

func idlePulls(sites int, l layout) Workload {
	return Workload{
		Name: l.name + strconv.Itoa(sites), Unit: core, asked: sites > 50, NoGoal: l.why,
		Does:   fmt.Sprintf("%s, while %d leaves pull from %s and nothing is shared", l.what, sites, l.from),
		Beside: "the same with the leaves joined, and no pull",
		prepare: func(ctx context.Context, b *bed) (pair, error) {
			s, err := joinStar(ctx, max(b.size(sites), 2), l, b.Log)
			return pair{
				own: func(ctx context.Context) (Sample, error) {
					return s.idle(ctx, 2*b.window(), true)
				},
				beside: func(ctx context.Context) (Sample, error) { return s.idle(ctx, 2*b.window(), false) },
				end:    s.close,
			}, err
		},
	}
}

// hubConf is a hub as in a deployment that has relays: it passes on, keeps and compresses nothing, and lets
// each leaf do what a site may.
const hubConf = `server_name: "hub-%[1]d"
listen: "127.0.0.1:-1"
http: "127.0.0.1:-1"
accounts {
  AURORA {
%[2]s
  }
  SYS {}
}
system_account: SYS
leafnodes { listen: "127.0.0.1:-1", no_advertise: true, compression: off }
`

// gatewayConf is what a hub has besides that is of a region.
const gatewayConf = `cluster { name: "region-%[1]d", listen: "127.0.0.1:-1" }
gateway { name: "region-%[1]d", listen: "127.0.0.1:-1", gateways: [%[2]s] }
`

// star is a hub, or one for each region, and its leaves, each with a stream of shared alerts and the lanes of those who pull there.
type star struct {
	layout
	log     *slog.Logger
	dir     string
	regions []region
	leaves  []*server.Server
}

// region is the hub of some of the leaves.
type region struct {
	hub   *process
	where at
}

func starSite(i int) federation.SiteID { return federation.SiteID(fmt.Sprintf("site-%04d", i)) }

// pulls reports whether one of two leaves pulls from the other.
func (s *star) pulls(i, peer int) bool { return i != peer && (!s.relayed || i == 0 || peer == 0) }

func joinStar(ctx context.Context, n int, l layout, log *slog.Logger) (s *star, err error) {
	s = &star{layout: l, log: log}
	if s.dir, err = os.MkdirTemp("", "auroramesh-bench-"); err != nil {
		return s, fmt.Errorf("making a directory: %w", err)
	}
	for range l.hubs {
		if err := s.open(ctx, n); err != nil {
			return s, err
		}
	}
	for i := range n {
		if err := s.join(ctx, i, n); err != nil {
			return s, fmt.Errorf("joining %s: %w", starSite(i), err)
		}
	}
	for {
		u, err := s.usage(ctx)
		if err != nil || u.Leaves == n {
			return s, err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return s, err
		}
	}
}

// open starts the hub of one more region, where each of so many leaves may join.
func (s *star) open(ctx context.Context, leaves int) error {
	var access infra.Access
	for i := range leaves {
		access.Peers = append(access.Peers, infra.Peer{Site: starSite(i), Users: []string{string(starSite(i))}})
	}
	n := len(s.regions)
	conf := fmt.Sprintf(hubConf, n, access.Conf())
	if s.hubs > 1 {
		var others []string
		for i, r := range s.regions {
			others = append(others, fmt.Sprintf(`{ name: "region-%d", url: "nats://%s" }`, i, r.where.Gateway))
		}
		conf += fmt.Sprintf(gatewayConf, n, strings.Join(others, ", "))
	}
	path := filepath.Join(s.dir, fmt.Sprintf("hub-%d.conf", n))
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return fmt.Errorf("writing the configuration of a hub: %w", err)
	}
	hub, where, err := part(ctx, nil, PartServer, path)
	s.regions = append(s.regions, region{hub, where})
	return err
}

// join starts the server of leaf i of n, with what the others pull from there. What it
// keeps it keeps in memory: nothing is written while nothing is shared.
func (s *star) join(ctx context.Context, i, n int) error {
	o, id, users := &server.Options{}, starSite(i), "users: [ { user: aurora } ]"
	if err := o.ProcessConfigString(strings.Replace(infra.DevLeaf, users, users+"\n"+infra.Access{Own: id}.Mappings(), 1)); err != nil {
		return fmt.Errorf("reading the NATS configuration: %w", err)
	}
	o.ServerName, o.JetStreamDomain, o.StoreDir = string(id), subject.Domain(id), filepath.Join(s.dir, string(id))
	o.Port, o.NoSigs, o.NoLog = server.RANDOM_PORT, true, true
	o.LeafNode.Remotes[0].URLs = []*url.URL{{Scheme: "nats-leaf", User: url.User(string(id)), Host: s.regions[i%len(s.regions)].where.Leaf}}
	srv, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("making the NATS server: %w", err)
	}
	srv.Start()
	s.leaves = append(s.leaves, srv)
	if !srv.ReadyForConnections(10 * time.Second) {
		return errors.New("the NATS server did not start within 10s")
	}
	bus, err := s.bus(ctx, i)
	if err != nil {
		return err
	}
	defer bus.Conn().Close()
	alerts, err := bus.JetStream().CreateStream(ctx, jetstream.StreamConfig{Name: subject.AlertStream(id), Subjects: []string{subject.AllAlerts}, Storage: jetstream.MemoryStorage})
	if err != nil {
		return fmt.Errorf("making a stream: %w", err)
	}
	for peer := range n {
		if !s.pulls(i, peer) {
			continue
		}
		for _, lane := range subject.AlertConsumers(starSite(peer)) {
			c := jetstream.ConsumerConfig{Durable: lane.Consumer, AckPolicy: jetstream.AckExplicitPolicy}
			for _, severity := range lane.Severities {
				c.FilterSubjects = append(c.FilterSubjects, subject.Alert(severity))
				if s.relayed && i == 0 {
					c.FilterSubjects = append(c.FilterSubjects, subject.AlertFrom(severity, subject.AnySite))
				}
			}
			if _, err := alerts.CreateConsumer(ctx, c); err != nil {
				return fmt.Errorf("making a consumer: %w", err)
			}
		}
	}
	return nil
}

func (s *star) bus(ctx context.Context, i int) (*function.Bus, error) {
	return function.Connect(ctx, federation.Identity{ID: starSite(i), Name: string(starSite(i)), Tier: federation.Secondary, Version: "0.0.0"}, "alertsink", s.leaves[i].ClientURL(), s.log)
}

// pull begins to pull at every leaf, as alertsink does, and waits until every lane of every site is pulled from.
func (s *star) pull(ctx context.Context) (stop func(context.Context) error, err error) {
	var running []*function.Running
	stop = func(ctx context.Context) error {
		var failed []error
		for _, r := range running {
			failed = append(failed, r.Stop(ctx))
		}
		return errors.Join(failed...)
	}
	for i := range s.leaves {
		bus, err := s.bus(ctx, i)
		if err != nil {
			return stop, err
		}
		own := starSite(i)
		var sources []function.Source
		for peer := range s.leaves {
			if s.pulls(i, peer) {
				for _, lane := range subject.AlertConsumers(own) {
					sources = append(sources, function.Source{Site: starSite(peer), Stream: subject.AlertStream(starSite(peer)), Consumer: lane.Consumer})
				}
			}
		}
		r, err := function.Start(function.Function{
			Name: "alertsink", Description: "Pulls from every peer.",
			Triggers: []function.Trigger{function.ConsumeEach(
				func(context.Context) ([]function.Source, error) { return sources, nil }, time.Minute,
				func(context.Context, []json.RawMessage) error { return nil }, function.Named("alerts"), function.Batch(500, 50*time.Millisecond), function.Calm(calmAfter, func(string, []byte) bool { return true }))},
		}, bus, function.NewMetrics(prometheus.NewRegistry()), s.log)
		if err != nil {
			return stop, err
		}
		running = append(running, r)
	}
	return stop, errors.Join(s.pulled(ctx), pause(ctx, 2*calmAfter))
}

// eachLane is how much longer than a [startTime] each lane may take until it is pulled from.
const eachLane = 10 * time.Millisecond

// pulled waits until each lane of each leaf has somebody who waits for alerts.
func (s *star) pulled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime+time.Duration(s.consumers())*eachLane)
	defer cancel()
	for i := range s.leaves {
		if err := s.pulledFrom(ctx, i, s.lanes(i)); err != nil {
			return err
		}
	}
	return nil
}

// lanes is how many consumers a leaf keeps for the others.
func (s *star) lanes(i int) (n int) {
	for peer := range s.leaves {
		if s.pulls(peer, i) {
			n += len(subject.AlertConsumers(starSite(peer)))
		}
	}
	return n
}

// consumers is how many all leaves keep.
func (s *star) consumers() (n int) {
	for i := range s.leaves {
		n += s.lanes(i)
	}
	return n
}

func (s *star) pulledFrom(ctx context.Context, i, lanes int) error {
	bus, err := s.bus(ctx, i)
	if err != nil {
		return err
	}
	defer bus.Conn().Close()
	alerts, err := bus.JetStream().Stream(ctx, subject.AlertStream(starSite(i)))
	if err != nil {
		return fmt.Errorf("reading the stream of %s: %w", starSite(i), err)
	}
	for waiting := 0; waiting < lanes; {
		waiting = 0
		all := alerts.ListConsumers(ctx)
		for c := range all.Info() {
			if c.NumWaiting > 0 {
				waiting++
			}
		}
		if err := all.Err(); err != nil {
			return fmt.Errorf("reading the consumers of %s: %w", starSite(i), err)
		}
		if waiting < lanes {
			if err := pause(ctx, 100*time.Millisecond); err != nil {
				return fmt.Errorf("%d of the %d lanes of %s are pulled from: %w", waiting, lanes, starSite(i), err)
			}
		}
	}
	return nil
}

// idle is the share of a core that the hubs take for a while.
func (s *star) idle(ctx context.Context, d time.Duration, pulling bool) (sample Sample, err error) {
	if pulling {
		stop, failed := s.pull(ctx)
		defer func() { err = errors.Join(err, stop(context.WithoutCancel(ctx))) }()
		if failed != nil {
			return Sample{}, failed
		}
	}
	before, err := s.usage(ctx)
	if err != nil {
		return Sample{}, err
	}
	begun := time.Now()
	if err := pause(ctx, d); err != nil {
		return Sample{}, err
	}
	took := time.Since(begun)
	after, err := s.usage(ctx)
	if err != nil {
		return Sample{}, err
	}
	sample.Value = 100 * float64(after.cpu-before.cpu) / float64(took)
	n, seconds := float64(len(s.leaves)), took.Seconds()
	sample.More = map[string]float64{
		"consumers": float64(s.consumers()), "messages (/s)": float64(after.In-before.In) / seconds,
		"each link (B/s)": float64(after.InBytes-before.InBytes) / seconds / (n * (n - 1) / 2), "hub (MB)": after.resident,
	}
	return sample, nil
}

// usage is what the hubs have done so far, together, and the memory of the one that has most.
type usage struct {
	traffic
	cpu      time.Duration
	resident float64
}

func (s *star) usage(ctx context.Context) (u usage, err error) {
	for _, r := range s.regions {
		t, err := r.where.traffic(ctx)
		if err != nil {
			return u, err
		}
		cpu, err := r.hub.cpu()
		if err != nil {
			return u, err
		}
		resident, err := r.hub.resident()
		if err != nil {
			return u, err
		}
		u.In, u.InBytes, u.Leaves = u.In+t.In, u.InBytes+t.InBytes, u.Leaves+t.Leaves
		u.cpu, u.resident = u.cpu+cpu, max(u.resident, resident)
	}
	return u, nil
}

func (s *star) close() error {
	for _, srv := range s.leaves {
		srv.Shutdown()
	}
	for _, srv := range s.leaves {
		srv.WaitForShutdown()
	}
	var failed []error
	for _, r := range s.regions {
		if r.hub != nil {
			failed = append(failed, r.hub.end())
		}
	}
	return errors.Join(append(failed, os.RemoveAll(s.dir))...)
}
