package federation

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// IOCType is what kind of indicator an IOC is.
type IOCType string

// The types of IOC.
const (
	IP          IOCType = "ip"
	Domain      IOCType = "domain"
	URL         IOCType = "url"
	MD5         IOCType = "hash_md5"
	SHA1        IOCType = "hash_sha1"
	SHA256      IOCType = "hash_sha256"
	Email       IOCType = "email"
	CVE         IOCType = "cve"
	FilePath    IOCType = "file_path"
	RegistryKey IOCType = "registry_key"
	Mutex       IOCType = "mutex"
	UserAgent   IOCType = "user_agent"
)

// IOCTypes lists every type.
func IOCTypes() []IOCType {
	return []IOCType{IP, Domain, URL, MD5, SHA1, SHA256, Email, CVE, FilePath, RegistryKey, Mutex, UserAgent}
}

// IOC is one indicator of compromise, in canonical form.
type IOC struct {
	Type  IOCType `json:"type"`
	Value string  `json:"value"`
}

// IOCForm says in words in which shapes IOCs may arrive.
const IOCForm = `a list of strings, a list of {"type","value"}, or an object from type to a value or a list of values`

// IOCAllowed says in words what is allowed in place of an entry of [IOCInput.Unreadable]:
// a value of its type, one of the types, or a value that tells its type.
func IOCAllowed(unreadable string) string {
	name, _, named := strings.Cut(unreadable, ": ")
	name = strings.ToLower(strings.TrimSpace(name))
	switch {
	case strings.HasPrefix(unreadable, "{"):
		return IOCForm
	case !named || name == "unknown" || name == "other":
		return `a value that tells its type, such as an ip, a domain or a url; or {"type","value"}`
	case hashAliases[name]:
		return "32, 40 or 64 hexadecimal digits"
	case aliases[name] == "":
		return "one of the types " + iocTypes
	}
	return valueForms[aliases[name]]
}

