CREATE TABLE alerts (
    id               TEXT PRIMARY KEY NOT NULL,
    title            TEXT        NOT NULL,
    description      TEXT        NOT NULL,
    severity         TEXT        NOT NULL,
    status           TEXT        NOT NULL,
    source           TEXT        NOT NULL,
    asset_type       TEXT        NOT NULL,
    affected_assets  TEXT       NOT NULL,
    iocs             TEXT       NOT NULL,
    mitre_techniques TEXT       NOT NULL,
    raw_log          TEXT        NOT NULL,
    dedup_hash       TEXT NOT NULL,
    observed_at      INTEGER,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    origin_site      TEXT,
    origin_name      TEXT,
    origin_alert_id  TEXT,
    raised_at        INTEGER,
    received_at      INTEGER
) STRICT;

-- The one guard against doubles: of local alerts, and of replays from peers.
CREATE UNIQUE INDEX alerts_dedup_hash ON alerts (dedup_hash);

-- Each filter of the list has its own index in the order of the list.
CREATE INDEX alerts_newest   ON alerts (created_at, id);
CREATE INDEX alerts_severity ON alerts (severity, created_at, id);
CREATE INDEX alerts_status   ON alerts (status, created_at, id);
CREATE INDEX alerts_source   ON alerts (source, created_at, id);
