package console_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/browsertest"
	"github.com/auroramesh/auroramesh/shared/drillreport"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/identity"
	"github.com/auroramesh/auroramesh/shared/linkproxy"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// pulsed notes whether anything on the map ever pulsed: the pulse itself is short.
const pulsed = `window.pulsed = 0; new MutationObserver(() => { window.pulsed += document.querySelectorAll('#map .pulse').length; }).observe(document.getElementById('live'), {subtree: true, attributes: true, childList: true}); true`

func (s *sites) campaignIsOneLine(t *testing.T) {
	home := s.browser.Open(t, s.Sites[0].API+"/", browsertest.Desk)
	home.Await("the map is live", `document.body.classList.contains('live')`)
	browsertest.Eval[bool](home, pulsed)
	ioc := federation.IOC{Type: federation.Domain, Value: "c2.example.net"}
	raise(t, s.a, "Lookup of a known domain", federation.Medium, ioc)
	raise(t, s.b, "Beacon to a known domain", federation.Critical, ioc)
	home.Await("an alert was seen to cross", `window.pulsed > 0`)
	home.Close()

	p := s.browser.Open(t, s.Sites[0].API+"/alerts", browsertest.Desk)
	p.Await("both alerts are one campaign with its sites", `[...document.querySelectorAll('#campaigns li')].some(l => l.textContent.includes('c2.example.net') && l.textContent.includes('2 sites') && [...l.querySelectorAll('.origin')].map(o => o.textContent).join() === 'site-a,site-b')`)
	p.Accessible()
	p.Click("#campaigns li a")
	p.Await("it leads to its alerts", `location.search === '?q=c2.example.net' && document.querySelectorAll('#rows tr').length === 2`)
}

func (s *sites) filtersAreInTheAddress(t *testing.T) {
	raise(t, s.a, "To be looked for", federation.Low)
	p := s.browser.Open(t, s.Sites[0].API+"/alerts", browsertest.Desk)
	p.Await("the page is live", `document.body.classList.contains('live')`)
	choose := func(name, value string) {
		t.Helper()
		browsertest.Eval[bool](p, `(f => { f.value = '`+value+`'; f.dispatchEvent(new Event('change', {bubbles: true})); return true })(document.querySelector('#filters [name=`+name+`]'))`)
		p.Await("the address has "+name, `new URLSearchParams(location.search).get('`+name+`') === '`+value+`' && document.readyState === 'complete'`)
	}
	choose("origin", ask.OriginLocal)
	choose("severity", "low")
	choose("within", "24h")
	only := `document.querySelectorAll('#rows tr').length > 0 && [...document.querySelectorAll('#rows tr')].every(r => r.classList.contains('low') && !r.querySelector('.origin'))`
	p.Await("what is shown is as the filters say", only+` && document.querySelector('#filters .count').textContent === '3' && ![...new URLSearchParams(location.search)].some(([, v]) => v === '')`)
	p.Do(chromedp.Reload())
	p.Await("so it is after loading the page again", only+` && document.querySelector('#filters [name=severity]').value === 'low'`)
	p.Do(chromedp.NavigateBack())
	p.Await("the way back takes the last filter off", `!new URLSearchParams(location.search).has('within') && document.querySelector('#filters [name=severity]')?.value === 'low'`)
	p.Await("the page is live", `document.body.classList.contains('live')`)
	p.Keys("j")
	p.Keys("\r")
	p.Await("Enter opens the alert", `location.pathname.startsWith('/alerts/') && document.querySelector('h1')?.textContent === 'To be looked for'`)
	p.Await("the page is live", `document.body.classList.contains('live')`)
	p.Accessible()
	p.Click("button[value=escalated]")
	p.Await("its status can be changed there", `location.pathname.startsWith('/alerts/') && document.querySelector('.states .triage')?.textContent === 'escalated'`)

	p.Expect("422") // the browser notes what is refused
	p.Do(chromedp.Navigate(s.Sites[0].API + "/alerts?within=5m"))
	p.Await("a filter that cannot be is refused with what can", `document.querySelector('.problem')?.textContent.length > 0`)
	p.Do(chromedp.Navigate(s.Sites[0].API + "/alerts?q=no+such+thing"))
	p.Await("nothing found is said to be so", `document.querySelector('.empty')?.textContent.includes('No alert is like this')`)
}

