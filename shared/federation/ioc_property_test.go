package federation_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// spelled is an IOC and one of the ways to write it.
type spelled struct {
	federation.IOC
	text string
}

// anIOC draws an IOC whose type can be inferred, in canonical form and in some other spelling.
var anIOC = rapid.Custom(func(t *rapid.T) spelled {
	label := rapid.StringMatching(`[a-z0-9]{1,8}`)
	host := label.Draw(t, "host") + "." + label.Draw(t, "name") + ".example"
	hex := func(n int) string {
		return rapid.StringOfN(rapid.RuneFrom([]rune("0123456789abcdef")), n, n, -1).Draw(t, "hash")
	}
	defanged := func(s string) string {
		if rapid.Bool().Draw(t, "defanged") {
			return strings.ReplaceAll(s, ".", "[.]")
		}
		return s
	}
	upper := func(s string) string {
		if rapid.Bool().Draw(t, "upper") {
			return strings.ToUpper(s)
		}
		return s
	}
	is := func(kind federation.IOCType, value, text string) spelled {
		return spelled{federation.IOC{Type: kind, Value: value}, rapid.SampledFrom([]string{"", " ", "\t"}).Draw(t, "space") + text}
	}
	switch rapid.IntRange(0, 9).Draw(t, "type") {
	case 0:
		ip := "203.0." + rapid.SampledFrom([]string{"0", "113", "255"}).Draw(t, "octet") + ".7"
		return is(federation.IP, ip, defanged(rapid.SampledFrom([]string{"", "::ffff:"}).Draw(t, "mapped")+ip))
	case 1:
		return is(federation.Domain, host, defanged(upper(host)+rapid.SampledFrom([]string{"", "."}).Draw(t, "dot")))
	case 2:
		path := "/" + label.Draw(t, "path") + "?Q=" + label.Draw(t, "query")
		return is(federation.URL, "http://"+host+path, rapid.SampledFrom([]string{"http", "hxxp", "HTTP"}).Draw(t, "scheme")+"://"+defanged(upper(host))+path)
	case 3:
		h := hex(32)
		return is(federation.MD5, h, upper(h))
	case 4:
		h := hex(40)
		return is(federation.SHA1, h, upper(h))
	case 5:
		h := hex(64)
		return is(federation.SHA256, h, upper(h))
	case 6:
		return is(federation.Email, "M."+host+"@"+host, "M."+host+"@"+defanged(upper(host)))
	case 7:
		cve := "CVE-2026-" + rapid.StringMatching(`[0-9]{4,7}`).Draw(t, "number")
		return is(federation.CVE, cve, rapid.SampledFrom([]string{cve, strings.ToLower(cve)}).Draw(t, "case"))
	case 8:
		key := `HKLM\Software\` + label.Draw(t, "key")
		return is(federation.RegistryKey, key, key)
	}
	path := `C:\Users\` + label.Draw(t, "file")
	return is(federation.FilePath, path, path)
})

func decodeIOCs(t *rapid.T, shape any) federation.IOCInput {
	data, err := json.Marshal(shape)
	if err != nil {
		t.Fatal(err)
	}
	var in federation.IOCInput
	if err := json.Unmarshal(data, &in); err != nil {
		t.Fatalf("reading %s: %v", data, err)
	}
	return in
}

func hashOf(iocs []federation.IOC) string { return federation.DedupHash("title", "source", iocs) }

func TestEveryShapeGivesTheSameFormAndHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawn := rapid.SliceOfN(anIOC, 0, 8).Draw(t, "iocs")
		var want []federation.IOC
		var texts []string
		var typed []any
		byType := map[string]any{}
		for _, s := range drawn {
			want = append(want, s.IOC)
			texts = append(texts, s.text)
			typed = append(typed, map[string]string{"type": string(s.Type), "value": s.text})
			list, _ := byType[string(s.Type)].([]string)
			byType[string(s.Type)] = append(list, s.text)
		}
		want = federation.CanonicalIOCs(want)
		mixed := []any{}
		for i := range drawn {
			mixed = append(mixed, rapid.SampledFrom([]any{texts[i], typed[i], []any{texts[i]}, map[string]any{string(drawn[i].Type): texts[i]}}).Draw(t, "shape"))
		}
		for name, shape := range map[string]any{"list of strings": texts, "list of objects": typed, "object by type": byType, "mixed": mixed} {
			in := decodeIOCs(t, shape)
			if diff := cmp.Diff(want, in.Items, cmpopts.EquateEmpty()); diff != "" || len(in.Unreadable) > 0 {
				t.Fatalf("%s: unreadable %q, items:\n%s", name, in.Unreadable, diff)
			}
			if hashOf(in.Items) != hashOf(want) {
				t.Fatalf("%s: the hash is another", name)
			}
		}
	})
}

func TestTheOrderOfIOCsNeverMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawn := rapid.SliceOfN(anIOC, 0, 10).Draw(t, "iocs")
		texts := make([]string, len(drawn))
		for i, s := range drawn {
			texts[i] = s.text
		}
		shuffled := rapid.Permutation(texts).Draw(t, "shuffled")
		a, b := decodeIOCs(t, texts), decodeIOCs(t, shuffled)
		if diff := cmp.Diff(a.Items, b.Items); diff != "" {
			t.Fatalf("another order gives another form:\n%s", diff)
		}
		if hashOf(a.Items) != hashOf(b.Items) {
			t.Fatal("another order gives another hash")
		}
		iocs := slices.Clone(a.Items)
		iocs = federation.CanonicalIOCs(rapid.Permutation(append(iocs, a.Items...)).Draw(t, "doubled"))
		if diff := cmp.Diff(a.Items, iocs, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the canonical form of doubles in another order is another:\n%s", diff)
		}
		n := federation.NewAlert{Title: "title", Source: "source", IOCs: federation.IOCInput{Items: rapid.Permutation(a.Items).Draw(t, "unsorted")}}
		if n.Alert("1", noon).DedupHash != hashOf(a.Items) {
			t.Fatal("an alert made of unsorted IOCs has another hash")
		}
	})
}

// aText is a leaf of any JSON: often nearly an IOC, sometimes anything.
var aText = rapid.OneOf(
	rapid.Map(anIOC, func(s spelled) string { return s.text }),
	rapid.StringMatching(`(hxxp|https?|fxp|x)?(\[:\]|:)?//[\[\](){}.@%a-zA-Z0-9/?#: ]{0,12}`),
	rapid.StringMatching(`[\[\](){}.@%:/\\a-zA-Z0-9 ]{0,16}`),
	rapid.StringN(0, 12, 24),
)

var aKey = rapid.OneOf(
	rapid.SampledFrom([]string{"type", "Type", "kind", "ioc_type", "value", "Value", "values", "indicator", "ioc", "ip", "domains", "hash", "file", "confidence", "user_agent", "mutex", ""}),
	rapid.StringN(0, 6, 12),
)

// anyJSON draws a value of any shape, nested up to depth levels.
func anyJSON(depth int) *rapid.Generator[any] {
	leaf := rapid.OneOf(
		rapid.Map(aText, func(s string) any { return s }), rapid.Map(aText, func(s string) any { return s }),
		rapid.SampledFrom([]any{nil, true, false, 0, -1.5, 1e300}),
	)
	if depth == 0 {
		return leaf
	}
	return rapid.OneOf(leaf,
		rapid.Map(rapid.SliceOfN(anyJSON(depth-1), 0, 4), func(s []any) any { return s }),
		rapid.Map(rapid.MapOfN(aKey, anyJSON(depth-1), 0, 4), func(m map[string]any) any { return m }),
	)
}

func TestReadingIsIdempotentAndSurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := decodeIOCs(t, anyJSON(3).Draw(t, "input"))
		expectSettled(t, in)
	})
}

