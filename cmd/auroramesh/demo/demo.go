// Package demo runs whole sites in one process: each has an embedded NATS server
// on the shipped development configuration, a SQLite database, and all functions.
// The first site is the primary; every other is a leaf of it. Nothing is shared
// between the sites but the wire. The command `auroramesh demo` and the tests of
// the whole mesh start their sites here.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/site"
	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// MaxSites is how many sites one demo runs: every site pulls from every other.
const MaxSites = 16

// Options say what to start. A port of 0 takes free ports.
type Options struct {
	Sites    int    // 0: two
	DataDir  string // empty: a temporary one, removed at the end
	APIPort  int    // of the first site; each further one is 2 higher
	NATSPort int    // of the first site; each further one is 1 higher
	LeafPort int    // where the primary takes leafnodes
	Version  string
	Log      *slog.Logger
	// Configure, where set, changes the settings of site number i before it starts.
	Configure func(i int, s *settings.Settings)
	// Server, where set, changes the options of the NATS server of site number i before it starts.
	Server func(i int, o *server.Options)
	// LeafURL, where set, is the address that site number i takes for the primary's
	// leafnode listener, such as that of a proxy in front of it.
	LeafURL func(i int, listener string) string
	// Lines puts a line that can be broken before every leaf: see [Demo.Lines].
	Lines bool
	// Now, where set, is the clock of site number i.
	Now func(i int) func() time.Time

	lines *linkproxy.Control
}

// Demo is sites at work.
type Demo struct {
	Sites []*Site
	// Lines holds the line of each leaf to the primary, by their link; nil where the
	// options ask for none.
	Lines *linkproxy.Control
	temp  string // to be removed at the end
}

// Site is one site of a demo.
type Site struct {
	*site.Site
	Settings settings.Settings
	Environ  map[string]string // what the settings were read from
	API      string            // base URL
	NATS     string            // URL
	Leaf     string            // host:port of the leafnode listener, empty for a leaf

	server *server.Server
	empty  func() (*server.Server, error) // a NATS server in place of the one that stopped, without what that kept
}

// Start starts the sites and waits until they are at work and see each other.
// What was started before an error is stopped again.
func Start(ctx context.Context, o Options) (d *Demo, err error) {
	if o.Sites == 0 {
		o.Sites = 2
	}
	if o.Sites < 1 || o.Sites > MaxSites {
		var wrong fault.Fields
		wrong.Add("--sites", strconv.Itoa(o.Sites), "a whole number from 1 to "+strconv.Itoa(MaxSites))
		return nil, wrong.Err("the demo cannot start")
	}
	if err := o.checkPorts(); err != nil {
		return nil, err
	}
	d = &Demo{}
	if o.Lines {
		d.Lines = linkproxy.NewControl()
		o.lines = d.Lines
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Stop(context.WithoutCancel(ctx)))
			d = nil
		}
	}()
	if o.DataDir == "" {
		if d.temp, err = os.MkdirTemp("", "auroramesh-demo-"); err != nil {
			return d, fmt.Errorf("making a directory for the demo's data: %w", err)
		}
		o.DataDir = d.temp
	}
	for i := range o.Sites {
		s, err := o.start(ctx, i, d.Sites)
		if s != nil {
			d.Sites = append(d.Sites, s)
		}
		if err != nil {
			return d, fmt.Errorf("starting %s: %w", SiteID(i), err)
		}
	}
	for _, s := range d.Sites {
		if err := s.Ready(ctx); err != nil {
			return d, err
		}
	}
	if d.Lines != nil {
		d.Lines.Name(d.ends())
	}
	return d, nil
}

// ends are the sites and their APIs, as a control of lines names them.
func (d *Demo) ends() []linkproxy.End {
	ends := make([]linkproxy.End, len(d.Sites))
	for i, s := range d.Sites {
		ends[i] = linkproxy.End{Site: string(s.ID().ID), API: s.API}
	}
	return ends
}

// SiteID is the id of site number i: site-a, site-b, …
func SiteID(i int) federation.SiteID { return federation.SiteID("site-" + string(rune('a'+i))) }

