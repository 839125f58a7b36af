package gateway

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
)

// The groups of operations, in the order of the page.
const (
	tagAlerts  = "Alerts"
	tagMesh    = "Mesh"
	tagEvents  = "Events"
	tagLetters = "Dead letters"
	tagAccess  = "Access"
	tagState   = "State of the site"
)

// answer is the output of an operation that answers with one JSON value.
type answer[T any] struct{ Body T }

// api registers every operation on mux.
func (g *gateway) api(mux *routes, metrics prometheus.Gatherer) huma.API {
	registry := newRegistry()
	api := humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "Aurora federation mesh",
				Version:     g.site.Version,
				Description: "The API of one site of the mesh: its alerts, its own and those of its peers; the sites and links that it sees; and its events as they happen.",
			},
			Servers:    []*huma.Server{{URL: "/", Description: "the site that serves this document"}},
			Components: &huma.Components{Schemas: registry},
			Tags: []*huma.Tag{
				{Name: tagAlerts, Description: "The queue of the site."},
				{Name: tagMesh, Description: "The sites of the mesh and the links between them, as this site sees them."},
				{Name: tagEvents, Description: "What happens, as it happens."},
				{Name: tagLetters, Description: "Messages that functions of the site could not handle."},
				{Name: tagAccess, Description: "Who may do what, and who did."},
				{Name: tagState, Description: "For monitoring."},
			},
		},
		Formats:       map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat},
		DefaultFormat: "application/json",
	})
	api.UseMiddleware(strictParams(api))
	g.registerAlerts(api)
	g.registerSharing(api)
	g.registerTrust(api)
	g.registerDrills(api)
	g.registerMesh(api)
	g.registerEvents(api)
	g.registerDeadLetters(api)
	g.registerAccess(api)
	g.registerState(api, promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	describe(registry)
	for _, path := range api.OpenAPI().Paths {
		for _, op := range operations(path) {
			describeFailures(op)
		}
	}
	return api
}

// operation is what all operations have in common.
func operation(method, path, id, tag, summary, description string, failures ...int) huma.Operation {
	n := needs[method+" "+path]
	return huma.Operation{
		Method: method, Path: path, OperationID: id, Tags: []string{tag}, Summary: summary, Description: description + n.say(),
		Errors: append(n.failures(), append([]int{http.StatusUnprocessableEntity, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, failures...)...),
		// strictParams has checked them.
		SkipValidateParams: true,
	}
}

// describeFailures gives each problem in op the title that its answer will have.
func describeFailures(op *huma.Operation) {
	for status, r := range op.Responses {
		code, err := strconv.Atoi(status)
		if _, problem := r.Content[problemType]; err == nil && problem {
			r.Description = codeOf(code).Title()
		}
	}
}

// withBody says that op reads a T; see [documentBody].
func withBody[T any](api huma.API, op huma.Operation) huma.Operation {
	registry := api.OpenAPI().Components.Schemas
	ref := registry.Schema(reflect.TypeFor[T](), true, "")
	op.Metadata = map[string]any{bodySchema: registry.SchemaFromRef(ref.Ref), bodyRef: ref}
	op.Errors = append(op.Errors, http.StatusBadRequest, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	return op
}

// documentBody puts the body of a registered operation into the document. It
// comes after the registration, for huma would read a body that it knows of.
func documentBody(api huma.API, method, path string, examples map[string]*huma.Example) {
	op := registered(api, method, path)
	ref, _ := op.Metadata[bodyRef].(*huma.Schema)
	op.RequestBody = &huma.RequestBody{
		Required: true, Description: "At most " + strconv.Itoa(MaxBody) + " bytes of JSON in UTF-8, nested at most " + strconv.Itoa(MaxDepth) + " levels deep. A field that is not listed is refused.",
		Content: map[string]*huma.MediaType{"application/json": {Schema: ref, Examples: examples}},
	}
}

// registered is an operation as it stands in the document.
func registered(api huma.API, method, path string) *huma.Operation {
	return operations(api.OpenAPI().Paths[path])[method]
}

// operations are the operations of a path, by method.
func operations(p *huma.PathItem) map[string]*huma.Operation {
	all := map[string]*huma.Operation{
		http.MethodGet: p.Get, http.MethodPost: p.Post, http.MethodPut: p.Put, http.MethodPatch: p.Patch, http.MethodDelete: p.Delete,
	}
	maps.DeleteFunc(all, func(_ string, op *huma.Operation) bool { return op == nil })
	return all
}

// pageParams are the parameters that choose a page of a list.
func pageParams() []*huma.Param {
	return []*huma.Param{
		{
			Name: "skip", In: "query", Description: "How many to leave out from the start",
			Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: ptr(0.0), Maximum: ptr(float64(ask.MaxSkip)), Default: 0},
		},
		{
			Name: "limit", In: "query", Description: "How many to answer with at most",
			Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: ptr(1.0), Maximum: ptr(float64(ask.MaxLimit)), Default: ask.DefaultLimit},
		},
	}
}

// pageInput is the values of [pageParams].
type pageInput struct {
	Skip  int `query:"skip" hidden:"true"`
	Limit int `query:"limit" hidden:"true"`
}