// expectSettled fails where what was read is not what every further site would read.
func expectSettled(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
}, in federation.IOCInput) {
	for _, ioc := range in.Items {
		if again, ok := federation.ReadIOC(string(ioc.Type), ioc.Value); !ok || again != ioc {
			t.Fatalf("%v reads as %v, %t", ioc, again, ok)
		}
	}
	if canonical := federation.CanonicalIOCs(slices.Clone(in.Items)); !slices.Equal(canonical, in.Items) {
		t.Fatalf("the form is not canonical: %v", in.Items)
	}
	wire, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var again federation.IOCInput
	if err := json.Unmarshal(wire, &again); err != nil {
		t.Fatalf("reading %s again: %v", wire, err)
	}
	want := federation.IOCInput{Items: in.Items, Malformed: in.Malformed}
	if diff := cmp.Diff(want, again, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("after a round trip over %s:\n%s", wire, diff)
	}
}

func TestNothingIsLostInSilence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := rapid.OneOf(
			rapid.Map(rapid.SliceOfN(anyJSON(2), 0, 4), func(s []any) any { return s }),
			rapid.Map(rapid.MapOfN(aKey, anyJSON(2), 0, 4), func(m map[string]any) any { return m }),
		).Draw(t, "input")
		data, err := json.Marshal(shape)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &shape); err != nil { // as the receiver sees it
			t.Fatal(err)
		}
		in := decodeIOCs(t, shape)
		for _, text := range leaves(shape) {
			if !told(in, text) {
				t.Fatalf("%q of %s is neither read %v nor set aside %q", text, data, in.Items, in.Unreadable)
			}
		}
	})
}