func (o Options) start(ctx context.Context, i int, before []*Site) (s *Site, err error) {
	s = &Site{}
	dir := filepath.Join(o.DataDir, string(SiteID(i)))
	if s.server, err = o.startNATS(i, dir, before); err != nil {
		return s, err
	}
	s.NATS = s.server.ClientURL()
	if i == 0 {
		v, err := s.server.Varz(nil)
		if err != nil {
			return s, fmt.Errorf("asking the NATS server for its leafnode port: %w", err)
		}
		s.Leaf = net.JoinHostPort("127.0.0.1", strconv.Itoa(v.LeafNode.Port))
	}
	s.empty = func() (*server.Server, error) { return o.startEmpty(i, dir, before, s) }
	s.Environ = o.environ(i, dir, s.NATS)
	if s.Settings, err = o.settings(i, s.Environ); err != nil {
		return s, err
	}
	if err := migrate(ctx, s.Settings.DatabaseURL); err != nil {
		return s, err
	}
	c := site.Config{Settings: s.Settings, Version: o.Version, Log: o.Log}
	if o.Now != nil {
		c.Now = o.Now(i)
	}
	if s.Site, err = site.Start(ctx, c); err != nil {
		return s, err
	}
	s.API = "http://" + s.Addr()
	s.Environ["HTTP_LISTEN"] = s.Addr() // of which the port may have been free to choose
	return s, nil
}

// startNATS runs the embedded server of site number i on the development file of
// its tier, with the name, ports and directory of this site.
func (o Options) startNATS(i int, dir string, before []*Site) (*server.Server, error) {
	file := nats.DevHub
	if i > 0 {
		file = nats.DevLeaf
	}
	opts := &server.Options{}
	if err := opts.ProcessConfigString(file); err != nil {
		return nil, fmt.Errorf("reading the NATS configuration: %w", err)
	}
	id := SiteID(i)
	opts.ServerName = string(id)
	opts.JetStreamDomain = subject.Domain(id)
	opts.StoreDir = filepath.Join(dir, "jetstream")
	opts.Port = server.RANDOM_PORT
	if o.NATSPort != 0 {
		opts.Port = o.NATSPort + i
	}
	if i == 0 {
		opts.LeafNode.Port = server.RANDOM_PORT
		if o.LeafPort != 0 {
			opts.LeafNode.Port = o.LeafPort
		}
	} else {
		leaf, err := o.leaf(i, before[0].Leaf)
		if err != nil {
			return nil, err
		}
		opts.LeafNode.Remotes[0].URLs = []*url.URL{{Scheme: "nats-leaf", Host: leaf}}
	}
	opts.NoSigs = true
	if o.Server != nil {
		o.Server(i, opts)
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("making the NATS server: %w", err)
	}
	srv.SetLoggerV2(natsLog{o.Log.With("site", id)}, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		srv.Shutdown()
		return nil, errors.New("the NATS server did not start within 10s")
	}
	return srv, nil
}

// leaf is the address that site number i takes for the listener of the primary.
func (o Options) leaf(i int, listener string) (string, error) {
	switch {
	case o.LeafURL != nil:
		return o.LeafURL(i, listener), nil
	case o.lines == nil:
		return listener, nil
	}
	line, err := linkproxy.Listen("127.0.0.1:0", listener)
	if err != nil {
		return "", err
	}
	o.lines.Add(federation.LinkID(SiteID(0), SiteID(i)), line)
	return line.Addr(), nil
}

// startEmpty runs the server of a site once more, at its addresses and with nothing kept.
func (o Options) startEmpty(i int, dir string, before []*Site, s *Site) (*server.Server, error) {
	if err := os.RemoveAll(filepath.Join(dir, "jetstream")); err != nil {
		return nil, fmt.Errorf("removing what JetStream kept: %w", err)
	}
	port := func(hostport string) (n int, err error) {
		_, p, err := net.SplitHostPort(hostport)
		if err == nil {
			n, err = strconv.Atoi(p)
		}
		return n, err
	}
	at, err := port(strings.TrimPrefix(s.NATS, "nats://"))
	if err == nil && i == 0 {
		o.LeafPort, err = port(s.Leaf)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the addresses of %s: %w", SiteID(i), err)
	}
	o.NATSPort = at - i
	return o.startNATS(i, dir, before)
}

