package console

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/drillreport"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/meshmap"
)

// The style guide shows every part of the console in every state, by the templates of
// the pages themselves. Whatever it shows is made up here.

type guidePage struct{ Sections []guideSection }

type guideSection struct {
	Name  string
	Small bool // many of its parts fit into a line
	Parts []guidePart
}

// guidePart is one state of a part. Class is what the body of a page has in that state.
type guidePart struct {
	Name, Class string
	HTML        template.HTML
}

func (k *Console) showStyleGuide(w http.ResponseWriter, r *http.Request) {
	if !k.StyleGuide {
		k.fail(w, r, "styleguide", "Style guide", fault.New(fault.NotFound, "this site has no style guide: the demo has, and one with CONSOLE_STYLEGUIDE=true"))
		return
	}
	v := k.view(r, "styleguide", "Style guide", k.guide())
	v.Live = false
	k.show(w, r, http.StatusOK, "styleguide", v)
}

// guided is the moment of the style guide, so that it looks the same each time.
var guided = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func (k *Console) guide() guidePage {
	part := func(name, page, template string, data any) guidePart {
		return guidePart{Name: name, HTML: k.part(page, template, data, true)}
	}
	reading := func(name, page, template string, data any) guidePart {
		return guidePart{Name: name, HTML: k.part(page, template, data, false)}
	}
	each := func(page, template string, values ...any) (all []guidePart) {
		for _, v := range values {
			all = append(all, part(fmt.Sprint(v), page, template, v))
		}
		return all
	}
	alerts := guideAlerts()
	queue := queuePage{Rows: alerts, First: ask.PlaceOf(alerts[0]).String(), Base: k.Base, Where: "The newest alerts", OlderHref: "/alerts"}
	empty := queuePage{Base: k.Base, Where: "The newest alerts"}
	filtered := empty
	filtered.Filtered = 2
	looking, sofar := filtered, queue
	looking.LookedTo, looking.LookOn, looking.OlderHref = &alerts[0].CreatedAt, true, "/alerts"
	sofar.LookedTo, sofar.Text = &alerts[0].CreatedAt, "beacon"
	failed := func(f *fault.Error) trouble {
		return trouble{Heading: f.Code.Title(), Text: f.Message + "."}
	}
	return guidePage{[]guideSection{
		{"Words", true, append(append(each("queue", "severity", severities()...), each("queue", "status", statuses()...)...),
			each("map", "link-status", federation.Healthy, federation.LinkDegraded, federation.Down, meshmap.Unknown, federation.Online, federation.SiteDegraded, federation.Offline)...)},
		{"Origin", false, []guidePart{part("of an alert of a peer", "queue", "origin", *alerts[1].Origin)}},
		{"Map", false, []guidePart{
			part("links by status and cause", "map", "live", mapOf(guideMesh(8))),
			part("two sites", "map", "live", mapOf(guideMesh(2))),
			part("one site alone", "map", "live", mapOf(guideMesh(1))),
			part("a hundred sites", "map", "live", mapOf(guideMesh(100))),
		}},
		{"Matrix", false, []guidePart{part("eight sites", "matrix", "live", mapPage{Summary: summary(guideMesh(8)), Own: "site-00", Matrix: meshmap.NewMatrix(guideMesh(8))})}},
		{"Queue", false, []guidePart{
			part("filters", "queue", "filters", queuePage{Filtered: 1, Severities: severityChoices(federation.High), Statuses: statusChoices(""), Origins: []choice{{ask.OriginLocal, "Raised here", false}}, Times: withinChoices("")}),
			part("every severity and status", "queue", "live", queue),
			reading("for who may only read", "queue", "live", queue),
			part("nothing chosen by the filters", "queue", "live", filtered),
			part("nothing found so far", "queue", "live", looking),
			part("a few found so far", "queue", "live", sofar),
			part("empty", "queue", "live", empty),
			{"several chosen", "", k.part("queue", "bulkbar", queuePage{Actions: actions("")}, true)},
			part("keys", "queue", "keys", queuePage{}),
			{"campaigns", "campaigns", k.part("campaigns", "live", ask.CampaignList{Items: guideCampaigns()}, true)},
			part("loading", "queue", "looking", "Looking for what several sites saw …"),
			part("no campaign", "campaigns", "live", ask.CampaignList{}),
			{"campaigns among very many alerts", "campaigns", k.part("campaigns", "live", ask.CampaignList{Items: guideCampaigns(), Since: alerts[0].CreatedAt}, true)},
		}},
		{"Outcome", false, []guidePart{
			part("all changed", "outcome", "live", outcomePage{Text: "3 of 3 alerts are resolved.", Back: "/alerts"}),
			part("some not", "outcome", "live", outcomePage{Text: "2 of 3 alerts are resolved.", Back: "/alerts", Failed: []ask.AlertUpdated{{ID: alerts[0].ID, Problem: "the alert was taken back by its origin"}}}),
		}},
		{"Alert", false, []guidePart{
			part("raised here", "alert", "live", guideAlert(alerts[0])),
			part("of a peer, and taken back", "alert", "live", alertPage{Alert: alerts[1], Actions: actions(alerts[1].Status)}),
			reading("parts that do not answer, for who may only read", "alert", "live", alertPage{Alert: alerts[0], DeliveriesFailed: "The ledger does not answer.", PreviewFailed: "Sharing does not answer."}),
		}},
		{"Link", false, []guidePart{
			part("with a history", "link", "live", guideLink()),
			part("with none", "link", "live", linkPage{Status: federation.Healthy, Ways: []way{{"site-00", meshmap.Half{Status: federation.Healthy}}}, NoChart: "No round trip has been measured in this time.", Healthy: "1 s", Degraded: "0 s", Down: "0 s", Failed: "The ledger does not answer."}),
		}},
		{"Site", false, []guidePart{
			part("with its functions", "site", "live", sitePage{Site: guideMesh(2).Sites[1], Link: "link-site-00-site-01", Origin: "site:site-01", Waited: statsLongest, Functions: []functionLine{{Name: "alertsink", Version: "1.2.0", Replicas: 2, Mean: "–"}, {Name: "topologyquery", Version: "1.2.0", Replicas: 4, Requests: 1204, Errors: 1, Mean: "2.1 ms"}}}),
			part("that does not answer", "site", "live", sitePage{Site: guideMesh(8).Sites[3], Origin: "site:site-03", Waited: statsLongest}),
		}},
		{"Deliveries", false, []guidePart{
			part("with dead letters", "deliveries", "live", guideDeliveries()),
			reading("for who may only read", "deliveries", "live", deliveriesPage{Deliveries: guideDeliveries().Deliveries, ShowLetters: true, LettersFailed: "The dead letters do not answer."}),
			part("a drill that found all", "drill", "live", drillOf(guideDrill(0))),
			part("a drill that missed some", "drill", "live", drillOf(guideDrill(3))),
			part("with nobody to deliver to", "deliveries", "live", deliveriesPage{ShowLetters: true}),
		}},
		{"Whether it can be believed", false, []guidePart{
			{"live", "live", k.part("styleguide", "state", "live", true)},
			{"reconnecting", "", k.part("styleguide", "state", "reconnecting", true)},
			{"not live", "stale", k.part("styleguide", "state", "not live", true)},
			{"a page that is old", "stale", k.part("queue", "live", queue, true)},
			{"the banner", "", k.part("styleguide", "stale", "This site cannot be reached.", true)},
			{"what waits above the queue", "", k.part("styleguide", "fresh", "3 new alerts", true)},
		}},
		{"Trouble", false, []guidePart{
			part("an internal error", "problem", "live", trouble{Heading: fault.Internal.Title(), Text: "Something in the site went wrong.", ID: "0199aa55-0000-7000-8000-000000000001"}),
			part("a part of the site is away", "problem", "live", trouble{Heading: fault.Unavailable.Title(), Text: "No topologyquery answers.", Do: "auroramesh run   # and see what is wrong: curl " + k.Base + "/health"}),
			part("not found", "problem", "live", failed(fault.New(fault.NotFound, "there is no alert %q", "0199"))),
			part("not valid", "problem", "live", failed(fault.New(fault.Invalid, "the filter is not valid"))),
			part("no permission", "problem", "live", forbidden(access.SitesRead)),
		}},
		{"Sign-in", false, []guidePart{
			part("with a key", "sign-in", "live", SignIn{Next: "/"}),
			part("with a key that is not taken", "sign-in", "live", SignIn{Next: "/", Failed: "The key is not taken: the key is not one of this site."}),
			part("at an issuer", "sign-in", "live", SignIn{Next: "/", Issuer: "/sign-in"}),
		}},
	}}
}

