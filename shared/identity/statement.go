package identity

import (
	"crypto/ed25519"
	"slices"
)

// Kind is what a statement is for.
type Kind string

// The kinds of statement.
const (
	Message  Kind = "message"  // whoever reads it: a gossip, an alert
	Question Kind = "question" // one peer asks another
	Answer   Kind = "answer"   // what that one answers
)

// Statement is what a site signs: not the body alone, but with it who says it, what
// for, and where. So nothing that was signed can be moved to another subject, be
// passed off as another site's, or answer another question.
type Statement struct {
	Kind    Kind
	Site    string // who says it
	Subject string // under which it is said, or asked
	// Regarding is, of an answer, the signature of the question; of a question, a
	// text that no other has, so that no two are answered alike.
	Regarding string
	Body      []byte
}

// append adds the one form in which a statement is signed.
func (s Statement) append(b []byte) []byte { return append(s.appendHead(b, len(s.Body)), s.Body...) }

// appendHead adds what is before the body in that form, with room behind it for so many more
// bytes. No part of it can hold a newline: kinds are constants, sites and subjects have none
// by their form, and a signature is base64.
func (s Statement) appendHead(b []byte, room int) []byte {
	b = slices.Grow(b, 64+len(s.Site)+len(s.Subject)+len(s.Regarding)+room)
	for _, part := range []string{"auroramesh statement 1", string(s.Kind), s.Site, s.Subject, s.Regarding} {
		b = append(append(b, part...), '\n')
	}
	return b
}

// Sign is the signature of a statement of this site.
func (i *Identity) Sign(s Statement) []byte { return ed25519.Sign(i.private, s.append(nil)) }
