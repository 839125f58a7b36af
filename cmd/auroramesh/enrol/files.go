package enrol

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/identity"
)

// The files of a site's directory that are keys. Each is for one program alone.
const (
	functionsKey = "functions.nk" // with it the functions connect to the site's server
	systemKey    = "system.nk"    // with it the site's server is reloaded
	envFile      = "site.env"
)

// forgetKeys removes the keys of a site that was revoked: somebody else may have them.
func forgetKeys(dir string) error {
	var failed []error
	for _, name := range []string{functionsKey, systemKey, identity.File} {
		if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return describe(errors.Join(failed...), "removing the keys from before the site was revoked")
}

// newSite writes the directory of a site. Keys that are there, such as the identity
// that its peers know, stay.
func newSite(a *authority.Authority, site federation.SiteID, p Place, pair authority.Pair, now time.Time) error {
	dir, hub := siteDir(a, site), isHub(a, site)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of %s: %w", site, err)
	}
	at, err := lies(p, dir)
	if err != nil {
		return err
	}
	functions, err := key(filepath.Join(dir, functionsKey))
	if err != nil {
		return err
	}
	system, err := key(filepath.Join(dir, systemKey))
	if err != nil {
		return err
	}
	if _, err := identity.Open(dir); err != nil { // with it the site signs what its peers read
		return err
	}
	ca, err := a.Cert()
	if err != nil {
		return err
	}
	name := certName(a, site)
	server := nats.Server{
		Site: site, Name: string(site), ClientListen: natsAddress(p.ClientListen), Hubs: p.Hubs,
		StoreDir: cmp.Or(p.StoreDir, filepath.Join(at, "jetstream")),
		CAFile:   filepath.Join(at, authority.CertFile), CertFile: filepath.Join(at, name+".crt"), KeyFile: filepath.Join(at, name+".key"),
		SystemNkey: system,
	}
	confName, conf, users := nats.LeafFile, nats.Leaf, nats.Access{Own: site, Nkeys: []string{functions}}
	if hub {
		confName, conf, users.Peers = nats.HubFile, nats.Hub, peers(a, now)
		server.LeafnodeListen = natsAddress(p.LeafnodeListen)
	}
	_, err = writePair(dir, name, pair)
	for _, f := range []struct {
		name, text string
	}{
		{authority.CertFile, string(ca)}, {confName, conf}, {nats.SiteFile, server.Conf()}, {nats.AccessFile, users.Conf()},
		{envFile, environment(site, site == a.Primary(), at, name, p)},
	} {
		err = errors.Join(err, authority.Write(filepath.Join(dir, f.name), []byte(f.text), 0o600))
	}
	return describe(err, "writing the directory of "+string(site))
}

// newRelay writes the directory of a relay.
func newRelay(a *authority.Authority, name, dir string, p Place, pair authority.Pair) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of %s: %w", name, err)
	}
	at, err := lies(p, dir)
	if err != nil {
		return err
	}
	system, err := key(filepath.Join(dir, systemKey))
	if err != nil {
		return err
	}
	ca, err := a.Cert()
	if err != nil {
		return err
	}
	server := nats.Server{
		Name: name, ClientListen: natsAddress(p.ClientListen), LeafnodeListen: natsAddress(p.LeafnodeListen), ClusterListen: natsAddress(p.ClusterListen), Routes: p.Routes,
		CAFile: filepath.Join(at, authority.CertFile), CertFile: filepath.Join(at, "server.crt"), KeyFile: filepath.Join(at, "server.key"), SystemNkey: system,
	}
	if p.Region != "" {
		_, port, err := net.SplitHostPort(p.GatewayListen)
		if err != nil {
			return fmt.Errorf("finding the port of the gateway: %w", err)
		}
		server.Region, server.GatewayListen, server.Gateways = p.Region, p.GatewayListen, p.Gateways
		server.GatewayAdvertise = net.JoinHostPort(first(p.Hosts, "127.0.0.1"), port)
	}
	_, err = writePair(dir, "server", pair)
	for file, text := range map[string]string{
		authority.CertFile: string(ca), nats.RelayFile: nats.Relay, nats.SiteFile: server.Conf(), envFile: "NATS_URL=" + clientURL(first(p.Hosts, "127.0.0.1"), p.ClientListen) + "\n",
	} {
		err = errors.Join(err, authority.Write(filepath.Join(dir, file), []byte(text), 0o600))
	}
	return describe(err, "writing the directory of "+name)
}

