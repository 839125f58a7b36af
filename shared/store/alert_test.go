package store

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// awkward is text that quoting, JSON, placeholders or a character set may spoil.
const awkward = "it's 50% of \"it\" \\ \\' ? ?0 \\u0000 \\\\u0000 {\"a\":null} \n\t東京 🙂 e\u0301 \u2028 $1 $$ <b>&amp; --; DROP"

func raisedAlertRoundTrips(t *testing.T, f fixture) {
	s := f.migrated(t)
	observed := time.Date(1970, 1, 1, 0, 0, 0, 1000, time.UTC)
	for _, at := range []time.Time{
		t0, t0.Truncate(time.Second), t0.Add(time.Microsecond),
		time.Date(2026, 7, 1, 1, 2, 3, 999_999_999, time.FixedZone("east", 5*3600+1800)),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
	} {
		a := federation.NewAlert{
			Title: awkward + at.String(), Description: awkward, Severity: federation.Info, Source: awkward, AssetType: awkward,
			AffectedAssets: []string{awkward, "", `\u0000`}, MitreTechniques: []string{"T1071.001"}, RawLog: federation.RawLog(awkward), ObservedAt: &observed,
			IOCs: federation.IOCInput{Items: []federation.IOC{{Type: federation.FilePath, Value: awkward}, {Type: federation.Mutex, Value: `C:\u0000`}}},
		}.Alert(newID(t), at)
		stored, created, err := s.RaiseAlert(t.Context(), a, nil)
		if err != nil || !created {
			t.Fatalf("created is %v, error %v", created, err)
		}
		equal(t, "the answer", stored, a)
		equal(t, "the row", must(s.Alert(t.Context(), a.ID))(t), a)
	}

	bare := federation.Alert{ID: newID(t), Severity: federation.Low, TLP: federation.TLPAmber, Status: federation.New, DedupHash: "bare", CreatedAt: t0.In(time.Local).Add(7 * time.Nanosecond), UpdatedAt: t0}
	want := bare
	want.AffectedAssets, want.IOCs, want.MitreTechniques, want.CreatedAt = []string{}, []federation.IOC{}, []string{}, t0
	stored, _, err := s.RaiseAlert(t.Context(), bare, nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "lists that are nil come back empty, times to the microsecond", stored, want)
	got := must(s.Alert(t.Context(), bare.ID))(t)
	if !cmp.Equal(got, want) || got.CreatedAt.Location() != time.UTC {
		t.Errorf("the row is %+v", got)
	}
}

func labelsRoundTrip(t *testing.T, f fixture) {
	s := f.migrated(t)
	for _, l := range federation.TLPs() {
		a := alertOf(t, "labelled "+string(l), t0)
		a.TLP = l
		stored, _, err := s.RaiseAlert(t.Context(), a, nil)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the answer", stored, a)
		equal(t, "the row", must(s.Alert(t.Context(), a.ID))(t), a)
		b := received(t, string(l))
		b.TLP = l
		must(s.ReceiveAlerts(t.Context(), []federation.Alert{b}, nil))(t)
		equal(t, "the row from a peer", must(s.Alert(t.Context(), b.ID))(t), b)
	}
	bare := alertOf(t, "without a label", t0)
	bare.TLP = ""
	stored, _, err := s.RaiseAlert(t.Context(), bare, nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "no label is", stored.TLP, federation.TLPAmber)
}

func rowsFromBeforeLabelsAreAmber(t *testing.T, f fixture) {
	s := f.migrated(t)
	a := alertOf(t, "from before", t0)
	if _, _, err := s.RaiseAlert(t.Context(), a, nil); err != nil {
		t.Fatal(err)
	}
	for _, back := range []string{"DROP INDEX alerts_shared", "DROP INDEX alerts_tlp", "ALTER TABLE alerts DROP COLUMN tlp", "DELETE FROM auroramesh_migrations WHERE name = '0005_tlp'"} {
		if _, err := s.writer.ExecContext(t.Context(), back); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "applied", must(s.Migrate(t.Context()))(t), []string{"0005_tlp"})
	equal(t, "the row", must(s.Alert(t.Context(), a.ID))(t), a)
	equal(t, "its label", a.TLP, federation.TLPAmber)
}

func secondRaiseGivesFirst(t *testing.T, f fixture) {
	s := f.migrated(t)
	first, second := alertOf(t, "twice", t0), alertOf(t, "twice", after(time.Minute))
	if _, created, err := s.RaiseAlert(t.Context(), first, []Outgoing{{MsgID: "first"}}); err != nil || !created {
		t.Fatalf("created is %v, error %v", created, err)
	}
	got, created, err := s.RaiseAlert(t.Context(), second, []Outgoing{{MsgID: "second"}})
	if err != nil || created {
		t.Fatalf("created is %v, error %v", created, err)
	}
	equal(t, "alert", got, first)
	equal(t, "outbox", messages(t, s), []string{"first"})
}

func raisesAtOnceMakeOne(t *testing.T, f fixture) {
	stores := f.replicas(t, 3)
	type answer struct {
		id      string
		created bool
	}
	for round := range 5 {
		answers := atOnce(t, 9, func(i int) (answer, error) {
			a := alertOf(t, fmt.Sprint("same ", round), t0)
			got, created, err := stores[i%3].RaiseAlert(t.Context(), a, []Outgoing{{MsgID: a.ID, AlertID: a.ID}})
			if created != (got.ID == a.ID) {
				err = fmt.Errorf("created is %v, but the alert is %s and was %s", created, got.ID, a.ID)
			}
			return answer{got.ID, created}, err
		})
		made := 0
		for _, a := range answers {
			if a.id != answers[0].id {
				t.Errorf("one caller was given %s, another %s", a.id, answers[0].id)
			}
			if a.created {
				made++
			}
		}
		equal(t, "callers who created it", made, 1)
		equal(t, "outbox", messages(t, stores[0]), []string{answers[0].id})
		clearOutbox(t, stores[0])
	}
}

