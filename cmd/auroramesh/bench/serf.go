package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// agents are three agents of Serf on the loopback, each a process, which know each other.
type agents struct {
	program, profile string
	all              []*agent
}

// agent is one of them, and what it has said.
type agent struct {
	name string
	addr string
	*process

	mu      sync.Mutex
	changed chan struct{} // closed when it says something more, and made anew
	alive   map[string]bool
	sent    int64
	asked   int // how often it has said what it has sent
}

var agentNames = []string{"a", "b", "c"}

func (b *bed) serf(ctx context.Context, profile string) (*agents, error) {
	program, err := b.buildPeer(ctx, "serf")
	if err != nil {
		return nil, err
	}
	s := &agents{program: program, profile: profile}
	for _, name := range agentNames {
		a, err := s.start(ctx, name, "127.0.0.1:0")
		if err != nil {
			return s, err
		}
		s.all = append(s.all, a)
	}
	return s, s.whole(ctx)
}

// start starts an agent, which joins the first where there is one.
func (s *agents) start(ctx context.Context, name, bind string) (*agent, error) {
	args := []string{"-name", name, "-bind", bind, "-profile", s.profile}
	if len(s.all) > 0 {
		args = append(args, "-join", s.all[0].addr)
	}
	p, err := launch(ctx, nil, s.program, args...)
	if err != nil {
		return nil, err
	}
	a := &agent{name: name, process: p, changed: make(chan struct{}), alive: map[string]bool{}}
	var first saidBySerf
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &first)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the agent %s did not start: %w", name, err), p.end(), p.complaint())
	}
	a.addr = first.Addr
	go a.listen(p.out)
	return a, nil
}

// saidBySerf is a line of the agent.
type saidBySerf struct {
	Addr   string `json:"addr"`
	Failed string `json:"failed"`
	Alive  string `json:"alive"`
	Sent   *int64 `json:"sent"`
}

// listen notes what the agent says until it ends.
func (a *agent) listen(out *bufio.Reader) {
	for {
		line, err := out.ReadBytes('\n')
		if err != nil {
			return
		}
		var s saidBySerf
		if json.Unmarshal(line, &s) != nil {
			continue
		}
		a.mu.Lock()
		if s.Failed != "" {
			a.alive[s.Failed] = false
		}
		if s.Alive != "" {
			a.alive[s.Alive] = true
		}
		if s.Sent != nil {
			a.sent = *s.Sent
			a.asked++
		}
		close(a.changed)
		a.changed = make(chan struct{})
		a.mu.Unlock()
	}
}

// until waits until something is true of what the agent has said.
func (a *agent) until(ctx context.Context, what string, is func() bool) error {
	for {
		a.mu.Lock()
		done, changed := is(), a.changed
		a.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting until the agent %s %s: %w", a.name, what, ctx.Err())
		}
	}
}

func (a *agent) order(word string) error {
	_, err := io.WriteString(a.in, word+"\n")
	return err
}

// whole waits until every agent holds every other for alive.
func (s *agents) whole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, detectTime)
	defer cancel()
	for _, a := range s.all {
		err := a.until(ctx, "knows all others", func() bool {
			for _, other := range agentNames {
				if !a.alive[other] {
					return false
				}
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// last is the agent that fails.
func (s *agents) last() *agent { return s.all[len(s.all)-1] }

// detect has the last agent fail, measures until all others hold it for failed, and has it back.
func (s *agents) detect(ctx context.Context, how failure) (Sample, error) {
	a := s.last()
	begun := time.Now()
	var err error
	switch how {
	case killed:
		err = a.kill()
	case stopped:
		err = a.freeze()
	case silenced:
		err = a.order("silent")
	}
	if err != nil {
		return Sample{}, err
	}
	waiting, cancel := context.WithTimeout(ctx, detectTime)
	defer cancel()
	for _, other := range s.all[:len(s.all)-1] {
		if err := other.until(waiting, "holds another for failed", func() bool { return !other.alive[a.name] }); err != nil {
			return Sample{}, err
		}
	}
	sample := Sample{Value: time.Since(begun).Seconds()}
	switch how {
	case killed:
		again, err := s.start(ctx, a.name, a.addr)
		if err != nil {
			return sample, err
		}
		s.all[len(s.all)-1] = again
	case stopped:
		err = a.thaw()
	case silenced:
		err = a.order("heard")
	}
	return sample, errors.Join(err, s.whole(ctx))
}

// idle is what the agents send at rest.
func (s *agents) idle(ctx context.Context, d time.Duration) (Sample, error) {
	before, err := s.sent(ctx)
	if err != nil {
		return Sample{}, err
	}
	begun := time.Now()
	if err := pause(ctx, d); err != nil {
		return Sample{}, err
	}
	took := time.Since(begun).Seconds()
	after, err := s.sent(ctx)
	if err != nil {
		return Sample{}, err
	}
	resident, err := s.last().resident()
	n := float64(len(s.all))
	return Sample{Value: float64(after-before) / took / n, More: map[string]float64{"an agent (MB)": resident}}, err
}

// sent is what all agents have sent so far, in bytes.
func (s *agents) sent(ctx context.Context) (sum int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, detectTime)
	defer cancel()
	for _, a := range s.all {
		a.mu.Lock()
		asked := a.asked
		a.mu.Unlock()
		if err := a.order("sent"); err != nil {
			return 0, err
		}
		if err := a.until(ctx, "says what it has sent", func() bool { return a.asked > asked }); err != nil {
			return 0, err
		}
		a.mu.Lock()
		sum += a.sent
		a.mu.Unlock()
	}
	return sum, nil
}

func (s *agents) close() error {
	if s == nil {
		return nil
	}
	var failed []error
	for _, a := range s.all {
		failed = append(failed, a.end())
	}
	return errors.Join(failed...)
}
