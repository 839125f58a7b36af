package sensor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Tail reads a file that grows. At the end of the file a read waits for more; it
// ends with io.EOF once the file has been rotated away or cut short, so that the
// caller opens the path again, and with the context's error once that ends.
type Tail struct {
	ctx    context.Context
	path   string
	poll   time.Duration
	file   *os.File
	offset int64
	gone   bool // another file stands at the path: one more look, then the end
}

// NewTail follows file, which stands at path and is read from its current
// position. It looks for more every poll.
func NewTail(ctx context.Context, path string, file *os.File, poll time.Duration) (*Tail, error) {
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, fmt.Errorf("following %s: %w", path, err)
	}
	return &Tail{ctx: ctx, path: path, poll: poll, file: file, offset: at}, nil
}

// Read implements io.Reader.
func (t *Tail) Read(p []byte) (int, error) {
	for {
		n, err := t.file.Read(p)
		if n > 0 {
			t.offset += int64(n)
			return n, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("following %s: %w", t.path, err)
		}
		if t.gone {
			return 0, io.EOF
		}
		cutShort, err := t.look()
		if err != nil {
			return 0, err
		}
		if cutShort {
			return 0, io.EOF
		}
		timer := time.NewTimer(t.poll)
		select {
		case <-t.ctx.Done():
			timer.Stop()
			return 0, t.ctx.Err()
		case <-timer.C:
		}
	}
}

// look tells what became of the file. One that was moved away may still be
// written to until its writer opens the new one, so it is read once more.
func (t *Tail) look() (cutShort bool, err error) {
	open, err := t.file.Stat()
	if err != nil {
		return false, fmt.Errorf("following %s: %w", t.path, err)
	}
	if open.Size() < t.offset {
		return true, nil
	}
	if named, err := os.Stat(t.path); err == nil {
		t.gone = !os.SameFile(open, named)
	} else if !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("following %s: %w", t.path, err)
	}
	return false, nil
}
