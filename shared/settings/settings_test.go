package settings_test

import (
	"bufio"
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/settings"
)

var update = flag.Bool("update", false, "write the expected errors and the table of docs/configuration.md anew")

// environment reads a file of lines VARIABLE=value. A value may hold escapes, as in Go.
func environment(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if line := lines.Text(); line != "" && !strings.HasPrefix(line, "#") {
			name, value, ok := strings.Cut(line, "=")
			if !ok {
				t.Fatalf("%s: %q is no VARIABLE=value", file, line)
			}
			env[name] = strings.NewReplacer(`\0`, "\x00", `\xff`, "\xff", `\n`, "\n").Replace(value)
		}
	}
	return env
}

// Every testdata/*.env is refused with the text of the .err beside it.
func TestABadValueIsRefusedWithTheVariableTheValueAndWhatIsAllowed(t *testing.T) {
	files, err := filepath.Glob("testdata/*.env")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files with bad values: %v", err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".env"), func(t *testing.T) {
			env := environment(t, file)
			_, err := settings.Load(env)
			if err == nil {
				t.Fatal("it was taken")
			}
			if !fault.Is(err, fault.Invalid) || fault.Of(err).Code.ExitCode() != 2 {
				t.Errorf("the error is no invalid fault: %v", err)
			}
			for name, value := range env {
				seen[name] = true
				if strings.Contains(value, "s3cret") && strings.Contains(err.Error(), "s3cret") {
					t.Errorf("the error gives a password away: %v", err)
				}
			}
			golden := strings.TrimSuffix(file, ".env") + ".err"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, v := range settings.Variables() {
		if path := []string{"NATS_CREDS", "NATS_NKEY", "NATS_CA", "FEDERATION_IDENTITY_DIR"}; !seen[v.Name] && !slices.Contains(path, v.Name) { // any path is a path
			t.Errorf("no file has a bad value of %s", v.Name)
		}
	}
}

