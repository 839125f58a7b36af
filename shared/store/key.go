package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/fault"
)

// usedEvery is how precisely the store knows when a key was last used: a write for
// each request would cost more than that is worth.
const usedEvery = time.Minute

type keyRow struct {
	bun.BaseModel `bun:"table:api_keys,alias:k"`
	ID            string             `bun:"id,pk"`
	Hash          string             `bun:"hash"`
	Name          string             `bun:"name"`
	Scopes        list[access.Scope] `bun:"scopes"`
	CreatedBy     string             `bun:"created_by"`
	CreatedAt     timestamp          `bun:"created_at"`
	ExpiresAt     timestamp          `bun:"expires_at"`
	RevokedAt     timestamp          `bun:"revoked_at"`
	LastUsedAt    timestamp          `bun:"last_used_at"`
}

func (r keyRow) key() access.Key {
	return access.Key{
		ID: r.ID, Name: r.Name, Scopes: r.Scopes, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.Time,
		ExpiresAt: r.ExpiresAt.pointer(), RevokedAt: r.RevokedAt.pointer(), LastUsedAt: r.LastUsedAt.pointer(),
	}
}

// CreateKey stores a key with the hash of its secret, and entries of the audit log with it.
func (s *Store) CreateKey(ctx context.Context, k access.Key, hash string, audit ...access.Entry) error {
	row := keyRow{
		ID: k.ID, Hash: hash, Name: k.Name, Scopes: k.Scopes, CreatedBy: k.CreatedBy,
		CreatedAt: stamp(k.CreatedAt), ExpiresAt: stampOf(k.ExpiresAt),
	}
	return s.write(ctx, "storing the key "+k.ID, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			return err
		}
		return s.noteAudit(ctx, tx, audit)
	})
}

// Key returns a key and the hash of its secret.
func (s *Store) Key(ctx context.Context, id string) (k access.Key, hash string, err error) {
	row := keyRow{ID: id}
	if err := s.reader.NewSelect().Model(&row).WherePK().Scan(ctx); err != nil {
		return k, "", unknownKey(id, err)
	}
	return row.key(), row.Hash, nil
}

func unknownKey(id string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.NotFound, "there is no key %q at this site", id)
	}
	return failed("reading the key "+id, err)
}

// Keys is a page of all keys, newest first, and how many there are.
func (s *Store) Keys(ctx context.Context, skip, limit int) (keys []access.Key, total int, err error) {
	keys = []access.Key{}
	err = s.read(ctx, "listing the keys", func(ctx context.Context, tx bun.Tx) error {
		var rows []keyRow
		count, err := tx.NewSelect().Model(&rows).OrderExpr("created_at DESC, id").Offset(int64(skip)).Limit(int64(limit)).ScanAndCount(ctx)
		if err != nil {
			return err
		}
		total = int(count)
		for _, r := range rows {
			keys = append(keys, r.key())
		}
		return nil
	})
	return keys, total, err
}

// UseKey notes that a key was used, at most once a minute.
func (s *Store) UseKey(ctx context.Context, k access.Key, at time.Time) error {
	if k.LastUsedAt != nil && at.Sub(*k.LastUsedAt) < usedEvery {
		return nil
	}
	_, err := s.writer.NewUpdate().Model((*keyRow)(nil)).Set("last_used_at = ?", stamp(at)).
		Where("id = ?", k.ID).Where("last_used_at IS NULL OR last_used_at < ?", stamp(at)).Exec(ctx)
	return failed("noting the use of the key "+k.ID, err)
}

// RevokeKey ends a key and its sessions, with entries of the audit log. Of one that is revoked nothing changes.
func (s *Store) RevokeKey(ctx context.Context, id string, at time.Time, audit ...access.Entry) (k access.Key, err error) {
	row := keyRow{ID: id}
	err = s.write(ctx, "revoking the key "+id, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewUpdate().Model(&row).Set("revoked_at = ?", stamp(at)).WherePK().Where("revoked_at IS NULL").Exec(ctx); err != nil {
			return err
		}
		if _, err := tx.NewDelete().Model((*sessionRow)(nil)).Where("key_id = ?", id).Exec(ctx); err != nil {
			return err
		}
		if err := tx.NewSelect().Model(&row).WherePK().Scan(ctx); err != nil {
			return unknownKey(id, err)
		}
		return s.noteAudit(ctx, tx, audit)
	})
	return row.key(), err
}

