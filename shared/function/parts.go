package function

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// An answer that is over what a message may have goes in parts, each a message to the inbox of
// the asker, in their order. Only who says that he takes parts gets them: anybody else is told
// with TooLarge that he may ask again for them.
const (
	// HeaderParts in a question says that its asker takes an answer in parts; in a TooLarge
	// answer, that there is one in parts.
	HeaderParts = "Aurora-Parts"
	// HeaderPart in an answer is which part it is, and of how many: "2/7".
	HeaderPart = "Aurora-Part"
)

const (
	// partSize is how large a part is, in bytes, where the server takes messages of that size.
	partSize = 512 << 10
	// maxParts bounds an answer: 64 MB.
	maxParts = 128
	// headroom is what the headers of a part may have, in bytes.
	headroom = 1 << 10
)

// give sends the answer of an endpoint: as one message, or in parts where the asker takes these
// and no signature goes with it.
func (r *Running) give(req micro.Request, id, endpoint string, answer []byte, signed func([]byte) []micro.RespondOpt) {
	most := int(r.bus.nc.MaxPayload())
	size := min(partSize, max(most-headroom, 1))
	proof := signed(answer)
	divisible := proof == nil && len(answer) <= maxParts*size
	var err error
	switch {
	case divisible && req.Headers().Get(HeaderParts) != "":
		err = giveParts(req, answer, size)
	case len(answer) <= most:
		err = req.Respond(answer, proof...)
	default:
		how := "ask for less at a time"
		if divisible {
			how = "ask for it in parts, with the header " + HeaderParts
			signed = func([]byte) []micro.RespondOpt {
				return []micro.RespondOpt{micro.WithHeaders(micro.Headers{HeaderParts: {"yes"}})}
			}
		}
		r.answerError(req, id, endpoint, fault.New(fault.TooLarge, "the answer of %d bytes is over the %d bytes that a message may have: %s", len(answer), most, how), signed)
	}
	if err != nil {
		r.log.Warn("an answer could not be sent", "endpoint", endpoint, "request_id", id, "error", err)
	}
}

// giveParts sends an answer in parts of size bytes, one at least.
func giveParts(req micro.Request, answer []byte, size int) error {
	n := max((len(answer)+size-1)/size, 1)
	for i := range n {
		part := answer[i*size : min((i+1)*size, len(answer))]
		if err := req.Respond(part, micro.WithHeaders(micro.Headers{HeaderPart: {partOf(i+1, n)}})); err != nil {
			return err
		}
	}
	return nil
}

// partOf names part i of n, counted from 1.
func partOf(i, n int) string { return strconv.Itoa(i) + "/" + strconv.Itoa(n) }

// askInParts puts a question whose answer may come in parts, and joins them. An error, and the
// answer of a function that knows of no parts, is one message.
func (b *Bus) askInParts(ctx context.Context, question *nats.Msg) (*nats.Msg, error) {
	inbox, err := b.nc.SubscribeSync(b.nc.NewInbox())
	if err != nil {
		return nil, err
	}
	defer func() { _ = inbox.Unsubscribe() }() // the connection ends it otherwise
	question.Reply = inbox.Subject
	question.Header.Set(HeaderParts, "yes")
	if err := b.nc.PublishMsg(question); err != nil {
		return nil, err
	}
	whole, err := inbox.NextMsgWithContext(ctx)
	if err != nil || whole.Header.Get(HeaderPart) == "" {
		return whole, err
	}
	_, of, _ := strings.Cut(whole.Header.Get(HeaderPart), "/")
	n, err := strconv.Atoi(of)
	if err != nil || n > maxParts || whole.Header.Get(HeaderPart) != partOf(1, n) {
		return nil, fault.New(fault.Unavailable, "the first part of the answer is missing: %q came", whole.Header.Get(HeaderPart))
	}
	parts := [][]byte{whole.Data}
	for i := 2; i <= n; i++ {
		part, err := inbox.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		if part.Header.Get(HeaderPart) != partOf(i, n) {
			return nil, fault.New(fault.Unavailable, "part %s of the answer is missing", partOf(i, n))
		}
		parts = append(parts, part.Data)
	}
	whole.Data = bytes.Join(parts, nil)
	return whole, nil
}

// largeAnswers is to which questions the last answer was too large for a message, so that
// they are put in parts at once.
type largeAnswers struct{ to sync.Map }

func (l *largeAnswers) has(subj string) bool {
	_, large := l.to.Load(subj)
	return large
}

// note keeps whether an answer is large, and reports whether it can be had in parts alone.
func (l *largeAnswers) note(subj string, answer nats.Header) bool {
	switch {
	case answer.Get(HeaderParts) != "":
		l.to.Store(subj, true)
		return true
	case answer.Get(HeaderPart) == partOf(1, 1):
		l.to.Delete(subj)
	}
	return false
}
