package heartbeat_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/functions/heartbeat"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// A hub of more sites than a gossip may name says that it passes on for as many as it may:
// its peers would refuse the whole gossip otherwise.
func TestAHubTellsOfNoMoreSitesThanAGossipMayName(t *testing.T) {
	t.Parallel()
	s, st := natstest.Start(t, "site-a"), storetest.Open(t)
	for i := range federation.MaxPassesFor + 1 {
		if err := st.SetPassed(t.Context(), federation.SiteID(fmt.Sprintf("leaf-%04d", i)), true, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	bus := natstest.Bus(t, s, "site-a", "heartbeat")
	heard := make(chan *nats.Msg, 16)
	if _, err := natstest.Bus(t, s, "site-a", "listener").Conn().ChanSubscribe(subject.Health("site-a"), heard); err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, bus, heartbeat.New(time.Second, true, nil, federation.Gate{MinSeverity: federation.High}, federation.Thresholds{Degraded: time.Minute, Down: time.Hour}, st, bus, time.Now))
	select {
	case msg := <-heard:
		var g federation.Gossip
		if err := json.Unmarshal(msg.Data, &g); err != nil {
			t.Fatal(err)
		}
		if err := g.Validate(); err != nil || len(g.PassesFor) != federation.MaxPassesFor || g.PassesFor[0] != "leaf-0000" {
			t.Errorf("it passes for %d, %v", len(g.PassesFor), err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no gossip came")
	}
}
