package nats_test

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// three runs the hub and two leaves on the shipped files, until both have joined.
func three(t *testing.T) (hub, leaf, other end) {
	t.Helper()
	o := options(t, nats.DevHub)
	o.Port, o.LeafNode.Port, o.StoreDir = server.RANDOM_PORT, server.RANDOM_PORT, t.TempDir()
	hubServer := natstest.StartOptions(t, o)
	vars, err := hubServer.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	join := func(site federation.SiteID) end {
		o := options(t, strings.ReplaceAll(nats.DevLeaf, "site-b", string(site)))
		o.Port, o.StoreDir = server.RANDOM_PORT, t.TempDir()
		o.LeafNode.Remotes[0].URLs = []*url.URL{{Scheme: "nats-leaf", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(vars.LeafNode.Port))}}
		return end{site, connect(t, natstest.StartOptions(t, o))}
	}
	leaf, other = join("site-b"), join("site-c")
	natstest.Eventually(t, "both leaves have joined the hub", func() bool { return hubServer.NumLeafNodes() == 2 })
	return end{"site-a", connect(t, hubServer)}, leaf, other
}

// origin is a site with two alerts in a stream of the given name, both sent to the peer and neither acknowledged.
type origin struct {
	consumer jetstream.Consumer // as the origin sees it
	sent     []jetstream.Msg    // as the peer got them
}

func sendTwo(t *testing.T, from, peer end, name string) origin {
	t.Helper()
	js, err := jetstream.New(from.nc)
	if err != nil {
		t.Fatal(err)
	}
	c := stream.Alerts(from.site, stream.Limits{})
	c.Name = name
	s, err := js.CreateStream(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := js.Publish(t.Context(), subject.Alert(federation.High), []byte(from.site)); err != nil {
			t.Fatal(err)
		}
	}
	o := origin{}
	if o.consumer, err = s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: subject.AlertConsumer(peer.site), AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour,
	}); err != nil {
		t.Fatal(err)
	}
	across, err := jetstream.NewWithDomain(peer.nc, subject.Domain(from.site))
	if err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, string(peer.site)+" has both alerts of "+string(from.site), func() bool {
		pulled, err := across.Consumer(t.Context(), name, subject.AlertConsumer(peer.site))
		if err != nil {
			return false
		}
		for len(o.sent) < 2 {
			msg, err := pulled.Next(jetstream.FetchMaxWait(time.Second))
			if err != nil {
				return false
			}
			if string(msg.Data()) != string(from.site) {
				t.Fatalf("from %s came %q", from.site, msg.Data())
			}
			o.sent = append(o.sent, msg)
		}
		return true
	})
	return o
}

// waiting is how many alerts the origin has sent for which it has no acknowledgement.
func (o origin) waiting(t *testing.T) int {
	t.Helper()
	info, err := o.consumer.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.NumAckPending
}

// An acknowledgement names stream and consumer but no domain, so it reaches every
// server that has both. That nothing came is told by what is sent behind it: the
// confirmed acknowledgement of the second alert takes the same way as the first one's.
func TestAnAcknowledgementIsOfOneOrigin(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		at, other, peer := three(t)
		if reversed {
			at, other = other, at
		}
		acked := sendTwo(t, at, peer, subject.AlertStream(at.site))
		untouched := sendTwo(t, other, peer, subject.AlertStream(other.site))
		for i, msg := range []jetstream.Msg{acked.sent[0], acked.sent[1], untouched.sent[1]} {
			if err := msg.DoubleAck(t.Context()); err != nil {
				t.Fatalf("acknowledgement %d: %v", i, err)
			}
		}
		if n := acked.waiting(t); n != 0 {
			t.Errorf("%s waits for %d acknowledgements, want none", at.site, n)
		}
		if n := untouched.waiting(t); n != 1 {
			t.Errorf("%s waits for %d acknowledgements, want that of its first alert, which %s has not acknowledged", other.site, n, peer.site)
		}
	}
}

// Why the names carry the site: where two origins share one, the peer tells one
// origin that it has an alert, and the other takes it for its own.
func TestWithOneStreamNameAnOriginTakesAnAcknowledgementOfAnother(t *testing.T) {
	hub, leaf, peer := three(t)
	acked, confused := sendTwo(t, hub, peer, "ALERTS"), sendTwo(t, leaf, peer, "ALERTS")
	if err := acked.sent[0].Ack(); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, "the leaf takes the acknowledgement that was the hub's", func() bool { return confused.waiting(t) == 1 })
	natstest.Eventually(t, "the hub has it too", func() bool { return acked.waiting(t) == 1 })
}
