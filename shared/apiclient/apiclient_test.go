package apiclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
)

// serve starts a server that answers with h, and a client of it that loses no time.
func serve(t *testing.T, h http.HandlerFunc, opts ...apiclient.Option) *apiclient.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := apiclient.New(srv.URL, append([]apiclient.Option{apiclient.Backoff(time.Millisecond, 2*time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func problem(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

func TestRaiseTellsANewAlertFromADuplicate(t *testing.T) {
	for status, created := range map[int]bool{http.StatusCreated: true, http.StatusOK: false} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			var n federation.NewAlert
			if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
				t.Error(err)
			}
			if r.Method != http.MethodPost || r.URL.Path != "/api/v1/alerts" || r.Header.Get("Content-Type") != "application/json" || n.Title != "a <b>" {
				t.Errorf("%s %s %q", r.Method, r.URL, n.Title)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, `{"id":"1","title":"a <b>","warnings":[{"field":"iocs[0]","value":"x","allowed":"y"}]}`)
		})
		a, fresh, warnings, err := c.Raise(t.Context(), federation.NewAlert{Title: "a <b>", Severity: federation.High, Source: "t"})
		if err != nil || a.ID != "1" || fresh != created {
			t.Errorf("status %d: %+v, %v, %v", status, a, fresh, err)
		}
		if diff := cmp.Diff([]fault.Field{{Name: "iocs[0]", Value: "x", Allowed: "y"}}, warnings); diff != "" {
			t.Error(diff)
		}
	}
}

func TestEveryCallAsksTheRightQuestion(t *testing.T) {
	calls := []struct {
		want string
		call func(context.Context, *apiclient.Client) error
	}{
		{"GET /api/v1/alerts?limit=10&severity=high&skip=20&source=federation%3Asite-b&status=new&tlp=amber%2Bstrict", func(ctx context.Context, c *apiclient.Client) error {
			_, err := c.Alerts(ctx, ask.AlertFilter{Page: ask.Page{Skip: 20, Limit: 10}, Severity: federation.High, Status: federation.New, TLP: federation.TLPAmberStrict, Source: "federation:site-b"})
			return err
		}},
		{"GET /api/v1/federation/drills", func(ctx context.Context, c *apiclient.Client) error { _, err := c.Drills(ctx); return err }},
		{"GET /api/v1/alerts/a%2Fb", func(ctx context.Context, c *apiclient.Client) error { _, err := c.Alert(ctx, "a/b"); return err }},
		{"PATCH /api/v1/alerts/x {\"status\":\"triaged\"}", func(ctx context.Context, c *apiclient.Client) error {
			_, err := c.Update(ctx, "x", federation.AlertPatch{Status: federation.Triaged})
			return err
		}},
		{"POST /api/v1/sharing/preview {\"title\":\"t\",\"severity\":\"high\",\"tlp\":\"red\",\"source\":\"s\"}", func(ctx context.Context, c *apiclient.Client) error {
			_, err := c.PreviewSharing(ctx, federation.NewAlert{Title: "t", Severity: federation.High, TLP: federation.TLPRed, Source: "s"})
			return err
		}},
		{"GET /api/v1/sharing/gates", func(ctx context.Context, c *apiclient.Client) error { _, err := c.SharingGates(ctx); return err }},
		{"PUT /api/v1/sharing/gates/site-b/outbound {\"min_severity\":\"low\"}", func(ctx context.Context, c *apiclient.Client) error {
			_, err := c.SetGate(ctx, ask.GateOf{Peer: "site-b", Direction: federation.Outbound}, federation.GateSetting{MinSeverity: federation.Low})
			return err
		}},
		{"DELETE /api/v1/sharing/gates/a%2Fb/inbound", func(ctx context.Context, c *apiclient.Client) error {
			_, err := c.ResetGate(ctx, ask.GateOf{Peer: "a/b", Direction: federation.Inbound})
			return err
		}},
		{"GET /api/v1/deadletters?limit=2&skip=1", func(ctx context.Context, c *apiclient.Client) error {
			_, err := c.DeadLetters(ctx, ask.Page{Skip: 1, Limit: 2})
			return err
		}},
		{"GET /api/v1/deadletters/7", func(ctx context.Context, c *apiclient.Client) error {
			_, err := c.DeadLetter(ctx, function.LetterID{ID: 7})
			return err
		}},
		{"POST /api/v1/deadletters/7/retry", func(ctx context.Context, c *apiclient.Client) error {
			_, err := c.RetryDeadLetter(ctx, function.LetterID{ID: 7})
			return err
		}},
		{"DELETE /api/v1/deadletters/7", func(ctx context.Context, c *apiclient.Client) error {
			_, err := c.DropDeadLetter(ctx, function.LetterID{ID: 7})
			return err
		}},
		{"GET /api/v1/sites", func(ctx context.Context, c *apiclient.Client) error { _, err := c.Sites(ctx, ask.Page{}); return err }},
		{"GET /api/v1/system/topology", func(ctx context.Context, c *apiclient.Client) error { _, err := c.Topology(ctx); return err }},
		{"GET /api/v1/federation/deliveries", func(ctx context.Context, c *apiclient.Client) error { _, err := c.Deliveries(ctx); return err }},
		{"GET /api/v1/alerts/a%2Fb/deliveries", func(ctx context.Context, c *apiclient.Client) error {
			_, err := c.AlertDeliveries(ctx, "a/b")
			return err
		}},
		{"PUT /api/v1/system/agents {\"total\":4,\"online\":3}", func(ctx context.Context, c *apiclient.Client) error {
			_, err := c.SetAgents(ctx, federation.Agents{Total: 4, Online: 3})
			return err
		}},
	}
	for _, tc := range calls {
		t.Run(tc.want, func(t *testing.T) {
			var got string
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
				fmt.Fprint(w, "{}")
			})
			if err := tc.call(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestAListIsReadToItsEndThoughItsTotalIsNotCounted(t *testing.T) {
	const items, counted = 950, 300
	all, err := apiclient.All(t.Context(), func(_ context.Context, p ask.Page) (ask.List[int], error) {
		page := ask.List[int]{Items: make([]int, min(items-p.Skip, p.Limit)), Total: counted, More: true}
		if len(page.Items) < p.Limit {
			page.Total, page.More = items, false
		}
		return page, nil
	})
	if err != nil || len(all.Items) != items || all.Total != items || all.More {
		t.Errorf("%d of %d are read, more %t: %v", len(all.Items), all.Total, all.More, err)
	}
}

// A site looks only so far for a page of several filters; the client goes on from there.
func TestAListOfSeveralFiltersGoesOnUntilItsPageIsFull(t *testing.T) {
	answers := map[string]string{
		"limit=3&severity=high&skip=5&status=new":            `{"items":[],"total":4,"more":true,"skip":5,"limit":3,"looked_to":"30_x"}`,
		"after=30_x&limit=3&severity=high&skip=1&status=new": `{"items":[{"id":"1"},{"id":"2"}],"total":3,"more":true,"skip":1,"limit":3,"looked_to":"20_y"}`,
		"after=20_y&limit=1&severity=high&status=new":        `{"items":[{"id":"3"}],"total":2,"more":true,"skip":0,"limit":1}`,
		"limit=9&severity=high&status=new":                   `{"items":[{"id":"1"}],"total":1,"more":true,"skip":0,"limit":9,"looked_to":"7_z"}`,
		"after=7_z&limit=8&severity=high&status=new":         `{"items":[{"id":"2"}],"total":1,"skip":0,"limit":8}`,
		"limit=2&severity=high&status=new":                   `{"items":[],"total":0,"more":true,"skip":0,"limit":2,"looked_to":"here"}`,
	}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		answer, known := answers[r.URL.RawQuery]
		if !known {
			t.Errorf("it asks for %s", r.URL.RawQuery)
		}
		fmt.Fprint(w, answer)
	})
	list := func(skip, limit int) (ask.List[federation.Alert], error) {
		return c.Alerts(t.Context(), ask.AlertFilter{Page: ask.Page{Skip: skip, Limit: limit}, Severity: federation.High, Status: federation.New})
	}
	for _, test := range []struct {
		skip, limit, total int
		more               bool
		ids                []string
	}{{5, 3, 9, true, []string{"1", "2", "3"}}, {0, 9, 2, false, []string{"1", "2"}}} {
		page, err := list(test.skip, test.limit)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, a := range page.Items {
			ids = append(ids, a.ID)
		}
		if !slices.Equal(ids, test.ids) || page.Total != test.total || page.More != test.more || page.Skip != test.skip || page.Limit != test.limit || page.LookedTo != "" {
			t.Errorf("from %d on at most %d: %v of %+v", test.skip, test.limit, ids, page)
		}
	}
	if _, err := list(0, 2); err == nil || !strings.Contains(err.Error(), "looked_to") {
		t.Errorf("of a place that is none it says %v", err)
	}
}

func TestAProblemIsTheFaultThatItWas(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   *fault.Error
	}{
		{"with its fields", 422, `{"title":"t","status":422,"detail":"the alert is not valid","code":"invalid","errors":[{"field":"severity","value":"x","allowed":"high"}]}`,
			&fault.Error{Code: fault.Invalid, Message: "the alert is not valid", Fields: []fault.Field{{Name: "severity", Value: "x", Allowed: "high"}}}},
		{"without a detail", 404, `{"title":"There is no such thing","status":404}`, &fault.Error{Code: fault.NotFound, Message: "There is no such thing"}},
		{"with nothing but its status", 409, `{}`, &fault.Error{Code: fault.Conflict, Message: "the site answered 409 Conflict"}},
		{"with the id under which the log has it", 500, `{"detail":"an internal error","code":"internal","request_id":"r7"}`,
			&fault.Error{Code: fault.Internal, Message: "an internal error (request id r7)"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) { problem(w, tc.status, tc.body) })
			_, err := c.Alert(t.Context(), "x")
			var f *fault.Error
			if !errors.As(err, &f) {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(tc.want, f); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnAnswerThatNoSiteGaveIsCalledSo(t *testing.T) {
	for _, h := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "404 page not found", http.StatusNotFound) },
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello</html>") },
	} {
		_, err := serve(t, h).Topology(t.Context())
		if !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "the API of a site") {
			t.Errorf("got %v", err)
		}
	}
}

