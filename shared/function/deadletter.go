package function

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// The headers of a dead letter.
const (
	HeaderReason   = "Aurora-Reason"   // why it was given up
	HeaderCode     = "Aurora-Code"     // the code of that error
	HeaderTrigger  = "Aurora-Trigger"  // the trigger that gave it up
	HeaderSource   = "Aurora-Source"   // site/stream/consumer that it came from
	HeaderSubject  = "Aurora-Subject"  // its original subject
	HeaderSequence = "Aurora-Sequence" // its sequence in that stream
)

// ensureDeadLetters creates the stream for what a consumer cannot handle.
func (r *Running) ensureDeadLetters(ctx context.Context) error {
	return r.provision(ctx, stream.DeadLetters(r.bus.site.ID))
}

// bury puts a message, with the reason, among the dead letters and ends its
// delivery. Until the dead letter is stored the message stays where it was.
func (r *Running) bury(m *meter, o options, s Source, msg *delivery, reason error) {
	ctx, cancel := context.WithTimeout(r.base, 5*time.Second)
	defer cancel()
	letter := &nats.Msg{Subject: subject.DeadLetter(r.bus.site.ID, r.fn.Name), Data: msg.msg.Data, Header: nats.Header{}}
	letter.Header.Set(HeaderReason, oneLine(reason.Error()))
	letter.Header.Set(HeaderCode, string(fault.Of(reason).Code))
	letter.Header.Set(HeaderTrigger, m.trigger)
	letter.Header.Set(HeaderSource, s.String())
	letter.Header.Set(HeaderSubject, msg.msg.Subject)
	for _, h := range append([]string{HeaderOrigin, HeaderSigned}, proofHeaders...) { // a retry asks again whose it is
		if v := msg.msg.Header.Get(h); v != "" {
			letter.Header.Set(h, v)
		}
	}
	id := uuid.NewString() // what no stream has sent has no place there
	if msg.streamed() {
		letter.Header.Set(HeaderSequence, fmt.Sprint(msg.meta.Sequence.Stream))
		id = fmt.Sprintf("%s/%d/%d", s, msg.meta.Sequence.Stream, msg.meta.Timestamp.UnixNano())
	}
	if _, err := r.bus.js.PublishMsg(ctx, letter, jetstream.WithMsgID(id)); err != nil {
		if errors.Is(err, jetstream.ErrNoStreamResponse) { // it may have been deleted
			err = errors.Join(err, r.ensureDeadLetters(ctx))
		}
		r.log.Error("a dead letter could not be stored; its message will come again", "source", s.String(), "error", err)
		retry(r, []*delivery{msg})
		return
	}
	if unproved := (*identity.Refusal)(nil); o.buried != nil && !errors.As(reason, &unproved) {
		origin := proofOf(s.Site, messageOf(msg.msg)).Site
		ctx := context.WithValue(context.WithValue(ctx, sourceKey{}, s), originKey{}, origin)
		if err := o.buried(ctx, msg.msg.Data, reason); err != nil {
			r.log.Error("a dead letter could not be noted; its message will come again", "source", s.String(), "error", err)
			retry(r, []*delivery{msg})
			return
		}
	}
	m.metrics.dead.WithLabelValues(m.function, m.trigger).Inc()
	r.log.Warn("a message was given up and put among the dead letters", "source", s.String(), "subject", msg.msg.Subject, "reason", discreet(reason))
	if err := msg.term(reason.Error()); err != nil {
		r.log.Debug("a delivery could not be ended", "source", s.String(), "error", err)
	}
}

// LetterID names one dead letter of a site.
type LetterID struct {
	ID uint64 `json:"id"` // its sequence in the stream
}

// LetterIDForm says in words what an id may be.
const LetterIDForm = "a whole number from 1 on"

// ParseLetterID reads the id of a dead letter as a person writes it.
func ParseLetterID(s string) (LetterID, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return LetterID{}, badLetterID(s)
	}
	return LetterID{ID: n}, nil
}

// Validate refuses an id that no dead letter can have.
func (l LetterID) Validate() error {
	if l.ID == 0 {
		return badLetterID("0")
	}
	return nil
}

func badLetterID(s string) error {
	var wrong fault.Fields
	wrong.Add("id", s, LetterIDForm)
	return wrong.Err("the id of a dead letter is not valid")
}

