package function

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/identity"
)

// Metrics are the figures of every function that runs in a process for one site.
type Metrics struct {
	calls       *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	inFlight    *prometheus.GaugeVec
	refused     *prometheus.CounterVec
	redelivered *prometheus.CounterVec
	dead        *prometheus.CounterVec
	restarts    *prometheus.CounterVec
	lag         *lag
}

// NewMetrics registers the figures. Two sites in one process have a registry each.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_function_invocations_total",
			Help: "Calls of a function's handler by outcome: ok, panic, or the code of the error."}, []string{"function", "trigger", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "aurora_function_duration_seconds",
			Help:    "Time that one call of a function's handler took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}, []string{"function", "trigger"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "aurora_function_in_flight",
			Help: "Calls of a function's handler that are running now."}, []string{"function", "trigger"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_function_messages_refused_total",
			Help: "Messages that were refused before or by the handler, by reason: the code of the error, why what came in a site's name is not proved to be of it (unsigned, bad_signature, wrong_key), or overflow where too many waited."}, []string{"function", "trigger", "reason"}),
		redelivered: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_function_messages_redelivered_total",
			Help: "Messages that came again because an earlier delivery was not acknowledged."}, []string{"function", "trigger"}),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_function_dead_letters_total",
			Help: "Messages that were given up and put, with the reason, into the dead-letter stream."}, []string{"function", "trigger"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aurora_function_trigger_restarts_total",
			Help: "Times that a trigger lost its stream, consumer or subscription and set it up again."}, []string{"function", "trigger"}),
	}
	m.lag = &lag{seen: map[lagOf]pending{}}
	reg.MustRegister(m.calls, m.seconds, m.inFlight, m.refused, m.redelivered, m.dead, m.restarts, m.lag.figures())
	return m
}

// meter keeps the figures of one trigger of one function and runs its handler.
type meter struct {
	function, trigger string
	kind, detail      string
	metrics           *Metrics
	running           prometheus.Gauge // those of the trigger, see [meter.resolve]
	seconds           prometheus.Observer
	ok                prometheus.Counter

	mu       sync.Mutex
	calls    uint64
	errors   uint64
	lastErr  string
	lastAt   time.Time // of the last call
	inFlight int
	trouble  string // why the trigger is not set up, empty where it is
	sources  troubles
}

// resolve looks up once the figures that every call changes.
func (m *meter) resolve() {
	m.running = m.metrics.inFlight.WithLabelValues(m.function, m.trigger)
	m.seconds = m.metrics.seconds.WithLabelValues(m.function, m.trigger)
	m.ok = m.metrics.calls.WithLabelValues(m.function, m.trigger, outcome(nil))
}

// call runs a handler: bounded in time, with a panic turned into an error, counted and timed.
func (m *meter) call(ctx context.Context, limit time.Duration, handler func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m.enter()
	m.running.Inc()
	start := time.Now()
	defer func() {
		m.running.Dec()
		m.seconds.Observe(time.Since(start).Seconds())
		if err == nil {
			m.ok.Inc()
		} else {
			m.metrics.calls.WithLabelValues(m.function, m.trigger, outcome(err)).Inc()
		}
		m.leave(err)
	}()
	return Guarded(func() error { return handler(ctx) })
}

// Guarded runs f, and gives a panic of it as an error. It is for what a handler does in a
// goroutine of its own, where a panic would end the process and not the call.
func Guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p, stack: string(debug.Stack())}
		}
	}()
	return f()
}

// repeat counts a call that was answered as the one before it.
func (m *meter) repeat() {
	m.seconds.Observe(0)
	m.ok.Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	m.lastAt = time.Now()
}

func (m *meter) enter() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight++
	m.calls++
	m.lastAt = time.Now()
}

func (m *meter) leave(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight--
	if err != nil {
		m.errors++
		m.lastErr = err.Error()
	}
}

// refuse counts a message that never reached, or was turned away by, the handler.
func (m *meter) refuse(err error) {
	reason := string(fault.Of(err).Code)
	if unproved := (*identity.Refusal)(nil); errors.As(err, &unproved) {
		reason = string(unproved.Reason)
	}
	m.metrics.refused.WithLabelValues(m.function, m.trigger, reason).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.errors++
	m.lastErr = err.Error()
}

// setTrouble notes why the trigger cannot work now; nil means that it can.
func (m *meter) setTrouble(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trouble = ""
	if err != nil {
		m.trouble = err.Error()
	}
}

func (m *meter) health() TriggerHealth {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := TriggerHealth{Name: m.trigger, Kind: m.kind, Detail: m.detail, Calls: m.calls, Errors: m.errors, LastError: m.lastErr, InFlight: m.inFlight, Trouble: m.trouble, Sources: m.sources.all()}
	if !m.lastAt.IsZero() {
		at := m.lastAt.UTC()
		h.LastAt = &at
	}
	return h
}

// panicError is a panic of a handler, as an error.
type panicError struct {
	value any
	stack string
}

func (p *panicError) Error() string { return fmt.Sprintf("the handler panicked: %v", p.value) }

func outcome(err error) string {
	var p *panicError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &p):
		return "panic"
	}
	return string(fault.Of(err).Code)
}
