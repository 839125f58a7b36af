// Package settings reads what a site is told by its environment. Every variable
// is declared once, in [Settings], with its default, its range and a sentence on
// what it does; a bad value is refused before anything starts, with the variable,
// the value and what is allowed.
package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caarlos0/env/v11"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/oidc"
)

// Settings are the settings of one site.
type Settings struct {
	Enabled  bool   `env:"FEDERATION_ENABLED" envDefault:"true" example:"false" allowed:"true or false" help:"Join the mesh. With false the site works alone: no gossip, nothing leaves, nothing is pulled."`
	SiteID   string `env:"FEDERATION_SITE_ID" envDefault:"site-a" example:"berlin" allowed:"1 to 63 of a-z, 0-9 and '-', the first not '-'" help:"The id of this site, unique in the mesh."`
	SiteName string `env:"FEDERATION_SITE_NAME" example:"Berlin" allowed:"at most 128 characters, in UTF-8" help:"The name that people read. Default: the site id."`
	SiteTier string `env:"FEDERATION_SITE_TIER" envDefault:"secondary" example:"primary" allowed:"primary or secondary" help:"Whether this site is the hub of the mesh."`

	IdentityDir string `env:"FEDERATION_IDENTITY_DIR" envDefault:"data/identity" example:"/etc/auroramesh" allowed:"the path of a directory" help:"Where the key is with which the site signs what its peers read. It is made where there is none. Every process that signs must have the same, and nobody else may read it: heartbeat, alertrelay, reconcile and ledger."`

	HeartbeatSeconds int    `env:"FEDERATION_HEARTBEAT_INTERVAL_SECONDS" envDefault:"15" allowed:"a whole number from 1 to 3600" help:"How often the site gossips its health, in seconds."`
	DegradedSeconds  int    `env:"FEDERATION_DEGRADED_AFTER_SECONDS" envDefault:"45" allowed:"a whole number from 1 to 86400, over the heartbeat interval" help:"The heartbeat age from which a link and a site are degraded, in seconds."`
	DownSeconds      int    `env:"FEDERATION_DOWN_AFTER_SECONDS" envDefault:"120" allowed:"a whole number from 1 to 604800, over the degraded age" help:"The heartbeat age from which a link is down and a site offline, in seconds."`
	Exchange         string `env:"FEDERATION_EXCHANGE" envDefault:"direct" example:"hub" allowed:"direct or hub" help:"How alerts are exchanged with the peers: each pulls from each, or the hub passes on between all that say hub too, and the primary is one of them. It may differ from site to site, and change."`
	MinSeverity      string `env:"FEDERATION_FEDERATE_MIN_SEVERITY" envDefault:"high" example:"critical" allowed:"critical, high, medium, low or info" help:"The lowest severity of a local alert that is shared with the peers."`

	ReconcileSeconds int `env:"FEDERATION_RECONCILE_INTERVAL_SECONDS" envDefault:"30" allowed:"a whole number from 5 to 3600" help:"How often the site compares the last hours with what each peer has shared, in seconds."`
	BackfillHours    int `env:"FEDERATION_BACKFILL_HOURS" envDefault:"168" allowed:"a whole number from 1 to 8760" help:"How far back sites compare, in hours: no older alert is sent again, nor sent to a peer that is new."`
	BacklogMessages  int `env:"FEDERATION_BACKLOG_MAX_MESSAGES" envDefault:"1000000" allowed:"a whole number from 100 to 100000000" help:"How many alerts the stream for the peers may hold. Over it the oldest of the lowest severity go first."`
	BacklogMegabytes int `env:"FEDERATION_BACKLOG_MAX_MEGABYTES" envDefault:"2048" allowed:"a whole number from 16 to 1048576" help:"How large the stream for the peers may be, in MiB. Over it the oldest of the lowest severity go first."`
	BacklogHours     int `env:"FEDERATION_BACKLOG_MAX_AGE_HOURS" envDefault:"168" allowed:"a whole number from 1 to 8760" help:"How long an alert waits for the peers at most, whatever its severity, in hours."`
	StalledSeconds   int `env:"FEDERATION_DELIVERY_STALLED_AFTER_SECONDS" envDefault:"30" allowed:"a whole number from 5 to 3600" help:"How long a peer may acknowledge none of the alerts that wait for it, over a link that works, before the delivery stands still and is begun anew, in seconds."`

	NATSURL     string `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222" example:"nats://nats-1:4222,nats://nats-2:4222" allowed:"one or more NATS URLs, separated by commas, e.g. nats://nats:4222" help:"The NATS server of this site."`
	NATSCreds   string `env:"NATS_CREDS" example:"/run/secrets/functions.creds" allowed:"the path of a credentials file" help:"The credentials with which the functions connect. Default: none."`
	NATSNkey    string `env:"NATS_NKEY" example:"/etc/auroramesh/functions.nk" allowed:"the path of a file with the seed of an nkey" help:"The key with which the functions connect, as auroramesh site makes it. Default: none."`
	NATSCA      string `env:"NATS_CA" example:"/etc/auroramesh/ca.crt" allowed:"the path of a file with certificates in PEM" help:"Who has signed the certificate of the NATS server. Default: whom the system trusts."`
	Replicas    int    `env:"JETSTREAM_REPLICAS" envDefault:"0" example:"3" allowed:"0, 1, 3 or 5" help:"On how many servers of its NATS cluster the site keeps each stream. With 3 one of them may be lost, with 5 two. 0 leaves a stream as it is, and a new one on one server."`
	CertFiles   string `env:"CERTIFICATE_FILES" example:"/etc/auroramesh/site.crt,/etc/auroramesh/ca.crt" allowed:"paths of certificates in PEM, separated by commas" help:"Certificates of which /metrics and /health say when they expire, beside that of HTTP_TLS_CERT_FILE. Default: none."`
	DatabaseURL string `env:"DATABASE_URL" envDefault:"sqlite:data/auroramesh.db" example:"postgres://aurora@db/aurora?sslmode=verify-full" allowed:"sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE" help:"The database of this site."`

	DatabaseMaxOpen          int `env:"DATABASE_MAX_OPEN_CONNS" envDefault:"10" allowed:"a whole number from 2 to 1000" help:"How many connections to PostgreSQL a process opens at most. SQLite heeds none of the DATABASE_ limits."`
	DatabaseMaxIdle          int `env:"DATABASE_MAX_IDLE_CONNS" envDefault:"5" allowed:"a whole number from 0 to 1000" help:"How many of them it keeps while they have nothing to do."`
	DatabaseLifetimeSeconds  int `env:"DATABASE_CONN_MAX_LIFETIME_SECONDS" envDefault:"1800" allowed:"a whole number from 1 to 86400" help:"How old a connection may become before a new one takes its place, so that a failover is noticed, in seconds."`
	DatabaseIdleSeconds      int `env:"DATABASE_CONN_MAX_IDLE_SECONDS" envDefault:"300" allowed:"a whole number from 1 to 86400" help:"How long a connection may have nothing to do before it is closed, in seconds."`
	DatabaseStatementSeconds int `env:"DATABASE_STATEMENT_TIMEOUT_SECONDS" envDefault:"30" allowed:"a whole number from 1 to 3600" help:"How long one statement may take, in seconds. Migrations take as long as they need."`
	DatabaseLockSeconds      int `env:"DATABASE_LOCK_TIMEOUT_SECONDS" envDefault:"10" allowed:"a whole number from 1 to 3600" help:"How long a statement waits for a lock, in seconds."`

	RetentionAlertsDays  int `env:"RETENTION_CLOSED_ALERTS_DAYS" envDefault:"0" example:"365" allowed:"0, or a whole number from 1 to 36500 that is longer than FEDERATION_BACKFILL_HOURS by a day" help:"How long an alert is kept after its last change once it is resolved, a false positive or retracted, in days. 0 keeps it for good."`
	RetentionHistoryDays int `env:"RETENTION_HISTORY_DAYS" envDefault:"90" allowed:"0, or a whole number from 90 to 36500" help:"How long the transitions of links and sites are kept, in days. 0 keeps them for good."`
	RetentionRefusedDays int `env:"RETENTION_REFUSED_ALERTS_DAYS" envDefault:"90" allowed:"0, or a whole number from 1 to 36500" help:"How long it is kept which alerts of peers were refused here, in days; at least as long as the sites compare them. 0 keeps it for good."`

	HTTPListen     string `env:"HTTP_LISTEN" envDefault:"127.0.0.1:8000" example:"127.0.0.1:8080" allowed:"HOST:PORT, the port from 0 to 65535" help:"Where the gateway serves the API. Without sign-in, a loopback address."`
	HTTPAuth       string `env:"HTTP_AUTH" envDefault:"none" example:"required" allowed:"none, required or insecure" help:"Whether the API takes a key or token: required; none, for this machine alone; insecure: none, and at any address."`
	HTTPCert       string `env:"HTTP_TLS_CERT_FILE" example:"/etc/auroramesh/http.pem" allowed:"the path of a file, together with HTTP_TLS_KEY_FILE" help:"The certificate with which the API serves TLS, with those between it and its authority. It is read anew where it changes. Default: no TLS."`
	HTTPKey        string `env:"HTTP_TLS_KEY_FILE" example:"/etc/auroramesh/http.key" allowed:"the path of a file, together with HTTP_TLS_CERT_FILE" help:"The key of that certificate."`
	HTTPProxies    string `env:"HTTP_TRUSTED_PROXIES" example:"10.1.2.3,10.8.0.0/16" allowed:"addresses and networks such as 10.8.0.0/16, separated by commas, none of all addresses" help:"The reverse proxies before the API. From them, and from nobody else, X-Forwarded-For and X-Forwarded-Proto are believed. Default: none."`
	OIDCIssuer     string `env:"OIDC_ISSUER" example:"https://id.example.com/realms/soc" allowed:"https://HOST/…, or http on loopback, with HTTP_AUTH=required" help:"The OpenID Connect issuer whose access tokens the API takes beside keys. Default: none."`
	OIDCAudience   string `env:"OIDC_AUDIENCE" example:"https://soc-a.example.com" allowed:"a text, together with OIDC_ISSUER" help:"What an access token must be for: its aud."`
	OIDCPrefix     string `env:"OIDC_SCOPE_PREFIX" example:"soc/" allowed:"at most 128 characters without a space" help:"What stands before the names of the scopes in an access token. Default: nothing."`
	OIDCClient     string `env:"OIDC_CLIENT_ID" example:"auroramesh-site-a" allowed:"a text, together with OIDC_ISSUER and OIDC_REDIRECT_URL" help:"What the site is called at the issuer, so that people can sign in to the console there. Default: they sign in with keys alone."`
	OIDCSecret     string `env:"OIDC_CLIENT_SECRET" secret:"true" example:"from-the-issuer" allowed:"a text, together with OIDC_CLIENT_ID" help:"The secret of this client, where it is not a public one. Default: none."`
	OIDCRedirect   string `env:"OIDC_REDIRECT_URL" example:"https://soc-a.example.com/sign-in/callback" allowed:"https://HOST/sign-in/callback, or http on loopback, together with OIDC_CLIENT_ID" help:"Where the issuer sends people back to, as it knows it: the console's address with the path /sign-in/callback."`
	HTTPRate       int    `env:"HTTP_RATE_LIMIT_PER_SECOND" envDefault:"200" example:"1000" allowed:"a whole number from 0 to 100000" help:"How many requests a second each gateway takes from one key, token or session, and twice as many at once. 0: any number."`
	SessionHours   int    `env:"HTTP_SESSION_HOURS" envDefault:"12" example:"8" allowed:"a whole number from 1 to 720" help:"How long a person who signs in to the console stays signed in, in hours."`
	MetricsListen  string `env:"METRICS_LISTEN" example:"127.0.0.1:9100" allowed:"HOST:PORT, the port from 0 to 65535" help:"Where a process serves /metrics, /health/live and /health/ready beside the gateway. Default: nowhere."`
	TracesEndpoint string `env:"OTEL_EXPORTER_OTLP_ENDPOINT" example:"http://collector:4318" allowed:"an address that begins with http:// or https://, without the path /v1/traces" help:"The OpenTelemetry collector that takes the traces, by OTLP over HTTP. The other OTEL_ variables of the standard are heeded too. Default: none, and no traces."`
	LogLevel       string `env:"LOG_LEVEL" envDefault:"info" example:"warn" allowed:"debug, info, warn or error" help:"The least important lines that are logged."`
	StyleGuide     bool   `env:"CONSOLE_STYLEGUIDE" envDefault:"false" example:"true" allowed:"true or false" help:"Whether the console has a page /styleguide that shows every part of it in every state, for those who change it. The demo has."`
	LogFormat      string `env:"LOG_FORMAT" envDefault:"text" example:"json" allowed:"text or json" help:"How log lines are written."`
}

