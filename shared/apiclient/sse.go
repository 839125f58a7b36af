package apiclient

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// maxFrame bounds one event of a stream, in bytes.
const maxFrame = 8 << 20

var errFrameTooLarge = errors.New("an event is larger than 8 MiB")

// frame is one server-sent event.
type frame struct{ id, event, data string }

// frameReader reads the event stream format of the HTML standard: lines end in
// LF, CR or CRLF, an empty line ends an event, and one that the connection cuts
// off is dropped.
type frameReader struct {
	r      *bufio.Reader
	lastID string        // of the last block that was whole; holds until another id comes
	retry  time.Duration // the pause that the server wishes for; 0: it named none
	afterR bool          // the last line ended in CR: an LF now belongs to it
	begun  bool
}

func newFrameReader(r io.Reader) *frameReader { return &frameReader{r: bufio.NewReader(r)} }

// next is the next event that has data.
func (f *frameReader) next() (frame, error) {
	var event string
	id := f.lastID
	var data strings.Builder
	lines, size := 0, 0
	for {
		line, err := f.line(maxFrame - size)
		if err != nil {
			return frame{}, err
		}
		size += len(line) + 1
		if line == "" {
			f.lastID = id
			if lines > 0 {
				return frame{f.lastID, event, data.String()}, nil
			}
			event, size = "", 0
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "": // a comment, which keeps the connection alive
			size -= len(line) + 1
		case "event":
			event = value
		case "data":
			if lines > 0 {
				data.WriteByte('\n')
			}
			data.WriteString(value)
			lines++
		case "id":
			if !strings.ContainsRune(value, 0) {
				id = value
			}
		case "retry":
			if ms, err := strconv.ParseUint(value, 10, 31); err == nil {
				f.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// line is the next line without its end.
func (f *frameReader) line(limit int) (string, error) {
	var b []byte
	for {
		c, err := f.r.ReadByte()
		if err != nil {
			return "", err
		}
		if f.afterR {
			f.afterR = false
			if c == '\n' {
				continue
			}
		}
		switch c {
		case '\r', '\n':
			f.afterR = c == '\r'
			line := string(b)
			if !f.begun {
				f.begun = true
				line = strings.TrimPrefix(line, "\uFEFF")
			}
			return line, nil
		}
		if len(b) >= limit {
			return "", errFrameTooLarge
		}
		b = append(b, c)
	}
}
