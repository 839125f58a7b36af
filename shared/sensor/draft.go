package sensor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// rule is one row of a mapping: which field of a record becomes which field of
// the alert, and how. The rules of a format are both its mapping and its documentation.
type rule[T any] struct {
	from, to, how string
	apply         func(*T, *draft) error
}

// apply runs the rules in order.
func apply[T any](rules []rule[T], record *T, d *draft) error {
	for _, r := range rules {
		if err := r.apply(record, d); err != nil {
			return err
		}
	}
	return nil
}

// draft is an alert in the making.
type draft struct {
	federation.NewAlert
	home  []netip.Prefix
	facts []string
}

// finish puts the draft into the limits of an alert.
func (d *draft) finish(record []byte) federation.NewAlert {
	n := d.NewAlert
	n.Title = oneLine(n.Title, federation.MaxTitle)
	n.Source = oneLine(n.Source, federation.MaxSource)
	n.Description = cut(n.Description, federation.MaxDescription)
	if facts := oneLine(strings.Join(d.facts, ", "), federation.MaxDescription); n.Description == "" {
		n.Description = facts
	} else if facts != "" {
		n.Description = cut(n.Description+"\n"+facts, federation.MaxDescription)
	}
	slices.Sort(n.AffectedAssets)
	n.AffectedAssets = first(slices.Compact(n.AffectedAssets), federation.MaxAssets)
	n.IOCs.Items = first(federation.CanonicalIOCs(n.IOCs.Items), federation.MaxIOCs)
	slices.Sort(n.MitreTechniques)
	n.MitreTechniques = first(slices.Compact(n.MitreTechniques), federation.MaxTechniques)
	var compact bytes.Buffer
	if json.Compact(&compact, record) == nil { // it is JSON, or there would be no draft
		n.RawLog = federation.RawLog(rawLog(compact.String()))
	}
	return n
}

// rawLog is the record within the limit; one that is cut says so at its end.
func rawLog(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	size := utf8.RuneCountInString(s)
	if size <= federation.MaxRawLog {
		return s
	}
	mark := fmt.Sprintf("… [cut: the record has %d characters]", size)
	return string([]rune(s)[:federation.MaxRawLog-utf8.RuneCountInString(mark)]) + mark
}

// fact adds "name value" to the facts of the description, where there is a value.
func (d *draft) fact(name string, value any) {
	if s := fmt.Sprint(value); s != "" && s != "0" {
		d.facts = append(d.facts, name+" "+s)
	}
}

// ioc adds an indicator, where the value is one of its type.
func (d *draft) ioc(kind federation.IOCType, value string) {
	if i, ok := federation.ReadIOC(string(kind), value); ok {
		d.IOCs.Items = append(d.IOCs.Items, i)
	}
}

func (d *draft) asset(name string) {
	if name = oneLine(name, federation.MaxAsset); name != "" {
		d.AffectedAssets = append(d.AffectedAssets, name)
	}
}

// address adds an address where it belongs: one's own to the assets, anyone
// else's to the IOCs, and one that is no host's to neither.
func (d *draft) address(s string) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.IsMulticast() || a.IsUnspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return
	}
	if d.own(a) {
		d.asset(a.Unmap().WithZone("").String())
		return
	}
	d.ioc(federation.IP, a.String())
}

// sharedSpace is for the inside of carriers' networks (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// own reports whether an address is one of the site's own network.
func (d *draft) own(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || sharedSpace.Contains(a) ||
		slices.ContainsFunc(d.home, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (d *draft) ownText(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && d.own(a)
}

// insideNames end names that only a network of one's own resolves.
var insideNames = []string{".arpa", ".local", ".localdomain", ".internal", ".intranet", ".lan", ".home", ".corp"}

// host adds the name or address of a host. One inside is an asset.
func (d *draft) host(s string, inside bool) {
	s = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(s)), ".")
	bare := s
	if h, _, ok := strings.Cut(s, ":"); ok && strings.Count(s, ":") == 1 {
		bare = h
	}
	if a, err := netip.ParseAddr(strings.Trim(bare, "[]")); err == nil {
		d.address(a.String())
		return
	}
	switch {
	case bare == "" || strings.HasSuffix(bare, ".arpa"):
	case inside || !strings.Contains(bare, ".") || insideName(bare):
		d.asset(bare)
	default:
		d.ioc(federation.Domain, bare)
	}
}

func insideName(name string) bool {
	return slices.ContainsFunc(insideNames, func(end string) bool { return strings.HasSuffix(name, end) })
}

var technique = regexp.MustCompile(`^T[0-9]{4}(\.[0-9]{3})?$`)

// technique adds an ATT&CK id; a value that is none is left out. Suricata's
// metadata writes a sub-technique with an underscore.
func (d *draft) technique(id string) {
	id = strings.ReplaceAll(strings.ToUpper(strings.TrimSpace(id)), "_", ".")
	if technique.MatchString(id) {
		d.MitreTechniques = append(d.MitreTechniques, id)
	}
}

// zones are how sensors write a time with a zone, and naive how they write one without.
var (
	zones = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02 15:04:05.999999999Z07:00"}
	naive = []string{"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"}
)

// observed sets the time of the record. One without a zone is UTC.
func (d *draft) observed(field, s string) error {
	if s == "" {
		return nil
	}
	for _, layout := range append(zones, naive...) {
		if t, err := time.Parse(layout, s); err == nil {
			t = t.UTC()
			d.ObservedAt = &t
			return nil
		}
	}
	var wrong fault.Fields
	wrong.Add(field, s, "a time such as 2026-03-01T12:00:00.000000+0000")
	return wrong.Err("the time cannot be read")
}

// refuseField is the refusal of one field.
func refuseField(name, value, allowed string) error {
	var wrong fault.Fields
	wrong.Add(name, value, allowed)
	return wrong.Err("the record cannot become an alert")
}

// oneLine is s without control characters and runs of space, within a limit of characters.
func oneLine(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return cut(strings.Join(strings.Fields(s), " "), limit)
}

// cut is s within a limit of characters; an ellipsis stands for what is gone.
func cut(s string, limit int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit-1]) + "…"
}

func first[T any](s []T, n int) []T { return s[:min(n, len(s))] }

// words is a JSON string or a list of them.
type words []string

// UnmarshalJSON implements json.Unmarshaler. Anything else is no word.
func (w *words) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		if one != "" {
			*w = words{one}
		}
		return nil
	}
	var many []any
	if json.Unmarshal(data, &many) == nil {
		for _, m := range many {
			if s, ok := m.(string); ok {
				*w = append(*w, s)
			}
		}
	}
	return nil
}

// number is a whole number, which some shippers write as a string. Absent: known is false.
type number struct {
	value int64
	known bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "null" || text == "" {
		return nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(text, 64)
		if ferr != nil || f != float64(int64(f)) {
			return fmt.Errorf("%q is no whole number", cut(text, 40))
		}
		v = int64(f)
	}
	*n = number{v, true}
	return nil
}

func (n number) String() string {
	if !n.known {
		return ""
	}
	return strconv.FormatInt(n.value, 10)
}
