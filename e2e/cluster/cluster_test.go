//go:build linux

// Package cluster_test runs a hub whose NATS server is three: processes in a cluster
// that keep each stream of the site three times, one of which is killed. And it runs two
// regions with a gateway between them, which is cut.
package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/site"
	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	hub  federation.SiteID = "site-a"
	leaf federation.SiteID = "site-b"
	// nodeEnv has this program be a node of the cluster, which it describes.
	nodeEnv  = "AURORAMESH_CLUSTER_NODE"
	patience = 90 * time.Second
)

// node is one NATS server of the hub.
type node struct {
	Name    string
	Client  int // ports
	Leaf    int
	Cluster int
	Routes  []string
	Dir     string

	process *exec.Cmd
	log     *os.File
}

func TestMain(m *testing.M) {
	if described := os.Getenv(nodeEnv); described != "" {
		if err := serve(described); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serve is a node on the development file of a hub, with what it confirms on the disk, until it is killed.
func serve(described string) error {
	var n node
	if err := json.Unmarshal([]byte(described), &n); err != nil {
		return err
	}
	o := &server.Options{}
	if err := o.ProcessConfigString(nats.DevHub); err != nil {
		return err
	}
	o.ServerName, o.Port, o.StoreDir, o.SyncAlways = n.Name, n.Client, n.Dir, true
	o.LeafNode.Port = n.Leaf
	o.Cluster.Name, o.Cluster.Host, o.Cluster.Port = string(hub), "127.0.0.1", n.Cluster
	o.Routes = server.RoutesFromStr(strings.Join(n.Routes, ","))
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
	return nil
}

// start starts the process of a node.
func (n *node) start(t *testing.T) {
	t.Helper()
	described, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n.process = exec.Command(self)
	n.process.Env = append(os.Environ(), nodeEnv+"="+string(described))
	n.process.Stdout, n.process.Stderr = n.log, n.log
	n.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.process.Start(); err != nil {
		t.Fatal(err)
	}
}

// kill ends the process with no time to say goodbye.
func (n *node) kill(t *testing.T) {
	t.Helper()
	if err := n.process.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = n.process.Wait() // says that it was killed
}

// cluster is the three nodes of a hub, which run until the test ends.
func cluster(t *testing.T) (nodes []*node) {
	t.Helper()
	ports := freePorts(t, 9)
	var routes []string
	for _, p := range ports[6:] {
		routes = append(routes, "nats://"+local(p))
	}
	for i := range 3 {
		n := &node{Name: "node-" + strconv.Itoa(i+1), Client: ports[i], Leaf: ports[3+i], Cluster: ports[6+i], Routes: routes, Dir: t.TempDir()}
		log, err := os.Create(filepath.Join(t.TempDir(), n.Name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		n.log = log
		n.start(t)
		t.Cleanup(func() {
			n.kill(t)
			log.Close()
			if said, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
				t.Logf("%s said at last:\n%s", n.Name, said[max(0, len(said)-3000):])
			}
		})
		nodes = append(nodes, n)
	}
	return nodes
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() //nolint:gocritic // all at once, or a port would come twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// start runs all functions of a site until the test ends.
func start(t *testing.T, id federation.SiteID, env map[string]string) *apiclient.Client {
	t.Helper()
	dir := t.TempDir()
	environ := map[string]string{
		"FEDERATION_SITE_ID": string(id), "FEDERATION_HEARTBEAT_INTERVAL_SECONDS": "1", "FEDERATION_IDENTITY_DIR": filepath.Join(dir, "identity"),
		// A comparison would mend what a killed node has lost.
		"FEDERATION_RECONCILE_INTERVAL_SECONDS": "3600",
		"DATABASE_URL":                          "sqlite:" + filepath.Join(dir, "site.db"), "HTTP_LISTEN": "127.0.0.1:0", "HTTP_RATE_LIMIT_PER_SECOND": "0",
	}
	maps.Copy(environ, env)
	s, err := settings.Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	st, err := store.Open(ctx, s.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	running, err := site.Start(ctx, site.Config{Settings: s, Version: "0.0.1", Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Stop(context.Background()); err != nil {
			t.Errorf("stopping %s: %v", id, err)
		}
	})
	if err := running.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := apiclient.New("http://"+running.Addr(), apiclient.Attempts(0), apiclient.Timeout(5*time.Second), apiclient.Backoff(50*time.Millisecond, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// load raises alerts at a site without a pause to speak of, each until the site has it.
type load struct {
	site  *apiclient.Client
	stop  context.CancelFunc
	done  sync.WaitGroup
	mu    sync.Mutex
	taken []string // titles
}

func raise(t *testing.T, c *apiclient.Client, name string) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{site: c, stop: stop}
	for worker := range 2 {
		l.done.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				severity := federation.High
				if i%2 == 0 {
					severity = federation.Critical
				}
				title := fmt.Sprintf("%s, worker %d, alert %d", name, worker, i)
				// What has begun is seen through: an alert that was not answered for may be there.
				if _, _, _, err := c.Raise(t.Context(), federation.NewAlert{Title: title, Severity: severity, Source: "test"}); err != nil {
					if t.Context().Err() == nil {
						t.Errorf("raising %q: %v", title, err)
					}
					return
				}
				l.mu.Lock()
				l.taken = append(l.taken, title)
				l.mu.Unlock()
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond): // a rate that two sites keep up with under the race detector
				}
			}
		})
	}
	t.Cleanup(func() { stop(); l.done.Wait() })
	return l
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.taken)
}

// more waits until n more alerts are taken.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	want := l.count() + n
	natstest.Within(t, patience, fmt.Sprintf("%d more alerts are taken", n), func() bool { return l.count() >= want })
}