type sessionRow struct {
	bun.BaseModel `bun:"table:sessions,alias:s"`
	Hash          string    `bun:"hash,pk"`
	KeyID         string    `bun:"key_id"`
	CreatedAt     timestamp `bun:"created_at"`
	ExpiresAt     timestamp `bun:"expires_at"`
}

// OpenSession stores a session of the holder of a key.
func (s *Store) OpenSession(ctx context.Context, hash, keyID string, at, until time.Time) error {
	row := sessionRow{Hash: hash, KeyID: keyID, CreatedAt: stamp(at), ExpiresAt: stamp(until)}
	_, err := s.writer.NewInsert().Model(&row).Exec(ctx)
	return failed("opening a session", err)
}

// Session returns the key that a session was opened with, and until when it lasts.
func (s *Store) Session(ctx context.Context, hash string) (k access.Key, until time.Time, err error) {
	err = s.read(ctx, "reading a session", func(ctx context.Context, tx bun.Tx) error {
		session := sessionRow{Hash: hash}
		err := tx.NewSelect().Model(&session).WherePK().Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.New(fault.NotFound, "there is no such session")
		}
		if err != nil {
			return err
		}
		row := keyRow{ID: session.KeyID}
		if err := tx.NewSelect().Model(&row).WherePK().Scan(ctx); err != nil {
			return err
		}
		k, until = row.key(), session.ExpiresAt.Time
		return nil
	})
	return k, until, err
}

type issuerSessionRow struct {
	bun.BaseModel `bun:"table:issuer_sessions,alias:i"`
	Hash          string             `bun:"hash,pk"`
	Subject       string             `bun:"subject"`
	Name          string             `bun:"name"`
	Scopes        list[access.Scope] `bun:"scopes"`
	CreatedAt     timestamp          `bun:"created_at"`
	ExpiresAt     timestamp          `bun:"expires_at"`
}

// OpenIssuerSession stores a session of somebody whom the OIDC issuer knows.
func (s *Store) OpenIssuerSession(ctx context.Context, hash string, p access.Principal, at, until time.Time) error {
	row := issuerSessionRow{Hash: hash, Subject: p.ID, Name: p.Name, Scopes: p.Scopes, CreatedAt: stamp(at), ExpiresAt: stamp(until)}
	_, err := s.writer.NewInsert().Model(&row).Exec(ctx)
	return failed("opening a session", err)
}

// IssuerSession returns who opened such a session, and until when it lasts.
func (s *Store) IssuerSession(ctx context.Context, hash string) (p access.Principal, until time.Time, err error) {
	row := issuerSessionRow{Hash: hash}
	err = s.reader.NewSelect().Model(&row).WherePK().Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return p, until, fault.New(fault.NotFound, "there is no such session")
	}
	return access.Principal{Kind: access.KindSession, ID: row.Subject, Name: row.Name, Scopes: row.Scopes}, row.ExpiresAt.Time, failed("reading a session", err)
}

// CloseSession ends a session of either kind; there may be none.
func (s *Store) CloseSession(ctx context.Context, hash string) error {
	return s.write(ctx, "closing a session", func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewDelete().Model((*sessionRow)(nil)).Where("hash = ?", hash).Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewDelete().Model((*issuerSessionRow)(nil)).Where("hash = ?", hash).Exec(ctx)
		return err
	})
}

// DeleteSessions removes the sessions that ended before a time, and says how many.
func (s *Store) DeleteSessions(ctx context.Context, before time.Time) (n int64, err error) {
	err = s.write(ctx, "removing old sessions", func(ctx context.Context, tx bun.Tx) error {
		n = 0
		for _, kind := range []any{(*sessionRow)(nil), (*issuerSessionRow)(nil)} {
			res, err := tx.NewDelete().Model(kind).Where("expires_at < ?", stamp(before)).Exec(ctx)
			if err != nil {
				return err
			}
			gone, err := res.RowsAffected()
			if err != nil {
				return err
			}
			n += gone
		}
		return nil
	})
	return n, err
}
