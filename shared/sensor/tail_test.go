package sensor

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// follow opens path and yields its lines on a channel, which is closed at the end.
func follow(ctx context.Context, t *testing.T, path string) (<-chan string, *error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	tail, err := NewTail(ctx, path, f, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	lines, last := make(chan string), new(error)
	go func() {
		defer close(lines)
		r := bufio.NewReader(tail)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				*last = err
				return
			}
			lines <- line
		}
	}()
	return lines, last
}

func add(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestAGrowingFileIsReadUntilItIsRotatedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "eve.json")
	add(t, path, "1\n2")
	lines, last := follow(t.Context(), t, path)
	if got := <-lines; got != "1\n" {
		t.Errorf("got %q", got)
	}
	add(t, path, "2\n3\n")
	if a, b := <-lines, <-lines; a != "22\n" || b != "3\n" {
		t.Errorf("got %q, %q", a, b)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	add(t, path+".1", "4\n") // a writer that has not noticed
	if got := <-lines; got != "4\n" {
		t.Errorf("got %q", got)
	}
	add(t, path, "5\n")
	if got, more := <-lines; more || !errors.Is(*last, io.EOF) {
		t.Errorf("got %q, %v", got, *last)
	}
}

func TestAFileThatIsCutShortEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "eve.json")
	add(t, path, "one\n")
	lines, last := follow(t.Context(), t, path)
	<-lines
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if got, more := <-lines; more || !errors.Is(*last, io.EOF) {
		t.Errorf("got %q, %v", got, *last)
	}
}

func TestFollowingEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "eve.json")
	add(t, path, "one\n")
	ctx, cancel := context.WithCancel(t.Context())
	lines, last := follow(ctx, t, path)
	<-lines
	cancel()
	if got, more := <-lines; more || !errors.Is(*last, context.Canceled) {
		t.Errorf("got %q, %v", got, *last)
	}
}
