-- What had to go because the backlog was over its bound, by severity, in all.
CREATE TABLE backlog_drops (
    severity   TEXT PRIMARY KEY NOT NULL,
    dropped    INTEGER NOT NULL,
    dropped_at INTEGER NOT NULL
) STRICT;

-- What the last look saw of each durable consumer of the alert stream.
CREATE TABLE delivery_watch (
    consumer    TEXT PRIMARY KEY NOT NULL,
    peer        TEXT    NOT NULL,
    ack_floor   INTEGER NOT NULL,
    deliveries  INTEGER NOT NULL,
    waiting     INTEGER NOT NULL,
    under_way   INTEGER NOT NULL,
    moves       INTEGER NOT NULL,
    moved_at    INTEGER NOT NULL,
    stalled_at  INTEGER,
    repairs     INTEGER NOT NULL,
    repaired_at INTEGER
) STRICT;
