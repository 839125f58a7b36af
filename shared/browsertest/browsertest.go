// Package browsertest opens pages in a real Chromium, headless, in tests. Whatever a
// page does that none may fails its test: an error on the console, an exception, a
// request to another host than that of the page.
//
// Chromium is found on the PATH, as chromium, chromium-browser or google-chrome. Where
// there is none the test is skipped, and the reason says so; with "chromium" in
// AURORAMESH_TEST_REQUIRE it fails instead, so that CI cannot pass by skipping.
package browsertest

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed" // the axe
	"encoding/json"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// EnvRequire names what must not be skipped.
const EnvRequire = "AURORAMESH_TEST_REQUIRE"

// Patience is how long a page may take to come to be as a test expects it: a loaded
// machine with two cores runs a browser and two sites at once.
const Patience = 45 * time.Second

// Browser is one Chromium with a profile of its own.
type Browser struct{ ctx context.Context }

// Start starts Chromium, until the test ends.
func Start(t testing.TB) *Browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if strings.Contains(os.Getenv(EnvRequire), "chromium") {
			t.Fatal("there is no chromium on the PATH")
		}
		t.Skip("SKIPPED, NOT TESTED IN A BROWSER: there is no chromium on the PATH")
	}
	options := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	for _, flag := range []string{"disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync", "no-sandbox", "disable-dev-shm-usage"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	options = append(options, chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(Patience))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() { cancel(); stop() })
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	return &Browser{ctx}
}

// Page is one tab.
type Page struct {
	t    testing.TB
	ctx  context.Context
	host string

	close func()

	mu    sync.Mutex
	wrong []string
	// Expected is a part of an error on the console that the test brings about.
	expected []string
}

// Size is that of a window, in pixels of the page.
type Size struct{ Width, Height int64 }

// The sizes of the screens that the console is made for.
var (
	Phone   = Size{360, 780}
	Desk    = Size{1280, 800}
	Wall    = Size{2560, 1440}
	Schemes = []string{"light", "dark"}
)

// Open opens a page in a tab of its own, until the test ends.
func (b *Browser) Open(t testing.TB, address string, size Size) *Page {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(b.ctx)
	p := &Page{t: t, ctx: ctx, host: u.Host}
	if err := chromedp.Listen(ctx, p.watch); err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	p.close = sync.OnceFunc(func() {
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, w := range p.wrong {
			t.Errorf("the page at %s: %s", address, w)
		}
	})
	t.Cleanup(p.close)
	call(p, network.Enable, network.EnableParams{})
	call(p, runtime.Enable, cdp.Empty{})
	call(p, log.Enable, cdp.Empty{})
	p.Do(chromedp.EmulateViewport(size.Width, size.Height), chromedp.Navigate(address))
	return p
}

// watch notes what no page may do.
func (p *Page) watch(event any) {
	note := ""
	switch e := event.(type) {
	case *log.EventEntryAdded: // also what the content security policy forbids, and what does not load
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			note = "the log says " + e.Entry.Text + " " + e.Entry.URL
		}
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err == nil && u.Host != p.host && u.Scheme != "data" && u.Scheme != "about" {
			note = "it asks another host: " + e.Request.URL
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" {
			note = "the console says"
			for _, a := range e.Args {
				note += " " + a.Description + string(a.Value)
			}
		}
	case *runtime.EventExceptionThrown:
		note = "it throws " + e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			note += " " + x.Description
		}
	}
	if note == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.expected {
		if strings.Contains(note, e) {
			return
		}
	}
	p.wrong = append(p.wrong, note)
}

// Close closes the tab before the test ends, and fails the test for what was wrong
// in it. An open page holds one of the six connections that a browser has for a site.
func (p *Page) Close() { p.t.Helper(); p.close() }

// Expect says that an error with this text is what the test brings about.
func (p *Page) Expect(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = append(p.expected, text)
}

