package settings

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// FileSuffix makes of a variable the one that names a file with its value, so that a
// secret need not stand in the environment.
const FileSuffix = "_FILE"

// maxFile is the size of the largest such file.
const maxFile = 64 << 10

// Where the value of a setting comes from.
const (
	FromDefault     = "default"
	FromEnvironment = "environment"
	fromFile        = "file "
)

// Effective is one setting as it is in force.
type Effective struct {
	Name  string `json:"name"`
	Value string `json:"value"` // without the secrets in it
	From  string `json:"from"`  // default, environment, or "file PATH"
}

// Explain lists every setting as [Load] would have it, and where each comes from.
func Explain(environ map[string]string) ([]Effective, error) {
	s, err := Load(environ)
	if err != nil {
		return nil, err
	}
	all := s.Effective()
	for i, e := range all {
		switch path := environ[e.Name+FileSuffix]; {
		case path != "":
			all[i].From = fromFile + path
		case environ[e.Name] != "":
			all[i].From = FromEnvironment
		default:
			all[i].From = FromDefault
		}
	}
	return all, nil
}

// Effective lists the settings, without the secrets in them, and without where each comes from.
func (s Settings) Effective() []Effective {
	fields := reflect.ValueOf(s)
	var all []Effective
	for _, v := range Variables() {
		value := Redact(fmt.Sprint(fields.FieldByName(v.field).Interface()))
		if v.secret && value != "" {
			value = redacted
		}
		all = append(all, Effective{Name: v.Name, Value: value})
	}
	return all
}

// withFiles is environ with the value of each setting whose file it names.
func withFiles(environ map[string]string, wrong *fault.Fields) map[string]string {
	read := map[string]string{}
	for _, v := range Variables() {
		name := v.Name + FileSuffix
		path := environ[name]
		switch {
		case path == "":
			continue
		case environ[v.Name] != "":
			wrong.Add(name, path, "nothing where "+v.Name+" is set, for only one of them can hold")
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) > maxFile {
			wrong.Add(name, path, fmt.Sprintf("the path of a file of at most %d bytes that this process can read", maxFile))
			continue
		}
		read[v.Name] = strings.TrimRight(string(data), "\r\n")
	}
	if len(read) == 0 {
		return environ
	}
	for name, value := range environ {
		if _, ok := read[name]; !ok {
			read[name] = value
		}
	}
	return read
}

// Unknown names the variables of an environment that are no settings but look like one: by
// what they begin with, or as a slip of the pen. Nobody reads them. They are sorted, and
// each has the setting that is meant, or nothing where that cannot be told.
func Unknown(environ map[string]string) []Slip {
	known := map[string]bool{}
	for _, v := range Variables() {
		known[v.Name], known[v.Name+FileSuffix] = true, true
	}
	var slips []Slip
	for name := range environ {
		if known[name] {
			continue
		}
		slip, least := Slip{Name: name}, 3
		for setting := range known {
			if d := distance(name, setting); d < least || d == least && slip.Meant != "" && setting < slip.Meant {
				slip.Meant, least = setting, d
			}
		}
		if slip.Meant != "" || strings.HasPrefix(name, "FEDERATION_") || strings.HasPrefix(name, "RETENTION_") {
			slips = append(slips, slip)
		}
	}
	slices.SortFunc(slips, func(a, b Slip) int { return strings.Compare(a.Name, b.Name) })
	return slips
}

// Slip is a variable that nobody reads, and the setting that may be meant.
type Slip struct{ Name, Meant string }

func (s Slip) String() string {
	if s.Meant == "" {
		return s.Name + " is no setting, so nobody reads it"
	}
	return s.Name + " is no setting, so nobody reads it; is " + s.Meant + " meant?"
}

// distance is how many letters are to be put in, taken out or changed to make a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before, row[j+1] = row[j+1], min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
