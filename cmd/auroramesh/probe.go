package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// probeCmd stands in for curl in an image that has nothing but this binary.
type probeCmd struct {
	URL     string        `arg:"" default:"http://127.0.0.1:9100/health/live" help:"What to ask. Default: ${default}."`
	Timeout time.Duration `default:"2s" help:"How long an answer may take."`
}

func (c probeCmd) Run(ctx context.Context) error {
	if !strings.HasPrefix(c.URL, "http://") && !strings.HasPrefix(c.URL, "https://") {
		var wrong fault.Fields
		wrong.Add("url", c.URL, "an address that begins with http:// or https://")
		return wrong.Err("nothing can be asked")
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, http.NoBody)
	if err != nil {
		return fault.New(fault.Invalid, "nothing can be asked: %v", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fault.New(fault.Unavailable, "nobody answers: %v", err)
	}
	defer res.Body.Close()
	said, err := io.ReadAll(io.LimitReader(res.Body, 512))
	if err != nil {
		return fault.New(fault.Unavailable, "the answer broke off: %v", err)
	}
	if res.StatusCode != http.StatusOK {
		return fault.New(fault.Unavailable, "%s: %s", res.Status, strings.TrimSpace(string(said)))
	}
	return nil
}
