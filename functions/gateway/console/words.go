package console

import (
	"html/template"
	"strconv"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/meshmap"
)

// words are how the templates write things. Times are UTC: the sites of a mesh need not
// be in one time zone, and its people speak of one moment.
var words = template.FuncMap{
	"words":   func(s any) string { return strings.ReplaceAll(text(s), "_", " ") },
	"stamp":   func(t any) string { return moment(t).Format("2006-01-02 15:04:05Z") },
	"clock":   func(t any) string { return moment(t).Format("2006-01-02 15:04:05") },
	"why":     meshmap.Why,
	"ms":      meshmap.Milliseconds,
	"percent": meshmap.Percent,
	"row":     rowOf,
	"age":     func(s *float64) string { return seconds(*s) },
	"bytes":   bytesWord,
	// A figure that is not known is shown as such, never as 0.
	"figure": func(n *int) string {
		if n == nil {
			return "?"
		}
		return strconv.Itoa(*n)
	},
}

func text(s any) string {
	switch s := s.(type) {
	case federation.AlertStatus:
		return string(s)
	case federation.Severity:
		return string(s)
	case string:
		return s
	}
	return ""
}

func moment(t any) time.Time {
	switch t := t.(type) {
	case time.Time:
		return t.UTC()
	case *time.Time:
		if t != nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// sentence is a word with a capital.
func sentence(s string) string {
	s = strings.ReplaceAll(s, "_", " ")
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
