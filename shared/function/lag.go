package function

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/metric"
)

// lag is what the servers said, with the messages that they sent, how much more waits
// in each consumer. It costs no question, and works for the consumer of a peer too.
type lag struct {
	mu   sync.Mutex
	seen map[lagOf]pending
}

type lagOf struct{ function, trigger, stream, consumer string }

type pending struct {
	messages uint64
	at       time.Time
}

// lagHolds is how long it holds what was said. After it the consumer is empty, or
// another replica has what comes; either way nothing waits for this one.
const lagHolds = 30 * time.Second

// note keeps what a message says of the consumer that it came from.
func (l *lag) note(m *meter, s Source, msg *delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[lagOf{m.function, m.trigger, s.Stream, s.Consumer}] = pending{msg.meta.NumPending, time.Now()}
}

func (l *lag) figures() prometheus.Collector {
	return metric.Read(func(_ context.Context, put metric.Put) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for of, p := range l.seen {
			if time.Since(p.at) > lagHolds {
				p.messages = 0
			}
			put("aurora_jetstream_consumer_pending", float64(p.messages), of.function, of.trigger, of.stream, of.consumer)
		}
		return nil
	}, metric.Figure{
		Name:   "aurora_jetstream_consumer_pending",
		Help:   "Messages that waited in a consumer behind the last one that this process had from it; 0 once none has come for 30 s.",
		Labels: []string{"function", "trigger", "stream", "consumer"},
	})
}
