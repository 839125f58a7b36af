package gateway

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// strictParams refuses query parameters that the operation does not have, or has
// twice, and every value that the document does not allow. Huma reads them after
// it, and finds nothing more to complain of.
func strictParams(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if err := checkParams(ctx); err != nil {
			_ = huma.WriteErr(api, ctx, err.Code.HTTPStatus(), err.Message, err) // huma has logged why a write failed
			return
		}
		next(ctx)
	}
}

func checkParams(ctx huma.Context) *fault.Error {
	u := ctx.URL()
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return &fault.Error{Code: fault.Invalid, Message: "the query cannot be read", Fields: []fault.Field{
			fieldOf("query", u.RawQuery, "name=value pairs with & between them, percent-encoded"),
		}}
	}
	var wrong fault.Fields
	known := []string{}
	for _, p := range ctx.Operation().Parameters {
		switch p.In {
		case "query":
			known = append(known, p.Name)
			switch values := query[p.Name]; {
			case len(values) > 1:
				wrong.Add(p.Name, strings.Join(values, ", "), "to be given once")
			case len(values) == 1:
				checkParam(&wrong, p, values[0])
			}
		case "header":
			if v := ctx.Header(p.Name); v != "" {
				checkParam(&wrong, p, v)
			}
		}
	}
	unknown := []string{}
	for name := range query {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		allowed := "no such parameter; there are none here"
		if len(known) > 0 {
			allowed = "no such parameter; the parameters are " + strings.Join(known, ", ")
		}
		wrong.Add(name, query.Get(name), allowed)
	}
	if len(wrong) == 0 {
		return nil
	}
	return &fault.Error{Code: fault.Invalid, Message: "the parameters are not valid", Fields: wrong}
}

// tlpFormat marks a label, which has more spellings than the enum names.
const tlpFormat = "tlp"

func checkParam(wrong *fault.Fields, p *huma.Param, value string) {
	s := p.Schema
	var ok bool
	allowed := "" // where it is not what the form says
	switch {
	case s.Type == huma.TypeInteger:
		n, err := strconv.ParseUint(value, 10, 64)
		ok = err == nil && (s.Minimum == nil || float64(n) >= *s.Minimum) && (s.Maximum == nil || float64(n) <= *s.Maximum)
	case s.Format == tlpFormat:
		ok = federation.ParseTLP(value).Valid()
	case len(s.Enum) > 0:
		ok = slices.Contains(s.Enum, any(value))
	case !utf8.ValidString(value): // in the words of a field of a body
		ok, allowed = false, "text in UTF-8"
	case strings.ContainsRune(value, 0):
		ok, allowed = false, "text without the character U+0000"
	default:
		n := utf8.RuneCountInString(value)
		ok = (s.MinLength == nil || n >= *s.MinLength) && (s.MaxLength == nil || n <= *s.MaxLength)
	}
	if !ok {
		wrong.Add(p.Name, value, cmp.Or(allowed, form(s)))
	}
}

// form says in words what a value of the schema looks like.
func form(s *huma.Schema) string {
	switch {
	case len(s.Enum) > 0:
		return "one of " + enumWords(s.Enum)
	case s.Format == "date-time":
		return "a time in RFC 3339, e.g. 2026-01-31T12:00:00Z"
	case s.Type == huma.TypeInteger:
		return "a whole number" + between(s.Minimum, s.Maximum)
	case s.Type == huma.TypeNumber:
		return "a number" + between(s.Minimum, s.Maximum)
	case s.Type == huma.TypeBoolean:
		return "true or false"
	case s.Type == huma.TypeString && s.MinLength != nil && s.MaxLength != nil:
		return "text of " + strconv.Itoa(*s.MinLength) + " to " + strconv.Itoa(*s.MaxLength) + " characters"
	case s.Type == huma.TypeString && s.MaxLength != nil:
		return "text of at most " + strconv.Itoa(*s.MaxLength) + " characters"
	case s.Type == huma.TypeString:
		return "text"
	case s.Type == huma.TypeArray && s.MaxItems != nil:
		return "a list of at most " + strconv.Itoa(*s.MaxItems) + " entries, each " + form(s.Items)
	case s.Type == huma.TypeArray:
		return "a list"
	case s.Type == huma.TypeObject || s.Ref != "":
		return "an object"
	case len(s.OneOf) > 0:
		forms := make([]string, len(s.OneOf))
		for i, o := range s.OneOf {
			forms[i] = o.Title
		}
		return strings.Join(forms, ", or ")
	}
	return "any JSON value"
}

func between(low, high *float64) string {
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	switch {
	case low != nil && high != nil:
		return " from " + number(*low) + " to " + number(*high)
	case low != nil:
		return " from " + number(*low) + " on"
	case high != nil:
		return " up to " + number(*high)
	}
	return ""
}

func enumWords(enum []any) string {
	words := make([]string, len(enum))
	for i, e := range enum {
		words[i], _ = e.(string) // every enum of this API is of strings
	}
	return strings.Join(words, ", ")
}
