// Package deadletters is the function that looks after the messages that others
// gave up: it lists and shows them, hands one to its function again, and deletes
// one. It keeps nothing itself; the letters are in the site's own stream, and a
// retry is the work of the function that gave the letter up, which deletes it once
// it is handled.
package deadletters

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/stream"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// retryTimeout leaves the function the ten seconds that a handler has by default.
const retryTimeout = 12 * time.Second

// maxText is how much of a payload is shown, in bytes. As JSON a byte takes at
// most six, so the answer stays under the megabyte that a NATS message may have.
const maxText = 128 << 10

// New is the function for one site.
func New(bus *function.Bus) function.Function {
	d := desk{bus}
	return function.Function{
		Name:        "deadletters",
		Description: "Looks after the messages that functions gave up: lists, shows, retries and drops them.",
		Triggers: []function.Trigger{
			function.Reply(ask.ListDeadLetters, d.list),
			function.Reply(ask.GetDeadLetter, d.get),
			function.Reply(ask.RetryDeadLetter, d.retry, function.Timeout(retryTimeout)),
			function.Reply(ask.DropDeadLetter, d.drop),
		},
		Streams: []jetstream.StreamConfig{stream.DeadLetters(bus.Site().ID)},
	}
}

type desk struct{ bus *function.Bus }

func (d desk) get(ctx context.Context, l function.LetterID) (ask.DeadLetterText, error) {
	m, err := d.bus.DeadLetter(ctx, l.ID)
	if err != nil {
		return ask.DeadLetterText{}, err
	}
	text := ask.DeadLetterText{DeadLetter: d.letter(m.Subject, m.Header, m.Sequence, m.Time, len(m.Data))}
	data := m.Data
	if len(data) > maxText {
		data, text.Truncated = data[:maxText], true
		// Not within a character, which would show as one that is no UTF-8.
		for cut := 1; cut < utf8.UTFMax; cut++ {
			if b := m.Data[maxText-cut:]; utf8.RuneStart(b[0]) {
				if r, n := utf8.DecodeRune(b); r != utf8.RuneError && n > cut {
					data = data[:maxText-cut]
				}
				break
			}
		}
	}
	text.Payload = strings.ToValidUTF8(string(data), "\uFFFD")
	return text, nil
}

func (d desk) drop(ctx context.Context, l function.LetterID) (ask.DeadLetter, error) {
	m, err := d.bus.DeadLetter(ctx, l.ID)
	if err != nil {
		return ask.DeadLetter{}, err
	}
	return d.letter(m.Subject, m.Header, m.Sequence, m.Time, len(m.Data)), d.bus.DropDeadLetter(ctx, l.ID)
}

func (d desk) retry(ctx context.Context, l function.LetterID) (ask.DeadLetter, error) {
	m, err := d.bus.DeadLetter(ctx, l.ID)
	if err != nil {
		return ask.DeadLetter{}, err
	}
	letter := d.letter(m.Subject, m.Header, m.Sequence, m.Time, len(m.Data))
	if letter.Trigger == "" {
		return letter, fault.New(fault.Conflict, "the dead letter %d does not say which trigger of %s gave it up", l.ID, letter.Function)
	}
	_, err = function.Ask(ctx, d.bus, d.bus.Site().ID, function.RetryEndpoint(letter.Function, letter.Trigger), l)
	return letter, err
}

// list reads the headers of one page only. A letter that goes while it does so
// leaves the page one short; the next look is right again.
func (d desk) list(ctx context.Context, p ask.Page) (ask.List[ask.DeadLetter], error) {
	p = p.WithDefaults()
	page := ask.List[ask.DeadLetter]{Items: []ask.DeadLetter{}, Skip: p.Skip, Limit: p.Limit}
	s, err := d.bus.JetStream().Stream(ctx, subject.DeadLetterStream(d.bus.Site().ID))
	if err != nil {
		return page, unreachable(err)
	}
	info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return page, unreachable(err)
	}
	page.Total = int(min(info.State.Msgs, ask.MaxSkip))
	oldest, n := span(info.State, p)
	if n == 0 {
		return page, nil
	}
	page.Items, err = d.read(ctx, s, oldest, n)
	return page, err
}

// span is where a page of the newest first begins, at its oldest letter, and how
// many letters it has: it counts down from the last one, past those that are gone.
func span(state jetstream.StreamState, p ask.Page) (oldest uint64, n int) {
	gone := state.Deleted
	slices.Sort(gone)
	skip := p.Skip
	for seq := state.LastSeq; state.Msgs > 0 && seq >= state.FirstSeq && n < p.Limit; seq-- {
		switch {
		case len(gone) > 0 && gone[len(gone)-1] == seq:
			gone = gone[:len(gone)-1]
		case skip > 0:
			skip--
		default:
			oldest = seq
			n++
		}
	}
	return oldest, n
}

// read is n letters from the given one on, newest first, without their payloads.
func (d desk) read(ctx context.Context, s jetstream.Stream, from uint64, n int) ([]ask.DeadLetter, error) {
	c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, HeadersOnly: true,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: 10 * time.Second,
	})
	if err != nil {
		return nil, unreachable(err)
	}
	defer func() { _ = s.DeleteConsumer(ctx, c.CachedInfo().Name) }() // one that stays behind ends by itself
	batch, err := c.FetchNoWait(n)
	if err != nil {
		return nil, unreachable(err)
	}
	letters := make([]ask.DeadLetter, 0, n)
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("reading the dead letters: %w", err)
		}
		size, err := strconv.Atoi(m.Headers().Get(nats.MsgSize))
		if err != nil {
			return nil, fmt.Errorf("reading the size of the dead letter %d: %w", meta.Sequence.Stream, err)
		}
		letters = append(letters, d.letter(m.Subject(), m.Headers(), meta.Sequence.Stream, meta.Timestamp, size))
	}
	if err := batch.Error(); err != nil {
		return nil, unreachable(err)
	}
	slices.Reverse(letters)
	return letters, nil
}

func (d desk) letter(subj string, h nats.Header, id uint64, at time.Time, size int) ask.DeadLetter {
	// A letter that something else wrote may lack it: then it is 0.
	sequence, _ := strconv.ParseUint(h.Get(function.HeaderSequence), 10, 64)
	return ask.DeadLetter{
		ID: id, Function: strings.TrimPrefix(subj, subject.DeadLetter(d.bus.Site().ID, "")), Trigger: h.Get(function.HeaderTrigger),
		Reason: h.Get(function.HeaderReason), Code: h.Get(function.HeaderCode),
		Source: h.Get(function.HeaderSource), Subject: h.Get(function.HeaderSubject), Sequence: sequence, At: at.UTC(), Size: size,
	}
}

// unreachable is a failure of the stream, which time may mend.
func unreachable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.New(fault.Unavailable, "the dead letters cannot be read: %v", err)
}
