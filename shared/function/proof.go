package function

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// The headers of what a hub passes on for the site that said it, beside its proof.
const (
	HeaderOrigin = "Aurora-Origin"         // the site that said it
	HeaderSigned = "Aurora-Signed-Subject" // under what that site said it, which is what is signed
)

// Proof is by what it is known whose a message is. With it the message can be passed on,
// and everybody to whom it comes can verify that for himself.
type Proof struct {
	// Site is who said it, and Subject under what.
	Site    federation.SiteID `json:"site"`
	Subject string            `json:"subject"`
	// Headers are the key and the signature, as the message bears them: see [Signed.Kept].
	Headers map[string]string `json:"headers"`
}

// proofOf is the proof that a message bears which came from a site: of that site or,
// where it passes the message on, of another.
func proofOf(from federation.SiteID, in message) Proof {
	p := Proof{Site: from, Subject: in.subject}
	if origin := in.header.Get(HeaderOrigin); origin != "" {
		p.Site, p.Subject = federation.SiteID(origin), in.header.Get(HeaderSigned)
	}
	return p
}

// onto has a message that is passed on bear the proof.
func (p Proof) onto(msg *nats.Msg) {
	msg.Header = nats.Header{HeaderOrigin: {string(p.Site)}, HeaderSigned: {p.Subject}}
	for name, value := range p.Headers {
		msg.Header.Set(name, value)
	}
}

// Signed is what the handler of a [Consume] with [VerifiedOrigin] is given where it is to
// know whose each message is.
type Signed[M any] struct {
	Said M
	// Proof is without its headers.
	Proof Proof
	// Payload is the message as it was signed, byte for byte.
	Payload []byte
	header  nats.Header
}

// read makes a message of what came, whose proof was verified.
func (s *Signed[M]) read(p Proof, in message) (err error) {
	s.Said, err = decode[M](in.data)
	s.Proof, s.Payload, s.header = p, in.data, in.header
	return err
}

// ID is the id that the message had in its stream.
func (s Signed[M]) ID() string { return s.header.Get(nats.MsgIdHdr) }

// Kept is the proof with its headers, as it can be kept and passed on.
func (s Signed[M]) Kept() *Proof {
	kept := s.Proof
	kept.Headers = map[string]string{}
	for _, h := range proofHeaders {
		if v := s.header.Get(h); v != "" {
			kept.Headers[h] = v
		}
	}
	return &kept
}

// proved gives the proof of a message that came from a site, once it is verified. What
// another site said is taken only in the form in which a hub passes it on to this one.
// What comes back to the site that said it is not verified, for it has that already.
func (r *Running) proved(ctx context.Context, from federation.SiteID, in message) (Proof, error) {
	p := proofOf(from, in)
	own := r.bus.site.ID
	misdirected := &identity.Refusal{Reason: identity.Misdirected, Site: string(p.Site)}
	switch {
	case p.Site == from:
	case !subject.Passed(in.subject, p.Subject, p.Site, own):
		return p, misdirected
	case p.Site == own:
		return p, nil
	}
	said := in.said(p.Site)
	said.Subject = p.Subject
	if err := r.bus.proved(ctx, in.header, said, false); err != nil {
		return p, err
	}
	if to := subject.AlertFor(p.Subject); to != "" && to != own {
		return p, misdirected
	}
	return p, nil
}
