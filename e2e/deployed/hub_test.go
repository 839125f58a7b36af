//go:build linux

package deployed_test

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// A hub on PostgreSQL and two leaves, of which neither pulls from the other. What a leaf
// raises comes to the other by the hub, also where the hub is killed with it in hand.
func TestAHubPassesOnOverTLSAndOutlivesItsKill(t *testing.T) {
	if os.Getenv(wanted) == "" {
		t.Skip("SKIPPED, NOT RUN AS DEPLOYED: set " + wanted + "=1")
	}
	p, err := built()
	if err != nil {
		t.Fatal(err)
	}
	const byHub = "FEDERATION_EXCHANGE=hub"
	dir, leafnodes := filepath.Join(t.TempDir(), "sites"), address(freePort(t))
	command(t, nil, p.auroramesh, "site", "init", "--primary", "site-a", "--dir", dir, "--host", "127.0.0.1", "--listen", address(freePort(t)),
		"--http-listen", address(freePort(t)), "--leafnode-listen", leafnodes, "--database-url", database(t))
	hub := filepath.Join(dir, "site-a")
	a := whole(t, p, hub, nats.HubFile, byHub)
	answers(t, a) // a connection that is made while the server reads its file anew may be refused
	var leaves []*deployed
	for _, id := range []string{"site-b", "site-c"} {
		command(t, nil, p.auroramesh, "site", "enrol", id, "--dir", dir, "--hub", leafnodes, "--listen", address(freePort(t)), "--http-listen", address(freePort(t)))
		leaves = append(leaves, whole(t, p, filepath.Join(dir, id), nats.LeafFile, byHub))
	}
	b, c := leaves[0], leaves[1]
	relayed(t, b, c)
	relayed(t, c, b)
	both := crosses(t, b, c, 0, "by the hub")
	isStored(t, b, c, both)
	isStored(t, b, a, both)

	// The other leaf takes nothing, so that the hub has in hand what it is killed with.
	functions := c.workers[0][1]
	functions.signal(t, syscall.SIGSTOP)
	held := raises(t, b, 0, "in the hand of a hub that is killed")
	arrives(t, b, a, 0, held)
	for _, w := range a.workers[0] {
		w.signal(t, syscall.SIGKILL)
		<-w.ended
	}
	meanwhile := raises(t, b, 0, "while the hub is away")
	a.start(t, p, hub, nats.HubFile)
	functions.signal(t, syscall.SIGCONT)
	for _, raised := range []federation.Alert{held, meanwhile} {
		arrives(t, b, c, 0, raised)
		isStored(t, b, c, raised)
	}
	if letters, err := c.api[0].DeadLetters(t.Context(), ask.Page{}); err != nil || letters.Total != 0 {
		t.Errorf("site-c has %d dead letters, %v", letters.Total, err)
	}
}

// answers waits until a site answers.
func answers(t *testing.T, d *deployed) {
	t.Helper()
	natstest.Within(t, patience, d.id+" answers", func() bool {
		_, err := d.api[0].Topology(t.Context())
		return err == nil
	})
}

// relayed waits until one leaf gets by the hub what the other raises, and pulls nothing from it.
func relayed(t *testing.T, from, to *deployed) {
	t.Helper()
	natstest.Within(t, patience, to.id+" gets by the hub what "+from.id+" raises", func() bool {
		ledger, err := from.api[0].Deliveries(t.Context())
		return err == nil && slices.ContainsFunc(ledger.Deliveries, func(d federation.Delivery) bool {
			return string(d.Peer) == to.id && d.Direction == federation.Outbound && d.PassedBy == "site-a"
		})
	})
}

// isStored waits until the ledger of the origin says that a peer has stored an alert.
func isStored(t *testing.T, origin, peer *deployed, a federation.Alert) {
	t.Helper()
	natstest.Within(t, patience, origin.id+" knows that "+peer.id+" has stored "+a.Title, func() bool {
		d, err := origin.api[0].AlertDeliveries(t.Context(), a.ID)
		return err == nil && slices.ContainsFunc(d.Deliveries, func(d federation.AlertDelivery) bool {
			return string(d.Peer) == peer.id && d.State == federation.DeliveryStored
		})
	})
}
