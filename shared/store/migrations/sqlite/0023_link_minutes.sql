-- The echoes of each minute of a link, for the chart of its latency. minute counts
-- since 1970; the round trips are in milliseconds, NULL where every echo was lost.
CREATE TABLE link_minutes (
    link_id   TEXT    NOT NULL,
    minute    INTEGER NOT NULL,
    median_ms REAL,
    max_ms    REAL,
    echoes    INTEGER NOT NULL,
    lost      INTEGER NOT NULL,
    PRIMARY KEY (link_id, minute)
) STRICT, WITHOUT ROWID;