// iocTypes are the types in words.
var iocTypes = func() string {
	var names []string
	for _, t := range IOCTypes() {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}()

// iocText is what a value must be of a type that takes any text.
var iocText = "1 to " + itoa(MaxIOCValue) + " characters, in UTF-8 and without U+0000"

// valueForms say what a value of each type looks like.
var valueForms = map[IOCType]string{
	IP:          "an IPv4 or IPv6 address, e.g. 203.0.113.7",
	Domain:      "a domain name, e.g. c2.evil.example",
	URL:         "a URL with a scheme and a host, e.g. https://evil.example/payload",
	MD5:         "32 hexadecimal digits",
	SHA1:        "40 hexadecimal digits",
	SHA256:      "64 hexadecimal digits",
	Email:       "an email address, e.g. mallory@evil.example",
	CVE:         "a CVE number, e.g. CVE-2026-12345",
	RegistryKey: `a key below HKLM\, HKCU\, HKCR\, HKU\ or HKCC\, or one that begins with HKEY_`,
	FilePath:    iocText,
	Mutex:       iocText,
	UserAgent:   iocText,
}

// IOCInput is IOCs as they arrived, in any of the shapes of [IOCForm] or a mix
// of them. Decoding puts them in the one canonical form: refanged, normalised by
// type, without doubles, sorted by type and value, so the order in which they
// arrived never matters. An entry that cannot be read does not cost the alert:
// it is set aside in Unreadable, so that whoever sent it can be told.
type IOCInput struct {
	Items      []IOC
	Unreadable []string
	// Malformed is the input as a whole where it is of none of the shapes, else empty.
	Malformed string
}

// IsZero reports whether there is nothing in the input.
func (in IOCInput) IsZero() bool {
	return len(in.Items) == 0 && len(in.Unreadable) == 0 && in.Malformed == ""
}

// MarshalJSON writes the canonical form.
func (in IOCInput) MarshalJSON() ([]byte, error) {
	if in.Malformed != "" {
		return json.Marshal(in.Malformed)
	}
	if in.Items == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(in.Items)
}

// UnmarshalJSON reads any shape. It fails only on bytes that are no JSON.
func (in *IOCInput) UnmarshalJSON(data []byte) error {
	*in = IOCInput{}
	if iocs, ok := written(data); ok {
		for _, i := range iocs {
			in.add(string(i.Type), i.Value)
		}
		in.Items = CanonicalIOCs(in.Items)
		return nil
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return err
	}
	switch v.(type) {
	case nil, []any, map[string]any:
		in.read("", v)
		in.Items = CanonicalIOCs(in.Items)
	default:
		in.Malformed = brief(v)
	}
	return nil
}

// written reads JSON as [IOCInput.MarshalJSON] writes it where no text needs an escape:
// what comes from a peer nearly always is. ok is false for anything else.
func written(data []byte) (iocs []IOC, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte("["))
	for ok {
		var kind, value []byte
		if rest, ok = bytes.CutPrefix(rest, []byte(`{"type":"`)); !ok {
			break
		}
		if kind, rest, ok = bytes.Cut(rest, []byte(`","value":"`)); !ok || bytes.ContainsAny(kind, `"\`) {
			break
		}
		if value, rest, ok = bytes.Cut(rest, []byte(`"}`)); !ok || bytes.ContainsAny(value, `"\`) {
			break
		}
		iocs = append(iocs, IOC{IOCType(kind), string(value)})
		if string(rest) == "]" {
			return iocs, utf8.Valid(data)
		}
		rest, ok = bytes.CutPrefix(rest, []byte(","))
	}
	return nil, false
}

// read takes in a value of any shape under the name of a type, empty where it has none.
func (in *IOCInput) read(kind string, v any) {
	switch v := v.(type) {
	case nil:
	case string:
		in.add(kind, v)
	case []any:
		for _, e := range v {
			if e == nil { // an entry that says nothing, where one was meant
				in.setAside(kind, "null")
				continue
			}
			in.read(kind, e)
		}
	case map[string]any:
		in.object(kind, v)
	default:
		in.setAside(kind, brief(v))
	}
}

// The names that sensors use for "value" and "type", in lower case; of several
// types on one object the first here counts.
var (
	valueNames = []string{"value", "values", "indicator", "indicators", "ioc", "iocs", "observable", "observables"}
	kindNames  = []string{"type", "ioc_type", "indicator_type", "kind"}
)

// object reads {"type","value"} in any of their names, and an object whose keys
// are types, and what is both. Beside a value, a key that names no type describes
// it and is left out.
func (in *IOCInput) object(kind string, o map[string]any) {
	keys := slices.Sorted(maps.Keys(o))
	own, hasKind := kindOf(o, keys)
	if hasKind {
		kind = own
	}
	hasValue := slices.ContainsFunc(keys, func(k string) bool { return isOneOf(k, valueNames) && o[k] != nil })
	read := len(o) == 0
	for _, k := range keys {
		_, isText := o[k].(string)
		switch {
		case hasKind && isText && isOneOf(k, kindNames):
			continue
		case isOneOf(k, valueNames):
			in.read(kind, o[k])
		case !hasValue || namesType(k):
			in.read(k, o[k])
		default:
			continue
		}
		read = true
	}
	if !read {
		in.setAside("", brief(o))
	}
}

func kindOf(o map[string]any, keys []string) (kind string, ok bool) {
	for _, name := range kindNames {
		for _, k := range keys {
			if s, ok := o[k].(string); ok && strings.EqualFold(k, name) {
				return s, true
			}
		}
	}
	return "", false
}

// add reads one value. A blank one says nothing and is passed over.
func (in *IOCInput) add(kind, value string) {
	if strings.TrimSpace(value) == "" {
		return
	}
	if ioc, ok := ReadIOC(kind, value); ok {
		in.Items = append(in.Items, ioc)
		return
	}
	in.setAside(kind, value)
}

func (in *IOCInput) setAside(kind, value string) {
	if kind != "" {
		value = kind + ": " + value
	}
	in.Unreadable = append(in.Unreadable, brief(value))
}

// aliases are the names that sensors and feeds use for a type.
var aliases = map[string]IOCType{
	"ip": IP, "ips": IP, "ipv4": IP, "ipv6": IP, "ip_address": IP, "ip-address": IP, "ipaddress": IP, "src_ip": IP, "dest_ip": IP, "dst_ip": IP,
	"source_ip": IP, "destination_ip": IP, "ipv4-addr": IP, "ipv6-addr": IP, "ip-src": IP, "ip-dst": IP,
	"domain": Domain, "domains": Domain, "hostname": Domain, "hostnames": Domain, "fqdn": Domain, "domain-name": Domain, "domain_name": Domain,
	"url": URL, "urls": URL, "uri": URL,
	"hash_md5": MD5, "md5": MD5, "sha1": SHA1, "hash_sha1": SHA1, "sha-1": SHA1, "sha256": SHA256, "hash_sha256": SHA256, "sha-256": SHA256,
	"email": Email, "emails": Email, "email_address": Email, "email-src": Email, "email-addr": Email, "sender": Email,
	"cve": CVE, "cves": CVE, "vulnerability": CVE,
	"file_path": FilePath, "file_paths": FilePath, "filepath": FilePath, "path": FilePath, "file": FilePath, "filename": FilePath,
	"registry_key": RegistryKey, "registry_keys": RegistryKey, "registry": RegistryKey, "regkey": RegistryKey, "windows-registry-key": RegistryKey,
	"mutex": Mutex, "mutexes": Mutex, "user_agent": UserAgent, "user_agents": UserAgent, "user-agent": UserAgent, "useragent": UserAgent,
}

// hashAliases are names that say "a hash" and leave the length to tell which.
var hashAliases = map[string]bool{"hash": true, "hashes": true, "file_hash": true, "checksum": true}

func namesType(key string) bool {
	key = strings.ToLower(strings.TrimSpace(key))
	return hashAliases[key] || aliases[key] != ""
}

// ReadIOC is the canonical form of a value under the name of a type. An empty
// name, or one that says only "a hash", leaves the type to be inferred. ok is
// false where the value is none of its type, or the name is none that is known.
// The canonical form reads as itself, so an IOC crosses any number of sites unchanged.
func ReadIOC(name, value string) (ioc IOC, ok bool) {
	if !storable(value) {
		return IOC{}, false
	}
	given := value
	value = refang(strings.TrimSpace(value))
	name = strings.ToLower(strings.TrimSpace(name))
	switch kind, known := aliases[name]; {
	case known:
		ioc.Type = kind
		ioc.Value, ok = canonical(kind, value)
	case hashAliases[name]:
		ioc, ok = inferIOC(value)
		ok = ok && (ioc.Type == MD5 || ioc.Type == SHA1 || ioc.Type == SHA256)
	case name == "" || name == "unknown" || name == "other":
		ioc, ok = inferIOC(value)
	}
	if !ok || ioc.Value != given && !settled(ioc) {
		return IOC{}, false
	}
	return ioc, true
}

// storable reports whether either database can hold v as the value of an IOC.
func storable(v string) bool {
	return v != "" && utf8.ValidString(v) && !hasNUL(v) && utf8.RuneCountInString(v) <= MaxIOCValue
}

// settled reports whether ioc reads as itself. What was written harmless twice,
// such as "[[.]]", does not, nor what grows over the limit by being encoded.
func settled(ioc IOC) bool {
	v, ok := canonical(ioc.Type, refang(strings.TrimSpace(ioc.Value)))
	return ok && v == ioc.Value && storable(v)
}

// inferIOC tries the types that can be told by their form, the narrowest first.
func inferIOC(value string) (IOC, bool) {
	for _, kind := range []IOCType{IP, URL, Email, CVE, SHA256, SHA1, MD5, RegistryKey, FilePath, Domain} {
		if canon, ok := canonical(kind, value); ok {
			if kind == FilePath && !looksLikePath(value) {
				continue
			}
			return IOC{kind, canon}, true
		}
	}
	if strings.HasPrefix(value, "Mozilla/") || strings.HasPrefix(value, "curl/") {
		return IOC{UserAgent, value}, true
	}
	return IOC{}, false
}

var (
	domainPattern = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}$`)
	emailPattern  = regexp.MustCompile(`^[^\s@<>"]{1,64}@[^\s@<>"]{1,253}$`)
	cvePattern    = regexp.MustCompile(`^CVE-[0-9]{4}-[0-9]{4,19}$`)
	hexPattern    = regexp.MustCompile(`^[0-9a-f]+$`)
	drivePattern  = regexp.MustCompile(`^[A-Za-z]:\\`)
)

// canonical is the one form of a value of the given type; ok is false where it is none.
func canonical(kind IOCType, v string) (string, bool) {
	switch kind {
	case IP:
		a, err := netip.ParseAddr(strings.Trim(v, "[]"))
		if err != nil || a.Zone() != "" {
			return "", false
		}
		return a.Unmap().String(), true
	case Domain:
		d := strings.ToLower(strings.TrimSuffix(v, "."))
		top := d[strings.LastIndexByte(d, '.')+1:]
		return d, len(d) <= 253 && domainPattern.MatchString(d) && strings.Trim(top, "0123456789-") != ""
	case URL:
		u, err := url.Parse(v)
		if err != nil || u.Scheme == "" || u.Hostname() == "" {
			return "", false
		}
		u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
		return u.String(), true
	case MD5, SHA1, SHA256:
		h := strings.ToLower(v)
		want := map[IOCType]int{MD5: 32, SHA1: 40, SHA256: 64}[kind]
		return h, len(h) == want && hexPattern.MatchString(h)
	case Email:
		v = strings.TrimPrefix(v, "mailto:")
		local, domain, _ := strings.Cut(v, "@")
		d, ok := canonical(Domain, domain)
		return local + "@" + d, ok && emailPattern.MatchString(v)
	case CVE:
		c := strings.ToUpper(v)
		return c, cvePattern.MatchString(c)
	case RegistryKey:
		up := strings.ToUpper(v)
		for _, hive := range []string{"HKLM\\", "HKCU\\", "HKCR\\", "HKU\\", "HKCC\\", "HKEY_"} {
			if strings.HasPrefix(up, hive) {
				return v, true
			}
		}
		return "", false
	case FilePath, Mutex, UserAgent:
		return v, true
	}
	return "", false
}

func looksLikePath(v string) bool {
	return strings.HasPrefix(v, "/") || strings.HasPrefix(v, `\\`) || strings.HasPrefix(v, `%`) && strings.Contains(v, `%\`) || drivePattern.MatchString(v)
}

var refanger = strings.NewReplacer("[.]", ".", "(.)", ".", "[dot]", ".", "{.}", ".", "[@]", "@", "[at]", "@", "[:]", ":", "[://]", "://")

// refang undoes the ways in which people write an indicator so that nobody clicks it.
func refang(v string) string {
	v = refanger.Replace(v)
	for _, p := range [][2]string{{"hxxps://", "https://"}, {"hxxp://", "http://"}, {"fxp://", "ftp://"}} {
		if len(v) >= len(p[0]) && strings.EqualFold(v[:len(p[0])], p[0]) {
			return p[1] + v[len(p[0]):]
		}
	}
	return v
}

// CanonicalIOCs sorts by type and value and drops doubles. The result does not
// depend on the order of the input, which it may reorder.
func CanonicalIOCs(iocs []IOC) []IOC {
	slices.SortFunc(iocs, func(a, b IOC) int {
		return cmp.Or(strings.Compare(string(a.Type), string(b.Type)), strings.Compare(a.Value, b.Value))
	})
	return slices.Compact(iocs)
}

func isOneOf(key string, names []string) bool { return slices.Contains(names, strings.ToLower(key)) }

// brief is a value as short text, for telling its sender.
func brief(v any) string {
	s, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		s = string(b)
		if err != nil {
			s = fmt.Sprint(v)
		}
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if r := []rune(s); len(r) > 100 {
		return string(r[:97]) + "..."
	}
	return s
}
