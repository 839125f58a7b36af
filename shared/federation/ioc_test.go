package federation_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func ExampleIOCInput() {
	for _, shape := range []string{
		`["198.51.100.4", "c2[.]evil[.]example"]`,
		`{"domain": "c2.evil.example.", "ip": ["198.51.100.4"]}`,
		`[{"indicator_type": "hostname", "indicator": "C2.EVIL.EXAMPLE"}, {"type": "ipv4-addr", "value": "::ffff:198.51.100.4"}]`,
		`["198.51.100.4", {"type": "fqdn", "value": "c2.evil.example"}, 42]`,
	} {
		var in federation.IOCInput
		if err := json.Unmarshal([]byte(shape), &in); err != nil {
			fmt.Println(err)
			return
		}
		canonical, err := json.Marshal(in)
		fmt.Println(string(canonical), in.Unreadable, err)
	}
	// Output:
	// [{"type":"domain","value":"c2.evil.example"},{"type":"ip","value":"198.51.100.4"}] [] <nil>
	// [{"type":"domain","value":"c2.evil.example"},{"type":"ip","value":"198.51.100.4"}] [] <nil>
	// [{"type":"domain","value":"c2.evil.example"},{"type":"ip","value":"198.51.100.4"}] [] <nil>
	// [{"type":"domain","value":"c2.evil.example"},{"type":"ip","value":"198.51.100.4"}] [42] <nil>
}

func readIOCs(t testing.TB, data string) federation.IOCInput {
	t.Helper()
	var in federation.IOCInput
	if err := json.Unmarshal([]byte(data), &in); err != nil {
		t.Fatalf("reading %s: %v", data, err)
	}
	return in
}

const (
	md5Text    = "44d88612fea8a8f36de82e1278abb02f"
	sha1Text   = "3395856ce81f2b7382dee72602f798b642f14140"
	sha256Text = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"
)

