package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	eventsPath  = "/api/v1/events"
	eventsRoute = http.MethodGet + " " + eventsPath

	maxEventStreams = 256              // clients at a time
	eventKeepAlive  = 15 * time.Second // a comment at least so often, for proxies that close what is silent
	eventWrite      = 10 * time.Second // a client that takes nothing for so long is dropped
	consumerIdle    = 30 * time.Second // after so long the server removes what a killed gateway left
)

// lastEventID is a position in the event stream, and whether one was given.
type lastEventID struct {
	seq   uint64
	given bool
}

func (g *gateway) registerEvents(api huma.API) {
	op := operation(http.MethodGet, eventsPath, "stream-events", tagEvents, "Follow the events",
		"Server-sent events: alerts as they are stored or changed, and transitions of links and sites. The id of an event is its place in the site's event stream. "+
			"A client that comes back with the last id that it saw gets everything since, as long as the site keeps it (24 hours); where it no longer does, an event \"gap\" says from which id to which is missing. "+
			"Without an id only new events are sent. The first block carries the present id and no event, so that even a client that saw none can come back without loss.")
	position := &huma.Schema{Type: huma.TypeInteger, Minimum: ptr(0.0)}
	op.Parameters = []*huma.Param{
		{Name: "Last-Event-ID", In: "header", Description: "The id of the last event that was seen; browsers send it by themselves. It goes before last_event_id", Schema: position},
		{Name: "last_event_id", In: "query", Description: "The same, for the first connection", Schema: position},
	}
	registry := api.OpenAPI().Components.Schemas
	event := registry.Schema(reflect.TypeFor[federation.Event](), true, "")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Events without end. The data of each is one Event as JSON; that of a gap is {\"from\",\"to\",\"reason\"}",
		Content: map[string]*huma.MediaType{"text/event-stream": {
			Schema:  &huma.Schema{Type: huma.TypeString, Description: "Blocks of id, event and data; see the schema Event for the data"},
			Example: "retry: 1000\nid: 41\n\nid: 42\nevent: alert-stored\ndata: {\"kind\":\"alert-stored\",\"at\":\"2026-01-31T12:00:00Z\",\"alert\":{…}}\n\n",
			// OpenAPI 3.1 has no word for the schema of one event of a stream.
			Extensions: map[string]any{"x-event-data": event},
		}},
	}}
	type eventsInput struct {
		Header string `header:"Last-Event-ID" hidden:"true"`
		Query  string `query:"last_event_id" hidden:"true"`
	}
	huma.Register(api, op, func(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
		last := lastEventID{}
		for _, v := range []string{in.Query, in.Header} {
			if v == "" {
				continue
			}
			seq, err := strconv.ParseUint(v, 10, 64)
			if err != nil { // strictParams has refused it
				return nil, fmt.Errorf("reading the last event id: %w", err)
			}
			last = lastEventID{seq, true}
		}
		s, err := g.openEvents(ctx, last)
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			r, w := humago.Unwrap(ctx)
			s.serve(w, r)
		}}, nil
	})
}

// eventStream is one client's way through the event stream.
type eventStream struct {
	g     *gateway
	start uint64 // the first sequence to send
	gap   *gap   // what is missing before it
}

// gap says which events a client cannot have.
type gap struct {
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Reason string `json:"reason"`
}

// openEvents finds where in the stream a client that saw last goes on.
func (g *gateway) openEvents(ctx context.Context, last lastEventID) (*eventStream, error) {
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	js, err := g.bus.JetStream().Stream(ctx, subject.EventStream(g.site.ID))
	if err != nil {
		noteCause(ctx, fmt.Errorf("opening the event stream: %w", err))
		return nil, fault.New(fault.Unavailable, "the event stream of the site does not answer")
	}
	state := js.CachedInfo().State
	s := &eventStream{g: g, start: state.LastSeq + 1}
	switch {
	case !last.given || last.seq == state.LastSeq:
	case last.seq > state.LastSeq:
		s.gap = &gap{max(state.FirstSeq, 1), state.LastSeq, "the id is not of this stream, which was made anew; these events are not sent"}
	case last.seq+1 < state.FirstSeq:
		s.start, s.gap = state.FirstSeq, &gap{last.seq + 1, state.FirstSeq - 1, expired}
	default:
		s.start = last.seq + 1
	}
	return s, nil
}

const expired = "the site no longer keeps these events"

// serve sends events until the client leaves, the gateway stops, or the stream fails.
func (s *eventStream) serve(w http.ResponseWriter, r *http.Request) {
	select {
	case s.g.streams <- struct{}{}:
		defer func() { <-s.g.streams }()
	default:
		writeProblem(w, r, fault.New(fault.Unavailable, "%d clients read the event stream, and there is room for no more", maxEventStreams))
		return
	}
	s.g.metrics.streams.Inc()
	defer s.g.metrics.streams.Dec()

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	events := make(chan jetstream.Msg)
	var failed error
	ended := make(chan struct{}) // closed when failed is set
	go func() {
		defer close(ended)
		failed = s.read(ctx, events)
	}()
	defer func() {
		cancel()
		// The reader removes its consumer. It may hang where NATS is away; the
		// client need not wait for that.
		select {
		case <-ended:
		case <-time.After(time.Second):
		}
	}()
	err := s.send(ctx, newEventWriter(w), events, ended, function.Draining(r.Context()))
	if errors.Is(err, errEnded) {
		err = failed
	}
	if err != nil && r.Context().Err() == nil {
		s.g.log.InfoContext(ctx, "an event stream ended", "error", err, "request_id", function.RequestID(ctx))
	}
}

