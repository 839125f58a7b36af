package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
)

// raised is alert id of a site; got is how a peer stores it.
func raised(id, severity, tlp string) row {
	return row{ID: id, Severity: severity, TLP: tlp, Source: "test", Title: "alert " + id, DedupHash: "hash of " + id}
}

func got(r row, from, id string) row {
	r.OriginSite, r.OriginID, r.Source, r.ID, r.DedupHash = from, r.ID, "federation:"+from, id, "replay of "+r.ID
	return r
}

var (
	high   = raised("1", "high", "amber")
	worst  = raised("2", "critical", "clear")
	medium = raised("3", "medium", "clear")
	red    = raised("4", "critical", "red")
)

func TestTheCheckSeesWhatIsWrong(t *testing.T) {
	kept := []row{high, worst, medium, red}
	arrived := []row{got(high, "a", "11"), got(worst, "a", "12")}
	changed := got(worst, "a", "12")
	changed.Severity = "high"
	other := got(worst, "a", "12")
	other.Source = "test"
	twice := raised("5", "low", "clear")
	twice.DedupHash = high.DedupHash
	for name, c := range map[string]struct {
		a, b     []row
		answered []string
		wrong    string // the one list that is not empty, and what is in it
	}{
		"nothing":                      {a: kept, b: arrived, answered: []string{"1", "2", "3", "4"}},
		"no alerts at all":             {},
		"one is lost":                  {a: kept, b: arrived[:1], wrong: "lost 2"},
		"all are lost":                 {a: kept, wrong: "lost 1 2"},
		"one is there twice":           {a: kept, b: append(slices.Clip(arrived), got(high, "a", "13")), wrong: "duplicated 1"},
		"one is not severe enough":     {a: kept, b: append(slices.Clip(arrived), got(medium, "a", "13")), wrong: "forbidden 3"},
		"the label of one forbids it":  {a: kept, b: append(slices.Clip(arrived), got(red, "a", "13")), wrong: "forbidden 4"},
		"one has another severity":     {a: kept, b: []row{arrived[0], changed}, wrong: "changed 2"},
		"one has another source":       {a: kept, b: []row{arrived[0], other}, wrong: "changed 2"},
		"one was never raised":         {a: kept[1:], b: arrived, wrong: "unknown 1"},
		"one came home":                {a: append(slices.Clip(kept), got(high, "a", "13")), b: arrived, wrong: "echoed 1"},
		"one was stored twice at home": {a: append(slices.Clip(kept), twice), b: arrived, wrong: "doubled 5"},
		"one was answered for in vain": {a: kept, b: arrived, answered: []string{"1", "6", "6"}, wrong: "forgotten 6"},
	} {
		t.Run(name, func(t *testing.T) {
			r := compare(gate{[]string{"critical", "high"}, []string{"clear", "green", "amber"}}, []queue{{"a", c.a, c.answered}, {"b", c.b, nil}})
			var wrong []string
			for what, ids := range lists(r) {
				if len(ids) > 0 {
					wrong = append(wrong, what+" "+strings.Join(ids, " "))
				}
			}
			if strings.Join(wrong, "; ") != c.wrong || r.Right != (c.wrong == "") {
				t.Errorf("it found %q and said right: %t; want %q", wrong, r.Right, c.wrong)
			}
			if p := r.Pairs[0]; p.Accepted != len(queue{Rows: c.a}.local()) || p.Admitted-p.Present != len(p.Lost) {
				t.Errorf("%d accepted, %d admitted, %d present, %d lost", p.Accepted, p.Admitted, p.Present, len(p.Lost))
			}
		})
	}
}

// lists are the lists of what site a has of its own and site b of it.
func lists(r report) map[string][]string {
	o, p := r.Sites[0], r.Pairs[0]
	return map[string][]string{"forgotten": o.Forgotten, "doubled": o.Doubled, "echoed": o.Echoed,
		"lost": p.Lost, "duplicated": p.Duplicated, "forbidden": p.Forbidden, "changed": p.Changed, "unknown": p.Unknown}
}

