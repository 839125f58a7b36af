package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/cmd/auroramesh/site"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// Parts are what a workload runs in a process of its own, so that its processor time
// and memory can be told from those of the others.
const (
	// PartServer is a NATS server on the configuration file that is given.
	PartServer = "server"
	// PartDemo is the demo of as many sites as are given.
	PartDemo = "demo"
	// PartSite is all functions of a site, by the settings of the environment. Each line of
	// its input begins or ends a profile of it, whose files begin with the path that is given.
	PartSite = "site"
	// PartSubscriber takes the gossip of the NATS server whose URL is given, and does nothing with it.
	PartSubscriber = "subscriber"
)

// at is where a server of [PartServer] listens, as it says once it does.
type at struct {
	Client  string `json:"client"`  // URL
	Leaf    string `json:"leaf"`    // host:port, empty where it takes no leafnodes
	Gateway string `json:"gateway"` // host:port, empty where it has none
	Monitor string `json:"monitor"`
}

// Part runs one part until in ends, which it does with the process that wanted it. It
// says in a line of JSON that it is ready.
func Part(kind, of string, in io.Reader, out io.Writer) (err error) {
	switch kind {
	case PartServer:
		o, err := server.ProcessConfigFile(of)
		if err != nil {
			return fmt.Errorf("reading %s: %w", of, err)
		}
		o.NoSigs = true
		s, err := server.NewServer(o)
		if err != nil {
			return fmt.Errorf("making a NATS server: %w", err)
		}
		s.Start()
		defer s.WaitForShutdown()
		defer s.Shutdown()
		if !s.ReadyForConnections(10 * time.Second) {
			return errors.New("the NATS server did not start within 10s")
		}
		v, err := s.Varz(nil)
		if err != nil {
			return fmt.Errorf("asking the NATS server where it listens: %w", err)
		}
		where := at{Client: s.ClientURL()}
		if v.LeafNode.Port != 0 {
			where.Leaf = "127.0.0.1:" + strconv.Itoa(v.LeafNode.Port)
		}
		if a := s.GatewayAddr(); a != nil {
			where.Gateway = a.String()
		}
		if a := s.MonitorAddr(); a != nil {
			where.Monitor = "http://" + a.String()
		}
		if err := json.NewEncoder(out).Encode(where); err != nil {
			return err
		}
	case PartDemo:
		sites, err := strconv.Atoi(of)
		if err != nil {
			return fmt.Errorf("reading the number of sites: %w", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), startTime)
		defer cancel()
		d, err := demo.Start(ctx, demo.Options{Sites: sites, Version: "0.0.0", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), stopTime)
			defer cancel()
			err = errors.Join(err, d.Stop(ctx))
		}()
		if err := json.NewEncoder(out).Encode(at{Client: d.Sites[0].NATS}); err != nil {
			return err
		}
	case PartSite:
		return partSite(of, in, out)
	case PartSubscriber:
		nc, err := nats.Connect(of)
		if err != nil {
			return fmt.Errorf("connecting to %s: %w", of, err)
		}
		defer nc.Close()
		if _, err := nc.Subscribe(subject.AllHealth, func(*nats.Msg) {}); err != nil {
			return fmt.Errorf("subscribing: %w", err)
		}
		if err := nc.Flush(); err != nil {
			return fmt.Errorf("subscribing: %w", err)
		}
		if err := json.NewEncoder(out).Encode(at{Client: of}); err != nil {
			return err
		}
	default:
		return fmt.Errorf("there is no part %q: %s, %s, %s or %s", kind, PartServer, PartDemo, PartSite, PartSubscriber)
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

// partSite is [PartSite].
func partSite(profile string, in io.Reader, out io.Writer) (err error) {
	env := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	set, err := settings.Load(env)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	s, err := site.Start(ctx, site.Config{Settings: set, Version: "0.0.0", Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		err = errors.Join(err, s.Stop(ctx))
	}()
	if err := s.Ready(ctx); err != nil {
		return err
	}
	ready := func() error { return json.NewEncoder(out).Encode(at{Client: set.NATSURL}) }
	if err := ready(); err != nil {
		return err
	}
	var end func() error
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if end == nil {
			end, err = beginProfile(profile)
		} else {
			err, end = end(), nil
		}
		if err := errors.Join(err, ready()); err != nil {
			return err
		}
	}
	return nil
}

// process is this program once more, doing something else, or one of a peer.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err tail // what it complained of at last
}

