package e2e_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/cmd/auroramesh/site"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// process runs some functions of site i in a process of their own.
func (m mesh) process(t *testing.T, i int, names ...string) *site.Site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := site.Start(ctx, site.Config{Settings: m.Sites[i].Settings, Version: "0.0.1", Functions: names, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leave(t, s) })
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

func leave(t *testing.T, s *site.Site) {
	t.Helper()
	if err := s.Stop(context.Background()); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// sees reports whether site 0 sees site-b so.
func (m mesh) sees(t *testing.T, status federation.SiteStatus, reason federation.SiteReason, link federation.LinkStatus, cause federation.Cause) bool {
	t.Helper()
	top := m.topology(t, 0)
	for _, s := range top.Sites {
		if s.ID == "site-b" {
			return s.Status == status && s.Reason == reason && top.Links[0].Status == link && top.Links[0].Cause == cause
		}
	}
	return false
}

func TestASiteThatStopsSaysGoodbyeAndComesBack(t *testing.T) {
	t.Parallel()
	m := start(t, demo.Options{Configure: patient})
	m.bothSee(t, federation.Healthy, "")
	leave(t, m.Sites[1].Site)
	natstest.Eventually(t, "the peer is offline because it left", func() bool {
		return m.sees(t, federation.Offline, federation.Leaving, federation.Down, federation.PeerLeaving)
	})
	h, err := m.api[0].LinkHistory(t.Context(), "link-site-a-site-b", 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Transitions) == 0 || h.Transitions[0].To != string(federation.Down) || h.Transitions[0].Cause != federation.PeerLeaving {
		t.Errorf("the history is %v", h.Transitions)
	}
	m.process(t, 1)
	natstest.Eventually(t, "the peer is back", func() bool { return m.sees(t, federation.Online, "", federation.Healthy, "") })
}

// Only what is left of a site knows that it is the last.
func TestOnlyTheLastOfASiteSaysGoodbye(t *testing.T) {
	m := start(t, demo.Options{Configure: patient})
	m.bothSee(t, federation.Healthy, "")
	replica, query := m.process(t, 1, "heartbeat"), m.process(t, 1, "topologyquery")
	nc := natstest.Bus(t, m.Sites[1].Server(), "site-b", "listener").Conn()
	gossip, err := nc.SubscribeSync(subject.Health("site-b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	last := func(marker string) (leaving bool) {
		t.Helper()
		if err := nc.Publish(subject.Health("site-b"), []byte(marker)); err != nil {
			t.Fatal(err)
		}
		for {
			var msg *natsgo.Msg
			if msg, err = gossip.NextMsg(10 * time.Second); err != nil {
				t.Fatal(err)
			}
			if string(msg.Data) == marker {
				return leaving
			}
			var g federation.Gossip
			if err := json.Unmarshal(msg.Data, &g); err != nil {
				t.Fatal(err)
			}
			leaving = g.Leaving
		}
	}
	leave(t, m.Sites[1].Site)
	if last("one") {
		t.Error("it said goodbye with a replica of heartbeat left")
	}
	leave(t, replica)
	if last("two") {
		t.Error("it said goodbye with another function left")
	}
	replica = m.process(t, 1, "heartbeat")
	leave(t, query)
	leave(t, replica)
	if !last("three") {
		t.Error("the last of all said no goodbye")
	}
}