func (in pageInput) page() ask.Page { return ask.Page{Skip: in.Skip, Limit: in.Limit}.WithDefaults() }

// encoded is a T as JSON, as the function made it: of what many ask for all the time,
// reading it only to write it again would be most of the work.
type encoded[T any] struct{ json.RawMessage }

func (e encoded[T]) bytes() []byte { return e.RawMessage }

// jsonFormat is how answers are written.
var jsonFormat = huma.Format{
	Unmarshal: huma.DefaultJSONFormat.Unmarshal,
	Marshal: func(w io.Writer, v any) error {
		if e, ok := v.(interface{ bytes() []byte }); ok {
			_, err := w.Write(e.bytes())
			return err
		}
		return huma.DefaultJSONFormat.Marshal(w, v)
	},
}

// Schema implements huma.SchemaProvider.
func (encoded[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}

// pass is [put] for an answer that goes on as it is.
func pass[Req, Res any](ctx context.Context, g *gateway, e function.Endpoint[Req, Res], req Req) (encoded[Res], error) {
	ctx, cancel := askingFor(ctx)
	defer cancel()
	data, err := function.AskEncoded(ctx, g.bus, g.site.ID, e, req)
	return encoded[Res]{data}, err
}

// reply is what a function said, as the output of an operation.
func reply[T any](value T, err error) (*answer[T], error) {
	if err != nil {
		return nil, err
	}
	return &answer[T]{value}, nil
}

// replyList is [reply] for a list, which has items even where there are none.
func replyList[T any](list ask.List[T], err error) (*answer[ask.List[T]], error) {
	if list.Items == nil {
		list.Items = []T{}
	}
	return reply(list, err)
}

// showTopology puts one question for all who ask at once. Nobody gets an answer to a
// question that was put before he asked.
func (g *gateway) showTopology(ctx context.Context, all []ask.None) ([]encoded[federation.Topology], error) {
	t, err := pass(ctx, g, ask.Topology, ask.None{})
	return slices.Repeat([]encoded[federation.Topology]{t}, len(all)), err
}

func (g *gateway) registerMesh(api huma.API) {
	op := operation(http.MethodGet, "/api/v1/sites", "list-sites", tagMesh, "List the sites",
		"Every site that this site has heard of, itself included.")
	op.Parameters = pageParams()
	huma.Register(api, op, func(ctx context.Context, in *pageInput) (*answer[ask.List[federation.Site]], error) {
		return replyList(put(ctx, g, ask.Sites, in.page()))
	})

	op = operation(http.MethodGet, "/api/v1/system/topology", "get-topology", tagMesh, "Show the mesh",
		"The sites and the links between them, as this site sees them now.")
	huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*answer[encoded[federation.Topology]], error) {
		ctx, cancel := askingFor(ctx)
		defer cancel()
		return reply(g.topology.put(ctx, ask.None{}))
	})

	op = operation(http.MethodGet, "/api/v1/federation/deliveries", "list-deliveries", tagMesh, "Show the delivery ledger",
		"For each peer, what this site has shared with it and what it has stored, and the same the other way. A peer that does not answer within two seconds is not reachable, and what is known here is shown.")
	huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*answer[federation.Deliveries], error) {
		return reply(put(ctx, g, ask.Deliveries, ask.None{}))
	})

	op = operation(http.MethodGet, "/api/v1/links/{id}/history", "get-link-history", tagMesh, "Show the history of a link",
		"The changes of a link's status, the newest first, and for how much of the time it was healthy, degraded and down.", http.StatusNotFound)
	op.Parameters = []*huma.Param{
		{Name: "id", In: "path", Required: true, Description: "The id of the link, e.g. link-site-a-site-b, its sites in either order", Schema: &huma.Schema{Type: huma.TypeString, MinLength: ptr(1), MaxLength: ptr(ask.MaxLinkID)}},
		{
			Name: "hours", In: "query", Description: "How far to look back",
			Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: ptr(1.0), Maximum: ptr(float64(ask.MaxHistoryHours)), Default: ask.DefaultHistoryHours},
		},
	}
	type historyInput struct {
		ID    string `path:"id" hidden:"true"`
		Hours int    `query:"hours" hidden:"true"`
	}
	huma.Register(api, op, func(ctx context.Context, in *historyInput) (*answer[federation.History], error) {
		return reply(put(ctx, g, ask.LinkHistory, ask.HistoryOf{LinkID: in.ID, Hours: in.Hours}))
	})

	op = withBody[federation.Agents](api, operation(http.MethodPut, "/api/v1/system/agents", "set-agents", tagMesh, "Set the agent counts",
		"Sets how many endpoint agents report to this site. The heartbeat carries the counts to the peers."))
	type agentsInput struct{ Payload body[federation.Agents] }
	huma.Register(api, op, func(ctx context.Context, in *agentsInput) (*answer[federation.Site], error) {
		return reply(put(ctx, g, ask.SetAgents, in.Payload.Value))
	})
	documentBody(api, op.Method, op.Path, map[string]*huma.Example{
		"counts": {Summary: "120 agents, 118 of them online", Value: federation.Agents{Total: 120, Online: 118}},
	})
}
