//go:build linux

package faults_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/site"
	"github.com/auroramesh/auroramesh/functions"
	natsconf "github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/settings"
)

// node is one site: its NATS server, its database, and its functions in four
// processes, alertsink in two of them.
type node struct {
	id       string
	env      []string
	ports    ports
	api      *apiclient.Client
	line     *linkproxy.Proxy // to the hub; nil at the hub
	database *program         // nil: SQLite
	dsn      string
	nats     *program
	exchange atomic.Value // how the site exchanges alerts, a federation.Exchange
	bare     atomic.Bool  // the NATS server runs without JetStream
	clock    atomic.Int64 // how far the clock of the functions is ahead
	storeDir string
	ballast  string // what fills the disk of JetStream; empty where that disk cannot be filled
	front    *program
	sinks    []*program
	rest     *program
}

type ports struct{ api, nats, leaf int }

// functions are the processes of the site that run functions.
func (n *node) functions() []*program { return append([]*program{n.front, n.rest}, n.sinks...) }

// everything is every process of the site but its database.
func (n *node) everything() []*program { return append([]*program{n.nats}, n.functions()...) }

func each(ps []*program, do func(*program) error) error {
	var failed []error
	for _, p := range ps {
		failed = append(failed, do(p))
	}
	return errors.Join(failed...)
}

func start(p *program) error { p.start(); return nil }

// facing are the functions of the front process; every function that is neither
// there nor alertsink is in the last one, whatever it is called.
var facing = []string{"gateway", "alertintake", "alertquery", "topologyquery"}

func others(without []string) []string {
	var names []string
	for _, n := range functions.Names() {
		if n != "alertsink" && !slices.Contains(facing, n) && !slices.Contains(without, n) {
			names = append(names, n)
		}
	}
	return names
}

// taken are the ports that freePort has given away: meshes are made at the same time.
var taken sync.Map

// freePort is a port below those that the system gives to whoever asks for any,
// so that it is still free when a program that was killed comes back to it.
func freePort(next func(int) int) (int, error) {
	for range 200 {
		port := 20_000 + next(10_000)
		if _, given := taken.LoadOrStore(port, true); given {
			continue
		}
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("no port from 20000 to 29999 is free")
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// config is the development file of a site's NATS server with the names,
// ports and directory of this one. What it changes must be in the file.
func (n *node) config(hub string, jetstream bool) (string, error) {
	file, changes := natsconf.DevHub, map[string]string{
		"127.0.0.1:4222": address(n.ports.nats), "127.0.0.1:7422": address(n.ports.leaf), "data/site-a/jetstream": n.storeDir,
	}
	if n.line != nil {
		file, changes = natsconf.DevLeaf, map[string]string{
			"127.0.0.1:4223": address(n.ports.nats), "127.0.0.1:7422": hub, "data/site-b/jetstream": n.storeDir,
			"server_name: site-b": "server_name: " + n.id, "domain: site-b": "domain: " + n.id,
		}
	}
	// The disk is small, and JetStream would take no stream that may grow larger than it.
	changes["jetstream {\n"] = "jetstream {\n  max_file_store: 8GB\n"
	if !jetstream {
		changes["jetstream {\n"] = "jetstream {\n  enabled: false\n"
		changes["    jetstream: enabled\n"] = ""
	}
	for was, is := range changes {
		if !strings.Contains(file, was) {
			return "", fmt.Errorf("the development file has no %q", was)
		}
		file = strings.ReplaceAll(file, was, is)
	}
	return file, nil
}

// configure writes both configurations of the NATS server.
func (n *node) configure(dir, hub string) error {
	for name, jetstream := range map[string]bool{"nats.conf": true, "bare.conf": false} {
		text, err := n.config(hub, jetstream)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// serve is the command of the site's NATS server.
func (n *node) serve(binary, dir string) func() *exec.Cmd {
	return func() *exec.Cmd {
		name := "nats.conf"
		if n.bare.Load() {
			name = "bare.conf"
		}
		return exec.Command(binary, "-c", filepath.Join(dir, name))
	}
}

// Where the clock of a process is to be wrong, the test binary itself runs the
// functions, for the command has no such switch. clockEnv says how far it is ahead.
const clockEnv = "AURORAMESH_FAULTS_CLOCK"

// run is the command of a process with some functions.
func (n *node) run(binary string, names ...string) func() *exec.Cmd {
	return func() *exec.Cmd {
		ahead := time.Duration(n.clock.Load())
		cmd := exec.Command(binary, append([]string{"run"}, names...)...)
		env := append(slices.Clip(n.env), fmt.Sprint("FEDERATION_EXCHANGE=", n.exchange.Load()))
		if ahead != 0 {
			cmd = exec.Command("/proc/self/exe", names...)
			env = append(env, clockEnv+"="+ahead.String())
		}
		cmd.Env = env
		return cmd
	}
}

// runAhead runs the functions of a site in this process, with a wrong clock.
func runAhead(ahead string, names []string) error {
	d, err := time.ParseDuration(ahead)
	if err != nil {
		return err
	}
	environ := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		environ[name] = value
	}
	s, err := settings.Load(environ)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	running, err := site.Start(ctx, site.Config{
		Settings: s, Version: "0.1.0", Functions: names,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Now: func() time.Time { return time.Now().Add(d) },
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return running.Stop(context.Background())
}
