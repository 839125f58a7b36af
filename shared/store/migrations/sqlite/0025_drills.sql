-- What the last drills found out.
CREATE TABLE drills (
    run     TEXT PRIMARY KEY,
    kept_at INTEGER NOT NULL,
    report  TEXT NOT NULL -- JSON
) STRICT;