// part is a template of a page with what it shows, for who may write or only read.
func (k *Console) part(page, name string, data any, mayWrite bool) template.HTML {
	v := data
	switch name {
	case "live", "filters", "bulkbar", "keys": // those are given the whole view
		v = view{Page: page, Site: k.Site, Known: true, MayWrite: mayWrite, Data: data}
	}
	var out bytes.Buffer
	if err := k.pages[page].ExecuteTemplate(&out, name, v); err != nil {
		panic(fmt.Errorf("rendering %s of %s: %w", name, page, err)) // a mistake in a template
	}
	return template.HTML(out.String()) //nolint:gosec // a template has escaped what it shows
}

func severities() (all []any) {
	for _, s := range federation.Severities() {
		all = append(all, s)
	}
	return all
}

func statuses() (all []any) {
	for _, s := range federation.AlertStatuses() {
		all = append(all, s)
	}
	return all
}

func guideAlerts() []federation.Alert {
	var all []federation.Alert
	titles := []string{"Command and control beacon over HTTPS", "Mass encryption of files on a server with a title that does not fit into one line of the queue of anybody", "Sign-in from a new country", "Lookups of a domain first seen today", "Agent updated", "Port scan"}
	for i, status := range federation.AlertStatuses() {
		n := federation.NewAlert{
			Title: titles[i], Severity: federation.Severities()[i%5], Source: "suricata", Description: "Regular connections to a host that others have reported.",
			AffectedAssets: []string{"ws-017", "10.1.2.3"}[:1+i%2], MitreTechniques: []string{"T1071.001", "T1105"}[:1+i%2],
			IOCs:   federation.IOCInput{Items: []federation.IOC{{Type: federation.Domain, Value: "update.example.net"}, {Type: federation.SHA256, Value: "95c85a01259054c8fa48f6cefbce1e4b46e7de92c48c043c6725515e5f972bcd"}}},
			RawLog: `{"event_type":"alert","src_ip":"10.1.2.3","dest_ip":"203.0.113.7","alert":{"signature":"ET MALWARE beacon"}}`,
		}
		a := n.Alert(fmt.Sprintf("0199aa55-0000-7000-8000-00000000000%d", i), guided.Add(-time.Duration(i)*time.Minute))
		a.Status = status
		if i%2 == 1 {
			a.Origin = &federation.Origin{SiteID: "site-01", SiteName: "Site 1", RaisedAt: a.CreatedAt.Add(-2 * time.Second), ReceivedAt: a.CreatedAt, Status: federation.Escalated, UpdatedAt: a.CreatedAt}
		}
		all = append(all, a)
	}
	all[1].Retraction = &federation.Retraction{Reason: "A test of the sensor", At: guided}
	return all
}

