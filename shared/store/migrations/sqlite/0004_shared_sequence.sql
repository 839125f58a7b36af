CREATE TABLE shared_alerts (
    alert_id  TEXT    PRIMARY KEY NOT NULL,
    sequence  INTEGER NOT NULL,
    shared_at INTEGER NOT NULL
) STRICT;
