package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
)

// failure is how a site, or an agent of Serf, fails.
type failure int

const (
	killed   failure = iota // kill -9: the system closes its connections
	stopped                 // SIGSTOP: its connections stay open, and nobody answers
	silenced                // a black hole: nothing arrives, and nobody is told
)

const (
	// detectTime is the most that a failure, or its end, may take to be seen: Serf takes up to 45 s in its profile for WANs.
	detectTime = 2 * time.Minute
	// alarming is how long false alarms are waited for, at the size of the documentation.
	alarming = 10 * time.Minute
	// jitter is by how much the round trip over each line varies meanwhile, and busy how many alerts each site raises a second.
	jitter = 200 * time.Millisecond
	busy   = 20
)

// detections are how long three sites take to see that one of them has failed, what they
// send each other at rest, and how often they are wrong.
var detections = []Workload{
	detect("killed", "kill -9 of its processes", killed, "lan", atMost(ofRatio, 0.05)),
	detect("stopped", "SIGSTOP", stopped, "lan", atMost(ofRatio, 0.5)),
	detect("silent", "a line that is a black hole", silenced, "lan", atMost(ofRatio, 0.5)),
	detect("killed-wan", "kill -9 of its processes", killed, "wan"),
	restTraffic("lan"), restTraffic("wan"), falseAlarms,
}

func detect(name, by string, how failure, profile string, goals ...Goal) Workload {
	return Workload{
		Name: "detect-" + name, Unit: seconds, fixed: true, Goals: goals, NoGoal: "(that of LANs is the harder)",
		Does:   fmt.Sprintf("from %s of one of three sites until the two others show that its link is not healthy", by),
		Beside: fmt.Sprintf("the same of one of three agents of Serf in its %s profile, until the two others hold it for failed", profile),
		prepare: func(ctx context.Context, b *bed) (pair, error) {
			d, s, p, err := b.sides(ctx, profile)
			p.own = func(ctx context.Context) (Sample, error) { return d.detect(ctx, how) }
			p.beside = func(ctx context.Context) (Sample, error) { return s.detect(ctx, how) }
			return p, err
		},
	}
}

func restTraffic(profile string) Workload {
	return Workload{
		Name: "detect-traffic-" + profile, Unit: bytesPerSecond, fixed: true, NoGoal: "(the price of the above)",
		Does:   "what each of three sites sends to the others at rest",
		Beside: fmt.Sprintf("what each of three agents of Serf sends in its %s profile", profile),
		prepare: func(ctx context.Context, b *bed) (pair, error) {
			d, s, p, err := b.sides(ctx, profile)
			p.own = func(ctx context.Context) (Sample, error) { return d.idle(ctx, 4*b.window()) }
			p.beside = func(ctx context.Context) (Sample, error) { return s.idle(ctx, 4*b.window()) }
			if err != nil || b.Scale < small {
				return p, err
			}
			return p, pause(ctx, calming)
		},
	}
}

// sides are the three sites, and the three agents or why they are missing.
func (b *bed) sides(ctx context.Context, profile string) (d *deployed, s *agents, p pair, err error) {
	if d, err = b.deploy(ctx, 3, nil); err != nil {
		return d, s, pair{end: d.close}, err
	}
	if profile == "wan" && b.Scale < small {
		err = missing(fmt.Sprintf("at a scale below %g: it takes most of a minute a round", small))
	} else {
		s, err = b.serf(ctx, profile)
	}
	if why := missing(""); errors.As(err, &why) {
		p.missing, err = why, nil
	}
	p.end = func() error { return errors.Join(d.close(), s.close()) }
	return d, s, p, err
}

