package federation

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// DedupHash is the identity of a local alert: the SHA-256 of its title, source
// and canonical, sorted IOCs, in hex. Each part goes in with its length before
// it, so no two different alerts run together into the same bytes.
// It never equals a [ReplayHash]: a local alert cannot take the place of a peer's.
func DedupHash(title, source string, iocs []IOC) string {
	parts := make([]string, 0, 3+2*len(iocs))
	parts = append(parts, "local", title, source)
	for _, i := range iocs {
		parts = append(parts, string(i.Type), i.Value)
	}
	return hash(parts...)
}

// ReplayHash is the identity of an alert from a peer: the SHA-256 of the
// origin's site id and its alert id, in hex.
func ReplayHash(origin SiteID, alertID string) string { return hash("peer", string(origin), alertID) }

func hash(parts ...string) string {
	h := sha256.New()
	var size [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}
