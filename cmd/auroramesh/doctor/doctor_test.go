package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/storetest"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// config is that of a site with these settings.
func config(s settings.Settings) Config {
	return Config{Settings: s, Version: "0.0.1", Now: time.Now, OpenStore: func(ctx context.Context) (*store.Store, error) { return store.Open(ctx, s.DatabaseURL) }}
}

// load makes settings of a site from variables, on ports that nobody has, with an empty
// database.
func load(t *testing.T, env map[string]string) settings.Settings {
	t.Helper()
	if env["DATABASE_URL"] == "" {
		env["DATABASE_URL"] = "sqlite:" + filepath.Join(t.TempDir(), "site.db")
		st, err := store.Open(t.Context(), env["DATABASE_URL"])
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if env["HTTP_LISTEN"] == "" {
		env["HTTP_LISTEN"] = "127.0.0.1:0"
	}
	s, err := settings.Load(env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// expect wants that of the named checks each finds something with the text, and that
// nothing else is wrong but what may be.
func (r Report) expect(t *testing.T, want map[string]string, mayBe ...string) {
	t.Helper()
	for _, c := range r.Checks {
		text, wanted := want[c.Check]
		switch {
		case wanted && !slices.ContainsFunc(c.Findings, func(f Finding) bool { return strings.Contains(f.Wrong, text) && f.Mend != "" }):
			t.Errorf("%s is %s and does not find %q: %+v", c.Check, c.Status, text, c.Findings)
		case !wanted && c.Status == Wrong && !slices.Contains(mayBe, c.Check):
			t.Errorf("%s finds %+v", c.Check, c.Findings)
		}
	}
	if r.Healthy != (len(want) == 0) {
		t.Errorf("the site is called healthy: %t", r.Healthy)
	}
}

func (r Report) status(name string) Result {
	return r.Checks[slices.IndexFunc(r.Checks, func(c Result) bool { return c.Check == name })]
}

func TestASiteOfTheDemoIsWellUntilSomethingIsBroken(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	d, err := demo.Start(ctx, demo.Options{Version: "0.0.1", Log: slog.New(slog.DiscardHandler), Lines: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	a := config(d.Sites[0].Settings)
	a.Settings.HTTPListen = strings.TrimPrefix(d.Sites[0].API, "http://")
	natstest.Within(t, 30*time.Second, "the site is well", func() bool { return Examine(ctx, a).Healthy })
	report := Examine(ctx, a)
	report.expect(t, nil)
	for _, c := range report.Checks {
		if c.Status != OK {
			t.Errorf("%s is %s", c.Check, c.Status)
		}
	}

	ahead := a
	ahead.Now = func() time.Time { return time.Now().Add(time.Hour) }
	Examine(ctx, ahead).expect(t, map[string]string{"clock": "ahead of that of the NATS server"})

	nc, err := natsgo.Connect(d.Sites[0].NATS)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	bus, err := function.NewBus(nc, d.Sites[0].ID())
	if err != nil {
		t.Fatal(err)
	}
	spread := a
	spread.Settings.Replicas = 3
	Examine(ctx, spread).expect(t, map[string]string{"streams": "has 1 replicas, by the settings 3"})
	alerts, err := bus.JetStream().Stream(ctx, subject.AlertStream("site-a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := alerts.DeleteConsumer(ctx, "site-b_critical"); err != nil {
		t.Fatal(err)
	}
	changed := alerts.CachedInfo().Config
	changed.MaxAge = time.Hour
	if _, err := bus.JetStream().UpdateStream(ctx, changed); err != nil {
		t.Fatal(err)
	}
	report = Examine(ctx, a)
	report.expect(t, map[string]string{"streams": "keeps"}, "functions")
	if got := report.status("consumers"); got.Status != Skipped || got.Because != "streams" {
		t.Errorf("the consumers are %+v", got)
	}

	if _, err := d.Lines.Set(ctx, "link-site-a-site-b", linkproxy.Order{Mode: linkproxy.WordCut}); err != nil {
		t.Fatal(err)
	}
	natstest.Within(t, 30*time.Second, "the leafnode is down", func() bool {
		return len(Examine(ctx, a).status("leafnode").Findings) == 1
	})

	// What is wrong with the database is told once, and not again for every function.
	db, err := sql.Open("sqlite", strings.TrimPrefix(a.Settings.DatabaseURL, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	natstest.Within(t, 30*time.Second, "the functions lack their migrations", func() bool {
		_, err := db.ExecContext(ctx, "DELETE FROM auroramesh_migrations") // it may be busy
		h, asked := function.Ask(ctx, bus, "site-a", function.HealthEndpoint("sharing"), struct{}{})
		return err == nil && asked == nil && slices.ContainsFunc(h.Checks, func(c function.CheckResult) bool { return c.Error != "" })
	})
	report = Examine(ctx, a)
	if report.status("migrations").Status != Wrong {
		t.Errorf("the migrations are %+v", report.status("migrations"))
	}
	for _, f := range report.status("functions").Findings {
		if strings.Contains(f.Wrong, "lacks its database") {
			t.Errorf("it is told of a function too: %s", f.Wrong)
		}
	}
}

func TestWithoutNATSNothingElseIsSaidOfIt(t *testing.T) {
	t.Parallel()
	s := load(t, map[string]string{"NATS_URL": "nats://aurora:s3cret@127.0.0.1:1", "DATABASE_URL": "postgres://u:s3cret@127.0.0.1:1/d"})
	report := Examine(t.Context(), config(s))
	report.expect(t, map[string]string{"nats": "no NATS server answers at nats://aurora:xxxxx@127.0.0.1:1", "database": "the database does not answer"})
	for _, name := range []string{"jetstream", "permissions", "functions", "streams", "leafnode"} {
		if got := report.status(name); got.Status != Skipped || got.Because == "" {
			t.Errorf("%s is %+v", name, got)
		}
	}
	for _, c := range report.Checks {
		for _, f := range c.Findings {
			if strings.Contains(f.Wrong, "s3cret") {
				t.Errorf("a password is told: %s", f.Wrong)
			}
		}
	}
}

// A database that is not migrated, no function, no stream: a site that was never started.
func TestASiteThatWasNeverStartedLacksEverything(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, "site-a")
	report := Examine(t.Context(), config(load(t, map[string]string{"NATS_URL": s.ClientURL()})))
	report.expect(t, map[string]string{"migrations": "the database lacks the migrations", "functions": "none of the ", "streams": "none of the "})
	for _, check := range []string{"functions", "streams"} {
		if n := len(report.status(check).Findings); n != 1 {
			t.Errorf("%s finds %d things where there is nothing at all", check, n)
		}
	}

	echoes(t, s, "site-a")
	if _, err := natstest.Bus(t, s, "site-a", "test").JetStream().CreateStream(t.Context(), stream.Events("site-a")); err != nil {
		t.Fatal(err)
	}
	natstest.Within(t, 30*time.Second, "a function is there, and the others are named", func() bool {
		report = Examine(t.Context(), config(load(t, map[string]string{"NATS_URL": s.ClientURL()})))
		return len(report.status("functions").Findings) > 10
	})
	report.expect(t, map[string]string{"functions": "the function alertquery does not answer", "streams": "the stream TICKS_site-a is missing"}, "migrations")
}

func TestAPeerThatTheHubPassesAlertsOnToNeedsNoConsumer(t *testing.T) {
	t.Parallel()
	bus, st := natstest.Bus(t, natstest.Start(t, "site-a"), "site-a", "test"), storetest.Open(t)
	if _, err := bus.JetStream().CreateStream(t.Context(), stream.Alerts("site-a", stream.Limits{})); err != nil {
		t.Fatal(err)
	}
	for _, peer := range []federation.SiteID{"site-b", "site-c", "site-d"} {
		storetest.Knows(t, st, "site-a", peer, time.Now())
	}
	for _, p := range []store.RelayedPeer{{Peer: "site-b", Since: time.Now()}, {Peer: "site-c", Since: time.Now(), Direct: true}} {
		if err := st.BeginRelayed(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	lacking := map[string]int{}
	for _, f := range consumers(t.Context(), &patient{Config: Config{Settings: load(t, map[string]string{})}, store: st, bus: bus}) {
		peer, _, _ := strings.Cut(f.Wrong, " ")
		lacking[peer]++
	}
	if len(lacking) != 2 || lacking["site-c"] != 2 || lacking["site-d"] != 2 {
		t.Errorf("the peers lack the consumers %v", lacking)
	}
}

// What came in the name of a site under another key is told until that is pinned.
func TestAKeyThatIsNotThePinnedOneIsFound(t *testing.T) {
	t.Parallel()
	s, st := load(t, map[string]string{}), storetest.Open(t)
	p := &patient{Config: Config{Settings: s, Now: time.Now}, store: st}
	for _, site := range []federation.SiteID{"site-a", "site-b"} {
		if _, err := st.PinFirstSeen(t.Context(), map[federation.SiteID]string{site: "UOLD"}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if got := keys(t.Context(), p); len(got) != 0 {
		t.Errorf("with nothing refused it finds %+v", got)
	}
	for _, site := range []federation.SiteID{"site-a", "site-b"} {
		if err := st.NoteKeyRefused(t.Context(), "site-a", site, federation.KeyRefusal{Reason: "wrong_key", Key: "UNEW", At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	got := keys(t.Context(), p)
	if len(got) != 2 || !strings.Contains(got[0].Mend, "identity.nk back") || !strings.Contains(got[1].Wrong, "in the name of site-b with the key UNEW (wrong_key)") || !strings.Contains(got[1].Mend, "auroramesh trust pin site-b KEY") {
		t.Errorf("it finds %+v", got)
	}
}

// A peer that cannot be reached because the hub refuses it is told from a line that is cut.
func TestAPeerThatTheHubRefusesIsFound(t *testing.T) {
	t.Parallel()
	c, st := config(load(t, map[string]string{})), storetest.Open(t)
	storetest.Knows(t, st, "site-a", "site-b", time.Now())
	p := &patient{Config: c, store: st, bus: natstest.Bus(t, natstest.Start(t, "site-a"), "site-a", "doctor")}
	for _, told := range []struct {
		outcome federation.EchoOutcome
		want    string
	}{{federation.Disconnected, "the leafnode is down"}, {federation.Refused, "the hub refuses its certificate"}} {
		echo := map[string]federation.Echo{"link-site-a-site-b": {At: time.Now(), Outcome: told.outcome}}
		if _, err := st.RecordEchoes(t.Context(), "site-a", echo, time.Now(), c.Settings.Thresholds()); err != nil {
			t.Fatal(err)
		}
		if got := leafnode(t.Context(), p); len(got) != 1 || !strings.Contains(got[0].Wrong, told.want) {
			t.Errorf("after an echo that was %s it finds %+v, want %q", told.outcome, got, told.want)
		}
	}
}

func TestWhatTheNATSServerRefusesIsFound(t *testing.T) {
	t.Parallel()
	s := natstest.StartOptions(t, &server.Options{
		ServerName: "site-a", JetStreamDomain: "site-a", StoreDir: t.TempDir(),
		Users: []*server.User{{Username: "aurora", Password: "right", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"aurora.site.site-a.nudge.>"}}, Subscribe: &server.SubjectPermission{Deny: []string{subject.AllHealth}},
		}}},
	})
	as := func(password string) Report {
		t.Helper()
		return Examine(t.Context(), config(load(t, map[string]string{"NATS_URL": strings.Replace(s.ClientURL(), "nats://", "nats://aurora:"+password+"@", 1)})))
	}
	as("wrong").expect(t, map[string]string{"nats": "does not let the functions in"}, "migrations")
	report := as("right")
	report.expect(t, map[string]string{"permissions": "nudge"}, "migrations")
	report.expect(t, map[string]string{"permissions": subject.AllHealth}, "migrations")
	if got := report.status("functions"); got.Because != "permissions" {
		t.Errorf("the functions are %+v", got)
	}
}

func TestAServerWithoutJetStreamOrWithAnothersDomainIsFound(t *testing.T) {
	t.Parallel()
	bare, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	bare.Start()
	t.Cleanup(func() { bare.Shutdown(); bare.WaitForShutdown() })
	if !bare.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	mayBe := []string{"migrations", "functions", "streams"}
	Examine(t.Context(), config(load(t, map[string]string{"NATS_URL": bare.ClientURL()}))).expect(t, map[string]string{"jetstream": "JetStream does not answer"}, mayBe...)
	other := natstest.Start(t, "site-x")
	Examine(t.Context(), config(load(t, map[string]string{"NATS_URL": other.ClientURL()}))).expect(t, map[string]string{"domain": `the JetStream domain "site-x"`}, mayBe...)
}

// joined are a hub and a leaf, the latter with a JetStream domain of the caller's.
func joined(t *testing.T, domain string) (hub, leaf *server.Server) {
	t.Helper()
	hub = natstest.StartHub(t, nats.DevHub)
	leaf = natstest.StartLeaf(t, nats.DevLeaf, hub, func(o *server.Options) { o.JetStreamDomain = domain })
	natstest.Joined(t, hub, leaf)
	return hub, leaf
}

func TestTwoSitesWithOneIDAreFound(t *testing.T) {
	t.Parallel()
	hub, leaf := joined(t, "site-b")
	echoes(t, leaf, "site-a")
	c := config(load(t, map[string]string{"NATS_URL": hub.ClientURL(), "FEDERATION_SITE_TIER": "primary"}))
	natstest.Within(t, 30*time.Second, "both are seen", func() bool { return Examine(t.Context(), c).status("site-id").Status == Wrong })
	Examine(t.Context(), c).expect(t, map[string]string{"site-id": "functions of a site site-a also run at the NATS server site-b"}, "migrations", "functions", "streams")
	c = config(load(t, map[string]string{"NATS_URL": leaf.ClientURL(), "FEDERATION_SITE_ID": "site-b"}))
	echoes(t, hub, "site-a")
	natstest.Within(t, 30*time.Second, "a site that is neither sees both", func() bool {
		f := Examine(t.Context(), c).status("site-id").Findings
		return len(f) == 1 && f[0].Wrong == "functions of a site site-a run at the NATS servers site-a, site-b"
	})
}

// echoes has a server answer echoes as a site.
func echoes(t *testing.T, at *server.Server, site federation.SiteID) {
	t.Helper()
	r, err := function.Start(function.Function{Name: "linkprobe", Description: "stands for the other site", Triggers: []function.Trigger{
		function.Reply(ask.Echo, func(context.Context, ask.None) (federation.EchoReply, error) { return federation.EchoReply{}, nil }),
	}}, natstest.Bus(t, at, site, "linkprobe"), function.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// A leaf that has taken the hub's domain is found at itself, and at the hub.
func TestADomainThatIsAnotherSitesIsFound(t *testing.T) {
	t.Parallel()
	hub, leaf := joined(t, "site-a")
	echoes(t, leaf, "site-b")
	atHub := config(load(t, map[string]string{"NATS_URL": hub.ClientURL(), "FEDERATION_SITE_TIER": "primary"}))
	st, err := atHub.OpenStore(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	storetest.Knows(t, st, "site-a", "site-b", time.Now())
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	natstest.Within(t, 30*time.Second, "the hub finds it", func() bool {
		f := Examine(t.Context(), atHub).status("leafnode").Findings
		return len(f) == 1 && strings.Contains(f[0].Wrong, `site-b answers echoes, but nobody there has the JetStream domain "site-b"`)
	})
	c := config(load(t, map[string]string{"NATS_URL": leaf.ClientURL(), "FEDERATION_SITE_ID": "site-b"}))
	Examine(t.Context(), c).expect(t, map[string]string{"domain": `the JetStream domain "site-a", where that of this site is "site-b"`}, "migrations", "functions", "streams")
}

func TestTheClockOfAPeerThatIsWrongIsFound(t *testing.T) {
	t.Parallel()
	s := load(t, map[string]string{})
	st := storetest.Open(t)
	storetest.Knows(t, st, "site-a", "site-b", time.Now())
	echo := federation.Echo{At: time.Now(), Trip: time.Millisecond, Outcome: federation.Answered, PeerAt: time.Now().Add(time.Minute)}
	if _, err := st.RecordEchoes(t.Context(), "site-a", map[string]federation.Echo{"link-site-a-site-b": echo}, time.Now(), s.Thresholds()); err != nil {
		t.Fatal(err)
	}
	p := &patient{Config: Config{Settings: s, Now: time.Now}, store: st}
	got := peerClocks(t.Context(), p)
	if len(got) != 1 || !strings.Contains(got[0].Wrong, "ahead of that of this site") {
		t.Errorf("it finds %+v", got)
	}
}

func TestAPortThatSomethingElseHasIsFound(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // it takes connections and says nothing
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	p := &patient{Config: Config{Settings: load(t, map[string]string{"HTTP_LISTEN": l.Addr().String(), "METRICS_LISTEN": "127.0.0.1:0"})}}
	got := ports(t.Context(), p)
	if len(got) != 1 || !strings.Contains(got[0].Wrong, "HTTP_LISTEN: "+l.Addr().String()+" is taken by something that is not auroramesh") {
		t.Errorf("it finds %+v", got)
	}
}

func TestACertificateThatEndsSoonIsFound(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now, dir := time.Now(), t.TempDir()
	for name, c := range map[string]struct {
		left time.Duration
		want string
	}{"well": {60 * 24 * time.Hour, ""}, "soon": {50 * time.Hour, "expires in 2 days"}, "over": {-time.Hour, "has expired"}} {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour * 24), NotAfter: now.Add(c.left)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		got := certificateFile("X", path, now)
		if (c.want == "") != (len(got) == 0) || c.want != "" && !strings.Contains(got[0].Wrong, c.want) {
			t.Errorf("%s: it finds %+v", name, got)
		}
	}
	if got := certificateFile("X", filepath.Join(dir, "none"), now); len(got) != 1 {
		t.Errorf("of a file that is not there it finds %+v", got)
	}
}

// What is done to the newest records of the audit log is told, and a log that is sound is not.
func TestAnAuditLogThatWasTamperedWithIsFound(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, c := range map[string]struct{ sql, finds string }{
		"sound":                  {"SELECT 1", ""},
		"empty":                  {"DELETE FROM audit; UPDATE audit_head SET seq = 0, hash = ''", ""},
		"a record is changed":    {"UPDATE audit SET who = 'k2' WHERE seq = 1500", "broken at record 1500: its content"},
		"the first is changed":   {"UPDATE audit SET who = 'k2' WHERE seq = 1", "broken at record 1: its content"},
		"a record is taken out":  {"DELETE FROM audit WHERE seq = 1000", "broken at record 1001: the record before it is missing"},
		"the first is taken out": {"DELETE FROM audit WHERE seq = 1", "broken at record 2: the record before it is missing"},
		"the last is taken out":  {"DELETE FROM audit WHERE seq = 2500", "ends in record 2499, and its head is record 2500"},
		"all is taken out":       {"DELETE FROM audit", "the audit log is empty, and its head is record 2500"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "site.db")
			st, err := store.Open(ctx, "sqlite:"+path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = st.Close() })
			if _, err := st.Migrate(ctx); err != nil {
				t.Fatal(err)
			}
			entries := make([]access.Entry, 2500)
			for i := range entries {
				entries[i] = access.Entry{ID: strconv.Itoa(i), At: time.Now(), Who: "k1", Action: "a"}
			}
			if _, err := st.AppendAudit(ctx, entries); err != nil {
				t.Fatal(err)
			}
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			if _, err := db.ExecContext(ctx, c.sql); err != nil {
				t.Fatal(err)
			}
			got := audit(ctx, &patient{store: st})
			if (c.finds == "") != (len(got) == 0) || len(got) > 0 && (!strings.Contains(got[0].Wrong, c.finds) || !strings.Contains(got[0].Mend, "audit verify")) {
				t.Errorf("it finds %+v, not %q", got, c.finds)
			}
		})
	}
}