// Load reads the settings from an environment, given as variable to value, and from
// the files that it names: see [FileSuffix]. The error is one fault that names every variable that is wrong.
func Load(environ map[string]string) (Settings, error) {
	var s Settings
	var wrong fault.Fields
	environ = withFiles(environ, &wrong)
	if err := env.ParseWithOptions(&s, env.Options{Environment: environ}); err != nil {
		var all env.AggregateError
		if !errors.As(err, &all) {
			return s, fmt.Errorf("reading the settings: %w", err)
		}
		for _, e := range all.Errors {
			var parse env.ParseError
			if !errors.As(e, &parse) {
				return s, fmt.Errorf("reading the settings: %w", e)
			}
			v := variable(parse.Name)
			wrong.Add(v.Name, environ[v.Name], v.Allowed)
		}
	}
	if s.SiteName == "" {
		s.SiteName = s.SiteID
	}
	s.check(&wrong)
	return s, wrong.Err("the settings are not valid")
}

// check adds what is out of range. A variable that could not be read at all has
// its zero value here and is named once only.
func (s Settings) check(wrong *fault.Fields) {
	add := func(field, value string) {
		v := variable(field)
		for _, f := range *wrong {
			if f.Name == v.Name {
				return
			}
		}
		wrong.Add(v.Name, value, v.Allowed)
	}
	if !federation.SiteID(s.SiteID).Valid() {
		add("SiteID", s.SiteID)
	}
	if len([]rune(s.SiteName)) > federation.MaxSiteName || strings.ContainsRune(s.SiteName, 0) || !utf8.ValidString(s.SiteName) {
		add("SiteName", s.SiteName)
	}
	if !federation.Tier(s.SiteTier).Valid() {
		add("SiteTier", s.SiteTier)
	}
	// Each is held against the one before it only where that one is sound, so that
	// one slip is named once.
	least := 0
	for _, v := range []struct {
		field         string
		seconds, most int
	}{{"HeartbeatSeconds", s.HeartbeatSeconds, 3600}, {"DegradedSeconds", s.DegradedSeconds, 86_400}, {"DownSeconds", s.DownSeconds, 604_800}} {
		sound := 1 <= v.seconds && v.seconds <= v.most
		if !sound || v.seconds <= least {
			add(v.field, strconv.Itoa(v.seconds))
		}
		if sound {
			least = v.seconds
		}
	}
	for _, v := range []struct {
		field              string
		value, least, most int
	}{
		{"ReconcileSeconds", s.ReconcileSeconds, 5, 3600}, {"BackfillHours", s.BackfillHours, 1, federation.MaxBackfillHours},
		{"BacklogMessages", s.BacklogMessages, 100, 100_000_000}, {"BacklogMegabytes", s.BacklogMegabytes, 16, 1 << 20},
		{"BacklogHours", s.BacklogHours, 1, 8760}, {"StalledSeconds", s.StalledSeconds, 5, 3600},
		{"HTTPRate", s.HTTPRate, 0, 100_000}, {"SessionHours", s.SessionHours, 1, 720},
		{"DatabaseMaxOpen", s.DatabaseMaxOpen, 2, 1000}, {"DatabaseMaxIdle", s.DatabaseMaxIdle, 0, 1000},
		{"DatabaseLifetimeSeconds", s.DatabaseLifetimeSeconds, 1, 86_400}, {"DatabaseIdleSeconds", s.DatabaseIdleSeconds, 1, 86_400},
		{"DatabaseStatementSeconds", s.DatabaseStatementSeconds, 1, 3600}, {"DatabaseLockSeconds", s.DatabaseLockSeconds, 1, 3600},
	} {
		if v.value < v.least || v.value > v.most {
			add(v.field, strconv.Itoa(v.value))
		}
	}
	if d := s.RetentionAlertsDays; d != 0 && (d < 0 || d > maxRetention || d*24 < s.BackfillHours+24) {
		add("RetentionAlertsDays", strconv.Itoa(d))
	}
	if d := s.RetentionHistoryDays; d != 0 && (d < 90 || d > maxRetention) {
		add("RetentionHistoryDays", strconv.Itoa(d))
	}
	if d := s.RetentionRefusedDays; d < 0 || d > maxRetention {
		add("RetentionRefusedDays", strconv.Itoa(d))
	}
	if !federation.Severity(s.MinSeverity).Valid() {
		add("MinSeverity", s.MinSeverity)
	}
	if !federation.Exchange(s.Exchange).Valid() {
		add("Exchange", s.Exchange)
	}
	if !validAddress(s.HTTPListen) {
		add("HTTPListen", s.HTTPListen)
	}
	switch {
	case !access.Mode(s.HTTPAuth).Valid():
		add("HTTPAuth", s.HTTPAuth)
	case s.HTTPAuth == string(access.None) && validAddress(s.HTTPListen) && !Loopback(s.HTTPListen):
		wrong.Add("HTTP_LISTEN", s.HTTPListen, "a loopback address such as 127.0.0.1:8000, for nobody signs in; for another one set HTTP_AUTH=required and make a key with auroramesh key create, or HTTP_AUTH=insecure where something else keeps strangers out")
	}
	if s.HTTPCert == "" && s.HTTPKey != "" {
		add("HTTPCert", "")
	}
	if s.HTTPKey == "" && s.HTTPCert != "" {
		add("HTTPKey", "")
	}
	if s.NATSCreds != "" && s.NATSNkey != "" {
		wrong.Add("NATS_NKEY", s.NATSNkey, "nothing where NATS_CREDS is set, for only one of them can hold")
	}
	if _, ok := networks(s.HTTPProxies); !ok {
		add("HTTPProxies", s.HTTPProxies)
	}
	if s.OIDCIssuer != "" && (!oidc.ValidURL(s.OIDCIssuer) || s.HTTPAuth != string(access.Required)) {
		add("OIDCIssuer", Redact(s.OIDCIssuer))
	}
	if (s.OIDCIssuer == "") != (s.OIDCAudience == "") {
		add("OIDCAudience", s.OIDCAudience)
	}
	if s.OIDCClient != "" && s.OIDCIssuer == "" || s.OIDCClient == "" && s.OIDCRedirect != "" {
		add("OIDCClient", s.OIDCClient)
	}
	if s.OIDCClient == "" && s.OIDCSecret != "" {
		add("OIDCSecret", redacted)
	}
	if s.OIDCClient != "" && (!oidc.ValidURL(s.OIDCRedirect) || !strings.HasSuffix(s.OIDCRedirect, "/sign-in/callback")) {
		add("OIDCRedirect", Redact(s.OIDCRedirect))
	}
	if utf8.RuneCountInString(s.OIDCPrefix) > 128 || strings.ContainsFunc(s.OIDCPrefix, unicode.IsSpace) {
		add("OIDCPrefix", s.OIDCPrefix)
	}
	if s.TracesEndpoint != "" && !validHTTP(s.TracesEndpoint) {
		add("TracesEndpoint", Redact(s.TracesEndpoint))
	}
	if s.MetricsListen != "" && !validAddress(s.MetricsListen) {
		add("MetricsListen", s.MetricsListen)
	}
	if !validNATS(s.NATSURL) {
		add("NATSURL", Redact(s.NATSURL))
	}
	if !slices.Contains([]int{0, 1, 3, 5}, s.Replicas) {
		add("Replicas", strconv.Itoa(s.Replicas))
	}
	if s.CertFiles != "" && slices.ContainsFunc(strings.Split(s.CertFiles, ","), func(path string) bool { return strings.TrimSpace(path) == "" }) {
		add("CertFiles", s.CertFiles)
	}
	if !validDatabase(s.DatabaseURL) {
		add("DatabaseURL", Redact(s.DatabaseURL))
	}
	var level slog.Level
	if level.UnmarshalText([]byte(s.LogLevel)) != nil || strings.ContainsAny(s.LogLevel, "+-") {
		add("LogLevel", s.LogLevel)
	}
	if s.LogFormat != "text" && s.LogFormat != "json" {
		add("LogFormat", s.LogFormat)
	}
}

