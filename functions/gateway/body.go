package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	fastjson "github.com/go-json-experiment/json/v1"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// body is the JSON body of a request. Huma resolves it while it reads the input
// of an operation, so a handler sees only bodies that are valid.
//
// It is read here and not by huma, because much must be refused that
// encoding/json takes or mends in silence: bytes that are not UTF-8, half of a
// surrogate pair, a field given twice, a field in other letters, a second value
// behind the first. The schema that it is held to is the one in the document.
type body[T validator] struct {
	Value T `json:"-"`
}

type validator interface{ Validate() error }

// The keys under which an operation keeps the schema of its body, and the reference to it.
const (
	bodySchema = "body"
	bodyRef    = "body-ref"
)

// Resolve implements huma.Resolver.
func (b *body[T]) Resolve(ctx huma.Context) []error {
	schema, ok := ctx.Operation().Metadata[bodySchema].(*huma.Schema)
	if !ok {
		return []error{errors.New("the operation does not say what its body is")}
	}
	if err := checkMediaType(ctx); err != nil {
		return []error{err}
	}
	data, err := readBody(ctx.BodyReader(), ctx.Header("Content-Length"))
	setAsksUntil(ctx.Context(), time.Now().Add(AskTimeout))
	if err != nil {
		return []error{err}
	}
	if err := decode(data, schema, &b.Value); err != nil {
		return []error{err}
	}
	return nil
}

// checkMediaType refuses a body that says it is something else than JSON in UTF-8.
func checkMediaType(ctx huma.Context) error {
	var wrong fault.Fields
	if v := ctx.Header("Content-Type"); v != "" {
		media, params, err := mime.ParseMediaType(v)
		if err != nil || media != "application/json" || params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
			wrong.Add("Content-Type", v, "application/json, in UTF-8")
		}
	}
	if v := ctx.Header("Content-Encoding"); v != "" && !strings.EqualFold(v, "identity") {
		wrong.Add("Content-Encoding", v, "none: the body is not compressed")
	}
	if len(wrong) == 0 {
		return nil
	}
	return &fault.Error{Code: fault.Unsupported, Message: "the body is not JSON", Fields: wrong}
}

// mostAhead is up to how many bytes there is room for a body before any of it has come.
const mostAhead = 64 << 10

// readBody reads a body that says that it has length bytes; empty where it does not say.
func readBody(r io.Reader, length string) ([]byte, error) {
	said, _ := strconv.ParseUint(length, 10, 63) // 0 where it is no number: then room is made as it comes
	body := bytes.NewBuffer(make([]byte, 0, min(said, mostAhead)+bytes.MinRead))
	_, err := body.ReadFrom(r)
	data := body.Bytes()
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, fault.New(fault.TooLarge, "the body is over the limit of %d bytes", over.Limit)
	case err != nil:
		return nil, fault.New(fault.Malformed, "the body did not arrive whole")
	case !utf8.Valid(data):
		return nil, fault.New(fault.Malformed, "the body is not UTF-8")
	case len(bytes.TrimSpace(data)) == 0:
		return nil, fault.New(fault.Malformed, "the body is empty; it must be a JSON object")
	}
	return data, scan(data)
}

// scan refuses nesting deeper than [MaxDepth] and escapes that are half of a
// surrogate pair. It reads strings only as far as it must to skip them; what is
// no JSON at all is left to the decoder.
func scan(data []byte) error {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '[', '{':
			if depth++; depth > MaxDepth {
				return fault.New(fault.Malformed, "the JSON nests deeper than %d levels", MaxDepth)
			}
		case ']', '}':
			depth--
		case '"':
			end, ok := scanString(data, i+1)
			if !ok {
				return fault.New(fault.Malformed, "the JSON has half of a surrogate pair at byte %d", end)
			}
			i = end
		}
	}
	return nil
}

// scanString is the index of the quote that ends the string from i on, or, with
// ok false, of the escape that is half of a surrogate pair.
func scanString(data []byte, i int) (end int, ok bool) {
	for ; i < len(data); i++ {
		switch data[i] {
		case '"':
			return i, true
		case '\\':
			unit, isUnit := codeUnit(data[i:])
			if !isUnit || unit < 0xD800 || unit > 0xDFFF {
				i++
				continue
			}
			low, isUnit := codeUnit(data[min(i+6, len(data)):])
			if unit > 0xDBFF || !isUnit || low < 0xDC00 || low > 0xDFFF {
				return i, false
			}
			i += 11
		}
	}
	return i, true
}

// codeUnit reads an escape of the form \uXXXX.
func codeUnit(b []byte) (uint64, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return unit, err == nil
}

// maxFaults is about how many faults of a body are told. Its sender has learnt
// enough by then, and the answer stays small however hostile the body.
const maxFaults = 20

// decode reads data into v, and says of every field what is wrong with it.
func decode[T validator](data []byte, schema *huma.Schema, v *T) error {
	fields, err := topLevel(data)
	if err != nil {
		return err
	}
	const what = "the body is not valid"
	var wrong fault.Fields
	given := map[string]bool{}
	for _, f := range fields {
		if len(wrong) >= maxFaults {
			break
		}
		property := schema.Properties[f.name]
		switch {
		case property == nil:
			wrong.Add(f.name, string(f.raw), "no such field; the fields are "+strings.Join(names(schema), ", "))
		case given[f.name]:
			wrong.Add(f.name, string(f.raw), "to be given once")
		case slices.Contains(schema.Required, f.name) && string(f.raw) == "null" && !property.Nullable:
			wrong.Add(f.name, "null", form(property))
		default:
			checkForm(&wrong, f.name, f.raw, property)
		}
		given[f.name] = true
	}
	if len(wrong) > 0 {
		return wrong.Err(what)
	}
	for _, name := range schema.Required {
		if !given[name] {
			wrong.Add(name, "", "is required: "+form(schema.Properties[name]))
		}
	}
	if err := fastjson.Unmarshal(data, v); err != nil {
		var t *fastjson.UnmarshalTypeError
		if errors.As(err, &t) {
			wrong.Add(t.Field, t.Value, "a value of another type")
			return wrong.Err(what)
		}
		return fault.New(fault.Malformed, "the JSON cannot be read: %v", err)
	}
	return merge(wrong, what, (*v).Validate())
}

