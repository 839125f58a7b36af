package nats

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// Server is what site.conf says of one NATS server.
type Server struct {
	Site federation.SiteID
	// Name is that of the server, unique in the mesh. The leafnode of a site has its
	// site's, so that the hub's functions know who was refused.
	Name         string
	ClientListen string
	// LeafnodeListen is where a hub takes leafnodes; a leaf has Hubs instead, as host:port.
	LeafnodeListen string
	Hubs           []string
	// ClusterListen is where a relay takes the others, and Routes where those do, as host:port.
	ClusterListen string
	Routes        []string
	// Region is that of a relay which has a gateway to other regions: the name of its
	// cluster. GatewayListen is where it takes their relays, and GatewayAdvertise the
	// host:port by which those find it.
	Region           string
	GatewayListen    string
	GatewayAdvertise string
	Gateways         []Gateway
	StoreDir         string
	CAFile           string
	CertFile         string
	KeyFile          string
	// SystemNkey is the public key of who may reload the server.
	SystemNkey string
}

// Gateway is where the relays of another region take those of this one, as host:port.
type Gateway struct {
	Region string
	Hosts  []string
}

// Conf is site.conf.
func (s Server) Conf() string {
	var b strings.Builder
	b.WriteString("# Who this site is, and where its NATS server listens.\n")
	set := func(name, value, why string) {
		fmt.Fprintf(&b, "%-23s %-32s # %s\n", name+":", strconv.Quote(value), why)
	}
	set("AURORA_SERVER_NAME", s.Name, "of the leafnode too: the site's id, so that a refusal can be told")
	set("AURORA_CLIENT_LISTEN", s.ClientListen, "where the functions of this site connect")
	if s.LeafnodeListen != "" {
		set("AURORA_LEAFNODE_LISTEN", s.LeafnodeListen, "where the secondary sites connect")
	}
	list := func(name string, hosts []string, why string) {
		fmt.Fprintf(&b, "%-23s %s # %s\n", name+":", urls(hosts), why)
	}
	if len(s.Hubs) > 0 {
		list("AURORA_HUBS", s.Hubs, "the primary, or the relays: where one is gone the next is tried")
	}
	if s.ClusterListen != "" {
		set("AURORA_CLUSTER_LISTEN", s.ClusterListen, "where the other relays connect")
		list("AURORA_ROUTES", s.Routes, "where the other relays are")
		if s.Region != "" {
			set("AURORA_REGION", s.Region, "the region, the same for all relays of one cluster")
			set("AURORA_GATEWAY_LISTEN", s.GatewayListen, "where the relays of other regions connect")
			set("AURORA_GATEWAY_ADVERTISE", s.GatewayAdvertise, "by which they find that")
			fmt.Fprintf(&b, "AURORA_GATEWAYS: [ # where the relays of other regions are\n")
			for _, g := range s.Gateways {
				fmt.Fprintf(&b, "  { name: %q, urls: %s }\n", g.Region, urls(g.Hosts))
			}
			b.WriteString("]\n")
		}
	} else {
		set("AURORA_SITE", string(s.Site), "the site, and its JetStream domain")
		set("AURORA_STORE_DIR", s.StoreDir, "what JetStream keeps")
	}
	set("AURORA_CA_FILE", s.CAFile, "who has signed the certificates of the mesh")
	set("AURORA_CERT_FILE", s.CertFile, "the certificate of this site")
	set("AURORA_KEY_FILE", s.KeyFile, "its key")
	set("AURORA_SYSTEM_NKEY", s.SystemNkey, "who may reload this server")
	if s.Region != "" {
		b.WriteString(gateway)
	}
	return b.String()
}