// finish ends the load and gives the titles of what was taken.
func (l *load) finish() []string {
	l.stop()
	l.done.Wait()
	return l.taken
}

// expect waits until a site has as many alerts of a source as it should, and looks whether they are these.
func expect(t *testing.T, c *apiclient.Client, source string, titles []string) {
	t.Helper()
	natstest.Within(t, patience, fmt.Sprintf("all %d alerts of %q are there", len(titles), source), func() bool {
		page, err := c.Alerts(t.Context(), ask.AlertFilter{Page: ask.Page{Limit: 1}, Source: source})
		return err == nil && page.Total >= len(titles)
	})
	all, err := apiclient.All(t.Context(), func(ctx context.Context, p ask.Page) (ask.List[federation.Alert], error) {
		return c.Alerts(ctx, ask.AlertFilter{Page: p, Source: source})
	})
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for _, a := range all.Items {
		times[a.Title]++
	}
	for _, title := range titles {
		if n := times[title]; n != 1 {
			t.Errorf("%q of %s is there %d times", title, source, n)
		}
		delete(times, title)
	}
	if len(times) > 0 {
		t.Errorf("of %s there is also what nobody raised: %v", source, times)
	}
}

// clientsOf is where the clients of a cluster connect: to any of its servers.
func clientsOf(nodes []*node) string {
	urls := make([]string, len(nodes))
	for i, n := range nodes {
		urls[i] = "nats://" + local(n.Client)
	}
	return strings.Join(urls, ",")
}

// connected is a bus of the hub to a cluster.
func connected(t *testing.T, clients string) *function.Bus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	bus, err := function.Connect(ctx, natstest.Identity(hub), "test", clients, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Conn().Close)
	return bus
}

