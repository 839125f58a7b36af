package function

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/stream"
)

// Running is a function at work. [Start] makes it.
type Running struct {
	fn       Function
	bus      *Bus
	log      *slog.Logger
	metrics  *Metrics
	meters   []*meter
	services []micro.Service
	addr     string // of the HTTP trigger, empty where there is none

	base     context.Context // of every handler; ends when the time for draining is over
	cut      context.CancelFunc
	draining chan struct{} // closed when no new work is to be taken
	loops    sync.WaitGroup
	stopOnce sync.Once
	stopErr  error
}

// Start registers the function on its bus and sets its triggers up. It returns
// at once: a trigger whose stream or peer is not there yet keeps trying, and the
// health endpoint says so until it is. The error is for what no waiting mends.
func Start(fn Function, bus *Bus, metrics *Metrics, log *slog.Logger) (*Running, error) {
	base, cut := context.WithCancel(context.Background())
	r := &Running{
		fn: fn, bus: bus, metrics: metrics, log: log.With("function", fn.Name),
		base: base, cut: cut, draining: make(chan struct{}),
	}
	if err := r.start(); err != nil {
		stopped, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return nil, fmt.Errorf("starting the function %s: %w", fn.Name, errors.Join(err, r.Stop(stopped)))
	}
	return r, nil
}

func (r *Running) start() error {
	triggers := []Trigger{Reply(HealthEndpoint(r.fn.Name), r.health, Parallel(1))}
	for _, t := range r.fn.Triggers {
		triggers = append(triggers, t)
		if c, ok := t.(retriable); ok {
			triggers = append(triggers, c.retrying(r))
		}
	}
	for _, t := range triggers {
		m := &meter{function: r.fn.Name, metrics: r.metrics}
		m.trigger, m.kind, m.detail = t.describe(r)
		for _, other := range r.meters {
			if other.trigger == m.trigger {
				return fmt.Errorf("two triggers are named %q", m.trigger)
			}
		}
		m.resolve()
		r.meters = append(r.meters, m)
	}
	if len(r.fn.Streams) > 0 {
		r.supervise(r.meters[0], func(ctx context.Context) error {
			for _, s := range r.fn.Streams {
				if err := r.provision(ctx, s); err != nil {
					return err
				}
			}
			r.meters[0].setTrouble(nil)
			return r.watchStreams(ctx)
		})
	}
	for i, t := range triggers {
		if err := t.start(r, r.meters[i]); err != nil {
			return err
		}
	}
	// A subscription counts only once the server has it. Where the connection is lost meanwhile, it takes all of them along when it is back.
	if err := r.bus.nc.FlushTimeout(5 * time.Second); err != nil && !errors.Is(err, nats.ErrTimeout) && r.bus.nc.IsClosed() {
		return fmt.Errorf("registering with NATS: %w", err)
	}
	return nil
}

// Name is the name of the function.
func (r *Running) Name() string { return r.fn.Name }

// Addr is the address of the function's [HTTP] trigger, empty where it has none.
func (r *Running) Addr() string { return r.addr }

// NotReady says why the function is not fully at work, nil where it is.
func (r *Running) NotReady(ctx context.Context) error {
	h, err := r.health(ctx, struct{}{})
	if err != nil {
		return err
	}
	for _, c := range h.Checks {
		if c.Error != "" {
			return fmt.Errorf("%s: %s", c.Part, c.Error)
		}
	}
	for _, t := range h.Triggers {
		if t.Trouble != "" {
			return fmt.Errorf("%s: %s", t.Name, t.Trouble)
		}
	}
	return nil
}

// queue is the queue group of the function's replicas.
func (r *Running) queue() string { return string(r.bus.site.ID) + "_" + r.fn.Name }

// Where names the server that a connection is with, or its cluster: two functions of
// one site have the same.
func Where(nc *nats.Conn) string { return cmp.Or(nc.ConnectedClusterName(), nc.ConnectedServerName()) }

// service is instance i of the function's micro service, which it registers where it is not yet there.
func (r *Running) service(i int) (micro.Service, error) {
	for len(r.services) <= i {
		meta := map[string]string{"site": string(r.bus.site.ID), "tier": string(r.bus.site.Tier), "version": r.bus.site.Version, "server": Where(r.bus.nc)}
		for _, m := range r.meters {
			if m.kind != "reply" {
				meta["trigger."+m.trigger] = m.kind + " " + m.detail
			}
		}
		svc, err := micro.AddService(r.bus.nc, micro.Config{
			Name: r.fn.Name, Version: r.bus.site.Version, Description: r.fn.Description,
			Metadata: meta, QueueGroup: r.queue(),
		})
		if err != nil {
			return nil, fmt.Errorf("registering the micro service: %w", err)
		}
		r.services = append(r.services, svc)
	}
	return r.services[i], nil
}

