package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// backlogs are the same over a line that takes whatever the processors can send, and over one
// as many organisations have between their sites.
var backlogs = []Workload{
	backlogBehind("backlog", "a line of 40 ms round trip", 0),
	backlogBehind("backlog-100mbit", "a line of 40 ms round trip and 100 Mbit/s", 100),
}

// backlogBehind is the backlog behind a line; mbit is how many million bits cross it in a second, 0 all that come.
func backlogBehind(name, line string, mbit int) Workload {
	return Workload{
		Name: name, Unit: alerts, Goals: []Goal{atLeast(0.5)},
		Does:    "100,000 alerts that wait behind " + line + " are stored and acknowledged",
		Beside:  "as many messages of the same size published by core NATS over the same leafnode, which nobody stores",
		prepare: func(ctx context.Context, b *bed) (pair, error) { return prepareBacklog(ctx, b, mbit) },
	}
}

const (
	roundTrip = 40 * time.Millisecond
	bulk      = "bench.bulk"
	// unread is how many messages may be on the line at once: more than a leafnode may
	// hold back for its peer would end it.
	unread = 20_000
)

func prepareBacklog(ctx context.Context, b *bed, mbit int) (pair, error) {
	m, err := b.mesh(ctx, kind{line: true})
	if err != nil {
		return pair{}, err
	}
	n := b.size(waitingAlerts)
	payloads, err := sharedPayloads(hub, n)
	if err != nil {
		return pair{}, err
	}
	return pair{
		own:    func(ctx context.Context) (Sample, error) { return b.drain(ctx, m, n) },
		beside: func(ctx context.Context) (Sample, error) { return m.send(ctx, payloads) },
		end:    func() error { return m.Lines.Narrow(federation.LinkID(hub, leaf), 0) },
	}, errors.Join(m.delay(ctx, roundTrip), m.Lines.Narrow(federation.LinkID(hub, leaf), mbit*1_000_000/8))
}

// send publishes messages at the hub, and measures how fast they are at the leaf.
func (m *mesh) send(ctx context.Context, payloads [][]byte) (Sample, error) {
	var arrived atomic.Int64
	sub, err := m.conn[leaf].Subscribe(bulk, func(*nats.Msg) { arrived.Add(1) })
	if err != nil {
		return Sample{}, fmt.Errorf("subscribing: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // of a connection that is closed there is none left
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return Sample{}, fmt.Errorf("subscribing: %w", err)
	}
	reach := func(n int64) error { // waits until so many have arrived
		for arrived.Load() < n {
			if err := pause(ctx, time.Millisecond); err != nil {
				return fmt.Errorf("%d messages of %d have arrived: %w", arrived.Load(), len(payloads), err)
			}
		}
		return nil
	}
	// The hub knows of the subscription once a message arrives.
	for arrived.Load() == 0 {
		if err := m.conn[hub].Publish(bulk, nil); err != nil {
			return Sample{}, fmt.Errorf("publishing: %w", err)
		}
		if err := pause(ctx, 4*roundTrip); err != nil {
			return Sample{}, err
		}
	}
	arrived.Store(0)
	begun := time.Now()
	for i, p := range payloads {
		if i%1000 == 0 {
			if err := reach(int64(i - unread)); err != nil {
				return Sample{}, err
			}
		}
		if err := m.conn[hub].Publish(bulk, p); err != nil {
			return Sample{}, fmt.Errorf("publishing: %w", err)
		}
	}
	if err := reach(int64(len(payloads))); err != nil {
		return Sample{}, err
	}
	return Sample{Value: float64(len(payloads)) / time.Since(begun).Seconds(), items: len(payloads)}, nil
}
