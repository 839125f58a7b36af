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
	"github.com/auroramesh/auroramesh/shared/linkproxy"
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
	families := []string{subject.AllAlerts, "aurora.server.>"}
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
	families = append(families, "$JS.EVENT.>") // what a server says of its streams and consumers
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

func TestAPeerCanCompareWithAnOrigin(t *testing.T) {
	hub, leaf := mesh(t)
	for _, way := range [][2]end{{hub, leaf}, {leaf, hub}} {
		peer, origin := way[0], way[1]
		if _, err := origin.nc.Subscribe(subject.Reconcile(origin.site, "*", "digest"), func(m *natsgo.Msg) {
			if err := m.Respond([]byte(subject.ReconcilePeer(m.Subject))); err != nil {
				t.Errorf("answering: %v", err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		natstest.Eventually(t, string(origin.site)+" answers "+string(peer.site), func() bool {
			msg, err := peer.nc.Request(subject.Reconcile(origin.site, peer.site, "digest"), nil, time.Second)
			return err == nil && string(msg.Data) == string(peer.site)
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
				if tells(msg) {
					continue
				}
				if msg.Subject != marker && !strings.HasPrefix(msg.Subject, "$") && !strings.HasPrefix(msg.Subject, "_INBOX") {
					t.Errorf("%s crossed", msg.Subject)
				}
				if string(msg.Data) == "last" {
					break
				}
			}
			for _, sub := range heard {
				if sub.Subject == "aurora.>" {
					continue
				}
				for {
					msg, err := sub.NextMsg(time.Nanosecond)
					if errors.Is(err, natsgo.ErrTimeout) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					if !tells(msg) {
						t.Errorf("%s heard %s", sub.Subject, msg.Subject)
					}
				}
			}
		})
	}
}

// tells reports whether a message is what the own server tells of a connection.
func tells(msg *natsgo.Msg) bool {
	return strings.HasPrefix(msg.Subject, "aurora.server.") && strings.Contains(string(msg.Data), `"io.nats.server.advisory.`)
}

// hubAt runs the server of the hub and returns the address of its leafnode listener.
func hubAt(t *testing.T, password string) (*server.Server, string) {
	t.Helper()
	o := options(t, nats.DevHub)
	o.Port, o.StoreDir, o.LeafNode.Port = server.RANDOM_PORT, t.TempDir(), server.RANDOM_PORT
	if password != "" {
		o.LeafNode.Username, o.LeafNode.Password = "leaf", password
	}
	s := natstest.StartOptions(t, o)
	vars, err := s.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, net.JoinHostPort("127.0.0.1", strconv.Itoa(vars.LeafNode.Port))
}

// leafOf runs the server of a leaf that goes to an address.
func leafOf(t *testing.T, addr string, user *url.Userinfo) *server.Server {
	t.Helper()
	o := options(t, nats.DevLeaf)
	o.Port, o.StoreDir = server.RANDOM_PORT, t.TempDir()
	o.LeafNode.Remotes[0].URLs = []*url.URL{{Scheme: "nats-leaf", Host: addr, User: user}}
	return natstest.StartOptions(t, o)
}

// told waits until a server tells of a leafnode, with what is expected in the message.
func told(t *testing.T, sub *natsgo.Subscription, with string) {
	t.Helper()
	natstest.Eventually(t, sub.Subject+" tells of a leafnode with "+with, func() bool {
		msg, err := sub.NextMsg(20 * time.Millisecond)
		return err == nil && strings.Contains(string(msg.Data), `"kind":"Leafnode"`) && strings.Contains(string(msg.Data), with)
	})
}

func TestEachServerTellsOfALeafnodeThatComesAndGoes(t *testing.T) {
	hub, addr := hubAt(t, "")
	proxy := natstest.Line(t, addr)
	proxy.Set(linkproxy.Cut)
	leaf := leafOf(t, proxy.Addr(), nil)
	listen := func(s *server.Server, subj string) *natsgo.Subscription {
		nc := connect(t, s)
		sub, err := nc.SubscribeSync(subj)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		return sub
	}
	came := []*natsgo.Subscription{listen(hub, subject.Connected), listen(leaf, subject.Connected)}
	went := []*natsgo.Subscription{listen(hub, subject.Disconnected), listen(leaf, subject.Disconnected)}
	proxy.Set(linkproxy.Pass)
	told(t, came[0], `"name":"site-b"`)
	told(t, came[1], `"acc":"AURORA"`)
	proxy.Set(linkproxy.Cut)
	told(t, went[0], `"name":"site-b"`)
	told(t, went[1], `"acc":"AURORA"`)
}

func TestTheHubTellsWhichLeafnodeItRefused(t *testing.T) {
	hub, addr := hubAt(t, "right")
	nc := connect(t, hub)
	sub, err := nc.SubscribeSync(subject.Refused)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	leafOf(t, addr, url.UserPassword("leaf", "wrong"))
	told(t, sub, `"name":"site-b"`)
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
		lane := subject.AlertConsumers(peer.site)[0].Consumer
		js, err := jetstream.New(origin.nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), subject.Alert(federation.High), []byte(origin.site)); err != nil {
			t.Fatal(err)
		}
		if _, err := streams[origin.site].CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: lane, AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			t.Fatal(err)
		}
		across, err := jetstream.NewWithDomain(peer.nc, subject.Domain(origin.site))
		if err != nil {
			t.Fatal(err)
		}
		var consumer jetstream.Consumer
		natstest.Eventually(t, string(peer.site)+" sees its consumer at "+string(origin.site), func() bool {
			consumer, err = across.Consumer(t.Context(), subject.AlertStream(origin.site), lane)
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

// A peer across the leafnode ends the delivery of an alert: the server of the
// origin says so, with the reason, and the origin's stream alone has it.
func TestARefusalOfAPeerIsKnownAtTheOriginOnly(t *testing.T) {
	hub, leaf := mesh(t)
	refusals := map[federation.SiteID]jetstream.Stream{}
	for _, e := range []end{hub, leaf} {
		js, err := jetstream.New(e.nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateStream(t.Context(), stream.Alerts(e.site, stream.Limits{})); err != nil {
			t.Fatal(err)
		}
		// At the wider subject a stream shows what would cross.
		wide := stream.Refusals(e.site)
		wide.Subjects = []string{"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>"}
		if refusals[e.site], err = js.CreateStream(t.Context(), wide); err != nil {
			t.Fatal(err)
		}
	}
	for i, way := range [][2]end{{hub, leaf}, {leaf, hub}} {
		origin, peer := way[0], way[1]
		js, err := jetstream.New(origin.nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateConsumer(t.Context(), subject.AlertStream(origin.site), jetstream.ConsumerConfig{Durable: subject.AlertConsumer(peer.site), AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), subject.Alert(federation.High), []byte("poison")); err != nil {
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
		if err := msg.TermWithReason("it is poison"); err != nil {
			t.Fatal(err)
		}
		var said *jetstream.RawStreamMsg
		natstest.Eventually(t, string(origin.site)+" knows of the refusal", func() bool {
			said, err = refusals[origin.site].GetMsg(t.Context(), 1)
			return err == nil
		})
		if !server.SubjectsCollide(said.Subject, subject.Refusals(origin.site)) || !strings.Contains(string(said.Data), `"reason":"it is poison"`) {
			t.Errorf("%s said %s: %s", origin.site, said.Subject, said.Data)
		}
		// The leaf's own refusal comes second: had the hub's crossed, it would stand before it.
		if info, err := refusals[peer.site].Info(t.Context()); err != nil || info.State.Msgs != uint64(i) {
			t.Errorf("%s holds %d refusals after that of %s's alert: %v", peer.site, info.State.Msgs, origin.site, err)
		}
	}
}
