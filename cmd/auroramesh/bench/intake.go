package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// intakes are the same for several numbers of clients at a time.
var intakes = []Workload{
	intakeWith(1, 2_000, atLeast(0.8)),
	intakeWith(32, 20_000, atLeast(1.3), atMost(ofP99Ratio, 1)),
	intakeWith(128, 20_000, atLeast(1.6), atMost(ofP99Ratio, 1)),
}

func intakeWith(connections, n int, goals ...Goal) Workload {
	return Workload{
		Name: fmt.Sprintf("intake-%d", connections), Unit: requests, Goals: goals,
		Does:   "POST /api/v1/alerts over " + Counted(connections, "connection") + ", each request answered after the commit",
		Beside: "a bare net/http handler with one INSERT … ON CONFLICT a request",
		prepare: func(ctx context.Context, b *bed) (pair, error) {
			m, err := b.mesh(ctx, kind{})
			if err != nil {
				return pair{}, err
			}
			bare, err := b.bare()
			if err != nil {
				return pair{}, err
			}
			client := clientFor(connections)
			post := func(db func(context.Context) error, url string) func(context.Context) (Sample, error) {
				return func(ctx context.Context) (Sample, error) {
					if err := db(ctx); err != nil {
						return Sample{}, err
					}
					return load(ctx, connections, b.size(n), func(ctx context.Context, _ int) error {
						_, err := raise(ctx, client, url, federation.Medium) // it stays at its site
						return err
					})
				}
			}
			return pair{
				own:    post(func(ctx context.Context) error { return empty(ctx, m.db[hub]) }, m.Sites[0].API),
				beside: post(func(ctx context.Context) error { return empty(ctx, b.plain) }, bare.url),
				end:    func() error { client.CloseIdleConnections(); return bare.close() },
			}, nil
		},
	}
}

func clientFor(connections int) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}
}

// raise POSTs an alert, and returns the id that it got.
func raise(ctx context.Context, client *http.Client, url string, s federation.Severity) (id string, err error) {
	data, err := json.Marshal(draft(s))
	if err != nil {
		return "", fmt.Errorf("encoding an alert: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1/alerts", bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	body, err := do(client, req, http.StatusCreated)
	if err != nil {
		return "", err
	}
	var raised struct {
		ID string `json:"id"`
	}
	return raised.ID, json.Unmarshal(body, &raised)
}

// do sends a request, and returns the body of its answer.
func do(client *http.Client, req *http.Request, want int) ([]byte, error) {
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != want {
		err = fmt.Errorf("%s %s: %s: %s", req.Method, req.URL, res.Status, body)
	}
	return body, err
}

// serving is an HTTP server that does one thing.
type serving struct {
	url   string
	close func() error
}

func serve(handler http.Handler) (serving, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return serving{}, fmt.Errorf("listening: %w", err)
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	return serving{"http://" + l.Addr().String(), func() error {
		err := srv.Close()
		if end := <-ended; !errors.Is(end, http.ErrServerClosed) {
			err = errors.Join(err, end)
		}
		return err
	}}, nil
}

// bare serves the least that takes an alert in: it reads the body, stores the row, and answers with it.
func (b *bed) bare() (serving, error) {
	return serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n federation.NewAlert
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		now := time.Now()
		s := shared(hub, now)
		s.NewAlert = n
		values, err := row(s, now)
		if err == nil {
			_, err = b.plain.Exec(r.Context(), insertOne, values...)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(s.Received(s.OriginID, now)) // a client that went away is told nothing
	}))
}