// urls is a list of URLs, of hosts as host:port.
func urls(hosts []string) string {
	all := make([]string, len(hosts))
	for i, h := range hosts {
		all[i] = strconv.Quote("tls://" + h)
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// Peer is a site that may join as a leafnode, with the users of those of its
// certificates that hold: one user a certificate, so that each can be taken back by itself.
type Peer struct {
	Site  federation.SiteID
	Users []string
}

// Access is what sites.conf says: who may connect, and to do what.
type Access struct {
	// Own is the site whose server it is; empty at a relay.
	Own federation.SiteID
	// Nkeys are the public keys of the site's own functions.
	Nkeys []string
	Peers []Peer
}

// Conf is sites.conf, which stands within the account.
func (a Access) Conf() string {
	return "# Written by `auroramesh site`: what is changed here by hand is lost.\n" + a.users() + "\n" + a.Mappings()
}

// Mappings is the part of sites.conf that says by which names the server is acknowledged to.
func (a Access) Mappings() string {
	var b strings.Builder
	b.WriteString("# A server lets acknowledgements under its own name pass a leafnode, whatever that is\n# permitted. So here they have names that permissions bind, and under its own it takes none.\n# The last line tells `auroramesh site` whether a server goes by this very file.\nmappings: {\n")
	for _, m := range append(mappings(a.Own), [2]string{subject.Access, a.Mark()}) {
		fmt.Fprintf(&b, "  %q: %q\n", m[0], m[1])
	}
	b.WriteString("}\n")
	return b.String()
}

// Mark is to what a server that goes by this sites.conf maps [subject.Access].
func (a Access) Mark() string {
	sum := sha256.Sum256([]byte(a.users()))
	return subject.Access + "." + hex.EncodeToString(sum[:])
}

// users is the part of sites.conf that says who may connect, and to do what.
func (a Access) users() string {
	var b strings.Builder
	b.WriteString("users: [\n")
	for _, key := range a.Nkeys {
		fmt.Fprintf(&b, "  # The functions of this site.\n  { nkey: %s, allowed_connection_types: [STANDARD] }\n", key)
	}
	for _, p := range a.Peers {
		publish, subscribe := Permissions(p.Site)
		for _, user := range p.Users {
			fmt.Fprintf(&b, "  {\n    user: %q, allowed_connection_types: [LEAFNODE]\n    permissions: {\n      publish: { allow: [\n%s      ] }\n      subscribe: { allow: [\n%s      ] }\n    }\n  }\n",
				user, quoted(publish), quoted(subscribe))
		}
	}
	b.WriteString("]\n")
	return b.String()
}

func quoted(subjects []string) string {
	var b strings.Builder
	for _, s := range subjects {
		fmt.Fprintf(&b, "        %q\n", s)
	}
	return b.String()
}

const anySite = federation.SiteID("*")

// Permissions are what the leafnode of a site may send and what it may receive. They
// are the same whoever else is in the mesh, so that nothing changes for a site when
// another joins.
func Permissions(site federation.SiteID) (publish, subscribe []string) {
	own := subject.AlertStream(site)
	publish = []string{
		subject.Health(site), subject.Echo(anySite), openEnded(subject.Reconcile(anySite, site, "*")),
		"$SRV.>", subject.Inbox(anySite) + ".>", pullable,
	}
	for _, lane := range subject.AlertConsumers(site) { // only an origin's alert stream has consumers of this name
		publish = append(publish,
			subject.ConsumerInfo(anySite, "*", lane.Consumer), subject.ConsumerNext(anySite, "*", lane.Consumer),
			subject.PeerAcksOf("*", lane.Consumer))
	}
	subscribe = []string{
		subject.AllHealth, subject.AllRefused, subject.Echo(site), openEnded(subject.Reconcile(site, anySite, "*")),
		"$SRV.>", subject.Inbox(site) + ".>",
		subject.ConsumerInfo(site, own, "*"), subject.ConsumerNext(site, own, "*"), subject.PeerAcksOf(own, "*"),
	}
	return publish, subscribe
}

// openEnded is a subject whose last wildcards are one for all that follows. A server does
// not see that a permission which ends in "*" meets a subscription that is wider at
// another place, and would tell the leafnode that nobody listens.
func openEnded(subj string) string {
	short := subj
	for strings.HasSuffix(short, ".*") {
		short = strings.TrimSuffix(short, ".*")
	}
	if short == subj {
		return subj
	}
	return short + ".>"
}

// pullable is a subject of the JetStream API at which nobody answers. A server sees by
// it that a leafnode may ask some of what the JetStream of another site listens to,
// which it does not see by a permission with a "*" before its end.
const pullable = "$JS.*.API.CONSUMER.NONE"

// mappings are those of the account at every server of a site: from, to.
func mappings(site federation.SiteID) [][2]string {
	forged := [2]string{subject.RawAcks, subject.ForgedAck}
	if site == "" {
		return [][2]string{forged}
	}
	home, homeTo := subject.OwnAcks(site)
	peers, peersTo := subject.PeerAcks(site)
	return [][2]string{
		{home, homeTo}, {peers, peersTo}, forged,
		{subject.AckProbe(site), "$SYS.REQ.USER.INFO"}, // which every server answers
	}
}
