// Package fault is the one error type of the mesh. A fault carries a code, and
// the code alone decides what a caller sees on every road out: the error header
// of a NATS micro reply, the status of an HTTP problem, the exit code of the
// command. The table that says so stands in this file and nowhere else.
//
// Domain packages return faults for what a caller did wrong; everything else is
// an ordinary wrapped error, which is an Internal fault to the outside: its text
// stays in the log, under the request id that the answer carries.
package fault

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Code says what kind of failure a fault is. Codes are part of the wire format.
type Code string

// The codes, each with its meaning to a caller.
const (
	// Invalid: the request is not acceptable as it stands; sending it again will not help.
	Invalid Code = "invalid"
	// Malformed: the bytes of the request are not what they say they are, e.g. no JSON.
	Malformed Code = "malformed"
	// Unauthorized: nobody has signed in, or with what is not, or no longer, good.
	Unauthorized Code = "unauthorized"
	// Forbidden: the request comes from where none is taken, or from who may not do this, or the NATS server lets the site's own not through.
	Forbidden Code = "forbidden"
	// NotFound: the thing named does not exist at this site.
	NotFound Code = "not_found"
	// NotAllowed: the thing exists, but not for this method.
	NotAllowed Code = "not_allowed"
	// Conflict: the request is sound, but the present state forbids it.
	Conflict Code = "conflict"
	// TooLarge: the request is over a size limit.
	TooLarge Code = "too_large"
	// Unsupported: the media type or payload version is not one that is understood.
	Unsupported Code = "unsupported"
	// TooMany: more requests than are taken from one caller; later ones are.
	TooMany Code = "too_many"
	// Unavailable: the part that would answer is not there now; trying again may help.
	Unavailable Code = "unavailable"
	// Timeout: the part that would answer did not do so in time.
	Timeout Code = "timeout"
	// Internal: a defect or an outage of this side. The detail is in its log.
	Internal Code = "internal"
)

// kinds is the table from a code to what the outside sees of it.
var kinds = map[Code]struct {
	status int
	exit   int
	title  string
}{
	Invalid:      {http.StatusUnprocessableEntity, 2, "The request is not valid"},
	Malformed:    {http.StatusBadRequest, 2, "The request cannot be read"},
	Unauthorized: {http.StatusUnauthorized, 2, "Nobody has signed in"},
	Forbidden:    {http.StatusForbidden, 2, "The request is not permitted"},
	NotFound:     {http.StatusNotFound, 3, "There is no such thing"},
	NotAllowed:   {http.StatusMethodNotAllowed, 2, "This cannot be done with it"},
	Conflict:     {http.StatusConflict, 4, "The present state forbids this"},
	TooLarge:     {http.StatusRequestEntityTooLarge, 2, "The request is too large"},
	Unsupported:  {http.StatusUnsupportedMediaType, 2, "The format is not understood"},
	TooMany:      {http.StatusTooManyRequests, 5, "There are too many requests"},
	Unavailable:  {http.StatusServiceUnavailable, 5, "A part of the site does not answer"},
	Timeout:      {http.StatusGatewayTimeout, 5, "A part of the site did not answer in time"},
	Internal:     {http.StatusInternalServerError, 1, "The site failed to do this"},
}

// Codes lists every code, by the HTTP status that it has.
func Codes() []Code {
	return slices.SortedFunc(maps.Keys(kinds), func(a, b Code) int { return cmp.Compare(a.HTTPStatus(), b.HTTPStatus()) })
}

// HTTPStatus is the status code of an HTTP answer for c.
func (c Code) HTTPStatus() int { return c.kind().status }

// ExitCode is the exit code of a command that ends with c.
func (c Code) ExitCode() int { return c.kind().exit }

// Title is the short sentence that stands over every problem of code c.
func (c Code) Title() string { return c.kind().title }

func (c Code) kind() struct {
	status int
	exit   int
	title  string
} {
	if k, ok := kinds[c]; ok {
		return k
	}
	return kinds[Internal]
}

// Permanent reports whether trying the same thing again can never succeed. The
// runtime ends the delivery of a message whose handler returns such a fault.
func (c Code) Permanent() bool {
	switch c {
	case Invalid, Malformed, Unauthorized, Forbidden, NotFound, NotAllowed, Conflict, TooLarge, Unsupported:
		return true
	}
	return false
}

// Field is one thing that is wrong with one field of a request.
type Field struct {
	// Name is the path of the field as the caller wrote it, e.g. "iocs[2].type".
	Name string `json:"field"`
	// Value is what the caller sent, shortened to 100 characters.
	Value string `json:"value,omitempty"`
	// Allowed says what would have been accepted.
	Allowed string `json:"allowed"`
}

// String is the field, the value and what is allowed, as one sentence.
func (f Field) String() string {
	if f.Value == "" {
		return f.Name + ": " + f.Allowed
	}
	return fmt.Sprintf("%s: %q is not allowed: %s", f.Name, f.Value, f.Allowed)
}

// Error is a fault.
type Error struct {
	Code    Code    `json:"code"`
	Message string  `json:"message"`
	Fields  []Field `json:"fields,omitempty"`
}

// New is a fault with a formatted message.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error implements error: the message, then each field.
func (e *Error) Error() string {
	if len(e.Fields) == 0 {
		return e.Message
	}
	parts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		parts[i] = f.String()
	}
	return e.Message + ": " + strings.Join(parts, "; ")
}

// Of is the fault that err is or wraps. An expired context becomes Timeout;
// any other error becomes Internal with a message that gives nothing away.
// Of(nil) is nil.
func Of(err error) *Error {
	var f *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.DeadlineExceeded):
		return New(Timeout, "the time for this ran out")
	default:
		return New(Internal, "an internal error; its detail is in the log of the function")
	}
}

// Is reports whether err is or wraps a fault of the given code.
func Is(err error, code Code) bool {
	f := Of(err)
	return f != nil && f.Code == code
}

// JSON is the wire form of the fault.
func (e *Error) JSON() []byte {
	b, err := json.Marshal(e)
	if err != nil { // strings only: cannot fail
		panic(err)
	}
	return b
}

// Parse reads the wire form of a fault; ok is false where data is not one.
func Parse(data []byte) (f *Error, ok bool) {
	f = new(Error)
	if json.Unmarshal(data, f) != nil || f.Code == "" {
		return nil, false
	}
	if _, known := kinds[f.Code]; !known {
		f.Code = Internal
	}
	return f, true
}

// Fields collects what is wrong with a request, so that a caller learns all of
// it at once.
type Fields []Field

// Add notes that the field name has value, and says what is allowed.
func (fs *Fields) Add(name, value, allowed string) {
	*fs = append(*fs, Field{Name: shorten(name), Value: shorten(value), Allowed: allowed})
}

// Err is nil where nothing was added, else one Invalid fault with every field.
func (fs Fields) Err(what string) error {
	if len(fs) == 0 {
		return nil
	}
	return &Error{Code: Invalid, Message: what, Fields: fs}
}

func shorten(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if r := []rune(s); len(r) > 100 {
		return string(r[:97]) + "..."
	}
	return s
}