var everyGate = federation.Gate{MinSeverity: federation.Info}

// raise raises alerts together at the own site.
func raise(t *testing.T, s *Store, tell func([]federation.Alert) []Outgoing, all ...Raising) Raised {
	t.Helper()
	return must(s.RaiseAlerts(t.Context(), own.ID, everyGate, all, tell))(t)
}

// raising is an alert of which a record is written, named by what became of it.
func raising(a federation.Alert) Raising {
	return Raising{
		Alert: a,
		Out: func(g federation.Gates) ([]Outgoing, error) {
			if g.Default.MinSeverity != everyGate.MinSeverity || len(g.Peers) != 0 {
				return nil, fmt.Errorf("the gates are %+v", g)
			}
			return []Outgoing{{MsgID: a.Title, AlertID: a.ID, Trace: "trace of " + a.Title}}, nil
		},
		Audit: func(stored federation.Alert, created bool) access.Entry {
			return entry(fmt.Sprintf("%s is %s %t", a.ID, stored.ID, created))
		},
	}
}

func alertsRaisedTogether(t *testing.T, f fixture) {
	s := f.migrated(t)
	there, one, double, two := alertOf(t, "there", t0), alertOf(t, "one", t0), alertOf(t, "one", after(time.Second)), alertOf(t, "two", t0)
	raise(t, s, nil, raising(there))
	again := alertOf(t, "there", after(time.Minute))
	var told []string
	got := raise(t, s, func(created []federation.Alert) []Outgoing {
		for _, a := range created {
			told = append(told, a.Title)
		}
		return []Outgoing{{MsgID: "together"}}
	}, raising(one), raising(again), raising(double), raising(two))
	equal(t, "raised", got.Alerts, []RaisedAlert{{one, true, true}, {there, false, false}, {one, false, false}, {two, true, true}})
	equal(t, "what is queued", got.Queued, must(s.Outbox(t.Context(), 10))(t)[1:])
	equal(t, "told of", told, []string{"one", "two"})
	equal(t, "messages", messages(t, s), []string{"there", "one", "two", "together"})
	equal(t, "its trace", must(s.Outbox(t.Context(), 2))(t)[1].Trace, "trace of one")
	none := raise(t, s, func([]federation.Alert) []Outgoing { panic("told of nothing") }, Raising{Alert: again})
	equal(t, "none new", none.Alerts, []RaisedAlert{{there, false, false}})
	equal(t, "none", len(raise(t, s, nil).Alerts), 0)
	equal(t, "read by their ids", must(s.AlertsOf(t.Context(), []string{two.ID, "nowhere", one.ID}))(t), map[string]federation.Alert{one.ID: one, two.ID: two})

	var records []string
	for _, r := range must(s.Audit(t.Context(), 0, 10))(t) {
		records = append(records, r.ID)
	}
	is := func(a, b federation.Alert, created bool) string {
		return fmt.Sprintf("%s is %s %t", a.ID, b.ID, created)
	}
	equal(t, "records, newest first", records, []string{is(two, two, true), is(double, one, false), is(again, there, false), is(one, one, true), is(there, there, true)})
	equal(t, "the chain", must(s.VerifyAudit(t.Context(), nil))(t).Records, int64(5))
}

func alertsRaisedTogetherAtOnceMakeOneEach(t *testing.T, f fixture) {
	stores := f.replicas(t, 2)
	const alerts = 100
	var created atomic.Int64
	atOnce(t, 4, func(i int) (int, error) {
		all := make([]Raising, alerts)
		for j := range all { // half of the callers the other way round
			n := j
			if i%2 == 1 {
				n = alerts - 1 - j
			}
			all[j] = raising(alertOf(t, fmt.Sprint(n), t0))
		}
		raised, err := stores[i%2].RaiseAlerts(t.Context(), own.ID, everyGate, all, nil)
		for _, r := range raised.Alerts {
			if r.Created {
				created.Add(1)
			}
		}
		return len(raised.Alerts), err
	})
	equal(t, "created", int(created.Load()), alerts)
	v := must(stores[0].VerifyAudit(t.Context(), nil))(t)
	if v.Broken != nil || v.Records != 4*alerts {
		t.Errorf("%d records, broken: %+v", v.Records, v.Broken)
	}
}

// What is published about an alert cannot be there without it, nor it without.
func raiseRollsBackAsOne(t *testing.T, f fixture) {
	s := f.migrated(t)
	if _, err := s.writer.ExecContext(t.Context(), "ALTER TABLE outbox RENAME COLUMN payload TO gone"); err != nil {
		t.Fatal(err)
	}
	a := alertOf(t, "all or nothing", t0)
	if _, _, err := s.RaiseAlert(t.Context(), a, []Outgoing{{MsgID: "m"}}); err == nil || !strings.Contains(err.Error(), "storing the alert") {
		t.Fatalf("with a broken outbox the error is %v", err)
	}
	_, err := s.Alert(t.Context(), a.ID)
	isFault(t, err, fault.NotFound, a.ID)

	b := received(t, "1")
	if stored, err := s.ReceiveAlerts(t.Context(), []federation.Alert{b}, ofEach(func(federation.Alert, Arrival) Outgoing { return Outgoing{} })); err == nil || stored.Arrivals != nil {
		t.Fatalf("with a broken outbox stored is %v, error %v", stored, err)
	}
	_, err = s.Alert(t.Context(), b.ID)
	isFault(t, err, fault.NotFound, b.ID)
}

