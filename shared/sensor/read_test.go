package sensor

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// native is one record of the native format.
func nativeRecord(title string) string {
	return fmt.Sprintf(`{"title":%q,"severity":"low","source":"t"}`, title)
}

// told is a stream's records in short form, and the error that ended it.
func told(r io.Reader, o Options) (got []string, last error) {
	for rec, err := range Read(r, o) {
		switch {
		case err != nil:
			return got, err
		case rec.Alert != nil:
			got = append(got, fmt.Sprintf("%d %s", rec.Line, rec.Alert.Title))
		case rec.Skipped != "":
			got = append(got, fmt.Sprintf("%d (%s)", rec.Line, rec.Skipped))
		default:
			got = append(got, fmt.Sprintf("%d ! %v", rec.Line, rec.Refused))
		}
	}
	return got, nil
}

func TestRecordsAreReadFromEveryShape(t *testing.T) {
	a, b := nativeRecord("a"), nativeRecord("b")
	pretty := "{\n  \"title\": \"a\",\n  \"severity\": \"low\",\n  \"source\": \"t\"\n}"
	tests := []struct {
		name, in string
		want     []string
		err      string
	}{
		{"nothing", "", nil, ""},
		{"blank lines", "\n \r\n\n", nil, ""},
		{"lines", a + "\n" + b + "\n", []string{"1 a", "2 b"}, ""},
		{"lines with blank ones, CRLF and no last end", "\r\n" + a + "\r\n\r\n" + b, []string{"2 a", "4 b"}, ""},
		{"a byte order mark", "\uFEFF" + a + "\n", []string{"1 a"}, ""},
		{"an array on one line", "[" + a + "," + b + "]", []string{"1 a", "1 b"}, ""},
		{"an array over many lines", " \n[\n" + a + " ,\n" + b + "\n]\n\n", []string{"3 a", "4 b"}, ""},
		{"an array that is pretty-printed", "[\n" + pretty + ",\n" + pretty + "\n]", []string{"2 a", "7 a"}, ""},
		{"an empty array", "[ ]", nil, ""},
		{"one pretty-printed object", pretty, []string{"1 a"}, ""},
		{"many pretty-printed objects", pretty + "\n" + pretty + "\n", []string{"1 a", "6 a"}, ""},
		{"brackets and escapes within texts", "[" + nativeRecord(`]}\"{[`) + "," + b + "]", []string{`1 ]}\"{[`, "1 b"}, ""},
		{"a broken line among good ones", a + "\n{\"title\":}\n" + b, []string{"1 a", "2 ! no JSON: invalid character '}' looking for beginning of value", "3 b"}, ""},
		{"half a line at the end", a + "\n{\"title\":\"x", []string{"1 a", "2 ! no JSON: unexpected end of JSON input"}, ""},
		{"a line that is no object", "7\n" + a, []string{"1 ! a record must be a JSON object", "2 a"}, ""},
		{"elements that are no objects", "[1,\"x\"," + a + ",null]", []string{"1 ! a record must be a JSON object", "1 ! a record must be a JSON object", "1 a", "1 ! a record must be a JSON object"}, ""},
		{"an array with a broken element", "[\n" + a + ",\n{\"title\":}\n]", []string{"2 a"}, "line 3, byte 57: no JSON: invalid character '}' looking for beginning of value; nothing after it can be read"},
		{"an array without an end", "[\n" + a + ",\n", []string{"2 a"}, "line 3, byte 47: the array has no end; nothing after it can be read"},
		{"an array cut within an element", "[\n{\"title\":", nil, "line 2, byte 11: the record that begins at line 2 has no end; nothing after it can be read"},
		{"an array without a comma", "[" + a + " " + b + "]", []string{"1 a"}, "line 1, byte 46: '{' stands where a comma or the end of the array should; nothing after it can be read"},
		{"an array with a comma too many", "[" + a + ",]", []string{"1 a"}, "line 1, byte 46: ']' stands where a record should begin; nothing after it can be read"},
		{"something after an array", "[" + a + "]\n" + b, []string{"1 a"}, "line 2, byte 47: there is something after the end of the array; nothing after it can be read"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{"whole": strings.NewReader(tc.in), "byte by byte": iotest.OneByteReader(strings.NewReader(tc.in))} {
				got, err := told(r, Options{})
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("%s: %s", how, diff)
				}
				if text := fmt.Sprint(err); (tc.err != "" || err != nil) && text != tc.err {
					t.Errorf("%s: got  %s\nwant %s", how, text, tc.err)
				}
			}
		})
	}
}

