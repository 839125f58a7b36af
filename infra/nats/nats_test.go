package nats_test

import (
	"errors"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func options(t *testing.T, file string) *server.Options {
	t.Helper()
	o := &server.Options{}
	if err := o.ProcessConfigString(file); err != nil {
		t.Fatalf("reading the file: %v", err)
	}
	return o
}

// end is one side of the link: its site and a connection to its server.
type end struct {
	site federation.SiteID
	nc   *natsgo.Conn
}

// mesh runs the two files as they are, but for ports and directory, until the leaf has joined.
func mesh(t *testing.T) (hub, leaf end) {
	t.Helper()
	hubOptions, leafOptions := options(t, nats.DevHub), options(t, nats.DevLeaf)
	hubOptions.Port, leafOptions.Port = server.RANDOM_PORT, server.RANDOM_PORT
	hubOptions.StoreDir, leafOptions.StoreDir = t.TempDir(), t.TempDir()
	hubOptions.LeafNode.Port = server.RANDOM_PORT
	hubServer := natstest.StartOptions(t, hubOptions)
	vars, err := hubServer.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	leafOptions.LeafNode.Remotes[0].URLs = []*url.URL{{Scheme: "nats-leaf", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(vars.LeafNode.Port))}}
	leafServer := natstest.StartOptions(t, leafOptions)
	natstest.Eventually(t, "the leaf has joined the hub", func() bool { return hubServer.NumLeafNodes() == 1 && leafServer.NumLeafNodes() == 1 })
	return end{"site-a", connect(t, hubServer)}, end{"site-b", connect(t, leafServer)}
}

