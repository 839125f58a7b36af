package settings

import (
	"net/url"
	"reflect"
	"strings"
)

// Variable is one setting, as the documentation shows it.
type Variable struct {
	Name    string // of the environment variable
	Type    string // of its value
	Default string
	Allowed string
	Help    string
	field   string
}

// Variables lists every setting in the order of its declaration.
func Variables() []Variable {
	t := reflect.TypeFor[Settings]()
	vs := make([]Variable, 0, t.NumField())
	for f := range t.Fields() {
		vs = append(vs, Variable{
			Name: f.Tag.Get("env"), Type: f.Type.String(), Default: f.Tag.Get("envDefault"),
			Allowed: f.Tag.Get("allowed"), Help: f.Tag.Get("help"), field: f.Name,
		})
	}
	return vs
}

func variable(field string) Variable {
	for _, v := range Variables() {
		if v.field == field {
			return v
		}
	}
	panic("no setting is named " + field)
}

// Markdown is the table of every setting, for the documentation.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| Variable | Type | Default | Allowed | What it does |\n|---|---|---|---|---|\n")
	for _, v := range Variables() {
		def := "none"
		if v.Default != "" {
			def = "`" + v.Default + "`"
		}
		b.WriteString("| `" + v.Name + "` | " + v.Type + " | " + def + " | " + v.Allowed + " | " + v.Help + " |\n")
	}
	return b.String()
}

// Redact is a value with the password of a URL in it left out.
func Redact(value string) string {
	if u, err := url.Parse(value); err == nil && u.User != nil {
		return u.Redacted()
	}
	return value
}
