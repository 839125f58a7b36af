package e2e_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// written is a log that is read while it is written.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func TestTheLogSaysWhoDidWhatForWhichRequestAndNothingOfAnAlertOrAKey(t *testing.T) {
	t.Parallel()
	log := &written{}
	m := start(t, demo.Options{Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	const secret = "zanzibar"
	n := alert(secret+" title", federation.Critical)
	n.Description, n.RawLog, n.AffectedAssets = secret+" description", secret+" raw", []string{secret + "-host"}
	n.IOCs.Items = []federation.IOC{{Type: federation.Domain, Value: secret + ".example"}}
	a := m.raise(t, 1, n)
	m.arrives(t, 0, secret+" title")
	for _, body := range []string{ // refused at the door, with its value in the answer
		`{"title":"t","severity":"` + secret + `","source":"s"}`, `{"` + secret + `":1}`, secret,
	} {
		resp, err := http.Post(m.Sites[1].API+"/api/v1/alerts", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode < 400 || resp.StatusCode > 499 {
			t.Errorf("%s: status %d", body, resp.StatusCode)
		}
	}
	// A bad alert becomes a dead letter, a bad gossip is dropped; both are told of.
	bad, err := json.Marshal(federation.Share(a, m.Sites[1].ID()))
	if err != nil {
		t.Fatal(err)
	}
	payload := altered(t, string(bad), `"severity":"critical"`, `"severity":"`+secret+`"`)
	if _, err := m.speaker(t, 1).Store(t.Context(), []function.Message{{Subject: subject.Alert(federation.Critical), ID: "bad", Payload: []byte(payload)}}); err != nil {
		t.Fatal(err)
	}
	gossip := function.Said(m.key(t, 1), "site-b", subject.Health("site-b"), []byte(`{"version":1,"site_id":"site-b","site_name":"`+secret+`","tier":"`+secret+`"}`))
	if err := natstest.Bus(t, m.Sites[1].Server(), "site-b", "sender").Conn().PublishMsg(gossip); err != nil {
		t.Fatal(err)
	}
	for _, told := range []string{`"msg":"a message was given up and put among the dead letters"`, `"msg":"a message was refused"`} {
		natstest.Eventually(t, "the log has "+told, func() bool { return strings.Contains(log.String(), told) })
	}

	seed, err := os.ReadFile(filepath.Join(m.Sites[1].Settings.IdentityDir, identity.File))
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder // at the level that is the default
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, `"level":"DEBUG"`) {
			told.WriteString(line)
		}
	}
	text := told.String()
	for what, word := range map[string]string{"an alert": secret, "the key of the site": strings.TrimSpace(string(seed))} {
		if i := strings.Index(text, word); i >= 0 {
			t.Errorf("the log tells of %s: %s", what, text[max(0, i-300):min(len(text), i+100)])
		}
	}
	requests := 0
	for line := range strings.Lines(log.String()) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Errorf("no line of JSON: %s", line)
			continue
		}
		if l["site"] == nil {
			t.Errorf("no site: %s", line)
		}
		if l["msg"] == "request" {
			requests++
			if l["request_id"] == nil || l["function"] != "gateway" || strings.Count(line, `"request_id"`) != 1 {
				t.Errorf("no request: %s", line)
			}
		}
	}
	if requests < 4 {
		t.Errorf("%d requests are told of", requests)
	}
}
