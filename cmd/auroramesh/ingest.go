package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/sensor"
)

type ingestCmd struct {
	siteFlags
	Format      string   `default:"auto" placeholder:"NAME" help:"What the files hold: auto, suricata, wazuh, ocsf or native (default ${default})."`
	Follow      bool     `short:"f" help:"Go on as the file grows, through rotation, until Ctrl-C."`
	Concurrency int      `default:"8" placeholder:"N" help:"How many alerts to raise at a time, 1 to 64 (default ${default})."`
	State       string   `placeholder:"FILE" help:"Remember in FILE how far each file was taken, and go on from there."`
	HomeNet     []string `placeholder:"CIDR,..." help:"Public networks of your own: their addresses are assets, not IOCs."`
	JSON        bool     `name:"json" help:"Print the summary as JSON."`
	Files       []string `arg:"" name:"file" help:"Files to read; - is standard input."`
}

// Help is the long help.
func (*ingestCmd) Help() string {
	return `Turns what sensors write into alerts. Reads JSON lines and JSON arrays of any size.
To run it again is harmless: the site knows what it has. The exit code is 0 when
everything was taken and 2 when some records were refused. Where a file cannot be
opened it is 2 too, and none is read.

Examples:
  auroramesh ingest eve.json
  auroramesh ingest --follow --state /var/lib/auroramesh/eve.state /var/log/suricata/eve.json
  zcat alerts.json.gz | auroramesh ingest --format wazuh -`
}

// pollInterval is how often a followed file is looked at.
const pollInterval = 250 * time.Millisecond

func (c *ingestCmd) options() (sensor.Options, error) {
	o := sensor.Options{Format: sensor.Format(c.Format)}
	var wrong fault.Fields
	known := false
	for _, f := range sensor.Formats() {
		known = known || f == o.Format
	}
	if !known {
		wrong.Add("format", c.Format, sensor.FormatForm)
	}
	checkConcurrency(&wrong, c.Concurrency)
	for _, s := range c.HomeNet {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			wrong.Add("home-net", s, "a network such as 203.0.113.0/24")
			continue
		}
		o.Home = append(o.Home, p.Masked())
	}
	stdin := 0
	for _, f := range c.Files {
		if f == "-" {
			stdin++
		} else if err := readable(f); err != nil {
			wrong.Add("file", f, fmt.Sprintf("a file that can be read (%v)", err))
		}
	}
	switch {
	case stdin > 1:
		wrong.Add("file", "-", "standard input once")
	case stdin > 0 && c.State != "":
		wrong.Add("state", c.State, "files only: standard input cannot be read from the middle")
	}
	if c.Follow && (len(c.Files) != 1 || stdin > 0) {
		wrong.Add("follow", strconv.Itoa(len(c.Files))+" files", "one file that is not standard input")
	}
	return o, wrong.Err("the flags are not valid")
}

// readable says why a file cannot be opened, without its name; nil where it can. A pipe is
// left alone: what writes to it would end with the first who closes it.
func readable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return errors.New("it is a directory")
	case err == nil && info.Mode().IsRegular():
		var f *os.File
		if f, err = os.Open(path); err == nil {
			return f.Close()
		}
	}
	if p := new(os.PathError); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Run reads the files and raises what they hold.
func (c *ingestCmd) Run(ctx context.Context, io *stdio) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	in := &ingestion{
		options: options, concurrency: c.Concurrency, follow: c.Follow, in: io.in,
		bar: newProgress(io.err), summary: summary{Skipped: map[string]int{}}, begun: time.Now(),
	}
	if c.State != "" {
		if in.marks, err = openMarks(c.State); err != nil {
			return err
		}
	}
	// The first question finds out whether there is a site at all; only one that
	// was there is waited for.
	probe, err := c.client()
	if err != nil {
		return err
	}
	if _, err := probe.Sites(ctx, ask.Page{Limit: 1}); err != nil {
		return err
	}
	absent := newOutage(in.bar.printf)
	client, err := c.client(apiclient.Attempts(0), apiclient.OnRetry(absent.retry))
	if err != nil {
		return err
	}
	in.raise = func(ctx context.Context, n federation.NewAlert) raised {
		var r raised
		r.alert, r.created, r.warnings, r.err = client.Raise(ctx, n)
		if ctx.Err() == nil {
			absent.over()
		}
		return r
	}
	err = in.files(ctx, c.Files)
	in.bar.end()
	if err := in.report(io, c.JSON, client.Base()); err != nil {
		return err
	}
	switch {
	case err != nil && ctx.Err() != nil && c.Follow: // Ctrl-C is its proper end
	case err != nil:
		return err
	}
	if in.summary.Refused > 0 {
		return fault.New(fault.Invalid, "%d of %d records were refused", in.summary.Refused, in.summary.Read)
	}
	return nil
}

// ingestion is one run of the command: records in, alerts out, counts kept.
type ingestion struct {
	options     sensor.Options
	concurrency int
	follow      bool
	in          io.Reader
	raise       func(context.Context, federation.NewAlert) raised
	marks       *marks // nil: nothing is remembered
	bar         *progress
	summary     summary
	begun       time.Time
}