// ofEach tells of each alert by itself.
func ofEach(message func(federation.Alert, Arrival) Outgoing) func([]Arrived) []Outgoing {
	return func(arrived []Arrived) (out []Outgoing) {
		for _, a := range arrived {
			out = append(out, message(a.Alert, a.Arrival))
		}
		return out
	}
}

func replaysAndDoublesAreNotStored(t *testing.T, f fixture) {
	s := f.migrated(t)
	receive := func(as ...federation.Alert) []Arrival {
		t.Helper()
		return must(s.ReceiveAlerts(t.Context(), as, ofEach(func(a federation.Alert, _ Arrival) Outgoing {
			return Outgoing{MsgID: a.Origin.AlertID, AlertID: a.ID}
		})))(t).Arrivals
	}
	equal(t, "an empty batch", receive(), []Arrival{})
	one, two, three := received(t, "1"), received(t, "2"), received(t, "3")
	equal(t, "doubles in a batch", receive(one, two, received(t, "1"), one), []Arrival{Stored, Stored, Replayed, Replayed})
	equal(t, "replays", receive(received(t, "2"), three, received(t, "1")), []Arrival{Replayed, Stored, Replayed})
	equal(t, "replays only", receive(one, two, three), []Arrival{Replayed, Replayed, Replayed})
	page := must(s.ListAlerts(t.Context(), ask.AlertFilter{}))(t)
	equal(t, "rows", page.Total, 3)
	equal(t, "the new are told of, in their order", messages(t, s), []string{"1", "2", "3"})
	equal(t, "the first copy", must(s.Alert(t.Context(), one.ID))(t), one)
}

func receivedBatchesAtOnceStoreOnce(t *testing.T, f fixture) {
	stores := f.replicas(t, 2)
	const alerts = 600
	counts := atOnce(t, 4, func(i int) (n int, err error) {
		batch := make([]federation.Alert, alerts)
		for j := range batch {
			batch[j] = received(t, fmt.Sprint(j))
		}
		// Half of the callers have the hashes the other way round: without an order
		// of its own the store would have them wait for each other in a circle.
		slices.SortFunc(batch, func(a, b federation.Alert) int {
			if i%2 == 0 {
				a, b = b, a
			}
			return strings.Compare(a.DedupHash, b.DedupHash)
		})
		stored, err := stores[i%2].ReceiveAlerts(t.Context(), batch, nil)
		for _, arrival := range stored.Arrivals {
			if arrival == Stored {
				n++
			}
		}
		return n, err
	})
	total := 0
	for _, n := range counts {
		total += n
	}
	equal(t, "alerts that somebody stored", total, alerts)
	equal(t, "rows", must(stores[0].ListAlerts(t.Context(), ask.AlertFilter{}))(t).Total, alerts)
}

func receivedAlertRoundTrips(t *testing.T, f fixture) {
	s := f.migrated(t)
	a := received(t, "0197-ü")
	a.Origin.SiteName = awkward
	must(s.ReceiveAlerts(t.Context(), []federation.Alert{a, received(t, "other")}, nil))(t)
	equal(t, "the row", must(s.Alert(t.Context(), a.ID))(t), a)
}

// An alert of the size of the largest message fits, with the message about it.
func largestAlertFits(t *testing.T, f fixture) {
	s := f.migrated(t)
	a := alertOf(t, strings.Repeat("界", federation.MaxTitle), t0)
	a.RawLog = strings.Repeat("界", federation.MaxRawLog)
	a.Description = strings.Repeat("'", federation.MaxDescription)
	for i := range federation.MaxIOCs {
		a.IOCs = append(a.IOCs, federation.IOC{Type: federation.UserAgent, Value: fmt.Sprint(i) + strings.Repeat("\\", federation.MaxIOCValue-4)})
	}
	out := []Outgoing{{MsgID: "m", Payload: make([]byte, 1<<20)}, {MsgID: "n", Payload: make([]byte, 1<<20)}}
	if _, _, err := s.RaiseAlert(t.Context(), a, out); err != nil {
		t.Fatalf("%.200s", err.Error())
	}
	if !cmp.Equal(must(s.Alert(t.Context(), a.ID))(t), a) {
		t.Error("the row differs")
	}
	batch := make([]federation.Alert, 20)
	for i := range batch {
		batch[i] = received(t, fmt.Sprint(i))
		batch[i].RawLog = a.RawLog
	}
	if _, err := s.ReceiveAlerts(t.Context(), batch, nil); err != nil {
		t.Fatalf("%.200s", err.Error())
	}
}

func unknownAlertIsNotFound(t *testing.T, f fixture) {
	s := f.migrated(t)
	_, err := s.Alert(t.Context(), "no-such-'id")
	isFault(t, err, fault.NotFound, "no-such-'id")
	_, err = s.UpdateAlert(t.Context(), "nor-this", federation.AlertPatch{Status: federation.Triaged}, t0, nil)
	isFault(t, err, fault.NotFound, "nor-this")
}

