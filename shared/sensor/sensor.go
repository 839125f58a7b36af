// Package sensor turns what sensors write into alerts: Suricata EVE, Wazuh
// alerts, OCSF Detection Findings and the API's own JSON.
//
// Bytes go through it in two steps. [Read] cuts a stream into records, whether it
// is one object a line, an array or pretty-printed objects, and never holds more
// than one record; then the mapping of the record's format makes an alert of it.
// A record becomes one of three things: an alert, a kind that is passed by (a
// flow is no alert), or a refusal with the reason. A bad record never costs its
// neighbours. Each mapping is a table of rules in this package, from which
// docs/ingest.md is generated.
package sensor

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/netip"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// Format is how a sensor writes its records.
type Format string

// The formats.
const (
	Auto     Format = "auto" // each record is looked at by itself
	Suricata Format = "suricata"
	Wazuh    Format = "wazuh"
	OCSF     Format = "ocsf"
	Native   Format = "native" // the body of POST /api/v1/alerts
)

// Formats lists every format.
func Formats() []Format { return []Format{Auto, Suricata, Wazuh, OCSF, Native} }

// FormatForm says in words what a format may be.
const FormatForm = "auto, suricata, wazuh, ocsf or native"

// Options say how to read.
type Options struct {
	Format Format // empty: Auto
	// Home are networks of one's own besides the private ones: their addresses
	// are assets, not IOCs.
	Home []netip.Prefix
	// From is where reading begins, as a [Record] of an earlier reading said. The
	// reader must stand at From.Offset.
	From Position
}

// Record is one record of a stream. Exactly one of Alert, Skipped and Refused is set.
type Record struct {
	Line    int      // where the record begins, from 1
	Next    Position // where reading goes on after it
	Alert   *federation.NewAlert
	Skipped string // the kind of a record that is no alert, e.g. "suricata flow"
	Refused error  // why there is no alert of this record
}

// Read yields the records of r in order. An error in the second place ends the
// stream: r failed, or a syntax error left no way to tell where the next record
// begins. Its message names the line.
func Read(r io.Reader, o Options) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		s := newSplitter(r, o.From)
		for {
			v, err := s.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Record{Line: s.line, Next: s.position()}, err)
				return
			}
			rec := Record{Line: v.line, Next: s.position()}
			if v.again != nil {
				rec.Next = *v.again
			}
			if v.refused != nil {
				rec.Refused = v.refused
			} else {
				rec.Alert, rec.Skipped, rec.Refused = Map(v.data, o)
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// Map makes an alert of one record, or says which kind it is that is passed by,
// or why it is refused.
func Map(data []byte, o Options) (alert *federation.NewAlert, skipped string, err error) {
	data = bytes.TrimSpace(data)
	if !json.Valid(data) {
		return nil, "", fault.New(fault.Invalid, "no JSON: %v", syntaxError(data))
	}
	if data[0] != '{' {
		return nil, "", fault.New(fault.Invalid, "a record must be a JSON object")
	}
	format := o.Format
	if format == "" || format == Auto {
		if format = detect(data); format == "" {
			return nil, "", fault.New(fault.Invalid,
				"no format fits: suricata has event_type, wazuh has rule.level, ocsf has class_uid, native has title, severity and source")
		}
	}
	d := &draft{home: o.Home}
	switch format {
	case Suricata:
		skipped, err = suricata(data, d)
	case Wazuh:
		err = wazuh(data, d)
	case OCSF:
		skipped, err = ocsf(data, d)
	case Native:
		return native(data)
	default:
		var wrong fault.Fields
		wrong.Add("format", string(format), FormatForm)
		err = wrong.Err("the format is not known")
	}
	if err != nil || skipped != "" {
		return nil, skipped, err
	}
	n := d.finish(data)
	if err := n.Validate(); err != nil {
		return nil, "", err
	}
	return &n, "", nil
}

// detect tells the format of one record by the fields that only it has.
func detect(data []byte) Format {
	var keys map[string]json.RawMessage
	if json.Unmarshal(data, &keys) != nil {
		return ""
	}
	has := func(names ...string) bool {
		for _, n := range names {
			if _, ok := keys[n]; !ok {
				return false
			}
		}
		return true
	}
	switch {
	case has("event_type"):
		return Suricata
	case has("class_uid"):
		return OCSF
	case has("rule") && bytes.Contains(keys["rule"], []byte(`"level"`)):
		return Wazuh
	case has("title"), has("severity", "source"):
		return Native
	}
	return ""
}

func syntaxError(data []byte) error {
	var v json.RawMessage
	return json.Unmarshal(data, &v)
}

// unreadable is the refusal of a record whose fields have other types than its format says.
func unreadable(format Format, err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		var wrong fault.Fields
		wrong.Add(t.Field, t.Value, "a value of the type that the format says")
		return wrong.Err("no " + string(format) + " record")
	}
	return fault.New(fault.Invalid, "no %s record: %v", format, err)
}
