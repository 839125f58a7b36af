package apiclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// EventGap is the kind of event that stands for events which the site no longer
// has, so that they cannot be sent.
const EventGap federation.EventKind = "gap"

// Events calls fn for what happens at the site, in order, until ctx ends or fn
// returns an error, which is then returned. With the id of an event in lastID it
// begins with the next one; with none it begins with what happens from now on.
//
// A stream that breaks is opened again after the last event that fn was given,
// so nothing is missed, for as long as ctx lasts. Only the first opening has a
// limit, [Attempts].
func (c *Client) Events(ctx context.Context, lastID string, fn func(id string, e federation.Event) error) error {
	s := stream{client: c, lastID: lastID, fn: fn, pause: c.pause}
	opened := false
	for attempt := 1; ; attempt++ {
		failed := s.follow(ctx)
		if s.done != nil {
			return s.done
		}
		if failed.connected {
			opened, attempt = true, 1
		}
		retrying := *c
		retrying.pause = s.pause
		if opened {
			retrying.attempts = 0
		}
		if err := retrying.rest(ctx, attempt, failed); err != nil {
			return fmt.Errorf("following events: %w", err)
		}
	}
}

// stream is one caller's view of the site's events, across connections.
type stream struct {
	client *Client
	lastID string
	fn     func(string, federation.Event) error
	pause  backoff
	done   error // what fn returned
}

// follow reads one connection to its end.
func (s *stream) follow(ctx context.Context) *failure {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A dead peer sends no end of stream: silence ends it. The server's comments keep it alive.
	silent := fault.New(fault.Timeout, "%s sent nothing for %s", s.client.Base(), s.client.silence)
	alive := time.AfterFunc(s.client.silence, func() { cancel(silent) })
	defer alive.Stop()

	req, err := s.client.request(ctx, http.MethodGet, "/api/v1/events", nil, nil)
	if err != nil {
		return &failure{err: err}
	}
	req.Header.Set("Accept", "text/event-stream, application/problem+json")
	req.Header.Set("Cache-Control", "no-cache")
	if s.lastID != "" {
		req.Header.Set("Last-Event-ID", s.lastID)
	}
	resp, err := s.client.http.Do(req)
	if err != nil {
		return s.lost(ctx, err, silent)
	}
	defer resp.Body.Close()
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); resp.StatusCode != http.StatusOK || kind != "text/event-stream" {
		data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return s.client.unreachable(err)
		}
		return s.client.problem(resp, data)
	}
	frames := newFrameReader(watched{resp.Body, func() { alive.Reset(s.client.silence) }})
	frames.lastID = s.lastID
	for {
		f, err := frames.next()
		if frames.retry > 0 {
			s.pause.first = min(frames.retry, s.pause.limit)
		}
		if err != nil {
			s.lastID = frames.lastID // a block without an event may have moved it
			failed := s.lost(ctx, err, silent)
			failed.again, failed.connected = true, true
			return failed
		}
		if s.done = s.deliver(f); s.done != nil {
			return nil
		}
	}
}

// lost is the failure of a connection that gave err, or went silent.
func (s *stream) lost(ctx context.Context, err error, silent *fault.Error) *failure {
	if errors.Is(context.Cause(ctx), silent) {
		return &failure{err: silent, again: true}
	}
	return s.client.unreachable(err)
}

// deliver hands one event over. What a newer site may send besides events is passed by.
func (s *stream) deliver(f frame) error {
	var e federation.Event
	if err := json.Unmarshal([]byte(f.data), &e); err != nil {
		return fmt.Errorf("following events: %w", fault.New(fault.Unsupported, "the event %q of kind %q is not one of a site: %v", f.id, f.event, err))
	}
	if e.Kind == "" {
		e.Kind = federation.EventKind(f.event)
	}
	return s.fn(f.id, e)
}

// watched tells of every read that brought bytes.
type watched struct {
	io.Reader
	seen func()
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.seen()
	}
	return n, err
}