// leaves are the texts in v that could be indicators: not the name of a type, and
// not what describes the value beside it.
func leaves(v any) []string {
	var all []string
	switch v := v.(type) {
	case string:
		if strings.TrimSpace(v) != "" {
			all = append(all, v)
		}
	case []any:
		for _, e := range v {
			all = append(all, leaves(e)...)
		}
	case map[string]any:
		hasValue := false
		for k, e := range v {
			hasValue = hasValue || e != nil && slices.Contains([]string{"value", "values", "indicator", "ioc"}, strings.ToLower(k))
		}
		for k, e := range v {
			_, isText := e.(string)
			switch key := strings.TrimSpace(strings.ToLower(k)); {
			case isText && slices.Contains([]string{"type", "kind", "ioc_type"}, strings.ToLower(k)):
			case !hasValue || slices.Contains([]string{"value", "values", "indicator", "ioc", "ip", "domains", "hash", "file", "user_agent", "mutex"}, key):
				all = append(all, leaves(e)...)
			}
		}
	}
	return all
}

func told(in federation.IOCInput, text string) bool {
	for _, u := range in.Unreadable {
		if strings.Contains(u, text) || strings.HasSuffix(u, "...") {
			return true
		}
	}
	for _, kind := range append([]federation.IOCType{""}, federation.IOCTypes()...) {
		if ioc, ok := federation.ReadIOC(string(kind), text); ok && slices.Contains(in.Items, ioc) {
			return true
		}
	}
	return false
}

func FuzzIOCInput(f *testing.F) {
	for _, seed := range []string{
		`null`, `[]`, `{}`, `""`, `"203.0.113.7"`, `5`, `[1,null,true,{}]`,
		`["203.0.113.7","evil[.]example","hxxp[:]//a.example/%5B.%5D","CVE-2021-44228","HKLM\\x","C:\\x","a@b.example"]`,
		`{"ip":["::ffff:1.2.3.4","[::1]","1.2.3.4%1"],"hashes":{"MD5":"44d88612fea8a8f36de82e1278abb02f"},"domain":"A.B."}`,
		`[{"type":"ip","value":"1.2.3.4","first_seen":"x"},{"indicator_type":"url","indicator":"HTTP://A.B/ü?[.]#[.]"}]`,
		`["[[.]].a","http://[fe80::1%25%5B.%5D]/","http://%C3%89/","http://a/[://]","fxp://hxxp://a","http://\u0130.a/"]`,
		`[{"type":{},"value":{}},{"value":[[]],"type":"ip"},{"kind":"ip","type":["1.2.3.4"]}]`,
		"[\"\xff\"]", `["\ud800"]`, `["\u0000"]`, `{"":""}`, `{"mutex":"{[.]}"}`, `["http://a b/","http://\u007f/","//a","http:a"]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var in federation.IOCInput
		if err := json.Unmarshal(data, &in); err != nil {
			if json.Valid(data) {
				t.Fatalf("JSON was refused: %v", err)
			}
			return
		}
		expectSettled(t, in)
	})
}

// What a peer writes is read on a way of its own, and as it would be on the other.
func TestIOCsAreReadTheSameHoweverTheyAreSpaced(t *testing.T) {
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "ip", "unknown", "hash", `","value":"`, `"}`, `\`, `"`, "203.0.113.7", "evil[.]example", "EVIL.example"}), rapid.String(), rapid.Map(anIOC, func(s spelled) string { return s.text }))
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) federation.IOC {
			return federation.IOC{Type: federation.IOCType(text.Draw(t, "type")), Value: text.Draw(t, "value")}
		}), 0, 4).Draw(t, "iocs")
		tight, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		loose, err := json.MarshalIndent(list, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		var got, want federation.IOCInput
		if err := errors.Join(json.Unmarshal(tight, &got), json.Unmarshal(loose, &want)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s is read otherwise than spaced (-spaced +tight):\n%s", tight, diff)
		}
	})
}
