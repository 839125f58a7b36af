// Package drill proves the promise of the mesh: it raises alerts at every site,
// breaks a line between two of them and heals it, and then compares the queues.
// Every alert that a site accepted must be at every other one, exactly once. The
// sites are its own, started for the drill, or running ones, of which it uses the
// API and the control of their lines and nothing else. The command `auroramesh
// drill` runs it.
package drill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/drillreport"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
)

// Times of a drill that nobody needs to change.
const (
	startTime = 30 * time.Second       // at most, until all sites see healthy links
	stopTime  = 10 * time.Second       // at most, for stopping the drill's own
	healTime  = 5 * time.Second        // at most, for healing the line; until a line that nobody heals does so by itself
	calm      = time.Second            // with alerts but without the fault, before it and after it
	look      = 20 * time.Millisecond  // between two readings of a topology
	recheck   = 100 * time.Millisecond // between two readings of the ledgers
)

// Bounds of a drill. What the sites cannot take of the rate is not raised.
const (
	MaxRate  = 1000    // alerts a second, at each site
	MaxCount = 100_000 // alerts in all, at each site
)

// Lines breaks and heals lines: a [linkproxy.Control], here or behind its address.
type Lines interface {
	Lines(context.Context) (linkproxy.Lines, error)
	Set(ctx context.Context, link string, o linkproxy.Order) (linkproxy.Line, error)
}

// Options say how a drill goes.
type Options struct {
	Fault   string        // cut or blackhole
	For     time.Duration // how long the fault lasts
	Rate    float64       // alerts a second, at each site
	Timeout time.Duration // how long after the fault every alert may take to arrive
	Link    string        // whose line is broken; empty: the first one's
	Sites   int           // how many of its own the drill starts; 0: two, or none where APIs are given

	// APIs are the addresses of running sites, and Control breaks their lines; without
	// them the drill starts its own.
	APIs    []string
	Control Lines

	Version  string
	Log      *slog.Logger
	Progress func(string) // is told of each phase
}

// Validate refuses options with which there is no drill, and names each that is wrong.
func (o Options) Validate() error {
	var wrong fault.Fields
	if w := linkproxy.Word(o.Fault); w != linkproxy.WordCut && w != linkproxy.WordBlackHole {
		wrong.Add("fault", o.Fault, "cut or blackhole")
	}
	if o.For < time.Second || o.For > time.Hour {
		wrong.Add("for", o.For.String(), "a duration from 1s to 1h")
	}
	switch count := o.Rate * (o.For + 2*calm).Seconds(); {
	case !(o.Rate > 0 && o.Rate <= MaxRate):
		wrong.Add("rate", strconv.FormatFloat(o.Rate, 'g', -1, 64), "a number over 0, up to "+strconv.Itoa(MaxRate))
	case o.For <= time.Hour && count > MaxCount:
		wrong.Add("rate", strconv.FormatFloat(o.Rate, 'g', -1, 64), "a number with which there are at most "+strconv.Itoa(MaxCount)+" alerts at a site in all")
	}
	if o.Timeout < time.Second || o.Timeout > time.Hour {
		wrong.Add("timeout", o.Timeout.String(), "a duration from 1s to 1h")
	}
	switch {
	case o.Control == nil && o.Sites != 0 && (o.Sites < 2 || o.Sites > demo.MaxSites):
		wrong.Add("sites", strconv.Itoa(o.Sites), "a whole number from 2 to "+strconv.Itoa(demo.MaxSites))
	case o.Control != nil && o.Sites != 0:
		wrong.Add("sites", strconv.Itoa(o.Sites), "none where the sites run already")
	}
	if o.Control != nil && len(o.APIs) < 2 {
		wrong.Add("api", strings.Join(o.APIs, ", "), "the addresses of two sites or more")
	}
	return wrong.Err("the drill cannot start")
}

// run is one drill at work.
type run struct {
	Options
	name       string // stands in every title, so that no two drills raise the same alert
	lines      Lines
	line       string // the line that is broken
	link       string // the link that it carries
	severities []federation.Severity
	ends       []*end
}

// Run runs a drill. An error means that there was none; what it found out is for
// [drillreport.Report.Verdict] to judge. When it returns, everything it started has stopped,
// and the line is healed.
func Run(ctx context.Context, o Options) (report drillreport.Report, err error) {
	if err := o.Validate(); err != nil {
		return drillreport.Report{}, err
	}
	r := &run{Options: o, name: strconv.FormatUint(rand.Uint64(), 36), lines: o.Control}
	var sites *demo.Demo
	defer func() {
		if ctx.Err() != nil { // whatever else went wrong, went wrong because of it
			err = ctx.Err()
		}
		if sites != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
			defer cancel()
			err = errors.Join(err, sites.Stop(stop))
		}
	}()
	if r.lines == nil {
		if sites, err = r.start(ctx); err != nil {
			return drillreport.Report{}, err
		}
	}
	if err := r.join(ctx); err != nil {
		return drillreport.Report{}, err
	}
	if report, err = r.drill(ctx); err == nil && o.Control != nil {
		r.tell(ctx, report)
	}
	return report, err
}

