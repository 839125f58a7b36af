package gateway_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/auroramesh/auroramesh/functions/gateway"
)

func TestTheStyleGuideIsThereWhereItIsAskedForAlone(t *testing.T) {
	g := guard(t)
	if r := g.do(t, "GET", "/styleguide", ""); r.status != 404 || !strings.Contains(string(r.body), "CONSOLE_STYLEGUIDE") {
		t.Errorf("without the setting: %d %s", r.status, r.body)
	}
	g = guard(t, func(c *gateway.Config) { c.StyleGuide = true })
	if r := g.do(t, "GET", "/styleguide", ""); r.status != 200 || !strings.Contains(string(r.body), "in every state") {
		t.Errorf("with it: %d %s", r.status, r.body)
	}
}

func TestAReportOfADrillIsKeptWhereItIsOneAndShown(t *testing.T) {
	s := newWholeSite(t)
	const report = `{"run":"1k3","link":"link-site-a-site-b","running":true,"raised_meanwhile":0,"raised":0,"fault":"cut","rate":1,"fault_at":"2026-03-01T12:00:00Z","healed_at":"2026-03-01T12:00:15Z","timeout_seconds":60,"converged":true,"waiting":false,"converged_seconds":null,"directions":[],"detections":[]}`
	if r := s.do(t, "POST", "/api/v1/federation/drills", report); r.status != 201 {
		t.Errorf("a report: %d %s", r.status, r.body)
	}
	for _, bad := range []string{strings.Replace(report, "1k3", "../x", 1), strings.Replace(report, "12:00:15", "11:00:15", 1), strings.Replace(report, `"link":"link-site-a-site-b",`, "", 1)} {
		if r := s.do(t, "POST", "/api/v1/federation/drills", bad); r.status != 422 {
			t.Errorf("%s: %d %s", bad, r.status, r.body)
		}
	}
	if r := s.do(t, "GET", "/drills/1k3", ""); r.status != 200 || !strings.Contains(string(r.body), "the promise was") {
		t.Errorf("its page: %d %s", r.status, r.body)
	}
	if r := s.do(t, "GET", "/drills/none", ""); r.status != 404 || !strings.Contains(string(r.body), "is not kept here") {
		t.Errorf("a page of none: %d %s", r.status, r.body)
	}
}

func TestAPageIsPackedForWhoTakesThat(t *testing.T) {
	g := guard(t)
	plain := g.do(t, "GET", "/sign-in", "", "Accept-Encoding", "br, gzip;q=0")
	for path, want := range map[string]string{"/sign-in": string(plain.body), "/assets/console.css": string(g.do(t, "GET", "/assets/console.css", "", "Accept-Encoding", "identity").body)} {
		r := g.do(t, "GET", path, "", "Accept-Encoding", "br, gzip;q=0.5")
		z, err := gzip.NewReader(bytes.NewReader(r.body))
		if err != nil || r.header.Get("Content-Encoding") != "gzip" || r.header.Get("Vary") != "Accept-Encoding" || len(r.body) >= len(want) {
			t.Fatalf("%s: %v, %d bytes, %v", path, err, len(r.body), r.header)
		}
		got, err := io.ReadAll(z)
		if err != nil || string(got) != want || !strings.Contains(want, "sign-in") {
			t.Errorf("%s is not the same when it is unpacked: %v", path, err)
		}
	}
	if plain.header.Get("Content-Encoding") != "" {
		t.Error("it is packed for who does not take that")
	}
}
