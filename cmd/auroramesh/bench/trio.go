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
	"github.com/auroramesh/auroramesh/shared/store"
)

// trio is three sites as they are deployed, the first of them the hub: each a NATS server
// and a process with all functions, on SQLite and the settings that nobody has changed. The
// lines of the two leaves go through proxies.
type trio struct {
	bed   *bed
	dir   string
	sites []*member
}

// member is one site of the three.
type member struct {
	federation.Identity
	conf, dsn         string
	line              *linkproxy.Proxy // to the hub; nil at the hub
	where             at
	server, functions *process
	bus               *function.Bus
}

func (b *bed) trio(ctx context.Context) (t *trio, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	t = &trio{bed: b}
	if t.dir, err = os.MkdirTemp("", "auroramesh-bench-"); err != nil {
		return t, fmt.Errorf("making a directory: %w", err)
	}
	for i := range 3 {
		if err := t.add(ctx, demo.SiteID(i)); err != nil {
			return t, fmt.Errorf("starting %s: %w", demo.SiteID(i), err)
		}
	}
	return t, t.whole(ctx)
}

// add makes a site and starts it.
func (t *trio) add(ctx context.Context, id federation.SiteID) (err error) {
	m := &member{Identity: federation.Identity{ID: id, Name: string(id), Tier: federation.Primary, Version: t.bed.Version}}
	t.sites = append(t.sites, m)
	dir := filepath.Join(t.dir, string(id))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	text, port := infra.DevHub, "127.0.0.1:-1"
	if len(t.sites) > 1 {
		if m.line, err = linkproxy.Listen("127.0.0.1:0", t.sites[0].where.Leaf); err != nil {
			return err
		}
		m.Tier, text, port = federation.Secondary, infra.DevLeaf, m.line.Addr()
	}
	text = strings.NewReplacer(
		"127.0.0.1:4222", "127.0.0.1:-1", "127.0.0.1:4223", "127.0.0.1:-1", "127.0.0.1:7422", port, // the hub's own, or the line to it
		"data/site-a/jetstream", dir, "data/site-b/jetstream", dir,
		"server_name: site-b", "server_name: "+string(id), "domain: site-b", "domain: "+string(id),
	).Replace(text)
	m.conf, m.dsn = filepath.Join(dir, "nats.conf"), "sqlite:"+filepath.Join(dir, "site.db")
	if err := os.WriteFile(m.conf, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the NATS configuration: %w", err)
	}
	st, err := store.Open(ctx, m.dsn)
	if err != nil {
		return err
	}
	_, err = st.Migrate(ctx)
	if err := errors.Join(err, st.Close()); err != nil {
		return err
	}
	return t.start(ctx, m)
}

// start starts the processes of a site.
func (t *trio) start(ctx context.Context, m *member) (err error) {
	ctx = context.WithoutCancel(ctx) // the processes outlive what waits for them: close ends them
	if m.server, m.where, err = part(ctx, PartServer, m.conf); err != nil {
		return err
	}
	if m.functions, err = spawn(ctx, []string{
		"FEDERATION_SITE_ID=" + string(m.ID), "FEDERATION_SITE_TIER=" + string(m.Tier), "NATS_URL=" + m.where.Client, "DATABASE_URL=" + m.dsn, "HTTP_LISTEN=127.0.0.1:0",
		"FEDERATION_IDENTITY_DIR=" + filepath.Join(filepath.Dir(m.conf), "identity"), "LOG_LEVEL=error",
	}, "run"); err != nil {
		return err
	}
	if m.bus != nil {
		m.bus.Conn().Close()
	}
	m.bus, err = function.Connect(ctx, m.Identity, "bench", m.where.Client, t.bed.Log)
	return err
}

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
func (t *trio) whole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, detectTime)
	defer cancel()
	for _, m := range t.sites {
		for {
			links, err := m.links(ctx)
			sick := slices.ContainsFunc(links, func(l federation.Link) bool { return l.Status != federation.Healthy })
			if err == nil && len(links) == len(t.sites)-1 && !sick {
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
func (t *trio) last() *member     { return t.sites[len(t.sites)-1] }
func (t *trio) others() []*member { return t.sites[:len(t.sites)-1] }

// until waits until all others see their link to the last site as at least so bad.
func (t *trio) until(ctx context.Context, bad ...federation.LinkStatus) error {
	for _, m := range t.others() {
		link := federation.LinkID(m.ID, t.last().ID)
		for {
			links, err := m.links(ctx)
			if l, found := federation.FindLink(links, link); err == nil && found && slices.Contains(bad, l.Status) {
				break
			}
			if failed := pause(ctx, 10*time.Millisecond); failed != nil {
				return errors.Join(fmt.Errorf("%s does not see that %s has failed: %w", m.ID, t.last().ID, failed), err)
			}
		}
	}
	return nil
}

func (t *trio) close() error {
	var failed []error
	for _, m := range slices.Backward(t.sites) {
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
	return errors.Join(append(failed, os.RemoveAll(t.dir))...)
}
