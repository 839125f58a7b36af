package function

import (
	"errors"
	"reflect"
	"unicode/utf8"

	"github.com/go-json-experiment/json/v1"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// decode makes the typed value of a payload, or says as a fault why it cannot:
// not UTF-8, no JSON, a field of the wrong type, or refused by the value's own
// Validate. An empty payload stands for the empty object.
func decode[T any](data []byte) (T, error) {
	var v T
	if !utf8.Valid(data) {
		return v, fault.New(fault.Invalid, "the payload is not UTF-8")
	}
	if len(data) == 0 {
		data = []byte("{}")
	}
	if err := json.Unmarshal(data, &v); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			var fields fault.Fields
			fields.Add(wrong.Field, wrong.Value, "a value of type "+jsonType(wrong.Type))
			return v, fields.Err("the payload has a field of the wrong type")
		}
		return v, fault.New(fault.Invalid, "the payload is not the JSON expected: %v", err)
	}
	if checked, ok := any(v).(interface{ Validate() error }); ok {
		return v, checked.Validate()
	}
	return v, nil
}

// jsonType is what a caller would have to write for a Go type.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice, reflect.Array:
		return "list"
	case reflect.Struct, reflect.Map:
		return "object"
	}
	return "number"
}