func connect(t *testing.T, s *server.Server) *natsgo.Conn {
	t.Helper()
	nc, err := natsgo.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// kept are the families of subjects that stay at their site.
func kept(t *testing.T) []string {
	t.Helper()
	families := []string{subject.AllAlerts}
	for _, family := range []string{"schedule", "tick", "event", "nudge", "deadletter"} {
		families = append(families, "aurora.site.*."+family+".>")
	}
	for _, function := range functions(t) {
		if function != "topologyquery" { // its answer may be asked for by a peer
			families = append(families, "aurora.site.*."+function+".>")
		}
	}
	// Of a peer's JetStream, all that changes or reads more than the own consumer.
	for _, api := range []string{"STREAM.>", "DIRECT.>", "CONSUMER.CREATE.>", "CONSUMER.DURABLE.>", "CONSUMER.DELETE.>"} {
		families = append(families, "$JS.*.API."+api)
	}
	slices.Sort(families)
	return families
}

// functions are the folders of the functions.
func functions(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("../../functions")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	if len(names) < 5 {
		t.Fatalf("these are not the functions: %v", names)
	}
	return names
}

func TestTheLeafKeepsToItsSiteWhatBelongsToIt(t *testing.T) {
	remote := options(t, nats.DevLeaf).LeafNode.Remotes[0]
	for direction, denied := range map[string][]string{"deny_exports": remote.DenyExports, "deny_imports": remote.DenyImports} {
		slices.Sort(denied)
		if diff := cmp.Diff(kept(t), denied); diff != "" {
			t.Errorf("%s of dev-leaf.conf (-want +got):\n%s", direction, diff)
		}
	}
}

func TestTheFilesAreThoseOfTheDemoOnLoopback(t *testing.T) {
	for name, c := range map[string]struct {
		file   string
		site   string
		client int
	}{"dev-hub.conf": {nats.DevHub, "site-a", 4222}, "dev-leaf.conf": {nats.DevLeaf, "site-b", 4223}} {
		o := options(t, c.file)
		if o.Host != "127.0.0.1" || o.Port != c.client {
			t.Errorf("%s listens at %s:%d", name, o.Host, o.Port)
		}
		if o.ServerName != c.site || o.JetStreamDomain != c.site {
			t.Errorf("%s is of %s with the JetStream domain %s", name, o.ServerName, o.JetStreamDomain)
		}
		if !o.JetStream || !strings.Contains(o.StoreDir, c.site) {
			t.Errorf("%s keeps JetStream (%t) in %q", name, o.JetStream, o.StoreDir)
		}
		if silence := o.PingInterval * time.Duration(o.MaxPingsOut+1); silence > 10*time.Second {
			t.Errorf("%s notices a silent peer only after %v", name, silence)
		}
		if o.SystemAccount == "" || o.NoAuthUser == "" {
			t.Errorf("%s has the system account %q and the user %q", name, o.SystemAccount, o.NoAuthUser)
		}
	}
	hub := options(t, nats.DevHub)
	if hub.LeafNode.Host != "127.0.0.1" || hub.LeafNode.Port != 7422 || !hub.LeafNode.NoAdvertise {
		t.Errorf("the hub takes leafnodes at %s:%d, no_advertise %t", hub.LeafNode.Host, hub.LeafNode.Port, hub.LeafNode.NoAdvertise)
	}
	if got := options(t, nats.DevLeaf).LeafNode.Remotes[0].URLs[0].Host; got != "127.0.0.1:7422" {
		t.Errorf("the leaf goes to %s", got)
	}
}

func TestGossipCrossesInBothDirections(t *testing.T) {
	hub, leaf := mesh(t)
	for _, way := range [][2]end{{hub, leaf}, {leaf, hub}} {
		from, to := way[0], way[1]
		sub, err := to.nc.SubscribeSync(subject.AllHealth)
		if err != nil {
			t.Fatal(err)
		}
		natstest.Eventually(t, "gossip of "+string(from.site)+" arrives", func() bool {
			if err := from.nc.Publish(subject.Health(from.site), nil); err != nil {
				t.Fatal(err)
			}
			msg, err := sub.NextMsg(20 * time.Millisecond)
			return err == nil && msg.Subject == subject.Health(from.site)
		})
	}
}

func TestAPeerCanAskForTheTopologyAndForNothingElse(t *testing.T) {
	hub, leaf := mesh(t)
	for _, way := range [][2]end{{hub, leaf}, {leaf, hub}} {
		from, to := way[0], way[1]
		for _, function := range functions(t) {
			asked := subject.Function(to.site, function, "test")
			if _, err := to.nc.Subscribe(asked, func(m *natsgo.Msg) {
				if err := m.Respond([]byte(to.site)); err != nil {
					t.Errorf("answering: %v", err)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		// That this one answers proves that the others have had their time too: they were there before it.
		open := subject.Function(to.site, "topologyquery", "test")
		natstest.Eventually(t, open+" answers "+string(from.site), func() bool {
			msg, err := from.nc.Request(open, nil, time.Second)
			return err == nil && string(msg.Data) == string(to.site)
		})
		for _, function := range functions(t) {
			asked := subject.Function(to.site, function, "test")
			if _, err := to.nc.Request(asked, nil, time.Second); err != nil {
				t.Errorf("%s does not answer its own site: %v", asked, err)
			}
			if _, err := from.nc.Request(asked, nil, time.Second); function != "topologyquery" && !errors.Is(err, natsgo.ErrNoResponders) {
				t.Errorf("%s answers %s: %v", asked, from.site, err)
			}
		}
	}
}

// A wildcard of the other side does not pull them over either. That they stay is
// told by what is sent behind them and arrives: a connection keeps the order.
func TestWhatBelongsToASiteDoesNotCross(t *testing.T) {
	hub, leaf := mesh(t)
	for _, way := range [][2]end{{hub, leaf}, {leaf, hub}} {
		from, to := way[0], way[1]
		t.Run("from "+string(from.site)+" to "+string(to.site), func(t *testing.T) {
			var heard []*natsgo.Subscription
			listen := func(s string) {
				sub, err := to.nc.SubscribeSync(s)
				if err != nil {
					t.Fatal(err)
				}
				heard = append(heard, sub)
			}
			var literal []string
			for _, family := range kept(t) {
				listen(family)
				for _, site := range []federation.SiteID{from.site, to.site, "site-c"} {
					literal = append(literal, strings.NewReplacer("*", string(site), ">", "test").Replace(family))
				}
			}
			for _, s := range literal {
				listen(s)
			}
			listen("aurora.>")
			everything, err := to.nc.SubscribeSync(">")
			if err != nil {
				t.Fatal(err)
			}
			marker := subject.Health(from.site)
			publish := func(s, text string) {
				if err := from.nc.Publish(s, []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			natstest.Eventually(t, "the link carries gossip", func() bool {
				publish(marker, "is it there")
				_, err := everything.NextMsg(20 * time.Millisecond)
				return err == nil
			})
			for _, s := range literal {
				publish(s, "stays")
			}
			publish(marker, "last")
			for {
				msg, err := everything.NextMsg(5 * time.Second)
				if err != nil {
					t.Fatalf("the last message did not come: %v", err)
				}
				if msg.Subject != marker && !strings.HasPrefix(msg.Subject, "$") && !strings.HasPrefix(msg.Subject, "_INBOX") {
					t.Errorf("%s crossed", msg.Subject)
				}
				if string(msg.Data) == "last" {
					break
				}
			}
			for _, sub := range heard {
				if pending, _, err := sub.Pending(); err != nil || pending > 0 && sub.Subject != "aurora.>" {
					t.Errorf("%s heard %d messages: %v", sub.Subject, pending, err)
				}
			}
		})
	}
}

func TestEverySiteHasAJetStreamOfItsOwnThatAPeerCanReach(t *testing.T) {
	hub, leaf := mesh(t)
	for _, way := range [][2]end{{hub, leaf}, {leaf, hub}} {
		at, peer := way[0], way[1]
		own, err := jetstream.New(at.nc)
		if err != nil {
			t.Fatal(err)
		}
		info, err := own.AccountInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.Domain != subject.Domain(at.site) {
			t.Errorf("the JetStream of %s is of the domain %q", at.site, info.Domain)
		}
		across, err := jetstream.NewWithDomain(at.nc, subject.Domain(peer.site))
		if err != nil {
			t.Fatal(err)
		}
		natstest.Eventually(t, string(at.site)+" reaches the JetStream of "+string(peer.site), func() bool {
			info, err := across.AccountInfo(t.Context())
			return err == nil && info.Domain == subject.Domain(peer.site)
		})
	}
}

func TestASharedAlertIsCapturedAtItsOriginOnlyAndPulledFromThere(t *testing.T) {
	hub, leaf := mesh(t)
	streams := map[federation.SiteID]jetstream.Stream{}
	for _, e := range []end{hub, leaf} {
		js, err := jetstream.New(e.nc)
		if err != nil {
			t.Fatal(err)
		}
		if streams[e.site], err = js.CreateStream(t.Context(), stream.Alerts(e.site, stream.Limits{})); err != nil {
			t.Fatal(err)
		}
	}
	for _, way := range [][2]end{{hub, leaf}, {leaf, hub}} {
		origin, peer := way[0], way[1]
		js, err := jetstream.New(origin.nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), subject.Alert(federation.High), []byte(origin.site)); err != nil {
			t.Fatal(err)
		}
		if _, err := streams[origin.site].CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: subject.AlertConsumer(peer.site), AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			t.Fatal(err)
		}
		across, err := jetstream.NewWithDomain(peer.nc, subject.Domain(origin.site))
		if err != nil {
			t.Fatal(err)
		}
		var consumer jetstream.Consumer
		natstest.Eventually(t, string(peer.site)+" sees its consumer at "+string(origin.site), func() bool {
			consumer, err = across.Consumer(t.Context(), subject.AlertStream(origin.site), subject.AlertConsumer(peer.site))
			return err == nil
		})
		msg, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if string(msg.Data()) != string(origin.site) {
			t.Errorf("%s pulled %q", peer.site, msg.Data())
		}
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Errorf("the acknowledgement does not reach %s: %v", origin.site, err)
		}
	}
	for site, s := range streams {
		info, err := s.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs != 1 {
			t.Errorf("the stream of %s holds %d alerts, want its own one", site, info.State.Msgs)
		}
	}
}