// tell has the running sites keep the report. One that does not has no part in what
// the drill found out.
func (r *run) tell(ctx context.Context, report drillreport.Report) {
	for _, e := range r.ends {
		if err := e.api.KeepDrill(ctx, report); err != nil {
			r.Progress(fmt.Sprintf("%s does not keep the report: %v", e.id, err))
		}
	}
}

// drill raises, breaks, heals, waits and compares.
func (r *run) drill(ctx context.Context) (drillreport.Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var raising sync.WaitGroup
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
		return drillreport.Report{}, err
	}
	report := drillreport.Report{Run: r.name, Link: r.link, Running: r.Control != nil, Fault: r.Fault, Rate: r.Rate, TimeoutSeconds: r.Timeout.Seconds()}
	if err := r.breakLine(ctx, &report); err != nil {
		return drillreport.Report{}, err
	}
	r.Progress("Healed ...")
	if err := pause(ctx, calm); err != nil {
		return drillreport.Report{}, err
	}
	close(enough)
	raising.Wait()
	if ctx.Err() != nil {
		return drillreport.Report{}, context.Cause(ctx)
	}
	for _, e := range r.ends {
		report.Raised += len(e.accepted)
		report.Meanwhile += drillreport.Within(e.accepted, report.FaultAt, report.HealedAt)
	}
	if err := r.detect(ctx, &report); err != nil {
		return drillreport.Report{}, err
	}
	r.Progress(fmt.Sprintf("%d alerts were accepted; waiting until each is at every other site, at most %v ...", report.Raised, r.Timeout))
	return report, r.settle(ctx, &report)
}

// breakLine breaks the line for its time. It is healed whatever becomes of the
// drill: at its end here, and by itself where the drill dies.
func (r *run) breakLine(ctx context.Context, report *drillreport.Report) error {
	report.FaultAt = time.Now().UTC()
	if _, err := r.lines.Set(ctx, r.line, linkproxy.Order{Mode: linkproxy.Word(r.Fault), Seconds: (r.For + healTime).Seconds()}); err != nil {
		return fmt.Errorf("breaking the line %s: %w", r.line, err)
	}
	r.Progress(fmt.Sprintf("The fault (%s) is set on %s, for %v ...", r.Fault, r.line, r.For))
	err := pause(ctx, r.For)
	healing, cancel := context.WithTimeout(context.WithoutCancel(ctx), healTime)
	defer cancel()
	if _, failed := r.lines.Set(healing, r.line, linkproxy.Order{Mode: linkproxy.WordPass}); failed != nil {
		err = errors.Join(err, fmt.Errorf("healing the line %s: %w", r.line, failed))
	}
	report.HealedAt = time.Now().UTC()
	return err
}

// settle compares the queues until all has arrived or the time is up.
func (r *run) settle(ctx context.Context, report *drillreport.Report) error {
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
			// At running sites something of somebody else may wait for ever.
			lost, _ := report.Totals()
			report.Waiting = !idle
			if report.Converged = (idle || report.Running) && lost == 0; report.Converged || last {
				return nil
			}
		}
		if err := pause(ctx, recheck); err != nil {
			return err
		}
	}
}

// compare reads the queues and fills in every direction.
func (r *run) compare(ctx context.Context, report *drillreport.Report) error {
	queues := make([][]federation.Alert, len(r.ends))
	for i, e := range r.ends {
		var err error
		if queues[i], err = e.queue(ctx); err != nil {
			return err
		}
	}
	report.Directions = report.Directions[:0]
	for i, from := range r.ends {
		for j, to := range r.ends {
			if i == j {
				continue
			}
			d := drillreport.Compare(from.id, from.accepted, queues[i], queues[j])
			d.To = to.id
			d.Timed(from.accepted, queues[j], report.FaultAt, report.HealedAt, to.ahead)
			report.Directions = append(report.Directions, d)
		}
	}
	report.ConvergedSeconds = report.LastCaughtUp()
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
			e.accepted = append(e.accepted, drillreport.Accepted{ID: a.ID, Title: a.Title, At: time.Now()})
		})
	}
}

// alert is number i of a site: every one with another title, and admitted by the gate.
func (r *run) alert(site federation.SiteID, i int) federation.NewAlert {
	return federation.NewAlert{
		Title:    fmt.Sprintf("%salert %d of %s", drillreport.Titles(r.name), i+1, site),
		Severity: r.severities[i%len(r.severities)],
		Source:   drillreport.Source,
		IOCs:     federation.IOCInput{Items: []federation.IOC{{Type: federation.IP, Value: "192.0.2.7"}}},
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
