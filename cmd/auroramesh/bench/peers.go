package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// peersModule has the programs of others that the mesh is measured beside. It is a
// module of its own, so that the mesh depends on none of them.
const peersModule = "github.com/auroramesh/auroramesh/cmd/auroramesh/bench/peers"

// buildTime is the most that building a peer may take.
const buildTime = 15 * time.Minute

// missing says why what stands beside a workload is not run, and how it would be.
type missing string

func (m missing) Error() string { return string(m) }

// buildPeer builds a program of the module of peers into the directory of this run, once.
// It needs the go command and the sources, in or below which the benchmark is run.
func (b *bed) buildPeer(ctx context.Context, name string) (path string, err error) {
	if path := b.peers[name]; path != "" {
		return path, nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		return "", missing("building " + name + " needs the go command: install Go, and run the benchmark in the sources")
	}
	find := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/auroramesh/auroramesh/cmd/auroramesh/bench")
	out, err := find.Output()
	if err != nil {
		return "", missing("building " + name + " needs the sources: run the benchmark in a clone of the repository")
	}
	if b.peersDir == "" {
		if b.peersDir, err = os.MkdirTemp("", "auroramesh-bench-"); err != nil {
			return "", fmt.Errorf("making a directory: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	path = filepath.Join(b.peersDir, name)
	build := exec.CommandContext(ctx, "go", "build", "-o", path, peersModule+"/"+name) //nolint:gosec // one of the names in this package
	build.Dir = filepath.Join(strings.TrimSpace(string(out)), "peers")
	b.Progress("building " + name + " ...")
	if said, err := build.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return "", errors.Join(context.Cause(ctx), err)
		}
		return "", missing(fmt.Sprintf("building %s: %v: %s; try it: cd %s && go build ./%s", name, err, lastLine(said), build.Dir, name))
	}
	if b.peers == nil {
		b.peers = map[string]string{}
	}
	b.peers[name] = path
	return path, nil
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}
