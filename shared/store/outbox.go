package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// Outgoing is a message that must be published.
type Outgoing struct {
	Subject string
	// MsgID is the same at every try, so that the stream drops a second publish.
	MsgID    string
	Priority int // higher goes first
	// AlertID is the alert that the message shares with the peers; empty in any other message.
	AlertID string
	Payload []byte
}

// EventMessage is an event as it is published at its site. Its message id is made
// of what it is about, so that a second publish of it is known as such.
func EventMessage(own federation.SiteID, e federation.Event, about ...string) Outgoing {
	payload, err := json.Marshal(e)
	if err != nil { // a time beyond the year 9999, which validation lets nobody bring in
		panic(fmt.Sprintf("encoding the event %s of %s: %v", e.Kind, about, err))
	}
	return Outgoing{
		Subject: subject.Event(own, e.Kind),
		MsgID:   fmt.Sprintf("%s.%s.%d", e.Kind, strings.Join(about, "."), e.At.UnixMicro()),
		Payload: payload,
	}
}

// Queued is a message in the outbox.
type Queued struct {
	ID int64
	Outgoing
	QueuedAt time.Time
}

type outboxRow struct {
	bun.BaseModel `bun:"table:outbox,alias:o"`
	ID            int64     `bun:"id,pk,autoincrement"`
	Subject       string    `bun:"subject"`
	MsgID         string    `bun:"msg_id"`
	Priority      int       `bun:"priority"`
	AlertID       string    `bun:"alert_id"`
	Payload       []byte    `bun:"payload"`
	QueuedAt      timestamp `bun:"queued_at"`
}

// enqueue writes messages to the outbox, in the transaction of what they are about.
func enqueue(ctx context.Context, tx bun.Tx, at time.Time, out ...Outgoing) error {
	if len(out) == 0 {
		return nil
	}
	rows := make([]outboxRow, len(out))
	for i, o := range out {
		rows[i] = outboxRow{
			Subject: o.Subject, MsgID: o.MsgID, Priority: o.Priority, AlertID: o.AlertID,
			Payload:  append([]byte{}, o.Payload...), // never NULL
			QueuedAt: stamp(at),
		}
	}
	_, err := tx.NewInsert().Model(&rows).ExcludeColumn("id").Returning("NULL").Exec(ctx)
	return err
}

// Outbox returns up to limit messages that wait, the highest priority first and
// within one the oldest.
func (s *Store) Outbox(ctx context.Context, limit int) ([]Queued, error) {
	var rows []outboxRow
	if err := waiting(s.reader.NewSelect().Model(&rows), limit).Scan(ctx); err != nil {
		return nil, failed("reading the outbox", err)
	}
	queued := make([]Queued, len(rows))
	for i, r := range rows {
		queued[i] = Queued{
			ID:       r.ID,
			Outgoing: Outgoing{Subject: r.Subject, MsgID: r.MsgID, Priority: r.Priority, AlertID: r.AlertID, Payload: r.Payload},
			QueuedAt: r.QueuedAt.Time,
		}
	}
	return queued, nil
}

func waiting(q *bun.SelectQuery, limit int) *bun.SelectQuery {
	return q.OrderExpr("priority DESC, id ASC").Limit(int64(limit))
}

// Confirmed is a message of the outbox that its stream has confirmed.
type Confirmed struct {
	ID       int64
	AlertID  string // as in [Outgoing]
	Sequence uint64 // in the stream
}

type sharedRow struct {
	bun.BaseModel `bun:"table:shared_alerts"`
	AlertID       string    `bun:"alert_id,pk"`
	Sequence      int64     `bun:"sequence"`
	SharedAt      timestamp `bun:"shared_at"`
}

// Published takes messages out of the outbox that have been published. In the
// same transaction it notes the sequence of each shared alert, so that an alert is
// at every moment either in the outbox or known to be in the stream.
func (s *Store) Published(ctx context.Context, at time.Time, done []Confirmed) error {
	if len(done) == 0 {
		return nil
	}
	ids := make([]int64, len(done))
	var shared []sharedRow
	for i, d := range done {
		ids[i] = d.ID
		if d.AlertID != "" {
			shared = append(shared, sharedRow{AlertID: d.AlertID, Sequence: int64(d.Sequence), SharedAt: stamp(at)})
		}
	}
	return s.write(ctx, "clearing the outbox", func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewDelete().Model((*outboxRow)(nil)).Where("id IN ?", bun.Tuple(ids)).Exec(ctx); err != nil || len(shared) == 0 {
			return err
		}
		_, err := insert(ctx, tx, &shared) // another replica may have noted the same
		return err
	})
}

// Sharing is how far a local alert has come on its way into the stream. Neither
// field is set where it was never to be shared, or was before sequences were kept.
type Sharing struct {
	Waiting  bool   // it is in the outbox
	Sequence uint64 // in the stream; 0: not there yet
}

// Sharing says how far an alert has come.
func (s *Store) Sharing(ctx context.Context, alertID string) (Sharing, error) {
	var found Sharing
	err := s.read(ctx, "asking how far an alert has come", func(ctx context.Context, tx bun.Tx) (err error) {
		if found.Waiting, err = tx.NewSelect().Model((*outboxRow)(nil)).Where("alert_id = ?", alertID).Exists(ctx); err != nil {
			return err
		}
		row := sharedRow{AlertID: alertID}
		if err = tx.NewSelect().Model(&row).WherePK().Scan(ctx); errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		found.Sequence = uint64(row.Sequence)
		return err
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

// changed reports whether a statement changed a row.
func changed(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}