// RetryEndpoint is where a function is asked to handle a dead letter of one of
// its [Consume] triggers again. The answer comes once it is handled and gone; an
// error says why it is not, and then the letter is there as it was.
func RetryEndpoint(function, trigger string) Endpoint[LetterID, struct{}] {
	return Endpoint[LetterID, struct{}]{Function: function, Name: "retry-" + trigger, Doc: "handle a dead letter again, and delete it where that succeeds"}
}

// retriable is a trigger whose messages can become dead letters.
type retriable interface {
	// retrying is the trigger that hands one of them over again.
	retrying(r *Running) Trigger
}

func (t *consumeTrigger[M]) retrying(r *Running) Trigger {
	return Reply(RetryEndpoint(r.fn.Name, t.name), func(ctx context.Context, l LetterID) (struct{}, error) {
		return struct{}{}, t.again(ctx, r, l.ID)
	}, Parallel(1), Timeout(t.timeout))
}

// again reads the letter from the stream, where its bytes are what the sender sent,
// and deletes it only after the handler is done. Two that do so at a time call the
// handler twice, as a redelivery would.
func (t *consumeTrigger[M]) again(ctx context.Context, r *Running, id uint64) error {
	letter, err := r.bus.DeadLetter(ctx, id)
	if err != nil {
		return err
	}
	if letter.Subject != subject.DeadLetter(r.bus.site.ID, r.fn.Name) || letter.Header.Get(HeaderTrigger) != t.name {
		return fault.New(fault.Conflict, "the dead letter %d is not of the trigger %s of %s", id, t.name, r.fn.Name)
	}
	source, err := parseSource(letter.Header.Get(HeaderSource))
	if err != nil {
		return fault.New(fault.Conflict, "the dead letter %d cannot be handled again: %v", id, err)
	}
	v, err := t.read(ctx, r, source, message{letter.Header.Get(HeaderSubject), letter.Header, letter.Data})
	if err != nil {
		return err
	}
	err = t.handler(context.WithValue(ctx, sourceKey{}, source), []M{v})
	if refused := (Refused)(nil); errors.As(err, &refused) {
		return fault.New(fault.Conflict, "the dead letter %d is refused: %s", id, refused[0])
	}
	if err != nil {
		return err
	}
	// What is left of the time of the handler may be too short to tell the stream.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := r.bus.DropDeadLetter(ctx, id); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	r.log.Info("a dead letter was handled", "trigger", t.name, "id", id, "source", source.String())
	return nil
}

// parseSource reads what [Source.String] writes.
func parseSource(s string) (Source, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return Source{}, fmt.Errorf("%q is no site/stream/consumer", s)
	}
	return Source{Site: federation.SiteID(parts[0]), Stream: parts[1], Consumer: parts[2]}, nil
}

// DeadLetter is the dead letter of the own site with the given id: NotFound where there is none.
func (b *Bus) DeadLetter(ctx context.Context, id uint64) (*jetstream.RawStreamMsg, error) {
	s, err := b.js.Stream(ctx, subject.DeadLetterStream(b.site.ID))
	if err != nil {
		return nil, b.letterFault(err, id)
	}
	letter, err := s.GetMsg(ctx, id)
	return letter, b.letterFault(err, id)
}

// DropDeadLetter deletes a dead letter of the own site: NotFound where there is none.
func (b *Bus) DropDeadLetter(ctx context.Context, id uint64) error {
	s, err := b.js.Stream(ctx, subject.DeadLetterStream(b.site.ID))
	if err != nil {
		return b.letterFault(err, id)
	}
	err = s.DeleteMsg(ctx, id)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		// The server gives no code to what it never had, or has no more.
		if _, missing := s.GetMsg(ctx, id); errors.Is(missing, jetstream.ErrMsgNotFound) {
			err = missing
		}
	}
	return b.letterFault(err, id)
}

// letterFault is what a failure at the stream of dead letters means to whoever asked.
func (b *Bus) letterFault(err error, id uint64) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrMsgNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return fault.New(fault.NotFound, "there is no dead letter with the id %d at %s", id, b.site.ID)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return fault.New(fault.Unavailable, "the dead letters of %s cannot be reached: %v", b.site.ID, err)
	}
	return fmt.Errorf("the dead letter %d: %w", id, err)
}