func TestAHubOfThreeLosesANodeUnderLoadAndNothingElse(t *testing.T) {
	nodes := cluster(t)
	clients := clientsOf(nodes)
	var leafnodes []*url.URL
	for _, n := range nodes {
		leafnodes = append(leafnodes, &url.URL{Scheme: "nats-leaf", Host: local(n.Leaf)})
	}
	bus := connected(t, clients)
	// The site has had the cluster before, but kept the stream on one server.
	natstest.Within(t, patience, "the cluster makes a stream", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := bus.JetStream().CreateOrUpdateStream(ctx, stream.Alerts(hub, stream.Limits{}))
		return err == nil
	})
	a := start(t, hub, map[string]string{"FEDERATION_SITE_TIER": "primary", "NATS_URL": clients, "JETSTREAM_REPLICAS": "3"})
	o := &server.Options{}
	if err := o.ProcessConfigString(nats.DevLeaf); err != nil {
		t.Fatal(err)
	}
	o.StoreDir, o.Port, o.LeafNode.Remotes[0].URLs = t.TempDir(), server.RANDOM_PORT, leafnodes
	b := start(t, leaf, map[string]string{"NATS_URL": natstest.StartOptions(t, o).ClientURL()})

	kept := func(name string) *jetstream.StreamInfo { // nil while it cannot be told
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		s, err := bus.JetStream().Stream(ctx, name)
		if err != nil {
			return nil
		}
		return s.CachedInfo()
	}
	streams := []string{subject.AlertStream(hub), subject.EventStream(hub), subject.TickStream(hub), subject.DeadLetterStream(hub), subject.RefusalStream(hub)}
	whole := func(name string) bool {
		info := kept(name)
		if info == nil || info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != 2 {
			return false
		}
		return info.Cluster.Replicas[0].Current && info.Cluster.Replicas[1].Current
	}
	for _, name := range streams {
		natstest.Within(t, patience, name+" is on three servers", func() bool { return whole(name) })
	}

	ofA, ofB := raise(t, a, "of site-a"), raise(t, b, "of site-b")
	ofA.more(t, 30)
	ofB.more(t, 30)
	leader := kept(subject.AlertStream(hub)).Cluster.Leader
	victim := nodes[slices.IndexFunc(nodes, func(n *node) bool { return n.Name == leader })]
	victim.kill(t)
	natstest.Within(t, patience, "another leads the stream of shared alerts", func() bool {
		info := kept(subject.AlertStream(hub))
		return info != nil && info.Cluster.Leader != "" && info.Cluster.Leader != leader
	})
	ofA.more(t, 30)
	ofB.more(t, 30)
	victim.start(t)
	fromA, fromB := ofA.finish(), ofB.finish()
	expect(t, a, "test", fromA)
	expect(t, b, "test", fromB)
	expect(t, b, "federation:"+string(hub), fromA)
	expect(t, a, "federation:"+string(leaf), fromB)
	for _, name := range streams {
		natstest.Within(t, patience, name+" is on three servers again", func() bool { return whole(name) })
	}
	t.Logf("%d alerts of the hub and %d of the leaf crossed, with %s killed", len(fromA), len(fromB), leader)
}

// What many messages are stored with is one decision of the three servers: where their leader is
// killed in the midst of it they are tried again, and the stream holds each once, where it is said to be.
func TestMessagesThatGoInBatchesOutliveTheirLeader(t *testing.T) {
	nodes := cluster(t)
	bus := connected(t, clientsOf(nodes))
	bus.Identify(natstest.Key(t, hub), nil)
	var leader string
	asked := func(do func(context.Context) (jetstream.Stream, error)) bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		s, err := do(ctx)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		leader = s.CachedInfo().Cluster.Leader
		return leader != ""
	}
	config := stream.Alerts(hub, stream.Limits{})
	config.Replicas = 3
	natstest.Within(t, patience, "the cluster makes a stream", func() bool {
		return asked(func(ctx context.Context) (jetstream.Stream, error) {
			return bus.JetStream().CreateOrUpdateStream(ctx, config)
		})
	})

	const batches, each = 40, 100
	said := map[uint64]string{}
	for n := range batches {
		msgs := make([]function.Message, each)
		for i := range msgs {
			msgs[i] = function.Message{Subject: subject.Alert(federation.High), ID: fmt.Sprintf("%d of batch %d", i, n), Payload: []byte("{}")}
		}
		if n == batches/2 {
			victim := nodes[slices.IndexFunc(nodes, func(n *node) bool { return n.Name == leader })]
			passed := 0
			if _, err := bus.Conn().Subscribe(subject.AllAlerts, func(*natsgo.Msg) {
				if passed++; passed == each/2 {
					_ = victim.process.Process.Kill() // which the end of the test waits for
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		natstest.Within(t, patience, fmt.Sprintf("batch %d is stored", n), func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			sequences, err := bus.Store(ctx, msgs)
			if err != nil {
				return false
			}
			for i, sequence := range sequences {
				said[sequence] = msgs[i].ID
			}
			return true
		})
	}
	killed := leader
	natstest.Within(t, patience, "another leads the stream", func() bool {
		return asked(func(ctx context.Context) (jetstream.Stream, error) { return bus.JetStream().Stream(ctx, config.Name) }) && leader != killed
	})
	reading, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := bus.JetStream().CreateConsumer(reading, config.Name, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		t.Fatal(err)
	}
	alone := 0
	for i, m := range natstest.Fetch(t, c, batches*each) {
		if id := m.Headers().Get(jetstream.MsgIDHeader); said[uint64(i+1)] != id {
			t.Fatalf("%q is at %d, where %q is said to be", id, i+1, said[uint64(i+1)])
		}
		if m.Headers().Get("Nats-Batch-Id") == "" {
			alone++
		}
	}
	if info, err := c.Info(reading); err != nil || info.NumPending != 0 || alone > batches*each/2 {
		t.Errorf("the stream holds more than was stored (%v, %v), or too many went one by one: %d", info, err, alone)
	}
}
