package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/fault"
)

func Example() {
	var wrong fault.Fields
	wrong.Add("severity", "severe", "critical, high, medium, low or info")
	wrong.Add("title", "", "is required")
	err := fmt.Errorf("raising an alert: %w", wrong.Err("the alert is not valid"))

	f := fault.Of(err)
	fmt.Println(f.Code, f.Code.HTTPStatus(), f.Code.ExitCode())
	fmt.Println(f)
	// Output:
	// invalid 422 2
	// the alert is not valid: severity: "severe" is not allowed: critical, high, medium, low or info; title: is required
}

func TestACodeDecidesWhatEveryRoadShows(t *testing.T) {
	codes := map[fault.Code]struct {
		status, exit int
		permanent    bool
	}{
		fault.Malformed:    {http.StatusBadRequest, 2, true},
		fault.Unauthorized: {http.StatusUnauthorized, 2, true},
		fault.Forbidden:    {http.StatusForbidden, 2, true},
		fault.NotFound:     {http.StatusNotFound, 3, true},
		fault.NotAllowed:   {http.StatusMethodNotAllowed, 2, true},
		fault.Conflict:     {http.StatusConflict, 4, true},
		fault.TooLarge:     {http.StatusRequestEntityTooLarge, 2, true},
		fault.Unsupported:  {http.StatusUnsupportedMediaType, 2, true},
		fault.Invalid:      {http.StatusUnprocessableEntity, 2, true},
		fault.TooMany:      {http.StatusTooManyRequests, 5, false},
		fault.Internal:     {http.StatusInternalServerError, 1, false},
		fault.Unavailable:  {http.StatusServiceUnavailable, 5, false},
		fault.Timeout:      {http.StatusGatewayTimeout, 5, false},
	}
	last := 0
	for _, c := range fault.Codes() {
		want, known := codes[c]
		if !known {
			t.Errorf("%s is not in this table", c)
			continue
		}
		delete(codes, c)
		if c.HTTPStatus() != want.status || c.ExitCode() != want.exit || c.Permanent() != want.permanent {
			t.Errorf("%s: status %d, exit code %d, permanent %t", c, c.HTTPStatus(), c.ExitCode(), c.Permanent())
		}
		if c.Title() == "" {
			t.Errorf("%s has no title", c)
		}
		if c.HTTPStatus() <= last {
			t.Errorf("%s is out of order, or shares its status with the one before it", c)
		}
		last = c.HTTPStatus()
	}
	for c := range codes {
		t.Errorf("%s is not listed", c)
	}
	if c := fault.Code("made up"); c.HTTPStatus() != 500 || c.ExitCode() != 1 || c.Permanent() || c.Title() != fault.Internal.Title() {
		t.Error("an unknown code is not treated as an internal one")
	}
}

func TestOfFindsTheFaultInAnyError(t *testing.T) {
	conflict := fault.New(fault.Conflict, "alert %d is closed", 7)
	for name, c := range map[string]struct {
		err  error
		code fault.Code
		text string
	}{
		"a fault":                        {conflict, fault.Conflict, "alert 7 is closed"},
		"a fault that is wrapped":        {fmt.Errorf("updating: %w", conflict), fault.Conflict, "alert 7 is closed"},
		"a fault that is joined":         {errors.Join(errors.New("x"), conflict), fault.Conflict, "alert 7 is closed"},
		"a deadline":                     {fmt.Errorf("asking: %w", context.DeadlineExceeded), fault.Timeout, "the time for this ran out"},
		"a fault that tells of deadline": {errors.Join(context.DeadlineExceeded, conflict), fault.Conflict, "alert 7 is closed"},
		"a cancelled context":            {context.Canceled, fault.Internal, ""},
		"anything else":                  {errors.New("dial tcp: password s3cret"), fault.Internal, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := fault.Of(c.err)
			if f.Code != c.code || c.text != "" && f.Message != c.text {
				t.Errorf("got %s: %s", f.Code, f.Message)
			}
			if strings.Contains(string(f.JSON()), "s3cret") {
				t.Errorf("the outside is told: %s", f.JSON())
			}
			for _, code := range fault.Codes() {
				if fault.Is(c.err, code) != (code == c.code) {
					t.Errorf("Is(%v, %s) is %t", c.err, code, code != c.code)
				}
			}
		})
	}
	if fault.Of(nil) != nil || fault.Is(nil, fault.Internal) {
		t.Error("no error is a fault")
	}
}

func TestAFaultCrossesTheWireUnchanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var fields fault.Fields
		for range rapid.IntRange(0, 3).Draw(t, "fields") {
			fields.Add(rapid.String().Draw(t, "name"), rapid.String().Draw(t, "value"), rapid.String().Draw(t, "allowed"))
		}
		want := &fault.Error{Code: rapid.SampledFrom(fault.Codes()).Draw(t, "code"), Message: rapid.String().Draw(t, "message"), Fields: fields}
		got, ok := fault.Parse(want.JSON())
		if !ok {
			t.Fatalf("%s is not read as a fault", want.JSON())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestWhatIsNoFaultIsNotReadAsOne(t *testing.T) {
	for _, data := range []string{``, `null`, `{}`, `[]`, `"invalid"`, `{"code":""}`, `{"code":5}`, `{"code":"invalid"`, `{"message":"x"}`} {
		if f, ok := fault.Parse([]byte(data)); ok || f != nil {
			t.Errorf("%q was read as %v", data, f)
		}
	}
	f, ok := fault.Parse([]byte(`{"code":"of a later version","message":"m"}`))
	if !ok || f.Code != fault.Internal || f.Message != "m" {
		t.Errorf("a fault of a later version was read as %v, %t", f, ok)
	}
}

func TestFieldsSayWhatIsWrongWithEachAtOnce(t *testing.T) {
	var wrong fault.Fields
	if err := wrong.Err("nothing is wrong"); err != nil {
		t.Fatalf("no field, and yet %v", err)
	}
	wrong.Add("limit", "500", "a whole number from 1 to 200")
	wrong.Add("title", "", "is required")
	err := wrong.Err("the request is not valid")
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("the code is %s", fault.Of(err).Code)
	}
	const want = `the request is not valid: limit: "500" is not allowed: a whole number from 1 to 200; title: is required`
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	const wire = `{"code":"invalid","message":"the request is not valid","fields":[{"field":"limit","value":"500","allowed":"a whole number from 1 to 200"},{"field":"title","allowed":"is required"}]}`
	if got := string(fault.Of(err).JSON()); got != wire {
		t.Errorf("got  %s\nwant %s", got, wire)
	}
}

func TestAValueIsToldInAHundredCharactersOfUTF8(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"a short one":                    {"ü", "ü"},
		"a hundred characters":           {strings.Repeat("ü", 100), strings.Repeat("ü", 100)},
		"one more":                       {strings.Repeat("ü", 101), strings.Repeat("ü", 97) + "..."},
		"not UTF-8":                      {"a\xffb", "a\uFFFDb"},
		"half a character at the end":    {"ü"[:1], "\uFFFD"},
		"a run of what is not UTF-8":     {strings.Repeat("\xff", 500), "\uFFFD"},
		"long, and broken in the middle": {strings.Repeat("a", 96) + "\xff\xfe" + strings.Repeat("b", 50), strings.Repeat("a", 96) + "\uFFFD..."},
	} {
		t.Run(name, func(t *testing.T) {
			var fs fault.Fields
			fs.Add("f", c.in, "a")
			if fs[0].Value != c.want {
				t.Errorf("got %q", fs[0].Value)
			}
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		var fs fault.Fields
		fs.Add("f", string(rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "bytes")), "a")
		v := fs[0].Value
		if !utf8.ValidString(v) || utf8.RuneCountInString(v) > 100 {
			t.Fatalf("the value is %q", v)
		}
		var back fault.Field
		if data, err := json.Marshal(fs[0]); err != nil || json.Unmarshal(data, &back) != nil || back != fs[0] {
			t.Fatalf("%q comes back as %q", v, back.Value)
		}
	})
}
