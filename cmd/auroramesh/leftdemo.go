package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/fault"
)

// leftDemo is what a demo leaves for the commands that come after it on this machine.
type leftDemo struct {
	// Control is the address where its lines are broken and healed.
	Control string `json:"control"`
	// Sites has the settings of each site by its id, as an environment.
	Sites map[string]map[string]string `json:"sites"`
}

func leftBy(d *demo.Demo, control string) leftDemo {
	left := leftDemo{Control: control, Sites: map[string]map[string]string{}}
	for _, s := range d.Sites {
		left.Sites[string(s.ID().ID)] = s.Environ
	}
	return left
}

// demoFile is where a demo leaves it.
func demoFile() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "auroramesh", "demo.json"), nil
}

// write leaves it. Of several demos the last is found.
func (d leftDemo) write() error {
	path, err := demoFile()
	if err != nil {
		return err
	}
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// readDemo is what the demo has left that runs here.
func readDemo() (d leftDemo, err error) {
	path, err := demoFile()
	if err != nil {
		return d, fault.New(fault.NotFound, "no demo can be found (%v)", err)
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &d)
	}
	if err != nil {
		return d, fault.New(fault.NotFound, "no demo runs here: start one with `auroramesh demo`")
	}
	return d, nil
}

// remove takes it back, unless another demo has left its own since.
func (d leftDemo) remove() error {
	path, err := demoFile()
	if err != nil {
		return nil //nolint:nilerr // then there is nothing to take back
	}
	now, err := readDemo()
	if err != nil || now.Control != d.Control {
		return nil //nolint:nilerr // it is not that of this demo
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
