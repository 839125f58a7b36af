package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/subject"
)

const (
	emptyEndpoint = "bench.empty"
	questions     = 50_000
	// churn is how often the sites are upserted at the hub while it is asked.
	churn = 20 * time.Millisecond
)

// queries ask for the topology of the hub.
var queries = []Workload{
	overNATS("query-8", "at the hub, 8 at a time", hub, 8),
	overNATS("query-64", "at the hub, 64 at a time", hub, 64),
	overNATS("query-leaf-64", "from the leaf, over the leafnode, 64 at a time", leaf, 64),
	overHTTP,
}

func overNATS(name, how string, from federation.SiteID, inFlight int) Workload {
	return Workload{
		Name: name, Unit: requests, Goals: []Goal{atLeast(0.9)},
		Does:   "the topology of the hub, asked over request/reply " + how + ", while sites are upserted",
		Beside: "an empty NATS micro endpoint whose answer is as large",
		prepare: func(ctx context.Context, b *bed) (pair, error) {
			m, err := b.mesh(ctx, kind{})
			if err != nil {
				return pair{}, err
			}
			e, err := m.emptyEndpoint(ctx)
			if err != nil {
				return pair{}, err
			}
			request := func(subj string) func(context.Context) (Sample, error) {
				return func(ctx context.Context) (Sample, error) {
					return load(ctx, inFlight, b.size(questions), func(ctx context.Context, _ int) error { return m.ask(ctx, from, subj) })
				}
			}
			return pair{own: request(topologyOfHub), beside: request(emptyEndpoint), end: e}, nil
		},
	}
}

var overHTTP = Workload{
	Name: "query-http-64", Unit: requests, Goals: []Goal{atLeast(0.8)},
	Does:   "GET /api/v1/system/topology at the hub, 64 at a time, while sites are upserted",
	Beside: "an empty net/http handler that asks that empty micro endpoint",
	prepare: func(ctx context.Context, b *bed) (pair, error) {
		m, err := b.mesh(ctx, kind{})
		if err != nil {
			return pair{}, err
		}
		e, err := m.emptyEndpoint(ctx)
		if err != nil {
			return pair{}, err
		}
		bare, err := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer, err := m.conn[hub].RequestWithContext(r.Context(), emptyEndpoint, nil)
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Write(answer.Data)
		}))
		if err != nil {
			return pair{end: e}, err
		}
		get := func(url string) func(context.Context) (Sample, error) {
			return func(ctx context.Context) (Sample, error) {
				return load(ctx, 64, b.size(questions/5), func(ctx context.Context, _ int) error {
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
					if err != nil {
						return err
					}
					_, err = do(m.client, req, http.StatusOK)
					return err
				})
			}
		}
		return pair{
			own: get(m.Sites[0].API + "/api/v1/system/topology"), beside: get(bare.url),
			end: func() error { m.client.CloseIdleConnections(); return errors.Join(bare.close(), e()) },
		}, nil
	},
}

var topologyOfHub = subject.Function(hub, ask.Topology.Function, ask.Topology.Name)

// ask puts a question to the mesh as any client of NATS does, and takes an answer that is no error.
func (m *mesh) ask(ctx context.Context, from federation.SiteID, subj string) error {
	answer, err := m.conn[from].RequestWithContext(ctx, subj, []byte("{}"))
	if err != nil {
		return fmt.Errorf("asking %s: %w", subj, err)
	}
	if e := answer.Header.Get(micro.ErrorHeader); e != "" {
		return fmt.Errorf("asking %s: %s", subj, e)
	}
	return nil
}

// emptyEndpoint serves at the hub, on a connection of its own as a function has, an endpoint
// that does nothing, with the topology as it is now for its answer, and begins to upsert
// sites. end ends both.
func (m *mesh) emptyEndpoint(ctx context.Context) (end func() error, err error) {
	asking, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	topology, err := m.conn[hub].RequestWithContext(asking, topologyOfHub, []byte("{}"))
	if err != nil {
		return nil, fmt.Errorf("asking for the topology: %w", err)
	}
	conn, err := nats.Connect(m.Sites[0].NATS)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", m.Sites[0].NATS, err)
	}
	service, err := micro.AddService(conn, micro.Config{
		Name: "bench", Version: "1.0.0",
		Endpoint: &micro.EndpointConfig{Subject: emptyEndpoint, Handler: micro.HandlerFunc(func(r micro.Request) {
			_ = r.Respond(topology.Data) // the asker notices
		})},
	})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("serving an empty endpoint: %w", err)
	}
	if err := m.reached(ctx, emptyEndpoint); err != nil {
		err = errors.Join(err, service.Stop())
		conn.Close()
		return nil, err
	}
	stop := m.upsert()
	return func() error {
		stop()
		err := service.Stop()
		conn.Close()
		return err
	}, nil
}

// upsert has both sites gossip without a pause: each gossip is an upsert of a site and its link at both.
func (m *mesh) upsert() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for id, nc := range m.conn {
		wg.Go(func() { nudge(ctx, id, nc) })
	}
	return func() { cancel(); wg.Wait() }
}

func nudge(ctx context.Context, id federation.SiteID, nc *nats.Conn) {
	for pause(ctx, churn) == nil {
		if nc.Publish(subject.Nudge(id, "heartbeat"), nil) != nil {
			return // the connection is closed: what measures notices by itself
		}
	}
}
