package linkproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// Word names what is done to a line.
type Word string

// The words.
const (
	WordPass      Word = "pass"
	WordCut       Word = "cut"
	WordBlackHole Word = "blackhole"
	WordDelay     Word = "delay"
)

// modes are the words as the proxy knows them; delay passes, later.
var modes = map[Word]Mode{WordPass: Pass, WordCut: Cut, WordBlackHole: BlackHole, WordDelay: Pass}

// Bounds of an order.
const (
	MaxDelay   = time.Minute
	MaxSeconds = 2 * 3600.0
)

// Order is what is to be done to a line, and for how long.
type Order struct {
	Mode    Word    `json:"mode"`
	DelayMs float64 `json:"delay_ms,omitempty"` // one way; of delay alone
	// Seconds after which the line heals by itself, whatever has become of the one
	// who broke it; 0 leaves it so until it is healed by hand.
	Seconds float64 `json:"seconds,omitempty"`
}

// Validate refuses an order that no line can follow.
func (o Order) Validate() error {
	var wrong fault.Fields
	if _, ok := modes[o.Mode]; !ok {
		wrong.Add("mode", string(o.Mode), "pass, cut, blackhole or delay")
	}
	if most := float64(MaxDelay.Milliseconds()); !(o.DelayMs >= 0 && o.DelayMs <= most) || (o.DelayMs > 0) != (o.Mode == WordDelay) {
		wrong.Add("delay_ms", number(o.DelayMs), "a number over 0, up to "+number(most)+", and with the mode delay alone")
	}
	if !(o.Seconds >= 0 && o.Seconds <= MaxSeconds) {
		wrong.Add("seconds", number(o.Seconds), "a number from 0 to "+number(MaxSeconds)+"; 0 is until it is healed")
	}
	return wrong.Err("the line cannot be set so")
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// Line is one line, by the link that it carries, and what is done to it.
type Line struct {
	Link    string     `json:"link"`
	Mode    Word       `json:"mode"`
	DelayMs float64    `json:"delay_ms"`
	HealsAt *time.Time `json:"heals_at"` // nil: not by itself
}

// End is a site whose lines are held here, and the address of its API.
type End struct {
	Site string `json:"site"`
	API  string `json:"api"`
}

// Lines is what a control answers: its lines, by link, and the sites where it knows them.
type Lines struct {
	Lines []Line `json:"lines"`
	Sites []End  `json:"sites"`
}

// Control holds lines, and lets people and drills break and heal each by itself.
type Control struct {
	mu    sync.Mutex
	held  map[string]*held
	sites []End
}

type held struct {
	proxy *Proxy
	line  Line
	heal  *time.Timer // nil: nothing is to be healed
}

// NewControl is a control without lines.
func NewControl() *Control { return &Control{held: map[string]*held{}} }

// Add has the control hold a proxy from now on, as the line of a link.
func (c *Control) Add(link string, p *Proxy) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[link] = &held{proxy: p, line: Line{Link: link, Mode: WordPass}}
}

// Name tells the control which sites are at the ends of its lines.
func (c *Control) Name(sites []End) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sites = slices.Clone(sites)
}

// Lines lists what the control holds.
func (c *Control) Lines(context.Context) (Lines, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := Lines{Lines: []Line{}, Sites: append([]End{}, c.sites...)}
	for _, link := range slices.Sorted(maps.Keys(c.held)) {
		all.Lines = append(all.Lines, c.held[link].line)
	}
	return all, nil
}

