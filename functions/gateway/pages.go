package gateway

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/auroramesh/auroramesh/shared/fault"
)

//go:embed web
var web embed.FS

var templates = template.Must(template.ParseFS(web, "web/*.html"))

// pages registers what people open in a browser, and the OpenAPI document.
func (g *gateway) pages(mux *routes, api huma.API) {
	doc := api.OpenAPI()
	serve(mux, "/openapi.json", "application/json", func() ([]byte, error) { return json.MarshalIndent(doc, "", "  ") })
	serve(mux, "/openapi.yaml", "application/yaml", doc.YAML)
	serve(mux, "/docs", "text/html; charset=utf-8", func() ([]byte, error) { return render("docs.html", g.docsPage(doc)), nil })
	for name, media := range map[string]string{"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"} {
		serve(mux, "/assets/"+name, media, func() ([]byte, error) { return web.ReadFile("web/" + name) })
	}
}

// serve registers a file. It is made once, when it is first asked for: a site starts sooner
// without what few look at, and nothing in it changes while the site runs. A browser asks
// again each time, for the next version of the software has the same address.
func serve(mux *routes, path, media string, file func() ([]byte, error)) {
	data := sync.OnceValue(func() []byte {
		made, err := file()
		if err != nil {
			panic(err) // a mistake in the operations or the build: every test would see it
		}
		return made
	})
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
		file := data()
		w.Header().Set("Content-Type", media)
		_, _ = w.Write(file) // the client may be gone
	})
}

func render(name string, page any) []byte {
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, name, page); err != nil {
		panic(err)
	}
	return out.Bytes()
}

type indexPage struct {
	SiteID, SiteName, Tier, Version, Base string
}

func (g *gateway) indexPage() indexPage {
	return indexPage{string(g.site.ID), g.site.Name, string(g.site.Tier), g.site.Version, g.base}
}

// docsPage is the OpenAPI document as the template shows it.
type docsPage struct {
	indexPage
	Title, Description string
	Groups             []docGroup
	Schemas            []docSchema
	Problems           []docProblem
}

type docGroup struct {
	Name, Anchor, Description string
	Operations                []docOperation
}

type docOperation struct {
	ID, Method, Path, Summary, Description string
	Params                                 []docField
	Body                                   *docBody
	Responses                              []docResponse
	Curl                                   string
}

type docBody struct {
	Description string
	Fields      []docField
	Examples    []docExample
}

type docExample struct{ Summary, JSON string }

type docField struct {
	Name, In, Description string
	Type                  docType
	Required              bool
	Default               string
}

// docType is a type in words, with the schema that it links to.
type docType struct{ Text, Ref string }

type docResponse struct {
	Status, Description, Media string
	Type                       docType
}

type docSchema struct {
	Name   string
	Fields []docField
}

type docProblem struct {
	Code   string
	Status int
	Title  string
}

func (g *gateway) docsPage(doc *huma.OpenAPI) docsPage {
	p := docsPage{indexPage: g.indexPage(), Title: doc.Info.Title, Description: doc.Info.Description}
	for _, tag := range doc.Tags {
		group := docGroup{Name: tag.Name, Anchor: anchor(tag.Name), Description: tag.Description}
		for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
			for _, op := range orderedOperations(doc.Paths[path]) {
				if slices.Contains(op.Tags, tag.Name) {
					group.Operations = append(group.Operations, g.docOperation(doc, op))
				}
			}
		}
		p.Groups = append(p.Groups, group)
	}
	schemas := doc.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		p.Schemas = append(p.Schemas, docSchema{name, docFields(schemas[name])})
	}
	for _, c := range fault.Codes() {
		p.Problems = append(p.Problems, docProblem{string(c), c.HTTPStatus(), c.Title()})
	}
	return p
}

func orderedOperations(item *huma.PathItem) []*huma.Operation {
	byMethod := operations(item)
	var all []*huma.Operation
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if op := byMethod[m]; op != nil {
			all = append(all, op)
		}
	}
	return all
}

