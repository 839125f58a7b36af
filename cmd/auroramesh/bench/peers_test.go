package bench

import (
	"errors"
	"strings"
	"testing"
)

func TestAPeerThatCannotBeBuiltIsMissingWithTheReason(t *testing.T) {
	b := &bed{Options: Options{Progress: func(line string) { t.Log(line) }}}
	refused := func(why string) {
		t.Helper()
		_, err := b.buildPeer(t.Context(), "serf")
		if m := missing(""); !errors.As(err, &m) || !strings.Contains(string(m), why) {
			t.Errorf("got %v, which does not say %q", err, why)
		}
	}
	if _, err := b.buildPeer(t.Context(), "nobody"); err == nil || !strings.Contains(err.Error(), "building nobody") {
		t.Errorf("got %v for a program that there is not", err)
	}
	t.Chdir(t.TempDir())
	refused("needs the sources")
	t.Setenv("PATH", "")
	refused("needs the go command")
	if err := b.close(t.Context()); err != nil {
		t.Error(err)
	}
}
