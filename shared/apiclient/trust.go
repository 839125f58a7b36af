package apiclient

import (
	"context"
	"net/http"
	"net/url"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// TrustedKeys is the keys that the site has pinned.
func (c *Client) TrustedKeys(ctx context.Context) (ask.TrustOverview, error) {
	var all ask.TrustOverview
	_, err := c.call(ctx, "reading the pinned keys", http.MethodGet, trustPath, nil, nil, &all)
	return all, err
}

// PinKey pins the key of a site, in place of whichever is pinned.
func (c *Client) PinKey(ctx context.Context, site federation.SiteID, key string) (federation.TrustedKey, error) {
	var pinned federation.TrustedKey
	_, err := c.call(ctx, "pinning the key", http.MethodPut, trustPath+"/"+url.PathEscape(string(site)), nil, ask.KeySetting{Key: key}, &pinned)
	return pinned, err
}

// UnpinKey lets go of the key of a site, and returns what was pinned.
func (c *Client) UnpinKey(ctx context.Context, site federation.SiteID) (federation.TrustedKey, error) {
	var was federation.TrustedKey
	_, err := c.call(ctx, "unpinning the key", http.MethodDelete, trustPath+"/"+url.PathEscape(string(site)), nil, nil, &was)
	return was, err
}

const trustPath = "/api/v1/federation/trust"
