package bench

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/auroramesh/auroramesh/shared/store/localpostgres"
)

// Conditions are what was measured, when, and on what. What this machine does not tell is empty.
type Conditions struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"` // of the build, with " (modified)" where the files were others
	// At is when the benchmark began.
	At         time.Time `json:"at"`
	Go         string    `json:"go"`
	OS         string    `json:"os"`
	Kernel     string    `json:"kernel,omitempty"`
	CPU        string    `json:"cpu,omitempty"` // the model
	CPUs       int       `json:"cpus"`
	RAM        float64   `json:"ram_mb,omitempty"`
	PostgreSQL string    `json:"postgresql,omitempty"` // the version
}

func conditions(version string) Conditions {
	c := Conditions{
		Version: version, At: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH,
		Kernel: strings.TrimSpace(read("/proc/sys/kernel/osrelease")), CPU: line(read("/proc/cpuinfo"), "model name"), CPUs: runtime.NumCPU(),
	}
	var kilobytes float64
	if n, _ := fmt.Sscanf(line(read("/proc/meminfo"), "MemTotal"), "%g kB", &kilobytes); n == 1 {
		c.RAM = kilobytes / 1024
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		c.Commit = commit(info.Settings)
	}
	c.PostgreSQL, _ = localpostgres.Version() // a workload that needs it says why it cannot be had
	return c
}

// Text is the conditions in one line.
func (c Conditions) Text() string {
	parts := []string{"auroramesh " + c.Version}
	if c.Commit != "" {
		parts = append(parts, "commit "+c.Commit)
	}
	parts = append(parts, c.Go, strings.TrimSpace(c.OS+" "+c.Kernel), fmt.Sprintf("%d × %s", c.CPUs, cmp.Or(c.CPU, "CPU")))
	if c.RAM > 0 {
		parts = append(parts, fmt.Sprintf("%.1f GB RAM", c.RAM/1024))
	}
	if c.PostgreSQL != "" {
		parts = append(parts, "PostgreSQL "+c.PostgreSQL)
	}
	return strings.Join(append(parts, c.At.Format(time.RFC3339)), ", ")
}

// commit is the revision that a program was built from.
func commit(settings []debug.BuildSetting) (revision string) {
	modified := ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " (modified)"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + modified
}

// line is the value of the first "name: value" of a text, empty where there is none.
func line(text, name string) string {
	for l := range strings.Lines(text) {
		if key, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
