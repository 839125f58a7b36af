package access

import (
	"context"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
)

// verifyTimeout bounds how long a check of the whole audit log may take.
const verifyTimeout = 2 * time.Minute

func (k keeper) appendAudit(ctx context.Context, a ask.AuditEntries) (access.Head, error) {
	return k.store.AppendAudit(ctx, a.Entries)
}

func (k keeper) listAudit(ctx context.Context, f ask.AuditFilter) (ask.AuditPage, error) {
	if f.Limit == 0 {
		f.Limit = ask.DefaultLimit
	}
	head, err := k.store.AuditHead(ctx)
	if err != nil {
		return ask.AuditPage{}, err
	}
	records, err := k.store.Audit(ctx, f.Before, f.Limit)
	return ask.AuditPage{Items: records, Head: head}, err
}

func (k keeper) verifyAudit(ctx context.Context, c ask.AuditCheck) (access.Verification, error) {
	return k.store.VerifyAudit(ctx, c.Noted)
}

// tellHead logs the head of the audit log. Where the log of the site is kept
// elsewhere too, it shows later whether all up to there is still the same.
func (k keeper) tellHead(ctx context.Context) error {
	head, err := k.store.AuditHead(ctx)
	if err == nil && head.Seq > 0 {
		k.log.InfoContext(ctx, "the head of the audit log", "seq", head.Seq, "hash", head.Hash)
	}
	return err
}