// maxRetention is the longest time that anything is kept for, in days, but for good.
const maxRetention = 36_500

func validAddress(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 0 && n <= 65535
}

// networks reads a list of addresses and networks. One of all addresses is no network
// of anybody, so that it is refused.
func networks(list string) (all []netip.Prefix, ok bool) {
	if list == "" {
		return nil, true
	}
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		network, err := netip.ParsePrefix(one)
		if ip, isIP := netip.ParseAddr(one); isIP == nil && ip.Zone() == "" {
			network, err = netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), nil
		}
		if err != nil || network.Bits() == 0 {
			return nil, false
		}
		all = append(all, network.Masked())
	}
	return all, true
}

// TrustedProxies are the networks of the proxies before the API.
func (s Settings) TrustedProxies() []netip.Prefix {
	all, _ := networks(s.HTTPProxies) // Load has refused what is none
	return all
}

// Loopback reports whether an address "host:port" can be reached from this machine alone.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// validHTTP reports whether s is the address of an HTTP server.
func validHTTP(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

// validNATS reports whether every part of a list is an address at which the NATS client would try.
func validNATS(list string) bool {
	for server := range strings.SplitSeq(list, ",") {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		u, err := url.Parse(server)
		if err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return false
		}
	}
	return true
}

// validDatabase reports whether dsn names a database of a known kind. What else
// may be wrong with it is told by whoever opens it.
func validDatabase(dsn string) bool {
	for _, kind := range []string{"sqlite:", "postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(dsn, kind); ok {
			return strings.TrimSpace(rest) != ""
		}
	}
	return false
}