// lies is where a directory will be.
func lies(p Place, dir string) (string, error) {
	if p.At != "" {
		return p.At, nil
	}
	at, err := filepath.Abs(dir)
	return at, describe(err, "finding the directory")
}

// clientURL is where a client finds a server that listens at an address: under host,
// where that is every address of its machine.
func clientURL(host, listen string) string {
	at, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(at); err == nil && at != "" && (ip == nil || !ip.IsUnspecified()) {
		host = at
	}
	return "tls://" + net.JoinHostPort(host, port)
}

// natsAddress is an address as a NATS server reads it: there any free port is -1, and 0 its default.
func natsAddress(addr string) string {
	if host, port, err := net.SplitHostPort(addr); err == nil && port == "0" {
		return net.JoinHostPort(host, "-1")
	}
	return addr
}

// environment is the settings of the site's functions.
func environment(site federation.SiteID, primary bool, at, cert string, p Place) string {
	var b strings.Builder
	tier := federation.Secondary
	if primary {
		tier = federation.Primary
	}
	fmt.Fprintf(&b, "# The settings of %s; auroramesh config list shows all that there are.\n", site)
	for _, v := range [][2]string{
		{"FEDERATION_SITE_ID", string(site)}, {"FEDERATION_SITE_TIER", string(tier)},
		{"FEDERATION_IDENTITY_DIR", at},
		{"NATS_URL", clientURL("127.0.0.1", p.ClientListen)},
		{"NATS_CA", filepath.Join(at, authority.CertFile)}, {"NATS_NKEY", filepath.Join(at, functionsKey)},
		{"CERTIFICATE_FILES", filepath.Join(at, cert+".crt") + "," + filepath.Join(at, authority.CertFile)},
		{"DATABASE_URL", cmp.Or(p.Database, "sqlite:"+filepath.Join(at, "auroramesh.db"))},
		{"HTTP_LISTEN", p.HTTPListen},
	} {
		value := v[1]
		if strings.ContainsAny(value, " &;<>()|#~") { // check lets no quote in
			value = "'" + value + "'" // which a shell, systemd and compose all take off
		}
		fmt.Fprintf(&b, "%s=%s\n", v[0], value)
	}
	return b.String()
}

func writePair(dir, name string, pair authority.Pair) ([]string, error) {
	cert, private := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	return []string{cert, private}, errors.Join(authority.Write(private, pair.Key, 0o600), authority.Write(cert, pair.Cert, 0o600))
}

// accessOf is who may connect to a hub: the primary's server, or a relay.
func accessOf(a *authority.Authority, hub string, now time.Time) (nats.Access, error) {
	acc := nats.Access{Peers: peers(a, now)}
	if _, relay := a.Relays()[hub]; relay {
		return acc, nil
	}
	functions, err := key(filepath.Join(a.Dir(), hub, functionsKey))
	acc.Own, acc.Nkeys = federation.SiteID(hub), []string{functions}
	return acc, err
}

// writeAccess brings sites.conf up to date, of the primary or of each relay.
func writeAccess(a *authority.Authority, now time.Time) error {
	var failed []error
	for _, hub := range Hubs(a) {
		acc, err := accessOf(a, hub, now)
		if err == nil {
			err = authority.Write(filepath.Join(a.Dir(), hub, nats.AccessFile), []byte(acc.Conf()), 0o600)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// key is the public key of the nkey in a file, which is made where there is none.
func key(path string) (public string, err error) {
	seed, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		pair, err := nkeys.CreateUser()
		if err != nil {
			return "", fmt.Errorf("making a key: %w", err)
		}
		if seed, err = pair.Seed(); err != nil {
			return "", fmt.Errorf("making a key: %w", err)
		}
		if err := authority.Write(path, append(seed, '\n'), 0o600); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", fmt.Errorf("reading a key: %w", err)
	}
	pair, err := nkeys.ParseDecoratedUserNKey(seed)
	if err != nil {
		return "", fmt.Errorf("%s is no seed of an nkey: %w", path, err)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}
