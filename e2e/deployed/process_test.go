//go:build linux

package deployed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store/localpostgres"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
)

const root = "../.."

// programs are the programs that a site runs, as paths.
type programs struct{ auroramesh, nats string }

// built builds them once.
var built = sync.OnceValues(func() (p programs, err error) {
	dir, err := os.MkdirTemp("", "auroramesh-deployed-")
	if err != nil {
		return p, err
	}
	p = programs{filepath.Join(dir, "auroramesh"), filepath.Join(dir, "nats-server")}
	return p, errors.Join(build(p.auroramesh, "./cmd/auroramesh"), build(p.nats, "github.com/nats-io/nats-server/v2"))
})

func build(out, pkg string) error {
	cmd := exec.Command("go", "build", "-o", out, pkg)
	cmd.Dir = root
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", pkg, err, said)
	}
	return nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv(wanted) != "" {
		if p, err := built(); err == nil {
			if err := os.RemoveAll(filepath.Dir(p.auroramesh)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// process is one process of a site.
type process struct {
	name    string
	cmd     *exec.Cmd
	log     string
	metrics string // where it is asked whether it is at work
	ended   chan struct{}
	err     error // once it has ended
}

// run starts a process, which does not outlive the test.
func run(t *testing.T, dir, name string, env []string, program string, args ...string) *process {
	t.Helper()
	p := &process{name: name, cmd: exec.Command(program, args...), log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		log.Close()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.signal(t, syscall.SIGKILL)
		<-p.ended
		if t.Failed() {
			text, err := os.ReadFile(p.log)
			if err != nil {
				t.Error(err)
			}
			t.Logf("%s said at last:\n%s", p.name, text[max(0, len(text)-600):])
		}
	})
	return p
}

// serve runs the NATS server of a directory and waits until it takes connections.
func serve(t *testing.T, p programs, dir, conf string) *process {
	t.Helper()
	s := run(t, dir, "nats-server", nil, p.nats, "-c", filepath.Join(dir, conf))
	var at string
	for _, v := range settingsOf(t, dir) {
		if url, ok := strings.CutPrefix(v, "NATS_URL=tls://"); ok {
			at = url
		}
	}
	natstest.Within(t, patience, "the NATS server of "+dir+" listens", func() bool {
		c, err := net.Dial("tcp", at)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
	return s
}

// settingsOf are those that a directory was made with, as NAME=VALUE.
func settingsOf(t *testing.T, dir string) (env []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "site.env"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(name, "#") {
			env = append(env, name+"="+strings.Trim(value, "'"))
		}
	}
	return env
}

// try runs a command to its end and gives what it prints.
func try(t *testing.T, env []string, program string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	var complaint bytes.Buffer
	cmd.Env, cmd.Stderr = append([]string{"HOME=" + t.TempDir()}, env...), &complaint
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, complaint.Bytes())
	}
	return out, nil
}

// command is try for what must succeed.
func command(t *testing.T, env []string, program string, args ...string) []byte {
	t.Helper()
	out, err := try(t, env, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// database is a PostgreSQL server of its own, until the test ends.
func database(t *testing.T) (dsn string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, err := localpostgres.Run(ctx, "fsync=off", "max_connections=200")
	switch {
	case errors.Is(err, localpostgres.ErrNone) && !strings.Contains(os.Getenv(postgrestest.EnvRequire), "postgres"):
		t.Skipf("SKIPPED, NOT RUN AS DEPLOYED: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server.DSN()
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("%s cannot be told %v: %v", p.name, s, err)
	}
}

// finish waits until a process that was asked to stop has, and wants a good end.
func (p *process) finish(t *testing.T) {
	t.Helper()
	select {
	case <-p.ended:
		if p.err != nil {
			t.Errorf("%s ended with %v", p.name, p.err)
		}
	case <-time.After(time.Minute):
		t.Errorf("%s does not stop", p.name)
	}
}

// taken are the ports that freePort has given away.
var taken = map[int]bool{}

// freePort is a port below those that the system gives to whoever asks for any.
func freePort(t *testing.T) int {
	t.Helper()
	for port := 20_000 + os.Getpid()%5000; port < 32_000; port++ {
		if taken[port] {
			continue
		}
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		l.Close()
		taken[port] = true
		return port
	}
	t.Fatal("no port from 20000 to 31999 is free")
	return 0
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