// environ says who and where site number i is.
func (o Options) environ(i int, dir, natsURL string) map[string]string {
	port := 0
	if o.APIPort != 0 {
		port = o.APIPort + 2*i
	}
	tier := federation.Secondary
	if i == 0 {
		tier = federation.Primary
	}
	environ := map[string]string{
		"FEDERATION_SITE_ID":      string(SiteID(i)),
		"FEDERATION_SITE_NAME":    "Site " + string(rune('A'+i)),
		"FEDERATION_SITE_TIER":    string(tier),
		"NATS_URL":                natsURL,
		"DATABASE_URL":            "sqlite:" + filepath.Join(dir, "auroramesh.db"),
		"FEDERATION_IDENTITY_DIR": filepath.Join(dir, "identity"),
		"CONSOLE_STYLEGUIDE":      "true",
		"HTTP_LISTEN":             net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
	}
	// What the mesh does, and who follows it, is for the caller's environment to say; who and where a
	// site of the demo is, is not.
	for _, v := range settings.Variables() {
		if _, fixed := environ[v.Name]; fixed || !strings.HasPrefix(v.Name, "FEDERATION_") && !strings.HasPrefix(v.Name, "OTEL_") {
			continue
		}
		if value, ok := os.LookupEnv(v.Name); ok {
			environ[v.Name] = value
		}
	}
	return environ
}

func (o Options) settings(i int, environ map[string]string) (settings.Settings, error) {
	s, err := settings.Load(environ)
	if err == nil && o.Configure != nil {
		o.Configure(i, &s)
	}
	return s, err
}

func migrate(ctx context.Context, dsn string) error {
	st, err := store.Open(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = st.Migrate(ctx)
	return errors.Join(err, st.Close())
}

// checkPorts finds out, before anything starts, which port is taken, and names
// the option that changes it.
func (o Options) checkPorts() error {
	type port struct {
		option string
		number int
	}
	var ports []port
	for i := range o.Sites {
		if o.APIPort != 0 {
			ports = append(ports, port{"--api-port", o.APIPort + 2*i})
		}
		if o.NATSPort != 0 {
			ports = append(ports, port{"--nats-port", o.NATSPort + i})
		}
	}
	if o.LeafPort != 0 {
		ports = append(ports, port{"--leaf-port", o.LeafPort})
	}
	var wrong fault.Fields
	for _, p := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.number)))
		if err != nil {
			wrong.Add(p.option, strconv.Itoa(p.number), "a free port; this one cannot be taken: "+reason(err))
			continue
		}
		if err := l.Close(); err != nil {
			return fmt.Errorf("trying the port %d: %w", p.number, err)
		}
	}
	return wrong.Err("the demo cannot start")
}

func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		var sys *os.SyscallError
		if errors.As(op.Err, &sys) {
			return sys.Err.Error()
		}
	}
	return err.Error()
}

// Stop stops every site, the leaves before the primary, and removes what was
// temporary. It may be called more than once.
func (d *Demo) Stop(ctx context.Context) error {
	var failed []error
	for i := len(d.Sites) - 1; i >= 0; i-- {
		failed = append(failed, d.Sites[i].stop(ctx))
	}
	if d.Lines != nil {
		failed = append(failed, d.Lines.Close())
	}
	if d.temp != "" {
		failed = append(failed, os.RemoveAll(d.temp))
	}
	return errors.Join(failed...)
}

func (s *Site) stop(ctx context.Context) error {
	var err error
	if s.Site != nil {
		err = s.Site.Stop(ctx)
	}
	if s.server != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}
	return err
}

// Lose stops the NATS server of the site, removes all that its JetStream kept, and
// starts it again at the same address, while the functions go on: as a disk that is lost.
func (s *Site) Lose() error {
	s.server.Shutdown()
	s.server.WaitForShutdown()
	srv, err := s.empty()
	if err == nil {
		s.server = srv
	}
	return err
}

// Server is the embedded NATS server of the site.
func (s *Site) Server() *server.Server { return s.server }

// natsLog gives the lines of an embedded NATS server to the log: what it only
// tells goes to debug.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Noticef(format string, v ...any) {
	l.log.Debug("the NATS server says", "line", fmt.Sprintf(format, v...))
}
func (l natsLog) Warnf(format string, v ...any) {
	l.log.Debug("the NATS server says", "line", fmt.Sprintf(format, v...))
}
func (l natsLog) Errorf(format string, v ...any) {
	l.log.Warn("the NATS server says", "line", fmt.Sprintf(format, v...))
}
func (l natsLog) Fatalf(format string, v ...any) {
	l.log.Error("the NATS server says", "line", fmt.Sprintf(format, v...))
}
func (l natsLog) Debugf(format string, v ...any) {
	l.log.Debug("the NATS server says", "line", fmt.Sprintf(format, v...))
}
func (l natsLog) Tracef(format string, v ...any) {
	l.log.Debug("the NATS server says", "line", fmt.Sprintf(format, v...))
}
