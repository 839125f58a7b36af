package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/sensor"
)

// marks remember how far each file was taken, so that the next run goes on from
// there. What lies before a mark has been acknowledged by the site; what a crash
// leaves behind the mark is raised again, and found to be known.
type marks struct {
	path  string
	files map[string]mark
	dirty bool
	saved time.Time
}

// mark is how far one file was taken. The head tells a file from the one that
// rotation puts in its place.
type mark struct {
	sensor.Position
	HeadBytes int64  `json:"head_bytes"`
	Head      string `json:"head_sha256"`
}

// maxHead is how much of a file tells it from another.
const maxHead = 4096

// saveEvery bounds how much is raised again after a crash.
const saveEvery = time.Second

func openMarks(path string) (*marks, error) {
	m := &marks{path: path, files: map[string]mark{}}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return m, m.write() // a place that cannot be written is told before the work, not after
	case err != nil:
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	if err := json.Unmarshal(data, &m.files); err != nil {
		return nil, fault.New(fault.Invalid, "%s is no state of an ingest (%v): name another file, or remove this one", path, err)
	}
	if m.files == nil {
		m.files = map[string]mark{}
	}
	return m, nil
}

// find is where to go on in f. other is true where a mark was for another file
// than f; it is then forgotten.
func (m *marks) find(path string, f *os.File) (from sensor.Position, other bool, err error) {
	mk, ok := m.files[key(path)]
	if !ok || mk.Offset == 0 {
		return sensor.Position{}, false, nil
	}
	info, err := f.Stat()
	if err != nil {
		return sensor.Position{}, false, err
	}
	head, err := headOf(f, mk.HeadBytes)
	if err != nil {
		return sensor.Position{}, false, err
	}
	if info.Size() < mk.Offset || head != mk.Head {
		delete(m.files, key(path))
		return sensor.Position{}, true, nil
	}
	return mk.Position, false, nil
}

// set notes that everything before p has been taken.
func (m *marks) set(path string, f *os.File, p sensor.Position) {
	k := key(path)
	mk := m.files[k]
	if n := min(p.Offset, maxHead); mk.HeadBytes != n {
		head, err := headOf(f, n)
		if err != nil {
			return // the mark stays where it was, which is always safe
		}
		mk.HeadBytes, mk.Head = n, head
	}
	mk.Position = p
	m.files[k] = mk
	m.dirty = true
}

// saveNowAndThen saves where the last time is long enough ago.
func (m *marks) saveNowAndThen() error {
	if time.Since(m.saved) < saveEvery {
		return nil
	}
	return m.save()
}

func (m *marks) save() error {
	if !m.dirty {
		return nil
	}
	return m.write()
}

// write puts the marks in place of the old ones in one step.
func (m *marks) write() error {
	data, err := json.MarshalIndent(m.files, "", "  ")
	if err != nil {
		return fmt.Errorf("saving the state: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(m.path), filepath.Base(m.path)+".*")
	if err != nil {
		return fmt.Errorf("saving the state: %w", err)
	}
	_, err = tmp.Write(append(data, '\n'))
	if serr := tmp.Sync(); err == nil {
		err = serr
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), m.path)
	}
	if err != nil {
		return fmt.Errorf("saving the state: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	m.dirty, m.saved = false, time.Now()
	return nil
}

// key is the name of a file in the state: its whole path.
func key(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// headOf is the SHA-256 of the first n bytes of f, or of all where it has fewer.
func headOf(f *os.File, n int64) (string, error) {
	buf := make([]byte, n)
	got, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the head of %s: %w", f.Name(), err)
	}
	sum := sha256.Sum256(buf[:got])
	return hex.EncodeToString(sum[:]), nil
}
