package store

import (
	"net/url"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
)

func TestPostgresKeepsToItsLimits(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t)
	open := func(dsn string) *Store {
		s := must(OpenWithin(t.Context(), dsn, Limits{
			MaxOpen: 3, MaxIdle: 1, MaxLifetime: time.Minute, MaxIdleTime: time.Minute, Statement: 300 * time.Millisecond, Lock: 50 * time.Millisecond,
		}))(t)
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	s := open(dsn)
	must(s.Migrate(t.Context()))(t) // which takes as long as it needs
	if got := s.Stats().MaxOpenConnections; got != 3 {
		t.Errorf("it opens up to %d connections", got)
	}
	_, err := s.writer.NewRaw("SELECT pg_sleep(30)").Exec(t.Context())
	isFault(t, failed("sleeping", err), fault.Timeout, "the database did not do this in time")

	tx := must(s.writer.BeginTx(t.Context(), nil))(t)
	must(s.UpsertOwnSite(t.Context(), own, t0))(t)
	if _, err := tx.NewRaw("LOCK TABLE ?", bun.Ident("sites")).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = s.UpsertOwnSite(t.Context(), own, after(time.Second))
	isFault(t, err, fault.Unavailable, "the database does not answer")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}

	u := must(url.Parse(dsn))(t)
	q := u.Query()
	q.Set("statement_timeout", "7s")
	u.RawQuery = q.Encode()
	for name, want := range map[string]string{"statement_timeout": "7s", "lock_timeout": "50ms", "application_name": "auroramesh"} {
		var got string
		if err := open(u.String()).reader.NewRaw("SHOW ?", bun.Ident(name)).Scan(t.Context(), &got); err != nil || got != want {
			t.Errorf("%s is %q, %v, where the DSN sets one of its own; want %q", name, got, err, want)
		}
	}
}
