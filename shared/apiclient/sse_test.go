package apiclient

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func frames(r io.Reader) (got []frame, f *frameReader, err error) {
	f = newFrameReader(r)
	for {
		next, err := f.next()
		if err != nil {
			return got, f, err
		}
		got = append(got, next)
	}
}

func TestTheEventStreamFormat(t *testing.T) {
	tests := []struct {
		name, in string
		want     []frame
		lastID   string
		retry    time.Duration
	}{
		{"an event with all its fields", "event: a\nid: 1\ndata: x\n\n", []frame{{"1", "a", "x"}}, "1", 0},
		{"data of many lines", "data: x\ndata:\ndata:  y\n\n", []frame{{"", "", "x\n\n y"}}, "", 0},
		{"a comment and an unknown field", ": hi\nfoo: bar\ndata: x\n\n", []frame{{"", "", "x"}}, "", 0},
		{"a field without a colon", "data\n\n", []frame{{"", "", ""}}, "", 0},
		{"the three ends of a line", "data: a\r\n\r\ndata: b\r\rdata: c\n\n", []frame{{"", "", "a"}, {"", "", "b"}, {"", "", "c"}}, "", 0},
		{"an id that holds for what follows", "id: 1\ndata: a\n\ndata: b\n\n", []frame{{"1", "", "a"}, {"1", "", "b"}}, "1", 0},
		{"an id that is taken back", "id: 1\ndata: a\n\nid\ndata: b\n\n", []frame{{"1", "", "a"}, {"", "", "b"}}, "", 0},
		{"an id without an event", "id: 9\n\n", nil, "9", 0},
		{"an id with a NUL", "id: a\x00\ndata: x\n\n", []frame{{"", "", "x"}}, "", 0},
		{"an event name without data", "event: a\n\ndata: x\n\n", []frame{{"", "", "x"}}, "", 0},
		{"a wish for the pause", "retry: 1500\n\nretry: x\n\n", nil, "", 1500 * time.Millisecond},
		{"a byte order mark", "\uFEFFdata: x\n\n", []frame{{"", "", "x"}}, "", 0},
		{"an event that the end cuts off", "id: 1\ndata: a\n\nid: 2\ndata: b\n", []frame{{"1", "", "a"}}, "1", 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, f, err := frames(strings.NewReader(tc.in))
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(frame{})); diff != "" {
				t.Error(diff)
			}
			if f.lastID != tc.lastID || f.retry != tc.retry {
				t.Errorf("id %q, retry %s", f.lastID, f.retry)
			}
		})
	}
}

// endless is a line without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestAnEventWithoutAnEndIsRefused(t *testing.T) {
	if _, _, err := frames(endless{}); !errors.Is(err, errFrameTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "x": 0, "99999999": time.Hour,
		"Sun, 01 Mar 2026 12:00:09 GMT": 9 * time.Second, "Sun, 01 Mar 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(in, now); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func FuzzEventStream(f *testing.F) {
	for _, s := range []string{"event: a\nid: 1\ndata: x\n\n", "data: x\r\rretry: 9\n\n", ":\n\n", "\uFEFFid\x00: \n\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		whole, _, err := frames(strings.NewReader(s))
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		// How the bytes are cut into reads must not matter.
		cut, _, _ := frames(&oneByte{s})
		if diff := cmp.Diff(whole, cut, cmp.AllowUnexported(frame{})); diff != "" {
			t.Fatal(diff)
		}
		for _, fr := range whole {
			if strings.ContainsAny(fr.id+fr.event, "\r\n") || strings.Contains(fr.data, "\r") {
				t.Fatalf("a line end within a field: %q", fr)
			}
		}
	})
}

type oneByte struct{ s string }

func (o *oneByte) Read(p []byte) (int, error) {
	if o.s == "" {
		return 0, io.EOF
	}
	n := copy(p[:1], o.s)
	o.s = o.s[n:]
	return n, nil
}