// errEnded says that the reader ended, which knows why.
var errEnded = errors.New("the reader of the event stream ended")

// send writes what read finds, and a comment where it finds nothing for long.
func (s *eventStream) send(ctx context.Context, out *eventWriter, events <-chan jetstream.Msg, ended, draining <-chan struct{}) error {
	if err := out.write("retry: 1000\nid: %d\n\n", s.start-1); err != nil {
		return err
	}
	if s.gap != nil {
		if err := out.gap(*s.gap); err != nil {
			return err
		}
	}
	next := s.start
	quiet := time.NewTicker(eventKeepAlive)
	defer quiet.Stop()
	for {
		select {
		case m := <-events:
			meta, err := m.Metadata()
			if err != nil {
				return fmt.Errorf("reading the place of an event: %w", err)
			}
			seq := meta.Sequence.Stream
			if seq > next { // the site dropped them while the client was slow
				if err := out.gap(gap{next, seq - 1, expired}); err != nil {
					return err
				}
			}
			next = seq + 1
			kind := m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:]
			if err := s.tell(ctx, out, seq, federation.EventKind(kind), m.Data()); err != nil {
				return err
			}
			quiet.Reset(eventKeepAlive)
		case <-quiet.C:
			if err := out.write(": nothing new\n\n"); err != nil {
				return err
			}
		case <-ended:
			return errEnded
		case <-draining:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// tell writes what a message of the stream says: an event, or one for each of several
// alerts. The last of these alone carries the id, so that a client that was cut off
// before it is told of all of them again.
func (s *eventStream) tell(ctx context.Context, out *eventWriter, seq uint64, kind federation.EventKind, data []byte) error {
	if kind != federation.AlertsStored {
		return out.event("id: "+strconv.FormatUint(seq, 10)+"\n", kind, data)
	}
	var together federation.StoredTogether
	if err := json.Unmarshal(data, &together); err != nil {
		return fmt.Errorf("reading an event: %w", err)
	}
	for ids := together.IDs; len(ids) > 0; {
		found, err := put(ctx, s.g, ask.GetAlerts, ask.AlertsByID{IDs: ids})
		if err != nil {
			return fmt.Errorf("reading the alerts of an event: %w", err)
		}
		ids = ids[min(max(found.Looked, 1), len(ids)):]
		for i := range found.Items {
			data, err := json.Marshal(federation.Event{Kind: federation.AlertStored, At: together.At, Alert: &found.Items[i]})
			if err != nil {
				return fmt.Errorf("encoding an event: %w", err)
			}
			if err := out.event("", federation.AlertStored, data); err != nil {
				return err
			}
		}
	}
	return out.write("id: %d\n\n", seq)
}

// read hands over the messages of the stream in order, until ctx ends or the
// stream fails, and removes its consumer from the server.
func (s *eventStream) read(ctx context.Context, events chan<- jetstream.Msg) error {
	js, name := s.g.bus.JetStream(), subject.EventStream(s.g.site.ID)
	setup, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	consumer, err := js.OrderedConsumer(setup, name, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.start,
		InactiveThreshold: consumerIdle, MaxResetAttempts: 5,
	})
	if err != nil {
		return fmt.Errorf("reading the event stream: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(64))
	if err != nil {
		return fmt.Errorf("reading the event stream: %w", err)
	}
	defer func() {
		messages.Stop()
		if info := consumer.CachedInfo(); info != nil && s.g.bus.Conn().IsConnected() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
			defer cancel()
			if err := js.DeleteConsumer(ctx, name, info.Name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				s.g.log.DebugContext(ctx, "the server will remove a consumer of events by itself", "error", err)
			}
		}
	}()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("reading the event stream: %w", err)
		}
		select {
		case events <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// eventWriter writes server-sent events, each at once.
type eventWriter struct {
	w  io.Writer
	rc *http.ResponseController
}

func newEventWriter(w http.ResponseWriter) *eventWriter {
	return &eventWriter{w, http.NewResponseController(w)}
}

// event writes an event, with its id as a line before it where it has one.
func (e *eventWriter) event(id string, kind federation.EventKind, data []byte) error {
	// A payload has no line break, being JSON that encoding/json made; one that
	// had would end the field.
	line := strings.NewReplacer("\r", " ", "\n", " ").Replace(string(data))
	return e.write("%sevent: %s\ndata: %s\n\n", id, kind, line)
}

func (e *eventWriter) gap(g gap) error {
	data, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("encoding a gap: %w", err)
	}
	return e.write("id: %d\nevent: gap\ndata: %s\n\n", g.To, data)
}

// write sends text to the client, or fails where the client takes nothing for too long.
func (e *eventWriter) write(format string, args ...any) error {
	if err := e.rc.SetWriteDeadline(time.Now().Add(eventWrite)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("bounding a write to the client: %w", err)
	}
	if _, err := fmt.Fprintf(e.w, format, args...); err != nil {
		return fmt.Errorf("writing to the client: %w", err)
	}
	if err := e.rc.Flush(); err != nil {
		return fmt.Errorf("writing to the client: %w", err)
	}
	return nil
}
