package console_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/apiclient"
	"github.com/auroramesh/auroramesh/shared/browsertest"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
)

// envLoad asks for the figures of a console with much in it: just console-load.
const envLoad = "AURORAMESH_CONSOLE_LOAD"

const (
	loadedSites   = 100
	loadedAlerts  = 100_000
	loadedUpdates = 10_000
	steady        = 4 << 20 // bytes that the heap of a tab may grow by
)

func TestTheConsoleWithAHundredSitesAndAHundredThousandAlerts(t *testing.T) {
	if os.Getenv(envLoad) == "" {
		t.Skip("not asked for: " + envLoad + "=1 measures it")
	}
	browser := browsertest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	site := withRows(ctx, t)
	load(t, site)
	t.Run("queue page", func(t *testing.T) { measureQueue(t, browser, site) })
	t.Run("map update", func(t *testing.T) { measureMap(t, browser, site) })
	t.Run("memory over live updates", func(t *testing.T) { measureMemory(t, browser, site) })
}

// withRows starts a site by itself whose peers are rows of its database alone: what is looked
// at is the console.
func withRows(ctx context.Context, t *testing.T) *demo.Site {
	t.Helper()
	d, err := demo.Start(ctx, demo.Options{Sites: 1, DataDir: t.TempDir(), Version: "0.0.1", Log: slog.New(slog.DiscardHandler), Configure: func(_ int, s *settings.Settings) {
		s.Enabled, s.DegradedSeconds, s.DownSeconds, s.HTTPRate = false, 3600, 7200, 0
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := d.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return d.Sites[0]
}

// opened is the database of a site, and what closes it.
func opened(t *testing.T, site *demo.Site) (st *store.Store, closed func()) {
	t.Helper()
	st, err := store.Open(t.Context(), site.Settings.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	return st, func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}

// load fills the database of a site with peers and alerts.
func load(t *testing.T, site *demo.Site) {
	t.Helper()
	st, closed := opened(t, site)
	defer closed()
	now, own := time.Now(), site.ID().ID
	peer := func(i int) federation.SiteID { return federation.SiteID(fmt.Sprintf("peer-%02d", i)) }
	median := 12.3
	for i := range loadedSites - 1 {
		g := federation.Gossip{Version: federation.GossipVersion, SiteID: peer(i), SiteName: fmt.Sprintf("Peer %d", i), Tier: federation.Secondary, SentAt: now, IntervalSeconds: 15, AgentsTotal: 120, AgentsOnline: 118,
			Links: []federation.LinkView{{Peer: own, Status: federation.Healthy, Latency: &federation.Latency{MedianMs: &median, Echoes: 120}, At: now}}}
		if _, err := st.RecordGossips(t.Context(), own, []federation.Gossip{g}, now, site.Settings.Thresholds()); err != nil {
			t.Fatal(err)
		}
	}
	for from := 0; from < loadedAlerts; from += 500 {
		batch := make([]federation.Alert, 500)
		for i := range batch {
			n := from + i
			batch[i] = federation.SharedAlert{
				Version: federation.SharedAlertVersion, OriginSite: peer(n % (loadedSites - 1)), OriginName: "Peer", OriginID: fmt.Sprint(n), RaisedAt: now,
				NewAlert: federation.NewAlert{Title: fmt.Sprintf("Beacon number %d to a known host", n), Severity: federation.Severities()[n%5], Source: "edr", MitreTechniques: []string{"T1071.001"},
					IOCs: federation.IOCInput{Items: []federation.IOC{{Type: federation.IP, Value: fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255)}}}},
			}.Received(fmt.Sprintf("alert-%06d", n), now.Add(time.Duration(n-loadedAlerts)*time.Second))
		}
		if _, err := st.ReceiveAlerts(t.Context(), batch, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func middle(all []float64) float64 { slices.Sort(all); return all[len(all)/2] }

func measureQueue(t *testing.T, browser *browsertest.Browser, site *demo.Site) {
	p := browser.Open(t, site.API+"/alerts", browsertest.Desk)
	const full = `document.querySelectorAll('#rows tr').length === 50`
	p.Await("there is a full page", full)
	var answered, painted, loaded []float64
	for range 15 {
		p.Do(chromedp.Reload())
		p.Await("there is a full page", full+` && performance.getEntriesByName('first-contentful-paint').length > 0 && performance.getEntriesByType('navigation')[0].loadEventEnd > 0`)
		answered = append(answered, browsertest.Eval[float64](p, `performance.getEntriesByType('navigation')[0].responseEnd`))
		painted = append(painted, browsertest.Eval[float64](p, `performance.getEntriesByName('first-contentful-paint')[0].startTime`))
		loaded = append(loaded, browsertest.Eval[float64](p, `performance.getEntriesByType('navigation')[0].loadEventEnd`))
	}
	bytes := browsertest.Eval[float64](p, `[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource').filter(e => e.name.includes('/assets/'))].reduce((n, e) => n + e.transferSize, 0)`)
	t.Logf("the queue of %d alerts: answered after %.0f ms, painted after %.0f ms, loaded after %.0f ms (the median of %d); %.0f KB in all", loadedAlerts, middle(answered), middle(painted), middle(loaded), len(loaded), bytes/1000)
	p.Click(".pager a[rel=next]")
	p.Await("the next page is full too", full+` && location.search.includes('after=') && performance.getEntriesByType('navigation')[0].loadEventEnd > 0`)
	t.Logf("its second page: loaded after %.0f ms", browsertest.Eval[float64](p, `performance.getEntriesByType('navigation')[0].loadEventEnd`))
}

func measureMap(t *testing.T, browser *browsertest.Browser, site *demo.Site) {
	p := browser.Open(t, site.API+"/", browsertest.Desk)
	p.Await("the map has all sites", fmt.Sprintf(`document.querySelectorAll('#map > svg .node').length === %d && document.body.classList.contains('live')`, loadedSites))
	browsertest.Eval[bool](p, `window.long = []; new PerformanceObserver((l) => window.long.push(...l.getEntries().map(e => e.duration))).observe({type: 'longtask'}); true`)
	const asked = `performance.getEntriesByType('resource').filter(e => e.name.includes('part=live')).length`
	before, began := p.Cost(), browsertest.Eval[int](p, asked)
	const updates = 20
	for i := range updates { // the page asks at once when it is looked at again
		browsertest.Eval[bool](p, `document.dispatchEvent(new Event('visibilitychange'))`)
		p.Await("the map was brought up to date", fmt.Sprintf(`%s > %d`, asked, began+i))
	}
	n := browsertest.Eval[int](p, asked) - began
	cost := p.Cost()
	t.Logf("the map of %d sites: %.1f ms of the main thread an update (%d updates, all that the page did meanwhile among it), longest task over 50 ms: %.0f ms of %d",
		loadedSites, (cost.Main-before.Main).Seconds()*1000/float64(n), n, browsertest.Eval[float64](p, `Math.max(0, ...window.long)`), browsertest.Eval[int](p, `window.long.length`))
}

// measureMemory raises alerts while a page of the queue is open, which hears of each.
func measureMemory(t *testing.T, browser *browsertest.Browser, site *demo.Site) {
	p := browser.Open(t, site.API+"/alerts", browsertest.Desk)
	p.Await("the page is live", `document.body.classList.contains('live')`)
	browsertest.Eval[bool](p, `window.heard = 0; document.addEventListener('mesh', () => { window.heard++; }); true`)
	api, err := apiclient.New(site.API)
	if err != nil {
		t.Fatal(err)
	}
	raised := 0
	more := func(n int) {
		t.Helper()
		var wg sync.WaitGroup
		slots := make(chan struct{}, 8)
		for range n {
			i := raised
			raised++
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if _, _, _, err := api.Raise(t.Context(), federation.NewAlert{Title: fmt.Sprintf("Live %d", i), Severity: federation.Low, Source: "edr"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for want := raised; ; { // each is heard of, however long that takes
			if browsertest.Eval[int](p, `window.heard`) >= want {
				break
			}
			p.Await("more is heard of", fmt.Sprintf(`window.heard >= %d`, min(want, browsertest.Eval[int](p, `window.heard`)+1)))
		}
	}
	more(loadedUpdates / 10) // by then all is loaded and warm
	start := p.Cost()
	for range 9 {
		more(loadedUpdates / 10)
		c := p.Cost()
		t.Logf("after %d alerts the tab holds %.2f MB, %.0f nodes and %.0f listeners", raised, c.Heap/1e6, c.Nodes, c.Events)
	}
	end := p.Cost()
	if grown := end.Heap - start.Heap; grown > steady {
		t.Errorf("over %d live updates the heap grew by %.1f MB", loadedUpdates, grown/1e6)
	}
	if end.Events > start.Events+50 || end.Nodes > 2*start.Nodes {
		t.Errorf("what the page holds grew from %+v to %+v", start, end)
	}

	// The live part brought to another, so often by itself: what a page that is open for hours does.
	morphs := func(n int) {
		t.Helper()
		for range n / 500 { // for no longer than the browser is waited for
			browsertest.Eval[bool](p, `(async () => {
				const { morph } = await import('/assets/morph.js');
				const live = document.getElementById('live');
				const page = async (q) => (await fetch('/alerts?part=live' + q)).text();
				const two = [await page(''), await page('&severity=critical')];
				for (let i = 0; i < 500; i++) {
					const next = live.cloneNode(false);
					next.innerHTML = two[i % 2];
					morph(live, next);
					if (i % 100 === 0) await new Promise((r) => setTimeout(r));
				}
				return true;
			})()`)
		}
	}
	morphs(500)
	warm := p.Cost()
	morphs(loadedUpdates)
	cold := p.Cost()
	t.Logf("%d updates of the whole live part: %.2f MB before, %.2f MB after, %.1f ms of the main thread each", loadedUpdates, warm.Heap/1e6, cold.Heap/1e6, (cold.Main-warm.Main).Seconds()*1000/loadedUpdates)
	if cold.Heap-warm.Heap > steady {
		t.Errorf("over %d updates the heap grew from %.1f to %.1f MB", loadedUpdates, warm.Heap/1e6, cold.Heap/1e6)
	}
}
