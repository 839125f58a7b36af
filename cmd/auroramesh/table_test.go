package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestTextFromOutsideCannotSteerTheTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"Beacon to évil.example → 203.0.113.9": "Beacon to évil.example → 203.0.113.9",
		"\x1b]0;owned\x07\x1b[2J":              `\x1b]0;owned\x07\x1b[2J`,
		"a\u009b31mb":                          `a\x9b31mb`,
		"gpj.\u202eexe":                        `gpj.\u202eexe`,
		"a\u200bb\u2066c":                      `a\u200bb\u2066c`,
		"tag\U000E0041":                        `tag\U000e0041`,
		"two\nlines\r\tand a tab":              `two\x0alines\x0d\x09and a tab`,
		"\x7f":                                 `\x7f`,
	} {
		if got := plain(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		if strings.ContainsFunc(plain(s), hostile) {
			t.Fatalf("%q keeps a control character", plain(s))
		}
		in := federation.Alert{Title: s, Description: s}
		var out strings.Builder
		if err := writeJSON(&out, in); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(out.String(), func(r rune) bool { return hostile(r) && r != '\n' }) {
			t.Fatalf("the JSON keeps a control character: %q", out.String())
		}
		var back federation.Alert
		if err := json.Unmarshal([]byte(out.String()), &back); err != nil || back.Title != strings.ToValidUTF8(s, "\uFFFD") {
			t.Fatalf("%q came back as %q, %v", s, back.Title, err)
		}
		var sheet strings.Builder
		if err := alertSheet(&sheet, in); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(sheet.String(), func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
			t.Fatalf("the sheet keeps a control character: %q", sheet.String())
		}
	})
}

func TestATableStandsInColumns(t *testing.T) {
	var out strings.Builder
	tab := newTable(&out, "A", "LONG HEAD", "LAST")
	tab.row("éé", "x", "as long as it likes")
	tab.row("critical", "", "")
	if err := tab.write(&out); err != nil {
		t.Fatal(err)
	}
	want := "A         LONG HEAD  LAST\néé        x          as long as it likes\ncritical\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if got, want := line([]string{"critical", "x"}, []int{10, 1}, true), "\x1b[1;31mcritical\x1b[0m    x\n"; got != want {
		t.Errorf("in colour: %q, want %q", got, want)
	}
}
