package identity

import (
	"crypto/ed25519"
	"errors"
	"sync"

	"github.com/nats-io/nkeys"
)

// ErrSignature says that a proof is not that of the statement by the key.
var ErrSignature = errors.New("the signature is not of this message by this key")

// Verify is nil where the proof is that of the statement by the public key.
func Verify(key string, s Statement, p Proof) error { return (*Verifier)(nil).Verify(key, s, p) }

// remembered is how many roots a [Verifier] knows at least, once it has seen so many.
const remembered = 512

// Claim is a statement with what is to prove that it is by a key.
type Claim struct {
	Key       string
	Proof     Proof
	Statement Statement
}

// Verifier verifies proofs, and remembers which roots are signed: of statements that
// were signed together the signature is verified once. It remembers nothing but what
// is proved, and says nothing of whose a key is. It is safe for use by many
// goroutines. The zero value and nil are ready, and nil remembers nothing.
type Verifier struct {
	mu sync.Mutex
	// older holds what newer held when that was full.
	newer, older map[signedRoot]bool
}

// signedRoot is a root of a tree, who says it, and a signature that is of it by a key.
type signedRoot struct {
	key       string
	site      string
	size      uint32
	root      hash
	signature [ed25519.SignatureSize]byte
}

// Verify is nil where the proof is that of the statement by the public key.
func (v *Verifier) Verify(key string, s Statement, p Proof) error {
	if len(p.Signature) != ed25519.SignatureSize {
		return ErrSignature
	}
	if p.Place == nil {
		return verify(key, s.append(nil), p.Signature)
	}
	root, ok := p.Place.root(leafOf(s))
	if !ok {
		return ErrSignature
	}
	claim := signedRoot{key, s.Site, p.Place.Size, root, [ed25519.SignatureSize]byte(p.Signature)}
	if v.knows(claim) {
		return nil
	}
	if err := verify(key, rootStatement(s.Site, p.Place.Size, root), p.Signature); err != nil {
		return err
	}
	v.remember(claim)
	return nil
}

func verify(key string, signed, signature []byte) error {
	if !ValidKey(key) {
		return ErrSignature
	}
	public, err := nkeys.FromPublicKey(key)
	if err != nil || public.Verify(signed, signature) != nil {
		return ErrSignature
	}
	return nil
}

func (v *Verifier) knows(r signedRoot) bool {
	if v == nil {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.newer[r] || v.older[r]
}

func (v *Verifier) remember(r signedRoot) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.newer == nil || len(v.newer) == remembered {
		v.newer, v.older = make(map[signedRoot]bool, remembered), v.newer
	}
	v.newer[r] = true
}
