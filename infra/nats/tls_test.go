package nats_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const day = 24 * time.Hour

// pair is a certificate of a site, in files.
type pair struct{ cert, key string }

// realm is an authority with its primary's server on the shipped file.
type realm struct {
	*authority.Authority
	ca  string
	hub node
	log *lines
}

// node is the server of a site on a shipped file, with a connection of its functions.
type node struct {
	end
	server *server.Server
	dir    string
	nkeys  []string // of the site's functions
}

// lines is what a server logs.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(format string, v []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, fmt.Sprintf(format, v...))
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.all, func(line string) bool { return strings.Contains(line, text) })
}

func (l *lines) Noticef(string, ...any)         {}
func (l *lines) Warnf(format string, v ...any)  { l.add(format, v) }
func (l *lines) Fatalf(format string, v ...any) { l.add(format, v) }
func (l *lines) Errorf(format string, v ...any) { l.add(format, v) }
func (l *lines) Debugf(string, ...any)          {}
func (l *lines) Tracef(string, ...any)          {}

// newRealm runs site-a's server, with the peers enrolled.
func newRealm(t *testing.T, peers ...federation.SiteID) (realm, map[federation.SiteID]pair) {
	t.Helper()
	a, err := authority.Create(t.TempDir(), "site-a", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	r, pairs := realm{Authority: a, ca: filepath.Join(a.Dir(), authority.CertFile), log: &lines{}}, map[federation.SiteID]pair{}
	for _, p := range peers {
		issued, err := a.Enrol(p, nil, time.Now(), day)
		if err != nil {
			t.Fatal(err)
		}
		pairs[p] = keep(t, issued)
	}
	issued, err := a.ServerPair(time.Now(), day)
	if err != nil {
		t.Fatal(err)
	}
	r.hub = r.start(t, nats.HubFile, nats.Hub, nats.Server{Site: "site-a", LeafnodeListen: "127.0.0.1:-1"}, keep(t, issued), r.peers())
	r.hub.server.SetLoggerV2(r.log, false, false, false)
	return r, pairs
}

func (r realm) peers() []nats.Peer {
	var peers []nats.Peer
	for site, users := range r.Users(time.Now()) {
		peers = append(peers, nats.Peer{Site: site, Users: users})
	}
	return peers
}

func keep(t *testing.T, p authority.Pair) pair {
	t.Helper()
	dir := t.TempDir()
	files := pair{filepath.Join(dir, "site.crt"), filepath.Join(dir, "site.key")}
	write(t, files.cert, string(p.Cert))
	write(t, files.key, string(p.Key))
	return files
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs the server of a site on a shipped file, on free ports.
func (r realm) start(t *testing.T, name, file string, s nats.Server, p pair, peers []nats.Peer) node {
	t.Helper()
	functions, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := functions.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	n := node{end: end{site: s.Site}, dir: t.TempDir(), nkeys: []string{public}}
	s.Name, s.ClientListen, s.StoreDir = string(s.Site), "127.0.0.1:-1", filepath.Join(n.dir, "jetstream")
	s.CAFile, s.CertFile, s.KeyFile, s.SystemNkey = r.ca, p.cert, p.key, newKey(t)
	write(t, filepath.Join(n.dir, name), file)
	write(t, filepath.Join(n.dir, nats.SiteFile), s.Conf())
	write(t, filepath.Join(n.dir, nats.AccessFile), nats.Access{Own: s.Site, Nkeys: n.nkeys, Peers: peers}.Conf())
	o, err := server.ProcessConfigFile(filepath.Join(n.dir, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	n.server = natstest.StartOptions(t, o)
	n.nc, err = natsgo.Connect(n.server.ClientURL(), natsgo.RootCAs(r.ca), natsgo.Nkey(public, functions.Sign), natsgo.CustomInboxPrefix(subject.Inbox(s.Site)))
	if err != nil {
		t.Fatalf("the functions of %s cannot connect: %v", s.Site, err)
	}
	t.Cleanup(n.nc.Close)
	return n
}

func newKey(t *testing.T) string {
	t.Helper()
	k, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// address is where the hub takes leafnodes.
func (r realm) address(t *testing.T) string {
	t.Helper()
	vars, err := r.hub.server.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(vars.LeafNode.Port))
}

// leaf runs the server of a site, which goes to the hub with a certificate.
func (r realm) leaf(t *testing.T, site federation.SiteID, p pair) node {
	t.Helper()
	return r.start(t, nats.LeafFile, nats.Leaf, nats.Server{Site: site, Hubs: []string{r.address(t)}}, p, nil)
}

// join is leaf, and waits until the hub has let it in.
func (r realm) join(t *testing.T, site federation.SiteID, p pair) node {
	t.Helper()
	seen := r.leafnodes(t) // one that has just been cut may still be there
	n := r.leaf(t, site, p)
	natstest.Within(t, 30*time.Second, string(site)+" has joined", func() bool {
		return n.server.NumLeafNodes() == 1 && slices.ContainsFunc(r.leafnodes(t), func(id uint64) bool { return !slices.Contains(seen, id) })
	})
	return n
}

// leafnodes are the connections of the hub's leafnodes.
func (r realm) leafnodes(t *testing.T) []uint64 {
	t.Helper()
	z, err := r.hub.server.Leafz(&server.LeafzOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []uint64
	for _, l := range z.Leafs {
		ids = append(ids, l.ID)
	}
	return ids
}

func (r realm) config(t *testing.T, p pair) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(r.ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	cert, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}
}

// alerts makes the stream of an origin, with a consumer for each lane of its peers.
func alerts(t *testing.T, origin end, peers ...federation.SiteID) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(origin.nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateStream(t.Context(), stream.Alerts(origin.site, stream.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range peers {
		for _, lane := range subject.AlertConsumers(p) {
			if _, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: lane.Consumer, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour}); err != nil {
				t.Fatal(err)
			}
		}
	}
	alert(t, origin)
	return s
}

// alert shares one alert of an origin.
func alert(t *testing.T, origin end) {
	t.Helper()
	js, err := jetstream.New(origin.nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), subject.Alert(federation.High), []byte("of "+origin.site)); err != nil {
		t.Fatal(err)
	}
}

// pull gets the one alert of an origin from a peer's lane.
func pull(t *testing.T, origin, peer end, lane string) jetstream.Msg {
	t.Helper()
	across, err := jetstream.NewWithDomain(peer.nc, subject.Domain(origin.site))
	if err != nil {
		t.Fatal(err)
	}
	var msg jetstream.Msg
	natstest.Within(t, 30*time.Second, string(peer.site)+" pulls from "+string(origin.site), func() bool {
		c, err := across.Consumer(t.Context(), subject.AlertStream(origin.site), lane)
		if err != nil {
			return false
		}
		msg, err = c.Next(jetstream.FetchMaxWait(time.Second))
		return err == nil
	})
	if got, want := string(msg.Data()), "of "+string(origin.site); got != want {
		t.Errorf("%s pulled %q, want %q", peer.site, got, want)
	}
	return msg
}

// confirm acknowledges as the functions do, and waits until the origin says that it has it.
func confirm(peer end, origin federation.SiteID, msg jetstream.Msg) error {
	_, err := peer.nc.Request(subject.Ack(peer.site, origin, msg.Reply()), []byte("+ACK"), 10*time.Second)
	return err
}

func pending(t *testing.T, s jetstream.Stream, lane string) int {
	t.Helper()
	c, err := s.Consumer(t.Context(), lane)
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo().NumAckPending
}

func answer(t *testing.T, at end, subj, text string) {
	t.Helper()
	if _, err := at.nc.Subscribe(subj, func(m *natsgo.Msg) {
		if err := m.Respond([]byte(text)); err != nil {
			t.Errorf("answering: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// Everything that sites do across the leafnode works, between the hub and a leaf and
// between two leaves, with TLS and the permissions of the shipped files.
func TestHonestSitesMeetOnTheShippedFiles(t *testing.T) {
	r, pairs := newRealm(t, "site-b", "site-c")
	all := []end{r.hub.end, r.join(t, "site-b", pairs["site-b"]).end, r.join(t, "site-c", pairs["site-c"]).end}
	streams := map[federation.SiteID]jetstream.Stream{}
	for _, e := range all {
		var peers []federation.SiteID
		for _, p := range all {
			if p.site != e.site {
				peers = append(peers, p.site)
			}
		}
		streams[e.site] = alerts(t, e, peers...)
		answer(t, e, subject.Echo(e.site), string(e.site))
		answer(t, e, subject.Reconcile(e.site, "*", "digest"), string(e.site))
	}
	for _, from := range all {
		for _, to := range all {
			if from.site == to.site {
				continue
			}
			for _, asked := range []string{subject.Echo(to.site), subject.Reconcile(to.site, from.site, "digest")} {
				natstest.Within(t, 30*time.Second, asked+" answers "+string(from.site), func() bool {
					msg, err := from.nc.Request(asked, nil, time.Second)
					return err == nil && string(msg.Data) == string(to.site)
				})
			}
			heard, err := to.nc.SubscribeSync(subject.AllHealth)
			if err != nil {
				t.Fatal(err)
			}
			natstest.Within(t, 30*time.Second, "gossip of "+string(from.site)+" is at "+string(to.site), func() bool {
				if err := from.nc.Publish(subject.Health(from.site), nil); err != nil {
					t.Fatal(err)
				}
				msg, err := heard.NextMsg(20 * time.Millisecond)
				return err == nil && msg.Subject == subject.Health(from.site)
			})
			for _, lane := range subject.AlertConsumers(to.site) {
				msg := pull(t, from, to, lane.Consumer)
				if err := confirm(to, from.site, msg); err != nil {
					t.Errorf("%s has no confirmation of its acknowledgement from %s: %v", to.site, from.site, err)
				}
				if n := pending(t, streams[from.site], lane.Consumer); n != 0 {
					t.Errorf("%s waits for %d acknowledgements of %s", from.site, n, lane.Consumer)
				}
			}
		}
	}
}

// Whether what crosses is compressed is said in site.conf of the hub, and a reload is enough.
func TestCompressionIsChosenAtTheHub(t *testing.T) {
	r, pairs := newRealm(t, "site-b")
	r.join(t, "site-b", pairs["site-b"])
	mode := func() string {
		z, err := r.hub.server.Leafz(&server.LeafzOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range z.Leafs {
			return l.Compression
		}
		return "" // it connects anew
	}
	if got := mode(); !strings.HasPrefix(got, "s2") {
		t.Errorf("without a word in site.conf it is %q", got)
	}
	path := filepath.Join(r.hub.dir, nats.SiteFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(text)+"AURORA_COMPRESSION: \"off\"\n")
	if err := r.hub.server.Reload(); err != nil {
		t.Fatal(err)
	}
	natstest.Within(t, 30*time.Second, "nothing is compressed", func() bool { return mode() == "off" })
}
