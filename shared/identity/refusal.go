package identity

import (
	"fmt"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// Reason is why what came in a site's name is not taken for that site's.
type Reason string

// The reasons.
const (
	Unsigned     Reason = "unsigned"      // it bears no signature
	BadSignature Reason = "bad_signature" // it is not what was signed
	WrongKey     Reason = "wrong_key"     // it is rightly signed, with a key that is not the site's
	Misdirected  Reason = "misdirected"   // it is for another site
)

// Reasons lists every reason.
func Reasons() []Reason { return []Reason{Unsigned, BadSignature, WrongKey, Misdirected} }

// Refusal is the error for what came in a site's name and is not proved to be of it.
type Refusal struct {
	Reason Reason
	Site   string
	Key    string // with which it was signed; empty where nothing proves it
}

// Error implements error.
func (r *Refusal) Error() string { return r.fault().Message }

// Unwrap is the fault that a caller sees: trying again cannot succeed.
func (r *Refusal) Unwrap() error { return r.fault() }

func (r *Refusal) fault() *fault.Error {
	what := map[Reason]string{
		Unsigned:     "is not signed",
		BadSignature: "is not what was signed",
		Misdirected:  "is for another site",
		WrongKey:     fmt.Sprintf("is signed with the key %s, which is not the one that is pinned for the site", r.Key),
	}[r.Reason]
	return fault.New(fault.Forbidden, "what came in the name of %s %s", r.Site, what)
}
