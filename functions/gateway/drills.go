package gateway

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/drillreport"
)

const drillsPath = "/api/v1/federation/drills"

func (g *gateway) registerDrills(api huma.API) {
	op := operation(http.MethodGet, drillsPath, "list-drills", tagMesh, "Show the last drills",
		"What the last drills found out that were told to this site, the newest first: whether every alert that one site accepted was at every other, once, although a line between two of them was broken meanwhile.")
	huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*answer[ask.DrillList], error) {
		return reply(put(ctx, g, ask.Drills, ask.None{}))
	})

	op = withBody[drillreport.Report](api, operation(http.MethodPost, drillsPath, "keep-drill", tagMesh, "Keep the report of a drill",
		"The command auroramesh drill tells every running site that it has drilled. The last 20 are kept. A second report of the same drill changes nothing."))
	op.DefaultStatus = http.StatusCreated
	type keepInput struct{ Payload body[drillreport.Report] }
	huma.Register(api, op, func(ctx context.Context, in *keepInput) (*answer[drillreport.Report], error) {
		r := in.Payload.Value
		if err := r.Validate(); err != nil {
			return nil, err
		}
		_, err := put(ctx, g, ask.KeepDrill, r)
		return reply(r, err)
	})
	documentBody(api, op.Method, op.Path, map[string]*huma.Example{
		"kept": {Summary: "A drill after which nothing was missing", Value: exampleDrill()},
	})
}
