package function_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

type long struct {
	Text string `json:"text"`
}

// longText is an endpoint whose answer is as long as it is asked to be, in bytes.
var longText = function.Endpoint[number, long]{Function: "long", Name: "text"}

// longTexts answers [longText] and counts how often it finds an answer.
func longTexts(calls *atomic.Int64, opts ...function.Option) function.Function {
	text := func(_ context.Context, n number) (long, error) {
		calls.Add(1)
		if n.N == 404 {
			return long{}, fault.New(fault.NotFound, "there is no such text")
		}
		return long{strings.Repeat("abcdefg", n.N/7)}, nil
	}
	return function.Function{Name: "long", Description: "Writes long texts.", Triggers: []function.Trigger{function.Reply(longText, text, opts...)}}
}

const overAMessage = 7 << 20 // bytes, seven times what a message may have

func TestAnAnswerThatIsOverAMessageComesInParts(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	var calls atomic.Int64
	r, _ := start(t, s, longTexts(&calls))
	asker := natstest.Bus(t, s, site, "asker")
	for _, c := range []struct {
		what  string
		bytes int
		calls int64
	}{
		{"a short one", 7, 1},
		{"one that is too large, so that it is asked for twice", overAMessage, 2},
		{"the same, now at once in parts", overAMessage, 1},
		{"a short one in one part", 7, 1},
		{"a short one as ever", 7, 1},
	} {
		calls.Store(0)
		got, err := function.Ask(ctx(t), asker, site, longText, number{c.bytes})
		if err != nil || got.Text != strings.Repeat("abcdefg", c.bytes/7) || calls.Load() != c.calls {
			t.Fatalf("%s: %d bytes, %v after %d calls of the handler", c.what, len(got.Text), err, calls.Load())
		}
	}
	if _, err := function.Ask(ctx(t), asker, site, longText, number{overAMessage}); err != nil { // so that it asks for parts
		t.Fatal(err)
	}
	if _, err := function.Ask(ctx(t), asker, site, longText, number{404}); !fault.Is(err, fault.NotFound) {
		t.Errorf("an error: %v", err)
	}
	stop(t, r)
	if _, err := function.Ask(ctx(t), asker, site, longText, number{7}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("where nobody answers: %v", err)
	}
}

func TestPartsAreGivenAgain(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	var calls atomic.Int64
	start(t, s, longTexts(&calls, function.Again(time.Hour), function.Parallel(1)))
	asker := natstest.Bus(t, s, site, "asker")
	for range 3 {
		got, err := function.Ask(ctx(t), asker, site, longText, number{overAMessage})
		if err != nil || len(got.Text) != overAMessage {
			t.Fatalf("%d bytes, %v", len(got.Text), err)
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("the answer was found %d times", n)
	}
}

func TestWhoTakesNoPartsIsToldThatThereAreSome(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	start(t, s, longTexts(new(atomic.Int64), function.Again(time.Hour)))
	nc := natstest.Bus(t, s, site, "asker").Conn()
	for _, what := range []string{"the first", "what is given again"} {
		answer, err := nc.Request(subject.Function(site, "long", "text"), []byte(`{"n":7340032}`), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if code := answer.Header.Get(micro.ErrorCodeHeader); code != string(fault.TooLarge) || answer.Header.Get(function.HeaderParts) == "" {
			t.Errorf("%s is answered with %v", what, answer.Header)
		}
	}
}

// An answer that is signed is one message: a signature is of the whole.
func TestASignedAnswerComesInNoParts(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	signed := longText
	signed.Subject = func(federation.SiteID) string { return "aurora.federation.reconcile.site-a.site-a.text" }
	signed.Asker = func(string) federation.SiteID { return site }
	start(t, s, function.Function{Name: "long", Description: "Writes long texts.", Triggers: []function.Trigger{
		function.Reply(signed, func(_ context.Context, n number) (long, error) { return long{strings.Repeat("a", n.N)}, nil }),
	}})
	asker := natstest.Bus(t, s, site, "asker")
	if got, err := function.Ask(ctx(t), asker, site, signed, number{7}); err != nil || got.Text != "aaaaaaa" {
		t.Errorf("a short one: %q, %v", got.Text, err)
	}
	if _, err := function.Ask(ctx(t), asker, site, signed, number{overAMessage}); !fault.Is(err, fault.TooLarge) {
		t.Errorf("a long one: %v", err)
	}
}

// Who answers that there are parts, and gives none, is not asked for ever.
func TestAnAnswerInPartsThatNeverComesIsAnError(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, site)
	nc := natstest.Bus(t, s, site, "liar").Conn()
	var asked atomic.Int64
	if _, err := nc.Subscribe(subject.Function(site, "long", "text"), func(msg *nats.Msg) {
		asked.Add(1)
		answer := nats.NewMsg("")
		answer.Header = nats.Header{micro.ErrorCodeHeader: {string(fault.TooLarge)}, micro.ErrorHeader: {"too large"}, function.HeaderParts: {"yes"}}
		if err := msg.RespondMsg(answer); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	_, err := function.Ask(ctx(t), natstest.Bus(t, s, site, "asker"), site, longText, number{7})
	if n := asked.Load(); !fault.Is(err, fault.TooLarge) || n != 2 {
		t.Errorf("asked %d times: %v", n, err)
	}
}
