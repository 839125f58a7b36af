package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// ingestRelayed is [ingest] by a hub that passes on what one leaf shares to another.
var ingestRelayed = Workload{
	Name: "ingest-relayed", Unit: alerts, NoGoal: "(every alert is stored twice, and published once more)",
	Does:    "as ingest, from the stream of one leaf by the hub into the database of another leaf; CPU is of all three sites",
	Beside:  "as ingest",
	prepare: prepareRelayed,
}

// far is the leaf that gets by the hub what the other leaf shares.
var far = demo.SiteID(2)

func prepareRelayed(ctx context.Context, b *bed) (p pair, err error) {
	if err := b.database(ctx); err != nil {
		return p, err
	}
	dsns := map[federation.SiteID]string{}
	for _, id := range []federation.SiteID{hub, leaf, far} {
		if dsns[id], err = b.create(ctx, fmt.Sprintf("relayed_%s", id)); err != nil {
			return p, err
		}
	}
	d, err := b.deploy(ctx, len(dsns), dsns, "FEDERATION_EXCHANGE=hub", "FEDERATION_HEARTBEAT_INTERVAL_SECONDS=1",
		"FEDERATION_RECONCILE_INTERVAL_SECONDS=3600", "FEDERATION_DELIVERY_STALLED_AFTER_SECONDS=3600")
	p.end = d.close
	if err != nil {
		return p, err
	}
	n := b.size(waitingAlerts)
	p.own = func(ctx context.Context) (Sample, error) { return d.relay(ctx, dsns, n) }
	p.beside = func(ctx context.Context) (Sample, error) { return b.copyRows(ctx, n) }
	return p, d.relayed(ctx)
}

// relayed waits until one leaf gets by the hub what the other shares.
func (d *deployed) relayed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		ledger, err := function.Ask(ctx, d.sites[1].bus, leaf, ask.Deliveries, ask.None{})
		if err == nil && slices.ContainsFunc(ledger.Deliveries, func(l federation.Delivery) bool { return l.Peer == far && l.PassedBy == hub }) {
			return nil
		}
		if failed := pause(ctx, 50*time.Millisecond); failed != nil {
			return errors.Join(fmt.Errorf("the hub does not pass on: %w", failed), err)
		}
	}
}

// relay lets n alerts wait in the stream of one leaf, and measures how fast they are
// stored at the other once the hub may have them.
func (d *deployed) relay(ctx context.Context, dsns map[federation.SiteID]string, n int) (s Sample, err error) {
	for _, id := range []federation.SiteID{hub, far} {
		if err := emptied(ctx, dsns[id]); err != nil {
			return s, err
		}
	}
	q, err := queueOf(ctx, leaf, d.sites[1].bus.Conn(), d.sites[1].identity(), subject.AlertConsumer(hub))
	if err != nil {
		return s, err
	}
	lane, err := d.sites[0].lane(ctx, far)
	if err != nil {
		return s, err
	}
	before := lane.CachedInfo().AckFloor.Consumer
	q.ahead = func(ctx context.Context) (int, error) {
		info, err := lane.Info(ctx)
		if err != nil {
			return 0, fmt.Errorf("asking what is acknowledged: %w", err)
		}
		return n - int(info.AckFloor.Consumer-before), nil
	}
	var looks []spending
	var unread error
	s, err = q.released(ctx, n, func() time.Duration {
		look, failed := d.spent()
		looks, unread = append(looks, look), errors.Join(unread, failed)
		return look.sum()
	})
	if err := errors.Join(err, unread); err != nil {
		return s, err
	}
	s.More = map[string]float64{}
	for name, took := range looks[len(looks)-1] {
		s.More[fmt.Sprintf("an alert in %s (µs)", name)] = per(n, took-looks[0][name])
	}
	db, err := pgx.Connect(ctx, dsns[far])
	if err != nil {
		return s, fmt.Errorf("connecting to the database of the leaf: %w", err)
	}
	return s, errors.Join(stored(ctx, db, leaf, n), db.Close(ctx))
}

// emptied lets go of the alerts of a database.
func emptied(ctx context.Context, dsn string) error {
	db, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("beginning with nothing: %w", err)
	}
	_, err = db.Exec(ctx, "TRUNCATE alerts, alert_marks")
	return errors.Join(err, db.Close(ctx))
}

// lane is the consumer from which a peer takes what is not critical from the stream of this site.
func (m *member) lane(ctx context.Context, peer federation.SiteID) (jetstream.Consumer, error) {
	js, err := jetstream.New(m.bus.Conn())
	if err != nil {
		return nil, fmt.Errorf("opening JetStream: %w", err)
	}
	c, err := js.Consumer(ctx, subject.AlertStream(m.ID), subject.AlertConsumer(peer))
	if err != nil {
		return nil, fmt.Errorf("finding the consumer of %s: %w", peer, err)
	}
	return c, nil
}

// spending is the processor time of the parts of sites by what they are.
type spending map[string]time.Duration

func (s spending) sum() (total time.Duration) {
	for _, d := range s {
		total += d
	}
	return total
}

// spent is what all processes of the sites and PostgreSQL have taken so far.
func (d *deployed) spent() (spending, error) {
	s := spending{"PostgreSQL": d.bed.databaseSpent()}
	for _, m := range d.sites {
		for part, p := range map[string]*process{"functions": m.functions, "NATS": m.server} {
			took, err := p.cpu()
			if err != nil {
				return s, err
			}
			s[fmt.Sprintf("%s of %s", part, m.ID)] = took
		}
	}
	return s, nil
}
