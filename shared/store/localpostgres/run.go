package localpostgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Running is a server at work, and its cluster.
type Running struct {
	Cluster
	guard *exec.Cmd
	life  *os.File // held open by being here: its end is the end of the server
}

// guard runs the server until the end of its standard input, which is the end of the
// process that made it, however that comes; then it stops the server and leaves
// nothing behind. A server that has only begun to start ignores QUIT, as what a shell runs
// beside itself does, and ends by TERM; one at work ends by QUIT at once. $1 is the server, $2 its data, $3 the directory of both; what
// follows are settings.
const guard = `postgres=$1 data=$2 dir=$3
shift 3
"$postgres" -D "$data" -k "$dir" -c listen_addresses= "$@" >"$dir/log" 2>&1 &
read -r _
kill -TERM $!
kill -QUIT $!
wait $!
cd /
rm -rf "$dir"`

// Run makes a cluster and runs its server, with settings such as "fsync=off", until
// [Running.Stop] or the end of this process. Then its data is gone.
func Run(ctx context.Context, settings ...string) (*Running, error) {
	c, err := Make()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	r, err := c.run(settings)
	if err != nil {
		return nil, err
	}
	if err := c.Await(ctx); err != nil {
		log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
		return nil, errors.Join(fmt.Errorf("%w; its log: %s", err, log), r.Stop())
	}
	return r, nil
}

// run starts the server under its guard.
func (c Cluster) run(settings []string) (*Running, error) {
	input, life, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	args := []string{"-c", guard, "guard", c.Binary(), c.Data(), c.dir}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	//nolint:gosec // the PostgreSQL that this machine has
	guarded := exec.Command("/bin/sh", args...)
	guarded.Dir, guarded.SysProcAttr, guarded.Stdin = c.dir, c.Process(), input
	if err := guarded.Start(); err != nil {
		return nil, errors.Join(err, input.Close(), life.Close(), c.Remove())
	}
	r := &Running{c, guarded, life}
	if err := input.Close(); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

// Stop stops the server and removes its data.
func (r *Running) Stop() error {
	if err := r.life.Close(); err != nil {
		return fmt.Errorf("stopping PostgreSQL: %w", err)
	}
	if err := r.guard.Wait(); err != nil {
		return fmt.Errorf("stopping PostgreSQL: %w", err)
	}
	return r.Remove() // the guard may not be allowed to remove the directory itself
}
