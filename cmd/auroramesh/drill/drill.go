// Package drill proves the promise of the mesh: it starts two whole sites with a
// line between them, raises alerts at both, cuts the line and heals it, and then
// compares the queues. Every alert that a site accepted must be at the other one,
// exactly once. The command `auroramesh drill` runs it.
package drill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/settings"
)

// Times of a drill that nobody needs to change.
const (
	startTime = 30 * time.Second       // at most, until both sites see a healthy link
	stopTime  = 10 * time.Second       // at most, for stopping them
	calm      = time.Second            // with alerts but without the fault, before it and after it
	look      = 20 * time.Millisecond  // between two readings of a topology
	recheck   = 100 * time.Millisecond // between two readings of the ledgers
)

// MaxRate is the highest rate of a drill. What the sites cannot take of it is not raised.
const MaxRate = 1000

// faults are what a drill does to the line, by the word for it.
var faults = map[string]linkproxy.Mode{"cut": linkproxy.Cut, "blackhole": linkproxy.BlackHole}

// Options say how a drill goes.
type Options struct {
	Fault    string        // cut or blackhole
	For      time.Duration // how long the fault lasts
	Rate     float64       // alerts a second, at each site
	Timeout  time.Duration // how long after the fault every alert may take to arrive
	Version  string
	Log      *slog.Logger
	Progress func(string) // is told of each phase
}

// Validate refuses options with which there is no drill, and names each that is wrong.
func (o Options) Validate() error {
	var wrong fault.Fields
	if _, ok := faults[o.Fault]; !ok {
		wrong.Add("fault", o.Fault, "cut or blackhole")
	}
	if o.For < time.Second || o.For > time.Hour {
		wrong.Add("for", o.For.String(), "a duration from 1s to 1h")
	}
	if !(o.Rate > 0 && o.Rate <= MaxRate) {
		wrong.Add("rate", strconv.FormatFloat(o.Rate, 'g', -1, 64), "a number over 0, up to "+strconv.Itoa(MaxRate))
	}
	if o.Timeout < time.Second || o.Timeout > time.Hour {
		wrong.Add("timeout", o.Timeout.String(), "a duration from 1s to 1h")
	}
	return wrong.Err("the drill cannot start")
}

// end is one site of the drill.
type end struct {
	id       federation.SiteID
	api      *apiclient.Client
	accepted []Accepted // what it took from the drill
}

// run is one drill at work.
type run struct {
	Options
	name  string // stands in every title, so that no two drills raise the same alert
	proxy *linkproxy.Proxy
	ends  []*end
}

// Run runs a drill. An error means that there was none; what it found out is for
// [Report.Verdict] to judge. When it returns, everything it started has stopped.
func Run(ctx context.Context, o Options) (report Report, err error) {
	if err := o.Validate(); err != nil {
		return Report{}, err
	}
	r := &run{Options: o, name: strconv.FormatUint(rand.Uint64(), 36)}
	r.Progress("Starting two sites with a line between them ...")
	sites, err := r.start(ctx)
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		var failed []error
		if sites != nil {
			failed = append(failed, sites.Stop(stop))
		}
		if r.proxy != nil {
			failed = append(failed, r.proxy.Close())
		}
		if ctx.Err() != nil { // whatever else went wrong, went wrong because of it
			err = ctx.Err()
		}
		err = errors.Join(append([]error{err}, failed...)...)
	}()
	if err != nil {
		return Report{}, err
	}
	return r.drill(ctx)
}

// start starts the sites, and waits until each sees a healthy link.
func (r *run) start(ctx context.Context) (*demo.Demo, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var broken error
	sites, err := demo.Start(ctx, demo.Options{
		Sites: 2, Version: r.Version, Log: r.Log,
		Configure: func(_ int, s *settings.Settings) {
			s.HeartbeatSeconds, s.DegradedSeconds, s.DownSeconds = 1, 3, 6
			s.Enabled, s.MinSeverity = true, string(federation.High)
		},
		LeafURL: func(_ int, listener string) string {
			if r.proxy, broken = linkproxy.Listen("127.0.0.1:0", listener); broken != nil {
				return listener
			}
			return r.proxy.Addr()
		},
	})
	if err := errors.Join(err, broken); err != nil {
		return sites, err
	}
	for _, s := range sites.Sites {
		api, err := apiclient.New(s.API)
		if err != nil {
			return sites, err
		}
		r.ends = append(r.ends, &end{id: s.ID().ID, api: api})
	}
	for _, e := range r.ends {
		if _, err := e.await(ctx, true); err != nil {
			return sites, fmt.Errorf("waiting until %s sees a healthy link: %w", e.id, err)
		}
	}
	return sites, nil
}

