package postgrestest

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/natstest"
)

func TestWhatAnOwnServerHasConfirmedSurvivesItsKill(t *testing.T) {
	c := Own(t)
	var running *exec.Cmd
	var ended chan error
	begin := func() {
		running, ended = c.Server(), make(chan error, 1)
		running.Stderr = t.Output()
		if err := running.Start(); err != nil {
			t.Fatal(err)
		}
		go func(cmd *exec.Cmd, ended chan<- error) { ended <- cmd.Wait() }(running, ended)
	}
	start := func() {
		begin()
		natstest.Within(t, 60*time.Second, "the server answers", func() bool {
			select {
			case <-ended: // what is left of one that was killed still holds the data
				begin()
			default:
			}
			return execute(c.DSN(), "SELECT 1") == nil
		})
	}
	kill := func() {
		if err := running.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := <-ended; !errors.As(err, &exit) {
			t.Fatalf("it ended with %v", err)
		}
	}
	start()
	if err := execute(c.DSN(), "CREATE TABLE kept (a int)"); err != nil {
		t.Fatal(err)
	}
	kill()
	if err := execute(c.DSN(), "SELECT 1"); err == nil {
		t.Error("a server that was killed answers")
	}
	start()
	if err := execute(c.DSN(), "SELECT a FROM kept"); err != nil {
		t.Error(err)
	}
	kill()
}