func alertsComeInPages(t *testing.T, f fixture) {
	s := f.migrated(t)
	empty := must(s.ListAlerts(t.Context(), ask.AlertFilter{}))(t)
	equal(t, "an empty list", empty, ask.List[federation.Alert]{Items: []federation.Alert{}, Limit: ask.DefaultLimit})

	var want []string // newest first; every three have the same time, and then the id decides
	for i := range 120 {
		a := alertOf(t, fmt.Sprint("n ", i), after(time.Duration(i/3)*time.Microsecond))
		a.ID = fmt.Sprintf("%04d", (i*37)%1000)
		if _, _, err := s.RaiseAlert(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
	}
	for first := 117; first >= 0; first -= 3 {
		ids := []string{}
		for i := first; i < first+3; i++ {
			ids = append(ids, fmt.Sprintf("%04d", (i*37)%1000))
		}
		for range ids {
			top := 0
			for i := range ids {
				if ids[i] > ids[top] {
					top = i
				}
			}
			want = append(want, ids[top])
			ids[top] = ""
		}
	}
	var got []string
	for skip := 0; skip < 120; skip += 50 {
		page := must(s.ListAlerts(t.Context(), ask.AlertFilter{Page: ask.Page{Skip: skip}}))(t)
		if page.Total != 120 || page.Skip != skip || page.Limit != 50 {
			t.Errorf("the page at %d says total %d, skip %d, limit %d", skip, page.Total, page.Skip, page.Limit)
		}
		for _, a := range page.Items {
			got = append(got, a.ID)
		}
	}
	equal(t, "all pages", got, want)
	past := must(s.ListAlerts(t.Context(), ask.AlertFilter{Page: ask.Page{Skip: 1000, Limit: 10}}))(t)
	equal(t, "past the end", past, ask.List[federation.Alert]{Items: []federation.Alert{}, Total: 120, Skip: 1000, Limit: 10})
}

// More than so many are not counted, but the last page tells.
func alertsAreCountedSoFar(t *testing.T, f fixture) {
	s := f.migrated(t)
	var as []federation.Alert
	for i := range 9 {
		as = append(as, received(t, fmt.Sprint(i)))
	}
	must(s.ReceiveAlerts(t.Context(), as, nil))(t)
	of := as[0].Origin.SiteID
	equal(t, "all that there are", must(s.CountAlertsOf(t.Context(), []federation.SiteID{of, "site-z"}))(t), map[federation.SiteID]int{of: 9})
	equal(t, "those of another", must(s.CountAlertsOf(t.Context(), []federation.SiteID{"site-z"}))(t), map[federation.SiteID]int{})
	equal(t, "those of nobody", must(s.CountAlertsOf(t.Context(), nil))(t), map[federation.SiteID]int{})
	total := func(skip, limit int) []any {
		t.Helper()
		page := must(s.ListAlerts(t.Context(), ask.AlertFilter{Page: ask.Page{Skip: skip, Limit: limit}}))(t)
		return []any{len(page.Items), page.Total, page.More}
	}
	for _, c := range []struct {
		counted, skip, limit int
		want                 []any
	}{
		{9, 0, 4, []any{4, 9, false}},
		{8, 0, 4, []any{4, 8, true}},
		{5, 0, 9, []any{9, 9, true}}, // never fewer than there are on the page
		{5, 4, 4, []any{4, 8, true}},
		{5, 8, 4, []any{1, 9, false}}, // the last page
		{5, 0, 20, []any{9, 9, false}},
		{5, 20, 4, []any{0, 5, true}},
	} {
		s.reach.counted = c.counted
		equal(t, fmt.Sprintf("%d counted, from %d at most %d", c.counted, c.skip, c.limit), total(c.skip, c.limit), c.want)
	}
}

// A list of several filters looks at so many alerts, those of the rarest, says how far, and what goes on from
// there finds in all what one look at everything does.
func severalFiltersLookSoFar(t *testing.T, f fixture) {
	s := f.migrated(t)
	as := make([]federation.Alert, 120)
	for i := range as {
		as[i] = received(t, fmt.Sprint(i))
		as[i].CreatedAt = after(time.Duration(i/2) * time.Second) // two at a time
		as[i].Severity, as[i].TLP = federation.Severities()[i%3], federation.TLPs()[i%2]
	}
	must(s.ReceiveAlerts(t.Context(), as, nil))(t)
	everything := s.reach
	few := everything
	few.counted = 7
	for name, filter := range map[string]ask.AlertFilter{
		"filters that meet":    {Severity: federation.Severities()[1], TLP: federation.TLPs()[0]},
		"filters that exclude": {Severity: federation.Severities()[1], Source: "suricata"},
		"a rare one":           {Severity: federation.Severities()[2], TLP: federation.TLPs()[1], Source: as[0].Source},
		"after a place":        {Severity: federation.Severities()[1], TLP: federation.TLPs()[0], After: ask.PlaceOf(as[60])},
	} {
		for _, skip := range []int{0, 3, 9, 1000} {
			pages := func(r reach) (ids []string, total, answers int) {
				s.reach = r
				q := filter
				for q.Skip, q.Limit = skip, 4; ; answers++ {
					page := must(s.ListAlerts(t.Context(), q))(t)
					for _, a := range page.Items {
						ids = append(ids, a.ID)
					}
					total += page.Total
					if (page.LookedTo != "") != page.More && len(page.Items) < q.Limit {
						t.Fatalf("%s: it has looked to %q, and that there is more is %t", name, page.LookedTo, page.More)
					}
					switch {
					case page.LookedTo != "":
						q.After, q.Skip = must(ask.ParsePlace("after", page.LookedTo))(t), max(0, q.Skip-page.Total)
					case len(page.Items) == q.Limit:
						total -= page.Total // the next answer says it again
						q.Skip += q.Limit
					default:
						return ids, total, answers + 1
					}
					if answers > 200 {
						t.Fatalf("%s: it does not end", name)
					}
				}
			}
			want, all, _ := pages(everything)
			got, total, answers := pages(few)
			what := fmt.Sprintf("%s, from %d on", name, skip)
			equal(t, what, got, want)
			if skip == 0 {
				equal(t, what+": in all", total, all)
			}
			if answers == 1 && name != "filters that exclude" {
				t.Errorf("%s: one answer has looked at everything", what)
			}
		}
	}
	s.reach = few
	page := must(s.ListAlerts(t.Context(), ask.AlertFilter{Severity: federation.Severities()[1], TLP: federation.TLPs()[0]}))(t)
	equal(t, "the rarer filter leads", page.LookedTo, ask.PlaceOf(as[100]).String()) // the seventh of every third, where the other is every second
	s.reach = everything
}

func alertsAreFiltered(t *testing.T, f fixture) {
	s := f.migrated(t)
	for i, sev := range federation.Severities() {
		a := alertOf(t, fmt.Sprint("local ", i), after(time.Duration(i)*time.Second))
		a.Severity, a.TLP = sev, federation.TLPs()[i]
		if _, _, err := s.RaiseAlert(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
		if sev == federation.High {
			must(s.UpdateAlert(t.Context(), a.ID, federation.AlertPatch{Status: federation.Resolved}, t0, nil))(t)
		}
	}
	must(s.ReceiveAlerts(t.Context(), []federation.Alert{received(t, "1"), received(t, "2")}, nil))(t)
	for name, test := range map[string]struct {
		filter ask.AlertFilter
		want   int
	}{
		"everything":                     {ask.AlertFilter{}, 7},
		"a severity":                     {ask.AlertFilter{Severity: federation.Critical}, 3},
		"a status":                       {ask.AlertFilter{Status: federation.Resolved}, 1},
		"a label":                        {ask.AlertFilter{TLP: federation.TLPAmberStrict}, 1},
		"a local source":                 {ask.AlertFilter{Source: "suricata"}, 5},
		"a peer":                         {ask.AlertFilter{Source: "federation:site-b"}, 2},
		"a source is compared as it is":  {ask.AlertFilter{Source: "SURICATA"}, 0},
		"a source is no pattern":         {ask.AlertFilter{Source: "%"}, 0},
		"all three":                      {ask.AlertFilter{Severity: federation.Critical, Status: federation.New, Source: "suricata"}, 1},
		"all three, of which one is not": {ask.AlertFilter{Severity: federation.Critical, Status: federation.Resolved, Source: "suricata"}, 0},
	} {
		page := must(s.ListAlerts(t.Context(), test.filter))(t)
		if page.Total != test.want || len(page.Items) != test.want {
			t.Errorf("%s: total %d with %d items, want %d", name, page.Total, len(page.Items), test.want)
		}
	}
}

// The lists that people and relays ask for all day read an index in its order
// and sort nothing.
func listsUseIndexes(t *testing.T, f fixture) {
	s := f.migrated(t)
	for batch := range 20 {
		as := make([]federation.Alert, 200)
		out := make([]Outgoing, 20)
		for i := range as {
			n := batch*200 + i
			as[i] = received(t, fmt.Sprint(n))
			as[i].CreatedAt = after(time.Duration(n) * time.Second)
			as[i].Severity, as[i].Status, as[i].Source = federation.Low, federation.Resolved, "suricata"
			switch n % 100 { // what is asked for is rare, else an index of it is no gain
			case 10:
				as[i].Severity = federation.High
			case 20:
				as[i].Status = federation.Escalated
			case 30:
				as[i].Source = "wazuh"
			}
		}
		for i := range out {
			out[i] = Outgoing{MsgID: fmt.Sprint(batch, i), Priority: i % 5}
		}
		must(s.ReceiveAlerts(t.Context(), as, nil))(t)
		if _, _, err := s.RaiseAlert(t.Context(), alertOf(t, fmt.Sprint(batch), t0), out); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.writer.ExecContext(t.Context(), "ANALYZE"); err != nil {
		t.Fatal(err)
	}
	list := func(f ask.AlertFilter) string {
		f.Page = f.WithDefaults()
		chosen, _, err := s.reach.choose(t.Context(), s.reader, f)
		if err != nil {
			t.Fatal(err)
		}
		return pageOf(chosen(), f).String()
	}
	count := func(f ask.AlertFilter) string {
		chosen, _, err := s.reach.choose(t.Context(), s.reader, f)
		if err != nil {
			t.Fatal(err)
		}
		return s.reach.count(s.reader, chosen()).String()
	}
	for _, test := range []struct{ name, query string }{
		{"alerts_titles", list(ask.AlertFilter{})},
		{"alerts_severity", list(ask.AlertFilter{Severity: federation.High})},
		{"alerts_status", list(ask.AlertFilter{Status: federation.Escalated})},
		{"alerts_source", list(ask.AlertFilter{Source: "wazuh"})},
		{"alerts_severity", count(ask.AlertFilter{Severity: federation.High})},
		{"alerts_status", count(ask.AlertFilter{Status: federation.Escalated})},
		{"alerts_source", count(ask.AlertFilter{Source: "wazuh"})},
		{"alerts_dedup_hash", s.reader.NewSelect().Model((*alertRow)(nil)).Where("dedup_hash = ?", "x").String()},
		{"outbox_next", waiting(s.reader.NewSelect().Model((*outboxRow)(nil)), 100).String()},
	} {
		name, query := test.name, test.query
		text := plan(t, s, query)
		if !strings.Contains(text, name) || strings.Contains(text, "Sort") || strings.Contains(text, "TEMP B-TREE") {
			t.Errorf("%s does not read %s in its order:\n%s", query, name, text)
		}
	}
}

// plan is how the database would go about a query.
func plan(t *testing.T, s *Store, query string, args ...any) string {
	t.Helper()
	explain := "EXPLAIN QUERY PLAN "
	if s.dialect.name == "postgres" {
		explain = "EXPLAIN "
	}
	rows := must(s.writer.DB.QueryContext(t.Context(), explain+query, args...))(t) // as it is, without placeholders of the query builder
	cols := must(rows.Columns())(t)
	var plan strings.Builder
	for rows.Next() {
		cells := make([]any, len(cols))
		for i := range cells {
			cells[i] = new(any)
		}
		if err := rows.Scan(cells...); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&plan, *cells[len(cells)-1].(*any))
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}

func updateChangesAndTells(t *testing.T, f fixture) {
	s := f.migrated(t)
	a := alertOf(t, "triage me", t0)
	other := alertOf(t, "leave me", t0)
	for _, a := range []federation.Alert{a, other} {
		if _, _, err := s.RaiseAlert(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
	}
	var told []federation.Alert
	event := func(_, a federation.Alert) ([]Outgoing, error) {
		told = append(told, a)
		return []Outgoing{{MsgID: "updated-" + string(a.Status), AlertID: a.ID, Version: a.Version}}, nil
	}
	want := a
	want.Version, want.Status, want.UpdatedAt = 2, federation.Investigating, after(time.Minute)
	equal(t, "the answer", must(s.UpdateAlert(t.Context(), a.ID, federation.AlertPatch{Status: federation.Investigating}, after(time.Minute), event))(t), want)
	equal(t, "a change to the same", must(s.UpdateAlert(t.Context(), a.ID, federation.AlertPatch{Status: federation.Investigating}, after(time.Hour), event))(t), want)
	equal(t, "the row", must(s.Alert(t.Context(), a.ID))(t), want)
	equal(t, "the other row", must(s.Alert(t.Context(), other.ID))(t), other)
	equal(t, "the event is of the changed alert", told, []federation.Alert{want})
	queued := must(s.Outbox(t.Context(), 10))(t)
	if len(queued) != 1 || queued[0].MsgID != "updated-investigating" || !queued[0].QueuedAt.Equal(after(time.Minute)) {
		t.Errorf("the outbox has %+v", queued)
	}
}

func updatesAtOnceTellOnce(t *testing.T, f fixture) {
	stores := f.replicas(t, 2)
	a := alertOf(t, "everybody's", t0)
	if _, _, err := stores[0].RaiseAlert(t.Context(), a, nil); err != nil {
		t.Fatal(err)
	}
	atOnce(t, 6, func(i int) (federation.Alert, error) {
		return stores[i%2].UpdateAlert(t.Context(), a.ID, federation.AlertPatch{Status: federation.Resolved}, t0, func(_, _ federation.Alert) ([]Outgoing, error) {
			return []Outgoing{{MsgID: "resolved"}}, nil
		})
	})
	equal(t, "outbox", messages(t, stores[0]), []string{"resolved"})
}

func outboxIsByPriority(t *testing.T, f fixture) {
	s := f.migrated(t)
	n, oldest, err := s.OutboxDepth(t.Context())
	if n != 0 || oldest != nil || err != nil {
		t.Errorf("an empty outbox has %d, oldest %v, error %v", n, oldest, err)
	}
	for i, priorities := range [][]int{{1, 5}, {5, 3, 0}} {
		var out []Outgoing
		for j, p := range priorities {
			out = append(out, Outgoing{Subject: "s.ü", MsgID: fmt.Sprintf("%d-%d", i, j), Priority: p, Payload: []byte(awkward)})
		}
		if _, _, err := s.RaiseAlert(t.Context(), alertOf(t, fmt.Sprint(i), after(time.Duration(1-i)*time.Second)), out); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "order", messages(t, s), []string{"0-1", "1-0", "1-1", "0-0", "1-2"})
	some := must(s.Outbox(t.Context(), 2))(t)
	if len(some) != 2 || string(some[0].Payload) != awkward || some[0].Subject != "s.ü" {
		t.Errorf("two of it are %+v", some)
	}
	n, oldest, err = s.OutboxDepth(t.Context())
	if n != 5 || oldest == nil || !oldest.Equal(t0) || err != nil {
		t.Errorf("it has %d, oldest %v, error %v", n, oldest, err)
	}
}

func publishedRowsGo(t *testing.T, f fixture) {
	s := f.migrated(t)
	if _, _, err := s.RaiseAlert(t.Context(), alertOf(t, "a", t0), []Outgoing{{MsgID: "1"}, {MsgID: "2"}, {MsgID: "3"}}); err != nil {
		t.Fatal(err)
	}
	queued := must(s.Outbox(t.Context(), 10))(t)
	for _, done := range [][]Confirmed{nil, {{Queued: queued[0]}, {Queued: queued[2]}}, {{Queued: queued[0]}, {Queued: Queued{ID: 4711}}}} {
		if _, err := s.Published(t.Context(), t0, done); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "what is left", messages(t, s), []string{"2"})
}

func publishedAlertsKeepTheirSequence(t *testing.T, f fixture) {
	s := f.migrated(t)
	out := []Outgoing{
		{MsgID: "event"}, {MsgID: "1", AlertID: "a-1", Version: 1}, {MsgID: "2", AlertID: "a-2", Version: 1},
		{MsgID: "1/2", AlertID: "a-1", Version: 2}, {MsgID: "2/b", AlertID: "a-2", Version: 1, Peer: "site-b"},
	}
	if _, _, err := s.RaiseAlert(t.Context(), alertOf(t, "a", t0), out); err != nil {
		t.Fatal(err)
	}
	sharing := func(alert string, peer federation.SiteID) Sharing {
		return must(s.Sharing(t.Context(), alert, peer))(t)
	}
	equal(t, "in the outbox", sharing("a-1", "site-b"), Sharing{Waiting: true})
	queued := must(s.Outbox(t.Context(), 10))(t)
	publish := func(at time.Time, done ...Confirmed) {
		t.Helper()
		if _, err := s.Published(t.Context(), at, done); err != nil {
			t.Fatal(err)
		}
	}
	publish(t0, Confirmed{queued[0], 9}, Confirmed{queued[1], 1 << 40})
	equal(t, "the first version", sharing("a-1", "site-b"), Sharing{Waiting: true, Version: 1, Sequence: 1 << 40, PublishedAt: t0})
	publish(t0, Confirmed{queued[3], 1<<40 + 1}, Confirmed{queued[1], 1 << 40})
	publish(after(-time.Second), Confirmed{queued[1], 1<<40 + 2}, Confirmed{queued[3], 1<<40 + 3}) // a replica that is late
	equal(t, "the second", sharing("a-1", "site-b"), Sharing{Version: 2, Sequence: 1<<40 + 1, PublishedAt: t0})
	publish(after(time.Second), Confirmed{queued[3], 7}) // into a stream that was made anew
	equal(t, "the second, sent again", sharing("a-1", "site-b"), Sharing{Version: 2, Sequence: 7, PublishedAt: after(time.Second)})
	publish(t0, Confirmed{queued[4], 11})
	equal(t, "still in the outbox for others", sharing("a-2", "site-c"), Sharing{Waiting: true})
	equal(t, "the one way or the other", sharing("a-2", "site-b"), Sharing{Waiting: true, Version: 1, Sequence: 11, PublishedAt: t0, Peer: "site-b"})
	equal(t, "the one for site-b alone", must(s.OwnSharing(t.Context(), "a-2", "site-b"))(t), Sharing{Version: 1, Sequence: 11, PublishedAt: t0, Peer: "site-b"})
	publish(after(-time.Second), Confirmed{queued[2], 1 << 41})
	equal(t, "the later of both ways", sharing("a-2", "site-b"), Sharing{Version: 1, Sequence: 11, PublishedAt: t0, Peer: "site-b"})
	equal(t, "for others the way of all", sharing("a-2", "site-c"), Sharing{Version: 1, Sequence: 1 << 41, PublishedAt: after(-time.Second)})
	equal(t, "several", must(s.Sharings(t.Context(), []string{"a-1", "a-2", "a-3"}, "", "site-b"))(t),
		map[string]Sharing{"a-1": sharing("a-1", "site-b"), "a-2": sharing("a-2", "site-b")})
	equal(t, "never shared", sharing("a-3", "site-b"), Sharing{})
	equal(t, "what has no alert", sharing("", "site-b"), Sharing{})
}

func TestASequenceOfALostStreamSaysNothing(t *testing.T) {
	s := Sharing{Sequence: 5, PublishedAt: t0}
	for name, c := range map[string]struct {
		made        time.Time
		first, last uint64
		in          bool
	}{
		"held":                {after(-time.Hour), 1, 9, true},
		"the only one":        {t0, 5, 5, true},
		"let go of":           {after(-time.Hour), 6, 9, false},
		"of a longer stream":  {after(-time.Hour), 1, 4, false},
		"in a stream of late": {after(time.Microsecond), 1, 9, false},
	} {
		if got := s.In(c.made, c.first, c.last); got != c.in {
			t.Errorf("%s: %t", name, got)
		}
	}
	if (Sharing{PublishedAt: t0}).In(t0, 0, 9) {
		t.Error("what was never published is in a stream")
	}
}

func newerVersionsOfAPeerWin(t *testing.T, f fixture) {
	s := f.migrated(t)
	version := func(n int, title string) federation.Alert {
		a := received(t, "1")
		a.Version, a.Title, a.UpdatedAt = n, title, after(time.Duration(n)*time.Minute)
		a.Origin.Status = federation.Investigating
		return a
	}
	first := version(1, "first")
	var told []string
	receive := func(as ...federation.Alert) []Arrival {
		t.Helper()
		return must(s.ReceiveAlerts(t.Context(), as, ofEach(func(a federation.Alert, arrival Arrival) Outgoing {
			told = append(told, fmt.Sprintf("%t %d %s %d", a.ID == first.ID, a.Version, a.Title, arrival))
			return Outgoing{}
		})))(t).Arrivals
	}
	equal(t, "the first", receive(first), []Arrival{Stored})
	must(s.UpdateAlert(t.Context(), first.ID, federation.AlertPatch{Status: federation.Escalated}, t0, nil))(t)
	equal(t, "the third before the second", receive(version(2, "second"), version(3, "third"), received(t, "2")), []Arrival{Replayed, Updated, Stored})
	equal(t, "older ones", receive(version(2, "late"), version(3, "again"), version(1, "first")), []Arrival{Replayed, Replayed, Replayed})
	taken := version(4, "nothing")
	taken.Retraction = &federation.Retraction{At: t0, Reason: "in error"}
	unknown := received(t, "never here")
	unknown.Version, unknown.Retraction = 2, taken.Retraction
	equal(t, "retracted, and one that was never here", receive(taken, unknown), []Arrival{Updated, Replayed})
	equal(t, "one alone that was never here", receive(unknown), []Arrival{Replayed})
	equal(t, "told", told, []string{"true 1 first 1", "true 3 third 2", "false 1 beacon 2 1", "true 4 third 2"})

	want := version(4, "third")
	want.ID, want.Status, want.CreatedAt, want.Retraction = first.ID, federation.Escalated, first.CreatedAt, taken.Retraction
	equal(t, "the row", must(s.Alert(t.Context(), first.ID))(t), want)
}

func versionsAtOnceLeaveTheNewest(t *testing.T, f fixture) {
	stores := f.replicas(t, 2)
	first := received(t, "1")
	must(stores[0].ReceiveAlerts(t.Context(), []federation.Alert{first}, nil))(t)
	arrivals := atOnce(t, 8, func(i int) (Received, error) {
		a := received(t, "1")
		a.Version = 2 + (i*5)%8
		return stores[i%2].ReceiveAlerts(t.Context(), []federation.Alert{a}, nil)
	})
	if n := must(stores[0].Alert(t.Context(), first.ID))(t).Version; n != 9 {
		t.Errorf("version %d stands, after %v", n, arrivals)
	}
}

func rowsFromBeforeVersionsAreAsRaised(t *testing.T, f fixture) {
	s := f.migrated(t)
	mine, red, theirs := alertOf(t, "mine", t0), alertOf(t, "red", t0), received(t, "1")
	red.TLP, red.SharedSeverity = federation.TLPRed, ""
	for _, a := range []federation.Alert{mine, red} {
		if _, _, err := s.RaiseAlert(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
	}
	must(s.ReceiveAlerts(t.Context(), []federation.Alert{theirs}, nil))(t)
	back := []string{"DROP INDEX alerts_shared", "DROP INDEX alerts_received", "DROP INDEX alerts_closed", "DROP INDEX outbox_alert", "DELETE FROM auroramesh_migrations WHERE name = '0008_alert_versions'", "DROP TABLE published_alerts", "ALTER TABLE outbox DROP COLUMN peer", "ALTER TABLE outbox DROP COLUMN version", "ALTER TABLE outbox DROP COLUMN withdraws",
		"CREATE TABLE shared_alerts (alert_id text PRIMARY KEY, sequence bigint NOT NULL, shared_at " + s.dialect.timeType + " NOT NULL)",
		"INSERT INTO shared_alerts VALUES ('a-1', 7, " + s.dialect.now + ")"}
	for _, c := range []string{"version", "shared_severity", "retraction", "retracted_at", "origin_status", "origin_updated_at"} {
		back = append(back, "ALTER TABLE alerts DROP COLUMN "+c)
	}
	for _, b := range back {
		if _, err := s.writer.ExecContext(t.Context(), b); err != nil {
			t.Fatal(b, err)
		}
	}
	equal(t, "applied", must(s.Migrate(t.Context()))(t), []string{"0008_alert_versions"})
	later := map[string]string{"sqlite": "INTEGER NOT NULL DEFAULT 0", "postgres": "boolean NOT NULL DEFAULT false"} // of a migration after it
	if _, err := s.writer.ExecContext(t.Context(), "ALTER TABLE published_alerts ADD COLUMN passed "+later[s.dialect.name]); err != nil {
		t.Fatal(err)
	}
	for _, a := range []federation.Alert{mine, red, theirs} {
		equal(t, "the row", must(s.Alert(t.Context(), a.ID))(t), a)
	}
	if got := must(s.Sharing(t.Context(), "a-1", "site-b"))(t); got.Version != 1 || got.Sequence != 7 {
		t.Errorf("its sequence: %+v", got)
	}
}

// An alert is never out of the outbox with its sequence unknown.
func sharingIsNotedAsOne(t *testing.T, f fixture) {
	s := f.migrated(t)
	if _, _, err := s.RaiseAlert(t.Context(), alertOf(t, "a", t0), []Outgoing{{MsgID: "1", AlertID: "a-1"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.ExecContext(t.Context(), "DROP TABLE published_alerts"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Published(t.Context(), t0, []Confirmed{{Queued{ID: 1, Outgoing: Outgoing{AlertID: "a-1"}}, 1}}); err == nil {
		t.Error("a sequence that cannot be noted is no error")
	}
	equal(t, "what is left", messages(t, s), []string{"1"})
}

// A relay that reports late must not delete a row that it never saw.
func outboxIDsNeverReturn(t *testing.T, f fixture) {
	s := f.migrated(t)
	seen := map[int64]bool{}
	for i := range 3 {
		if _, _, err := s.RaiseAlert(t.Context(), alertOf(t, fmt.Sprint(i), t0), []Outgoing{{MsgID: "m"}}); err != nil {
			t.Fatal(err)
		}
		id := must(s.Outbox(t.Context(), 1))(t)[0].ID
		if seen[id] {
			t.Errorf("the id %d was given twice", id)
		}
		seen[id] = true
		clearOutbox(t, s)
	}
}
