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
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caarlos0/env/v11"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// Settings are the settings of one site.
type Settings struct {
	Enabled  bool   `env:"FEDERATION_ENABLED" envDefault:"true" allowed:"true or false" help:"Join the mesh. With false the site works alone: no gossip, nothing leaves, nothing is pulled."`
	SiteID   string `env:"FEDERATION_SITE_ID" envDefault:"site-a" allowed:"1 to 63 of a-z, 0-9 and '-', the first not '-'" help:"The id of this site, unique in the mesh."`
	SiteName string `env:"FEDERATION_SITE_NAME" allowed:"at most 128 characters, in UTF-8" help:"The name that people read. Default: the site id."`
	SiteTier string `env:"FEDERATION_SITE_TIER" envDefault:"secondary" allowed:"primary or secondary" help:"Whether this site is the hub of the mesh."`

	HeartbeatSeconds int    `env:"FEDERATION_HEARTBEAT_INTERVAL_SECONDS" envDefault:"15" allowed:"a whole number from 1 to 3600" help:"How often the site gossips its health, in seconds."`
	DegradedSeconds  int    `env:"FEDERATION_DEGRADED_AFTER_SECONDS" envDefault:"45" allowed:"a whole number from 1 to 86400, over the heartbeat interval" help:"The heartbeat age from which a link and a site are degraded, in seconds."`
	DownSeconds      int    `env:"FEDERATION_DOWN_AFTER_SECONDS" envDefault:"120" allowed:"a whole number from 1 to 604800, over the degraded age" help:"The heartbeat age from which a link is down and a site offline, in seconds."`
	MinSeverity      string `env:"FEDERATION_FEDERATE_MIN_SEVERITY" envDefault:"high" allowed:"critical, high, medium, low or info" help:"The lowest severity of a local alert that is shared with the peers."`

	NATSURL     string `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222" allowed:"one or more NATS URLs, separated by commas, e.g. nats://nats:4222" help:"The NATS server of this site."`
	NATSCreds   string `env:"NATS_CREDS" allowed:"the path of a credentials file" help:"The credentials with which the functions connect. Default: none."`
	DatabaseURL string `env:"DATABASE_URL" envDefault:"sqlite:data/auroramesh.db" allowed:"sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE" help:"The database of this site."`

	HTTPListen    string `env:"HTTP_LISTEN" envDefault:"127.0.0.1:8000" allowed:"HOST:PORT, the port from 0 to 65535" help:"Where the gateway serves the API."`
	MetricsListen string `env:"METRICS_LISTEN" allowed:"HOST:PORT, the port from 0 to 65535" help:"Where a process serves /metrics and /health/live beside the gateway. Default: nowhere."`
	LogLevel      string `env:"LOG_LEVEL" envDefault:"info" allowed:"debug, info, warn or error" help:"The least important lines that are logged."`
	LogFormat     string `env:"LOG_FORMAT" envDefault:"text" allowed:"text or json" help:"How log lines are written."`
}

// Load reads the settings from an environment, given as variable to value. The
// error is one fault that names every variable that is wrong.
func Load(environ map[string]string) (Settings, error) {
	var s Settings
	var wrong fault.Fields
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
	if !federation.Severity(s.MinSeverity).Valid() {
		add("MinSeverity", s.MinSeverity)
	}
	if !validAddress(s.HTTPListen) {
		add("HTTPListen", s.HTTPListen)
	}
	if s.MetricsListen != "" && !validAddress(s.MetricsListen) {
		add("MetricsListen", s.MetricsListen)
	}
	if !validNATS(s.NATSURL) {
		add("NATSURL", Redact(s.NATSURL))
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

func validAddress(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 0 && n <= 65535
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
	return federation.Identity{ID: federation.SiteID(s.SiteID), Name: s.SiteName, Tier: federation.Tier(s.SiteTier), Version: version}
}

// Heartbeat is the interval of the gossip.
func (s Settings) Heartbeat() time.Duration { return time.Duration(s.HeartbeatSeconds) * time.Second }

// Thresholds are the heartbeat ages from which a link is degraded and down.
func (s Settings) Thresholds() federation.Thresholds {
	return federation.Thresholds{Degraded: time.Duration(s.DegradedSeconds) * time.Second, Down: time.Duration(s.DownSeconds) * time.Second}
}

// Gate is what leaves the site.
func (s Settings) Gate() federation.Gate {
	return federation.Gate{MinSeverity: federation.Severity(s.MinSeverity), Closed: !s.Enabled}
}
