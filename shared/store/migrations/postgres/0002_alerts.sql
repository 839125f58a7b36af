CREATE TABLE alerts (
    id               text COLLATE "C" PRIMARY KEY,
    title            text        NOT NULL,
    description      text        NOT NULL,
    severity         text        NOT NULL,
    status           text        NOT NULL,
    source           text        NOT NULL,
    asset_type       text        NOT NULL,
    affected_assets  jsonb       NOT NULL,
    iocs             jsonb       NOT NULL,
    mitre_techniques jsonb       NOT NULL,
    raw_log          text        NOT NULL,
    dedup_hash       text COLLATE "C" NOT NULL,
    observed_at      timestamptz,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    origin_site      text COLLATE "C",
    origin_name      text,
    origin_alert_id  text,
    raised_at        timestamptz,
    received_at      timestamptz
);

-- The one guard against doubles: of local alerts, and of replays from peers.
CREATE UNIQUE INDEX alerts_dedup_hash ON alerts (dedup_hash);

-- Each filter of the list has its own index in the order of the list.
CREATE INDEX alerts_newest   ON alerts (created_at, id);
CREATE INDEX alerts_severity ON alerts (severity, created_at, id);
CREATE INDEX alerts_status   ON alerts (status, created_at, id);
CREATE INDEX alerts_source   ON alerts (source, created_at, id);