// merge adds to wrong what err says of fields that wrong does not name yet.
func merge(wrong fault.Fields, what string, err error) error {
	var f *fault.Error
	if err != nil && !errors.As(err, &f) || f != nil && f.Code != fault.Invalid {
		return err
	}
	if f != nil {
		what = f.Message
		for _, field := range f.Fields {
			if !slices.ContainsFunc(wrong, func(w fault.Field) bool { return w.Name == field.Name }) {
				wrong = append(wrong, field)
			}
		}
	}
	return wrong.Err(what)
}

type member struct {
	name string
	raw  json.RawMessage
}

// topLevel is the members of the one object that data must be, in their order.
func topLevel(data []byte) ([]member, error) {
	if members, ok := split(data); ok {
		return members, nil
	}
	return readMembers(data)
}

// split is topLevel for an object whose names are written without escapes, as nearly all
// are, in a fifth of the time. ok is false where data may be anything else.
func split(data []byte) (members []member, ok bool) {
	if !json.Valid(data) { // so what follows need not be on its guard
		return nil, false
	}
	data = bytes.Trim(data, jsonSpace)
	if data[0] != '{' {
		return nil, false
	}
	for rest := bytes.TrimLeft(data[1:], jsonSpace); rest[0] == '"'; rest = bytes.TrimLeft(rest, jsonSpace+",") {
		end, whole := scanString(rest, 1)
		name := rest[1:end]
		if !whole || bytes.IndexByte(name, '\\') >= 0 {
			return nil, false
		}
		rest = bytes.TrimLeft(rest[end+1:], jsonSpace+":")
		n := valueEnd(rest)
		members = append(members, member{string(name), rest[:n:n]})
		rest = rest[n:]
	}
	return members, true
}

const jsonSpace = " \t\r\n"

// valueEnd is where the JSON value ends with which data begins.
func valueEnd(data []byte) int {
	depth := 0
	for i := 0; ; i++ {
		switch data[i] {
		case '"':
			i, _ = scanString(data, i+1)
		case '[', '{':
			depth++
			continue
		case ']', '}':
			depth--
		default:
			if depth > 0 {
				continue
			}
			return i + bytes.IndexAny(data[i:], jsonSpace+",]}") // a number or a word
		}
		if depth == 0 {
			return i + 1
		}
	}
}

// readMembers is topLevel by the decoder, which says what is wrong.
func readMembers(data []byte) ([]member, error) {
	malformed := func(err error, at int64) error {
		return fault.New(fault.Malformed, "the body is not JSON: %v, near byte %d", err, at)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	first, err := dec.Token()
	if err != nil {
		return nil, malformed(err, dec.InputOffset())
	}
	if first != json.Delim('{') {
		if !json.Valid(data) {
			return nil, fault.New(fault.Malformed, "the body is not JSON")
		}
		var wrong fault.Fields
		wrong.Add("body", string(bytes.TrimSpace(data)), "a JSON object")
		return nil, wrong.Err("the body is not valid")
	}
	var members []member
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, malformed(err, dec.InputOffset())
		}
		m := member{}
		m.name, _ = key.(string) // the decoder takes nothing else for a key
		if err := dec.Decode(&m.raw); err != nil {
			return nil, malformed(err, dec.InputOffset())
		}
		members = append(members, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, malformed(err, dec.InputOffset())
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fault.New(fault.Malformed, "there is more after the JSON object, at byte %d", dec.InputOffset())
	}
	return members, nil
}

// checkForm notes a value that is not of the type that its schema says. Limits
// are left to Validate, which knows them all. A null is as good as no field.
func checkForm(wrong *fault.Fields, name string, raw json.RawMessage, schema *huma.Schema) {
	if string(raw) == "null" {
		return
	}
	ok := true
	switch schema.Type {
	case huma.TypeString:
		ok = raw[0] == '"'
		if ok && schema.Format == "date-time" {
			var t time.Time
			ok = json.Unmarshal(raw, &t) == nil
		}
	case huma.TypeInteger:
		_, err := strconv.Atoi(string(raw))
		ok = err == nil
	case huma.TypeArray:
		var elements []json.RawMessage
		ok = json.Unmarshal(raw, &elements) == nil
		if most := schema.MaxItems; ok && most != nil && len(elements) > *most {
			wrong.Add(name, strconv.Itoa(len(elements))+" entries", "at most "+strconv.Itoa(*most)+" entries")
			return
		}
		if ok {
			for i, e := range elements {
				at := name + "[" + strconv.Itoa(i) + "]"
				if string(e) == "null" {
					wrong.Add(at, "null", form(schema.Items))
					continue
				}
				checkForm(wrong, at, e, schema.Items)
			}
		}
	}
	if !ok {
		value := string(raw)
		if raw[0] == '"' {
			_ = json.Unmarshal(raw, &value) // it was decoded once: cannot fail
		}
		wrong.Add(name, value, form(schema))
	}
}

func names(schema *huma.Schema) []string {
	all := make([]string, 0, len(schema.Properties))
	for name := range schema.Properties {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
