package store

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// big is how many rows each table has that grows with the years.
const big = 10_000

// bigTables are these tables, each with the alias that its queries give it.
var bigTables = map[string]string{
	"alerts": "a", "outbox": "o", "published_alerts": "p", "transitions": "t", "refused_alerts": "r", "refusals": "r", "resends": "r", "alert_marks": "m", "link_minutes": "lm", "audit": "au",
}

// grown are the values that tell the copies of a row apart; in each, i counts from
// 1 and later is one second later with each. An empty one leaves its column to the database.
func grown() map[reflect.Type]map[string]string {
	return map[reflect.Type]map[string]string{
		reflect.TypeFor[alertRow](): {
			"id": "id || i", "dedup_hash": "dedup_hash || i", "origin_alert_id": "origin_alert_id || i",
			"created_at": "created_at later", "updated_at": "updated_at later", "raised_at": "raised_at later",
			"severity": "CASE i % 100 WHEN 1 THEN 'high' ELSE 'low' END", "status": "CASE i % 100 WHEN 2 THEN 'new' WHEN 5 THEN 'resolved' ELSE 'triaged' END",
			"source": "CASE i % 100 WHEN 3 THEN 'wazuh' ELSE 'edr' END", "tlp": "CASE i % 100 WHEN 4 THEN 'green' ELSE 'amber' END",
		},
		reflect.TypeFor[minuteRow]():     {"link_id": "CASE i % 50 WHEN 1 THEN link_id ELSE link_id || i % 50 END", "minute": "minute + i"},
		reflect.TypeFor[markRow]():       {"alert_id": "alert_id || i", "value": "value || i", "head": "CASE i % 100 WHEN 1 THEN head ELSE 'x' || i END", "created_at": "created_at later"},
		reflect.TypeFor[outboxRow]():     {"id": "", "alert_id": "alert_id || i", "msg_id": "msg_id || i", "priority": "i % 5", "queued_at": "queued_at later"},
		reflect.TypeFor[publishedRow]():  {"alert_id": "alert_id || i", "sequence": "i", "published_at": "published_at later", "passed": "i % 2 = 1"},
		reflect.TypeFor[transitionRow](): {"id": "", "at": "at later", "what": "CASE i % 50 WHEN 1 THEN what ELSE what || i % 50 END"},
		reflect.TypeFor[refusedRow]():    {"origin_alert_id": "origin_alert_id || i", "raised_at": "raised_at later", "at": "at later"},
		reflect.TypeFor[refusalRow]():    {"sequence": "i", "alert_id": "alert_id || i", "published_at": "published_at later", "at": "at later"},
		reflect.TypeFor[auditRow]():      {"seq": "seq + i", "id": "id || i"},
		reflect.TypeFor[resendRow]():     {"alert_id": "alert_id || i", "at": "at later"},
	}
}

// grow copies every row of each table until it is big.
func grow(t *testing.T, s *Store) {
	t.Helper()
	later := "+ i * 1000000"
	if s.dialect.name == "postgres" {
		later = "+ i * interval '1 second'"
	}
	for row, values := range grown() {
		table := s.writer.Table(row)
		var columns, copies []string
		for _, f := range table.Fields {
			value, ok := values[f.Name]
			switch {
			case ok && value == "":
				continue
			case !ok:
				value = f.Name
			}
			columns, copies = append(columns, f.Name), append(copies, strings.Replace(value, "later", later, 1))
		}
		var rows int
		if err := s.writer.NewRaw("SELECT count(*) FROM ?", bun.Ident(table.Name)).Scan(t.Context(), &rows); err != nil || rows == 0 {
			t.Fatalf("%s has %d rows to be copied: %v", table.Name, rows, err)
		}
		if _, err := s.writer.ExecContext(t.Context(), fmt.Sprintf(
			"INSERT INTO %s (%s) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT %s FROM %s, n",
			table.Name, strings.Join(columns, ", "), big/rows, strings.Join(copies, ", "), table.Name)); err != nil {
			t.Fatalf("growing %s: %v", table.Name, err)
		}
	}
	analyse(t, s)
}