// Identity is who the site is; version is that of the program.
func (s Settings) Identity(version string) federation.Identity {
	return federation.Identity{ID: federation.SiteID(s.SiteID), Name: s.SiteName, Tier: federation.Tier(s.SiteTier), Version: version, Exchange: federation.Exchange(s.Exchange)}
}

// Heartbeat is the interval of the gossip.
func (s Settings) Heartbeat() time.Duration { return time.Duration(s.HeartbeatSeconds) * time.Second }

// Thresholds are the heartbeat ages from which a link is degraded and down.
func (s Settings) Thresholds() federation.Thresholds {
	return federation.Thresholds{Degraded: time.Duration(s.DegradedSeconds) * time.Second, Down: time.Duration(s.DownSeconds) * time.Second}
}

// Reconcile is how often the site compares with its peers.
func (s Settings) Reconcile() time.Duration { return time.Duration(s.ReconcileSeconds) * time.Second }

// Backfill is how far back the site compares.
func (s Settings) Backfill() time.Duration { return time.Duration(s.BackfillHours) * time.Hour }

// Backlog is how much may wait for the peers.
func (s Settings) Backlog() federation.BacklogBound {
	return federation.BacklogBound{Messages: s.BacklogMessages, Bytes: int64(s.BacklogMegabytes) << 20, Age: time.Duration(s.BacklogHours) * time.Hour}
}

// Stalled is how long a delivery may not move before it stands still.
func (s Settings) Stalled() time.Duration { return time.Duration(s.StalledSeconds) * time.Second }

// Retention is how long closed alerts, the history of links and sites, and notes
// about refused alerts are kept; 0 is for good.
func (s Settings) Retention() (closed, history, refused time.Duration) {
	days := func(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
	return days(s.RetentionAlertsDays), days(s.RetentionHistoryDays), days(s.RetentionRefusedDays)
}

// Session is how long a person stays signed in.
func (s Settings) Session() time.Duration { return time.Duration(s.SessionHours) * time.Hour }

// Gate is what leaves the site.
func (s Settings) Gate() federation.Gate {
	return federation.Gate{MinSeverity: federation.Severity(s.MinSeverity), Closed: !s.Enabled}
}