// filled is a database of the mesh's own with the given alerts in it.
func filled(t *testing.T, dsn string, alerts ...federation.Alert) string {
	t.Helper()
	st, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts {
		if a.Origin == nil {
			_, _, err = st.RaiseAlert(t.Context(), a, nil)
		} else {
			_, err = st.ReceiveAlerts(t.Context(), []federation.Alert{a}, func([]store.Arrived) []store.Outgoing { return []store.Outgoing{{Subject: "none"}} })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return dsn
}

func check(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(args, &o, &e)
	return code, o.String(), e.String()
}

func TestTheCheckReadsTheDatabasesOfTheMesh(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var sent []federation.Alert
	for _, id := range []string{"one", "two"} {
		sent = append(sent, federation.NewAlert{Title: id, Severity: federation.High, Source: "test"}.Alert(id, at))
	}
	arrived := federation.Share(sent[0], natstest.Identity("site-a")).Received("three", at)
	a := filled(t, "sqlite:"+filepath.Join(t.TempDir(), "a.db"), sent...)
	for name, b := range map[string]string{
		"sqlite":   "sqlite:" + filepath.Join(t.TempDir(), "b.db"),
		"postgres": "",
	} {
		t.Run(name, func(t *testing.T) {
			if b == "" {
				b = postgrestest.Start(t)
			}
			filled(t, b, arrived)
			code, out, errs := check(t, "--json", "--site", "site-a="+a, "--site", "site-b="+b)
			var r report
			if err := json.Unmarshal([]byte(out), &r); err != nil || code != 1 {
				t.Fatalf("it ended with %d, %v: %s%s", code, err, out, errs)
			}
			if p := r.Pairs[0]; p.Admitted != 2 || p.Present != 1 || strings.Join(p.Lost, " ") != "two" || len(p.Changed) > 0 {
				t.Errorf("it found %+v", p)
			}
			if _, text, _ := check(t, "--site", "site-a="+a, "--site", "site-b="+b); !strings.Contains(text, "lost from site-a to site-b: two\n") || !strings.Contains(text, "WRONG.") {
				t.Errorf("it said %s", text)
			}

			filled(t, b, federation.Share(sent[1], natstest.Identity("site-a")).Received("four", at))
			if code, out, errs := check(t, "--site", "site-a="+a, "--site", "site-b="+b); code != 0 {
				t.Errorf("it ended with %d: %s%s", code, out, errs)
			}
			if code, out, _ := check(t, "--severities", "critical", "--site", "site-a="+a, "--site", "site-b="+b); code != 1 || !strings.Contains(out, "forbidden from site-a to site-b: one two") {
				t.Errorf("with a closer gate it ended with %d: %s", code, out)
			}
		})
	}
}

func TestWhatCannotBeCheckedIsNotRight(t *testing.T) {
	dir := t.TempDir()
	a := "site-a=" + filled(t, "sqlite:"+filepath.Join(dir, "a.db"))
	answers := filepath.Join(dir, "answers")
	if err := os.WriteFile(answers, []byte("site-c 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"no site":                 nil,
		"one site":                {"--site", a},
		"a site without database": {"--site", a, "--site", "site-b"},
		"a database that is none": {"--site", a, "--site", "site-b=sqlite:" + filepath.Join(dir, "none.db")},
		"no PostgreSQL":           {"--site", a, "--site", "site-b=postgres://127.0.0.1:1/none"},
		"answers that are none":   {"--site", a, "--site", a, "--answered", filepath.Join(dir, "none")},
		"answers of another site": {"--site", a, "--site", a, "--answered", answers},
	} {
		if code, out, errs := check(t, args...); code != 2 || errs == "" {
			t.Errorf("%s: it ended with %d: %s%s", name, code, out, errs)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "none.db")); err == nil {
		t.Error("looking for a database made one")
	}
}