// analyse tells the database what its tables hold. PostgreSQL goes by an index alone
// only where VACUUM has found all rows visible to everyone, which somebody else's
// snapshot delays, and so does a commit that is not flushed yet.
func analyse(t *testing.T, s *Store) {
	t.Helper()
	statements := []string{"ANALYZE"}
	if s.dialect.name == "postgres" {
		statements = []string{"DO $$ BEGIN SET LOCAL synchronous_commit = on; PERFORM pg_current_xact_id(); END $$", "VACUUM ANALYZE"}
	}
	for end := time.Now().Add(30 * time.Second); ; {
		for _, statement := range statements {
			if _, err := s.writer.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		if s.dialect.name != "postgres" {
			return
		}
		var unseen int
		err := s.writer.NewRaw("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname IN ? AND relallvisible < relpages / 2", bun.Tuple(slices.Collect(maps.Keys(bigTables)))).Scan(t.Context(), &unseen)
		if err != nil || time.Now().After(end) {
			t.Fatalf("%d tables are not visible to everyone: %v", unseen, err)
		}
		if unseen == 0 {
			return
		}
	}
}

// statements notes what is sent to the database: by the query builder, and through a [pipe].
type statements struct {
	mu   sync.Mutex
	sent []asked
}

type asked struct {
	query string
	args  []any
}

func (*statements) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (n *statements) AfterQuery(_ context.Context, e *bun.QueryEvent) { n.note(asked{query: e.Query}) }

func (*statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (*statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (*statements) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (n *statements) TraceBatchQuery(_ context.Context, _ *pgx.Conn, q pgx.TraceBatchQueryData) {
	n.note(asked{q.SQL, q.Args})
}

func (*statements) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (n *statements) note(a asked) {
	n.mu.Lock()
	defer n.mu.Unlock()
	op, _, _ := strings.Cut(strings.ToUpper(strings.TrimLeft(a.query, "( ")), " ")
	if slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE"}, op) {
		n.sent = append(n.sent, a)
	}
}

func (n *statements) take() []asked {
	n.mu.Lock()
	defer n.mu.Unlock()
	sent := n.sent
	n.sent = nil
	return sent
}

// watched is a further store over the database of s, of which sent notes what it sends.
func watched(t *testing.T, f fixture, s *Store, sent *statements) *Store {
	t.Helper()
	w := f.open(t)
	if s.dialect.pipes {
		config := must(pgx.ParseConfig(f.dsn))(t)
		config.DefaultQueryExecMode, config.Tracer = pgx.QueryExecModeExec, sent
		w = overPostgres(config, DefaultLimits)
		t.Cleanup(func() { _ = w.Close() }) // the test is over
	}
	w.writer, w.reader = w.writer.WithQueryHook(sent), w.reader.WithQueryHook(sent)
	return w
}

// calls is every method of the store that a request or a tick comes to, by its name.
// A method that has no line here fails the test.
func calls(alert, other federation.Alert) map[string][]func(context.Context, *Store) error {
	one := func(f func(context.Context, *Store) error) []func(context.Context, *Store) error {
		return []func(context.Context, *Store) error{f}
	}
	list := func(f ask.AlertFilter) func(context.Context, *Store) error {
		return func(ctx context.Context, s *Store) error { _, err := s.ListAlerts(ctx, f); return err }
	}
	page := func(q ask.AlertQuery) func(context.Context, *Store) error {
		return func(ctx context.Context, s *Store) error { _, err := s.PageAlerts(ctx, q); return err }
	}
	const peer = federation.SiteID("site-b")
	span := federation.Span{After: federation.Mark{At: after(time.Hour), ID: "x"}, Until: after(2 * time.Hour)}
	late := after(1000 * time.Hour)
	return map[string][]func(context.Context, *Store) error{
		"Alert": one(func(ctx context.Context, s *Store) error { _, err := s.Alert(ctx, alert.ID); return err }),
		"ListAlerts": {
			list(ask.AlertFilter{}), list(ask.AlertFilter{Severity: federation.High}), list(ask.AlertFilter{Status: federation.New}),
			list(ask.AlertFilter{Source: "wazuh"}), list(ask.AlertFilter{TLP: federation.TLPGreen}), list(ask.AlertFilter{Severity: federation.High, Source: "wazuh"}),
		},
		"CountAlertsOf": one(func(ctx context.Context, s *Store) error {
			_, err := s.CountAlertsOf(ctx, []federation.SiteID{"site-b", "site-c"})
			return err
		}),
		"PageAlerts": {
			page(ask.AlertQuery{Text: "beacon"}), page(ask.AlertQuery{Text: "no such thing", Severity: federation.High}), page(ask.AlertQuery{Text: "203.0.113.7", Status: federation.New, Before: ask.PlaceOf(other)}),
			page(ask.AlertQuery{Severity: federation.High, Status: federation.New, Origin: ask.OriginPeers}),
			page(ask.AlertQuery{}), page(ask.AlertQuery{Severity: federation.High}), page(ask.AlertQuery{Status: federation.New}),
			page(ask.AlertQuery{Origin: ask.OriginLocal}), page(ask.AlertQuery{Origin: ask.OriginPeers}), page(ask.AlertQuery{Origin: "site:site-b"}),
			page(ask.AlertQuery{After: ask.PlaceOf(other)}), page(ask.AlertQuery{Before: ask.PlaceOf(other), Severity: federation.High}),
			page(ask.AlertQuery{Text: "203.0.113."}), page(ask.AlertQuery{Since: late, Until: late.Add(time.Hour)}),
		},
		"LinkMinutes": one(func(ctx context.Context, s *Store) error {
			_, err := s.LinkMinutes(ctx, linkAB, t0, after(time.Hour), 1)
			return err
		}),
		"Campaigns": one(func(ctx context.Context, s *Store) error {
			_, err := s.Campaigns(ctx, ask.CampaignQuery{Limit: 5}, after(big*time.Second-time.Minute))
			return err
		}),
		"RaiseAlert": one(func(ctx context.Context, s *Store) error {
			_, _, err := s.RaiseAlert(ctx, alert, nil) // a double
			return err
		}),
		"RaiseAlerts": one(func(ctx context.Context, s *Store) error {
			_, err := s.RaiseAlerts(ctx, own.ID, federation.Gate{}, []Raising{{Alert: alert}, {Alert: other}}, nil) // doubles
			return err
		}),
		"AlertsOf": one(func(ctx context.Context, s *Store) error {
			_, err := s.AlertsOf(ctx, []string{alert.ID, other.ID})
			return err
		}),
		"UpdateAlert": one(func(ctx context.Context, s *Store) error {
			_, err := s.UpdateAlert(ctx, alert.ID, federation.AlertPatch{Status: federation.Investigating}, late, func(_, _ federation.Alert) ([]Outgoing, error) { return nil, nil })
			return err
		}),
		"ReceiveAlerts": one(func(ctx context.Context, s *Store) error {
			newer := other
			newer.Version = 9
			_, err := s.ReceiveAlerts(ctx, []federation.Alert{newer}, nil, RefusedAlert{OriginSite: peer, OriginID: "n", Version: 1, RaisedAt: late, At: late})
			return err
		}),
		"AlertOf": one(func(ctx context.Context, s *Store) error {
			_, err := s.AlertOf(ctx, peer, other.Origin.AlertID)
			return err
		}),
		"NoteRefused": one(func(ctx context.Context, s *Store) error {
			return s.NoteRefused(ctx, RefusedAlert{OriginSite: peer, OriginID: "m", Version: 1, RaisedAt: late, At: late})
		}),
		"RefusedAlerts": one(func(ctx context.Context, s *Store) error { _, err := s.RefusedAlerts(ctx, "site-c"); return err }),
		"Received": one(func(ctx context.Context, s *Store) error {
			_, err := s.Received(ctx, []string{other.DedupHash})
			return err
		}),
		"Outbox":      one(func(ctx context.Context, s *Store) error { _, err := s.Outbox(ctx, 100); return err }),
		"OutboxDepth": one(func(ctx context.Context, s *Store) error { _, _, err := s.OutboxDepth(ctx); return err }),
		"Places":      one(func(ctx context.Context, s *Store) error { _, err := s.Places(ctx, alert.ID, 2); return err }),
		"Sharing":     one(func(ctx context.Context, s *Store) error { _, err := s.Sharing(ctx, alert.ID, peer); return err }),
		"OwnSharing":  one(func(ctx context.Context, s *Store) error { _, err := s.OwnSharing(ctx, alert.ID, peer); return err }),
		"Sharings": one(func(ctx context.Context, s *Store) error {
			_, err := s.Sharings(ctx, []string{alert.ID, "x"}, "", peer)
			return err
		}),
		"EachShared": one(func(ctx context.Context, s *Store) error {
			return s.EachShared(ctx, span, 100, func(federation.Alert) {})
		}),
		"EachReceived": one(func(ctx context.Context, s *Store) error {
			return s.EachReceived(ctx, peer, span, 100, func(federation.Held) {})
		}),
		"ForgetResends":   one(func(ctx context.Context, s *Store) error { return s.ForgetResends(ctx, t0.Add(-time.Hour)) }),
		"Reconciliations": one(func(ctx context.Context, s *Store) error { _, err := s.Reconciliations(ctx); return err }),
		"Receptions": one(func(ctx context.Context, s *Store) error {
			_, err := s.Receptions(ctx, peer, []string{"1", "2"})
			return err
		}),
		"SharedSince": one(func(ctx context.Context, s *Store) error {
			_, _, err := s.SharedSince(ctx, after(5000*time.Second), []federation.Severity{federation.Critical, federation.High})
			return err
		}),
		"NewestShared": one(func(ctx context.Context, s *Store) error {
			_, err := s.NewestShared(ctx, after(5000*time.Second), []federation.Severity{federation.Critical, federation.High})
			return err
		}),
		"Published": one(func(ctx context.Context, s *Store) error {
			_, err := s.Published(ctx, late, []Confirmed{{Queued: Queued{ID: 1, Outgoing: Outgoing{AlertID: alert.ID, Version: 1}}, Sequence: 1}})
			return err
		}),
		"Resend": one(func(ctx context.Context, s *Store) error {
			_, err := s.Resend(ctx, peer, []string{alert.ID}, late, func(a federation.Alert) (Outgoing, bool, error) {
				return Outgoing{AlertID: a.ID, Version: 9, Peer: peer}, true, nil
			})
			return err
		}),
		"RecordReconciliation": one(func(ctx context.Context, s *Store) error {
			return s.RecordReconciliation(ctx, peer, federation.Inbound, federation.Reconciliation{At: late, From: t0, Until: late})
		}),
		"RecordRefusals": one(func(ctx context.Context, s *Store) error {
			return s.RecordRefusals(ctx, []Refusal{{Peer: peer, Sequence: 1, PublishedAt: late, At: after(RefusalAge)}})
		}),
		"RefusalsOf": one(func(ctx context.Context, s *Store) error { _, err := s.RefusalsOf(ctx, alert.ID, 1); return err }),
		"ForgetRefusals": one(func(ctx context.Context, s *Store) error {
			return s.ForgetRefusals(ctx, "site-c", t0, after(time.Hour))
		}),
		"Refusing": one(func(ctx context.Context, s *Store) error { _, err := s.Refusing(ctx, 1, 50); return err }),
		"CountRefusals": one(func(ctx context.Context, s *Store) error {
			_, err := s.CountRefusals(ctx, peer, Held{Subjects: []string{"s"}, First: 1, Last: 50, Since: t0})
			return err
		}),
		"LinkHistory": one(func(ctx context.Context, s *Store) error {
			_, _, _, err := s.LinkHistory(ctx, own.ID, linkAB, t0, 10)
			return err
		}),
		"RecordGossips": one(func(ctx context.Context, s *Store) error {
			_, err := s.RecordGossips(ctx, own.ID, []federation.Gossip{gossipOf("site-b", late)}, late, ages) // the link comes back, which is told
			return err
		}),
		"Age": one(func(ctx context.Context, s *Store) error {
			_, err := s.Age(ctx, own.ID, late.Add(time.Hour), ages)
			return err
		}),
		"RecordEchoes": one(func(ctx context.Context, s *Store) error {
			_, err := s.RecordEchoes(ctx, own.ID, map[string]federation.Echo{linkAB: {At: late}}, late, ages)
			return err
		}),
		"ForgetClosedAlerts": one(func(ctx context.Context, s *Store) error {
			_, err := s.ForgetClosedAlerts(ctx, late, late, 20)
			return err
		}),
		"ForgetPassed": one(func(ctx context.Context, s *Store) error {
			_, err := s.ForgetPassed(ctx, after(time.Minute), 50)
			return err
		}),
		"ForgetHistory": one(func(ctx context.Context, s *Store) error {
			_, err := s.ForgetHistory(ctx, after(time.Minute), 50)
			return err
		}),
		"ForgetRefusedAlerts": one(func(ctx context.Context, s *Store) error {
			_, err := s.ForgetRefusedAlerts(ctx, after(time.Minute), late, 50)
			return err
		}),
		"SetGate": one(func(ctx context.Context, s *Store) error {
			_, err := s.SetGate(ctx, "site-c", federation.Inbound, federation.GateSetting{}, late)
			return err
		}),
		"AppendAudit": one(func(ctx context.Context, s *Store) error {
			_, err := s.AppendAudit(ctx, []access.Entry{{ID: "a"}, {ID: "a7"}}) // both are there, and the head is not where the copies end
			return err
		}),
		"Audit":       {func(ctx context.Context, s *Store) error { _, err := s.Audit(ctx, 0, 50); return err }, func(ctx context.Context, s *Store) error { _, err := s.Audit(ctx, 9000, 50); return err }},
		"VerifyAudit": one(func(ctx context.Context, s *Store) error { _, err := s.VerifyAudit(ctx, nil); return err }),
		"DeleteGate": one(func(ctx context.Context, s *Store) error {
			return s.DeleteGate(ctx, "site-c", federation.Inbound, late)
		}),
	}
}

// small are the methods that come to no big table but the outbox, which they fill.
var small = []string{
	"Key", "Keys", "CreateKey", "UseKey", "RevokeKey", "OpenSession", "OpenIssuerSession", "KeepDrill", "Drills", "IssuerSession", "Session", "CloseSession", "DeleteSessions", "AuditHead",
	"TrustedKey", "TrustedKeys", "TrustedKeysOf", "PinFirstSeen", "PinKey", "UnpinKey", "NoteKeyRefused",
	"BacklogDrops", "Close", "FindLink", "Gates", "Inbound", "Links", "LinksTo", "Migrate", "Migrations", "PeerGates", "Peers", "Ready", "StoresBeside",
	"RecordDrop", "RecordRepair", "RecordWatches", "SetAgents", "Sites", "Stats", "UpsertOwnSite", "Watches",
	"BeginRelayed", "EndRelayed", "Mesh", "PassedPeers", "PullsFrom", "RelayedOnly", "RelayedPeers", "Relays", "SetPassed", "NoteTold", "Told",
}

func everyCallUsesIndexes(t *testing.T, f fixture) {
	s := f.migrated(t)
	alert, other := alertOf(t, "mine", t0), received(t, "1")
	alert.RawLog, other.RawLog = strings.Repeat("x", 800), strings.Repeat("x", 800) // a row is much larger than its place in an index
	out := Outgoing{MsgID: "m", AlertID: alert.ID, Version: 1, Subject: "s", Payload: []byte(alert.RawLog)}
	if _, _, err := s.RaiseAlert(t.Context(), alert, []Outgoing{out}); err != nil {
		t.Fatal(err)
	}
	must(s.UpsertOwnSite(t.Context(), own, t0))(t)
	record(t, s, gossipOf("site-b", t0), t0)
	echoed(t, s, federation.Answered, t0)
	echoed(t, s, federation.Answered, after(time.Minute))
	must(s.Age(t.Context(), own.ID, after(time.Hour), ages))(t)
	refused := RefusedAlert{OriginSite: "site-b", OriginID: "r", Version: 1, RaisedAt: t0, At: t0}
	must(s.ReceiveAlerts(t.Context(), []federation.Alert{other}, nil, refused))(t)
	must(s.Resend(t.Context(), "site-b", []string{alert.ID}, t0, func(federation.Alert) (Outgoing, bool, error) { return out, true, nil }))(t)
	must(s.Published(t.Context(), t0, []Confirmed{{Queued: Queued{ID: 1, Outgoing: out}, Sequence: 1}}))(t)
	for _, err := range []error{
		s.RecordRefusals(t.Context(), []Refusal{{Peer: "site-b", Sequence: 1, PublishedAt: t0, Subject: "s", AlertID: alert.ID, At: t0}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	appended(t, s, "a")
	grow(t, s)

	all := calls(alert, other)
	var methods []string
	for m := range reflect.TypeFor[*Store]().Methods() {
		methods = append(methods, m.Name)
	}
	listed := append(slices.Collect(maps.Keys(all)), small...)
	slices.Sort(listed)
	equal(t, "the methods that the test knows", listed, methods)

	sent := new(statements)
	w := watched(t, f, s, sent)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, call := range all[name] {
			sent.take()
			if err := call(t.Context(), w); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			all := sent.take()
			if len(all) == 0 {
				t.Errorf("%s asked nothing", name)
			}
			for _, a := range all {
				if how := plan(t, s, a.query, a.args...); scans(how) {
					t.Errorf("%s reads a whole table, in %s:\n%s", name, a.query, how)
				}
			}
		}
	}
}

// scanned finds what a plan reads from end to end and not by an index: PostgreSQL
// names the table, SQLite its alias.
var scanned = regexp.MustCompile(`Seq Scan on (\w+)|SCAN (\w+)(?:\n|$)`)

func scans(plan string) bool {
	for _, m := range scanned.FindAllStringSubmatch(plan, -1) {
		for table, alias := range bigTables {
			if m[1] == table || m[2] == table || m[2] == alias {
				return true
			}
		}
	}
	return false
}

func TestScansAreSeenInPlans(t *testing.T) {
	for text, want := range map[string]bool{
		"Seq Scan on alerts a  (cost=0.00..1.00)":         true,
		"Limit\n  ->  Parallel Seq Scan on outbox":        true,
		"Seq Scan on sites s":                             false,
		"Index Only Scan using alerts_titles on alerts a": false,
		"SCAN a\n": true,
		"SCAN a USING COVERING INDEX alerts_titles\n":        false,
		"SEARCH a USING INDEX alerts_dedup_hash (dedup_hash": false,
		"SCAN s": false,
	} {
		if got := scans(text); got != want {
			t.Errorf("%q reads a whole table: %t", text, got)
		}
	}
}
