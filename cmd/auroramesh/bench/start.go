package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// start is how long the demo takes until an alert can be raised.
var start = Workload{
	Name: "start", Unit: milliseconds, fixed: true, Goals: []Goal{atMost(ofValue, 1000)},
	Does:   "from the start of the process until the two sites of the demo are at work and see each other",
	Beside: "the same until an empty NATS server takes connections",
	prepare: func(_ context.Context, _ *bed) (pair, error) {
		conf, remove, err := bareConf()
		ready := func(kind, of string) func(context.Context) (Sample, error) {
			return func(ctx context.Context) (Sample, error) {
				begun := time.Now()
				p, _, err := part(ctx, nil, kind, of)
				if err != nil {
					return Sample{}, err
				}
				return Sample{Value: float64(time.Since(begun)) / float64(time.Millisecond)}, p.end()
			}
		}
		return pair{own: ready(PartDemo, "2"), beside: ready(PartServer, conf), end: remove}, err
	},
}

// idle is what a site needs that does nothing.
var idle = Workload{
	Name: "idle", Unit: megabytes, fixed: true, Goals: []Goal{atMost(ofRatio, 2)},
	Does:   "the memory of one site at rest, with its NATS server, SQLite and all functions in one process",
	Beside: "an empty NATS server with JetStream in a process of the same program",
	prepare: func(_ context.Context, b *bed) (pair, error) {
		conf, remove, err := bareConf()
		return pair{own: b.restingPart(PartDemo, "1"), beside: b.restingPart(PartServer, conf), end: remove}, err
	},
}

// idleOutside is what the functions of a site need that do nothing.
var idleOutside = Workload{
	Name: "idle-outside", Unit: megabytes, fixed: true, Goals: []Goal{atMost(ofRatio, 2)},
	Does:   "the memory of a site at rest, with all functions in one process against a NATS server and a PostgreSQL outside of it, which are not counted",
	Beside: "an empty NATS server with JetStream in a process of the same program",
	prepare: func(ctx context.Context, b *bed) (pair, error) {
		conf, remove, err := bareConf()
		p := pair{beside: b.restingPart(PartServer, conf), end: remove}
		if err != nil {
			return p, err
		}
		if err := b.database(ctx); err != nil {
			return p, err
		}
		dsn, err := b.create(ctx, "idle_outside")
		p.own = func(ctx context.Context) (s Sample, err error) {
			d, err := b.deploy(ctx, 1, map[federation.SiteID]string{hub: dsn})
			defer func() { err = errors.Join(err, d.close()) }()
			if err != nil {
				return s, err
			}
			return b.resting(ctx, d.sites[0].functions)
		}
		return p, err
	},
}

// restingPart measures a part that is started for it.
func (b *bed) restingPart(kind, of string) func(context.Context) (Sample, error) {
	return func(ctx context.Context) (s Sample, err error) {
		p, _, err := part(ctx, nil, kind, of)
		if err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, p.end()) }()
		return b.resting(ctx, p)
	}
}

// resting is the memory of a process that has been let alone for a while.
func (b *bed) resting(ctx context.Context, p *process) (s Sample, err error) {
	share, err := p.share(ctx, b.window())
	if err != nil {
		return s, err
	}
	s.More = map[string]float64{"processor (% of a core)": share}
	s.Value, err = p.resident()
	return s, err
}

// bareConf is the file of a NATS server with JetStream and nothing else.
func bareConf() (path string, remove func() error, err error) {
	dir, err := os.MkdirTemp("", "auroramesh-bench-")
	if err != nil {
		return "", nil, fmt.Errorf("making a directory: %w", err)
	}
	path = filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream { store_dir: %q }\n", filepath.Join(dir, "jetstream"))
	return path, func() error { return os.RemoveAll(dir) }, os.WriteFile(path, []byte(text), 0o600)
}