// provision creates a stream, or brings it up to date. Any replica may do it at
// any time, so where nothing is to be changed nothing is written.
func (r *Running) provision(ctx context.Context, want jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	want.Replicas = r.bus.replicas
	s, err := r.bus.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = r.bus.js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another replica was first
			s, err = r.bus.js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return fmt.Errorf("creating the stream %s: %w", want.Name, err)
	}
	if merged, changed := stream.Apply(s.CachedInfo().Config, want); changed {
		if _, err := r.bus.js.UpdateStream(ctx, merged); err != nil {
			return fmt.Errorf("updating the stream %s: %w", want.Name, err)
		}
	}
	return nil
}

// streamCheck is how often a function looks whether its streams are there.
const streamCheck = 2 * time.Second

// watchStreams ends with an error once a stream of the function is gone, as it is
// after the store of the server was lost under a running site. A stream that is
// merely of another configuration is left alone: two replicas of different
// versions would otherwise change it back and forth.
func (r *Running) watchStreams(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(streamCheck):
		}
		for _, s := range r.fn.Streams {
			if _, err := r.bus.js.Stream(ctx, s.Name); errors.Is(err, jetstream.ErrStreamNotFound) {
				return fmt.Errorf("the stream %s is gone: %w", s.Name, err)
			}
		}
	}
}

// untilDraining is a context that ends when the function drains.
func (r *Running) untilDraining() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.base)
	go func() {
		select {
		case <-r.draining:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// under is the context of one call of a handler, until done is called.
func (o options) under(r *Running) (ctx context.Context, done context.CancelFunc) {
	if o.cutShort {
		return r.untilDraining()
	}
	return r.base, func() {}
}

// pause waits, and reports false where the function drains meanwhile.
func (r *Running) pause(d time.Duration) bool {
	select {
	case <-r.draining:
		return false
	case <-time.After(d):
		return true
	}
}

// supervise runs work until the function drains; where work fails, it waits a
// little longer each time, says why in the health answer, and runs it again.
// The context of work ends when the function drains.
func (r *Running) supervise(m *meter, work func(context.Context) error) {
	ctx, stop := r.untilDraining()
	m.setTrouble(errors.New("is being set up"))
	r.loops.Go(func() {
		defer stop()
		for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
			begun := time.Now()
			err := work(ctx)
			if ctx.Err() != nil {
				return
			}
			if time.Since(begun) > 10*time.Second {
				wait = 100 * time.Millisecond
			}
			if err == nil {
				err = errors.New("the trigger ended")
			}
			m.setTrouble(err)
			m.metrics.restarts.WithLabelValues(m.function, m.trigger).Inc()
			r.log.Log(ctx, levelFor(wait), "a trigger is not set up; trying again", "trigger", m.trigger, "wait", wait, "error", err)
			if !r.pause(wait) {
				return
			}
		}
	})
}

// levelFor keeps the short troubles of a start out of the log.
func levelFor(wait time.Duration) slog.Level {
	if wait < time.Second {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// Stop takes no new work, lets what is in flight finish until ctx ends, and
// closes the connection. It may be called more than once; only the first counts.
func (r *Running) Stop(ctx context.Context) error {
	r.stopOnce.Do(func() { r.stopErr = r.stop(ctx) })
	return r.stopErr
}

func (r *Running) stop(ctx context.Context) error {
	defer r.cut()
	release := context.AfterFunc(ctx, r.cut)
	defer release()
	close(r.draining)

	var failed []error
	for _, svc := range r.services {
		if err := svc.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			failed = append(failed, fmt.Errorf("deregistering: %w", err))
		}
	}
	idle := make(chan struct{})
	go func() { r.loops.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	if !r.awaitHandlers(ctx) {
		failed = append(failed, fault.New(fault.Timeout, "the function %s was cut with work in flight", r.fn.Name))
	}
	if r.fn.Farewell != nil && ctx.Err() == nil {
		if err := r.fn.Farewell(ctx); err != nil {
			failed = append(failed, fmt.Errorf("the farewell of the function %s: %w", r.fn.Name, err))
		}
	}
	// What handlers sent may still be in the buffer of the connection.
	if r.bus.nc.IsConnected() {
		if err := r.bus.nc.FlushTimeout(time.Second); err != nil && ctx.Err() == nil {
			failed = append(failed, fmt.Errorf("sending the last messages: %w", err))
		}
	}
	r.bus.nc.Close()
	return errors.Join(failed...)
}

// awaitHandlers waits until the micro endpoints are drained: their subscriptions
// have left the connection, where one remains for its own inbox, and no handler
// runs. A message between the two, taken from its subscription and not yet in its
// handler, shows in neither, so the quiet must last for a few looks. It reports
// false where ctx ends first.
func (r *Running) awaitHandlers(ctx context.Context) bool {
	for quiet := 0; quiet < 3; {
		if ctx.Err() != nil {
			return false
		}
		switch {
		case r.inFlight() > 0:
			quiet = 0
		case r.bus.nc.IsConnected() && r.bus.nc.NumSubscriptions() > 1:
			quiet = 0
			r.bus.js.CleanupPublisher() // its subscription, for the answers to Store, does not drain
		default:
			quiet++
		}
		time.Sleep(time.Millisecond)
	}
	return true
}

func (r *Running) inFlight() (n int) {
	for _, m := range r.meters {
		n += m.health().InFlight
	}
	return n
}

// oneLine makes an error fit for a message header.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "..."
	}
	return s
}
