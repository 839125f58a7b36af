package function_test

import (
	"errors"
	"testing"

	"github.com/auroramesh/auroramesh/shared/function"
)

func TestAPanicInAGoroutineOfAHandlerIsAnError(t *testing.T) {
	t.Parallel()
	came := make(chan error, 1)
	go func() { came <- function.Guarded(func() error { panic("no such row") }) }()
	if err := <-came; err == nil || err.Error() != "the handler panicked: no such row" {
		t.Errorf("got %v", err)
	}
	wrong := errors.New("wrong")
	if err := function.Guarded(func() error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("got %v", err)
	}
}
