package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// migrations holds one folder a dialect. Each has the same files, which run in
// the order of their names and are never changed once released.
//
//go:embed migrations
var migrations embed.FS

// MigrationState is one migration of this program.
type MigrationState struct {
	Name      string     `json:"name"`
	AppliedAt *time.Time `json:"applied_at"` // on the database's clock; nil: not yet
}

type migration struct{ name, sql string }

type migrationRow struct {
	bun.BaseModel `bun:"table:auroramesh_migrations"`
	Name          string    `bun:"name,pk"`
	AppliedAt     timestamp `bun:"applied_at"`
}

// Migrate brings the database up to date and returns the names of what it
// applied. All of it is one transaction. Of two programs that migrate at once
// the second waits and then finds nothing to do.
func (s *Store) Migrate(ctx context.Context) (applied []string, err error) {
	all, err := s.dialect.migrations()
	if err != nil {
		return nil, fmt.Errorf("reading the migrations: %w", err)
	}
	err = s.write(ctx, "migrating the database", func(ctx context.Context, tx bun.Tx) error {
		if s.dialect.beforeMigrating != "" {
			if _, err := tx.Tx.ExecContext(ctx, s.dialect.beforeMigrating); err != nil {
				return fmt.Errorf("waiting for other migrations: %w", err)
			}
		}
		done, err := s.applied(ctx, tx)
		if err != nil {
			return err
		}
		if done == nil {
			if _, err := tx.NewRaw("CREATE TABLE auroramesh_migrations (name text PRIMARY KEY, applied_at ? NOT NULL)", bun.Safe(s.dialect.timeType)).Exec(ctx); err != nil {
				return fmt.Errorf("creating the table of migrations: %w", err)
			}
		}
		applied = nil
		for _, m := range all {
			if _, ok := done[m.name]; ok {
				continue
			}
			if _, err := tx.Tx.ExecContext(ctx, m.sql); err != nil {
				return fmt.Errorf("applying %s: %w", m.name, err)
			}
			if _, err := tx.NewRaw("INSERT INTO auroramesh_migrations (name, applied_at) VALUES (?, ?)", m.name, bun.Safe(s.dialect.now)).Exec(ctx); err != nil {
				return fmt.Errorf("noting %s: %w", m.name, err)
			}
			applied = append(applied, m.name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return applied, nil
}

// Migrations lists the migrations of this program in their order.
func (s *Store) Migrations(ctx context.Context) ([]MigrationState, error) {
	all, err := s.dialect.migrations()
	if err != nil {
		return nil, fmt.Errorf("reading the migrations: %w", err)
	}
	done, err := s.applied(ctx, s.reader)
	if err != nil {
		return nil, failed("asking the database for its migrations", err)
	}
	states := make([]MigrationState, len(all))
	for i, m := range all {
		states[i] = MigrationState{Name: m.name, AppliedAt: done[m.name]}
	}
	return states, nil
}

// applied is when each migration was applied; nil where none ever was.
func (s *Store) applied(ctx context.Context, db bun.IDB) (map[string]*time.Time, error) {
	var tables int
	if err := db.NewRaw(s.dialect.tableExists, "auroramesh_migrations").Scan(ctx, &tables); err != nil {
		return nil, err
	}
	if tables == 0 {
		return nil, nil
	}
	var rows []migrationRow
	if err := db.NewSelect().Model(&rows).Scan(ctx); err != nil {
		return nil, err
	}
	done := make(map[string]*time.Time, len(rows))
	for _, r := range rows {
		done[r.Name] = r.AppliedAt.pointer()
	}
	return done, nil
}

func (d dialect) migrations() ([]migration, error) {
	files, err := fs.Glob(migrations, path.Join("migrations", d.name, "*.sql"))
	if err != nil {
		return nil, err
	}
	all := make([]migration, len(files))
	for i, f := range files { // Glob sorts
		text, err := migrations.ReadFile(f)
		if err != nil {
			return nil, err
		}
		all[i] = migration{strings.TrimSuffix(path.Base(f), ".sql"), string(text)}
	}
	return all, nil
}
