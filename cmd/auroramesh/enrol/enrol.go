// Package enrol makes the directories from which sites run. At the primary site there
// is one directory with the authority and a directory for each site in it: its NATS
// configuration, certificates, keys and settings, ready to be taken there. What is
// enrolled, rotated or revoked is written to the primary's own, its server is told, and
// what may no longer be connected is cut. The command `auroramesh site` calls it.
package enrol

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/conf"

	"github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// The bounds of what people choose, in days.
const (
	DefaultDays = 365
	MaxDays     = 825
	// WarnDays is how long before its end a certificate is warned of.
	WarnDays = 30
)

// Place says how a site is laid out where it runs. Its fields are the flags of the
// command, by which an error names them.
type Place struct {
	// At is where the directory will be; empty: where it is made.
	At string
	// StoreDir is what JetStream keeps; empty: in the directory.
	StoreDir     string
	ClientListen string
	// LeafnodeListen is where a primary takes the other sites.
	LeafnodeListen string
	// Hosts are names and addresses of the site's server beside localhost.
	Hosts []string
	// Hubs are the addresses at which a site finds the primary's server, or the relays.
	Hubs []string
	// ClusterListen is where a relay takes the others, and Routes where those do.
	ClusterListen string
	Routes        []string
	// Region is that of a relay, empty where there is but one; of a site, that whose relays it
	// is to find. GatewayListen is where a relay takes those of other regions, and Gateways are
	// where those do.
	Region        string
	GatewayListen string
	Gateways      []nats.Gateway
	// Database is where the functions keep what they know; empty: SQLite in the directory.
	Database string
	// HTTPListen is where the gateway listens.
	HTTPListen string
	Days       int
}

func (p Place) valid() time.Duration { return time.Duration(p.Days) * 24 * time.Hour }

// check refuses what would not run, or would write more into a file than it says.
func (p Place) check() error {
	var wrong fault.Fields
	if p.Days < 1 || p.Days > MaxDays {
		wrong.Add("--days", strconv.Itoa(p.Days), "a whole number from 1 to "+strconv.Itoa(MaxDays))
	}
	for flag, addr := range map[string]string{"--listen": p.ClientListen, "--leafnode-listen": p.LeafnodeListen, "--http-listen": p.HTTPListen, "--cluster-listen": p.ClusterListen} {
		if addr != "" && !listenable(addr, 0) {
			wrong.Add(flag, addr, "HOST:PORT, the port from 0 to 65535")
		}
	}
	for _, h := range p.Hosts {
		if !hostName(h) {
			wrong.Add("--host", h, "a host name or an IP address, without a port")
		}
	}
	for flag, hosts := range map[string][]string{"--hub": p.Hubs, "--route": p.Routes} {
		for _, h := range hosts {
			if !reachable(h) {
				wrong.Add(flag, h, "HOST:PORT, the port from 1 to 65535")
			}
		}
	}
	if p.Region != "" && !federation.SiteID(p.Region).Valid() {
		wrong.Add("--region", p.Region, federation.SiteIDForm)
	}
	if p.GatewayListen != "" && !listenable(p.GatewayListen, 1) { // the others are told the port
		wrong.Add("--gateway-listen", p.GatewayListen, "HOST:PORT, the port from 1 to 65535")
	}
	for _, g := range p.Gateways {
		for _, h := range g.Hosts {
			switch {
			case p.Region == "":
				wrong.Add("--gateway", g.Region+"="+h, "nothing without --region: the relays of a region have a gateway")
			case !federation.SiteID(g.Region).Valid() || g.Region == p.Region || !reachable(h):
				wrong.Add("--gateway", g.Region+"="+h, "REGION=HOST:PORT, of another region, the port from 1 to 65535")
			}
		}
	}
	for flag, value := range map[string]string{"--at": p.At, "--store-dir": p.StoreDir, "--database-url": p.Database} {
		if strings.ContainsAny(value, "\"'`$\\\n\r\t") {
			wrong.Add(flag, value, "text without quotes, $, backslashes and line ends")
		}
	}
	return wrong.Err("the directory of the site cannot be made")
}

func listenable(addr string, least int) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= least && n <= 65535 && !strings.ContainsAny(addr, "\"\\$ \n")
}

// reachable reports whether an address is one that others can connect to.
func reachable(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && hostName(host) && listenable(addr, 1)
}

