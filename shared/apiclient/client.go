// Package apiclient is a site's HTTP API as Go calls: what the commands of the
// mesh, and any program of yours, use to raise, read and follow alerts.
//
// A call becomes one request. A problem that the site answers (RFC 9457) becomes
// the [fault.Error] it was at the site; a site that cannot be reached becomes an
// Unavailable fault that says which address was tried. Every call is idempotent,
// raising an alert included, because the site finds duplicates; so a request that
// met a busy or absent site is sent again, with growing pauses, until [Attempts]
// are used up or the context ends.
package apiclient

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
)

// DefaultBase is the address of the first site of the demo.
const DefaultBase = "http://localhost:8000"

// Client asks one site. It may be used by many goroutines at a time.
type Client struct {
	base     *url.URL
	http     *http.Client
	attempts int
	timeout  time.Duration
	silence  time.Duration
	pause    backoff
	onRetry  func(Retry)
	agent    string
	key      string
}

// Option adjusts a [Client].
type Option func(*Client)

// Attempts is how often a request is sent before its failure is returned; the
// default is 3. With 0 it is sent until the context ends.
func Attempts(n int) Option { return func(c *Client) { c.attempts = n } }

// Timeout bounds one attempt; the default is 30 s. Event streams have no such bound.
func Timeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// Silence is how long an event stream may be without a byte before it is taken
// for dead and opened again; the default is one minute.
func Silence(d time.Duration) Option { return func(c *Client) { c.silence = d } }

// Backoff is the pause before the second attempt, which doubles from attempt to
// attempt, and its limit. The defaults are 100 ms and 5 s.
func Backoff(first, limit time.Duration) Option {
	return func(c *Client) { c.pause = backoff{first, limit} }
}

// OnRetry is called before each pause. Calls may come from many goroutines at once.
func OnRetry(f func(Retry)) Option { return func(c *Client) { c.onRetry = f } }

// UserAgent is how the client names itself to the site.
func UserAgent(s string) Option { return func(c *Client) { c.agent = s } }

// APIKey is what the client shows to a site that takes requests with a key only.
func APIKey(key string) Option { return func(c *Client) { c.key = key } }

// Retry is one failed attempt that will be followed by another.
type Retry struct {
	Attempt int           // the one that failed, from 1
	Wait    time.Duration // the pause before the next
	Err     error         // why it failed
}

// New is a client of the site at base, e.g. "http://localhost:8000".
func New(base string, opts ...Option) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		var wrong fault.Fields
		wrong.Add("api-base", base, "the address of a site, such as "+DefaultBase)
		return nil, wrong.Err("the address of the API is not valid")
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
	}
	transport.MaxIdleConnsPerHost = 64 // as many connections as an ingest has workers stay open
	c := &Client{
		base: u, http: &http.Client{Transport: transport}, attempts: 3, timeout: 30 * time.Second, silence: time.Minute,
		pause: backoff{100 * time.Millisecond, 5 * time.Second}, onRetry: func(Retry) {}, agent: "auroramesh",
	}
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// Base is the address of the site.
func (c *Client) Base() string { return strings.TrimSuffix(c.base.String(), "/") }

// Raise stores a new alert, or finds the one that it duplicates; created says
// which. Warnings name the IOCs that the site could not read and left out, and a label
// that a duplicate asked for in vain. An
// answer lost on its way makes a later attempt find the alert that the first one
// stored, so created may be false for an alert that this call raised.
func (c *Client) Raise(ctx context.Context, n federation.NewAlert) (a federation.Alert, created bool, warnings []fault.Field, err error) {
	var body struct {
		federation.Alert
		Warnings []fault.Field `json:"warnings"`
	}
	status, err := c.call(ctx, "raising the alert", http.MethodPost, "/api/v1/alerts", nil, n, &body)
	return body.Alert, status == http.StatusCreated, body.Warnings, err
}

// PreviewSharing says which peers would get an alert if it were raised, and why.
// Nothing is stored.
func (c *Client) PreviewSharing(ctx context.Context, n federation.NewAlert) (ask.SharingPreview, error) {
	var p ask.SharingPreview
	_, err := c.call(ctx, "previewing the sharing", http.MethodPost, "/api/v1/sharing/preview", nil, n, &p)
	return p, err
}

