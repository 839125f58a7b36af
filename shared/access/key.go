package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// Bounds of a key.
const (
	// MaxName is how many characters its name may have.
	MaxName = 64
	// KeyPrefix begins every API key, so that a scanner of secrets knows one.
	KeyPrefix = "amk_"

	idBytes     = 8
	secretBytes = 32
)

// Key is an API key without its secret, of which nobody knows more than the hash.
type Key struct {
	ID     string  `json:"id"`
	Name   string  `json:"name"`
	Scopes []Scope `json:"scopes"`
	// CreatedBy is the principal that made it.
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	// ExpiresAt is nil where it does not expire, RevokedAt where it is not revoked.
	ExpiresAt *time.Time `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at"`
	// LastUsedAt is to the minute; nil where it was never used.
	LastUsedAt *time.Time `json:"last_used_at"`
}

// Good is nil where the key may be used at a time, else [fault.Unauthorized].
func (k Key) Good(at time.Time) error {
	switch {
	case k.RevokedAt != nil:
		return fault.New(fault.Unauthorized, "the key %s was revoked", k.ID)
	case k.ExpiresAt != nil && !at.Before(*k.ExpiresAt):
		return fault.New(fault.Unauthorized, "the key %s has expired", k.ID)
	}
	return nil
}

// Principal is who the holder of the key is.
func (k Key) Principal() Principal {
	return Principal{Kind: KindKey, ID: k.ID, Name: k.Name, Scopes: k.Scopes}
}

// NewKey is what is told of a key that is to be made.
type NewKey struct {
	Name      string     `json:"name"`
	Scopes    []Scope    `json:"scopes"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// Validate refuses a name that cannot be shown in one line, and what is no scope.
func (n NewKey) Validate() error {
	var wrong fault.Fields
	if !utf8.ValidString(n.Name) || strings.TrimSpace(n.Name) == "" || utf8.RuneCountInString(n.Name) > MaxName || strings.ContainsFunc(n.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		wrong.Add("name", n.Name, "1 to "+strconv.Itoa(MaxName)+" characters in one line, in UTF-8")
	}
	checkScopes(&wrong, n.Scopes)
	return wrong.Err("the key is not valid")
}

// MadeKey is a key as it is answered once, to who made it.
type MadeKey struct {
	Key
	Secret string `json:"secret"`
}

// Make makes a key at a time, with a new id and a new secret of 256 random bits.
// The secret is the whole text that its holder sends: amk_<id>_<random>.
func Make(n NewKey, by string, at time.Time) (MadeKey, error) {
	if n.ExpiresAt != nil && !n.ExpiresAt.After(at) {
		var wrong fault.Fields
		wrong.Add("expires_at", n.ExpiresAt.Format(time.RFC3339), "a time to come")
		return MadeKey{}, wrong.Err("the key is not valid")
	}
	id, at := randomText(idBytes), at.UTC().Truncate(time.Microsecond) // as a database keeps it
	return MadeKey{
		Key:    Key{ID: id, Name: n.Name, Scopes: Sorted(n.Scopes), CreatedBy: by, CreatedAt: at, ExpiresAt: n.ExpiresAt},
		Secret: KeyPrefix + id + "_" + randomText(secretBytes),
	}, nil
}

var keyForm = regexp.MustCompile(`^amk_([a-z2-7]{13})_[a-z2-7]{52}$`)

// IDOf is the id in the secret of a key; ok is false where text is none.
func IDOf(text string) (id string, ok bool) {
	m := keyForm.FindStringSubmatch(text)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// NewSession is a new secret that stands for one signing in.
func NewSession() string { return randomText(secretBytes) }

// Hash is what is kept and sent on of a secret: its SHA-256. A slow hash such as
// bcrypt protects what people choose, by making each guess dear. Nobody guesses
// 256 random bits, so it would only make every request dear.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

var unpadded = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// randomText is n random bytes as letters and digits that a double click selects whole.
func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it would end the program
	return unpadded.EncodeToString(b)
}
