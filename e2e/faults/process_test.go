//go:build linux

package faults_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// program is a program that is kept running: what ends without having been told
// to is started again, as a service manager does it.
type program struct {
	name    string
	command func() *exec.Cmd
	log     io.Writer

	mu      sync.Mutex
	running *os.Process // nil while it does not run
	end     context.CancelFunc
	ended   chan struct{}
	again   int // how often it was started again
}

// start starts the program where it is not kept running already.
func (p *program) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end != nil {
		return
	}
	ctx, end := context.WithCancel(context.Background())
	p.end, p.ended = end, make(chan struct{})
	go p.keep(ctx, p.ended)
}

func (p *program) keep(ctx context.Context, ended chan<- struct{}) {
	defer close(ended)
	for {
		err := p.run(ctx)
		if ctx.Err() != nil {
			return
		}
		fmt.Fprintf(p.log, "== %s ended by itself: %v\n", p.name, err)
		p.mu.Lock()
		p.again++
		p.mu.Unlock()
		if pause(ctx, 250*time.Millisecond) != nil {
			return
		}
	}
}

// run runs the program once.
func (p *program) run(ctx context.Context) error {
	cmd := p.command()
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // nothing outlives the tests, however they end
	p.mu.Lock()
	if ctx.Err() != nil {
		p.mu.Unlock()
		return ctx.Err()
	}
	err := cmd.Start()
	p.running = cmd.Process
	p.mu.Unlock()
	if err != nil {
		return err
	}
	err = cmd.Wait()
	p.mu.Lock()
	p.running = nil
	p.mu.Unlock()
	return err
}

// kill kills the program, which stays away until it is started.
func (p *program) kill() error {
	p.mu.Lock()
	if p.end == nil {
		p.mu.Unlock()
		return nil
	}
	p.end()
	p.end = nil
	err := p.tell(syscall.SIGKILL)
	ended := p.ended
	p.mu.Unlock()
	<-ended
	return err
}

// signal sends a signal to the program where it runs.
func (p *program) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tell(s)
}

func (p *program) tell(s syscall.Signal) error {
	if p.running == nil {
		return nil
	}
	if err := p.running.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// restarts is how often the program ended by itself.
func (p *program) restarts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.again
}

// pause waits, or returns why the context ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
