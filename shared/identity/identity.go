// Package identity is who a site is to its peers: an ed25519 key pair, in the form
// of an nkey. With it a site signs what its peers read (see [Statement]), so that
// nobody on the way, the hub among them, can put words into its mouth.
//
// The key is a file in a directory that all processes of the site share. The first
// that starts makes it; it never leaves the site, and no message, log line or
// answer holds it. What others know of it is the public key.
package identity

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// File is the name of the file that holds the key, within its directory.
const File = "identity.nk"

// KeyForm says in words what a public key may be.
const KeyForm = "a public nkey of a site: U and 55 of A-Z and 2-7"

// ValidKey reports whether s is the public key of a site as it is written.
func ValidKey(s string) bool { return len(s) == 56 && nkeys.IsValidPublicUserKey(s) }

// Identity is the key pair of a site. It is safe for use by many goroutines.
type Identity struct {
	private ed25519.PrivateKey
	key     string
}

// Key is the public key.
func (i *Identity) Key() string { return i.key }

// String is the public key too: an identity that is printed by mistake tells nothing.
func (i *Identity) String() string { return i.key }

// New makes an identity that is kept nowhere.
func New() (*Identity, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	defer clear(seed)
	return ofSeed(seed)
}

// FromSeed is the identity with the given seed of 32 bytes.
func FromSeed(seed [ed25519.SeedSize]byte) (*Identity, error) {
	private := ed25519.NewKeyFromSeed(seed[:])
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the public key is of another kind")
	}
	key, err := nkeys.Encode(nkeys.PrefixByteUser, public)
	if err != nil {
		return nil, fmt.Errorf("writing the public key: %w", err)
	}
	return &Identity{private, string(key)}, nil
}

// ofSeed is the identity with a seed as nkeys write it.
func ofSeed(text []byte) (*Identity, error) {
	kind, raw, err := nkeys.DecodeSeed(text)
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	defer clear(raw)
	if kind != nkeys.PrefixByteUser || len(raw) != ed25519.SeedSize {
		return nil, errors.New("reading the key: it is of another kind")
	}
	return FromSeed([ed25519.SeedSize]byte(raw))
}

// Open reads the identity in a directory, or makes one where there is none. Of
// several that open an empty directory at once, one makes it and all have the same.
func Open(dir string) (*Identity, error) {
	path := filepath.Join(dir, File)
	i, err := read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return i, err
	}
	if err := makeFile(dir, path); err != nil {
		return nil, fmt.Errorf("making the identity of the site in %s: %w", dir, err)
	}
	return read(path)
}

// read reads the file of an identity.
func read(path string) (*Identity, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading the identity of the site: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return nil, refused(path, fmt.Sprintf("mode %04o", mode), "one that only the site's own user and group may read: chmod 600")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the identity of the site: %w", err)
	}
	defer clear(text)
	i, err := ofSeed(bytes.TrimSpace(text))
	if err != nil { // the value is a secret, whatever it is
		return nil, refused(path, "", "the seed of an nkey of a user, as nk -gen user writes it")
	}
	return i, nil
}

func refused(path, value, allowed string) error {
	var wrong fault.Fields
	wrong.Add(path, value, allowed)
	return wrong.Err("the identity of the site cannot be used")
}

// makeFile writes a new key, whole or not at all, unless another is there by then.
func makeFile(dir, path string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		return err
	}
	seed, err := pair.Seed()
	if err != nil {
		return err
	}
	defer clear(seed)
	f, err := os.CreateTemp(dir, File+".*") // of mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, written := f.Write(append(seed, '\n'))
	if err := errors.Join(written, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
