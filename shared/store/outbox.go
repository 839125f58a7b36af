package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/subject"
	"github.com/auroramesh/auroramesh/shared/tracing"
)

// Outgoing is a message that must be published.
type Outgoing struct {
	Subject string `json:"subject"`
	// MsgID is the same at every try, so that the stream drops a second publish.
	MsgID    string `json:"msg_id"`
	Priority int    `json:"priority"` // higher goes first
	// AlertID is the alert that the message shares with the peers, and Version the
	// version of it; empty in any other message.
	AlertID string `json:"alert_id,omitempty"`
	Version int    `json:"version,omitempty"`
	// Peer is the one peer for whom the message is; empty where it is for all alike.
	Peer federation.SiteID `json:"peer,omitempty"`
	// Withdraws says that what was published of the alert before is taken out of the
	// stream first: it may not leave any more. Without a subject the message does only that.
	Withdraws bool   `json:"withdraws,omitempty"`
	Payload   []byte `json:"payload,omitempty"`
	// Proof is set where another site said it, and this one, as its hub, passes it on.
	Proof *function.Proof `json:"proof,omitempty"`
	// Trace is that within which the message was committed, see package tracing. Where
	// it is empty as the message is put into the outbox, it is that of the context.
	Trace string `json:"trace,omitempty"`
}

// EventMessage is an event as it is published at its site. Its message id is made
// of what it is about, so that a second publish of it is known as such.
func EventMessage(own federation.SiteID, e federation.Event, about ...string) Outgoing {
	return eventMessage(own, e.Kind, e.At, e, about...)
}

func eventMessage(own federation.SiteID, kind federation.EventKind, at time.Time, event any, about ...string) Outgoing {
	payload, err := json.Marshal(event)
	if err != nil { // a time beyond the year 9999, which validation lets nobody bring in
		panic(fmt.Sprintf("encoding the event %s of %s: %v", kind, about, err))
	}
	return Outgoing{
		Subject: subject.Event(own, kind),
		MsgID:   fmt.Sprintf("%s.%s.%d", kind, strings.Join(about, "."), at.UnixMicro()),
		Payload: payload,
	}
}

// maxTogether bounds how many alerts one [StoredMessages] message names.
const maxTogether = 200

// StoredMessages tells of alerts that were stored together: of one with the alert as it
// is, of several by their ids.
func StoredMessages(own federation.SiteID, at time.Time, alerts []federation.Alert) (out []Outgoing) {
	if len(alerts) == 1 {
		return []Outgoing{EventMessage(own, federation.Event{Kind: federation.AlertStored, At: at, Alert: &alerts[0]}, alerts[0].ID)}
	}
	for several := range slices.Chunk(alerts, maxTogether) {
		together := federation.StoredTogether{Kind: federation.AlertsStored, At: at, IDs: make([]string, len(several))}
		for i, a := range several {
			together.IDs[i] = a.ID
		}
		out = append(out, eventMessage(own, together.Kind, at, together, together.IDs[0]))
	}
	return out
}

// Queued is a message in the outbox.
type Queued struct {
	ID int64 `json:"id"`
	Outgoing
	QueuedAt time.Time `json:"queued_at"`
}

type outboxRow struct {
	bun.BaseModel `bun:"table:outbox,alias:o"`
	ID            int64             `bun:"id,pk,autoincrement"`
	Subject       string            `bun:"subject"`
	MsgID         string            `bun:"msg_id"`
	Priority      int               `bun:"priority"`
	AlertID       string            `bun:"alert_id"`
	Version       int               `bun:"version"`
	Peer          federation.SiteID `bun:"peer"`
	Withdraws     bool              `bun:"withdraws"`
	Payload       []byte            `bun:"payload"`
	QueuedAt      timestamp         `bun:"queued_at"`
	Traceparent   string            `bun:"traceparent"`
	Proof         proof             `bun:"proof"`
}

// proof is that of a message as it is kept: JSON, and nothing for a message of the site itself.
type proof struct{ *function.Proof }

// AppendQuery implements [schema.QueryAppender].
func (p proof) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	_, text, _, err := p.text()
	return gen.Dialect().AppendString(b, text), err
}

// text implements [texter].
func (p proof) text() (sql, text string, null bool, err error) { //nolint:unparam // other values have other types, and may be NULL
	if p.Proof == nil {
		return "text", "", false, nil
	}
	data, err := json.Marshal(p.Proof)
	return "text", string(data), false, err
}

// Scan implements [database/sql.Scanner].
func (p *proof) Scan(src any) error {
	*p = proof{}
	text, ok := src.(string)
	if data, bytes := src.([]byte); bytes {
		text, ok = string(data), true
	}
	switch {
	case !ok:
		return fmt.Errorf("a proof cannot be read from %T", src)
	case text == "":
		return nil
	}
	return json.Unmarshal([]byte(text), &p.Proof)
}

// enqueue writes messages to the outbox, in the transaction of what they are about.
func enqueue(ctx context.Context, tx bun.Tx, at time.Time, out ...Outgoing) error {
	return insertAll(ctx, tx, outboxRows(ctx, at, out), false, "", nil)
}

