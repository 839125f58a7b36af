package sensor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/auroramesh/auroramesh/shared/fault"
)

// MaxRecord is the largest record that is read, in bytes.
const MaxRecord = 1 << 20

// Shape is how records stand in a stream.
type Shape string

// The shapes.
const (
	Lines   Shape = "lines"   // one object a line
	Array   Shape = "array"   // the elements of one array
	Objects Shape = "objects" // objects of many lines, one after the other
)

// Position is a place between two records, from which another reading can go on.
type Position struct {
	Offset int64 `json:"offset"` // bytes from the start
	Line   int   `json:"line"`   // lines that ended before it
	Shape  Shape `json:"shape"`  // empty: not known yet
}

// value is one record as bytes, or why it could not be read.
type value struct {
	line    int
	data    []byte
	refused error
	again   *Position // where to go on instead of after it: half a line may be whole later
}

// splitter cuts a stream into records. It holds one record at a time, and of one
// that is too large only the count of its bytes.
type splitter struct {
	r      *bufio.Reader
	shape  Shape
	offset int64
	line   int // of the next byte, from 1
	buf    []byte
	inside bool // an array: its bracket has been read
	fresh  bool // an array: no element has been read
	done   bool // an array: its end has been read
}

func newSplitter(r io.Reader, from Position) *splitter {
	s := &splitter{r: bufio.NewReaderSize(r, 64<<10), shape: from.Shape, offset: from.Offset, line: from.Line + 1}
	s.inside = from.Shape == Array // an array is only ever resumed after an element
	return s
}

func (s *splitter) position() Position {
	return Position{Offset: s.offset, Line: s.line - 1, Shape: s.shape}
}

// next is the next record; io.EOF at the end.
func (s *splitter) next() (value, error) {
	if s.shape == "" {
		if err := s.detect(); err != nil {
			return value{}, err
		}
	}
	switch s.shape {
	case Array:
		return s.element()
	case Objects:
		if _, err := s.skipSpace(); err != nil {
			return value{}, err
		}
		return s.whole()
	default:
		return s.textLine()
	}
}

// detect tells the shape by the first line: an array begins with a bracket, and
// only an object of many lines has a first line that is a brace alone.
func (s *splitter) detect() error {
	if mark, err := s.r.Peek(3); err == nil && bytes.Equal(mark, []byte("\xEF\xBB\xBF")) {
		s.discard(3)
	}
	first, err := s.skipSpace()
	if err != nil {
		return err
	}
	s.shape = Lines
	switch first {
	case '[':
		s.shape = Array
	case '{':
		for n := 2; n <= 4096; n++ {
			head, err := s.r.Peek(n)
			if err != nil {
				break
			}
			if c := head[n-1]; c == '\n' {
				s.shape = Objects
				break
			} else if c != ' ' && c != '\t' && c != '\r' {
				break
			}
		}
	}
	return nil
}

// textLine reads one line that is not blank.
func (s *splitter) textLine() (value, error) {
	for {
		v := value{line: s.line}
		start := s.position()
		s.buf = s.buf[:0]
		size, ended := 0, true
		for {
			part, err := s.r.ReadSlice('\n')
			s.offset += int64(len(part))
			size += len(bytes.TrimRight(part, "\r\n"))
			if size <= MaxRecord {
				s.buf = append(s.buf, part...)
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return value{}, fmt.Errorf("reading line %d: %w", s.line, err)
			}
			if err != nil && size == 0 {
				return value{}, io.EOF
			}
			if ended = err == nil; ended {
				s.line++
			}
			break
		}
		if size > MaxRecord {
			v.refused = tooLarge(size)
			return v, nil
		}
		if v.data = bytes.TrimSpace(s.buf); len(v.data) > 0 {
			if !ended && !json.Valid(v.data) {
				v.again = &start
			}
			return v, nil
		}
	}
}

