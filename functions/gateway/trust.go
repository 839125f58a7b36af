package gateway

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
)

const (
	trustPath   = "/api/v1/federation/trust"
	trustOfPath = trustPath + "/{site}"
)

func (g *gateway) registerTrust(api huma.API) {
	op := operation(http.MethodGet, trustPath, "list-trusted-keys", tagMesh, "Show the pinned keys",
		"The public key that is pinned for each site, this one's among them, and what was last refused in its name. What a site says to its peers is signed with its key; what is not is refused.")
	huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*answer[ask.TrustOverview], error) {
		return reply(put(ctx, g, ask.TrustedKeys, ask.None{}))
	})

	siteParam := []*huma.Param{{Name: "site", In: "path", Required: true, Description: "The id of the site", Schema: &huma.Schema{Type: huma.TypeString, Pattern: siteIDForm}}}
	op = withBody[ask.KeySetting](api, operation(http.MethodPut, trustOfPath, "pin-key", tagMesh, "Pin the key of a site",
		"Pins the public key of one site, in place of whichever is pinned; what is signed with another is refused from then on. A site may have a key before it is known. Get the key from the other site by a way that does not lead over the mesh."))
	op.Parameters = siteParam
	type pinInput struct {
		Site    federation.SiteID `path:"site" hidden:"true"`
		Payload body[ask.KeySetting]
	}
	huma.Register(api, op, func(ctx context.Context, in *pinInput) (*answer[federation.TrustedKey], error) {
		key := ask.KeyOf{TrustOf: ask.TrustOf{Site: in.Site}, KeySetting: in.Payload.Value}
		if err := key.Validate(); err != nil {
			return nil, err
		}
		return reply(put(ctx, g, ask.PinKey, key))
	})
	documentBody(api, op.Method, op.Path, map[string]*huma.Example{
		"key": {Summary: "A key, as the other site shows it as its own", Value: ask.KeySetting{Key: "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"}},
	})

	op = operation(http.MethodDelete, trustOfPath, "unpin-key", tagMesh, "Unpin the key of a site",
		"Lets go of the key of one site: the next with which it is heard is pinned, whoever that is. The answer is the key that was pinned.", http.StatusForbidden, http.StatusNotFound)
	op.Parameters = siteParam
	type unpinInput struct {
		Site federation.SiteID `path:"site" hidden:"true"`
	}
	huma.Register(api, op, func(ctx context.Context, in *unpinInput) (*answer[federation.TrustedKey], error) {
		of := ask.TrustOf{Site: in.Site}
		if err := of.Validate(); err != nil {
			return nil, err
		}
		return reply(put(ctx, g, ask.UnpinKey, of))
	})
}
