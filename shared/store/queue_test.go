package store

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// titlesOf is the titles of a page, in its order.
func titlesOf(t *testing.T, s *Store, q ask.AlertQuery) []string {
	t.Helper()
	var all []string
	for _, a := range must(s.PageAlerts(t.Context(), q))(t).Items {
		all = append(all, a.Title)
	}
	return all
}

func pagesGoOnFromAPlace(t *testing.T, f fixture) {
	s := f.migrated(t)
	raise := func(title string, at time.Time) {
		t.Helper()
		if _, _, err := s.RaiseAlert(t.Context(), alertOf(t, title, at), nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 7 { // two at each moment: the id tells them apart
		raise(fmt.Sprint(i), after(time.Duration(i/2)*time.Second))
	}
	first := must(s.PageAlerts(t.Context(), ask.AlertQuery{Limit: 3}))(t)
	equal(t, "first page", []bool{first.Newer, first.Older}, []bool{false, true})
	raise("new", after(time.Minute))
	second := ask.AlertQuery{Limit: 3, After: ask.PlaceOf(first.Items[2])}
	equal(t, "second page, though one has come", titlesOf(t, s, second), []string{"3", "2", "1"})
	last := must(s.PageAlerts(t.Context(), ask.AlertQuery{Limit: 3, After: ask.PlaceOf(must(s.PageAlerts(t.Context(), second))(t).Items[2])}))(t)
	equal(t, "last page", []bool{last.Newer, last.Older, len(last.Items) == 1}, []bool{true, false, true})
	equal(t, "the way back", titlesOf(t, s, ask.AlertQuery{Limit: 3, Before: ask.PlaceOf(last.Items[0])}), []string{"3", "2", "1"})
	equal(t, "what is newer than the first page", titlesOf(t, s, ask.AlertQuery{Limit: 3, Before: ask.PlaceOf(first.Items[0])}), []string{"new"})
	if first.Items[0].RawLog != "" {
		t.Error("a page has raw logs")
	}
}

func theQueueIsSearched(t *testing.T, f fixture) {
	s := f.migrated(t)
	mine := alertOf(t, "100% of Ünknown_hosts", t0)
	mine.MitreTechniques = []string{"T1071.001", "T1071.001"}
	if _, _, err := s.RaiseAlert(t.Context(), mine, nil); err != nil {
		t.Fatal(err)
	}
	theirs := received(t, "7")
	theirs.CreatedAt, theirs.Source = after(time.Hour), "federation:site-b"
	theirs.IOCs = []federation.IOC{{Type: federation.Domain, Value: "c2.evil.example"}}
	must(s.ReceiveAlerts(t.Context(), []federation.Alert{theirs}, nil))(t)
	both := []string{"beacon 7", mine.Title}
	for name, c := range map[string]struct {
		query ask.AlertQuery
		want  []string
	}{
		"all":                         {ask.AlertQuery{}, both},
		"a part of a title":           {ask.AlertQuery{Text: " UNKNOWN_H "}, nil}, // case of other letters than a to z is left as it is
		"a part of a title, as it is": {ask.AlertQuery{Text: "nknown_h"}, both[1:]},
		"a percent sign is itself":    {ask.AlertQuery{Text: "0% o"}, both[1:]},
		"an underscore is itself":     {ask.AlertQuery{Text: "f_"}, nil},
		"the beginning of an IOC":     {ask.AlertQuery{Text: "C2.evil"}, both[:1]},
		"the middle of an IOC":        {ask.AlertQuery{Text: "evil"}, nil},
		"a technique":                 {ask.AlertQuery{Text: "t1071"}, both[1:]},
		"local":                       {ask.AlertQuery{Origin: ask.OriginLocal}, both[1:]},
		"peers":                       {ask.AlertQuery{Origin: ask.OriginPeers}, both[:1]},
		"a peer":                      {ask.AlertQuery{Origin: "site:site-b"}, both[:1]},
		"another peer":                {ask.AlertQuery{Origin: "site:site-c"}, nil},
		"a severity":                  {ask.AlertQuery{Severity: federation.Critical}, both[:1]},
		"a time":                      {ask.AlertQuery{Since: t0, Until: after(time.Hour)}, both[1:]},
	} {
		equal(t, name, titlesOf(t, s, c.query), c.want)
	}
	iocs := federation.IOCInput{Items: []federation.IOC{{Type: federation.Domain, Value: "new.example"}}}
	must(s.UpdateAlert(t.Context(), mine.ID, federation.AlertPatch{IOCs: &iocs}, after(time.Minute), nil))(t)
	equal(t, "what was edited away", titlesOf(t, s, ask.AlertQuery{Text: "203.0"}), []string(nil))
	equal(t, "what was edited in", titlesOf(t, s, ask.AlertQuery{Text: "new.ex"}), both[1:])
}

// Whatever is looked for, its pages together are what one look at everything finds.
func aSearchLooksSoFar(t *testing.T, f fixture) {
	s := f.migrated(t)
	var as []federation.Alert
	for i := range 120 {
		a := received(t, fmt.Sprint(i))
		a.ID, a.CreatedAt = fmt.Sprintf("a-%03d", i), after(time.Duration(i/3)*time.Minute) // three at each moment
		a.Severity, a.Status = federation.Severities()[i%3], federation.AlertStatuses()[i%2]
		if i%40 == 5 {
			a.Title = fmt.Sprint("needle ", i)
		}
		if i%30 == 8 {
			a.IOCs = []federation.IOC{{Type: federation.Domain, Value: fmt.Sprintf("needle-%d.example", i)}}
		}
		a.MitreTechniques = []string{"T1071"}
		as = append(as, a)
	}
	must(s.ReceiveAlerts(t.Context(), as, nil))(t)
	everything := s.reach
	questions := map[string]ask.AlertQuery{
		"a text": {Text: "needle"}, "a text that is nowhere": {Text: "haystack"}, "marks that all have": {Text: "t1071"}, "a text and a condition": {Text: "needle", Severity: federation.Severities()[2]},
		"marks that all have, and a condition": {Text: "T1071", Status: federation.AlertStatuses()[1]}, "two conditions": {Severity: federation.Severities()[1], Status: federation.AlertStatuses()[0]},
		"conditions that exclude each other": {Severity: federation.Critical, Origin: ask.OriginLocal}, "within a time": {Text: "needle", Since: after(10 * time.Minute), Until: after(30 * time.Minute)},
	}
	for name, q := range questions {
		q.Limit = 4
		for _, back := range []bool{false, true} {
			ends := ask.Place{At: after(-time.Hour), ID: "a"}
			pages := func(r reach) (found []string, looks int) {
				s.reach = r
				seen := map[string]bool{}
				for q, more := q, true; more; looks++ {
					if back && looks == 0 {
						q.Before = ends
					}
					page := must(s.PageAlerts(t.Context(), q))(t)
					for _, a := range page.Items {
						seen[a.ID] = true
					}
					next := page.LookedTo
					if back {
						if more = page.Newer; next.IsZero() && more {
							next = ask.PlaceOf(page.Items[0])
						}
						q.Before = next
					} else {
						if more = page.Older; next.IsZero() && more {
							next = ask.PlaceOf(page.Items[len(page.Items)-1])
						}
						q.After = next
					}
					if looks > 200 {
						t.Fatalf("%s: it does not end", name)
					}
				}
				return slices.Sorted(maps.Keys(seen)), looks
			}
			want, _ := pages(everything)
			got, looks := pages(reach{titles: 13, rows: 7, marks: 5, common: 10})
			equal(t, fmt.Sprintf("%s, back %t", name, back), got, want)
			if len(want) == 0 && looks == 1 && name != "conditions that exclude each other" {
				t.Errorf("%s was looked for among all alerts at once", name)
			}
			s.reach = everything
		}
	}
	s.reach = reach{titles: 13, rows: 7, marks: 5}
	page := must(s.PageAlerts(t.Context(), ask.AlertQuery{Text: "needle-", Limit: 10}))(t)
	rarer := ask.AlertQuery{Severity: federation.Severities()[1], Status: federation.AlertStatuses()[0], Limit: 10}
	equal(t, "of two conditions the rarer leads", must(s.PageAlerts(t.Context(), rarer))(t).LookedTo, ask.PlaceOf(as[100])) // the seventh of every third, where the other is every second
	equal(t, "IOCs are found further than titles", []bool{len(page.Items) == 4, page.LookedTo == ask.PlaceOf(as[120-13])}, []bool{true, true})
}

func campaignsAreOfSeveralSites(t *testing.T, f fixture) {
	s := f.migrated(t)
	shared := []federation.IOC{{Type: federation.IP, Value: "203.0.113.7"}}
	for i := range 3 { // of one site alone: no campaign
		a := alertOf(t, fmt.Sprint("mine ", i), after(time.Duration(i)*time.Minute))
		a.IOCs = append(slices.Clone(shared[:min(i, 1)]), federation.IOC{Type: federation.Domain, Value: "only.here.example"})
		a.MitreTechniques = []string{"T1071"}
		if _, _, err := s.RaiseAlert(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
	}
	theirs := received(t, "7")
	theirs.CreatedAt, theirs.IOCs, theirs.MitreTechniques = after(time.Hour), shared, []string{"T1071", "T9999"}
	must(s.ReceiveAlerts(t.Context(), []federation.Alert{theirs}, nil))(t)
	got := must(s.Campaigns(t.Context(), ask.CampaignQuery{Limit: 5}, t0))(t)
	equal(t, "campaigns", got.Items, []ask.Campaign{
		{Kind: "ip", Value: "203.0.113.7", Sites: []federation.SiteID{"", "site-b"}, Alerts: 3, First: after(time.Minute), Last: after(time.Hour)},
		{Kind: ask.Technique, Value: "T1071", Sites: []federation.SiteID{"", "site-b"}, Alerts: 4, First: t0, Last: after(time.Hour)},
	})
	s.reach.common = 4 // of 9 marks: those of the peer's alert and, of the last one here, not all
	got = must(s.Campaigns(t.Context(), ask.CampaignQuery{Limit: 5}, t0))(t)
	equal(t, "among the newest alone", []any{got.Items, got.Since}, []any{[]ask.Campaign(nil), after(2*time.Minute + time.Microsecond)})
	s.reach.common = 6
	got = must(s.Campaigns(t.Context(), ask.CampaignQuery{Limit: 5}, t0))(t)
	equal(t, "among some more", []any{len(got.Items), got.Since}, []any{2, after(time.Minute + time.Microsecond)})
	if got := must(s.Campaigns(t.Context(), ask.CampaignQuery{Limit: 5}, after(30*time.Minute)))(t); len(got.Items) != 0 {
		t.Errorf("within a time in which one site had it: %v", got)
	}
}

// BenchmarkQueuePage reads a page of a queue of 100,000 alerts.
func BenchmarkQueuePage(b *testing.B) {
	s, err := Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "site.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	if _, err := s.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	for batch := range 200 {
		as := make([]federation.Alert, 500)
		for i := range as {
			n := batch*500 + i
			as[i] = federation.SharedAlert{
				Version: federation.SharedAlertVersion, OriginSite: federation.SiteID(fmt.Sprintf("site-%d", n%9)), OriginName: "S", OriginID: fmt.Sprint(n), RaisedAt: t0,
				NewAlert: federation.NewAlert{Title: fmt.Sprintf("Beacon number %d to a known host", n), Severity: federation.Severities()[n%5], Source: "edr", Description: "Regular connections.",
					IOCs: federation.IOCInput{Items: []federation.IOC{{Type: federation.IP, Value: fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255)}}}, MitreTechniques: []string{"T1071.001"}},
			}.Received(fmt.Sprintf("alert-%06d", n), after(time.Duration(n)*time.Second))
		}
		if _, err := s.ReceiveAlerts(b.Context(), as, nil); err != nil {
			b.Fatal(err)
		}
	}
	middle := ask.Place{At: after(50_000 * time.Second), ID: "alert-050000"}
	for name, q := range map[string]ask.AlertQuery{
		"newest": {}, "from the middle": {After: middle}, "severity": {Severity: federation.High}, "peer": {Origin: "site:site-3"},
		"rare text": {Text: "number 4711 "}, "text that is nowhere": {Text: "no such thing"}, "IOC": {Text: "10.0.12.7"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.PageAlerts(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("campaigns of a day", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Campaigns(b.Context(), ask.CampaignQuery{Limit: 5}, after(100_000*time.Second-24*time.Hour)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