// tail is the end of what a process writes.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 1000

// Write takes more.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(p), nil
}

// complaint is what the process has written on its error output at last; nil where it has not.
func (p *process) complaint() error {
	p.err.mu.Lock()
	defer p.err.mu.Unlock()
	if len(p.err.text) == 0 {
		return nil
	}
	return errors.New(strings.TrimSpace(string(p.err.text)))
}

// spawn starts this program with other arguments, with its settings from env alone.
func spawn(ctx context.Context, env []string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	return launch(ctx, env, self, args...)
}

// launch starts a program.
func launch(ctx context.Context, env []string, program string, args ...string) (p *process, err error) {
	p = &process{cmd: exec.Command(program, args...)} //nolint:gosec // this program itself, or one that it has built
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(), "NO_COLOR=1"}, env...)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out, p.cmd.Stderr = bufio.NewReader(out), &p.err
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", strings.Join(args, " "), err)
	}
	context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() }) // it may have ended
	return p, nil
}

// part starts a part and waits until it is ready.
func part(ctx context.Context, env []string, kind, of string) (*process, at, error) {
	p, err := spawn(ctx, env, "bench-part", kind, of)
	if err != nil {
		return nil, at{}, err
	}
	where, err := p.ready()
	if err != nil {
		return nil, at{}, errors.Join(fmt.Errorf("the part %s did not start: %w", kind, err), p.end(), p.complaint())
	}
	return p, where, nil
}

// ready waits until a part says that it is.
func (p *process) ready() (where at, err error) {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return where, err
	}
	return where, json.Unmarshal(line, &where)
}

// next has a [PartSite] begin its profile, or end it.
func (p *process) next() error {
	if _, err := fmt.Fprintln(p.in); err != nil {
		return err
	}
	_, err := p.ready()
	return err
}

// end stops the process: it is told by the end of its input, or by an interrupt.
func (p *process) end() error {
	_ = p.in.Close()
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
	_ = p.thaw()                           // so that it can
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }() // how it ends is of no matter
	select {
	case <-done:
		return nil
	case <-time.After(stopTime):
		err := p.cmd.Process.Kill()
		<-done
		return errors.Join(errors.New("a process of the benchmark had to be killed"), err)
	}
}

// kill is kill -9.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	_ = p.cmd.Wait() // how it ends is known
	return err
}

// freeze stops the process as it stands (SIGSTOP), thaw lets it go on.
func (p *process) freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

func (p *process) thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// cpu is the processor time that the process has taken.
func (p *process) cpu() (time.Duration, error) {
	threads, err := filepath.Glob(p.proc("task/*/schedstat"))
	if err != nil || len(threads) == 0 {
		return 0, errors.Join(errors.New("the processor time of a process can be read under Linux alone"), err)
	}
	var sum time.Duration
	for _, t := range threads {
		text, err := os.ReadFile(t)
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			return 0, fmt.Errorf("reading the processor time: %w", err)
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the processor time: %w", err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// resident is how much memory the process has, in MB.
func (p *process) resident() (float64, error) {
	text, err := os.ReadFile(p.proc("statm"))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of a process: %w", err)
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("reading the memory of a process: %q", text)
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize()) / 1e6, err
}

func (p *process) id() string { return strconv.Itoa(p.cmd.Process.Pid) }

func (p *process) proc(file string) string { return filepath.Join("/proc", p.id(), file) }

// share is how much of a core the process takes within a while, in percent.
func (p *process) share(ctx context.Context, d time.Duration) (float64, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := pause(ctx, d); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	after, err := p.cpu()
	return 100 * float64(after-before) / float64(took), err
}

// traffic is what a server of [PartServer] has passed on so far.
type traffic struct {
	In      int64 `json:"in_msgs"`
	InBytes int64 `json:"in_bytes"`
	Leaves  int   `json:"leafnodes"`
}

func (w at) traffic(ctx context.Context) (t traffic, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.Monitor+"/varz", http.NoBody)
	if err != nil {
		return t, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return t, fmt.Errorf("asking the NATS server what it has passed on: %w", err)
	}
	defer resp.Body.Close()
	return t, json.NewDecoder(resp.Body).Decode(&t)
}
