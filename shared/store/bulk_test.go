package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// texts are what an array in the form of text might be read wrongly by.
var texts = []string{"", "NULL", "{}", `{"a",NULL}`, `"`, `\`, `a\`, `\x41`, `\u0000`, "'", "a,b", " a ", "?", "$1", "line\nbreak\ttab", awkward}

// awkwardAlerts are alerts from a peer that have these texts wherever a text may stand,
// and all that may be absent in turn.
func awkwardAlerts(t *testing.T) []federation.Alert {
	t.Helper()
	as := make([]federation.Alert, len(texts))
	for i, text := range texts {
		a := received(t, fmt.Sprintf("awkward-%d", i))
		a.Title, a.Description, a.RawLog, a.AssetType, a.Origin.SiteName = text+" title", text, text, text, text
		a.IOCs = append(a.IOCs, federation.IOC{Type: federation.FilePath, Value: text + "/x"}, federation.IOC{Type: federation.UserAgent, Value: text})
		a.MitreTechniques, a.AffectedAssets = []string{"T1059", "T1059"}, []string{text, "b"}
		if i%2 == 0 {
			at := after(time.Duration(i) * time.Microsecond)
			a.ObservedAt = &at
			a.MitreTechniques, a.AffectedAssets = []string{}, []string{}
		}
		as[i] = a
	}
	return as
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
	for _, arrival := range must(s.ReceiveAlerts(t.Context(), as, event))(t) {
		equal(t, "in a batch", arrival, Stored)
	}
	batch := storedIn(t, s)
	for _, a := range as {
		equal(t, "the row", must(s.Alert(t.Context(), a.ID))(t), a)
	}
	equal(t, "messages", len(batch.Outbox), len(as))

	begin()
	for _, a := range as {
		equal(t, "by itself", must(s.ReceiveAlerts(t.Context(), []federation.Alert{a}, event))(t), []Arrival{Stored})
	}
	equal(t, "one by one", storedIn(t, s), batch)

	begin()
	err := s.write(t.Context(), "storing by the query builder", func(ctx context.Context, tx bun.Tx) error {
		var hashes []string
		if err := insertRows(ctx, tx, batch.Alerts, true, "dedup_hash", &hashes); err != nil {
			return err
		}
		equal(t, "hashes that came back", len(hashes), len(as))
		if err := insertRows(ctx, tx, batch.Marks, false, "", nil); err != nil {
			return err
		}
		return insertRows(ctx, tx, batch.Outbox, false, "", nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "by the query builder", storedIn(t, s), batch)
}
