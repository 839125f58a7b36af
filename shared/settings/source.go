package settings

import (
	"fmt"
	"os"
	"reflect"
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
