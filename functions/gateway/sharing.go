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
		"Says of every known peer whether its gate would let the alert through if it were raised, by which rule, and which types of IOC would be taken off. Nothing is stored and nothing leaves. An alert that is there already is not shared a second time, whatever this says."))
	type previewInput struct{ Payload body[federation.NewAlert] }
	huma.Register(api, op, func(ctx context.Context, in *previewInput) (*answer[ask.SharingPreview], error) {
		return reply(put(ctx, g, ask.PreviewSharing, in.Payload.Value))
	})
	documentBody(api, op.Method, op.Path, map[string]*huma.Example{
		"kept": {Summary: "An alert for this site alone", Value: map[string]any{
			"title": "Insider under watch", "severity": "critical", "tlp": "red", "source": "edr",
		}},
	})

	op = operation(http.MethodGet, gatesPath, "list-sharing-gates", tagMesh, "Show the sharing gates",
		"The gate of every peer that is known or has one set, in both directions, as it holds: what is set for the peer, and the default for the rest.")
	huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*answer[ask.SharingOverview], error) {
		return reply(put(ctx, g, ask.SharingGates, ask.None{}))
	})

	op = withBody[federation.GateSetting](api, operation(http.MethodPut, gatePath, "set-sharing-gate", tagMesh, "Set the gate of a peer",
		"Sets the whole gate of one peer in one direction: what the body leaves out is that of the default gate again. Once it is answered, no alert leaves that the gate refuses. A peer may have a gate before it is known. An inbound gate decides on the alerts of that peer as they arrive, and those that it refuses are not stored."))
	op.Parameters = gateParams()
	type setInput struct {
		Peer      federation.SiteID    `path:"peer" hidden:"true"`
		Direction federation.Direction `path:"direction" hidden:"true"`
		Payload   body[federation.GateSetting]
	}
	huma.Register(api, op, func(ctx context.Context, in *setInput) (*answer[ask.PeerGate], error) {
		change := ask.GateChange{GateOf: ask.GateOf{Peer: in.Peer, Direction: in.Direction}, Gate: in.Payload.Value}
		if err := change.Validate(); err != nil {
			return nil, err
		}
		return reply(put(ctx, g, ask.SetGate, change))
	})
	documentBody(api, op.Method, op.Path, map[string]*huma.Example{
		"all": {Summary: "Only critical alerts, none of the honeypot, and no addresses", Value: federation.GateSetting{
			MinSeverity: federation.Critical, ExceptSources: []string{"honeypot"}, StripIOCs: []federation.IOCType{federation.IP},
		}},
	})

	op = operation(http.MethodDelete, gatePath, "reset-sharing-gate", tagMesh, "Reset the gate of a peer",
		"Gives one peer the default gate again in one direction. The answer is that gate; where none was set, nothing changes.", http.StatusForbidden)
	op.Parameters = gateParams()
	type resetInput struct {
		Peer      federation.SiteID    `path:"peer" hidden:"true"`
		Direction federation.Direction `path:"direction" hidden:"true"`
	}
	huma.Register(api, op, func(ctx context.Context, in *resetInput) (*answer[ask.PeerGate], error) {
		of := ask.GateOf{Peer: in.Peer, Direction: in.Direction}
		if err := of.Validate(); err != nil {
			return nil, err
		}
		return reply(put(ctx, g, ask.ResetGate, of))
	})
}

const (
	gatesPath = "/api/v1/sharing/gates"
	gatePath  = gatesPath + "/{peer}/{direction}"
)

// gateParams are the parameters that name a gate.
func gateParams() []*huma.Param {
	return []*huma.Param{
		{Name: "peer", In: "path", Required: true, Description: "The id of the peer", Schema: &huma.Schema{Type: huma.TypeString, Pattern: siteIDForm}},
		{
			Name: "direction", In: "path", Required: true, Description: "outbound: what leaves for the peer; inbound: what is taken from it",
			Schema: &huma.Schema{Type: huma.TypeString, Enum: words([]federation.Direction{federation.Outbound, federation.Inbound})},
		},
	}
}