func guideAlert(a federation.Alert) alertPage {
	p := alertPage{Alert: a, Actions: actions(a.Status)}
	for i, s := range []federation.DeliveryState{federation.DeliveryStored, federation.DeliveryQueued, federation.DeliveryRefused, federation.DeliveryKept, federation.DeliveryUnknown} {
		p.Deliveries = append(p.Deliveries, federation.AlertDelivery{Peer: federation.SiteID(fmt.Sprintf("site-%02d", i+1)), State: s, Detail: "as the peer has said"})
	}
	p.Preview = []ask.PeerDecision{
		{Peer: "site-01", Decision: federation.Decision{Admitted: true, Reason: "severity critical is at least high"}, StrippedIOCs: []federation.IOCType{federation.Domain}},
		{Peer: "site-02", Decision: federation.Decision{Reason: "severity critical, but the source suricata does not pass"}},
	}
	return p
}

func guideCampaigns() []ask.Campaign {
	return []ask.Campaign{
		{Kind: "ip", Value: "203.0.113.7", Sites: []federation.SiteID{"site-00", "site-01", "site-02"}, Alerts: 7, First: guided.Add(-time.Hour), Last: guided},
		{Kind: ask.Technique, Value: "T1071.001", Sites: []federation.SiteID{"site-00", "site-01"}, Alerts: 19, First: guided.Add(-20 * time.Hour), Last: guided},
	}
}

