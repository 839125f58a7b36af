package store

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// texts are what an array in the form of text might be read wrongly by.
var texts = []string{"", "NULL", "{}", `{"a",NULL}`, `"`, `\`, `a\`, `\x41`, `\u0000`, "'", "a,b", " a ", "?", "$1", "line\nbreak\ttab", awkward}

// awkwardAlerts are alerts from a peer that have these texts wherever a text may stand,
// and all that may be absent in turn.
func awkwardAlerts(t *testing.T) []federation.Alert {
	t.Helper()
	as := make([]federation.Alert, 4*len(texts)) // as many as are copied
	for i := range as {
		text := texts[i%len(texts)]
		a := received(t, fmt.Sprintf("awkward-%d", i))
		a.Title, a.Description, a.RawLog, a.AssetType, a.Origin.SiteName = text+" title", text, text, text, text
		a.IOCs = append(a.IOCs, federation.IOC{Type: federation.FilePath, Value: text + "/x"}, federation.IOC{Type: federation.UserAgent, Value: text})
		a.MitreTechniques, a.AffectedAssets = []string{"T1059", "T1059"}, []string{text, "b"}
		if (i+i/len(texts))%2 == 0 {
			at := after(time.Duration(i) * time.Microsecond)
			a.ObservedAt = &at
			a.MitreTechniques, a.AffectedAssets = []string{}, []string{}
		}
		as[i] = a
	}
	as[len(as)/2].RawLog = strings.Repeat("x", 200_000) // more than is sent at once
	return as
}

func TestWhatDoesNotFitAColumnIsNotCopied(t *testing.T) {
	row := struct {
		Large int64
		Other float64
	}{Large: 1 << 31}
	v := reflect.ValueOf(&row).Elem()
	for name, c := range map[string]struct {
		oid uint32
		v   reflect.Value
	}{"too large": {pgtype.Int4OID, v.Field(0)}, "a number as text": {pgtype.TextOID, v.Field(0)}, "of another type": {pgtype.Float8OID, v.Field(1)}} {
		if b, err := appendCopied(nil, c.oid, c.v); err == nil {
			t.Errorf("%s: it is copied as % x", name, b)
		}
	}
}

// stored is all that a batch of alerts leaves in a database, in an order that does not depend on how it came there.
type stored struct {
	Alerts []alertRow
	Marks  []markRow
	Outbox []outboxRow
}

func storedIn(t *testing.T, s *Store) (all stored) {
	t.Helper()
	for _, q := range []*bun.SelectQuery{
		s.reader.NewSelect().Model(&all.Alerts).Order("id"), s.reader.NewSelect().Model(&all.Marks).Order("alert_id", "kind", "value"),
		s.reader.NewSelect().Model(&all.Outbox).Order("id"),
	} {
		if err := q.Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range all.Outbox {
		all.Outbox[i].ID = 0 // never the same again
	}
	return all
}

func aBatchIsStoredAsOneByOne(t *testing.T, f fixture) {
	s := f.migrated(t)
	as := awkwardAlerts(t)
	event := ofEach(func(a federation.Alert, _ Arrival) Outgoing {
		return Outgoing{
			Subject: a.Description, MsgID: a.ID, Priority: 3, AlertID: a.ID, Version: a.Version, Peer: "site-c", Withdraws: a.ObservedAt != nil,
			Payload: append([]byte{0, 255, '\\'}, a.RawLog...),
		}
	})
	begin := func() {
		for _, table := range []string{"alerts", "alert_marks", "outbox"} {
			if _, err := s.writer.ExecContext(t.Context(), "DELETE FROM "+table); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := must(s.ReceiveAlerts(t.Context(), as, event))(t)
	for _, arrival := range got.Arrivals {
		equal(t, "in a batch", arrival, Stored)
	}
	slices.SortFunc(got.Queued, func(a, b Queued) int { return cmp.Compare(a.ID, b.ID) })
	equal(t, "queued", got.Queued, must(s.Outbox(t.Context(), 2*len(as)))(t))
	batch := storedIn(t, s)
	for _, a := range as {
		equal(t, "the row", must(s.Alert(t.Context(), a.ID))(t), a)
	}
	equal(t, "messages", len(batch.Outbox), len(as))

	begin()
	for _, a := range as {
		equal(t, "by itself", must(s.ReceiveAlerts(t.Context(), []federation.Alert{a}, event))(t).Arrivals, []Arrival{Stored})
	}
	equal(t, "one by one", storedIn(t, s), batch)

	begin()
	err := s.write(t.Context(), "storing by the query builder", func(ctx context.Context, tx bun.Tx) error {
		var hashes []string
		if err := insertRows(ctx, tx, batch.Alerts, passOver, "dedup_hash", appendTo(&hashes)); err != nil {
			return err
		}
		equal(t, "hashes that came back", len(hashes), len(as))
		if err := insertRows(ctx, tx, batch.Marks, "", "", nil); err != nil {
			return err
		}
		return insertRows(ctx, tx, batch.Outbox, "", "", nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "by the query builder", storedIn(t, s), batch)
}

// COPY passes over nothing, so what another transaction stores meanwhile must not fail the batch.
func whatAnotherStoresMeanwhileIsAReplay(t *testing.T, f fixture) {
	s := f.migrated(t)
	as := make([]federation.Alert, 2*worthCopying) // so that they are copied
	for i := range as {
		as[i] = received(t, fmt.Sprint(i))
	}
	const theirs = worthCopying
	var got Received
	var failure error
	done := make(chan struct{})
	err := s.piped(t.Context(), "storing one of them", func(ctx context.Context, p *pipe) error {
		if _, err := insertFresh(ctx, p, []alertRow{rowOf(received(t, fmt.Sprint(theirs)))}); err != nil {
			return err
		}
		go func() {
			defer close(done)
			got, failure = s.ReceiveAlerts(t.Context(), as, nil)
		}()
		if s.dialect.copies {
			natstest.Eventually(t, "the batch waits for this transaction", func() bool {
				n := 0
				err := s.reader.NewRaw("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'COPY%'").Scan(ctx, &n)
				return err == nil && n == 1
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-done
	if failure != nil {
		t.Fatal(failure)
	}
	for i, arrival := range got.Arrivals {
		equal(t, fmt.Sprint("what became of ", i), arrival, map[bool]Arrival{false: Stored, true: Replayed}[i == theirs])
	}
	equal(t, "rows", must(s.ListAlerts(t.Context(), ask.AlertFilter{}))(t).Total, len(as))
	equal(t, "marks", len(storedIn(t, s).Marks), len(allMarksOf(storedIn(t, s).Alerts)))
}
