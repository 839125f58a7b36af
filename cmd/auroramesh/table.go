package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// plain makes text from outside harmless to a terminal. An alert's title is
// written by whoever attacks: a control character in it could clear the screen,
// and a mark of writing direction could show another text than it holds. Each
// stands there as its escape instead.
func plain(s string) string {
	if !strings.ContainsFunc(s, hostile) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !hostile(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// hostile reports whether a rune does something to a terminal other than standing
// in it: controls, and the formats that hide or reorder text.
func hostile(r rune) bool {
	return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

// short is text of one cell: plain, and cut at n characters.
func short(s string, n int) string {
	r := []rune(plain(s))
	if len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return string(r)
}

// table collects rows and writes them in columns, the last one as long as it likes.
type table struct {
	colour bool
	rows   [][]string
}

// newTable is a table for w, in colour where w is a terminal.
func newTable(w io.Writer, head ...string) *table {
	return &table{colour: wantsColour(w), rows: [][]string{head}}
}

// row adds one row. The cells must be plain.
func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// leaveOut leaves out a column in which no row says more than one of nothing.
func (t *table) leaveOut(column string, nothing ...string) {
	t.leaveOutAt(slices.Index(t.rows[0], column), nothing...)
}

// leaveOutEmpty leaves out every column in which no row says more than "-".
func (t *table) leaveOutEmpty() {
	for at := len(t.rows[0]) - 1; at >= 0; at-- {
		t.leaveOutAt(at, "-")
	}
}

func (t *table) leaveOutAt(at int, nothing ...string) {
	if slices.ContainsFunc(t.rows[1:], func(row []string) bool { return !slices.Contains(nothing, row[at]) }) {
		return
	}
	for i, row := range t.rows {
		t.rows[i] = slices.Delete(row, at, at+1)
	}
}

// write writes the table to w.
func (t *table) write(w io.Writer) error {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		b.WriteString(line(row, widths, t.colour))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// line is one row in columns of the given widths.
func line(cells []string, widths []int, colour bool) string {
	var b strings.Builder
	for i, c := range cells {
		if i > 0 {
			b.WriteString("  ")
		}
		if colour {
			b.WriteString(paint(c))
		} else {
			b.WriteString(c)
		}
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(c))))
		}
	}
	return strings.TrimRight(b.String(), " ") + "\n"
}

// colours paint the words of the vocabulary, by how much they matter.
var colours = map[string]string{
	"critical": "1;31", "high": "31", "medium": "33", "low": "36", "info": "2",
	"online": "32", "healthy": "32", "degraded": "33", "offline": "31", "offline (leaving)": "31", "down": "31",
	"new": "1", "escalated": "31", "resolved": "32", "false_positive": "2", "duplicate": "2",
	"stored": "32", "queued": "33",
}

func paint(word string) string {
	if code, ok := colours[word]; ok {
		return "\x1b[" + code + "m" + word + "\x1b[0m"
	}
	return word
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// wantsColour reports whether colour may go to w (https://no-color.org).
func wantsColour(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

// writeJSON writes v as indented JSON.
func writeJSON(w io.Writer, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	_, err = io.WriteString(w, plainJSON(data)+"\n")
	return err
}

// writeJSONLine writes v as JSON on one line.
func writeJSONLine(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	_, err = io.WriteString(w, plainJSON(data)+"\n")
	return err
}

// plainJSON escapes, within the strings of JSON, what [plain] would and JSON by itself does not.
func plainJSON(data []byte) string {
	var b strings.Builder
	for _, r := range string(data) {
		switch {
		case !hostile(r) || r == '\n':
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			hi, lo := (r-0x10000)>>10+0xD800, (r-0x10000)&0x3FF+0xDC00
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		}
	}
	return b.String()
}

// stamp is a time as tables show it: UTC, to the second.
func stamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}
