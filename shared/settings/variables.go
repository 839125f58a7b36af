package settings

import (
	"cmp"
	"reflect"
	"regexp"
	"strings"
)

// Variable is one setting, as the documentation shows it.
type Variable struct {
	Name    string // of the environment variable
	Type    string // of its value
	Default string
	Allowed string
	Help    string
	Example string // a value that is taken
	field   string
	secret  bool // its whole value is
}

// redacted stands for what is secret.
const redacted = "xxxxx"

// Variables lists every setting in the order of its declaration.
func Variables() []Variable {
	t := reflect.TypeFor[Settings]()
	vs := make([]Variable, 0, t.NumField())
	for f := range t.Fields() {
		vs = append(vs, Variable{
			Name: f.Tag.Get("env"), Type: f.Type.String(), Default: f.Tag.Get("envDefault"),
			Allowed: f.Tag.Get("allowed"), Help: f.Tag.Get("help"), Example: cmp.Or(f.Tag.Get("example"), f.Tag.Get("envDefault")), field: f.Name, secret: f.Tag.Get("secret") == "true",
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
	b.WriteString("| Variable | Type | Default | Allowed | Example | What it does |\n|---|---|---|---|---|---|\n")
	for _, v := range Variables() {
		def := "none"
		if v.Default != "" {
			def = "`" + v.Default + "`"
		}
		b.WriteString("| `" + v.Name + "` | " + v.Type + " | " + def + " | " + v.Allowed + " | `" + v.Example + "` | " + v.Help + " |\n")
	}
	return b.String()
}

var (
	// A password may hold an @ that was not escaped, so a login ends at the last one.
	login       = regexp.MustCompile(`(?s)://([^:@]*)(:.*)?@`)
	bareLogin   = regexp.MustCompile(`^\S*@`)
	secretParam = regexp.MustCompile(`(?i)\b(sslpassword|password|passwd|pwd|token|secret)=('[^']*'|[^&\s]*)`)
)

// Redact is a value with the secrets in it left out: the password of each URL,
// the token that stands in a NATS URL for user and password, and a password given
// as a parameter. It looks at the text, since a URL that cannot be parsed may
// hold a password too; in doubt it leaves out more.
func Redact(value string) string {
	var parts []string
	for part := range strings.SplitSeq(value, ",") {
		if len(parts) > 0 && !strings.Contains(part, "://") {
			parts[len(parts)-1] += "," + part // a comma within a URL
			continue
		}
		parts = append(parts, part)
	}
	for i, part := range parts {
		parts[i] = redactURL(secretParam.ReplaceAllString(part, "$1=xxxxx"))
	}
	return strings.Join(parts, ",")
}

func redactURL(v string) string {
	switch {
	case strings.HasPrefix(v, "sqlite:"): // a path
		return v
	case !strings.Contains(v, "://"):
		return bareLogin.ReplaceAllString(v, "xxxxx@")
	}
	return login.ReplaceAllStringFunc(v, func(found string) string {
		user, _, hasPassword := strings.Cut(strings.TrimPrefix(found, "://"), ":")
		switch {
		case hasPassword:
			return "://" + user + ":xxxxx@"
		case strings.HasPrefix(v, "postgres"): // a user alone is no secret there
			return found
		}
		return "://xxxxx@"
	})
}
