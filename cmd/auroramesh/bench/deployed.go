package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	infra "github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
)

// deployed are sites as they are deployed, the first of them the hub: each a NATS server and
// a process with all functions. The lines of the leaves go through proxies.
type deployed struct {
	bed   *bed
	dir   string
	sites []*member
}

// member is one of these sites.
type member struct {
	federation.Identity
	conf, dsn         string
	settings          []string
	line              *linkproxy.Proxy // to the hub; nil at the hub
	where             at
	server, functions *process
	bus               *function.Bus
}

// deploy starts n sites and waits until they see each other. They have SQLite, where dsns
// names no other database that is migrated, and settings beside those that they must have.
func (b *bed) deploy(ctx context.Context, n int, dsns map[federation.SiteID]string, settings ...string) (d *deployed, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	d = &deployed{bed: b}
	if d.dir, err = os.MkdirTemp("", "auroramesh-bench-"); err != nil {
		return d, fmt.Errorf("making a directory: %w", err)
	}
	for i := range n {
		if err := d.add(ctx, demo.SiteID(i), dsns[demo.SiteID(i)], settings); err != nil {
			return d, fmt.Errorf("starting %s: %w", demo.SiteID(i), err)
		}
	}
	return d, d.whole(ctx)
}

// add makes a site and starts it.
func (d *deployed) add(ctx context.Context, id federation.SiteID, dsn string, settings []string) (err error) {
	m := &member{dsn: dsn, settings: settings, Identity: federation.Identity{ID: id, Name: string(id), Tier: federation.Primary, Version: d.bed.Version}}
	d.sites = append(d.sites, m)
	dir := filepath.Join(d.dir, string(id))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	text, port := infra.DevHub, "127.0.0.1:-1"
	if len(d.sites) > 1 {
		if m.line, err = linkproxy.Listen("127.0.0.1:0", d.sites[0].where.Leaf); err != nil {
			return err
		}
		m.Tier, text, port = federation.Secondary, infra.DevLeaf, m.line.Addr()
	}
	text = strings.NewReplacer(
		"127.0.0.1:4222", "127.0.0.1:-1", "127.0.0.1:4223", "127.0.0.1:-1", "127.0.0.1:7422", port, // the hub's own, or the line to it
		"data/site-a/jetstream", dir, "data/site-b/jetstream", dir,
		"server_name: site-b", "server_name: "+string(id), "domain: site-b", "domain: "+string(id),
	).Replace(text)
	m.conf = filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(m.conf, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the NATS configuration: %w", err)
	}
	if m.dsn == "" {
		m.dsn = "sqlite:" + filepath.Join(dir, "site.db")
		if err := migrated(ctx, m.dsn); err != nil {
			return err
		}
	}
	return d.start(ctx, m)
}

// start starts the processes of a site.
func (d *deployed) start(ctx context.Context, m *member) (err error) {
	ctx = context.WithoutCancel(ctx) // the processes outlive what waits for them: close ends them
	if m.server, m.where, err = part(ctx, nil, PartServer, m.conf); err != nil {
		return err
	}
	if m.functions, err = spawn(ctx, append([]string{
		"FEDERATION_SITE_ID=" + string(m.ID), "FEDERATION_SITE_TIER=" + string(m.Tier), "NATS_URL=" + m.where.Client, "DATABASE_URL=" + m.dsn, "HTTP_LISTEN=127.0.0.1:0",
		"FEDERATION_IDENTITY_DIR=" + m.identity(), "LOG_LEVEL=error",
	}, m.settings...), "run"); err != nil {
		return err
	}
	if m.bus != nil {
		m.bus.Conn().Close()
	}
	m.bus, err = function.Connect(ctx, m.Identity, "bench", m.where.Client, d.bed.Log)
	return err
}

// identity is the directory of the key of the site.
func (m *member) identity() string { return filepath.Join(filepath.Dir(m.conf), "identity") }

// each does something to both processes of a site.
func (m *member) each(do func(*process) error) error {
	return errors.Join(do(m.server), do(m.functions))
}

// links are the links of the site as it shows them.
func (m *member) links(ctx context.Context) ([]federation.Link, error) {
	topology, err := function.Ask(ctx, m.bus, m.ID, ask.Topology, ask.None{})
	return topology.Links, err
}

// whole waits until every site sees every link as healthy.
func (d *deployed) whole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, detectTime)
	defer cancel()
	for _, m := range d.sites {
		for {
			links, err := m.links(ctx)
			sick := slices.ContainsFunc(links, func(l federation.Link) bool { return l.Status != federation.Healthy })
			if err == nil && len(links) == len(d.sites)-1 && !sick {
				break
			}
			if failed := pause(ctx, 50*time.Millisecond); failed != nil {
				return errors.Join(fmt.Errorf("%s does not see all links as healthy: %w", m.ID, failed), err)
			}
		}
	}
	return nil
}

// last is the site that fails, others those that notice.
func (d *deployed) last() *member     { return d.sites[len(d.sites)-1] }
func (d *deployed) others() []*member { return d.sites[:len(d.sites)-1] }

// until waits until all others see their link to the last site as at least so bad.
func (d *deployed) until(ctx context.Context, bad ...federation.LinkStatus) error {
	for _, m := range d.others() {
		link := federation.LinkID(m.ID, d.last().ID)
		for {
			links, err := m.links(ctx)
			if l, found := federation.FindLink(links, link); err == nil && found && slices.Contains(bad, l.Status) {
				break
			}
			if failed := pause(ctx, 10*time.Millisecond); failed != nil {
				return errors.Join(fmt.Errorf("%s does not see that %s has failed: %w", m.ID, d.last().ID, failed), err)
			}
		}
	}
	return nil
}

func (d *deployed) close() error {
	var failed []error
	for _, m := range slices.Backward(d.sites) {
		if m.bus != nil {
			m.bus.Conn().Close()
		}
		for _, p := range []*process{m.functions, m.server} {
			if p != nil {
				failed = append(failed, p.end())
			}
		}
		if m.line != nil {
			failed = append(failed, m.line.Close())
		}
	}
	return errors.Join(append(failed, os.RemoveAll(d.dir))...)
}
