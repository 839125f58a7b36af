package apiclient

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
)

const keysPath = "/api/v1/access/keys"

// Me is who the site takes this client for.
func (c *Client) Me(ctx context.Context) (access.Principal, error) {
	var p access.Principal
	_, err := c.call(ctx, "asking who this is", http.MethodGet, "/api/v1/access/me", nil, nil, &p)
	return p, err
}

// Keys is a page of the API keys of the site, newest first.
func (c *Client) Keys(ctx context.Context, p ask.Page) (ask.List[access.Key], error) {
	var list ask.List[access.Key]
	_, err := c.call(ctx, "listing the keys", http.MethodGet, keysPath, pageQuery(p), nil, &list)
	return list, err
}

// CreateKey makes an API key. It is asked once only: an answer that is lost on its
// way leaves a key behind that nobody has.
func (c *Client) CreateKey(ctx context.Context, n access.NewKey) (access.MadeKey, error) {
	once := *c
	once.attempts = 1
	var made access.MadeKey
	_, err := once.call(ctx, "making the key", http.MethodPost, keysPath, nil, n, &made)
	return made, err
}

// RevokeKey ends an API key for good.
func (c *Client) RevokeKey(ctx context.Context, id string) (access.Key, error) {
	var k access.Key
	if id == "" {
		return k, fault.New(fault.NotFound, "there is no key with this id")
	}
	_, err := c.call(ctx, "revoking the key "+id, http.MethodDelete, keysPath+"/"+url.PathEscape(id), nil, nil, &k)
	return k, err
}

const auditPath = "/api/v1/access/audit"

// Audit is a page of the audit log, newest first.
func (c *Client) Audit(ctx context.Context, f ask.AuditFilter) (ask.AuditPage, error) {
	q := url.Values{}
	if f.Before > 0 {
		q.Set("before", strconv.FormatInt(f.Before, 10))
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	var page ask.AuditPage
	_, err := c.call(ctx, "reading the audit log", http.MethodGet, auditPath, q, nil, &page)
	return page, err
}

// VerifyAudit checks the audit log at the site.
func (c *Client) VerifyAudit(ctx context.Context) (access.Verification, error) {
	var v access.Verification
	_, err := c.call(ctx, "checking the audit log", http.MethodGet, auditPath+"/verification", nil, nil, &v)
	return v, err
}
