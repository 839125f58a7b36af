package scenario

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// cast is who and what one telling of a story is about. All of its alerts share it.
type cast struct {
	user, colleague     string
	host, server, other string // names of assets
	hostIP, serverIP    string
	attacker, relay     string // documentation ranges
	attacker6           string
	domain, lure        string
	sha256, sha1, md5   string // of the malicious file
	tool                string // SHA-256 of the second one
	id                  string // short and random, for names
	port                int
	count               int
}

var (
	users   = []string{"a.keller", "m.rossi", "j.novak", "s.lindgren", "p.dubois", "t.okafor", "l.fischer", "e.santos"}
	places  = []string{"fin", "hr", "eng", "ops", "sales", "legal"}
	servers = []string{"srv-file", "srv-db", "srv-dc", "srv-backup", "srv-mail"}
	labels  = []string{"cdn", "update", "telemetry", "assets", "sync", "portal", "login"}
	zones   = []string{"example.com", "example.net", "example.org"}
	nets    = [][3]byte{{192, 0, 2}, {198, 51, 100}, {203, 0, 113}}
)

func newCast(r *rand.Rand) *cast {
	c := &cast{id: hexString(r, 4), port: 20000 + r.IntN(40000), count: 200 + r.IntN(3800)}
	u := r.IntN(len(users))
	c.user, c.colleague = users[u], users[(u+1+r.IntN(len(users)-1))%len(users)]
	place := pick(r, places)
	c.host = fmt.Sprintf("wks-%s-%02d", place, 1+r.IntN(60))
	c.other = fmt.Sprintf("wks-%s-%02d", place, 61+r.IntN(39))
	c.server = fmt.Sprintf("%s-%02d", pick(r, servers), 1+r.IntN(8))
	c.hostIP = fmt.Sprintf("10.%d.%d.%d", 10+r.IntN(40), r.IntN(250), 10+r.IntN(200))
	c.serverIP = fmt.Sprintf("10.1.%d.%d", r.IntN(20), 10+r.IntN(200))
	c.attacker, c.relay = publicIP(r, 0), publicIP(r, 1)
	c.attacker6 = publicIP6(r)
	c.domain = fmt.Sprintf("%s-%s.%s", pick(r, labels), hexString(r, 4), pick(r, zones))
	c.lure = fmt.Sprintf("%s-%s.test", pick(r, labels), hexString(r, 4))
	c.sha256, c.sha1, c.md5 = hexString(r, 32), hexString(r, 20), hexString(r, 16)
	c.tool = hexString(r, 32)
	return c
}

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

func hexString(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.UintN(256))
	}
	return hex.EncodeToString(b)
}

func publicIP(r *rand.Rand, half int) string {
	n := nets[r.IntN(len(nets))]
	// Two halves, so that attacker and relay are never one address.
	return netip.AddrFrom4([4]byte{n[0], n[1], n[2], byte(1 + half*127 + r.IntN(126))}).String()
}

func publicIP6(r *rand.Rand) string {
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	for i := 4; i < len(a); i++ {
		a[i] = byte(r.UintN(256))
	}
	return netip.AddrFrom16(a).String()
}

// iocs reads pairs of type and value.
func iocs(pairs ...string) []federation.IOC {
	var list []federation.IOC
	for i := 0; i+1 < len(pairs); i += 2 {
		if ioc, ok := federation.ReadIOC(pairs[i], pairs[i+1]); ok {
			list = append(list, ioc)
		}
	}
	return list
}