// detect has the last site fail, measures until the others see it, and has it back.
func (d *deployed) detect(ctx context.Context, how failure) (s Sample, err error) {
	m := d.last()
	begun := time.Now()
	switch how {
	case killed:
		err = m.each((*process).kill)
	case stopped:
		err = m.each((*process).freeze)
	case silenced:
		m.line.Set(linkproxy.BlackHole)
	}
	if err != nil {
		return s, err
	}
	waiting, cancel := context.WithTimeout(ctx, detectTime)
	defer cancel()
	if err := d.until(waiting, federation.LinkDegraded, federation.Down); err != nil {
		return s, err
	}
	s.Value = time.Since(begun).Seconds()
	if err := d.until(waiting, federation.Down); err != nil {
		return s, err
	}
	s.More = map[string]float64{"until the link is down (s)": time.Since(begun).Seconds()}
	switch how {
	case killed:
		err = d.start(ctx, m)
	case stopped:
		err = m.each((*process).thaw)
	case silenced:
		m.line.Set(linkproxy.Pass)
	}
	return s, errors.Join(err, d.whole(ctx))
}

// idle is what the sites send at rest, and what the last one holds of memory.
func (d *deployed) idle(ctx context.Context, window time.Duration) (s Sample, err error) {
	before, begun := d.passed(), time.Now()
	if err := pause(ctx, window); err != nil {
		return s, err
	}
	n := float64(len(d.sites))
	s.Value = float64(d.passed()-before) / time.Since(begun).Seconds() / n
	server, err := d.last().server.resident()
	if err != nil {
		return s, err
	}
	functions, err := d.last().functions.resident()
	s.More = map[string]float64{"functions of a site (MB)": functions, "NATS server of a site (MB)": server, "each link (B/s)": s.Value * n / (n * (n - 1) / 2)}
	return s, err
}

// passed is how many bytes the lines have carried so far.
func (d *deployed) passed() (sum int64) {
	for _, m := range d.sites {
		if m.line != nil {
			sum += m.line.Passed()
		}
	}
	return sum
}

var falseAlarms = Workload{
	Name: "detect-alarms", Unit: alarms, fixed: true, Goals: []Goal{atMost(ofValue, 0)},
	Does:   fmt.Sprintf("how often a site holds a link for anything but healthy within ten minutes of %d alerts a second at each of three sites, over lines whose round trip varies by %s", busy, jitter),
	Beside: "nothing",
	prepare: func(ctx context.Context, b *bed) (pair, error) {
		d, err := b.deploy(ctx, 3, nil)
		return pair{
			own: func(ctx context.Context) (Sample, error) {
				return d.alarms(ctx, time.Duration(float64(alarming)*b.Scale))
			},
			missing: "there is nothing to compare with",
			end:     d.close,
		}, err
	},
}

// alarms counts what the sites say of their links for a while, under load and jitter.
func (d *deployed) alarms(ctx context.Context, window time.Duration) (Sample, error) {
	for _, m := range d.sites {
		if m.line != nil {
			m.line.Stall(0.5, jitter/2) // every other read, one way
		}
	}
	begun := time.Now()
	raising, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	var all sync.WaitGroup
	raised := make([]int, len(d.sites))
	for i, m := range d.sites {
		all.Go(func() {
			for pause(raising, time.Second/busy) == nil {
				if _, err := function.Ask(ctx, m.bus, m.ID, ask.RaiseAlert, draft(federation.High)); err == nil {
					raised[i]++
				}
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return Sample{}, ctx.Err()
	}
	more := map[string]float64{"watched for (min)": window.Minutes()}
	var told float64
	for i, m := range d.sites {
		if more["alerts raised"] += float64(raised[i]); raised[i] == 0 {
			return Sample{}, fmt.Errorf("%s has taken no alert", m.ID)
		}
		links, err := m.links(ctx)
		if err != nil {
			return Sample{}, err
		}
		for _, l := range links {
			h, err := function.Ask(ctx, m.bus, m.ID, ask.LinkHistory, ask.HistoryOf{LinkID: l.ID})
			if err != nil {
				return Sample{}, err
			}
			for _, tr := range h.Transitions {
				if tr.At.Before(begun) || tr.To == string(federation.Healthy) {
					continue
				}
				told++
				more["alarms that a link is "+tr.To+", "+string(tr.Cause)]++
			}
		}
	}
	return Sample{Value: told, More: more}, nil
}