// Do runs actions in the page.
func (p *Page) Do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	for _, a := range actions {
		do(p, a)
	}
}

func do[T any](p *Page, a chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		p.t.Fatalf("in the page: %v", err)
	}
	return v
}

func call[P, R any](p *Page, c cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	v, err := chromedp.Call(ctx, c, params)
	if err != nil {
		p.t.Fatalf("in the page: %v", err)
	}
	return v
}

// Cost is what a page has cost the browser so far.
type Cost struct {
	Main   time.Duration // the time of its main thread, in all
	Heap   float64       // bytes that its scripts hold, once garbage is collected
	Nodes  float64       // of the document, those that are held but not shown among them
	Events float64       // listeners
}

// Cost measures the page, once it has collected its garbage.
func (p *Page) Cost() Cost {
	p.t.Helper()
	call(p, performance.Enable, performance.EnableParams{})
	call(p, heapprofiler.CollectGarbage, cdp.Empty{})
	var c Cost
	for _, m := range call(p, performance.GetMetrics, cdp.Empty{}).Metrics {
		switch m.Name {
		case "TaskDuration":
			c.Main = time.Duration(m.Value * float64(time.Second))
		case "JSHeapUsedSize":
			c.Heap = m.Value
		case "Nodes":
			c.Nodes = m.Value
		case "JSEventListeners":
			c.Events = m.Value
		}
	}
	return c
}

// Eval is what an expression of JavaScript is, a promise awaited.
func Eval[T any](p *Page, expression string) T {
	p.t.Helper()
	return do(p, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Await waits until an expression of JavaScript is true.
func (p *Page) Await(what, expression string) {
	p.t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(p.ctx, Patience)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		cancel()
		if err == nil && ok {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("waited in vain until %s (%v); the page is:\n%s", what, err, p.Text())
		}
	}
}

// Text is what a person reads on the page.
func (p *Page) Text() string { return Eval[string](p, "document.body.innerText") }

// Keys types keys, as of a person who has put the focus nowhere in particular.
func (p *Page) Keys(keys string) { p.t.Helper(); p.Do(chromedp.KeyEvent(keys)) }

// Click clicks the first element that a selector finds. Where a live page puts
// another in its place meanwhile, it clicks that.
func (p *Page) Click(selector string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	for {
		_, err := chromedp.Run(ctx, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
		if err == nil {
			return
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "Could not find node") {
			p.t.Fatalf("clicking %s: %v", selector, err)
		}
	}
}

// Scheme has the page shown in light or dark.
func (p *Page) Scheme(scheme string) {
	p.t.Helper()
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// Screenshot is a picture of the whole page as PNG.
func (p *Page) Screenshot() []byte {
	p.t.Helper()
	return do(p, chromedp.FullScreenshot(100))
}

//go:embed axe/axe.min.js.gz
var axe []byte

// Accessible fails the test where axe-core finds that the page, as it is now, breaks
// a rule of WCAG 2.2 AA.
func (p *Page) Accessible() {
	p.t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(axe))
	if err != nil {
		p.t.Fatal(err)
	}
	source, err := io.ReadAll(r)
	if err != nil {
		p.t.Fatal(err)
	}
	// By the debugger, which the content security policy does not bind.
	p.Do(chromedp.Evaluate[chromedp.Void](string(source)))
	type node struct {
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	}
	found := Eval[string](p, `axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']}).then(r => JSON.stringify(r.violations))`)
	var violations []struct {
		ID    string `json:"id"`
		Help  string `json:"help"`
		Nodes []node `json:"nodes"`
	}
	if err := json.Unmarshal([]byte(found), &violations); err != nil {
		p.t.Fatalf("reading what axe found: %v", err)
	}
	for _, v := range violations {
		for _, n := range v.Nodes[:min(len(v.Nodes), 3)] {
			p.t.Errorf("%s: %s\n%s\n%s", v.ID, v.Help, n.HTML, n.Summary)
		}
	}
}
