-- Times are whole microseconds since 1970, UTC.
CREATE TABLE sites (
    id                TEXT PRIMARY KEY NOT NULL,
    name              TEXT    NOT NULL,
    tier              TEXT    NOT NULL,
    status            TEXT    NOT NULL,
    agents_total      INTEGER NOT NULL DEFAULT 0,
    agents_online     INTEGER NOT NULL DEFAULT 0,
    version           TEXT    NOT NULL,
    last_heartbeat_at INTEGER,
    heartbeat_sent_at INTEGER,
    first_seen_at     INTEGER NOT NULL
) STRICT;

-- No foreign key to sites: a peer's gossip may come before the own first heartbeat.
CREATE TABLE links (
    id                TEXT PRIMARY KEY NOT NULL,
    site_a            TEXT    NOT NULL,
    site_b            TEXT    NOT NULL,
    status            TEXT    NOT NULL,
    last_heartbeat_at INTEGER NOT NULL,
    CHECK (site_a < site_b)
) STRICT;
