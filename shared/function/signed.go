package function

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// The headers of what a site says to its peers.
const (
	HeaderKey       = "Aurora-Key"       // the public key with which it is signed
	HeaderSignature = "Aurora-Signature" // of the statement, or of the root of its tree: see [identity.Proof]
	HeaderPlace     = "Aurora-Place"     // in that tree, where it was signed together with others
	HeaderNonce     = "Aurora-Nonce"     // in a question, so that no two are alike
)

// proofHeaders are those by which it can be told, also later, whose a message is.
var proofHeaders = []string{HeaderKey, HeaderSignature, HeaderPlace}

// Keyring knows the keys of the peers.
type Keyring interface {
	// Verify is nil where the proof is that of the statement by the key, and the
	// key that of the site whose statement it is. Else it is an [identity.Refusal], or
	// a fault that time may mend. Where introduces is set, a site for which no key is
	// known yet becomes known by this one.
	Verify(ctx context.Context, key string, proof identity.Proof, s identity.Statement, introduces bool) error
	// VerifyAll is Verify for what came together: the error of each.
	VerifyAll(ctx context.Context, all []identity.Claim, introduces bool) []error
}

// Identify gives the bus the key with which the site speaks to its peers, and the
// keys of these. Either may be nil: then it can say nothing to them, or hear
// nothing. It belongs before [Start].
func (b *Bus) Identify(own *identity.Identity, peers Keyring) { b.own, b.peers = own, peers }

// Verified lets an [On] take only what the site signed that the subject names: from
// is that site. A site that speaks for the first time becomes known by its key.
func Verified(from func(subject string) federation.SiteID) Option {
	return func(o *options) { o.from = from }
}

// VerifiedOrigin lets a [Consume] take only what the site of its source signed. What
// it did not sign becomes a dead letter, of which [Buried] is not told: nothing that
// it says of itself can be believed.
func VerifiedOrigin() Option { return func(o *options) { o.origin = true } }

// verifying refuses a trigger that is to verify on a bus that cannot.
func (o options) verifying(r *Running) error {
	if (o.from != nil || o.origin) && r.bus.peers == nil {
		return fmt.Errorf("the trigger %s takes only what is signed, but the keys of the peers are not there", o.name)
	}
	return nil
}

// seal signs a message of this site, in its headers.
func (b *Bus) seal(msg *nats.Msg, kind identity.Kind, regarding string) error {
	if b.own == nil {
		return b.keyless(msg.Subject)
	}
	sign(b.own, b.site.ID, msg, kind, regarding)
	return nil
}

func (b *Bus) keyless(subj string) error {
	return fmt.Errorf("saying something under %s: this function has no key to sign it with", subj)
}

func sign(by *identity.Identity, site federation.SiteID, msg *nats.Msg, kind identity.Kind, regarding string) {
	signature := by.Sign(identity.Statement{Kind: kind, Site: string(site), Subject: msg.Subject, Regarding: regarding, Body: msg.Data})
	bear(by, msg, identity.Proof{Signature: signature})
}

// bear puts a proof into the headers of a message.
func bear(by *identity.Identity, msg *nats.Msg, p identity.Proof) {
	if msg.Header == nil {
		msg.Header = nats.Header{}
	}
	msg.Header.Set(HeaderKey, by.Key())
	msg.Header.Set(HeaderSignature, base64.RawStdEncoding.EncodeToString(p.Signature))
	if p.Place != nil {
		msg.Header.Set(HeaderPlace, p.Place.String())
	}
}

// Said is a message of site for a subject as its peers hear it, signed by the key
// given, whosever that is: for a program that speaks as a site without being one of
// its functions, such as a benchmark or a test.
func Said(by *identity.Identity, site federation.SiteID, subj string, data []byte) *nats.Msg {
	msg := &nats.Msg{Subject: subj, Data: data}
	sign(by, site, msg, identity.Message, "")
	return msg
}

// SaidTogether signs messages as [Bus.Store] does what it stores at once; see [Said].
func SaidTogether(by *identity.Identity, site federation.SiteID, msgs []*nats.Msg) {
	said := make([]identity.Statement, len(msgs))
	for i, msg := range msgs {
		said[i] = identity.Statement{Kind: identity.Message, Site: string(site), Subject: msg.Subject, Body: msg.Data}
	}
	for i, p := range by.SignTogether(said) {
		bear(by, msgs[i], p)
	}
}

// sealTogether signs those of the messages that peers read.
func (b *Bus) sealTogether(msgs []*nats.Msg) error {
	read := make([]*nats.Msg, 0, len(msgs))
	for _, msg := range msgs {
		if subject.Signed(msg.Subject) {
			read = append(read, msg)
		}
	}
	switch {
	case len(read) == 0:
		return nil
	case b.own == nil:
		return b.keyless(read[0].Subject)
	}
	SaidTogether(b.own, b.site.ID, read)
	return nil
}

// ask signs a question and returns its signature, which the answer must regard.
func (b *Bus) ask(msg *nats.Msg) (signature string, err error) {
	nonce := uuid.NewString()
	msg.Header.Set(HeaderNonce, nonce)
	if err := b.seal(msg, identity.Question, nonce); err != nil {
		return "", err
	}
	return msg.Header.Get(HeaderSignature), nil
}

// proved is nil where a statement is of the site whose it is said to be, by the headers.
func (b *Bus) proved(ctx context.Context, h nats.Header, s identity.Statement, introduces bool) error {
	if b.peers == nil {
		return fmt.Errorf("hearing %s: the keys of the peers are not there", s.Site)
	}
	return b.peers.Verify(ctx, h.Get(HeaderKey), proofIn(h), s, introduces)
}

// proofIn is the proof that a message bears. One that cannot be read proves nothing,
// but it is there.
func proofIn(h nats.Header) identity.Proof {
	nothing := identity.Proof{Signature: []byte{0}}
	signature, err := base64.RawStdEncoding.DecodeString(h.Get(HeaderSignature))
	if err != nil {
		return nothing
	}
	text := h.Get(HeaderPlace)
	if text == "" {
		return identity.Proof{Signature: signature}
	}
	place, err := identity.ParsePlace(text)
	if err != nil {
		return nothing
	}
	return identity.Proof{Signature: signature, Place: place}
}

// message is what a trigger was given, before anything of it is believed.
type message struct {
	subject string
	header  nats.Header
	data    []byte
}

// messageOf is a message as it came.
func messageOf(msg *nats.Msg) message { return message{msg.Subject, msg.Header, msg.Data} }

// said is the statement that a message is, if it is of site.
func (m message) said(site federation.SiteID) identity.Statement {
	return identity.Statement{Kind: identity.Message, Site: string(site), Subject: m.subject, Body: m.data}
}

// asked is the statement that a question is, if it is of site.
func (m message) asked(site federation.SiteID) identity.Statement {
	s := m.said(site)
	s.Kind, s.Regarding = identity.Question, m.header.Get(HeaderNonce)
	return s
}

// answering signs the answers to a question, where its endpoint wants that.
func (r *Running) answering(question message, signed bool) func(body []byte) []micro.RespondOpt {
	return func(body []byte) []micro.RespondOpt {
		if !signed {
			return nil
		}
		msg := &nats.Msg{Subject: question.subject, Data: body}
		if err := r.bus.seal(msg, identity.Answer, question.header.Get(HeaderSignature)); err != nil {
			r.log.Error("an answer is not signed", "subject", question.subject, "error", err)
			return nil
		}
		return []micro.RespondOpt{micro.WithHeaders(micro.Headers(msg.Header))}
	}
}