// bury puts a message into the dead letters of site-a that alertsink could handle, or
// could not.
func (s *sites) bury(t *testing.T, title string, good bool) {
	t.Helper()
	key, err := identity.Open(s.Sites[1].Settings.IdentityDir)
	if err != nil {
		t.Fatal(err)
	}
	origin := s.Sites[1].ID()
	shared := federation.Share(federation.NewAlert{Title: title, Severity: federation.Critical, Source: "edr"}.Alert("01-"+title, time.Now()), origin)
	if !good {
		shared.OriginSite = "site-c"
	}
	data, err := json.Marshal(shared)
	if err != nil {
		t.Fatal(err)
	}
	subj := subject.Alert(federation.Critical)
	m := function.Said(key, "site-b", subj, data)
	m.Subject = subject.DeadLetter("site-a", "alertsink")
	for name, value := range map[string]string{
		function.HeaderReason: "the database was away for " + title, function.HeaderCode: string(fault.Internal), function.HeaderTrigger: "alerts",
		function.HeaderSource: "site-b/ALERTS_site-b/site-a_critical", function.HeaderSubject: subj,
	} {
		m.Header.Set(name, value)
	}
	if _, err := natstest.Bus(t, s.Sites[0].Server(), "site-a", "writer").JetStream().PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func (s *sites) deadLettersAreLookedAfter(t *testing.T) {
	s.bury(t, "curable", true)
	s.bury(t, "hopeless", false)
	p := s.browser.Open(t, s.Sites[0].API+"/deliveries", browsertest.Desk)
	row := func(title string) string {
		return `[...document.querySelectorAll('tr[id^=letter-]')].find(r => r.textContent.includes('` + title + `'))`
	}
	p.Await("both are there with the reason", row("curable")+` && `+row("hopeless"))
	p.Await("the sites have compared", `document.querySelector('.proven')?.textContent === 'lost 0 · duplicated 0'`)
	p.Accessible()
	press := func(title, button string) {
		t.Helper()
		browsertest.Eval[bool](p, row(title)+`.querySelector('button[value=`+button+`]').click() ?? true`)
	}
	back := func() {
		t.Helper()
		p.Click("main a.button")
		p.Await("the way back leads to the deliveries", `location.pathname === '/deliveries' && document.body.classList.contains('live')`)
	}
	press("curable", "retry")
	p.Await("the one is handled", `document.querySelector('.outcome:not(.partly)')?.textContent.includes('is handled')`)
	back()
	p.Await("and is a dead letter no more", `!(`+row("curable")+`)`)
	press("hopeless", "retry")
	p.Await("the other is not, and says why", `document.querySelector('.outcome.partly')?.textContent.includes('whose origin is site-c')`)
	p.Accessible()
	back()
	browsertest.Eval[bool](p, `window.confirm = (q) => { window.asked = q; return false } , true`)
	press("hopeless", "drop")
	p.Await("dropping is asked for once more, and not done without a yes", `window.asked?.includes('for good') && location.pathname === '/deliveries' && `+row("hopeless"))
	browsertest.Eval[bool](p, `window.confirm = () => true , true`)
	press("hopeless", "drop")
	p.Await("it is dropped", `document.querySelector('.outcome:not(.partly)')?.textContent.includes('is dropped')`)
	back()
	p.Await("and gone", `!(`+row("hopeless")+`)`)
	p.Do(chromedp.Navigate(s.Sites[0].API + "/alerts?q=curable"))
	p.Await("what was handled is in the queue", `document.querySelector('#rows .title a')?.textContent === 'curable'`)
}

func (s *sites) pagesOfALinkAndASite(t *testing.T) {
	p := s.browser.Open(t, s.Sites[0].API+"/", browsertest.Desk)
	p.Await("the map is live", `document.body.classList.contains('live')`)
	browsertest.Eval[bool](p, `document.querySelector('#map > svg a.edge').focus() ?? true`)
	p.Keys("\r")
	p.Await("Enter on a link opens its page, which tells of the cut", `location.pathname === '/links/link-site-a-site-b' && document.querySelector('.timeline')?.textContent.includes('the line is cut')`)
	p.Await("it has the latency, and the deliveries of both directions", `document.querySelector('svg.chart') && document.querySelectorAll('table.cards tbody tr').length >= 4`)
	p.Accessible()
	p.Click(`.tabs a[href="?hours=168"]`)
	p.Await("the week is another view of it", `location.search === '?hours=168' && document.querySelector('.tabs [aria-current]').textContent === 'Week'`)
	p.Do(chromedp.Navigate(s.Sites[0].API + "/sites/site-b"))
	p.Await("a site has its functions, with what their services count", `[...document.querySelectorAll('tbody th')].some(h => h.textContent === 'alertsink')`)
	p.Accessible()
	p.Do(chromedp.Navigate(s.Sites[0].API + "/matrix"))
	p.Await("the matrix has both directions", `document.querySelectorAll('.matrix td.healthy').length === 2`)
	p.Accessible()
	now := time.Now().UTC()
	if err := s.a.KeepDrill(t.Context(), drillreport.Report{Run: "1k3", Link: "link-site-a-site-b", Fault: "cut", Raised: 9, FaultAt: now.Add(-time.Minute), HealedAt: now, Converged: true,
		Directions: []drillreport.Direction{{From: "site-a", To: "site-b", Accepted: 9, Stored: 9}}, Detections: []drillreport.Detection{}}); err != nil {
		t.Fatal(err)
	}
	p.Do(chromedp.Navigate(s.Sites[0].API + "/deliveries"))
	p.Await("the deliveries have the last drill", `document.querySelector('.drills .proven')`)
	p.Click(".drills a")
	p.Await("its report says that the promise was kept", `location.pathname === '/drills/1k3' && document.querySelector('.verdict .proven')?.textContent.includes('the promise was kept')`)
	p.Accessible()
	p.Expect("404")
	p.Do(chromedp.Navigate(s.Sites[0].API + "/sites/site-z"))
	p.Await("a site that nobody knows is said to be so", `document.querySelector('.problem')?.textContent.includes('site-z')`)
}

// aPageSaysThatItIsOld reaches the site over a line of its own, which is cut and healed.
func (s *sites) aPageSaysThatItIsOld(t *testing.T) {
	line := natstest.Line(t, strings.TrimPrefix(s.Sites[0].API, "http://"))
	for _, path := range []string{"/", "/alerts"} {
		p := s.browser.Open(t, "http://"+line.Addr()+path, browsertest.Desk)
		p.Await("the page is live", `document.body.classList.contains('live') && document.querySelector('#banner').hidden`)
		browsertest.Eval[bool](p, `window.same = true`)
		p.Expect("ERR_") // the browser notes that it reaches nothing
		line.Set(linkproxy.Cut)
		p.Await("it says since when, and what was green is so no more", `document.body.classList.contains('stale') && !document.querySelector('#banner').hidden && document.querySelector('#banner').textContent.includes('This site cannot be reached. What you see is as it was at') && getComputedStyle(document.getElementById('live')).filter.includes('grayscale') && document.querySelector('#live-state .word').textContent === 'not live'`)
		p.Accessible()
		line.Set(linkproxy.Pass)
		p.Await("it is live again by itself", `document.body.classList.contains('live') && document.querySelector('#banner').hidden && window.same === true`)
		p.Close()
	}
}
