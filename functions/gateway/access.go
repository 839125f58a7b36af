package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
)

const (
	keysPath = "/api/v1/access/keys"
	keyPath  = keysPath + "/{id}"

	auditPath = "/api/v1/access/audit"
)

func (g *gateway) registerAccess(api huma.API) {
	op := operation(http.MethodGet, "/api/v1/access/me", "get-me", tagAccess, "Show who asks",
		"Who this request comes from, and the scopes that it has. A site without sign-in gives every request all of them.")
	huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*answer[access.Principal], error) {
		p, ok := access.PrincipalOf(ctx)
		if !ok { // the route takes one
			return nil, fault.New(fault.Unauthorized, "nobody has signed in")
		}
		return &answer[access.Principal]{p}, nil
	})

	op = operation(http.MethodGet, keysPath, "list-keys", tagAccess, "List the API keys",
		"Every API key of the site, newest first, also those that were revoked or have expired.")
	op.Parameters = pageParams()
	huma.Register(api, op, func(ctx context.Context, in *pageInput) (*answer[ask.List[access.Key]], error) {
		return replyList(put(ctx, g, ask.ListKeys, in.page()))
	})

	op = withBody[access.NewKey](api, operation(http.MethodPost, keysPath, "create-key", tagAccess, "Make an API key",
		"Makes a key. Its secret is in this answer and nowhere else: the site keeps a hash of it."))
	op.DefaultStatus = http.StatusCreated
	type createInput struct{ Payload body[access.NewKey] }
	huma.Register(api, op, func(ctx context.Context, in *createInput) (*answer[access.MadeKey], error) {
		p, _ := access.PrincipalOf(ctx)
		return reply(put(ctx, g, ask.CreateKey, ask.KeyRequest{NewKey: in.Payload.Value, By: string(p.Kind) + " " + p.ID}))
	})
	documentBody(api, op.Method, op.Path, map[string]*huma.Example{
		"sensor":  {Summary: "A sensor that raises alerts", Value: access.NewKey{Name: "suricata dmz", Scopes: []access.Scope{access.AlertsWrite}}},
		"analyst": {Summary: "A person who works on them, for some time", Value: access.NewKey{Name: "r.haas", Scopes: []access.Scope{access.AlertsRead, access.AlertsWrite, access.SitesRead}, ExpiresAt: ptr(time.Date(2126, 1, 31, 0, 0, 0, 0, time.UTC))}},
	})

	op = operation(http.MethodDelete, keyPath, "revoke-key", tagAccess, "Revoke an API key",
		"Ends a key and the sessions that were opened with it, for good. Every gateway of the site refuses it within "+KnownFor.String()+". The key stays in the list.", http.StatusNotFound)
	op.Parameters = []*huma.Param{{
		Name: "id", In: "path", Required: true, Description: "The id of the key: in a secret amk_ID_… the part after amk_",
		Schema: &huma.Schema{Type: huma.TypeString, MinLength: ptr(1), MaxLength: ptr(access.MaxName)},
	}}
	type revokeInput struct {
		ID string `path:"id" hidden:"true"`
	}
	huma.Register(api, op, func(ctx context.Context, in *revokeInput) (*answer[access.Key], error) {
		id := ask.KeyID{ID: in.ID}
		if err := id.Validate(); err != nil {
			return nil, err
		}
		key, err := put(ctx, g, ask.RevokeKey, id)
		if err == nil {
			g.known.forgetPrincipal(key.ID)
		}
		return reply(key, err)
	})
	g.registerAudit(api)
}

func (g *gateway) registerAudit(api huma.API) {
	op := operation(http.MethodGet, auditPath, "list-audit", tagAccess, "Read the audit log",
		"What was changed, or tried without the scope for it: by whom, from where, and with what result; newest first. The next page is the one before the lowest seq of this.")
	op.Parameters = []*huma.Param{
		{Name: "before", In: "query", Description: "Only records before this seq", Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: ptr(1.0)}},
		pageParams()[1],
	}
	type auditInput struct {
		Before int64 `query:"before" hidden:"true"`
		Limit  int   `query:"limit" hidden:"true"`
	}
	huma.Register(api, op, func(ctx context.Context, in *auditInput) (*answer[ask.AuditPage], error) {
		page, err := put(ctx, g, ask.ListAudit, ask.AuditFilter{Before: in.Before, Limit: in.Limit})
		if page.Items == nil {
			page.Items = []access.Record{}
		}
		return reply(page, err)
	})

	op = operation(http.MethodGet, auditPath+"/verification", "verify-audit", tagAccess, "Check the audit log",
		"Checks the chain of hashes from the first record on, and names the first that does not hold. A log that takes longer than "+AskTimeout.String()+" to check is checked with the command auroramesh audit verify.")
	huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*answer[access.Verification], error) {
		return reply(put(ctx, g, ask.VerifyAudit, ask.AuditCheck{}))
	})
}