func TestABusySiteIsAskedAgain(t *testing.T) {
	for _, status := range []int{429, 502, 503, 504} {
		var calls atomic.Int32
		var retries []int
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if body, _ := io.ReadAll(r.Body); len(body) == 0 {
				t.Error("a repeated request has no body")
			}
			if calls.Add(1) < 3 {
				problem(w, status, `{"code":"unavailable","detail":"busy"}`)
				return
			}
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"id":"1"}`)
		}, apiclient.OnRetry(func(r apiclient.Retry) { retries = append(retries, r.Attempt) }))
		a, created, _, err := c.Raise(t.Context(), federation.NewAlert{Title: "t"})
		if err != nil || !created || a.ID != "1" {
			t.Errorf("status %d: %v", status, err)
		}
		if diff := cmp.Diff([]int{1, 2}, retries); diff != "" {
			t.Error(diff)
		}
	}
}

func TestWhatCannotSucceedIsAskedOnce(t *testing.T) {
	for _, status := range []int{400, 404, 409, 413, 415, 422, 500} {
		var calls atomic.Int32
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			problem(w, status, `{"detail":"no"}`)
		})
		if _, err := c.Topology(t.Context()); err == nil || calls.Load() != 1 {
			t.Errorf("status %d: %d calls, %v", status, calls.Load(), err)
		}
	}
}

func TestABrokenConnectionIsTriedAgain(t *testing.T) {
	var calls atomic.Int32
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, `{"site_id":"site-a"}`)
	})
	topology, err := c.Topology(t.Context())
	if err != nil || topology.SiteID != "site-a" {
		t.Errorf("got %+v, %v", topology, err)
	}
}

func TestASiteThatIsNotThereIsNamed(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	c, err := apiclient.New(srv.URL, apiclient.Backoff(time.Millisecond, time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Topology(t.Context())
	want := "reading the topology: no site answers at " + srv.URL + ": connection refused; start one with `auroramesh demo`, or name the address of another with --api-base"
	if !fault.Is(err, fault.Unavailable) || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestASlowSiteIsATimeoutAndTheCallersEndIsItsOwn(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	asked := make(chan struct{}, 10)
	h := func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	if _, err := serve(t, h, apiclient.Timeout(20*time.Millisecond), apiclient.Attempts(1)).Topology(t.Context()); !fault.Is(err, fault.Timeout) {
		t.Errorf("got %v", err)
	}
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := serve(t, h, apiclient.Attempts(0)).Topology(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAnAddressThatIsNoneIsRefused(t *testing.T) {
	for _, base := range []string{"", "localhost:8000", "ftp://x", "http://", "http://x?y=1", "http://x#y", "::"} {
		if _, err := apiclient.New(base); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v", base, err)
		}
	}
	c, err := apiclient.New("https://soc.example.com/mesh/")
	if err != nil || c.Base() != "https://soc.example.com/mesh" {
		t.Errorf("got %v, %v", c.Base(), err)
	}
}

// sse serves the blocks given, one connection after the other, and then keeps the
// last one open. It records the Last-Event-ID of each.
func sse(connections []string, ids chan<- string) http.HandlerFunc {
	var n atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		i := int(n.Add(1)) - 1
		ids <- r.Header.Get("Last-Event-ID")
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprint(w, connections[min(i, len(connections)-1)])
		w.(http.Flusher).Flush()
		if i >= len(connections)-1 {
			<-r.Context().Done()
		}
	}
}

func event(id, title string) string {
	return fmt.Sprintf("id: %s\nevent: alert-stored\ndata: {\"kind\":\"alert-stored\",\ndata: \"alert\":{\"title\":%q}}\n\n", id, title)
}

func TestEventsGoOnWhereTheConnectionBroke(t *testing.T) {
	ids := make(chan string, 10)
	c := serve(t, sse([]string{
		"retry: 1\nid: 4\n\n", // where the stream is, without an event
		": hello\n\n" + event("5", "a") + event("6", "b") + "id: 7\nevent: alert-stored\ndata: {\"ki", // cut within an event
		"", // a gateway that is just coming up
		event("7", "c"),
	}, ids))
	var got []string
	enough := errors.New("enough")
	err := c.Events(t.Context(), "", func(id string, e federation.Event) error {
		got = append(got, id+" "+string(e.Kind)+" "+e.Alert.Title)
		if len(got) == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"5 alert-stored a", "6 alert-stored b", "7 alert-stored c"}, got); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"", "4", "6", "6"} {
		if got := <-ids; got != want {
			t.Errorf("came back with the id %q, want %q", got, want)
		}
	}
}

func TestASilentEventStreamIsOpenedAgain(t *testing.T) {
	var retries atomic.Int32
	ids := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := serve(t, sse([]string{event("1", "a")}, ids), apiclient.Silence(20*time.Millisecond), apiclient.OnRetry(func(r apiclient.Retry) {
		if !fault.Is(r.Err, fault.Timeout) {
			t.Errorf("got %v", r.Err)
		}
		if retries.Add(1) == 2 {
			cancel()
		}
	}))
	if err := c.Events(ctx, "", func(string, federation.Event) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestARefusedEventStreamIsAnError(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		problem(w, 422, `{"code":"invalid","detail":"no such id"}`)
	})
	if err := c.Events(t.Context(), "x", nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	c, err := apiclient.New(gone.URL, apiclient.Backoff(time.Millisecond, time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Events(t.Context(), "", nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
}
