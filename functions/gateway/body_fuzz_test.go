package gateway

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// FuzzDecode feeds bodies of any bytes. Whatever comes, the answer is an alert
// that is valid or a fault of the caller, and a value that is taken says the same
// to encoding/json.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"title":"t","severity":"high","source":"s","iocs":["203.0.113.7"]}`,
		`{"title":"\ud83d\ude00","severity":"low","source":"s","raw_log":{"a":[1,null]},"observed_at":"2026-01-31T12:00:00Z"}`,
		`{"title":"\ud83d"}`, `{"a":"\\`, `{"a":"\u`, `[[[[`, `{"title":1,"title":2}`, `{}{}`, `nul`, "\"\xff\"", `{"":0}`,
	} {
		f.Add([]byte(seed))
	}
	registry := newRegistry()
	schema := registry.SchemaFromRef(registry.Schema(reflect.TypeFor[federation.NewAlert](), true, "").Ref)
	describe(registry)
	f.Fuzz(func(t *testing.T, data []byte) {
		read, err := readBody(strings.NewReader(string(data)), "")
		var n federation.NewAlert
		if err == nil {
			err = decode(read, schema, &n)
		}
		if err != nil {
			var f *fault.Error
			if !errors.As(err, &f) || !f.Code.Permanent() {
				t.Fatalf("%q is refused with %v, which is no fault of the caller", data, err)
			}
			return
		}
		if err := n.Validate(); err != nil {
			t.Fatalf("%q is taken, though %v", data, err)
		}
		var same federation.NewAlert
		if err := json.Unmarshal(data, &same); err != nil || !reflect.DeepEqual(n, same) {
			t.Fatalf("%q is read as %+v, by encoding/json as %+v (%v)", data, n, same, err)
		}
	})
}

// FuzzSplit compares the members that are found quickly with those that the decoder finds.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { } `, `{"a":1}`, "{\t\"a\" :\r\n{\"b\":[1,{\"c\":\"}]\"}]} , \"d\":null }", `{"a":"\\\"","a":-1.5e+3}`, `{"\u0061":true}`, `{"a":1}{}`, `[1]`, `{"a":"\u00e9 é","b":false,"":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) || scan(data) != nil { // readBody has refused it
			return
		}
		quick, ok := split(data)
		if !ok {
			return
		}
		members, err := readMembers(data)
		if diff := cmp.Diff(members, quick, cmp.AllowUnexported(member{})); diff != "" || err != nil {
			t.Errorf("%q (-by the decoder +quick): %s%v", data, diff, err)
		}
	})
}