// element reads one element of the array.
func (s *splitter) element() (value, error) {
	c, err := s.skipSpace()
	switch {
	case s.done && errors.Is(err, io.EOF):
		return value{}, io.EOF
	case errors.Is(err, io.EOF):
		return value{}, s.broken(s.offset, "the array has no end", nil)
	case err != nil:
		return value{}, err
	case s.done:
		return value{}, s.broken(s.offset+1, "there is something after the end of the array", nil)
	}
	if !s.inside {
		s.discard(1)
		s.inside, s.fresh = true, true
		if c, err = s.skipSpace(); err != nil {
			return s.element() // says which end this is
		}
	}
	switch {
	case c == ']':
		s.discard(1)
		s.done = true
		return s.element()
	case s.fresh:
		s.fresh = false
	case c != ',':
		return value{}, s.broken(s.offset+1, fmt.Sprintf("%q stands where a comma or the end of the array should", c), nil)
	default:
		s.discard(1)
		if _, err := s.skipSpace(); err != nil {
			return s.element()
		}
	}
	return s.whole()
}

// whole reads one JSON value by its brackets and checks it.
func (s *splitter) whole() (value, error) {
	v := value{line: s.line}
	start := s.offset
	s.buf = s.buf[:0]
	depth, quoted, escaped := 0, false, false
	for {
		c, err := s.r.ReadByte()
		if errors.Is(err, io.EOF) {
			if depth == 0 && s.offset > start {
				break
			}
			return value{}, s.broken(s.offset, fmt.Sprintf("the record that begins at line %d has no end", v.line), nil)
		}
		if err != nil {
			return value{}, fmt.Errorf("reading line %d: %w", s.line, err)
		}
		if depth == 0 && !quoted && s.offset > start && (c == ',' || c == ']' || c == '}' || isSpace(c)) {
			if err := s.r.UnreadByte(); err != nil {
				return value{}, fmt.Errorf("reading line %d: %w", s.line, err)
			}
			break
		}
		s.count(c)
		if s.offset-start <= MaxRecord {
			s.buf = append(s.buf, c)
		}
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if depth == 0 && !quoted && (c == '}' || c == ']' || c == '"') {
			break
		}
		if depth < 0 {
			return value{}, s.broken(s.offset, fmt.Sprintf("%q stands where a record should begin", c), nil)
		}
	}
	if size := s.offset - start; size > MaxRecord {
		v.refused = tooLarge(int(size))
		return v, nil
	}
	if !json.Valid(s.buf) {
		err := syntaxError(s.buf)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at := min(int(syntax.Offset), len(s.buf))
			s.line = v.line + bytes.Count(s.buf[:at], []byte("\n"))
			s.offset = start + int64(at)
		}
		return value{}, s.broken(s.offset, "no JSON", err)
	}
	v.data = s.buf
	return v, nil
}

// skipSpace goes to the next byte that is no space, which it leaves unread.
func (s *splitter) skipSpace() (byte, error) {
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return 0, io.EOF
			}
			return 0, fmt.Errorf("reading line %d: %w", s.line, err)
		}
		if !isSpace(c) {
			return c, s.r.UnreadByte()
		}
		s.count(c)
	}
}

// discard passes over n bytes that have been seen, none of them the end of a line.
func (s *splitter) discard(n int) {
	d, _ := s.r.Discard(n) // they are in the buffer
	s.offset += int64(d)
}

func (s *splitter) count(c byte) {
	s.offset++
	if c == '\n' {
		s.line++
	}
}

// broken is the error that ends a stream at a byte, counted from 1.
func (s *splitter) broken(at int64, what string, err error) error {
	if err != nil {
		what += ": " + err.Error()
	}
	return fault.New(fault.Invalid, "line %d, byte %d: %s; nothing after it can be read", s.line, at, what)
}

func tooLarge(size int) error {
	return fault.New(fault.TooLarge, "the record has %d bytes; at most %d are read", size, MaxRecord)
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
