package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
)

const problemType = "application/problem+json"

// Problem is the answer to a request that failed, in the form of RFC 9457.
type Problem struct {
	Type      string        `json:"type" format:"uri-reference" doc:"What kind of problem this is: a link to its description" example:"/docs#problem-invalid"`
	Title     string        `json:"title" doc:"The kind of problem in a short sentence" example:"The request is not valid"`
	Status    int           `json:"status" doc:"The HTTP status of the answer" example:"422"`
	Detail    string        `json:"detail" doc:"What went wrong this time" example:"the alert is not valid"`
	Instance  string        `json:"instance" format:"uri-reference" doc:"The path that was asked" example:"/api/v1/alerts"`
	Code      fault.Code    `json:"code" doc:"The kind of problem for programs" example:"invalid"`
	RequestID string        `json:"request_id" doc:"The id under which the log of the site has this request"`
	Errors    []fault.Field `json:"errors" doc:"Each thing that is wrong with the request, by field"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus tells huma the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType tells huma the media type.
func (p *Problem) ContentType(string) string { return problemType }

// huma makes every error through these two variables of its own, which exist once
// in a process. What they are set to depends on the request alone, so any number
// of gateways can share them.
func init() {
	huma.DefaultArrayNullable = false
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return problemOf(faultOf(status, msg, errs), "", "")
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		f := faultOf(status, msg, errs)
		if f.Code == fault.Internal {
			noteCause(ctx.Context(), fmt.Errorf("%s: %w", msg, errors.Join(errs...)))
		}
		for name, value := range headersFor(f) {
			ctx.SetHeader(name, value)
		}
		u := ctx.URL()
		return problemOf(f, u.EscapedPath(), function.RequestID(ctx.Context()))
	}
}

// faultOf is the fault behind an error of huma. The handlers' own errors come
// through huma too, as its only detail.
func faultOf(status int, msg string, errs []error) *fault.Error {
	for _, err := range errs {
		var f *fault.Error
		if errors.As(err, &f) {
			return f
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return fault.Of(err)
		}
		if errors.Is(err, context.Canceled) {
			return fault.New(fault.Timeout, "the client went away before there was an answer")
		}
	}
	if status >= http.StatusInternalServerError {
		return fault.Of(errors.New(msg))
	}
	f := fault.New(codeOf(status), "%s", msg)
	for _, err := range errs {
		var d huma.ErrorDetailer
		if !errors.As(err, &d) {
			continue
		}
		detail := d.ErrorDetail()
		value := ""
		if detail.Value != nil {
			value = fmt.Sprint(detail.Value)
		}
		_, name, ok := strings.Cut(detail.Location, ".")
		if !ok {
			name = detail.Location
		}
		f.Fields = append(f.Fields, fieldOf(name, value, detail.Message))
	}
	return f
}

func codeOf(status int) fault.Code {
	for _, c := range fault.Codes() {
		if c.HTTPStatus() == status {
			return c
		}
	}
	return fault.Invalid
}

func fieldOf(name, value, allowed string) fault.Field {
	var fs fault.Fields
	fs.Add(name, value, allowed)
	return fs[0]
}

func problemOf(f *fault.Error, instance, requestID string) *Problem {
	p := &Problem{
		Type: "/docs#problem-" + string(f.Code), Title: f.Code.Title(), Status: f.Code.HTTPStatus(), Detail: f.Message,
		Instance: instance, Code: f.Code, RequestID: requestID, Errors: f.Fields,
	}
	if p.Errors == nil {
		p.Errors = []fault.Field{}
	}
	return p
}

// headersFor are the headers that go with a problem.
func headersFor(f *fault.Error) map[string]string {
	if f.Code == fault.Unavailable {
		return map[string]string{"Retry-After": "1"}
	}
	return nil
}

// writeProblem answers a request that never reached huma.
func writeProblem(w http.ResponseWriter, r *http.Request, f *fault.Error) {
	u := url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath}
	body, err := json.Marshal(problemOf(f, u.EscapedPath(), function.RequestID(r.Context())))
	if err != nil { // strings and numbers only: cannot fail
		panic(err)
	}
	for name, value := range headersFor(f) {
		w.Header().Set(name, value)
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(f.Code.HTTPStatus())
	_, _ = w.Write(append(body, '\n')) // the client may be gone; nothing is left to tell it
}
