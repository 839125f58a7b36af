package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
	"strconv"
)

// MaxTogether is how many statements one signature is for at most: with more, the way
// of each up to the root would cost more than the signature that is saved.
const MaxTogether = 64

// maxPath bounds what is read of a way, whoever wrote it: that of a tree of 65,536.
const maxPath = 16

// hash is that of a leaf or a node of a tree.
type hash [sha256.Size]byte

// What is hashed for a leaf and for a node begins differently, so that neither can be
// passed off as the other (as in RFC 9162).
const (
	leafPrefix = 0
	nodePrefix = 1
)

// leafOf is the hash of the prefix of a leaf and the form in which the statement is signed.
func leafOf(s Statement) (leaf hash) {
	h := sha256.New()                                   // in two parts, for a body is large and need not be copied
	_, _ = h.Write(s.appendHead([]byte{leafPrefix}, 0)) // a hash takes whatever it is given
	_, _ = h.Write(s.Body)
	h.Sum(leaf[:0])
	return leaf
}

func nodeOf(left, right hash) hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = nodePrefix
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// Place is where a statement is among those that were signed together: they are the
// leaves of a tree of hashes (that of RFC 9162), and its root is what is signed. Path
// are the hashes that lead from the leaf up to the root.
type Place struct {
	Index, Size uint32
	Path        []hash
}

// placeHead is the length of what stands before the path in the form of text.
const placeHead = 8

// String is the place as a message carries it, in base64: index, size and path.
func (p *Place) String() string {
	b := make([]byte, 0, placeHead+sha256.Size*len(p.Path))
	b = binary.BigEndian.AppendUint32(b, p.Index)
	b = binary.BigEndian.AppendUint32(b, p.Size)
	for _, h := range p.Path {
		b = append(b, h[:]...)
	}
	return base64.RawStdEncoding.EncodeToString(b)
}

// errPlace says that a text is no place.
var errPlace = errors.New("it is no place in a tree of statements")

// ParsePlace reads what [Place.String] writes, and nothing else.
func ParsePlace(text string) (*Place, error) {
	if len(text) > base64.RawStdEncoding.EncodedLen(placeHead+maxPath*sha256.Size) {
		return nil, errPlace
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(text)
	// The decoder passes over the ends of lines.
	if err != nil || len(b) < placeHead || base64.RawStdEncoding.EncodedLen(len(b)) != len(text) || (len(b)-placeHead)%sha256.Size != 0 {
		return nil, errPlace
	}
	p := &Place{Index: binary.BigEndian.Uint32(b), Size: binary.BigEndian.Uint32(b[4:])}
	p.Path = make([]hash, 0, maxPath)
	for rest := b[placeHead:]; len(rest) > 0; rest = rest[sha256.Size:] {
		p.Path = append(p.Path, hash(rest))
	}
	if p.Index >= p.Size || len(p.Path) != pathLength(p.Index, p.Size) {
		return nil, errPlace
	}
	return p, nil
}

// pathLength is how many nodes are beside the way from a leaf up to the root.
func pathLength(index, size uint32) (n int) {
	for last := size - 1; last > 0; index, last = index/2, last/2 {
		if index < last || index%2 == 1 { // else it is the last, and goes up alone
			n++
		}
	}
	return n
}

// root is what the path leads to from a leaf.
func (p *Place) root(leaf hash) (root hash, ok bool) {
	if p.Index >= p.Size || len(p.Path) != pathLength(p.Index, p.Size) {
		return hash{}, false
	}
	at, rest := leaf, p.Path
	for index, last := p.Index, p.Size-1; last > 0; index, last = index/2, last/2 {
		switch {
		case index%2 == 1:
			at, rest = nodeOf(rest[0], at), rest[1:]
		case index < last:
			at, rest = nodeOf(at, rest[0]), rest[1:]
		}
	}
	return at, true
}

// placesOf is the place of each leaf of a tree, and its root.
func placesOf(leaves []hash) (places []*Place, root hash) {
	size := uint32(len(leaves))
	places = make([]*Place, len(leaves))
	for i := range places {
		places[i] = &Place{Index: uint32(i), Size: size, Path: make([]hash, 0, bits.Len32(size))}
	}
	for level, height := leaves, 0; ; height++ {
		for i, p := range places {
			if beside := (i >> height) ^ 1; beside < len(level) {
				p.Path = append(p.Path, level[beside])
			}
		}
		if len(level) == 1 {
			return places, level[0]
		}
		above := make([]hash, 0, (len(level)+1)/2)
		for i := 0; i < len(level); i += 2 {
			if i+1 == len(level) { // the last goes up alone
				above = append(above, level[i])
				continue
			}
			above = append(above, nodeOf(level[i], level[i+1]))
		}
		level = above
	}
}

// rootStatement is what is signed of a tree. It begins unlike a single statement.
func rootStatement(site string, size uint32, root hash) []byte {
	b := make([]byte, 0, 128)
	for _, part := range []string{"auroramesh statement 2", site, strconv.FormatUint(uint64(size), 10)} {
		b = append(append(b, part...), '\n')
	}
	return append(b, root[:]...)
}

// Proof is what shows that a statement is of a site.
type Proof struct {
	// Signature is that of the statement or, where Place is set, of the root of its tree.
	Signature []byte
	Place     *Place
}

// SignTogether gives the proof of each of several statements of this site. Up to
// [MaxTogether] of them share a signature, and each proof holds without the others.
func (i *Identity) SignTogether(said []Statement) []Proof {
	proofs := make([]Proof, 0, len(said))
	for some := range slices.Chunk(said, MaxTogether) {
		if len(some) == 1 {
			proofs = append(proofs, Proof{Signature: i.Sign(some[0])})
			continue
		}
		leaves := make([]hash, len(some))
		for n, s := range some {
			leaves[n] = leafOf(s)
		}
		places, root := placesOf(leaves)
		signature := ed25519.Sign(i.private, rootStatement(some[0].Site, places[0].Size, root))
		for _, p := range places {
			proofs = append(proofs, Proof{signature, p})
		}
	}
	return proofs
}
