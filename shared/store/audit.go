package store

import (
	"context"
	"math"
	"strconv"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/access"
)

// auditPage is how many records are checked at a time.
const auditPage = 1000

type auditRow struct {
	bun.BaseModel `bun:"table:audit,alias:au"`
	Seq           int64       `bun:"seq,pk"`
	ID            string      `bun:"id"`
	At            timestamp   `bun:"at"`
	Kind          access.Kind `bun:"kind"`
	Who           string      `bun:"who"`
	Name          string      `bun:"name"`
	From          string      `bun:"source"`
	Action        string      `bun:"action"`
	Target        string      `bun:"target"`
	Result        int         `bun:"result"`
	RequestID     string      `bun:"request_id"`
	Prev          string      `bun:"prev"`
	Hash          string      `bun:"hash"`
}

func auditRowOf(r access.Record) auditRow {
	return auditRow{
		Seq: r.Seq, ID: r.ID, At: stamp(r.At), Kind: r.Kind, Who: r.Who, Name: r.Name, From: r.From, Action: r.Action,
		Target: r.Target, Result: r.Result, RequestID: r.RequestID, Prev: r.Prev, Hash: r.Hash,
	}
}

func (r auditRow) record() access.Record {
	return access.Record{Seq: r.Seq, Prev: r.Prev, Hash: r.Hash, Entry: access.Entry{
		ID: r.ID, At: r.At.Time, Kind: r.Kind, Who: r.Who, Name: r.Name, From: r.From, Action: r.Action,
		Target: r.Target, Result: r.Result, RequestID: r.RequestID,
	}}
}

type auditHeadRow struct {
	bun.BaseModel `bun:"table:audit_head,alias:h"`
	One           int    `bun:"one,pk"`
	Seq           int64  `bun:"seq"`
	Hash          string `bun:"hash"`
}

func (r auditHeadRow) head() access.Head { return access.Head{Seq: r.Seq, Hash: r.Hash} }

// AppendAudit appends entries to the audit log in their order, and returns its
// head. One whose id is there already is passed over.
func (s *Store) AppendAudit(ctx context.Context, entries []access.Entry) (head access.Head, err error) {
	err = s.write(ctx, "writing the audit log", func(ctx context.Context, tx bun.Tx) error {
		head, err = s.appendAudit(ctx, tx, entries, true)
		return err
	})
	return head, err
}

// appendAudit is [Store.AppendAudit] as part of a transaction: what is done and
// its record then stand or fall together. The lock of the head makes those who
// append go one after the other, or the chain would fork. again says that some may be
// there already.
func (s *Store) appendAudit(ctx context.Context, tx bun.Tx, entries []access.Entry, again bool) (access.Head, error) {
	last := auditHeadRow{One: 1}
	if err := s.dialect.forUpdate(tx.NewSelect().Model(&last).WherePK()).Scan(ctx); err != nil {
		return access.Head{}, err
	}
	head := last.head()
	if len(entries) == 0 {
		return head, nil
	}
	known := map[string]bool{}
	if again {
		ids := make([]string, len(entries))
		for i, e := range entries {
			ids[i] = e.ID
		}
		var there []string
		if err := tx.NewSelect().Model((*auditRow)(nil)).Column("id").Where("id IN ?", bun.Tuple(ids)).Scan(ctx, &there); err != nil {
			return head, err
		}
		for _, id := range there {
			known[id] = true
		}
	}
	next, rows := chained(head, entries, known)
	if len(rows) == 0 {
		return head, nil
	}
	if err := insertAll(ctx, tx, rows, false, "", nil); err != nil {
		return head, err
	}
	_, err := tx.NewUpdate().Model(headRow(next)).WherePK().Exec(ctx)
	return next, err
}

// chained are the records of entries that follow a head, but for those that are known,
// and the head behind them.
func chained(head access.Head, entries []access.Entry, known map[string]bool) (access.Head, []auditRow) {
	var rows []auditRow
	for _, e := range entries {
		if known[e.ID] {
			continue
		}
		known[e.ID] = true
		r := head.After(e)
		head, rows = r.Head(), append(rows, auditRowOf(r))
	}
	return head, rows
}

