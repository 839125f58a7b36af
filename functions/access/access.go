// Package access is the function that keeps who may use the API of the site: its
// keys, the sessions of people who have signed in with one, and the audit log of
// what all of them did. It alone reads the hashes of secrets; the gateway asks it,
// and remembers an answer for a few seconds.
package access

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"time"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/store"
)

// sweepEvery is how often sessions that have ended are removed.
const sweepEvery = 10 * time.Minute

// New is the function for one site, where a session lasts for the time given.
func New(session time.Duration, st *store.Store, log *slog.Logger, now func() time.Time) function.Function {
	k := keeper{session, st, log, now}
	return function.Function{
		Name:        "access",
		Description: "Keeps the API keys, the sessions and the audit log, and says who a request comes from.",
		Triggers: []function.Trigger{
			function.Reply(ask.CheckKey, k.checkKey),
			function.Reply(ask.CreateKey, k.createKey),
			function.Reply(ask.ListKeys, k.listKeys),
			function.Reply(ask.RevokeKey, k.revokeKey),
			function.Reply(ask.OpenSession, k.openSession),
			function.Reply(ask.OpenIssuerSession, k.openIssuerSession),
			function.Reply(ask.CheckSession, k.checkSession),
			function.Reply(ask.CloseSession, k.closeSession),
			function.Reply(ask.AppendAudit, k.appendAudit),
			function.Reply(ask.ListAudit, k.listAudit),
			function.Reply(ask.VerifyAudit, k.verifyAudit, function.Timeout(verifyTimeout)),
			function.Every(sweepEvery, k.sweep, function.Named("sweep")),
		},
		Checks: []function.Check{{Part: "database", Run: st.Ready}},
	}
}

type keeper struct {
	session time.Duration
	store   *store.Store
	log     *slog.Logger
	now     func() time.Time
}

// prove is the key of which p has the hash. Who has not is told nothing of the key,
// not even that there is one.
func (k keeper) prove(ctx context.Context, p ask.KeyProof) (access.Key, error) {
	key, hash, err := k.store.Key(ctx, p.ID)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return key, err
	}
	if err != nil || subtle.ConstantTimeCompare([]byte(hash), []byte(p.Hash)) != 1 {
		return key, fault.New(fault.Unauthorized, "the key is not one of this site")
	}
	return key, key.Good(k.now())
}

func (k keeper) checkKey(ctx context.Context, p ask.KeyProof) (ask.Known, error) {
	key, err := k.prove(ctx, p)
	if err != nil {
		return ask.Known{}, err
	}
	k.used(ctx, key)
	return ask.Known{Principal: key.Principal(), Until: key.ExpiresAt}, nil
}

// used notes the use of a key. A request does not fail for want of the note.
func (k keeper) used(ctx context.Context, key access.Key) {
	if err := k.store.UseKey(ctx, key, k.now()); err != nil {
		k.log.WarnContext(ctx, "the use of a key could not be noted", "key", key.ID, "error", err)
	}
}

func (k keeper) createKey(ctx context.Context, r ask.KeyRequest) (access.MadeKey, error) {
	made, err := access.Make(r.NewKey, r.By, k.now())
	if err != nil {
		return access.MadeKey{}, err
	}
	if err := k.store.CreateKey(ctx, made.Key, access.Hash(made.Secret)); err != nil {
		return access.MadeKey{}, err
	}
	return made, nil
}

func (k keeper) listKeys(ctx context.Context, p ask.Page) (ask.List[access.Key], error) {
	p = p.WithDefaults()
	keys, total, err := k.store.Keys(ctx, p.Skip, p.Limit)
	return ask.List[access.Key]{Items: keys, Total: total, Skip: p.Skip, Limit: p.Limit}, err
}

func (k keeper) revokeKey(ctx context.Context, id ask.KeyID) (access.Key, error) {
	return k.store.RevokeKey(ctx, id.ID, k.now())
}

func (k keeper) openSession(ctx context.Context, p ask.KeyProof) (ask.Session, error) {
	key, err := k.prove(ctx, p)
	if err != nil {
		return ask.Session{}, err
	}
	s := ask.Session{Secret: access.NewSession(), Until: k.now().Add(k.session), Principal: key.Principal()}
	s.Principal.Kind = access.KindSession
	if key.ExpiresAt != nil && key.ExpiresAt.Before(s.Until) {
		s.Until = *key.ExpiresAt
	}
	if err := k.store.OpenSession(ctx, access.Hash(s.Secret), key.ID, k.now(), s.Until); err != nil {
		return ask.Session{}, err
	}
	k.used(ctx, key)
	return s, nil
}

func (k keeper) openIssuerSession(ctx context.Context, r ask.IssuerSession) (ask.Session, error) {
	s := ask.Session{Secret: access.NewSession(), Until: k.now().Add(k.session), Principal: r.Principal}
	s.Principal.Kind, s.Principal.Scopes = access.KindSession, access.Sorted(r.Principal.Scopes)
	if err := k.store.OpenIssuerSession(ctx, access.Hash(s.Secret), s.Principal, k.now(), s.Until); err != nil {
		return ask.Session{}, err
	}
	return s, nil
}

func (k keeper) checkSession(ctx context.Context, p ask.SessionProof) (ask.Known, error) {
	ended := fault.New(fault.Unauthorized, "the session has ended: sign in again")
	key, until, err := k.store.Session(ctx, p.Hash)
	if fault.Is(err, fault.NotFound) {
		who, until, err := k.store.IssuerSession(ctx, p.Hash)
		if fault.Is(err, fault.NotFound) || err == nil && !k.now().Before(until) {
			err = ended
		}
		return ask.Known{Principal: who, Until: &until}, err
	}
	if err != nil {
		return ask.Known{}, err
	}
	if !k.now().Before(until) {
		return ask.Known{}, ended
	}
	if err := key.Good(k.now()); err != nil {
		return ask.Known{}, err
	}
	k.used(ctx, key)
	principal := key.Principal()
	principal.Kind = access.KindSession
	return ask.Known{Principal: principal, Until: &until}, nil
}

func (k keeper) closeSession(ctx context.Context, p ask.SessionProof) (ask.None, error) {
	return ask.None{}, k.store.CloseSession(ctx, p.Hash)
}

// sweep removes the sessions that have ended, and tells the head of the audit log.
func (k keeper) sweep(ctx context.Context) error {
	if _, err := k.store.DeleteSessions(ctx, k.now()); err != nil {
		return err
	}
	return k.tellHead(ctx)
}
