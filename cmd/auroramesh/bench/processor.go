package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// ingestProcessor is [ingest] beside what a user would take who wants the rows alone. Both
// sides are a process of their own, so that their processor time and memory can be told.
var ingestProcessor = Workload{
	Name: "ingest-processor", Unit: alerts, Goals: []Goal{atLeast(2), atMost(ofCPURatio, 1/3.5), atMost(ofMemoryRatio, 1.0/3)},
	Does:    "as ingest, by the functions of a leaf in one process: verified, deduplicated, with what finds and tells them; CPU and memory are of that process",
	Beside:  "a general stream processor (the engine of Redpanda Connect, tuned) from the same stream into a table of 16 columns and 3 indexes; CPU and memory are of that process",
	prepare: prepareProcessor,
}

// processorConf is what the processor is told to do.
//
//go:embed processor.yaml
var processorConf string

// processed is the table of the processor.
const processed = `CREATE TABLE IF NOT EXISTS processed (
	id text PRIMARY KEY, version integer NOT NULL, title text NOT NULL, description text NOT NULL, severity text NOT NULL, tlp text NOT NULL,
	status text NOT NULL, source text NOT NULL, asset_type text NOT NULL, affected_assets text NOT NULL, iocs text NOT NULL, mitre_techniques text NOT NULL,
	dedup_hash text NOT NULL UNIQUE, created_at timestamptz NOT NULL, origin_site text NOT NULL, origin_alert_id text NOT NULL);
CREATE INDEX IF NOT EXISTS processed_created ON processed (created_at, id);
TRUNCATE processed`

// processor is the name of the consumer from which it takes what the leaf takes from its own.
const processor = "processor"

func prepareProcessor(ctx context.Context, b *bed) (p pair, err error) {
	if err := b.database(ctx); err != nil {
		return p, err
	}
	dsn, err := b.create(ctx, "processor_leaf")
	if err != nil {
		return p, err
	}
	d, err := b.deploy(ctx, 2, map[federation.SiteID]string{leaf: dsn}, "FEDERATION_RECONCILE_INTERVAL_SECONDS=3600", "FEDERATION_DELIVERY_STALLED_AFTER_SECONDS=3600")
	p.end = d.close
	if err != nil {
		return p, err
	}
	program, err := b.buildPeer(ctx, processor)
	if !errors.As(err, &p.missing) && err != nil {
		return p, err
	}
	n := b.size(waitingAlerts)
	p.own = func(ctx context.Context) (Sample, error) { return d.ingest(ctx, dsn, n) }
	p.beside = func(ctx context.Context) (Sample, error) { return d.process(ctx, program, n) }
	return p, nil
}

// ingest is drain with the functions of the leaf in a process of their own.
func (d *deployed) ingest(ctx context.Context, dsn string, n int) (s Sample, err error) {
	db, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return s, fmt.Errorf("connecting to the database of the leaf: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close(ctx)) }()
	if _, err := db.Exec(ctx, "TRUNCATE alerts, alert_marks"); err != nil {
		return s, fmt.Errorf("beginning with nothing: %w", err)
	}
	q, err := queueOf(ctx, hub, d.sites[0].bus.Conn(), d.sites[0].identity(), subject.AlertConsumer(leaf))
	if err != nil {
		return s, err
	}
	if s, err = d.weigh(ctx, q, d.sites[1].functions, n); err != nil {
		return s, err
	}
	return s, stored(ctx, db, hub, n)
}

// process is the same with the processor.
func (d *deployed) process(ctx context.Context, program string, n int) (s Sample, err error) {
	b := d.bed
	if _, err := b.plain.Exec(ctx, processed); err != nil {
		return s, fmt.Errorf("beginning with nothing: %w", err)
	}
	q, err := queueOf(ctx, hub, d.sites[0].bus.Conn(), d.sites[0].identity(), processor)
	if err != nil {
		return s, err
	}
	if _, err := q.stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: processor, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 4000}); err != nil {
		return s, fmt.Errorf("making a consumer: %w", err)
	}
	defer func() { err = errors.Join(err, q.stream.DeleteConsumer(context.WithoutCancel(ctx), processor)) }()
	if err := errors.Join(q.hold(ctx, subject.AlertConsumer(leaf)), q.hold(ctx, processor)); err != nil {
		return s, err
	}
	conf := filepath.Join(d.dir, "processor.yaml")
	if err := os.WriteFile(conf, []byte(processorConf), 0o600); err != nil {
		return s, fmt.Errorf("writing the configuration of the processor: %w", err)
	}
	p, err := launch(ctx, []string{
		"GOGC=400", "NATS_URL=" + d.sites[1].where.Client, "DOMAIN=" + subject.Domain(hub), "STREAM=" + subject.AlertStream(hub), "DURABLE=" + processor,
		"DSN=" + b.plain.Config().ConnString(),
	}, program, conf)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	if err := q.pulled(ctx); err != nil {
		return s, errors.Join(err, p.complaint())
	}
	if s, err = d.weigh(ctx, q, p, n); err != nil {
		return s, errors.Join(err, p.complaint())
	}
	var found int
	if err := b.plain.QueryRow(ctx, "SELECT count(*) FROM processed").Scan(&found); err != nil || found != n {
		return s, errors.Join(err, fmt.Errorf("%d rows are stored, where %d should be", found, n))
	}
	return s, nil
}

// weigh measures one round, with what process p and PostgreSQL take for it.
func (d *deployed) weigh(ctx context.Context, q queue, p *process, n int) (s Sample, err error) {
	forgetPeak(p.id())
	postgres := d.bed.databaseSpent()
	var unread error
	s, err = q.released(ctx, n, func() time.Duration {
		took, failed := p.cpu()
		unread = errors.Join(unread, failed)
		return took
	})
	s.Memory = peak(p.id())
	s.More = map[string]float64{"an alert in PostgreSQL (µs)": per(n, d.bed.databaseSpent()-postgres)}
	return s, errors.Join(err, unread)
}

// pulled waits until somebody waits for what the consumer will have.
func (q queue) pulled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		c, err := q.stream.Consumer(ctx, q.consumer)
		if err == nil && c.CachedInfo().NumWaiting > 0 {
			return nil
		}
		if failed := pause(ctx, 20*time.Millisecond); failed != nil {
			return errors.Join(fmt.Errorf("nobody pulls from the consumer %s: %w", q.consumer, failed), err)
		}
	}
}