// guideMesh is n sites as site-00 sees them, whose links have every status and cause.
func guideMesh(n int) federation.Topology {
	t := federation.Topology{SiteID: "site-00", GeneratedAt: guided}
	fast, slow := 12.3, 187.0
	measured := &federation.Latency{LastMs: &fast, MedianMs: &fast, P99Ms: &slow, JitterMs: &fast, Echoes: 120, MeasuredAt: guided}
	lossy := &federation.Latency{LastMs: &slow, MedianMs: &slow, P99Ms: &slow, JitterMs: &fast, Loss: 0.15, Echoes: 120, MeasuredAt: guided}
	causes := append([]federation.Cause{""}, federation.Causes()...)
	for i := range n {
		id := federation.SiteID(fmt.Sprintf("site-%02d", i))
		s := federation.Site{ID: id, Name: fmt.Sprintf("Site %d", i), Tier: federation.Secondary, Status: federation.Online, Version: "1.2.0", AgentsTotal: 120, AgentsOnline: 118 - i, FirstSeenAt: guided.Add(-24 * time.Hour), LastHeartbeatAt: &guided}
		if i == 0 {
			s.Tier, s.Local = federation.Primary, true
			t.Sites = append(t.Sites, s)
			continue
		}
		age := 3.0
		l := federation.NewLink("site-00", id, guided)
		l.Latency, l.HeartbeatAgeSeconds = measured, &age
		l.PeerView = &federation.LinkView{Peer: "site-00", Status: federation.Healthy, Latency: measured, At: guided}
		if cause := causes[(i-1)%len(causes)]; cause != "" && (n <= 10 || i%9 == 0) {
			l.Status, l.Cause, l.Latency = federation.LinkDegraded, cause, lossy
			switch cause {
			case federation.PeerLeaving, federation.TransportDisconnected, federation.HeartbeatLate:
				age = 187
				l.Status, l.Latency, l.PeerView = federation.Down, nil, nil
				s.Status, s.LastHeartbeatAt = federation.Offline, nil
			case federation.EchoLost:
				s.Status = federation.SiteDegraded
			}
		}
		t.Links = append(t.Links, l)
		t.Sites = append(t.Sites, s)
	}
	return t
}

func guideLink() linkPage {
	h := federation.NewHistory("link-site-00-site-01", guided.Add(-24*time.Hour), guided, federation.Healthy, []federation.Transition{
		{ID: "link-site-00-site-01", From: "healthy", To: "down", At: guided.Add(-9 * time.Hour), Cause: federation.TransportDisconnected},
		{ID: "link-site-00-site-01", From: "down", To: "degraded", At: guided.Add(-8 * time.Hour), Cause: federation.EchoLost},
		{ID: "link-site-00-site-01", From: "degraded", To: "healthy", At: guided.Add(-6 * time.Hour)},
	})
	l := federation.LatencyHistory{LinkID: h.LinkID, From: h.From, To: h.To, StepMinutes: 6}
	for i := range 240 {
		median, slowest := 12+float64(i%17)/4, 20+float64(i*7%23)
		p := federation.LatencyPoint{At: h.From.Add(time.Duration(i) * 6 * time.Minute), MedianMs: &median, MaxMs: &slowest, Echoes: 360}
		switch {
		case i >= 150 && i < 160:
			p.MedianMs, p.MaxMs, p.Lost = nil, nil, 360
		case i >= 160 && i < 180:
			p.Lost = 40
		}
		l.Points = append(l.Points, p)
	}
	ms := guideMesh(8)
	out, _ := meshmap.Halves(ms.Links[0])
	p := linkPage{
		Spans: []choice{{"24", "Day", true}}, Status: federation.LinkDegraded, Why: meshmap.Why(federation.EchoLost), History: h, Deliveries: guideDeliveries().Deliveries,
		Ways:    []way{{"site-00", out}, {"site-01", meshmap.Half{Status: meshmap.Unknown}}},
		Healthy: seconds(h.HealthySeconds), Degraded: seconds(h.DegradedSeconds), Down: seconds(h.DownSeconds),
		Bar:   template.HTML(meshmap.Bar(h, federation.Healthy)), //nolint:gosec // it writes numbers and statuses alone
		Chart: template.HTML(meshmap.Chart(l)),                   //nolint:gosec // it writes numbers and times alone
	}
	return p
}

