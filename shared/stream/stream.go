// Package stream holds the JetStream streams of a site: what each captures, for
// how long, and what happens at its limit. The runtime creates or updates them
// before a function that needs them starts, as often as it likes.
package stream

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// Limits bound what a stream keeps; past a limit the oldest go first.
type Limits struct {
	MaxAge   time.Duration // 0: no bound
	MaxBytes int64         // 0: no bound
	MaxMsgs  int64         // 0: no bound
}

// Above is the limits of the alert stream of a site whose backlog has a bound. They
// are the last resort, for they know no severity: the room between the two is for
// what comes while the function backlog makes room.
func Above(b federation.BacklogBound) Limits {
	l := Limits{MaxAge: b.Age}
	if b.Bytes > 0 {
		l.MaxBytes = b.Bytes + b.Bytes/4 + 64<<20
	}
	if b.Messages > 0 {
		l.MaxMsgs = int64(b.Messages + b.Messages/4 + 50_000)
	}
	return l
}

// Alerts keeps the alerts that site shares until each peer has pulled them. Its
// dedup window makes a second publish of the same alert, after a crash between
// publish and mark, a no-op.
func Alerts(site federation.SiteID, l Limits) jetstream.StreamConfig {
	c := base(subject.AlertStream(site), "shared alerts of "+string(site)+", pulled by its peers", l)
	c.Subjects = []string{subject.AllAlerts}
	c.Duplicates = 10 * time.Minute
	c.AllowAtomicPublish = true
	return c
}

// Events keeps what happened at site, so that a client that reconnects can go on where it was.
func Events(site federation.SiteID) jetstream.StreamConfig {
	c := base(subject.EventStream(site), "events of "+string(site)+", for the console and the API", Limits{MaxAge: 24 * time.Hour, MaxBytes: 256 << 20})
	c.Subjects = []string{subject.Events(site)}
	c.Duplicates = 10 * time.Minute
	c.AllowAtomicPublish = true
	return c
}

// DeadLetters keeps the messages that a function of site could not handle, with the reason.
func DeadLetters(site federation.SiteID) jetstream.StreamConfig {
	c := base(subject.DeadLetterStream(site), "messages that functions of "+string(site)+" could not handle", Limits{MaxAge: 30 * 24 * time.Hour, MaxBytes: 256 << 20})
	c.Subjects = []string{subject.DeadLetters(site)}
	return c
}

// Refusals keeps what the server says of alerts that a peer would not store, until
// that is in the database of site.
func Refusals(site federation.SiteID) jetstream.StreamConfig {
	c := base(subject.RefusalStream(site), "shared alerts of "+string(site)+" that a peer could not store", Limits{MaxAge: 30 * 24 * time.Hour, MaxBytes: 64 << 20})
	c.Subjects = []string{subject.Refusals(site)}
	return c
}

// Ticks keeps the schedules of site. The server itself sends their ticks: one an
// interval, however many replicas there are, and one, not a storm, after a pause.
func Ticks(site federation.SiteID) jetstream.StreamConfig {
	c := base(subject.TickStream(site), "schedules of "+string(site)+" and the ticks they send", Limits{})
	c.Subjects = subject.Ticks(site)
	c.MaxMsgsPerSubject = 1
	c.AllowMsgSchedules = true
	c.AllowMsgTTL = true
	return c
}

func base(name, description string, l Limits) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: name, Description: description, MaxAge: l.MaxAge, MaxBytes: l.MaxBytes, MaxMsgs: l.MaxMsgs,
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, AllowDirect: true,
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = -1
	}
	if c.MaxMsgs == 0 {
		c.MaxMsgs = -1
	}
	return c
}

// Filter is the subjects that a consumer is given. The server may keep one alone in either field.
func Filter(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

// Consumers are the durable consumers of a stream as they are now, by their names.
func Consumers(ctx context.Context, s jetstream.Stream) (map[string]*jetstream.ConsumerInfo, error) {
	all := map[string]*jetstream.ConsumerInfo{}
	list := s.ListConsumers(ctx)
	for c := range list.Info() {
		if c.Config.Durable != "" {
			all[c.Name] = c
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("listing the consumers of %s: %w", s.CachedInfo().Config.Name, err)
	}
	return all, nil
}

// Apply is a stream's present configuration with what want says of it, and
// whether that changes anything. What want leaves open, such as a number of
// replicas of 0, stays as an operator has set it.
func Apply(have, want jetstream.StreamConfig) (merged jetstream.StreamConfig, changed bool) {
	merged = have
	merged.Description, merged.Subjects = want.Description, want.Subjects
	merged.MaxAge, merged.MaxBytes, merged.MaxMsgs = want.MaxAge, want.MaxBytes, want.MaxMsgs
	merged.Storage, merged.Retention, merged.Discard, merged.AllowDirect = want.Storage, want.Retention, want.Discard, want.AllowDirect
	merged.AllowMsgSchedules, merged.AllowMsgTTL, merged.AllowAtomicPublish = want.AllowMsgSchedules, want.AllowMsgTTL, want.AllowAtomicPublish
	if want.Replicas != 0 {
		merged.Replicas = want.Replicas
	}
	if want.Duplicates != 0 {
		merged.Duplicates = want.Duplicates
	}
	if want.MaxMsgsPerSubject != 0 {
		merged.MaxMsgsPerSubject = want.MaxMsgsPerSubject
	}
	return merged, !reflect.DeepEqual(merged, have)
}