func TestIOCsOfEveryShapeAreReadIntoOne(t *testing.T) {
	type iocs = []federation.IOC
	for _, c := range []struct {
		name, in   string
		items      iocs
		unreadable []string
		malformed  string
	}{
		// Lists of strings: the type is inferred.
		{name: "an address", in: `["203.0.113.7"]`, items: iocs{{"ip", "203.0.113.7"}}},
		{name: "a private address is one like any other", in: `["10.0.0.1", "192.168.1.1", "127.0.0.1"]`, items: iocs{{"ip", "10.0.0.1"}, {"ip", "127.0.0.1"}, {"ip", "192.168.1.1"}}},
		{name: "an IPv6 address in a long spelling", in: `["2001:0DB8:0000::0001"]`, items: iocs{{"ip", "2001:db8::1"}}},
		{name: "an IPv6 address in brackets", in: `["[2001:db8::1]"]`, items: iocs{{"ip", "2001:db8::1"}}},
		{name: "an IPv4 address mapped into IPv6", in: `["::ffff:203.0.113.7", "203.0.113.7"]`, items: iocs{{"ip", "203.0.113.7"}}},
		{name: "an address with a zone means nothing elsewhere", in: `["fe80::1%eth0"]`, unreadable: []string{"fe80::1%eth0"}},
		{name: "a network is no address", in: `["10.0.0.0/8"]`, unreadable: []string{"10.0.0.0/8"}},
		{name: "an address with a port", in: `["203.0.113.7:443"]`, unreadable: []string{"203.0.113.7:443"}},
		{name: "numbers that are no address are no domain either", in: `["999.1.1.1", "1.2.3", "1.2.3.4.5"]`, unreadable: []string{"999.1.1.1", "1.2.3", "1.2.3.4.5"}},
		{name: "a domain in upper case with a dot at the end", in: `["Evil.EXAMPLE."]`, items: iocs{{"domain", "evil.example"}}},
		{name: "a version is no domain", in: `["v1.22", "libfoo-2.10"]`, unreadable: []string{"v1.22", "libfoo-2.10"}},
		{name: "an international domain in its ASCII form", in: `["xn--mnchen-3ya.example"]`, items: iocs{{"domain", "xn--mnchen-3ya.example"}}},
		{name: "a URL with an upper-case scheme and host keeps its path", in: `["HTTPS://Evil.EXAMPLE/Path?Q=A#F"]`, items: iocs{{"url", "https://evil.example/Path?Q=A#F"}}},
		{name: "a URL with a port and a login", in: `["http://user:pw@evil.example:8080/x"]`, items: iocs{{"url", "http://user:pw@evil.example:8080/x"}}},
		{name: "a URL without a host", in: `["http:///x", "http://:80/", "http:x"]`, unreadable: []string{"http:///x", "http://:80/", "http:x"}},
		{name: "an address of mail keeps the case before the @", in: `["Mallory@Evil.Example"]`, items: iocs{{"email", "Mallory@evil.example"}}},
		{name: "an address of mail as a link", in: `["mailto:mallory@evil.example"]`, items: iocs{{"email", "mallory@evil.example"}}},
		{name: "two @ are no address of mail", in: `["a@b@evil.example"]`, unreadable: []string{"a@b@evil.example"}},
		{name: "hashes in upper case", in: `["` + strings.ToUpper(md5Text) + `", "` + strings.ToUpper(sha1Text) + `", "` + strings.ToUpper(sha256Text) + `"]`,
			items: iocs{{"hash_md5", md5Text}, {"hash_sha1", sha1Text}, {"hash_sha256", sha256Text}}},
		{name: "a hash that is one digit short", in: `["` + md5Text[1:] + `"]`, unreadable: []string{md5Text[1:]}},
		{name: "a CVE in lower case", in: `["cve-2021-44228"]`, items: iocs{{"cve", "CVE-2021-44228"}}},
		{name: "a CVE without its number", in: `["CVE-2021"]`, unreadable: []string{"CVE-2021"}},
		{name: "registry keys in short and long form", in: `["HKLM\\Software\\Run", "HKEY_LOCAL_MACHINE\\Software\\Run"]`, items: iocs{{"registry_key", `HKEY_LOCAL_MACHINE\Software\Run`}, {"registry_key", `HKLM\Software\Run`}}},
		{name: "Windows and UNIX paths", in: `["C:\\Users\\x\\a.exe", "\\\\host\\share\\b", "%APPDATA%\\c.dll", "/tmp/.x"]`,
			items: iocs{{"file_path", `%APPDATA%\c.dll`}, {"file_path", "/tmp/.x"}, {"file_path", `C:\Users\x\a.exe`}, {"file_path", `\\host\share\b`}}},
		{name: "user agents", in: `["Mozilla/5.0 (X11)", "curl/8.0"]`, items: iocs{{"user_agent", "Mozilla/5.0 (X11)"}, {"user_agent", "curl/8.0"}}},
		{name: "plain words", in: `["malware", "C2 server"]`, unreadable: []string{"malware", "C2 server"}},
		{name: "doubles, in any spelling", in: `["evil.example", "EVIL.example", "evil[.]example", " evil.example "]`, items: iocs{{"domain", "evil.example"}}},

		// Written so that nobody clicks it.
		{name: "a defanged address", in: `["203[.]0[.]113[.]7", "203(.)0(.)113(.)8", "203{.}0.113.9"]`, items: iocs{{"ip", "203.0.113.7"}, {"ip", "203.0.113.8"}, {"ip", "203.0.113.9"}}},
		{name: "a defanged URL", in: `["hxxps[://]evil[dot]example/x", "hXXp://evil.example", "hxxp[:]//evil.example/y", "fxp://evil.example"]`,
			items: iocs{{"url", "ftp://evil.example"}, {"url", "http://evil.example"}, {"url", "http://evil.example/y"}, {"url", "https://evil.example/x"}}},
		{name: "a defanged address of mail", in: `["mallory[at]evil[.]example", "mallory[@]evil.example"]`, items: iocs{{"email", "mallory@evil.example"}}},
		{name: "one that is defanged twice", in: `["evil[[.]]example"]`, unreadable: []string{"evil[[.]]example"}},

		// Objects by type.
		{name: "an object from type to value", in: `{"ip": "203.0.113.7", "domain": "evil.example"}`, items: iocs{{"domain", "evil.example"}, {"ip", "203.0.113.7"}}},
		{name: "an object from type to list", in: `{"ips": ["203.0.113.7", "203.0.113.8"], "hashes": ["` + md5Text + `", "` + sha256Text + `"]}`,
			items: iocs{{"hash_md5", md5Text}, {"hash_sha256", sha256Text}, {"ip", "203.0.113.7"}, {"ip", "203.0.113.8"}}},
		{name: "an object from type to hashes by algorithm", in: `{"hashes": {"MD5": "` + md5Text + `", "SHA-256": "` + sha256Text + `"}}`, items: iocs{{"hash_md5", md5Text}, {"hash_sha256", sha256Text}}},
		{name: "a type that only its name tells", in: `{"mutex": "Global\\x", "user_agent": "evil", "file": "a.exe"}`, items: iocs{{"file_path", "a.exe"}, {"mutex", `Global\x`}, {"user_agent", "evil"}}},
		{name: "an object from type to objects", in: `{"ip": {"value": "203.0.113.7"}, "domain": [{"indicator": "evil.example"}]}`, items: iocs{{"domain", "evil.example"}, {"ip", "203.0.113.7"}}},
		{name: "a value under the wrong type", in: `{"ip": "evil.example", "sha1": "` + md5Text + `"}`, unreadable: []string{"ip: evil.example", "sha1: " + md5Text}},
		{name: "an unknown type", in: `{"colour": ["red"]}`, unreadable: []string{"colour: red"}},
		{name: "numbers and booleans", in: `{"ip": [5, true], "domain": 1.50}`, unreadable: []string{"domain: 1.50", "ip: 5", "ip: true"}},

		// Lists of objects, in the words of sensors.
		{name: "type and value", in: `[{"type": "ip", "value": "203.0.113.7"}]`, items: iocs{{"ip", "203.0.113.7"}}},
		{name: "the names of feeds", in: `[{"ioc_type": "ip_address", "ioc": "203.0.113.7"}, {"indicator_type": "HOSTNAME", "indicator": "evil.example"}, {"kind": "sha256", "observable": "` + sha256Text + `"}]`,
			items: iocs{{"domain", "evil.example"}, {"hash_sha256", sha256Text}, {"ip", "203.0.113.7"}}},
		{name: "the names in upper case", in: `[{"Type": "IP", "Value": "203.0.113.7"}]`, items: iocs{{"ip", "203.0.113.7"}}},
		{name: "STIX observables", in: `[{"type": "ipv6-addr", "value": "2001:DB8::1"}, {"type": "domain-name", "value": "evil.example"}, {"type": "windows-registry-key", "value": "HKCU\\x"}]`,
			items: iocs{{"domain", "evil.example"}, {"ip", "2001:db8::1"}, {"registry_key", `HKCU\x`}}},
		{name: "a value without a type", in: `[{"value": "203.0.113.7"}, {"value": "evil.example", "type": "unknown"}]`, items: iocs{{"domain", "evil.example"}, {"ip", "203.0.113.7"}}},
		{name: "one type and a list of values", in: `[{"type": "ip", "values": ["203.0.113.7", "203.0.113.8"]}]`, items: iocs{{"ip", "203.0.113.7"}, {"ip", "203.0.113.8"}}},
		{name: "a hash of any kind", in: `[{"type": "hash", "value": "` + sha1Text + `"}, {"type": "file_hash", "value": "evil.example"}]`, items: iocs{{"hash_sha1", sha1Text}}, unreadable: []string{"file_hash: evil.example"}},
		{name: "what describes a value is left out", in: `[{"type": "ip", "value": "203.0.113.7", "confidence": "high", "link": "https://feed.example/1", "tags": ["c2"]}]`, items: iocs{{"ip", "203.0.113.7"}}},
		{name: "a further indicator beside a value is read", in: `[{"type": "ip", "value": "203.0.113.7", "hostname": "evil.example"}]`, items: iocs{{"domain", "evil.example"}, {"ip", "203.0.113.7"}}},
		{name: "an object with types as keys in a list", in: `[{"ip": "203.0.113.7"}, {"md5": "` + md5Text + `"}]`, items: iocs{{"hash_md5", md5Text}, {"ip", "203.0.113.7"}}},
		{name: "one object for the whole", in: `{"type": "ip", "value": "203.0.113.7"}`, items: iocs{{"ip", "203.0.113.7"}}},

		// Mixed and broken.
		{name: "everything at once", in: `["203.0.113.7", {"type": "domain", "value": "evil.example"}, {"cve": ["CVE-2021-44228"]}, ["evil.example"], 7, null, true, "?"]`,
			items: iocs{{"cve", "CVE-2021-44228"}, {"domain", "evil.example"}, {"ip", "203.0.113.7"}}, unreadable: []string{"7", "null", "true", "?"}},
		{name: "a type alone", in: `[{"type": "ip"}]`, unreadable: []string{`{"type":"ip"}`}},
		{name: "a type and no value", in: `[{"type": "ip", "value": null}, {"type": "ip", "value": ""}]`},
		{name: "a NUL in a value", in: `["evil\u0000.example", {"mutex": "a\u0000"}]`, unreadable: []string{"evil\x00.example", "mutex: a\x00"}},
		{name: "half a surrogate pair", in: `["\ud800.example"]`, unreadable: []string{"\uFFFD.example"}},
		{name: "a value that is too long", in: `{"mutex": "` + strings.Repeat("m", federation.MaxIOCValue+1) + `"}`, unreadable: []string{"mutex: " + strings.Repeat("m", 90) + "..."}},
		{name: "a URL that is too long once it is encoded", in: `["http://evil.example/` + strings.Repeat("ü", 300) + `"]`, unreadable: []string{"http://evil.example/" + strings.Repeat("ü", 77) + "..."}},
		{name: "a value of the longest length", in: `{"mutex": "` + strings.Repeat("ü", federation.MaxIOCValue) + `"}`, items: iocs{{"mutex", strings.Repeat("ü", federation.MaxIOCValue)}}},
		{name: "nothing: null", in: `null`},
		{name: "nothing: an empty list", in: `[]`},
		{name: "nothing: an empty object", in: `{}`},
		{name: "nothing: blanks", in: `["", " ", {}, [], {"ip": "", "domain": null}]`},
		{name: "an entry that is null", in: `[null, {"ip": [null]}]`, unreadable: []string{"null", "ip: null"}},
		{name: "a bare string is of no shape", in: `"203.0.113.7"`, malformed: "203.0.113.7"},
		{name: "a number is of no shape", in: `5`, malformed: "5"},
		{name: "a boolean is of no shape", in: `false`, malformed: "false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := federation.IOCInput{Items: c.items, Unreadable: c.unreadable, Malformed: c.malformed}
			if diff := cmp.Diff(want, readIOCs(t, c.in), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEveryTypeIsReadUnderItsOwnName(t *testing.T) {
	values := map[federation.IOCType]string{
		federation.IP: "203.0.113.7", federation.Domain: "evil.example", federation.URL: "http://evil.example/", federation.MD5: md5Text,
		federation.SHA1: sha1Text, federation.SHA256: sha256Text, federation.Email: "a@evil.example", federation.CVE: "CVE-2021-44228",
		federation.FilePath: "a.exe", federation.RegistryKey: `HKLM\x`, federation.Mutex: "m", federation.UserAgent: "u",
	}
	for _, kind := range federation.IOCTypes() {
		want := federation.IOC{Type: kind, Value: values[kind]}
		if got, ok := federation.ReadIOC(string(kind), values[kind]); !ok || got != want {
			t.Errorf("%s: got %v, %t", kind, got, ok)
		}
		if got, ok := federation.ReadIOC(" "+strings.ToUpper(string(kind))+" ", values[kind]); !ok || got != want {
			t.Errorf("%s in upper case: got %v, %t", kind, got, ok)
		}
	}
	if len(values) != len(federation.IOCTypes()) {
		t.Error("a type is missing here or on the list")
	}
}

func TestAnInputWithNothingInItIsZero(t *testing.T) {
	for in, want := range map[string]bool{`[]`: true, `null`: true, `["203.0.113.7"]`: false, `["?"]`: false, `5`: false} {
		if got := readIOCs(t, in).IsZero(); got != want {
			t.Errorf("%s: IsZero is %t", in, got)
		}
	}
}

func TestDeepInputIsReadToItsEnd(t *testing.T) {
	in := readIOCs(t, strings.Repeat("[", 9_000)+`"203.0.113.7"`+strings.Repeat("]", 9_000))
	if !slices.Equal(in.Items, []federation.IOC{{Type: federation.IP, Value: "203.0.113.7"}}) {
		t.Errorf("got %v", in.Items)
	}
	var over federation.IOCInput
	if err := json.Unmarshal([]byte(strings.Repeat("[", 20_000)), &over); err == nil {
		t.Error("JSON without an end was taken")
	}
}

func TestOfAnIOCThatCannotBeReadIsToldWhatItMustBe(t *testing.T) {
	for in, want := range map[string]string{
		`[{"type": "ip", "value": "nope"}]`:       "an IPv4 or IPv6 address, e.g. 203.0.113.7",
		`{"ipv4": "nope"}`:                        "an IPv4 or IPv6 address, e.g. 203.0.113.7",
		`[{"type": "sha256", "value": "ab"}]`:     "64 hexadecimal digits",
		`{"hashes": ["zz"]}`:                      "32, 40 or 64 hexadecimal digits",
		`[{"type": "colour", "value": "red"}]`:    "one of the types ip, domain, url, hash_md5, hash_sha1, hash_sha256, email, cve, file_path, registry_key, mutex, user_agent",
		`[{"type": "mutex", "value": "a\u0000"}]`: "1 to 1024 characters, in UTF-8 and without U+0000",
		`["???"]`:                               `a value that tells its type, such as an ip, a domain or a url; or {"type","value"}`,
		`[{"type": "unknown", "value": "???"}]`: `a value that tells its type, such as an ip, a domain or a url; or {"type","value"}`,
		`[null]`:                                `a value that tells its type, such as an ip, a domain or a url; or {"type","value"}`,
		`[{"type": "ip"}]`:                      federation.IOCForm,
	} {
		var iocs federation.IOCInput
		if err := json.Unmarshal([]byte(in), &iocs); err != nil || len(iocs.Unreadable) != 1 {
			t.Errorf("of %s cannot be read %q, %v", in, iocs.Unreadable, err)
			continue
		}
		if got := federation.IOCAllowed(iocs.Unreadable[0]); got != want {
			t.Errorf("of %s is allowed %q, want %q", in, got, want)
		}
	}
	for _, kind := range federation.IOCTypes() {
		if got := federation.IOCAllowed(string(kind) + ": x"); got == "" {
			t.Errorf("nobody is told what a value of the type %s looks like", kind)
		}
	}
}
