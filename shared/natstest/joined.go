package natstest

import (
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// StartHub runs a server with a configuration, given as text, that takes leafnodes, on
// free ports until the test ends. Each adjust may change its options before it starts.
func StartHub(t testing.TB, conf string, adjust ...func(*server.Options)) *server.Server {
	t.Helper()
	return startConf(t, conf, append([]func(*server.Options){func(o *server.Options) { o.LeafNode.Port = server.RANDOM_PORT }}, adjust...))
}

// StartLeaf runs a server with a configuration whose first remote becomes the hub. It
// does not wait until it is let in: see [Joined].
func StartLeaf(t testing.TB, conf string, hub *server.Server, adjust ...func(*server.Options)) *server.Server {
	t.Helper()
	vars, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	remote := &url.URL{Scheme: "nats-leaf", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(vars.LeafNode.Port))}
	return startConf(t, conf, append([]func(*server.Options){func(o *server.Options) { o.LeafNode.Remotes[0].URLs = []*url.URL{remote} }}, adjust...))
}

// Joined waits until the hub and its only leaf have joined.
func Joined(t testing.TB, hub, leaf *server.Server) {
	t.Helper()
	Eventually(t, "the leaf has joined the hub", func() bool { return hub.NumLeafNodes() == 1 && leaf.NumLeafNodes() == 1 })
}

func startConf(t testing.TB, conf string, adjust []func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{}
	if err := o.ProcessConfigString(conf); err != nil {
		t.Fatal(err)
	}
	o.Port, o.StoreDir = server.RANDOM_PORT, t.TempDir()
	for _, a := range adjust {
		a(o)
	}
	return StartOptions(t, o)
}

// Fetch takes n messages of a consumer and leaves them unacknowledged.
func Fetch(t testing.TB, c jetstream.Consumer, n int) []jetstream.Msg {
	t.Helper()
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var msgs []jetstream.Msg
	for m := range batch.Messages() {
		msgs = append(msgs, m)
	}
	if len(msgs) != n {
		t.Fatalf("%d of %d messages came: %v", len(msgs), n, batch.Error())
	}
	return msgs
}
