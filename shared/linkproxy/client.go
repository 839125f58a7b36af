package linkproxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// Client asks a control that is served.
type Client struct {
	base string
	http *http.Client
}

// NewClient is a client of the control at base, e.g. "http://127.0.0.1:7423".
func NewClient(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		var wrong fault.Fields
		wrong.Add("control", base, "the address of a control, such as http://127.0.0.1:7423")
		return nil, wrong.Err("the address of the control is not valid")
	}
	return &Client{base: "http://" + u.Host, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}, nil
}

// Lines lists what the control holds.
func (c *Client) Lines(ctx context.Context) (all Lines, err error) {
	err = c.call(ctx, http.MethodGet, linesPath, nil, &all)
	return all, err
}

// Set has the control follow an order.
func (c *Client) Set(ctx context.Context, link string, o Order) (l Line, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return l, fmt.Errorf("encoding the order: %w", err)
	}
	err = c.call(ctx, http.MethodPut, linesPath+"/"+url.PathEscape(link), body, &l)
	return l, err
}

func (c *Client) call(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking the control of the lines: %w", err)
	}
	resp, err := c.http.Do(req)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fault.New(fault.Unavailable, "nobody answers for the lines at %s; is the demo, or auroramesh proxy, at work there?", c.base)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fault.New(fault.Unavailable, "the answer of %s did not arrive whole: %v", c.base, err)
	}
	if resp.StatusCode >= 300 {
		if f, ok := fault.Parse(data); ok {
			return f
		}
		return fault.New(fault.Unsupported, "%s answers with %s, as no control of lines does", c.base, resp.Status)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fault.New(fault.Unsupported, "%s answers with something else than a control of lines does: %v", c.base, err)
	}
	return nil
}
