-- What the site has set for single peers; an empty value is that of the default gate.
CREATE TABLE sharing_gates (
    peer           TEXT    NOT NULL,
    direction      TEXT    NOT NULL,
    min_severity   TEXT    NOT NULL,
    sources        TEXT    NOT NULL, -- this and the next two are JSON lists
    except_sources TEXT    NOT NULL,
    strip_iocs     TEXT    NOT NULL,
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (peer, direction)
) STRICT;

-- Alerts of peers that this site will not have, so that nobody looks for them.
CREATE TABLE refused_alerts (
    origin_site     TEXT    NOT NULL,
    origin_alert_id TEXT    NOT NULL,
    version         INTEGER NOT NULL DEFAULT 1,
    rule            TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    raised_at       INTEGER NOT NULL,
    at              INTEGER NOT NULL,
    PRIMARY KEY (origin_site, origin_alert_id)
) STRICT;
