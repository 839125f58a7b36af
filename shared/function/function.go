package function

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// Function is one concern of a site: a name, what it does, and what sets it off.
// It holds no state between messages, so any replica can be killed at any moment.
type Function struct {
	// Name is the name of the micro service and of the folder, e.g. "alertsink".
	Name string
	// Description is one sentence for `nats micro ls`.
	Description string
	// Triggers are what sets the function off; see [Reply], [On], [Consume], [Every] and [HTTP].
	Triggers []Trigger
	// Streams are the local streams that the function needs. They are created, or
	// brought up to date, before it starts, and made anew where they are lost while it runs.
	Streams []jetstream.StreamConfig
	// Checks are what must hold for the function to work, e.g. that its database
	// answers. The health endpoint, which every function has, reports them.
	Checks []Check
	// Farewell, where set, is called once when a replica stops: after its last
	// message, with its endpoints gone and its connection still there.
	Farewell func(context.Context) error
}

// Check is one thing that must hold for a function to work.
type Check struct {
	Part string // what a person would look at, e.g. "database"
	Run  func(context.Context) error
}

// Trigger sets a function off. There are four for messages and one for people:
// [Reply], [On], [Consume] (and [ConsumeEach]), [Every], and [HTTP].
type Trigger interface {
	// describe says what the trigger is, for metadata, metrics and health.
	describe(r *Running) (name, kind, detail string)
	// start sets it up; it works until the function drains.
	start(r *Running, m *meter) error
}

// Option adjusts a trigger.
type Option func(*options)

type options struct {
	name     string
	timeout  time.Duration
	parallel int
	coalesce bool
	batch    int
	linger   time.Duration
	attempts int
	buried   func(context.Context, []byte, error) error
	cutShort bool
	certFile string
	keyFile  string
	from     func(subject string) federation.SiteID
	origin   bool
	calm     time.Duration
	isNews   func(subject string, data []byte) bool
	newsOn   []string
	listOn   []string
	again    time.Duration
}

// Named gives a trigger another name than its default. Names are unique within a function.
func Named(name string) Option { return func(o *options) { o.name = name } }

// Timeout bounds one call of the handler; the default is 10 s.
func Timeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// Parallel lets n requests to a [Reply] be handled at a time. The handlers of one
// micro endpoint run one after the other, so this starts n instances of the
// service in its queue group; `nats micro stats` stays true. The default is 4.
func Parallel(n int) Option { return func(o *options) { o.parallel = n } }

// Coalesced makes one call out of all messages of an [On] that are waiting. It is
// for nudges, where ten say no more than one.
func Coalesced() Option { return func(o *options) { o.coalesce = true } }

// Lingering lets a [Nudged] or [Handed] wait so long, after the first message, for more that
// are then one call with it: for work that is not in a hurry.
func Lingering(d time.Duration) Option { return func(o *options) { o.linger = d } }

// Batch lets a [Consume] hand over up to n messages at a time, and wait up to
// linger for them after the first; an [OnTogether] waits that long since its last call.
func Batch(n int, linger time.Duration) Option {
	return func(o *options) { o.batch, o.linger = n, linger }
}

// CutShort ends the context of an [On] or [Every] handler as soon as the function is to
// stop, in place of waiting for it: for long work that can be begun anew.
func CutShort() Option { return func(o *options) { o.cutShort = true } }

// TLS lets an [HTTP] serve TLS with a certificate and its key, which are read anew
// where they change. Without files it serves as it is.
func TLS(certFile, keyFile string) Option {
	return func(o *options) { o.certFile, o.keyFile = certFile, keyFile }
}

// Attempts is how often a [Consume] tries a message before it becomes a dead
// letter; the default is 5.
func Attempts(n int) Option { return func(o *options) { o.attempts = n } }

// Buried tells of each message of a [Consume] that became a dead letter, with its
// payload and the reason, before its delivery ends. Where it fails the message comes again.
func Buried(f func(ctx context.Context, payload []byte, reason error) error) Option {
	return func(o *options) { o.buried = f }
}

func build(name string, opts []Option) options {
	o := options{name: name, timeout: 10 * time.Second, parallel: 4, batch: 1, attempts: 5}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}