// SharingGates is the gate of every peer in both directions.
func (c *Client) SharingGates(ctx context.Context) (ask.SharingOverview, error) {
	var all ask.SharingOverview
	_, err := c.call(ctx, "listing the sharing gates", http.MethodGet, gatesPath, nil, nil, &all)
	return all, err
}

// SetGate sets the whole gate of a peer in one direction, and returns it as it then holds.
func (c *Client) SetGate(ctx context.Context, g ask.GateOf, s federation.GateSetting) (ask.PeerGate, error) {
	var set ask.PeerGate
	_, err := c.call(ctx, "setting the sharing gate", http.MethodPut, gatePath(g), nil, s, &set)
	return set, err
}

// ResetGate gives a peer the default gate again in one direction.
func (c *Client) ResetGate(ctx context.Context, g ask.GateOf) (ask.PeerGate, error) {
	var now ask.PeerGate
	_, err := c.call(ctx, "resetting the sharing gate", http.MethodDelete, gatePath(g), nil, nil, &now)
	return now, err
}

const gatesPath = "/api/v1/sharing/gates"

func gatePath(g ask.GateOf) string {
	return gatesPath + "/" + url.PathEscape(string(g.Peer)) + "/" + url.PathEscape(string(g.Direction))
}

// Alerts is a page of the site's queue, newest first. Where the site has looked only so far for
// it, it goes on until the page is full.
func (c *Client) Alerts(ctx context.Context, f ask.AlertFilter) (ask.List[federation.Alert], error) {
	list, err := c.alerts(ctx, f)
	for last := list; err == nil && list.LookedTo != "" && len(list.Items) < list.Limit; {
		if f.After, err = ask.ParsePlace("looked_to", list.LookedTo); err != nil {
			return list, err
		}
		f.Skip, f.Limit = max(0, f.Skip-last.Total), list.Limit-len(list.Items)
		if last, err = c.alerts(ctx, f); err != nil {
			return list, err
		}
		list.Items, list.Total = append(list.Items, last.Items...), list.Total+last.Total
		list.More, list.LookedTo = last.More, last.LookedTo
	}
	return list, err
}

// alerts is one answer to the question for a page.
func (c *Client) alerts(ctx context.Context, f ask.AlertFilter) (ask.List[federation.Alert], error) {
	q := pageQuery(f.Page)
	for name, value := range map[string]string{"severity": string(f.Severity), "status": string(f.Status), "tlp": string(f.TLP), "source": f.Source, "after": f.After.String()} {
		if value != "" {
			q.Set(name, value)
		}
	}
	var list ask.List[federation.Alert]
	_, err := c.call(ctx, "listing alerts", http.MethodGet, "/api/v1/alerts", q, nil, &list)
	return list, err
}

// Alert is the alert with the given id.
func (c *Client) Alert(ctx context.Context, id string) (federation.Alert, error) {
	var a federation.Alert
	if id == "" {
		return a, fault.New(fault.NotFound, "there is no alert with this id")
	}
	_, err := c.call(ctx, "reading the alert", http.MethodGet, "/api/v1/alerts/"+url.PathEscape(id), nil, nil, &a)
	return a, err
}

// Update changes the alert with the given id, and returns it as it then is.
func (c *Client) Update(ctx context.Context, id string, p federation.AlertPatch) (federation.Alert, error) {
	var a federation.Alert
	if id == "" {
		return a, fault.New(fault.NotFound, "there is no alert with this id")
	}
	_, err := c.call(ctx, "changing the alert", http.MethodPatch, "/api/v1/alerts/"+url.PathEscape(id), nil, p, &a)
	return a, err
}

// DeadLetters is a page of the messages that the site could not handle, newest first.
func (c *Client) DeadLetters(ctx context.Context, p ask.Page) (ask.List[ask.DeadLetter], error) {
	var list ask.List[ask.DeadLetter]
	_, err := c.call(ctx, "listing dead letters", http.MethodGet, lettersPath, pageQuery(p), nil, &list)
	return list, err
}

// DeadLetter is the dead letter with the given id, and its payload.
func (c *Client) DeadLetter(ctx context.Context, id function.LetterID) (ask.DeadLetterText, error) {
	var l ask.DeadLetterText
	_, err := c.call(ctx, "reading the dead letter", http.MethodGet, letterPath(id), nil, nil, &l)
	return l, err
}