func (g *gateway) docOperation(doc *huma.OpenAPI, op *huma.Operation) docOperation {
	d := docOperation{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Description: op.Description}
	for _, param := range op.Parameters {
		f := docField{Name: param.Name, In: param.In, Description: param.Description, Type: docType{Text: form(param.Schema)}, Required: param.Required}
		if param.Schema.Default != nil {
			f.Default = fmt.Sprint(param.Schema.Default)
		}
		d.Params = append(d.Params, f)
	}
	example := ""
	if op.RequestBody != nil {
		content := op.RequestBody.Content["application/json"]
		d.Body = &docBody{Description: op.RequestBody.Description, Fields: docFields(resolve(doc.Components.Schemas, content.Schema))}
		for _, name := range slices.Sorted(maps.Keys(content.Examples)) {
			e := content.Examples[name]
			d.Body.Examples = append(d.Body.Examples, docExample{e.Summary, indented(e.Value)})
			if example == "" {
				example = compact(e.Value)
			}
		}
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		r := op.Responses[status]
		out := docResponse{Status: status, Description: r.Description}
		for media, content := range r.Content {
			out.Media = media
			if content.Schema != nil {
				out.Type = typeOf(content.Schema)
			}
		}
		d.Responses = append(d.Responses, out)
	}
	d.Curl = g.curl(op, example)
	return d
}

// curl is a command that does op on this site.
func (g *gateway) curl(op *huma.Operation, body string) string {
	var b strings.Builder
	b.WriteString("curl -s")
	if op.OperationID == "stream-events" {
		b.WriteString("N") // no buffering
	}
	if op.Method != http.MethodGet {
		b.WriteString(" -X " + op.Method)
	}
	b.WriteString(" '" + g.base + strings.ReplaceAll(op.Path, "{id}", idInDocs(op.Path)))
	if op.OperationID == "list-alerts" {
		b.WriteString("?severity=high&limit=10")
	}
	b.WriteString("'")
	if body != "" {
		b.WriteString(" \\\n  -H 'Content-Type: application/json' \\\n  -d '" + strings.ReplaceAll(body, "'", `'\''`) + "'")
	}
	return b.String()
}

// idInDocs stands in an example for the id in path.
func idInDocs(path string) string {
	switch {
	case path == letterPath || strings.HasPrefix(path, letterPath+"/"):
		return "DEAD-LETTER-ID"
	case path == keyPath:
		return "KEY-ID"
	case strings.HasPrefix(path, "/api/v1/links/"):
		return "LINK-ID"
	default:
		return "ALERT-ID"
	}
}

func docFields(s *huma.Schema) []docField {
	var fields []docField
	for _, name := range names(s) {
		p := s.Properties[name]
		fields = append(fields, docField{
			Name: name, Description: p.Description, Type: typeOf(p), Required: slices.Contains(s.Required, name),
		})
	}
	slices.SortStableFunc(fields, func(a, b docField) int { // what is required comes first
		return cmp.Compare(order(a.Required), order(b.Required))
	})
	return fields
}

func order(required bool) int {
	if required {
		return 0
	}
	return 1
}

// typeOf is a schema in words.
func typeOf(s *huma.Schema) docType {
	switch {
	case s.Ref != "":
		return docType{refName(s), refName(s)}
	case s.Type == huma.TypeArray && s.Items != nil && s.Items.Ref != "":
		return docType{"list of " + refName(s.Items), refName(s.Items)}
	}
	t := docType{Text: form(s)}
	if s.Pattern != "" {
		t.Text += " matching " + s.Pattern
	}
	if s.Items != nil && s.Items.Pattern != "" {
		t.Text += " matching " + s.Items.Pattern
	}
	if s.Nullable {
		t.Text += ", or null"
	}
	return t
}

func anchor(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "-") }

func indented(v any) string {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic(err) // the examples are literals
	}
	return strings.TrimSpace(out.String())
}

func compact(v any) string {
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(indented(v))); err != nil {
		panic(err)
	}
	return out.String()
}
