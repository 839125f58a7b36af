package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	_ "modernc.org/sqlite"             // registers the driver "sqlite"
)

const question = `SELECT id, severity, tlp, source, title, dedup_hash, coalesce(origin_site, ''), coalesce(origin_alert_id, '') FROM alerts`

func readAll(ctx context.Context, o options) ([]queue, error) {
	answered, err := readAnswered(o.answered)
	if err != nil {
		return nil, err
	}
	var queues []queue
	for _, s := range o.sites {
		rows, err := readAlerts(ctx, s.dsn)
		if err != nil {
			return nil, fmt.Errorf("reading the alerts of %s: %w", s.site, err)
		}
		queues = append(queues, queue{Site: s.site, Rows: rows, Answered: answered[s.site]})
		delete(answered, s.site)
	}
	for site := range answered {
		return nil, fmt.Errorf("%s has answers of %s, which is not one of the sites", o.answered, site)
	}
	return queues, nil
}

func readAlerts(ctx context.Context, dsn string) (alerts []row, err error) {
	db, err := open(dsn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, question)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.ID, &r.Severity, &r.TLP, &r.Source, &r.Title, &r.DedupHash, &r.OriginSite, &r.OriginID); err != nil {
			return nil, err
		}
		alerts = append(alerts, r)
	}
	return alerts, rows.Err()
}

func open(dsn string) (*sql.DB, error) {
	path, ok := strings.CutPrefix(dsn, "sqlite:")
	if !ok {
		return sql.Open("pgx", dsn)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// Read only: a site that is not there must not come to be by being looked for.
	return sql.Open("sqlite", "file://"+(&url.URL{Path: path}).EscapedPath()+"?mode=ro&_pragma=busy_timeout(5000)")
}

// readAnswered reads which ids the sites have answered for, by site.
func readAnswered(name string) (map[string][]string, error) {
	answered := map[string][]string{}
	if name == "" {
		return answered, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		site, id, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			return nil, fmt.Errorf("%s: %q is not a site and an id", name, line)
		}
		answered[site] = append(answered[site], id)
	}
	return answered, nil
}
