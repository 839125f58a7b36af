package postgrestest

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/auroramesh/auroramesh/shared/store/localpostgres"
)

// Cluster is the data of a server that does not run by itself: it is for a test
// that starts and kills the server.
type Cluster struct{ localpostgres.Cluster }

// Own makes a cluster for t alone, which goes with t. It needs the binaries of
// PostgreSQL on this machine; without them t is skipped or fails as in [Start].
func Own(t testing.TB) Cluster {
	t.Helper()
	c, err := localpostgres.Make()
	switch {
	case errors.Is(err, localpostgres.ErrNone) && !strings.Contains(os.Getenv(EnvRequire), "postgres"):
		skip(t, err)
	case err != nil:
		t.Fatalf("making a cluster of PostgreSQL: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Errorf("removing the cluster: %v", err)
		}
	})
	return Cluster{c}
}

// Server is the server, not started. What it has confirmed survives that it is
// killed, though not that the machine fails. SIGINT stops it, SIGKILL kills it.
func (c Cluster) Server() *exec.Cmd {
	return c.Cluster.Server("fsync=off", "max_connections=200")
}