func TestARecordThatIsTooLargeIsRefusedAlone(t *testing.T) {
	huge := nativeRecord(strings.Repeat("x", MaxRecord))
	want := "! the record has 1048618 bytes; at most 1048576 are read"
	for in, lines := range map[string][]string{
		nativeRecord("a") + "\n" + huge + "\n" + nativeRecord("b") + "\n":        {"1 a", "2 " + want, "3 b"},
		"[" + nativeRecord("a") + ",\n" + huge + ",\n" + nativeRecord("b") + "]": {"1 a", "2 " + want, "3 b"},
	} {
		got, err := told(strings.NewReader(in), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(lines, got); diff != "" {
			t.Error(diff)
		}
	}
}

// repeated yields s n times.
type repeated struct {
	s    string
	n    int
	rest string
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.n == 0 {
			return 0, io.EOF
		}
		r.n--
		r.rest = r.s
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// weighed notes the most memory that was in use while it was read.
type weighed struct {
	io.Reader
	read int // since the last look
	most uint64
}

func (w *weighed) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if w.read += n; w.read > 1<<20 {
		w.weigh()
	}
	return n, err
}

func (w *weighed) weigh() {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	w.read, w.most = 0, max(w.most, m.HeapAlloc)
}

func TestMemoryDoesNotGrowWithTheFile(t *testing.T) {
	for name, in := range map[string]io.Reader{
		"one line of 64 MiB":           &repeated{s: strings.Repeat("x", 1<<20), n: 64},
		"one element of 64 MiB":        io.MultiReader(strings.NewReader(`["`), &repeated{s: strings.Repeat("x", 1<<20), n: 64}, strings.NewReader(`"]`)),
		"many lines of a kind":         &repeated{s: `{"event_type":"flow"}` + "\n", n: 150_000},
		"an array nested without end":  io.MultiReader(strings.NewReader("["), &repeated{s: strings.Repeat("[", 1<<20), n: 32}),
		"blanks and nothing but them":  &repeated{s: strings.Repeat(" \n", 1<<19), n: 32},
		"an array of blanks after all": io.MultiReader(strings.NewReader("["), &repeated{s: strings.Repeat(" ", 1<<20), n: 32}),
	} {
		t.Run(name, func(t *testing.T) {
			w := &weighed{Reader: in}
			for range Read(w, Options{}) {
			}
			if w.weigh(); w.most > 16<<20 {
				t.Errorf("%d MiB were in use", w.most>>20)
			}
		})
	}
}

func TestReadingGoesOnWhereItStopped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		titles := rapid.SliceOfN(rapid.StringMatching(`[a-z\]\[{},"\\]{1,9}`), 1, 9).Draw(t, "titles")
		gap := rapid.SampledFrom([]string{"", " ", "\n", "\r\n\t"})
		var b strings.Builder
		shape := rapid.SampledFrom([]Shape{Lines, Array, Objects}).Draw(t, "shape")
		for i, title := range titles {
			rec := nativeRecord(title)
			switch shape {
			case Lines:
				b.WriteString(rec + "\n")
			case Array:
				b.WriteString(map[bool]string{true: "[", false: ","}[i == 0] + gap.Draw(t, "before") + rec + gap.Draw(t, "after"))
			case Objects:
				b.WriteString(strings.Replace(rec, "{", "{\n", 1) + gap.Draw(t, "after"))
			}
		}
		if shape == Array {
			b.WriteString("]" + gap.Draw(t, "end"))
		}
		in := b.String()
		whole, err := told(strings.NewReader(in), Options{})
		if err != nil || len(whole) != len(titles) {
			t.Fatalf("%q, %v", whole, err)
		}
		stop := rapid.IntRange(1, len(titles)).Draw(t, "stop")
		var at Position
		n := 0
		for rec := range Read(strings.NewReader(in), Options{}) {
			at = rec.Next
			if n++; n == stop {
				break
			}
		}
		rest, err := told(strings.NewReader(in[at.Offset:]), Options{From: at})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(whole, append(append([]string(nil), whole[:stop]...), rest...)); diff != "" {
			t.Fatalf("%q, stopped after %d:\n%s", in, stop, diff)
		}
	})
}