// putOut adds to a pipe what writes rows to the outbox, and gives them their ids once that
// has been seen.
func putOut(p *pipe, rows []outboxRow) error {
	if len(rows) == 0 {
		return nil
	}
	at := make(map[string]int, len(rows)) // no two of a transaction have one message id
	for i, r := range rows {
		at[r.MsgID] = i
	}
	queued, err := inserting(p, rows, "", "id, msg_id", func(scan func(...any) error) error {
		var id int64
		var msg string
		err := scan(&id, &msg)
		if i, ok := at[msg]; ok {
			rows[i].ID = id
		}
		return err
	})
	p.add(queued)
	return err
}

func outboxRows(ctx context.Context, at time.Time, out []Outgoing) []outboxRow {
	rows := make([]outboxRow, len(out))
	for i, o := range out {
		rows[i] = outboxRow{
			Subject: o.Subject, MsgID: o.MsgID, Priority: o.Priority, AlertID: o.AlertID, Version: o.Version, Peer: o.Peer, Withdraws: o.Withdraws,
			Payload:  append([]byte{}, o.Payload...), // never NULL
			QueuedAt: stamp(at), Traceparent: cmp.Or(o.Trace, tracing.Parent(ctx)), Proof: proof{o.Proof},
		}
	}
	return rows
}

