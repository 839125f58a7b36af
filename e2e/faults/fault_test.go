//go:build linux

package faults_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// fault is something that must not hurt. begin does it and gives what ends it.
type fault struct {
	name        string
	part        string
	least, most time.Duration
	possible    func(*node) bool
	begin       func(context.Context, *mesh, *node, *rand.Rand) (end func() error, err error)
}

// The parts of a site. A fault of one leaves the others to other faults.
const (
	line     = "line"
	machine  = "machine"
	database = "database"
)

func always(*node) bool       { return true }
func leaf(n *node) bool       { return n.line != nil }
func hub(n *node) bool        { return n.line == nil }
func smallDisk(n *node) bool  { return n.ballast != "" }
func ownServer(n *node) bool  { return n.database != nil }
func sqliteFile(n *node) bool { return n.database == nil }

// catalogue is every fault that there is.
var catalogue = []fault{
	{"cut", line, 3 * time.Second, 15 * time.Second, leaf, setLine(linkproxy.Cut)},
	{"black-hole", line, 3 * time.Second, 15 * time.Second, leaf, setLine(linkproxy.BlackHole)},
	{"slow-line", line, 10 * time.Second, 20 * time.Second, leaf, slowLine},
	{"slow-peer", machine, 4 * time.Second, 18 * time.Second, always, slowPeer},
	{"hub-killed", machine, time.Second, 6 * time.Second, hub, killed},
	{"leaf-killed", machine, time.Second, 6 * time.Second, leaf, killed},
	{"function-killed", machine, time.Second, 3 * time.Second, always, functionKilled},
	{"nats-killed", machine, time.Second, 4 * time.Second, always, natsKilled},
	{"jetstream-off", machine, 4 * time.Second, 12 * time.Second, always, jetStreamOff},
	{"jetstream-deleted", machine, time.Second, 3 * time.Second, always, jetStreamDeleted},
	{"power-lost", machine, 3 * time.Second, 20 * time.Second, always, powerLost},
	{"disk-full", machine, 6 * time.Second, 12 * time.Second, smallDisk, diskFull},
	{"duplicates", machine, time.Second, 2 * time.Second, always, duplicates},
	{"clock-off", machine, 15 * time.Second, 25 * time.Second, always, clockOff},
	{"exchange-switched", machine, 8 * time.Second, 15 * time.Second, always, exchangeSwitched},
	{"database-stopped", database, 30 * time.Second, 30 * time.Second, ownServer, databaseStopped},
	{"database-locked", database, 6 * time.Second, 15 * time.Second, sqliteFile, databaseLocked},
}

// kindsOf is the faults as the schedule sees them, each with the sites where it can be.
func kindsOf(faults []fault, sites []*node) []kind {
	var kinds []kind
	for _, f := range faults {
		k := kind{name: f.name, part: f.part, least: f.least, most: f.most}
		for _, n := range sites {
			if f.possible(n) {
				k.sites = append(k.sites, n.id)
			}
		}
		if len(k.sites) > 0 {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// named is the fault of a name.
func named(name string) fault {
	return catalogue[slices.IndexFunc(catalogue, func(f fault) bool { return f.name == name })]
}

func setLine(m linkproxy.Mode) func(context.Context, *mesh, *node, *rand.Rand) (func() error, error) {
	return func(_ context.Context, _ *mesh, n *node, _ *rand.Rand) (func() error, error) {
		n.line.Set(m)
		return func() error { n.line.Set(linkproxy.Pass); return nil }, nil
	}
}

// slowLine has a round trip of 200 ms, and one read in twenty stalls for a second.
func slowLine(_ context.Context, _ *mesh, n *node, _ *rand.Rand) (func() error, error) {
	n.line.Delay(100 * time.Millisecond)
	n.line.Stall(0.05, time.Second)
	return func() error {
		n.line.Delay(0)
		n.line.Stall(0, 0)
		return nil
	}, nil
}

// slowPeer stops what pulls alerts without ending it: its connections stay, and what it was given is with it.
func slowPeer(_ context.Context, _ *mesh, n *node, _ *rand.Rand) (func() error, error) {
	tell := func(s syscall.Signal) error {
		return each(n.sinks, func(p *program) error { return p.signal(s) })
	}
	return func() error { return tell(syscall.SIGCONT) }, tell(syscall.SIGSTOP)
}

// away kills programs; the end starts them again.
func away(ps ...*program) (func() error, error) {
	return func() error { return each(ps, start) }, each(ps, (*program).kill)
}

func killed(_ context.Context, _ *mesh, n *node, _ *rand.Rand) (func() error, error) {
	return away(n.everything()...)
}

func natsKilled(_ context.Context, _ *mesh, n *node, _ *rand.Rand) (func() error, error) {
	return away(n.nats)
}

// functionKilled kills a process of functions while a burst is under way, so that it is in the middle of something.
func functionKilled(ctx context.Context, m *mesh, n *node, r *rand.Rand) (func() error, error) {
	victim := n.functions()[r.IntN(len(n.functions()))]
	before, _ := m.load.sum()
	burst := make(chan struct{})
	go func() {
		defer close(burst)
		for _, s := range m.sites {
			m.load.burst(ctx, s, 100, m.load.next)
		}
	}()
	for enough := before + 50 + r.IntN(200); ; {
		if now, _ := m.load.sum(); now >= enough {
			break
		}
		select {
		case <-burst: // some site took none
		case <-time.After(5 * time.Millisecond):
			continue
		}
		break
	}
	end, err := away(victim)
	return func() error {
		<-burst
		return end()
	}, err
}

// restarted kills the NATS server and starts it again; change is made while it is away.
func restarted(n *node, change func() error) error {
	if err := n.nats.kill(); err != nil {
		return err
	}
	err := change()
	n.nats.start()
	return err
}

// jetStreamOff leaves the site a NATS server that has no JetStream: alerts are taken, and nothing is published.
func jetStreamOff(_ context.Context, _ *mesh, n *node, _ *rand.Rand) (func() error, error) {
	set := func(bare bool) error {
		return restarted(n, func() error { n.bare.Store(bare); return nil })
	}
	return func() error { return set(false) }, set(true)
}

func jetStreamDeleted(_ context.Context, _ *mesh, n *node, _ *rand.Rand) (func() error, error) {
	end, err := away(n.nats)
	return end, errors.Join(err, emptied(n.storeDir, ""))
}

// powerLost is what a machine without power does to a NATS server that does not sync what
// it confirms: when it is over the server is killed, and begins anew with the store as the
// disk had it when it began. What was confirmed in between is gone, and the outbox with it.
func powerLost(_ context.Context, m *mesh, n *node, _ *rand.Rand) (func() error, error) {
	disk := filepath.Join(m.dir, n.id, "disk")
	return func() error {
		return restarted(n, func() error {
			return errors.Join(emptied(n.storeDir, n.ballast), copyTree(disk, n.storeDir), os.RemoveAll(disk))
		})
	}, copyTree(n.storeDir, disk, n.ballast)
}

// emptied deletes what a directory holds, but for one file.
func emptied(dir, but string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); path != but {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}

// copyTree copies a directory whose files come and go meanwhile, but for those named.
func copyTree(from, to string, but ...string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || slices.Contains(but, path) {
			return nil
		}
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return errors.Join(err, os.WriteFile(target, data, 0o600))
	})
}

// diskFull fills the disk of JetStream. The server gives JetStream up for good when
// a write fails, so who makes room also has to restart it.
func diskFull(_ context.Context, _ *mesh, n *node, _ *rand.Rand) (func() error, error) {
	f, err := os.Create(n.ballast)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(zeros)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		return restarted(n, func() error { return os.Remove(n.ballast) })
	}, f.Close()
}

