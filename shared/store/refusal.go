package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// RefusalAge is how long a refusal is kept: as long as the peer keeps the dead letter.
const RefusalAge = 30 * 24 * time.Hour

// Refusal is a shared alert that a peer could not store.
type Refusal struct {
	Peer     federation.SiteID
	Sequence uint64 // in the stream of shared alerts
	// PublishedAt, Subject and AlertID are those of the message, zero where it is
	// gone from the stream. AlertID is empty too where the message names none.
	PublishedAt time.Time
	Subject     string
	AlertID     string
	Reason      string
	At          time.Time
}

type refusalRow struct {
	bun.BaseModel `bun:"table:refusals,alias:r"`
	Peer          federation.SiteID `bun:"peer,pk"`
	Sequence      int64             `bun:"sequence,pk"`
	PublishedAt   timestamp         `bun:"published_at,pk"`
	Subject       string            `bun:"subject"`
	AlertID       string            `bun:"alert_id"`
	Reason        string            `bun:"reason"`
	At            timestamp         `bun:"at"`
}

// gone stands for the time of a message that is gone: a key must not be NULL.
var gone = time.Unix(0, 0)

func refusalRowOf(r Refusal) refusalRow {
	row := refusalRow{
		Peer: r.Peer, Sequence: int64(r.Sequence), PublishedAt: stamp(r.PublishedAt),
		Subject: r.Subject, AlertID: r.AlertID, Reason: r.Reason, At: stamp(r.At),
	}
	if r.PublishedAt.IsZero() {
		row.PublishedAt = stamp(gone)
	}
	return row
}

func (r refusalRow) refusal() Refusal {
	out := Refusal{
		Peer: r.Peer, Sequence: uint64(r.Sequence), PublishedAt: r.PublishedAt.Time,
		Subject: r.Subject, AlertID: r.AlertID, Reason: r.Reason, At: r.At.Time,
	}
	if r.PublishedAt.Equal(gone) {
		out.PublishedAt = time.Time{}
	}
	return out
}

// RecordRefusals notes refusals; one that is known changes nothing. Those older
// than [RefusalAge] before the newest of rs go.
func (s *Store) RecordRefusals(ctx context.Context, rs []Refusal) error {
	if len(rs) == 0 {
		return nil
	}
	rows := make([]refusalRow, len(rs))
	newest := rs[0].At
	for i, r := range rs {
		rows[i] = refusalRowOf(r)
		if r.At.After(newest) {
			newest = r.At
		}
	}
	return s.write(ctx, "noting refusals", func(ctx context.Context, tx bun.Tx) error {
		if _, err := insert(ctx, tx, &rows); err != nil {
			return err
		}
		_, err := tx.NewDelete().Model((*refusalRow)(nil)).Where("at < ?", stamp(newest.Add(-RefusalAge))).Exec(ctx)
		return err
	})
}

// ForgetRefusals lets go of what a peer refused and has since: of the alerts that
// were published and refused in a time, given that nothing of it is refused there any more.
func (s *Store) ForgetRefusals(ctx context.Context, peer federation.SiteID, from, until time.Time) error {
	_, err := s.writer.NewDelete().Model((*refusalRow)(nil)).Where("peer = ?", peer).Where("alert_id <> ''").
		Where("published_at >= ?", stamp(from)).Where("published_at < ?", stamp(until)).Where("at < ?", stamp(until)).Exec(ctx)
	return failed("forgetting what "+string(peer)+" refused", err)
}

// RefusalsOf returns the refusals of one alert as it was shared at a sequence of the stream.
func (s *Store) RefusalsOf(ctx context.Context, alertID string, sequence uint64) ([]Refusal, error) {
	var rows []refusalRow
	err := s.reader.NewSelect().Model(&rows).Where("alert_id = ?", alertID).Where("sequence = ?", int64(sequence)).OrderExpr("at, peer").Scan(ctx)
	if err != nil {
		return nil, failed("reading the refusals of "+alertID, err)
	}
	rs := make([]Refusal, len(rows))
	for i, r := range rows {
		rs[i] = r.refusal()
	}
	return rs, nil
}

// Held is the part of the stream of shared alerts that is asked about.
type Held struct {
	Subjects    []string
	First, Last uint64    // sequences
	Since       time.Time // when the first came in: what is older belongs to an earlier stream
}

// Refusing is the peers that have refused a message of the stream from one sequence to another.
func (s *Store) Refusing(ctx context.Context, first, last uint64) (map[federation.SiteID]bool, error) {
	var peers []federation.SiteID
	one := s.reader.NewSelect().Model((*refusalRow)(nil)).ColumnExpr("1").Where("r.peer = s.id").Where("r.sequence BETWEEN ? AND ?", int64(first), int64(last))
	if err := s.reader.NewSelect().Model((*siteRow)(nil)).Column("id").Where("EXISTS (?)", one).Scan(ctx, &peers); err != nil {
		return nil, failed("looking for who refused something", err)
	}
	refusing := make(map[federation.SiteID]bool, len(peers))
	for _, p := range peers {
		refusing[p] = true
	}
	return refusing, nil
}

// CountRefusals counts the messages of that part which a peer refused.
func (s *Store) CountRefusals(ctx context.Context, peer federation.SiteID, h Held) (int, error) {
	if len(h.Subjects) == 0 {
		return 0, nil
	}
	n, err := s.reader.NewSelect().Model((*refusalRow)(nil)).Where("peer = ?", peer).
		Where("sequence BETWEEN ? AND ?", int64(h.First), int64(h.Last)).
		Where("published_at >= ?", stamp(h.Since)).Where("subject IN ?", bun.Tuple(h.Subjects)).Count(ctx)
	if err != nil {
		return 0, failed("counting the refusals of "+string(peer), err)
	}
	return int(n), nil
}