func guideDeliveries() deliveriesPage {
	figure := func(n int) *int { return &n }
	waits, dropped := 754.0, guided.Add(-time.Hour)
	good := &federation.Reconciliation{At: guided, Compared: 1204}
	bad := &federation.Reconciliation{At: guided, Compared: 1204, Lost: 3, Duplicated: 1}
	p := deliveriesPage{ShowLetters: true, LettersTotal: 27, Backlog: federation.Backlog{Messages: 1210, Bytes: 3 << 20, MaxMessages: 1_000_000, MaxBytes: 2 << 30, Dropped: map[federation.Severity]int{federation.Info: 12}, DroppedAt: &dropped}}
	p.Deliveries = []federation.Delivery{
		{Peer: "site-01", Direction: federation.Outbound, Reachable: true, Shared: figure(1204), Stored: figure(1203), Pending: figure(0), Refused: figure(1), Reconciliation: good},
		{Peer: "site-01", Direction: federation.Inbound, Reachable: true, Stored: figure(88), Pending: figure(0), Reconciliation: bad},
		{Peer: "site-02", Direction: federation.Outbound, Reachable: true, Shared: figure(1204), Stored: figure(1100), Pending: figure(104), Refused: figure(0), OldestPendingSeconds: &waits},
		{Peer: "site-02", Direction: federation.Inbound, Detail: "the JetStream of site-02 does not answer", Stored: figure(12)},
		{Peer: "site-03", Direction: federation.Outbound, PassedBy: "site-00", ProvedUntil: &guided, Reachable: true, Shared: figure(1204), Stored: figure(1198), Pending: figure(6), Refused: figure(0), OldestPendingSeconds: new(12.0), Reconciliation: good},
		{Peer: "site-03", Direction: federation.Inbound, PassedBy: "site-00", ProvedUntil: &guided, Reachable: true, Stored: figure(7), Reconciliation: good},
	}
	p.Drills = []drillPage{drillOf(guideDrill(0)), drillOf(guideDrill(3))}
	for i, reason := range []string{"the alert claims the origin site-09, and came from site-02", "the message is no JSON"} {
		p.Letters = append(p.Letters, ask.DeadLetter{ID: uint64(i + 1), Function: "alertsink", Reason: reason, Source: "site-02/ALERTS_site-02/site-00", At: guided})
	}
	return p
}

func guideDrill(lost int) drillreport.Report {
	caught, seen := 0.9, 0.05
	r := drillreport.Report{
		Run: "1k3fxx", Link: "link-site-00-site-01", Running: true, Meanwhile: 300, Raised: 340, Fault: "cut", Rate: 10, FaultAt: guided, HealedAt: guided.Add(15 * time.Second), TimeoutSeconds: 60, Converged: lost == 0,
		Directions: []drillreport.Direction{{From: "site-00", To: "site-01", Accepted: 170, DuringFault: 150, Stored: 170, CaughtUpSeconds: &caught}, {From: "site-01", To: "site-00", Accepted: 170, DuringFault: 150, Stored: 170 - lost, Lost: lost}},
		Detections: []drillreport.Detection{{Site: "site-00", Seconds: &seen, Status: federation.Down, Cause: federation.TransportDisconnected}, {Site: "site-01"}},
	}
	for i := range lost {
		r.Directions[1].LostIDs = append(r.Directions[1].LostIDs, fmt.Sprintf("0199aa55-0000-7000-8000-00000000000%d", i))
	}
	return r
}