// duplicates publishes the last alerts of the site again, half of them under another message id and half without one.
func duplicates(ctx context.Context, _ *mesh, n *node, _ *rand.Rand) (func() error, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		err := republish(ctx, n)
		if err == nil {
			return func() error { return nil }, nil
		}
		if pause(ctx, 100*time.Millisecond) != nil { // the server may have been started just now
			return nil, err
		}
	}
}

func republish(ctx context.Context, n *node) error {
	nc, err := natsgo.Connect("nats://" + address(n.ports.nats))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	s, err := js.Stream(ctx, subject.AlertStream(federation.SiteID(n.id)))
	if err != nil {
		return err
	}
	state := s.CachedInfo().State
	again := 0
	for i := state.LastSeq; i >= state.FirstSeq && i > 0 && again < 100; i-- {
		msg, err := s.GetMsg(ctx, i)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		var opts []jetstream.PublishOpt
		if again++; i%2 == 0 {
			opts = append(opts, jetstream.WithMsgID(fmt.Sprintf("again %d %d", i, time.Now().UnixNano())))
		}
		copied := &natsgo.Msg{Subject: msg.Subject, Data: msg.Data, Header: msg.Header} // with its signature, else it would be refused
		copied.Header.Del(natsgo.MsgIdHdr)
		if _, err := js.PublishMsg(ctx, copied, opts...); err != nil {
			return err
		}
	}
	if again == 0 {
		return errors.New("there is no alert that could be published again")
	}
	return nil
}

// clockOff starts the functions of the site again with a clock that is ten minutes ahead or behind.
func clockOff(_ context.Context, _ *mesh, n *node, r *rand.Rand) (func() error, error) {
	set := func(ahead time.Duration) error {
		return each(n.functions(), func(p *program) error {
			err := p.kill()
			n.clock.Store(int64(ahead))
			p.start()
			return err
		})
	}
	ahead := 10 * time.Minute
	if r.IntN(2) == 0 {
		ahead = -ahead
	}
	return func() error { return set(0) }, set(ahead)
}

// exchangeSwitched starts the functions of the site again, exchanging alerts in the other way.
func exchangeSwitched(_ context.Context, _ *mesh, n *node, _ *rand.Rand) (func() error, error) {
	was, other := n.exchange.Load().(federation.Exchange), federation.ExchangeHub
	if was == other {
		other = federation.ExchangeDirect
	}
	return func() error { return n.switchTo(was) }, n.switchTo(other)
}

// switchTo starts the functions of the site again with a way to exchange alerts.
func (n *node) switchTo(way federation.Exchange) error {
	return each(n.functions(), func(p *program) error {
		err := p.kill()
		n.exchange.Store(way)
		p.start()
		return err
	})
}

func databaseStopped(_ context.Context, _ *mesh, n *node, _ *rand.Rand) (func() error, error) {
	return away(n.database)
}

// databaseLocked holds the one lock that a write needs.
func databaseLocked(ctx context.Context, _ *mesh, n *node, _ *rand.Rand) (func() error, error) {
	db, err := sql.Open("sqlite", "file:"+strings.TrimPrefix(n.dsn, "sqlite:")+"?_txlock=immediate&_pragma=busy_timeout(60000)")
	if err != nil {
		return nil, err
	}
	tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return func() error { return errors.Join(tx.Rollback(), db.Close()) }, nil
}
