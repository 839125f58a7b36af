// Package console_test looks at the console of a mesh with the eyes of a browser: two
// sites of the demo with a line between them that can be cut, and a real Chromium.
package console_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/browsertest"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
)

// sites are two sites and a browser, which the tests of this package share: each
// start costs seconds.
type sites struct {
	*demo.Demo
	browser *browsertest.Browser
	a, b    *apiclient.Client
}

func start(t *testing.T) *sites {
	t.Helper()
	s := &sites{browser: browsertest.Start(t)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var err error
	s.Demo, err = demo.Start(ctx, demo.Options{Sites: 2, DataDir: t.TempDir(), Version: "0.0.1", Lines: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	for i, c := range []**apiclient.Client{&s.a, &s.b} {
		if *c, err = apiclient.New(s.Sites[i].API); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func raise(t *testing.T, at *apiclient.Client, title string, severity federation.Severity, iocs ...federation.IOC) federation.Alert {
	t.Helper()
	a, _, _, err := at.Raise(t.Context(), federation.NewAlert{
		Title: title, Severity: severity, Source: "suricata", IOCs: federation.IOCInput{Items: iocs}, MitreTechniques: []string{"T1071.001"}, AffectedAssets: []string{"ws-017"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTheConsoleShowsTheMeshAndTheQueueAsTheyAre(t *testing.T) {
	s := start(t)
	t.Run("the map shows two sites and a healthy link, its cut with the cause, and its healing", s.mapFollowsALink)
	t.Run("an alert that is raised at a peer is in the queue by itself, with its badge", s.queueIsLive)
	t.Run("every part of it, in every state, is accessible in light and dark and on a phone", s.styleGuideIsAccessible)
	t.Run("filters, pages, keys and a change of several work", s.queueIsWorkedIn)
	t.Run("what several sites saw is one line", s.campaignIsOneLine)
	t.Run("a filtered queue is an address", s.filtersAreInTheAddress)
	t.Run("dead letters are retried and dropped", s.deadLettersAreLookedAfter)
	t.Run("a page whose site is gone says so, and comes back", s.aPageSaysThatItIsOld)
	t.Run("a link and a site have their pages", s.pagesOfALinkAndASite)
}

func (s *sites) mapFollowsALink(t *testing.T) {
	p := s.browser.Open(t, s.Sites[0].API+"/", browsertest.Desk)
	p.Await("there are two sites and a healthy link", `document.querySelectorAll('#map > svg .node').length === 2 && document.querySelector('#map .edge.healthy')`)
	p.Await("the page is live", `document.body.classList.contains('live')`)
	p.Accessible()
	places := `JSON.stringify([...document.querySelectorAll('#map > svg rect.card')].map(r => r.getBoundingClientRect()))`
	before := browsertest.Eval[string](p, places)
	const link = "link-site-a-site-b"
	if _, err := s.Lines.Set(t.Context(), link, linkproxy.Order{Mode: linkproxy.WordCut}); err != nil {
		t.Fatal(err)
	}
	p.Await("the edge is down and says why", `document.querySelector('#map .edge.down .figures')?.textContent.includes('the line is cut')`)
	if after := browsertest.Eval[string](p, places); after != before {
		t.Errorf("the sites moved from %s to %s", before, after)
	}
	if _, err := s.Lines.Set(t.Context(), link, linkproxy.Order{Mode: linkproxy.WordPass}); err != nil {
		t.Fatal(err)
	}
	p.Await("the edge is healthy again", `document.querySelector('#map .edge.healthy')`)
}

func (s *sites) styleGuideIsAccessible(t *testing.T) {
	for _, size := range []browsertest.Size{browsertest.Desk, browsertest.Phone} {
		p := s.browser.Open(t, s.Sites[0].API+"/styleguide", size)
		p.Await("the style guide is there", `document.querySelectorAll('.guide .part').length > 40`)
		for _, scheme := range browsertest.Schemes {
			p.Scheme(scheme)
			p.Accessible()
		}
		if wide := browsertest.Eval[int](p, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
			t.Errorf("at %d the page is %d pixels too wide", size.Width, wide)
		}
		p.Close()
	}
}

func (s *sites) queueIsLive(t *testing.T) {
	p := s.browser.Open(t, s.Sites[0].API+"/alerts", browsertest.Desk)
	p.Await("the queue says what to do first", `document.querySelector('.empty')?.textContent.includes('auroramesh simulate')`)
	p.Await("the page is live", `document.body.classList.contains('live')`)
	browsertest.Eval[bool](p, `window.same = true`)
	raise(t, s.b, "Beacon at the peer", federation.Critical)
	p.Await("the alert is there with its badge", `document.querySelector('#rows .origin')?.textContent.includes('site-b')`)
	columns := `JSON.stringify([...document.querySelectorAll('#queue th, #filters, .pager')].map(e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width] }))`
	before := browsertest.Eval[string](p, columns)
	raise(t, s.b, "Another one with a title that is a good deal longer than the first one was", federation.High)
	p.Await("the second is there too", `document.querySelectorAll('#rows tr').length === 2`)
	if after := browsertest.Eval[string](p, columns); after != before {
		t.Errorf("the page moved from %s to %s", before, after)
	}
	// What is looked at does not move away.
	p.Keys("j")
	raise(t, s.a, "At home", federation.Low)
	p.Await("the third waits", `document.querySelector('#fresh')?.textContent === '1 new alert' && document.querySelectorAll('#rows tr').length === 2`)
	p.Keys(".")
	p.Await("it is shown when it is asked for", `document.querySelectorAll('#rows tr').length === 3`)
	if !browsertest.Eval[bool](p, `window.same === true`) {
		t.Error("the page was loaded again")
	}
	p.Accessible()
}

func (s *sites) queueIsWorkedIn(t *testing.T) {
	for i := range 60 {
		raise(t, s.a, fmt.Sprintf("Numbered %02d", i), federation.Medium, federation.IOC{Type: federation.IP, Value: fmt.Sprintf("203.0.113.%d", i+1)})
	}
	p := s.browser.Open(t, s.Sites[0].API+"/alerts?severity=medium", browsertest.Desk)
	first := `document.querySelector('#rows .title a')?.textContent`
	p.Await("there is a full page of what the filter asks for", `document.querySelectorAll('#rows tr').length === 50 && `+first+` === 'Numbered 59'`)
	if size := browsertest.Eval[float64](p, `[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource').filter(e => e.name.includes('/assets/'))].reduce((n, e) => n + e.transferSize, 0)`); size < 1000 || size > 100_000 {
		t.Errorf("a full page, its scripts and its styles take %.0f bytes over the wire", size)
	}
	p.Click(".pager a[rel=next]")
	p.Await("the next page goes on where the first ended", first+` === 'Numbered 09' && document.querySelectorAll('#rows tr').length === 10 && location.search.includes('severity=medium')`)
	p.Click(".pager a[rel=prev]")
	p.Await("the way back leads to the same page", first+` === 'Numbered 59'`)

	p.Await("the page is live", `document.body.classList.contains('live')`)
	p.Keys("/")
	browsertest.Eval[bool](p, `document.activeElement.select() ?? true`) // a debugger's key types its letter where the focus went
	p.Keys("203.0.113.42\r")
	p.Await("the search finds an IOC", `document.querySelectorAll('#rows tr').length === 1 && `+first+` === 'Numbered 41' && location.search.includes('q=203.0.113.42')`)
	p.Await("the page is live", `document.body.classList.contains('live')`)
	p.Keys("j")
	p.Keys("t")
	p.Await("the alert is triaged", `document.querySelector('#rows .triage')?.textContent === 'triaged'`)

	p = s.browser.Open(t, s.Sites[0].API+"/alerts?q=Numbered", browsertest.Desk)
	p.Await("the page is live", `document.body.classList.contains('live')`)
	for range 3 {
		p.Keys("j")
		p.Keys("x")
	}
	p.Await("three are chosen", `document.querySelector('#chosen')?.textContent === '3 alerts chosen'`)
	p.Accessible()
	p.Click("#bulkbar button[value=resolved]")
	p.Await("what came of it is told", `document.querySelector('#outcome')?.textContent.includes('3 of 3 alerts are resolved')`)
	p.Await("the rows say so", `document.querySelectorAll('#rows .triage.resolved').length === 3`)
	p.Keys("?")
	p.Await("the keys are shown", `document.querySelector('dialog[open]')`)
}