// files takes one file after the other. One that cannot be read on does not cost the others.
func (in *ingestion) files(ctx context.Context, paths []string) error {
	var failed error
	for _, path := range paths {
		err := in.file(ctx, path)
		if ctx.Err() != nil || errors.Is(err, errStop) {
			return err
		}
		if err != nil {
			if p := new(os.PathError); !errors.As(err, &p) { // which names the file already
				err = fmt.Errorf("%s: %w", path, err)
			}
			if failed != nil {
				in.bar.printf("auroramesh: %v", failed)
			}
			failed = err
		}
	}
	return failed
}

// errStop marks an error after which no other file can be taken either.
var errStop = errors.New("the site does not take alerts")

// file takes one file; followed, it takes the one after it at the same path too.
func (in *ingestion) file(ctx context.Context, path string) error {
	if path == "-" {
		in.bar.begin(-1)
		return in.records(ctx, path, in.in, sensor.Position{}, nil)
	}
	for first := true; ; first = false {
		f, err := os.Open(path)
		if err != nil && (first || !errors.Is(err, os.ErrNotExist)) {
			return err
		}
		if err != nil { // moved away, and the new one is not there yet
			if err := sleep(ctx, pollInterval); err != nil {
				return err
			}
			continue
		}
		err = in.open(ctx, path, f, first)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil || !in.follow {
			return err
		}
	}
}

// open takes an open file from where the last run stopped.
func (in *ingestion) open(ctx context.Context, path string, f *os.File, first bool) error {
	var from sensor.Position
	var keep func(sensor.Position)
	if in.marks != nil {
		var other bool
		var err error
		if from, other, err = in.marks.find(path, f); err != nil {
			return err
		}
		if other && first {
			in.bar.printf("auroramesh: %s is another file than the one remembered: reading it from its start", plain(path))
		}
		keep = func(p sensor.Position) { in.marks.set(path, f, p) }
	}
	if _, err := f.Seek(from.Offset, io.SeekStart); err != nil {
		return fmt.Errorf("going on where the last run stopped: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var r io.Reader = f
	if in.follow {
		in.bar.begin(-1)
		if r, err = sensor.NewTail(ctx, path, f, pollInterval); err != nil {
			return err
		}
	} else {
		in.bar.begin(info.Size())
	}
	err = in.records(ctx, path, r, from, keep)
	if in.marks != nil {
		if serr := in.marks.save(); err == nil {
			err = serr
		}
	}
	return err
}

// taken is one record and what became of it.
type taken struct {
	sensor.Record
	broken error // the stream ends here
	raised
}

// records takes every record of r. keep is told, in order, up to where everything has been taken.
func (in *ingestion) records(ctx context.Context, path string, r io.Reader, from sensor.Position, keep func(sensor.Position)) error {
	o := in.options
	o.From = from
	var items iter.Seq[taken] = func(yield func(taken) bool) {
		for rec, err := range sensor.Read(r, o) {
			if !yield(taken{Record: rec, broken: err}) {
				return
			}
		}
	}
	return inOrder(ctx, in.concurrency, items, func(ctx context.Context, t taken) taken {
		if t.Alert != nil {
			t.raised = in.raise(ctx, *t.Alert)
		}
		return t
	}, func(t taken) error {
		if t.broken != nil {
			return t.broken
		}
		if err := in.count(path, t); err != nil {
			return err
		}
		in.bar.set(t.Next.Offset)
		if keep != nil {
			keep(t.Next)
			return in.marks.saveNowAndThen()
		}
		return nil
	})
}

// count adds one record to the summary. Its error ends the run.
func (in *ingestion) count(path string, t taken) error {
	s := &in.summary
	switch {
	case t.Refused != nil:
		s.refuse(path, t.Line, t.Refused)
	case t.Skipped != "":
		s.Skipped[t.Skipped]++
	case t.err != nil:
		switch f := fault.Of(t.err); {
		case errors.Is(t.err, context.Canceled):
			return t.err
		case f.Code == fault.Invalid, f.Code == fault.TooLarge, f.Code == fault.Conflict, f.Code == fault.Internal && isFault(t.err):
			s.refuse(path, t.Line, t.err)
		default:
			return fmt.Errorf("%s, line %d: %w: %w", path, t.Line, errStop, t.err)
		}
	case t.created:
		s.New++
	default:
		s.Duplicates++
	}
	s.Read++
	if t.Alert != nil {
		s.UnreadableIOCs += len(t.Alert.IOCs.Unreadable)
	}
	for _, w := range t.warnings {
		if w.Name == "tlp" {
			s.keepLabel(path, t.Line, w)
		} else {
			s.UnreadableIOCs++
		}
	}
	return nil
}

func isFault(err error) bool {
	var f *fault.Error
	return errors.As(err, &f)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// progress is the bar on a terminal, and nothing elsewhere.
type progress struct {
	w   io.Writer
	bar *progressbar.ProgressBar
	on  bool
}

func newProgress(w io.Writer) *progress { return &progress{w: w, on: isTerminal(w)} }

// begin starts the bar of one file of size bytes, -1 where nobody knows.
func (p *progress) begin(size int64) {
	if !p.on {
		return
	}
	p.end()
	p.bar = progressbar.NewOptions64(size, progressbar.OptionSetWriter(p.w), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("taking"), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish())
}

func (p *progress) set(offset int64) {
	if p.bar != nil {
		_ = p.bar.Set64(offset) // a bar that cannot be drawn is no reason to stop
	}
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
}

// printf writes a line without the bar in it.
func (p *progress) printf(format string, args ...any) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintf(p.w, format+"\n", args...)
}