func headRow(h access.Head) *auditHeadRow { return &auditHeadRow{One: 1, Seq: h.Seq, Hash: h.Hash} }

// lockAudit adds to a pipe what makes those who append to the audit log go one after the
// other; the head is there once that has been seen.
func (s *Store) lockAudit(p *pipe) *access.Head {
	head := new(access.Head)
	build := func() *bun.SelectQuery {
		return s.dialect.forUpdate(s.writer.NewSelect().Model(headRow(access.Head{})).Column("seq", "hash").WherePK())
	}
	p.add(s.asking("head of the audit log", build, func(scan func(...any) error) error {
		return scan(&head.Seq, &head.Hash)
	}))
	return head
}

// appendRecords adds to a pipe, which has locked the audit log with the given head, entries
// that are new.
func (s *Store) appendRecords(p *pipe, head access.Head, entries []access.Entry) error {
	next, rows := chained(head, entries, map[string]bool{})
	records, err := inserting(p, rows, "", "", nil)
	p.add(records, statement{
		query: "UPDATE audit_head SET seq = $1, hash = $2 WHERE one = 1", args: []any{next.Seq, next.Hash},
		alone: func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewUpdate().Model(headRow(next)).WherePK().Exec(ctx)
			return err
		},
	})
	return err
}

// noteAudit is [Store.appendAudit] for entries that are new, or none.
func (s *Store) noteAudit(ctx context.Context, tx bun.Tx, entries []access.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	_, err := s.appendAudit(ctx, tx, entries, false)
	return err
}

// Audit returns records, newest first: those before a sequence, or from the last one on where it is 0.
func (s *Store) Audit(ctx context.Context, before int64, limit int) ([]access.Record, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	var rows []auditRow
	if err := s.reader.NewSelect().Model(&rows).Where("seq < ?", before).OrderExpr("seq DESC").Limit(int64(limit)).Scan(ctx); err != nil {
		return nil, failed("reading the audit log", err)
	}
	records := make([]access.Record, len(rows))
	for i, r := range rows {
		records[i] = r.record()
	}
	return records, nil
}

// AuditHead is the last record of the audit log, zero where it is empty.
func (s *Store) AuditHead(ctx context.Context) (access.Head, error) {
	last := auditHeadRow{One: 1}
	err := s.reader.NewSelect().Model(&last).WherePK().Scan(ctx)
	return last.head(), failed("reading the head of the audit log", err)
}

// VerifyAudit checks the whole audit log from its first record on, and that the
// record noted, where one is given, is still in its place.
func (s *Store) VerifyAudit(ctx context.Context, noted *access.Head) (v access.Verification, err error) {
	err = s.read(ctx, "checking the audit log", func(ctx context.Context, tx bun.Tx) error {
		v = access.Verification{}
		for {
			var rows []auditRow
			if err := tx.NewSelect().Model(&rows).Where("seq > ?", v.Head.Seq).OrderExpr("seq").Limit(auditPage).Scan(ctx); err != nil {
				return err
			}
			for _, row := range rows {
				r := row.record()
				if why := r.Follows(v.Head); why != "" {
					v.Broken = &access.Break{Seq: r.Seq, ID: r.ID, Reason: why}
					return nil
				}
				if noted != nil && r.Seq == noted.Seq && r.Hash != noted.Hash {
					v.Broken = &access.Break{Seq: r.Seq, ID: r.ID, Reason: "it is another than was noted: the log up to here was written anew"}
					return nil
				}
				v.Head, v.Records = r.Head(), r.Seq
			}
			if len(rows) < auditPage {
				break
			}
		}
		last := auditHeadRow{One: 1}
		if err := tx.NewSelect().Model(&last).WherePK().Scan(ctx); err != nil {
			return err
		}
		switch {
		case last.head() != v.Head:
			v.Broken = &access.Break{Seq: v.Head.Seq + 1, Reason: "the log ends before its head, record " + strconv.FormatInt(last.Seq, 10)}
		case noted != nil && noted.Seq > v.Head.Seq:
			v.Broken = &access.Break{Seq: v.Head.Seq + 1, Reason: "the log ends before the record that was noted, " + strconv.FormatInt(noted.Seq, 10)}
		}
		return nil
	})
	return v, err
}