// drill raises, breaks, heals, waits and compares.
func (r *run) drill(ctx context.Context) (Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var raising, watching sync.WaitGroup
	defer watching.Wait()
	defer raising.Wait()
	defer cancel(nil)
	enough := make(chan struct{})
	for _, e := range r.ends {
		raising.Go(func() {
			if err := r.raise(ctx, e, enough); err != nil {
				cancel(err)
			}
		})
	}
	r.Progress(fmt.Sprintf("Raising %g alerts a second at each ...", r.Rate))
	if err := pause(ctx, calm); err != nil {
		return Report{}, err
	}

	report := Report{
		Fault: r.Fault, Rate: r.Rate, TimeoutSeconds: r.Timeout.Seconds(), FaultAt: time.Now().UTC(),
		Detections: make([]Detection, len(r.ends)), Directions: make([]Direction, len(r.ends)),
	}
	r.proxy.Set(faults[r.Fault])
	r.Progress(fmt.Sprintf("The fault (%s) is set, for %v ...", r.Fault, r.For))
	faulty, over := context.WithTimeout(ctx, r.For)
	defer over()
	for i, e := range r.ends {
		report.Detections[i].Site = e.id
		watching.Go(func() { report.Detections[i].watch(faulty, e, report.FaultAt) })
	}
	err := pause(ctx, r.For)
	over()
	watching.Wait()
	if err != nil {
		return Report{}, err
	}

	r.proxy.Set(linkproxy.Pass)
	report.HealedAt = time.Now().UTC()
	r.Progress("Healed ...")
	if err := pause(ctx, calm); err != nil {
		return Report{}, err
	}
	close(enough)
	raising.Wait()
	if ctx.Err() != nil {
		return Report{}, context.Cause(ctx)
	}
	r.Progress(fmt.Sprintf("%d alerts were accepted; waiting until each is at the other site, at most %v ...",
		len(r.ends[0].accepted)+len(r.ends[1].accepted), r.Timeout))
	return report, r.settle(ctx, &report)
}

// settle compares the queues until all has arrived or the time is up.
func (r *run) settle(ctx context.Context, report *Report) error {
	for deadline := report.HealedAt.Add(r.Timeout); ; {
		last := time.Now().After(deadline)
		idle, err := r.idle(ctx)
		if err != nil {
			return err
		}
		if idle || last {
			if err := r.compare(ctx, report); err != nil {
				return err
			}
			lost, _ := report.totals()
			report.Waiting = !idle
			if report.Converged = idle && lost == 0; report.Converged || last {
				return nil
			}
		}
		if err := pause(ctx, recheck); err != nil {
			return err
		}
	}
}

// idle reports whether nothing waits for a peer, at either site.
func (r *run) idle(ctx context.Context) (bool, error) {
	for _, e := range r.ends {
		ledger, err := e.api.Deliveries(ctx)
		if err != nil {
			return false, err
		}
		out := slices.IndexFunc(ledger.Deliveries, func(d federation.Delivery) bool { return d.Direction == federation.Outbound })
		if out < 0 {
			return false, nil
		}
		if d := ledger.Deliveries[out]; d.Pending == nil || *d.Pending > 0 {
			return false, nil
		}
	}
	return true, nil
}

// compare reads both queues and fills in both directions.
func (r *run) compare(ctx context.Context, report *Report) error {
	var queues [2][]federation.Alert
	for i, e := range r.ends {
		var err error
		if queues[i], err = queue(ctx, e.api); err != nil {
			return err
		}
	}
	for i, e := range r.ends {
		d := Compare(e.id, e.accepted, queues[i], queues[1-i])
		d.To = r.ends[1-i].id
		d.timed(e.accepted, queues[1-i], report.FaultAt, report.HealedAt)
		report.Directions[i] = d
	}
	return nil
}

// raise raises alerts at the rate until there are enough, many at a time where
// the site is slower than the rate.
func (r *run) raise(ctx context.Context, e *end, enough <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		mu    sync.Mutex // of e.accepted
		wg    sync.WaitGroup
		slots = make(chan struct{}, 16)
	)
	defer wg.Wait()
	begun := time.Now()
	for i := 0; ; i++ {
		timer := time.NewTimer(time.Until(begun.Add(time.Duration(float64(i) / r.Rate * float64(time.Second)))))
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-enough:
			timer.Stop()
			wg.Wait()
			return context.Cause(ctx)
		case <-timer.C:
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			a, _, _, err := e.api.Raise(ctx, r.alert(e.id, i))
			if err != nil {
				cancel(fmt.Errorf("%s did not take an alert: %w", e.id, err))
				return
			}
			mu.Lock()
			defer mu.Unlock()
			e.accepted = append(e.accepted, Accepted{ID: a.ID, Title: a.Title, At: time.Now()})
		})
	}
}

// alert is number i of a site: every one with another title, and admitted by the gate.
func (r *run) alert(site federation.SiteID, i int) federation.NewAlert {
	return federation.NewAlert{
		Title:    fmt.Sprintf("drill %s: alert %d of %s", r.name, i+1, site),
		Severity: []federation.Severity{federation.Critical, federation.High}[i%2],
		Source:   "drill",
		IOCs:     federation.IOCInput{Items: []federation.IOC{{Type: federation.IP, Value: "192.0.2.7"}}},
	}
}

// await reads the topology of a site until its link is healthy, or is not, as asked.
func (e *end) await(ctx context.Context, healthy bool) (federation.Link, error) {
	for {
		t, err := e.api.Topology(ctx)
		if err != nil {
			return federation.Link{}, err
		}
		if len(t.Links) == 1 && (t.Links[0].Status == federation.Healthy) == healthy {
			return t.Links[0], nil
		}
		if err := pause(ctx, look); err != nil {
			return federation.Link{}, err
		}
	}
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

// isPeers reports whether an alert came from the site.
func isPeers(a federation.Alert, site federation.SiteID) bool {
	return a.Origin != nil && a.Origin.SiteID == site
}
