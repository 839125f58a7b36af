package store

import (
	"context"
	"errors"
	"testing"

	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/federation"
)

// What goes to the database in several messages stands or falls as one, and a
// connection on which it fell is good for the next.
func aPipeStandsOrFallsAsOne(t *testing.T, f fixture) {
	s := f.migrated(t)
	mine := errors.New("not now")
	note := func(id string, then func(context.Context, *pipe) error) error {
		return s.piped(t.Context(), "noting "+id, func(ctx context.Context, p *pipe) error {
			head := s.lockAudit(p)
			if _, err := p.see(ctx); err != nil {
				return err
			}
			if err := s.appendRecords(p, *head, []access.Entry{entry(id)}); err != nil {
				return err
			}
			return then(ctx, p)
		})
	}
	fine := func(context.Context, *pipe) error { return nil }
	for range 3 * DefaultLimits.MaxOpen { // more often than there are connections
		if err := note("fallen", func(context.Context, *pipe) error { return mine }); !errors.Is(err, mine) {
			t.Fatalf("what was added: %v", err)
		}
		if err := note("fallen", func(ctx context.Context, p *pipe) error {
			_, err := p.see(ctx)
			return errors.Join(err, mine)
		}); !errors.Is(err, mine) {
			t.Fatalf("what was sent: %v", err)
		}
		if err := note("fallen", func(ctx context.Context, p *pipe) error {
			tx, err := p.see(ctx)
			if err == nil {
				_, err = tx.ExecContext(ctx, "INSERT INTO audit_head (one, seq, hash) VALUES (1, 0, '')")
			}
			return err
		}); err == nil {
			t.Fatal("a statement that fails fails nothing")
		}
		if err := note("fallen", func(ctx context.Context, p *pipe) error {
			ended, end := context.WithCancel(ctx)
			end()
			_, err := p.see(ended)
			return err
		}); s.dialect.pipes && !errors.Is(err, context.Canceled) {
			t.Fatalf("nobody waits any more: %v", err)
		}
	}
	if err := note("fallen", func(ctx context.Context, p *pipe) error {
		tx, err := p.see(ctx)
		if err == nil {
			_, _ = tx.ExecContext(ctx, "SELECT nothing") // somebody passes over a failure
		}
		return err
	}); s.dialect.pipes && err == nil {
		t.Error("what was not committed is said to be")
	}
	if s.dialect.pipes {
		equal(t, "records", len(must(s.Audit(t.Context(), 0, 10))(t)), 0)
	}
	if err := note("standing", fine); err != nil {
		t.Fatal(err)
	}
	if err := s.piped(t.Context(), "doing nothing", fine); err != nil {
		t.Errorf("a pipe of nothing: %v", err)
	}
	equal(t, "the newest record", must(s.Audit(t.Context(), 0, 1))(t)[0].ID, "standing")
	if v := must(s.VerifyAudit(t.Context(), nil))(t); v.Broken != nil {
		t.Errorf("the chain is broken: %+v", v.Broken)
	}
}

// A gate holds for every alert that is raised after it was set, at any replica.
func aGateHoldsAtOnce(t *testing.T, f fixture) {
	stores := f.replicas(t, 2)
	for i, least := range []federation.Severity{federation.Critical, federation.Low, federation.High} {
		must(stores[0].SetGate(t.Context(), "site-b", federation.Outbound, federation.GateSetting{MinSeverity: least}, after(0)))(t)
		raised := raise(t, stores[1], nil, Raising{Alert: alertOf(t, string(least), t0), Out: func(g federation.Gates) ([]Outgoing, error) {
			return []Outgoing{{MsgID: string(g.For("site-b").MinSeverity)}}, nil
		}})
		equal(t, "the gate", raised.Gates.For("site-b").MinSeverity, least)
		equal(t, "messages", messages(t, stores[1])[i], string(least))
	}
}