// overtake lets go of what still waits to be published of alerts that are withdrawn by out.
func overtake(ctx context.Context, p *pipe, out []Outgoing) error {
	for _, o := range out {
		if !o.Withdraws {
			continue
		}
		tx, err := p.see(ctx)
		if err == nil {
			_, err = tx.NewDelete().Model((*outboxRow)(nil)).Where("alert_id = ?", o.AlertID).Where("version < ?", o.Version).Exec(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Outbox returns up to limit messages that wait, the highest priority first and
// within one the oldest.
func (s *Store) Outbox(ctx context.Context, limit int) ([]Queued, error) {
	var rows []outboxRow
	if err := waiting(s.reader.NewSelect().Model(&rows), limit).Scan(ctx); err != nil {
		return nil, failed("reading the outbox", err)
	}
	return queuedOf(rows), nil
}

func queuedOf(rows []outboxRow) []Queued {
	queued := make([]Queued, len(rows))
	for i, r := range rows {
		queued[i] = Queued{
			ID:       r.ID,
			Outgoing: Outgoing{Subject: r.Subject, MsgID: r.MsgID, Priority: r.Priority, AlertID: r.AlertID, Version: r.Version, Peer: r.Peer, Withdraws: r.Withdraws, Payload: r.Payload, Trace: r.Traceparent, Proof: r.Proof.Proof},
			QueuedAt: r.QueuedAt.Time,
		}
	}
	return queued
}

func waiting(q *bun.SelectQuery, limit int) *bun.SelectQuery {
	return q.OrderExpr("priority DESC, id ASC").Limit(int64(limit))
}

// Confirmed is a message of the outbox that its stream has confirmed.
type Confirmed struct {
	Queued
	Sequence uint64 `json:"sequence"` // in the stream
}

type publishedRow struct {
	bun.BaseModel `bun:"table:published_alerts,alias:p"`
	AlertID       string            `bun:"alert_id,pk"`
	Peer          federation.SiteID `bun:"peer,pk"`
	Version       int               `bun:"version,pk"`
	Sequence      int64             `bun:"sequence"`
	PublishedAt   timestamp         `bun:"published_at"`
	Passed        bool              `bun:"passed"` // it is another site's
}

// Published takes messages out of the outbox that have been published. In the
// same transaction it notes the sequence of each shared alert, so that an alert is
// at every moment either in the outbox or known to be in the stream. gone are those
// that were not in the outbox any more: another replica has published them too, or
// the alert may not leave since.
func (s *Store) Published(ctx context.Context, at time.Time, done []Confirmed) (gone []Confirmed, err error) {
	if len(done) == 0 {
		return nil, nil
	}
	ids := make([]int64, len(done))
	type key struct {
		alert   string
		peer    federation.SiteID
		version int
	}
	newest := map[key]publishedRow{} // one statement must not write a row twice
	for i, d := range done {
		ids[i] = d.ID
		k := key{d.AlertID, d.Peer, d.Version}
		if d.AlertID == "" || d.Sequence == 0 { // an event, or what only withdrew
			continue
		}
		newest[k] = publishedRow{AlertID: d.AlertID, Peer: d.Peer, Version: d.Version, Sequence: int64(d.Sequence), PublishedAt: stamp(at), Passed: d.Proof != nil}
	}
	published := slices.SortedFunc(maps.Values(newest), func(a, b publishedRow) int {
		return cmp.Or(strings.Compare(a.AlertID, b.AlertID), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Version, b.Version))
	})
	taken := make(map[int64]bool, len(done))
	take := func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		taken[id] = true
		return err
	}
	err = s.piped(ctx, "clearing the outbox", func(_ context.Context, p *pipe) error {
		// It need not be on the disk at once: what a crash of the database undoes waits in
		// the outbox again, and is published again under the same message id.
		p.add(s.dialect.hasty()...)
		p.add(statement{
			query: "DELETE FROM outbox WHERE id = ANY($1) RETURNING id", args: []any{ids}, anew: true, row: take,
			alone: func(ctx context.Context, tx bun.Tx) error {
				return readRows(tx.Tx.QueryContext(ctx, tx.NewDelete().Model((*outboxRow)(nil)).Where("id IN ?", bun.Tuple(ids)).Returning("id").String()))(take)
			},
		})
		if len(published) == 0 {
			return nil
		}
		// Another replica may have noted the same; a version that was sent again has a
		// new place, which in a stream that was lost and made anew is no later one.
		noted, err := inserting(p, published, "ON CONFLICT (alert_id, peer, version) DO UPDATE "+
			"SET sequence = EXCLUDED.sequence, published_at = EXCLUDED.published_at WHERE EXCLUDED.published_at >= p.published_at", "", nil)
		p.add(noted)
		return err
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(done), func(d Confirmed) bool { return taken[d.ID] }), nil
}

// Place is where a version of an alert was published.
type Place struct {
	Sequence uint64
	At       time.Time
}

// Places lists where the versions of an alert before the given one were published, in every form.
func (s *Store) Places(ctx context.Context, alertID string, before int) ([]Place, error) {
	var rows []publishedRow
	if err := s.reader.NewSelect().Model(&rows).Where("alert_id = ?", alertID).Where("version < ?", before).Order("sequence").Scan(ctx); err != nil {
		return nil, failed("asking where an alert was published", err)
	}
	places := make([]Place, len(rows))
	for i, r := range rows {
		places[i] = Place{uint64(r.Sequence), r.PublishedAt.Time}
	}
	return places, nil
}

// Sharing is how far the newest version of a local alert has come on its way to a
// peer. Neither Waiting nor Sequence is set where it was never to be shared, or was
// before sequences were kept.
type Sharing struct {
	Waiting     bool      // a version is in the outbox
	Version     int       // the newest in the stream
	Sequence    uint64    // of that; 0: none is there yet
	PublishedAt time.Time // of that
	// Peer is the one for whom that version was made; empty where it is for all alike.
	Peer federation.SiteID
}

// In reports whether a stream with the given first and last sequence, that was made
// at a moment, still holds the version. A stream that was lost begins anew with 1, so
// a sequence from before that says nothing of it.
func (s Sharing) In(made time.Time, first, last uint64) bool {
	return s.Sequence > 0 && first <= s.Sequence && s.Sequence <= last && !s.PublishedAt.Before(made)
}

// Sharing says how far an alert has come on its way to a peer, in the form for all or
// in its own.
func (s *Store) Sharing(ctx context.Context, alertID string, peer federation.SiteID) (Sharing, error) {
	found, err := s.Sharings(ctx, []string{alertID}, "", peer)
	return found[alertID], err
}

// OwnSharing says how far the copies of an alert have come that were made for a peer alone.
func (s *Store) OwnSharing(ctx context.Context, alertID string, peer federation.SiteID) (Sharing, error) {
	found, err := s.Sharings(ctx, []string{alertID}, peer)
	return found[alertID], err
}

// Sharings says how far alerts have come, by id, in any of the given forms: that for
// a peer alone, or for all, which is the empty one.
func (s *Store) Sharings(ctx context.Context, alertIDs []string, forms ...federation.SiteID) (map[string]Sharing, error) {
	found := make(map[string]Sharing, len(alertIDs))
	if len(alertIDs) == 0 {
		return found, nil
	}
	mine := func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("alert_id IN ?", bun.Tuple(alertIDs)).Where("peer IN ?", bun.Tuple(forms))
	}
	err := s.read(ctx, "asking how far alerts have come", func(ctx context.Context, tx bun.Tx) error {
		var rows []publishedRow
		if err := mine(tx.NewSelect().Model(&rows)).OrderExpr("version, published_at, sequence").Scan(ctx); err != nil {
			return err
		}
		for _, r := range rows { // the newest last
			found[r.AlertID] = Sharing{Version: r.Version, Sequence: uint64(r.Sequence), PublishedAt: r.PublishedAt.Time, Peer: r.Peer}
		}
		var waiting []string
		if err := mine(tx.NewSelect().Model((*outboxRow)(nil))).Column("alert_id").Scan(ctx, &waiting); err != nil {
			return err
		}
		for _, id := range waiting {
			w := found[id]
			w.Waiting = true
			found[id] = w
		}
		return nil
	})
	return found, err
}

// OutboxDepth says how many messages wait, and since when the oldest does.
func (s *Store) OutboxDepth(ctx context.Context) (n int, oldest *time.Time, err error) {
	var since timestamp
	err = s.reader.NewSelect().Model((*outboxRow)(nil)).ColumnExpr("count(*), min(queued_at)").Scan(ctx, &n, &since)
	if err != nil {
		return 0, nil, failed("measuring the outbox", err)
	}
	return n, since.pointer(), nil
}

// affected is how many rows a statement changed.
func affected(res sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// changed reports whether a statement changed a row.
func changed(res sql.Result, err error) (bool, error) {
	n, err := affected(res, err)
	return n > 0, err
}
