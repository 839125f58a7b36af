package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// filler makes an alert about 1 KB on the wire.
var filler = strings.Repeat("The host has asked for a name that nobody else here asks for. ", 5)

// source is that of every alert of a benchmark.
const source = "bench"

// draft is an alert as a client raises it. No two have the same title.
func draft(s federation.Severity) federation.NewAlert {
	id := uuid.NewString()
	return federation.NewAlert{
		Title: "Beacon to a name of its own " + id, Description: filler[:200], Severity: s, Source: source, AssetType: "host",
		AffectedAssets: []string{"ws-0231.corp.example"},
		IOCs: federation.IOCInput{Items: []federation.IOC{
			{Type: "domain", Value: id[:8] + ".example"}, {Type: "ip", Value: "203.0.113.7"},
		}},
		MitreTechniques: []string{"T1071.004"}, RawLog: federation.RawLog(filler[:250]),
	}
}

// shared is an alert as it waits in the stream of its origin.
func shared(origin federation.SiteID, at time.Time) federation.SharedAlert {
	a := draft(federation.High).Alert(uuid.Must(uuid.NewV7()).String(), at)
	s := federation.Share(a, federation.Identity{ID: origin, Name: string(origin)})
	if origin != hub { // which may pass it on
		s.Relay = &federation.Relay{}
	}
	return s
}

// sharedPayloads are n alerts as they stand in the stream of their origin.
func sharedPayloads(origin federation.SiteID, n int) ([][]byte, error) {
	all, now := make([][]byte, n), time.Now()
	for i := range all {
		data, err := json.Marshal(shared(origin, now))
		if err != nil {
			return nil, fmt.Errorf("encoding an alert: %w", err)
		}
		all[i] = data
	}
	return all, nil
}

// columns are those of a row of an alert that came from a peer.
var columns = []string{
	"id", "version", "title", "description", "severity", "tlp", "status", "source", "asset_type", "affected_assets", "iocs", "mitre_techniques", "raw_log",
	"dedup_hash", "created_at", "updated_at", "origin_site", "origin_name", "origin_alert_id", "origin_status", "origin_updated_at", "raised_at", "received_at",
}

// row is such a row, in the order of columns: what a program without a mesh would store of the same alert.
func row(s federation.SharedAlert, at time.Time) ([]any, error) {
	a := s.Received(uuid.Must(uuid.NewV7()).String(), at)
	var lists [3]string
	for i, l := range []any{a.AffectedAssets, a.IOCs, a.MitreTechniques} {
		data, err := json.Marshal(l)
		if err != nil {
			return nil, fmt.Errorf("encoding a row: %w", err)
		}
		lists[i] = string(data)
	}
	o := a.Origin
	return []any{
		a.ID, a.Version, a.Title, a.Description, string(a.Severity), string(a.TLP), string(a.Status), a.Source, a.AssetType, lists[0], lists[1], lists[2], a.RawLog,
		a.DedupHash, a.CreatedAt, a.UpdatedAt, string(o.SiteID), o.SiteName, o.AlertID, string(o.Status), o.UpdatedAt, o.RaisedAt, o.ReceivedAt,
	}, nil
}

// insertOne is the statement that stores a row by itself.
var insertOne = func() string {
	places := make([]string, len(columns))
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	return "INSERT INTO alerts (" + strings.Join(columns, ", ") + ") VALUES (" + strings.Join(places, ", ") + ") ON CONFLICT (dedup_hash) DO NOTHING"
}()

// commitOne stores an alert as plainly as it can be: one statement, one commit.
func (b *bed) commitOne(ctx context.Context) error {
	now := time.Now()
	r, err := row(shared(hub, now), now)
	if err != nil {
		return err
	}
	_, err = b.plain.Exec(ctx, insertOne, r...)
	return err
}

// empty lets go of the alerts of a database.
func empty(ctx context.Context, db *pgxpool.Pool) error {
	_, err := db.Exec(ctx, "TRUNCATE alerts, alert_marks")
	return err
}
