package console_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/browsertest"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/scenario"
)

// envScreenshots names the folder for the pictures of every page: just screenshots.
const envScreenshots = "AURORAMESH_SCREENSHOTS"

func TestScreenshotsOfEveryPage(t *testing.T) {
	dir := os.Getenv(envScreenshots)
	if dir == "" {
		t.Skip("no pictures are made: " + envScreenshots + " names no folder for them")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := start(t)
	for i, name := range []string{"c2-beacon", "ransomware", "phishing"} {
		story(t, s.b, name, uint64(i))
	}
	story(t, s.a, "lateral-movement", 7)
	for i, c := range []*apiclient.Client{s.a, s.b} {
		if _, err := c.SetAgents(t.Context(), federation.Agents{Total: 120 + i*40, Online: 118 + i*37}); err != nil {
			t.Fatal(err)
		}
	}
	mine, err := s.a.Alerts(t.Context(), ask.AlertFilter{Severity: federation.High})
	if err != nil || len(mine.Items) == 0 {
		t.Fatalf("no alert to look at: %v", err)
	}
	for _, size := range []browsertest.Size{browsertest.Phone, browsertest.Desk, browsertest.Wall} {
		for name, path := range map[string]string{
			"map": "/", "matrix": "/matrix", "queue": "/alerts", "alert": "/alerts/" + mine.Items[len(mine.Items)-1].ID,
			"link": "/links/link-site-a-site-b?hours=1", "site": "/sites/site-b", "deliveries": "/deliveries", "styleguide": "/styleguide",
		} {
			p := s.browser.Open(t, s.Sites[0].API+path, size)
			if name != "styleguide" {
				p.Await("the page is live", `document.body.classList.contains('live')`)
			}
			for _, scheme := range browsertest.Schemes {
				p.Scheme(scheme)
				p.Accessible()
				file := filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, size.Width, scheme))
				if err := os.WriteFile(file, p.Screenshot(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			p.Close()
		}
	}
}

// story raises a whole attack.
func story(t *testing.T, at *apiclient.Client, name string, seed uint64) {
	t.Helper()
	run, err := scenario.New(name, seed)
	if err != nil {
		t.Fatal(err)
	}
	for i := range run.Len() {
		if _, _, _, err := at.Raise(t.Context(), run.Alert(i)); err != nil {
			t.Fatal(err)
		}
	}
}
