package apiclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
)

// maxAnswer bounds what is read of an answer: a page of the largest alerts.
const maxAnswer = 256 << 20

// maxRetryAfter bounds the pause that a site may ask for.
const maxRetryAfter = 30 * time.Second

// failure is why an attempt failed, and what may be done about it.
type failure struct {
	err       error
	again     bool          // another attempt may succeed
	wait      time.Duration // the pause that the site asked for; 0: none
	connected bool          // an event stream was open before it failed
}

// call sends one request, again where that may help, and decodes the answer into out.
func (c *Client) call(ctx context.Context, doing, method, path string, q url.Values, in, out any) (status int, err error) {
	var body []byte
	if in != nil {
		if body, err = encode(in); err != nil {
			return 0, fmt.Errorf("%s: encoding the request: %w", doing, err)
		}
	}
	for attempt := 1; ; attempt++ {
		status, failed := c.attempt(ctx, method, path, q, body, out)
		if failed == nil {
			return status, nil
		}
		if err := c.rest(ctx, attempt, failed); err != nil {
			return 0, fmt.Errorf("%s: %w", doing, err)
		}
	}
}

// encode is v as JSON without the escapes for HTML, which would make a log line
// full of angle brackets six times as long and too large for the site.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// rest pauses after a failed attempt; it returns the error that ends the call, if that is its end.
func (c *Client) rest(ctx context.Context, attempt int, failed *failure) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !failed.again || c.attempts > 0 && attempt >= c.attempts {
		return failed.err
	}
	wait := max(c.pause.after(attempt), min(failed.wait, maxRetryAfter))
	c.onRetry(Retry{Attempt: attempt, Wait: wait, Err: failed.err})
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (c *Client) attempt(ctx context.Context, method, path string, q url.Values, body []byte, out any) (int, *failure) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := c.request(ctx, method, path, q, body)
	if err != nil {
		return 0, &failure{err: err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, c.unreachable(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, c.unreachable(err)
	case len(data) > maxAnswer:
		return 0, &failure{err: fault.New(fault.Unsupported, "the answer of %s to %s %s is over %d bytes", c.Base(), method, path, maxAnswer)}
	case resp.StatusCode >= 300:
		return 0, c.problem(resp, data)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return 0, &failure{err: fault.New(fault.Unsupported, "%s answered %s %s with something else than the API of a site does: %v", c.Base(), method, path, err)}
	}
	return resp.StatusCode, nil
}

func (c *Client) request(ctx context.Context, method, path string, q url.Values, body []byte) (*http.Request, error) {
	address := c.Base() + path
	if len(q) > 0 {
		address += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request to %s: %w", address, err)
	}
	req.Header.Set("User-Agent", c.agent)
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// unreachable is the failure of a request that got no whole answer.
func (c *Client) unreachable(err error) *failure {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return &failure{again: true, err: fault.New(fault.Unavailable,
			"no site answers at %s: connection refused; start one with `auroramesh demo`, or name the address of another with --api-base", c.Base())}
	case errors.As(err, &dns):
		return &failure{again: true, err: fault.New(fault.Unavailable, "no site answers at %s: the name %q cannot be resolved", c.Base(), dns.Name)}
	case errors.As(err, &cert), errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return &failure{err: fault.New(fault.Unavailable, "no trusted connection to %s: %v", c.Base(), cause(err))}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &failure{again: true, err: fault.New(fault.Timeout, "%s did not answer in time", c.Base())}
	default:
		return &failure{again: true, err: fault.New(fault.Unavailable, "the connection to %s failed: %v", c.Base(), cause(err))}
	}
}

// cause is err without the method and address that net/http puts before it.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// problem is the failure that an answer of status 300 or above stands for.
func (c *Client) problem(resp *http.Response, data []byte) *failure {
	failed := &failure{wait: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusBadGateway:
		failed.again = true
	}
	var body struct {
		Title     string        `json:"title"`
		Detail    string        `json:"detail"`
		Code      fault.Code    `json:"code"`
		Errors    []fault.Field `json:"errors"`
		RequestID string        `json:"request_id"`
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "application/problem+json" || json.Unmarshal(data, &body) != nil {
		failed.err = fault.New(foreign(resp.StatusCode), "%s answered %s to %s %s, which is not how the API of a site answers: is the address right?",
			c.Base(), resp.Status, resp.Request.Method, resp.Request.URL.Path)
		return failed
	}
	f := &fault.Error{Code: body.Code, Message: body.Detail, Fields: body.Errors}
	if f.Message == "" {
		f.Message = body.Title
	}
	if f.Message == "" {
		f.Message = "the site answered " + resp.Status
	}
	if f.Code == "" {
		f.Code = codeOf(resp.StatusCode)
	}
	if f.Code == fault.Unauthorized {
		f.Message += "; name one with --api-key or AURORAMESH_API_KEY"
	}
	if f.Code == fault.Internal && body.RequestID != "" {
		f.Message += " (request id " + body.RequestID + ")"
	}
	failed.err = f
	return failed
}

// codeOf is the code of a problem that carries none.
func codeOf(status int) fault.Code {
	for _, c := range []fault.Code{fault.Invalid, fault.Unauthorized, fault.Forbidden, fault.TooMany, fault.NotFound, fault.Conflict, fault.TooLarge, fault.Unsupported, fault.Unavailable, fault.Timeout} {
		if c.HTTPStatus() == status {
			return c
		}
	}
	switch {
	case status == http.StatusBadGateway:
		return fault.Unavailable
	case status < 500:
		return fault.Invalid
	}
	return fault.Internal
}

// foreign is the code of an answer that no site gave: a proxy without a site
// behind it, or something else that listens at the address.
func foreign(status int) fault.Code {
	if status >= 500 || status == http.StatusTooManyRequests {
		return fault.Unavailable
	}
	return fault.Unsupported
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(h string, now time.Time) time.Duration {
	if s, err := strconv.Atoi(h); err == nil {
		return time.Duration(max(0, min(s, 3600))) * time.Second
	}
	if at, err := http.ParseTime(h); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

type backoff struct{ first, limit time.Duration }

// after is the pause after the given attempt: doubled from attempt to attempt,
// and shortened by chance so that many clients do not come back at one moment.
func (b backoff) after(attempt int) time.Duration {
	d := b.limit
	if attempt < 30 {
		d = min(b.first<<(attempt-1), b.limit)
	}
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

func pageQuery(p ask.Page) url.Values {
	q := url.Values{}
	if p.Skip != 0 {
		q.Set("skip", strconv.Itoa(p.Skip))
	}
	if p.Limit != 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	return q
}