// RetryDeadLetter lets its function handle a dead letter again, and returns it as
// it was before it went. An answer lost on its way makes a later attempt find it
// gone, which is NotFound.
func (c *Client) RetryDeadLetter(ctx context.Context, id function.LetterID) (ask.DeadLetter, error) {
	var l ask.DeadLetter
	_, err := c.call(ctx, "retrying the dead letter "+strconv.FormatUint(id.ID, 10), http.MethodPost, letterPath(id)+"/retry", nil, nil, &l)
	return l, err
}

// DropDeadLetter deletes a dead letter, and returns it as it was. As with
// [Client.RetryDeadLetter], NotFound may mean that an earlier attempt did it.
func (c *Client) DropDeadLetter(ctx context.Context, id function.LetterID) (ask.DeadLetter, error) {
	var l ask.DeadLetter
	_, err := c.call(ctx, "dropping the dead letter "+strconv.FormatUint(id.ID, 10), http.MethodDelete, letterPath(id), nil, nil, &l)
	return l, err
}

const lettersPath = "/api/v1/deadletters"

func letterPath(id function.LetterID) string {
	return lettersPath + "/" + strconv.FormatUint(id.ID, 10)
}

// All reads a whole list, page by page. An item that comes or goes meanwhile moves
// the pages: another may then be read twice, or not at all.
func All[T any](ctx context.Context, read func(context.Context, ask.Page) (ask.List[T], error)) (ask.List[T], error) {
	all, err := read(ctx, ask.Page{Limit: ask.MaxLimit})
	for err == nil && (len(all.Items) < all.Total || all.More) {
		var more ask.List[T]
		more, err = read(ctx, ask.Page{Skip: len(all.Items), Limit: ask.MaxLimit})
		if len(more.Items) == 0 {
			break
		}
		all.Items, all.Total, all.More = append(all.Items, more.Items...), more.Total, more.More
	}
	return all, err
}

// Sites is a page of the sites that the site knows, itself included.
func (c *Client) Sites(ctx context.Context, p ask.Page) (ask.List[federation.Site], error) {
	var list ask.List[federation.Site]
	_, err := c.call(ctx, "listing sites", http.MethodGet, "/api/v1/sites", pageQuery(p), nil, &list)
	return list, err
}

// Topology is the mesh as the site sees it.
func (c *Client) Topology(ctx context.Context) (federation.Topology, error) {
	var t federation.Topology
	_, err := c.call(ctx, "reading the topology", http.MethodGet, "/api/v1/system/topology", nil, nil, &t)
	return t, err
}

// Deliveries is the delivery ledger of the site.
func (c *Client) Deliveries(ctx context.Context) (federation.Deliveries, error) {
	var d federation.Deliveries
	_, err := c.call(ctx, "reading the deliveries", http.MethodGet, "/api/v1/federation/deliveries", nil, nil, &d)
	return d, err
}

// LinkHistory is the way of a link over the last hours, 1 to [ask.MaxHistoryHours].
func (c *Client) LinkHistory(ctx context.Context, id string, hours int) (federation.History, error) {
	var h federation.History
	_, err := c.call(ctx, "reading the history of the link", http.MethodGet, "/api/v1/links/"+url.PathEscape(id)+"/history", url.Values{"hours": {strconv.Itoa(hours)}}, nil, &h)
	return h, err
}

// AlertDeliveries is how far the alert with the given id has come on its way to each peer.
func (c *Client) AlertDeliveries(ctx context.Context, id string) (federation.AlertDeliveries, error) {
	var d federation.AlertDeliveries
	if id == "" {
		return d, fault.New(fault.NotFound, "there is no alert with this id")
	}
	_, err := c.call(ctx, "reading the deliveries of the alert", http.MethodGet, "/api/v1/alerts/"+url.PathEscape(id)+"/deliveries", nil, nil, &d)
	return d, err
}

// SetAgents sets the agent counts that the site's heartbeat carries.
func (c *Client) SetAgents(ctx context.Context, n federation.Agents) (federation.Site, error) {
	var s federation.Site
	_, err := c.call(ctx, "setting the agent counts", http.MethodPut, "/api/v1/system/agents", nil, n, &s)
	return s, err
}