// Set follows an order; an earlier one on the same line is over with it.
func (c *Control) Set(_ context.Context, link string, o Order) (Line, error) {
	if err := o.Validate(); err != nil {
		return Line{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h, err := c.find(link)
	if err != nil {
		return Line{}, err
	}
	h.set(o)
	if o.Seconds > 0 && o.Mode != WordPass {
		after := time.Duration(o.Seconds * float64(time.Second))
		at := time.Now().UTC().Add(after)
		var timer *time.Timer
		timer = time.AfterFunc(after, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if h.heal == timer { // else a later order has the line
				h.set(Order{Mode: WordPass})
			}
		})
		h.heal, h.line.HealsAt = timer, &at
	}
	return h.line, nil
}

func (h *held) set(o Order) {
	if h.heal != nil {
		h.heal.Stop()
	}
	h.heal, h.line = nil, Line{Link: h.line.Link, Mode: o.Mode, DelayMs: o.DelayMs}
	h.proxy.Delay(time.Duration(o.DelayMs * float64(time.Millisecond)))
	h.proxy.Set(modes[o.Mode])
}

// Narrow is [Proxy.Narrow] of the line of a link.
func (c *Control) Narrow(link string, bytesPerSecond int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, err := c.find(link)
	if err == nil {
		h.proxy.Narrow(bytesPerSecond)
	}
	return err
}

// find is what is held of the line of a link.
func (c *Control) find(link string) (*held, error) {
	if h := c.held[link]; h != nil {
		return h, nil
	}
	return nil, fault.New(fault.NotFound, "there is no line of %q here; the lines are %s", link, strings.Join(slices.Sorted(maps.Keys(c.held)), ", "))
}

// Close closes every line that the control holds.
func (c *Control) Close() error {
	c.mu.Lock()
	var failed []error
	for _, h := range c.held {
		if h.heal != nil {
			h.heal.Stop()
		}
		failed = append(failed, h.proxy.Close())
	}
	c.mu.Unlock()
	return errors.Join(failed...)
}

// linesPath is where a control answers; the link follows it.
const linesPath = "/lines"

// Handler serves the control: GET /lines, and PUT /lines/{link} with an [Order].
// It has no sign-in, so it answers on loopback, under a name of loopback, alone:
// a page in somebody's browser must not cut a line under a name of its own.
func (c *Control) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+linesPath, func(w http.ResponseWriter, r *http.Request) {
		all, err := c.Lines(r.Context())
		answer(w, all, err)
	})
	mux.HandleFunc("PUT "+linesPath+"/{link}", func(w http.ResponseWriter, r *http.Request) {
		var o Order
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&o); err != nil {
			answer(w, Line{}, fault.New(fault.Malformed, "the order cannot be read: %v", err))
			return
		}
		line, err := c.Set(r.Context(), r.PathValue("link"), o)
		answer(w, line, err)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !Loopback(r.Host) || r.Header.Get("Origin") != "" {
			answer(w, Line{}, fault.New(fault.Forbidden, "lines are set by the commands of this machine alone"))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// Loopback reports whether an address, with or without a port, is of this machine alone.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func answer[T any](w http.ResponseWriter, v T, err error) {
	w.Header().Set("Content-Type", "application/json")
	var data []byte
	if err != nil {
		f := fault.Of(err)
		data = f.JSON()
		w.WriteHeader(f.Code.HTTPStatus())
	} else if data, err = json.Marshal(v); err != nil {
		panic(err) // words, numbers and times: cannot fail
	}
	_, _ = w.Write(append(data, '\n')) //nolint:gosec // it is JSON, and says so; whoever asked has gone
}

// Serving is a control that is served over HTTP.
type Serving struct {
	URL    string
	server *http.Server
	done   chan error
}

// Serve serves a control at listen, which must be an address of loopback.
func (c *Control) Serve(listen string) (*Serving, error) {
	if !Loopback(listen) {
		var wrong fault.Fields
		wrong.Add("control", listen, "an address of loopback such as 127.0.0.1:7423: there is no sign-in")
		return nil, wrong.Err("the control cannot be served there")
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("listening for the control of the lines: %w", err)
	}
	s := &Serving{URL: "http://" + l.Addr().String(), server: &http.Server{Handler: c.Handler(), ReadHeaderTimeout: 5 * time.Second}, done: make(chan error, 1)}
	go func() { s.done <- s.server.Serve(l) }()
	return s, nil
}

// Close ends the serving; the lines stay as they are.
func (s *Serving) Close() error {
	err := s.server.Close()
	if ended := <-s.done; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
