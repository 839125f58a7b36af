-- Every change of a link's or a site's status.
CREATE TABLE transitions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    what       TEXT    NOT NULL, -- the link or site
    kind       TEXT    NOT NULL,
    was        TEXT    NOT NULL,
    became     TEXT    NOT NULL,
    cause      TEXT    NOT NULL,
    age_us     INTEGER NOT NULL, -- of the newest heartbeat, in microseconds
    at         INTEGER NOT NULL
) STRICT;

CREATE INDEX transitions_what ON transitions (what, at, id);