func TestTheDefaultsAreThoseOfTheContract(t *testing.T) {
	got, err := settings.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := settings.Settings{
		Enabled: true, SiteID: "site-a", SiteName: "site-a", SiteTier: "secondary", IdentityDir: "data/identity",
		HeartbeatSeconds: 15, DegradedSeconds: 45, DownSeconds: 120, MinSeverity: "high", Exchange: "direct", ReconcileSeconds: 30, BackfillHours: 168,
		BacklogMessages: 1_000_000, BacklogMegabytes: 2048, BacklogHours: 168, StalledSeconds: 30,
		DatabaseMaxOpen: 10, DatabaseMaxIdle: 5, DatabaseLifetimeSeconds: 1800, DatabaseIdleSeconds: 300, DatabaseStatementSeconds: 30, DatabaseLockSeconds: 10,
		RetentionHistoryDays: 90, RetentionRefusedDays: 90,
		NATSURL: "nats://127.0.0.1:4222", DatabaseURL: "sqlite:data/auroramesh.db", HTTPListen: "127.0.0.1:8000",
		HTTPAuth: "none", HTTPRate: 200, SessionHours: 12,
		LogLevel: "info", LogFormat: "text",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	empty := map[string]string{}
	for _, v := range settings.Variables() {
		empty[v.Name] = ""
	}
	if fromEmpty, err := settings.Load(empty); err != nil {
		t.Errorf("variables that are set to nothing: %v", err)
	} else if diff := cmp.Diff(want, fromEmpty); diff != "" {
		t.Errorf("a variable that is set to nothing has not its default:\n%s", diff)
	}
}

func TestGoodValuesAreTaken(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"federation off":                       {"FEDERATION_ENABLED": "false"},
		"the shortest ages":                    {"FEDERATION_HEARTBEAT_INTERVAL_SECONDS": "1", "FEDERATION_DEGRADED_AFTER_SECONDS": "2", "FEDERATION_DOWN_AFTER_SECONDS": "3"},
		"the longest ages":                     {"FEDERATION_HEARTBEAT_INTERVAL_SECONDS": "3600", "FEDERATION_DEGRADED_AFTER_SECONDS": "86400", "FEDERATION_DOWN_AFTER_SECONDS": "604800"},
		"the shortest comparison":              {"FEDERATION_RECONCILE_INTERVAL_SECONDS": "5", "FEDERATION_BACKFILL_HOURS": "1"},
		"the longest comparison":               {"FEDERATION_RECONCILE_INTERVAL_SECONDS": "3600", "FEDERATION_BACKFILL_HOURS": "8760"},
		"the longest name":                     {"FEDERATION_SITE_NAME": strings.Repeat("ü", 128)},
		"the smallest backlog":                 {"FEDERATION_BACKLOG_MAX_MESSAGES": "100", "FEDERATION_BACKLOG_MAX_MEGABYTES": "16", "FEDERATION_BACKLOG_MAX_AGE_HOURS": "1", "FEDERATION_DELIVERY_STALLED_AFTER_SECONDS": "5"},
		"the largest backlog":                  {"FEDERATION_BACKLOG_MAX_MESSAGES": "100000000", "FEDERATION_BACKLOG_MAX_MEGABYTES": "1048576", "FEDERATION_BACKLOG_MAX_AGE_HOURS": "8760", "FEDERATION_DELIVERY_STALLED_AFTER_SECONDS": "3600"},
		"a list of NATS servers":               {"NATS_URL": "nats://a:4222, tls://b:4222,ws://c,wss://d"},
		"a NATS server without a scheme":       {"NATS_URL": "127.0.0.1:4222"},
		"a NATS server with a password":        {"NATS_URL": "nats://aurora:s3cret@nats:4222"},
		"streams on every server of a cluster": {"JETSTREAM_REPLICAS": "3"},
		"PostgreSQL":                           {"DATABASE_URL": "postgres://aurora:s3cret@db/aurora?sslmode=disable"},
		"PostgreSQL by its long name":          {"DATABASE_URL": "postgresql:///aurora?host=/run/postgresql"},
		"nothing is let go of":                 {"RETENTION_CLOSED_ALERTS_DAYS": "0", "RETENTION_HISTORY_DAYS": "0", "RETENTION_REFUSED_ALERTS_DAYS": "0"},
		"the shortest retention":               {"RETENTION_CLOSED_ALERTS_DAYS": "8", "RETENTION_HISTORY_DAYS": "90", "RETENTION_REFUSED_ALERTS_DAYS": "1"},
		"a small pool":                         {"DATABASE_MAX_OPEN_CONNS": "2", "DATABASE_MAX_IDLE_CONNS": "0", "DATABASE_CONN_MAX_LIFETIME_SECONDS": "1", "DATABASE_CONN_MAX_IDLE_SECONDS": "1", "DATABASE_STATEMENT_TIMEOUT_SECONDS": "1", "DATABASE_LOCK_TIMEOUT_SECONDS": "1"},
		"an address of every interface":        {"HTTP_LISTEN": ":8000", "HTTP_AUTH": "required", "METRICS_LISTEN": "[::]:9100"},
		"no sign-in and another guard":         {"HTTP_LISTEN": "0.0.0.0:8000", "HTTP_AUTH": "insecure", "HTTP_RATE_LIMIT_PER_SECOND": "0"},
		"no sign-in on loopback":               {"HTTP_LISTEN": "LocalHost:8000"},
		"no sign-in on loopback by IPv6":       {"HTTP_LISTEN": "[::1]:8000", "HTTP_SESSION_HOURS": "720"},
		"proxies":                              {"HTTP_TRUSTED_PROXIES": "10.1.2.3, 10.8.0.0/16,fd00::/8,::ffff:10.0.0.1"},
		"a port that the system chooses":       {"HTTP_LISTEN": "127.0.0.1:0"},
		"a level in upper case":                {"LOG_LEVEL": "WARN", "LOG_FORMAT": "json"},
		"variables of something else entirely": {"PATH": "/bin", "FEDERATION_UNKNOWN": "?"},
	} {
		if _, err := settings.Load(env); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSettingsBecomeWhatTheDomainUnderstands(t *testing.T) {
	s, err := settings.Load(map[string]string{
		"FEDERATION_SITE_ID": "site-b", "FEDERATION_SITE_NAME": "Berlin", "FEDERATION_SITE_TIER": "primary", "FEDERATION_FEDERATE_MIN_SEVERITY": "critical",
		"FEDERATION_HEARTBEAT_INTERVAL_SECONDS": "2", "FEDERATION_DEGRADED_AFTER_SECONDS": "6", "FEDERATION_DOWN_AFTER_SECONDS": "20",
		"FEDERATION_RECONCILE_INTERVAL_SECONDS": "7", "FEDERATION_BACKFILL_HOURS": "3",
		"FEDERATION_BACKLOG_MAX_MESSAGES": "200", "FEDERATION_BACKLOG_MAX_MEGABYTES": "16", "FEDERATION_BACKLOG_MAX_AGE_HOURS": "2", "FEDERATION_DELIVERY_STALLED_AFTER_SECONDS": "7",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.Identity("1.2.3"), (federation.Identity{ID: "site-b", Name: "Berlin", Tier: federation.Primary, Version: "1.2.3", Exchange: federation.ExchangeDirect}); got != want {
		t.Errorf("the identity is %v", got)
	}
	if got := s.Heartbeat(); got != 2*time.Second {
		t.Errorf("the heartbeat is every %v", got)
	}
	if s.Reconcile() != 7*time.Second || s.Backfill() != 3*time.Hour {
		t.Errorf("it compares every %v, %v back", s.Reconcile(), s.Backfill())
	}
	if got, want := s.Thresholds(), (federation.Thresholds{Degraded: 6 * time.Second, Down: 20 * time.Second}); got != want {
		t.Errorf("the thresholds are %v", got)
	}
	if got, want := s.Backlog(), (federation.BacklogBound{Messages: 200, Bytes: 16 << 20, Age: 2 * time.Hour}); got != want {
		t.Errorf("the bound of the backlog is %v", got)
	}
	if got := s.Stalled(); got != 7*time.Second {
		t.Errorf("a delivery stands still after %v", got)
	}
	s.RetentionAlertsDays = 8
	if closed, history, refused := s.Retention(); closed != 8*24*time.Hour || history != 90*24*time.Hour || refused != 90*24*time.Hour {
		t.Errorf("it keeps alerts %v, history %v and refusals %v", closed, history, refused)
	}
	if got := s.Gate().Severities(); !slices.Equal(got, []federation.Severity{federation.Critical}) {
		t.Errorf("the gate admits %v", got)
	}
	s.Enabled = false
	if got := s.Gate().Severities(); len(got) != 0 {
		t.Errorf("with federation off the gate admits %v", got)
	}
}

// What a variable allows is written for people, so nothing else keeps it true.
func TestWhatIsAllowedIsInTheWordsOfTheDomain(t *testing.T) {
	want := map[string]string{"FEDERATION_SITE_ID": federation.SiteIDForm, "FEDERATION_SITE_TIER": federation.TierForm, "FEDERATION_FEDERATE_MIN_SEVERITY": federation.SeverityForm}
	got := map[string]string{}
	with := map[string]map[string]string{ // what an example is of use with
		"HTTP_TLS_CERT_FILE": {"HTTP_TLS_KEY_FILE": "key.pem"}, "HTTP_TLS_KEY_FILE": {"HTTP_TLS_CERT_FILE": "cert.pem"},
		"OIDC_ISSUER": {"HTTP_AUTH": "required", "OIDC_AUDIENCE": "soc"}, "OIDC_AUDIENCE": {"HTTP_AUTH": "required", "OIDC_ISSUER": "https://id.example"},
	}
	client := map[string]string{"HTTP_AUTH": "required", "OIDC_ISSUER": "https://id.example", "OIDC_AUDIENCE": "soc", "OIDC_CLIENT_ID": "site-a", "OIDC_REDIRECT_URL": "https://soc-a.example/sign-in/callback"}
	for name := range client {
		if strings.HasPrefix(name, "OIDC_CLIENT") || name == "OIDC_REDIRECT_URL" {
			with[name] = maps.Clone(client)
			delete(with[name], name)
		}
	}
	with["OIDC_CLIENT_SECRET"] = client
	for _, v := range settings.Variables() {
		if _, ok := want[v.Name]; ok {
			got[v.Name] = v.Allowed
		}
		env := map[string]string{v.Name: v.Example}
		maps.Copy(env, with[v.Name])
		if _, err := settings.Load(env); v.Example == "" || err != nil {
			t.Errorf("%s has the example %q: give it an example in its tag that is taken: %v", v.Name, v.Example, err)
		}
		if v.Allowed == "" || v.Help == "" || strings.Contains(v.Allowed+v.Help, "|") {
			t.Errorf("%s does not say in one cell of a table what is allowed and what it does", v.Name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRedactLeavesNoSecretIn(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"info":                      "info",
		"SOC @ Berlin":              "SOC @ Berlin",
		"127.0.0.1:8000":            "127.0.0.1:8000",
		"sqlite:data/a@b.db":        "sqlite:data/a@b.db",
		"nats://127.0.0.1:4222":     "nats://127.0.0.1:4222",
		"nats://u:s3cret@h:4222":    "nats://u:xxxxx@h:4222",
		"nats://s3cret@h:4222":      "nats://xxxxx@h:4222",
		"u:s3cret@h:4222":           "xxxxx@h:4222",
		"s3cret@h:4222":             "xxxxx@h:4222",
		"postgres://u@h/db":         "postgres://u@h/db",
		"postgres://u:s3cret@h/db":  "postgres://u:xxxxx@h/db",
		"postgres://:s3cret@h/db":   "postgres://:xxxxx@h/db",
		"postgres://u:s3cret@@h/db": "postgres://u:xxxxx@h/db",
		"postgres://u:s3cret%zz@h":  "postgres://u:xxxxx@h",
		"postgres://u:s3c/s3cret@h": "postgres://u:xxxxx@h",
		"postgres://a/b:s3cret@h":   "postgres://a/b:xxxxx@h",
		"postgres://u:s3cret,x@h":   "postgres://u:xxxxx@h",
		"mysql://u:s3cret@h/db":     "mysql://u:xxxxx@h/db",

		"nats://a:s3cret@h1,nats://b:s3cret@h2":    "nats://a:xxxxx@h1,nats://b:xxxxx@h2",
		"nats://h1:4222,nats://s3cret@h2":          "nats://h1:4222,nats://xxxxx@h2",
		"postgres://h/db?user=u&password=s3cret":   "postgres://h/db?user=u&password=xxxxx",
		"host=h user=u password=s3cret dbname=d":   "host=h user=u password=xxxxx dbname=d",
		"host=h PASSWORD='s3cret s3cret' dbname=d": "host=h PASSWORD=xxxxx dbname=d",
	} {
		if got := settings.Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		const secret = "s3cret"
		around := rapid.StringMatching(`[a-z:/@?&=,%. ]{0,6}`)
		url := rapid.SampledFrom([]string{"nats", "tls", "postgres", "mysql"}).Draw(t, "scheme") + "://" +
			rapid.StringMatching(`[a-z/ ]{0,4}`).Draw(t, "user") + ":" + around.Draw(t, "before") + secret + around.Draw(t, "after") + "@host"
		if got := settings.Redact(url); strings.Contains(got, secret) {
			t.Fatalf("Redact(%q) = %q", url, got)
		}
		_, err := settings.Load(map[string]string{"NATS_URL": url, "DATABASE_URL": "x" + url, "FEDERATION_SITE_ID": "?"})
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Fatalf("the error for %q is %v", url, err)
		}
	})
}

const (
	docs       = "../../docs/configuration.md"
	tableBegin = "<!-- generated by: auroramesh config markdown -->\n"
	tableEnd   = "<!-- end -->"
)

func TestTheDocumentationHasTheTableOfEverySetting(t *testing.T) {
	data, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), tableBegin)
	table, after, ended := strings.Cut(rest, tableEnd)
	if !ok || !ended {
		t.Fatalf("%s has no table between %q and %q", docs, tableBegin, tableEnd)
	}
	if *update {
		table = settings.Markdown()
		if err := os.WriteFile(docs, []byte(before+tableBegin+table+tableEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(settings.Markdown(), table); diff != "" {
		t.Errorf("run go test ./shared/settings -update, for the table is old:\n%s", diff)
	}
}

func TestEveryVariableIsDeclaredOnce(t *testing.T) {
	count := map[string]int{}
	for _, v := range settings.Variables() {
		count[v.Name]++
	}
	maps.DeleteFunc(count, func(_ string, n int) bool { return n == 1 })
	if len(count) > 0 {
		t.Errorf("declared more than once: %v", count)
	}
}