func hostName(h string) bool {
	if net.ParseIP(h) != nil {
		return true
	}
	if h == "" || len(h) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.ToLower(h), ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

// Init makes an authority and the directory of the primary site in it.
func Init(dir string, primary federation.SiteID, p Place, now time.Time) (site string, err error) {
	var wrong fault.Fields
	if !primary.Valid() {
		wrong.Add("--primary", string(primary), federation.SiteIDForm)
	}
	if err := errors.Join(wrong.Err("the authority cannot be made"), p.check()); err != nil {
		return "", err
	}
	a, err := authority.Create(dir, primary, p.Hosts, now)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	pair, err := a.ServerPair(now, p.valid())
	if err != nil {
		return "", err
	}
	site = siteDir(a, primary)
	return site, newSite(a, primary, p, pair, now)
}

// Enrol makes the directory of a site. One that was revoked gets new keys too, for whoever
// made it necessary may have the old. The primary's server is to be told: see [Apply].
func Enrol(a *authority.Authority, site federation.SiteID, p Place, now time.Time) (dir string, err error) {
	if err := p.check(); err != nil {
		return "", err
	}
	if len(p.Hubs) == 0 {
		var err error
		if p.Hubs, err = hubs(a, p.Region); err != nil {
			return "", err
		}
	}
	before := a.Enrolled()[string(site)]
	pair, err := a.Enrol(site, p.Hosts, now, p.valid())
	if err != nil {
		return "", err
	}
	if before.RevokedAt != nil {
		if err := forgetKeys(siteDir(a, site)); err != nil {
			return "", err
		}
	}
	return siteDir(a, site), errors.Join(newSite(a, site, p, pair, now), writeAccess(a, now))
}

// hubs are where the sites of a region connect: its relays, and where there are none the primary.
func hubs(a *authority.Authority, region string) ([]string, error) {
	hosts := map[string][]string{}
	for name, relay := range a.Relays() {
		hosts[name] = relay.Hosts
	}
	if len(hosts) == 0 {
		hosts[string(a.Primary())] = a.Hosts()
	}
	byRegion := map[string][]string{}
	for _, name := range sorted(hosts) {
		of, port, err := listening(siteDir(a, federation.SiteID(name)))
		if err != nil {
			return nil, err
		}
		byRegion[of] = append(byRegion[of], net.JoinHostPort(first(hosts[name], "localhost"), port))
	}
	regions := sorted(byRegion)
	if region == "" && len(regions) == 1 {
		region = regions[0]
	}
	if len(byRegion[region]) == 0 {
		var wrong fault.Fields
		wrong.Add("--region", region, "one that the relays have: "+cmp.Or(strings.Join(regions, ", "), "none"))
		return nil, wrong.Err("it is not known where the site connects")
	}
	return byRegion[region], nil
}

// listening is the region of the server with this directory, empty where it is of none, and
// the port at which it takes the sites, as its site.conf has them: people may change it there.
func listening(dir string) (region, port string, err error) {
	path := filepath.Join(dir, nats.SiteFile)
	settings, err := conf.ParseFile(path)
	if err != nil {
		return "", "", fmt.Errorf("looking for where sites connect: %w", err)
	}
	region, _ = settings["AURORA_REGION"].(string)
	listen, _ := settings["AURORA_LEAFNODE_LISTEN"].(string)
	if !listenable(listen, 1) { // -1 is any free port
		return "", "", fault.New(fault.Invalid, "%s has no port where sites connect (AURORA_LEAFNODE_LISTEN: %q): name it with --hub HOST:PORT", path, listen)
	}
	_, port, _ = net.SplitHostPort(listen)
	return region, port, nil
}

// Relay makes the directory of a relay. From the first on the primary is a leafnode of
// the relays as every other site, so it is enrolled as they are.
func Relay(a *authority.Authority, name string, p Place, now time.Time) (dir string, err error) {
	if err := p.check(); err != nil {
		return "", err
	}
	pair, err := a.RelayPair(name, p.Hosts, now, p.valid())
	if err != nil {
		return "", err
	}
	dir = filepath.Join(a.Dir(), name)
	return dir, errors.Join(newRelay(a, name, dir, p, pair), writeAccess(a, now))
}

// Rotate gives a site, the primary's server or a relay a new certificate. What held
// before holds for the grace; that of a server until it expires.
func Rotate(a *authority.Authority, site federation.SiteID, days int, grace time.Duration, now time.Time) (files []string, err error) {
	if err := (Place{Days: days}).check(); err != nil {
		return nil, err
	}
	valid := time.Duration(days) * 24 * time.Hour
	var pair authority.Pair
	switch relay, isRelay := a.Relays()[string(site)]; {
	case isRelay:
		pair, err = a.RelayPair(string(site), relay.Hosts, now, valid)
	case isHub(a, site):
		pair, err = a.ServerPair(now, valid)
	default:
		pair, err = a.Rotate(site, now, valid, grace)
	}
	if err != nil {
		return nil, err
	}
	files, err = writePair(siteDir(a, site), certName(a, site), pair)
	return files, errors.Join(err, writeAccess(a, now))
}

// Revoke takes back every certificate of a site. It is cut by [Apply].
func Revoke(a *authority.Authority, site federation.SiteID, now time.Time) error {
	return errors.Join(a.Revoke(site, now), writeAccess(a, now))
}

// Status is how a site's certificate is.
type Status struct {
	Site    federation.SiteID `json:"site_id"`
	Status  string            `json:"status"` // primary, relay, enrolled, rotating, expiring, expired or revoked
	Serial  string            `json:"serial"`
	Expires time.Time         `json:"expires_at"`
	Days    int               `json:"days_left"`
	Until   *time.Time        `json:"old_holds_until,omitempty"` // while an older certificate still holds
}

// Statuses lists the primary or the relays first, then the sites by their ids.
func Statuses(a *authority.Authority, now time.Time) []Status {
	all := []Status{}
	if certs := a.ServerCertificates(); len(certs) > 0 && isHub(a, a.Primary()) {
		all = append(all, status(a.Primary(), certs[len(certs)-1:], "primary", now))
	}
	relays := a.Relays()
	for _, name := range sorted(relays) {
		certs := relays[name].Certificates
		all = append(all, status(federation.SiteID(name), certs[len(certs)-1:], "relay", now))
	}
	enrolled := a.Enrolled()
	for _, id := range sorted(enrolled) {
		e := enrolled[id]
		word := "enrolled"
		if e.RevokedAt != nil {
			word = "revoked"
		}
		all = append(all, status(federation.SiteID(id), e.Certificates, word, now))
	}
	return all
}

func status(site federation.SiteID, certs []authority.Certificate, word string, now time.Time) Status {
	newest := certs[len(certs)-1]
	s := Status{Site: site, Status: word, Serial: newest.Serial, Expires: newest.NotAfter, Days: int(newest.NotAfter.Sub(now) / (24 * time.Hour))}
	if word == "revoked" {
		return s
	}
	for _, c := range certs[:len(certs)-1] {
		if c.HoldsAt(now) && c.Until != nil {
			s.Status, s.Until = "rotating", c.Until
		}
	}
	switch left := newest.NotAfter.Sub(now); {
	case left <= 0:
		s.Status = "expired"
	case left < WarnDays*24*time.Hour:
		s.Status = "expiring"
	}
	return s
}

func siteDir(a *authority.Authority, site federation.SiteID) string {
	return filepath.Join(a.Dir(), string(site))
}

// isHub reports whether a site's server takes the others: the primary's, where there are no relays.
func isHub(a *authority.Authority, site federation.SiteID) bool {
	return site == a.Primary() && len(a.Relays()) == 0
}

// certName is the name of a certificate and key in a directory, without their endings.
func certName(a *authority.Authority, site federation.SiteID) string {
	if _, relay := a.Relays()[string(site)]; relay || isHub(a, site) {
		return "server"
	}
	return "site"
}

func first(all []string, otherwise string) string {
	if len(all) > 0 {
		return all[0]
	}
	return otherwise
}

func sorted[V any](m map[string]V) []string {
	ids := make([]string, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// peers are the sites that are let in now.
func peers(a *authority.Authority, now time.Time) []nats.Peer {
	users := a.Users(now)
	var all []nats.Peer
	for _, id := range sorted(a.Enrolled()) {
		if site := federation.SiteID(id); len(users[site]) > 0 {
			all = append(all, nats.Peer{Site: site, Users: users[site]})
		}
	}
	return all
}

func describe(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
