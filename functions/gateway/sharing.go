package gateway

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
)

func (g *gateway) registerSharing(api huma.API) {
	op := withBody[federation.NewAlert](api, operation(http.MethodPost, "/api/v1/sharing/preview", "preview-sharing", tagAlerts, "Preview the sharing of an alert",
		"Says of every known peer whether it would get the alert if it were raised, and by which rule. Nothing is stored and nothing leaves. An alert that is there already is not shared a second time, whatever this says."))
	type previewInput struct{ Payload body[federation.NewAlert] }
	huma.Register(api, op, func(ctx context.Context, in *previewInput) (*answer[ask.SharingPreview], error) {
		return reply(put(ctx, g, ask.PreviewSharing, in.Payload.Value))
	})
	documentBody(api, op.Method, op.Path, map[string]*huma.Example{
		"kept": {Summary: "An alert for this site alone", Value: map[string]any{
			"title": "Insider under watch", "severity": "critical", "tlp": "red", "source": "edr",
		}},
	})
}