func TestHalfALineIsReadAgainOnceItIsWhole(t *testing.T) {
	half := nativeRecord("a") + "\n" + nativeRecord("b")[:9]
	var at Position
	for rec := range Read(strings.NewReader(half), Options{}) {
		at = rec.Next
	}
	got, err := told(strings.NewReader((nativeRecord("a") + "\n" + nativeRecord("b") + "\n")[at.Offset:]), Options{From: at})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"2 b"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAFailingReaderEndsTheStreamWithItsError(t *testing.T) {
	for _, in := range []string{nativeRecord("a") + "\n", "[" + nativeRecord("a") + ",", `[{"a":`, "{\n"} {
		if _, err := told(io.MultiReader(strings.NewReader(in), iotest.ErrReader(io.ErrClosedPipe)), Options{}); err == nil || !strings.Contains(err.Error(), io.ErrClosedPipe.Error()) {
			t.Errorf("%q: got %v", in, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{
		nativeRecord("a") + "\n{\n", "[" + nativeRecord("a") + "]", "{\n\"title\":1}", "\uFEFF[]", `["\\",{}]`, "[1 2]", "{}{}\n[",
		`{"event_type":"alert","alert":{"signature":"x","severity":1},"src_ip":"10.0.0.1","http":{"url":"/","hostname":"h"}}`,
		`{"class_uid":2004,"severity_id":5,"finding_info":{"title":"t"},"observables":[{"type_id":2,"value":"192.0.2.1"}]}`,
		`{"rule":{"level":15,"description":"d"},"data":{"srcip":"192.0.2.1"},"syscheck":{"path":"/x"}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		whole, err := told(strings.NewReader(s), Options{})
		cut, cutErr := told(iotest.OneByteReader(strings.NewReader(s)), Options{})
		if diff := cmp.Diff(whole, cut); diff != "" || fmt.Sprint(err) != fmt.Sprint(cutErr) {
			t.Fatalf("how the bytes are cut matters: %v, %v\n%s", err, cutErr, diff)
		}
		at := Position{}
		for rec, err := range Read(strings.NewReader(s), Options{}) {
			if rec.Next.Offset < at.Offset || rec.Next.Offset > int64(len(s)) || rec.Line < 1 {
				t.Fatalf("the position %+v after %+v", rec.Next, at)
			}
			at = rec.Next
			if err == nil && (rec.Alert != nil) == (rec.Refused != nil || rec.Skipped != "") {
				t.Fatalf("a record is not exactly one thing: %+v", rec)
			}
		}
	})
}

func FuzzMap(f *testing.F) {
	for _, s := range []string{
		`{"event_type":"alert","alert":{"signature":"x","severity":1,"metadata":{"mitre_technique_id":["T1071_001"],"cve":"CVE_2021_44228"}},"src_ip":"10.0.0.1","http":{"url":"/","hostname":"h"},"dns":{"query":[{"rrname":"a.b"}]}}`,
		`{"class_uid":2004,"severity_id":5,"time":1,"finding_info":{"title":"t"},"observables":[{"type_id":2,"value":"192.0.2.1"}]}`,
		`{"rule":{"level":"15","description":"d","mitre":{"id":["T1110"]}},"data":"x","syscheck":{"path":"/x"}}`,
		nativeRecord("\u0000"), `{"event_type":"alert","timestamp":"x"}`,
	} {
		for _, format := range Formats() {
			f.Add(s, string(format))
		}
	}
	f.Fuzz(func(t *testing.T, s, format string) {
		n, _, err := Map([]byte(s), Options{Format: Format(format)})
		if err == nil && n != nil {
			if err := n.Validate(); err != nil {
				t.Fatal(err)
			}
			if n.IOCs.Items != nil && !cmp.Equal(n.IOCs.Items, federation.CanonicalIOCs(append([]federation.IOC(nil), n.IOCs.Items...))) {
				t.Fatal("the IOCs are not canonical")
			}
		}
	})
}
